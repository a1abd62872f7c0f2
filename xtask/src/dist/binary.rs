//! The binary that packages carry: linked statically, so that it runs on any distribution and in an empty container.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    cargo::{self, workspace},
    command,
};

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// In Cargo.toml.
const PROFILE: &str = "packaged";

/// Between the flags in CARGO_ENCODED_RUSTFLAGS.
const SEPARATOR: &str = "\x1f";

/// Builds it and returns where it is.
pub fn build() -> Result<PathBuf> {
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
    // Panics name source files, and it is nobody's business where these were.
    for (place, name) in places() {
        flags.push(format!("--remap-path-prefix={}={name}", place.display()));
    }
    let args = ["--profile", PROFILE, "--target", TARGET];
    cargo::build_tracer(&args, |command| {
        command.env("CARGO_ENCODED_RUSTFLAGS", flags.join(SEPARATOR));
    })
}

/// Fails with what is missing where a static binary cannot be linked.
pub fn static_libc() -> Result<()> {
    const LIBRARY: &str = "libc.a";
    let found = command::read(Command::new("cc").arg(format!("-print-file-name={LIBRARY}")))
        .context(
            "no C compiler to link with: install gcc and libc6-dev, or what your system calls them",
        )?;
    // Where there is none, the name comes back as it is.
    if Path::new(found.trim()).is_absolute() {
        return Ok(());
    }
    bail!(
        "the static C library {LIBRARY} is missing: install libc6-dev (Debian) or glibc-static (Fedora)"
    )
}

fn places() -> Vec<(PathBuf, &'static str)> {
    let home = |variable: &str, folder: &str| {
        let set = env::var_os(variable).map(PathBuf::from);
        set.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(folder)))
    };
    let mut places = vec![(workspace().to_owned(), "tracer")];
    places.extend(home("CARGO_HOME", ".cargo").map(|place| (place, "cargo")));
    places.extend(home("RUSTUP_HOME", ".rustup").map(|place| (place, "rustup")));
    places
}
