//! Which compiler and linker build the eBPF side: the one small file by which xtask, which sets them up, tells
//! tracer's build script, which uses them. Both compile this source, so it needs nothing but std and anyhow.
//!
//! The file has a line `key=value` for each field. Deleting it makes `cargo xtask` choose afresh.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// As `rustup run` takes it; empty where there is no rustup and the compiler is Debian's.
    pub toolchain: String,
    /// Where that toolchain's `bin/rustc` and its `lib/rustlib/src` are.
    pub sysroot: PathBuf,
    pub linker: PathBuf,
    /// The compiler is a stable one that has to be told to accept `-Z build-std`.
    pub bootstrap: bool,
    /// When compiler and linker were last changed. They have to agree on LLVM, which a new version of either can end.
    pub stamp: String,
}

impl Choice {
    pub fn read() -> Result<Self> {
        let file = file()?;
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let choice = Self::parse(&text).with_context(|| format!("in {}", file.display()))?;
        choice.check()?;
        Ok(choice)
    }

    pub fn parse(text: &str) -> Result<Self> {
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
                .with_context(|| format!("no line {key}=…"))
        };
        Ok(Self {
            toolchain: value("toolchain")?.to_owned(),
            sysroot: value("sysroot")?.into(),
            linker: value("linker")?.into(),
            bootstrap: value("bootstrap")? == "1",
            stamp: value("stamp")?.to_owned(),
        })
    }

    /// Whether what was chosen is still there. Looks at files only: this runs before every build.
    fn check(&self) -> Result<()> {
        for file in [&self.rustc(), &core_source(&self.sysroot), &self.linker] {
            if !file.exists() {
                bail!("{} is gone", file.display());
            }
        }
        Ok(())
    }

    pub fn rustc(&self) -> PathBuf {
        self.sysroot.join("bin/rustc")
    }
}

/// Where the choice is written.
pub fn file() -> Result<PathBuf> {
    Ok(cache()?.join("ebpf-toolchain"))
}

/// Outside the tree and outside target, so that `cargo clean` keeps it and every checkout shares it.
pub fn cache() -> Result<PathBuf> {
    let absolute = |key| {
        env::var_os(key)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = absolute("XDG_CACHE_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".cache")))
        .context("no cache folder: neither XDG_CACHE_HOME nor HOME is set to an absolute path")?;
    Ok(base.join("tracer"))
}

/// The sources of core below a sysroot: `-Z build-std=core` compiles them for the BPF target.
pub fn core_source(sysroot: &Path) -> PathBuf {
    sysroot.join("lib/rustlib/src/rust/library/core")
}
