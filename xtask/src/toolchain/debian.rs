//! Debian's way, where rustup's rust-src cannot be had: Debian's own rustc and its core sources, LLVM of the same
//! version, and a bpf-linker built against that LLVM into the cache folder.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    choice::{self, Choice, core_source},
    probe, stamp,
};
use crate::{
    apt,
    command::{self, say},
};

/// The compiler and its sources; LLVM and what it is linked with; a C++ compiler, by which cargo links.
const PACKAGES: &[&str] = &[
    "rustc-web",
    "rust-web-src",
    "llvm-22-dev",
    "libpolly-22-dev",
    "zlib1g-dev",
    "libzstd-dev",
    "g++",
];
/// Only `cargo xtask test` wants it, so doing without is better than not building.
const LINTER: &str = "rust-web-clippy";
const LLVM: &str = "22";
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";
const LINKER_VERSION: &str = "0.13.0";
/// Ours, so that a toolchain somebody else has linked is left alone.
const TOOLCHAIN: &str = "tracer-debian";
const SYSROOT: &str = "/usr";

pub fn set_up() -> Result<Choice> {
    install_packages()?;
    let rustc = Path::new(SYSROOT).join("bin/rustc");
    check_compiler(&rustc)?;
    let (toolchain, sysroot) = link_toolchain()?;
    let linker = linker(&toolchain, &rustc)?;
    Ok(Choice {
        toolchain,
        stamp: stamp(&sysroot.join("bin/rustc"), &linker),
        sysroot,
        linker,
        bootstrap: true,
    })
}

fn install_packages() -> Result<()> {
    ensure!(command::find("apt-get").is_some(), "there is no apt-get");
    let mut missing = apt::missing(PACKAGES)?;
    if command::is_root() {
        missing.extend(apt::missing(&[LINTER])?);
    }
    if missing.is_empty() {
        return Ok(());
    }
    ensure!(
        command::is_root(),
        "installing {} needs root",
        missing.join(" ")
    );
    say(format!("installing Debian's {}", missing.join(" ")));
    apt::install(&missing)
}

fn check_compiler(rustc: &Path) -> Result<()> {
    let sources = core_source(Path::new(SYSROOT));
    ensure!(
        sources.exists(),
        "rust-web-src is installed, but {} is not there",
        sources.display()
    );
    let version = command::read(Command::new(rustc).arg("-vV"))?;
    let llvm = version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "));
    if llvm.and_then(|llvm| llvm.split('.').next()) != Some(LLVM) {
        bail!(
            "{} uses LLVM {}, but this set-up knows LLVM {LLVM} only: bring xtask/src/toolchain/debian.rs up to date",
            rustc.display(),
            llvm.unwrap_or("of no stated version"),
        );
    }
    Ok(())
}

/// Makes Debian's compiler known to rustup, through which aya-build starts it.
fn link_toolchain() -> Result<(String, PathBuf)> {
    if command::find("rustup").is_none() {
        return Ok((String::new(), SYSROOT.into()));
    }
    let home = env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".rustup")))
        .context("no rustup home: neither RUSTUP_HOME nor HOME is set")?;
    let sysroot = home.join("toolchains").join(TOOLCHAIN);
    let folder = toolchain_folder()?;
    if sysroot.canonicalize().ok() != folder.canonicalize().ok() {
        say(format!(
            "linking {} as rustup's toolchain {TOOLCHAIN}",
            folder.display()
        ));
        command::read(
            Command::new("rustup")
                .args(["toolchain", "link", TOOLCHAIN])
                .arg(&folder),
        )?;
    }
    Ok((TOOLCHAIN.into(), sysroot))
}

/// Debian's compiler beside rustup's cargo. Debian's packages bring no cargo, and rustup, which would look for one
/// in its other toolchains, says so in every build.
fn toolchain_folder() -> Result<PathBuf> {
    let cargo = command::read(Command::new("rustup").args(["which", "cargo"]))?;
    let folder = choice::cache()?.join("toolchain");
    let bin = folder.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("cannot create {}", bin.display()))?;
    let system = Path::new(SYSROOT);
    for (link, target) in [
        (folder.join("lib"), system.join("lib")),
        (bin.join("rustc"), system.join("bin/rustc")),
        (bin.join("cargo-clippy"), system.join("bin/cargo-clippy")),
        (bin.join("cargo"), cargo.trim().into()),
    ] {
        if link.read_link().is_ok_and(|old| old == target) {
            continue;
        }
        // It may point elsewhere since an earlier set-up, or not be there.
        let _ = fs::remove_file(&link);
        symlink(&target, &link)
            .with_context(|| format!("cannot link {} to {}", link.display(), target.display()))?;
    }
    Ok(folder)
}

/// One that is there and fits, else our own.
fn linker(toolchain: &str, rustc: &Path) -> Result<PathBuf> {
    let root = choice::cache()?.join(format!("bpf-linker-{LINKER_VERSION}-llvm-{LLVM}"));
    let ours = root.join("bin/bpf-linker");
    for linker in [Some(ours.clone()), command::find("bpf-linker")]
        .into_iter()
        .flatten()
    {
        if command::is_executable(&linker) && probe::link(toolchain, rustc, &linker).is_ok() {
            return Ok(linker);
        }
    }
    say(format!(
        "building bpf-linker {LINKER_VERSION} (about a minute)"
    ));
    command::run(
        Command::new("cargo")
            .args([
                "install",
                "bpf-linker",
                "--version",
                LINKER_VERSION,
                "--locked",
                "--force",
            ])
            .args(["--quiet", "--no-default-features", "--features"])
            .arg(format!("llvm-{LLVM}"))
            .arg("--root")
            .arg(&root)
            // Without these it links against whichever LLVM it comes across first.
            .env("LLVM_PREFIX", LLVM_PREFIX)
            .env(format!("LLVM_SYS_{LLVM}1_PREFIX"), LLVM_PREFIX)
            // A checkout's settings are not meant for a tool.
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("CARGO_BUILD_TARGET")
            .current_dir(choice::cache()?),
    )?;
    probe::link(toolchain, rustc, &ours)
        .with_context(|| format!("the linker just built does not work: {}", ours.display()))?;
    Ok(ours)
}
