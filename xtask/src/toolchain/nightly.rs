//! The usual set-up: rustup's nightly with the component rust-src, and a bpf-linker on the PATH.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};

use super::{
    choice::{Choice, core_source},
    probe, stamp,
};
use crate::command;

pub fn find() -> Result<Choice> {
    ensure!(
        command::find("rustup").is_some(),
        "there is no rustup on the PATH"
    );
    // Asked first, because `rustup run` may begin to download a toolchain that is not there.
    let installed = command::read(Command::new("rustup").args(["toolchain", "list"]))?;
    ensure!(
        installed.lines().any(|line| line.starts_with("nightly-")),
        "it is not installed"
    );
    let sysroot = command::read(
        Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]),
    )?;
    let sysroot = PathBuf::from(sysroot.trim());
    ensure!(
        core_source(&sysroot).exists(),
        "its component rust-src is not installed"
    );
    let linker = command::find("bpf-linker").context("there is no bpf-linker on the PATH")?;
    let rustc = sysroot.join("bin/rustc");
    probe::link("nightly", &rustc, &linker)
        .with_context(|| format!("it does not work with {}", linker.display()))?;
    Ok(Choice {
        toolchain: "nightly".into(),
        stamp: stamp(&rustc, &linker),
        sysroot,
        linker,
        bootstrap: false,
    })
}
