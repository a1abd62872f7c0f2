//! `cargo xtask picture`: the pictures of the live view in docs/, by the test that holds them to the recording.

use std::process::ExitCode;

use anyhow::Result;

use crate::{cargo::cargo, command};

pub fn picture() -> Result<ExitCode> {
    let mut command = cargo();
    command
        .args(["test", "--package", "tracer", "--test", "pictures"])
        .env("UPDATE_PICTURES", "1");
    command::run(&mut command)?;
    Ok(ExitCode::SUCCESS)
}
