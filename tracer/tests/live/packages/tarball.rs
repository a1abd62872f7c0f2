//! The tarball: a binary that needs nothing of the system.

use std::{
    fs,
    os::unix::fs::{MetadataExt, chroot},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Output},
};

use super::VERSION;
use crate::lab::{dist, folder::Folder, netns::run};

/// Unpacks it and returns the name of its one folder.
pub fn unpack(to: &Path) -> String {
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(dist::file(".tar.gz"));
    run(tar.arg("-C").arg(to), "");
    format!("tracer-{VERSION}-x86_64-linux")
}

fn in_root(root: &Path, program: &str, args: &[&str]) -> Output {
    let root = root.to_owned();
    let mut command = Command::new(program);
    // SAFETY: two bare system calls between fork and exec.
    unsafe {
        command.pre_exec(move || {
            chroot(&root)?;
            std::env::set_current_dir("/")
        });
    }
    command.args(args).output().expect("the binary starts")
}

pub fn runs_in_an_empty_root() {
    let folder = Folder::new();
    let inside = folder.file(&unpack(folder.path()));
    for file in [
        "LICENSE-MIT",
        "LICENSE-GPL2",
        "README.md",
        "completions/zsh/_tracer",
    ] {
        let meta =
            fs::metadata(inside.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(
            (meta.mode() & 0o7777, meta.uid(), meta.gid()),
            (0o644, 0, 0),
            "{file}"
        );
    }
    let third_party = fs::read_to_string(inside.join("LICENSES-THIRD-PARTY")).expect("licences");
    for linked in [
        "aya 0",
        "aya-ebpf 0",
        "tokio 1",
        "Permission is hereby granted",
    ] {
        assert!(third_party.contains(linked), "{linked}");
    }
    // There is nothing but what was in the tarball: no loader, no library, no /proc.
    let says = |args: &[&str]| {
        let output = in_root(&inside, "/tracer", args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    assert_eq!(says(&["--version"]), format!("tracer {VERSION}\n"));
    let told = |file: &str| fs::read_to_string(inside.join(file)).expect(file);
    assert_eq!(says(&["schema"]), told("events.schema.json"));
    assert_eq!(says(&["gen", "config"]), told("tracer.toml"));
    let output = in_root(&inside, "/tracer", &["-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("mount"), "{message}");
}
