//! Every file of kernel programs says on top what a reader cannot see from its code.

use super::{Fault, File, covers_nothing};

/// One hook family to a file; `mod.rs` only lists them.
const HOOKS: &str = "tracer-ebpf/src/hooks/";

/// What the header has to speak of: which hook it is, on which kernels it exists, in which context it runs, and which
/// fields of the kernel's structures it reads.
const TOPICS: &[&str] = &["hook", "kernels", "context", "fields"];

pub fn faults(files: &[File]) -> Vec<Fault> {
    let is_hook = |file: &&File| {
        let name = file.path.strip_prefix(HOOKS);
        name.is_some_and(|name| name.ends_with(".rs") && name != "mod.rs")
    };
    let mut hooks = files.iter().filter(is_hook).peekable();
    if hooks.peek().is_none() {
        return vec![covers_nothing(HOOKS, "headers.rs")];
    }
    hooks.filter_map(in_file).collect()
}

fn in_file(file: &File) -> Option<Fault> {
    let text = file.text();
    let header = text.lines().map_while(|line| line.strip_prefix("//!"));
    let header = header.collect::<Vec<_>>().join("\n").to_lowercase();
    let missing: Vec<_> = TOPICS
        .iter()
        .copied()
        .filter(|topic| !header.contains(topic))
        .collect();
    if missing.is_empty() {
        return None;
    }
    Some(Fault::new(
        file,
        1,
        format!("its //! header does not speak of: {}", missing.join(", ")),
    ))
}

#[cfg(test)]
mod tests {
    use super::{super::file, *};

    const GOOD: &str = "//! Hook: tp_btf/a\n//!\n//! Kernels: all. Context: softirq.\n//! Fields: sk_err\n\nuse b;";

    #[test]
    fn a_full_header_is_enough() {
        assert_eq!(faults(&[file("tracer-ebpf/src/hooks/a.rs", GOOD)]), []);
    }

    #[test]
    fn what_is_missing_is_named() {
        let late = format!("use a;\n{GOOD}");
        for (content, missing) in [
            ("fn f() {}", "hook, kernels, context, fields"),
            ("//! hook kernels\n\n//! context fields", "context, fields"),
            (late.as_str(), "hook, kernels, context, fields"),
        ] {
            let faults = faults(&[file("tracer-ebpf/src/hooks/a.rs", content)]);
            assert_eq!(faults.len(), 1);
            assert!(
                faults[0].what.ends_with(&format!(": {missing}")),
                "{faults:?}"
            );
        }
    }

    #[test]
    fn the_list_of_hooks_needs_none_but_there_have_to_be_hooks() {
        assert_eq!(faults(&[file("tracer-ebpf/src/hooks/mod.rs", "")]).len(), 1);
        assert_eq!(
            faults(&[
                file("tracer-ebpf/src/hooks/mod.rs", ""),
                file("tracer-ebpf/src/hooks/a.rs", GOOD)
            ]),
            []
        );
    }
}
