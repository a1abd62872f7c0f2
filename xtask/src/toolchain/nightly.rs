//! The usual set-up: rustup's nightly with the component rust-src, and a bpf-linker on the PATH.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use super::{
    choice::{Choice, core_source},
    probe, stamp,
};
use crate::command;

/// The choice, or what is lacking.
pub fn find() -> Result<Result<Choice, String>> {
    if command::find("rustup").is_none() {
        return Ok(Err("there is no rustup on the PATH".into()));
    }
    // Asked first, because `rustup run` may begin to download a toolchain that is not there.
    let installed = command::read(Command::new("rustup").args(["toolchain", "list"]))?;
    if !installed.lines().any(|line| line.starts_with("nightly-")) {
        return Ok(Err("it is not installed".into()));
    }
    let sysroot = command::read(
        Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]),
    )?;
    let sysroot = PathBuf::from(sysroot.trim());
    if !core_source(&sysroot).exists() {
        return Ok(Err("its component rust-src is not installed".into()));
    }
    let Some(linker) = command::find("bpf-linker") else {
        return Ok(Err("there is no bpf-linker on the PATH".into()));
    };
    let rustc = sysroot.join("bin/rustc");
    if let Err(error) = probe::link("nightly", &rustc, &linker) {
        return Ok(Err(format!(
            "it and {} do not agree: {error:#}",
            linker.display()
        )));
    }
    Ok(Ok(Choice {
        toolchain: "nightly".into(),
        stamp: stamp(&rustc, &linker),
        sysroot,
        linker,
        bootstrap: false,
    }))
}
