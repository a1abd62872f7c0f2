//! `cargo xtask run`: from a bare machine to a running tracer.

use std::{
    env,
    ffi::OsString,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result};

use crate::{
    cargo::build_tracer,
    command::{self, shown},
    toolchain,
};

pub fn run(args: &[OsString]) -> Result<ExitCode> {
    toolchain::ensure()?;
    let tracer = build()?;
    // Replaces this process: signals and the exit status are tracer's own, and Ctrl-C reaches nobody else.
    let mut command = as_root(&tracer);
    let error = command.args(args).exec();
    Err(error).with_context(|| format!("cannot start {}", shown(&command)))
}

/// Builds the release binary, as the user who called, and returns where it is.
pub fn build() -> Result<PathBuf> {
    build_tracer(&["--release"], |_| ())
}

fn as_root(program: &Path) -> Command {
    if command::is_root() {
        return Command::new(program);
    }
    // sudo drops the environment, and asking it to keep some of it takes a right of its own; env does not.
    let mut command = Command::new("sudo");
    command.args(["--", "env"]);
    for (key, value) in env::vars_os() {
        let name = key.to_string_lossy();
        if name.starts_with("TRACER_") || name == "NO_COLOR" {
            let mut setting = key;
            setting.push("=");
            setting.push(value);
            command.arg(setting);
        }
    }
    command.arg(program);
    command
}
