//! `unsafe` stays where the kernel is spoken to.

use super::{Fault, File, lexer::tokens};

/// Folders and files that may use it.
const ALLOWED: &[&str] = &[
    "tracer-common/",
    "tracer-ebpf/",
    "tracer/benches/",
    "tracer/build.rs",
    "tracer/src/kernel.rs",
    "tracer/src/kernel/",
    "tracer/tests/",
];

pub fn faults(files: &[File]) -> Vec<Fault> {
    files
        .iter()
        .filter(|file| file.is_rust() && !ALLOWED.iter().any(|place| file.path.starts_with(place)))
        .flat_map(|file| {
            let tokens = tokens(&file.text());
            let found = tokens
                .into_iter()
                .filter(|token| token.word() == Some("unsafe"));
            found.map(|token| {
                Fault::new(
                    file,
                    token.line,
                    "unsafe: it belongs into tracer/src/kernel",
                )
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::file, *};

    const UNSAFE: &str = "fn f() {\n    unsafe { g() }\n}";

    #[test]
    fn it_is_found_outside_its_places_only() {
        let faults = faults(&[
            file("tracer/src/main.rs", UNSAFE),
            file("tracer/src/kernel/load.rs", UNSAFE),
            file("tracer-ebpf/src/main.rs", UNSAFE),
            file("docs/a.md", UNSAFE),
        ]);
        assert_eq!(faults.len(), 1);
        assert!(
            faults[0]
                .to_string()
                .starts_with("tracer/src/main.rs:2: unsafe"),
            "{faults:?}"
        );
    }

    #[test]
    fn talking_about_it_is_allowed() {
        assert_eq!(
            faults(&[file(
                "xtask/src/a.rs",
                "#![forbid(unsafe_code)] // unsafe\nf(\"unsafe\")"
            )]),
            []
        );
    }
}
