//! The top of the checkout has what its readers expect there, and nothing else: no further crates, no strays.

use std::collections::BTreeSet;

use super::{Fault, File};

/// Folders end in a slash. There is no rust-toolchain.toml: it would make rustup download on machines that cannot.
const ALLOWED: &[&str] = &[
    ".cargo/",
    ".ci/",
    ".gitattributes",
    ".github/",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-GPL2",
    "LICENSE-MIT",
    "README.md",
    "clippy.toml",
    "deny.toml",
    "deploy/",
    "docs/",
    "rustfmt.toml",
    "tracer-common/",
    "tracer-ebpf/",
    "tracer/",
    "typos.toml",
    "xtask/",
];

pub fn faults(files: &[File]) -> Vec<Fault> {
    let tops: BTreeSet<_> = files.iter().map(|file| top(&file.path)).collect();
    tops.into_iter()
        .filter(|top| !ALLOWED.contains(top))
        .map(|top| Fault {
            path: top.to_owned(),
            line: None,
            what: "does not belong at the top level (the list is in xtask/src/tidy/layout.rs)"
                .to_owned(),
        })
        .collect()
}

fn top(path: &str) -> &str {
    path.split_inclusive('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::{super::file, *};

    #[test]
    fn strays_are_named_once() {
        let files = [
            "tracer/src/a.rs",
            "Cargo.toml",
            "notes/a",
            "notes/b",
            "tracer.md",
            "docs",
            "rust-toolchain.toml",
        ]
        .map(|path| file(path, ""));
        let strays: Vec<_> = faults(&files).into_iter().map(|fault| fault.path).collect();
        assert_eq!(
            strays,
            ["docs", "notes/", "rust-toolchain.toml", "tracer.md"]
        );
    }
}
