//! Does this bpf-linker read what this rustc writes? They have to agree on LLVM, and neither says so in its version;
//! so a function of one line is compiled to bitcode and linked for BPF, which takes a fraction of a second.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{self, Command},
};

use anyhow::{Context as _, Result};

use crate::command;

const SOURCE: &str = "#![no_std]\n#[unsafe(no_mangle)]\npub extern \"C\" fn probe(x: u64) -> u64 { x.wrapping_mul(3) }\n";

/// `toolchain` is rustup's name for the compiler, empty without rustup.
pub fn link(toolchain: &str, rustc: &Path, linker: &Path) -> Result<()> {
    let scratch = Scratch::new()?;
    let source = scratch.0.join("probe.rs");
    fs::write(&source, SOURCE).with_context(|| format!("cannot write {}", source.display()))?;
    let bitcode = scratch.0.join("probe.bc");
    command::read(
        Command::new(rustc)
            .args(["--emit=llvm-bc", "--crate-type=lib", "--edition=2024"])
            .args(["-O", "-Cpanic=abort", "-o"])
            .args([&bitcode, &source]),
    )?;
    command::read(
        under(toolchain, linker)
            .args(["--target=bpfel-unknown-none", "--export", "probe", "-o"])
            .args([&scratch.0.join("probe.o"), &bitcode]),
    )?;
    Ok(())
}

/// A bpf-linker may load rustc's own LLVM, which it finds through what `rustup run` puts into its environment.
fn under(toolchain: &str, linker: &Path) -> Command {
    if toolchain.is_empty() {
        return Command::new(linker);
    }
    let mut command = Command::new("rustup");
    command.args(["run", toolchain]).arg(linker);
    command
}

struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("tracer-probe-{}", process::id()));
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Left behind in the temporary folder it does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}
