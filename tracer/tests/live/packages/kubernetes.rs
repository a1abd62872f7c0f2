//! The DaemonSet, by the schemas of Kubernetes.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use super::{INSTALL, VERSION};
use crate::lab::{folder::Folder, needs::pip_modules, unit::deploy};

/// The validator, and what it needs of others.
pub const VALIDATE: &[&str] = &[
    "kubernetes-validate==1.37.0",
    "attrs",
    "importlib_resources",
    "jsonschema",
    "jsonschema-specifications",
    "packaging",
    "PyYAML",
    "referencing",
    "rpds-py",
    "typing_extensions",
];

/// The oldest and the newest that it knows.
const RELEASES: [&str; 2] = ["1.25", "1.37"];

fn validate(file: &Path, release: &str) -> Output {
    Command::new("python3")
        .args(["-m", "kubernetes_validate", "--strict", "-k", release])
        .arg(file)
        .env("PYTHONPATH", pip_modules())
        .output()
        .expect("a need")
}

fn text() -> String {
    fs::read_to_string(deploy(FILE)).expect("the DaemonSet")
}

/// What it has the tracer do.
pub fn args() -> Vec<String> {
    let text = text();
    let args = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("args: "));
    serde_json::from_str(args.expect("arguments")).expect("a list in one line")
}

/// What it mounts where the node has it.
pub fn mounts() -> Vec<String> {
    let text = text();
    let paths = text.lines().map(str::trim);
    let of = |key: &str| -> Vec<String> {
        let values = paths.clone().filter_map(|line| line.strip_prefix(key));
        values.map(str::to_owned).collect()
    };
    let (mounts, node) = (of("mountPath: "), of("path: /"));
    let node: Vec<String> = node.iter().map(|path| format!("/{path}")).collect();
    // The probe's path is the first.
    assert_eq!(mounts, node[1..]);
    mounts
}

/// The capabilities that it adds.
pub fn capabilities() -> Vec<String> {
    let text = text();
    let added = text
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "add:");
    let added = added.skip(1).filter(|line| !line.starts_with('#'));
    let names: Vec<String> = added
        .map_while(|line| line.strip_prefix("- "))
        .map(str::to_owned)
        .collect();
    assert!(names.len() >= 2, "{names:?}");
    names
}

const FILE: &str = "kubernetes/daemonset.yaml";

pub fn daemon_set() {
    let file = deploy(FILE);
    for release in RELEASES {
        let output = validate(&file, release);
        assert!(output.status.success(), "{release}: {output:?}");
    }
    let text = text();
    assert!(text.contains(&format!("image: tracer:{VERSION}\n")));
    for name in capabilities() {
        let row = format!("\n| `CAP_{name}` |");
        assert!(INSTALL.contains(&row), "docs/install.md says why {name}");
    }
    // What is misspelt would be refused.
    let folder = Folder::new();
    let wrong = folder.file("wrong.yaml");
    fs::write(&wrong, text.replace("hostPID:", "hostPid:")).expect("the folder is ours");
    assert!(!validate(&wrong, RELEASES[1]).status.success());
}
