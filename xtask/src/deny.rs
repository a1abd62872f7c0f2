//! cargo-deny by deny.toml: what other people's crates may bring along.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    cargo::workspace,
    command::{self, say},
    toolchain::choice,
};

const VERSION: &str = "0.20.2";

/// What the tests call it.
pub const STEP: &str = "deny";
pub const ADVISORIES: &str = "advisories";

/// One that is there, else our own, built once into the cache folder.
pub fn tool() -> Result<PathBuf> {
    let root = choice::cache()?.join(format!("cargo-deny-{VERSION}"));
    let ours = root.join("bin/cargo-deny");
    if let Some(tool) = [Some(ours.clone()), command::find("cargo-deny")]
        .into_iter()
        .flatten()
        .find(|tool| command::is_executable(tool))
    {
        return Ok(tool);
    }
    say(format!(
        "building cargo-deny {VERSION} (once, about two minutes)"
    ));
    let mut install = Command::new("cargo");
    install
        // It has little to do: what counts is how soon it is built.
        .args([
            "install",
            "cargo-deny",
            "--version",
            VERSION,
            "--locked",
            "--debug",
            "--quiet",
            "--root",
        ])
        .arg(&root)
        // A checkout's settings are not meant for a tool.
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .current_dir(choice::cache()?);
    command::read(&mut install).map_err(|error| {
        say(format!("{error:#}"));
        error.context("cargo-deny cannot be built here: see above")
    })?;
    Ok(ours)
}

pub fn check(tool: &Path) -> Command {
    deny(tool, &["--offline", "check", "licenses", "bans", "sources"])
}

pub fn advisories(tool: &Path) -> Command {
    deny(tool, &["--offline", "check", "advisories"])
}

/// Gets the list of advisories, which is a repository of its own.
pub fn fetch(tool: &Path) -> Result<()> {
    command::read(&mut deny(tool, &["fetch", "db"]))
        .map(drop)
        .ok()
        .context("the list of advisories cannot be fetched here: cargo deny check advisories does it elsewhere")
}

fn deny(tool: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(tool);
    command.args(args).current_dir(workspace());
    command
}
