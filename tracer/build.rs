//! Builds the kernel programs into `$OUT_DIR/tracer`, with the toolchain that `cargo xtask` has set up.

use std::{env, path::Path};

use anyhow::{Context as _, Result};
use aya_build::{Package, Toolchain};

#[path = "../xtask/src/toolchain/choice.rs"]
mod choice;
use choice::Choice;

fn main() -> Result<()> {
    for variable in ["XDG_CACHE_HOME", "HOME"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    rerun_if_changed(&choice::file()?);
    let choice = Choice::read().context(
        "no eBPF toolchain: run `cargo xtask run` (or `cargo xtask test`) once: it sets up the eBPF toolchain",
    )?;
    rerun_if_changed(&choice.rustc());
    rerun_if_changed(&choice.linker);

    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    // aya-build itself watches the package that it builds.
    for part in [
        "tracer-common/Cargo.toml",
        "tracer-common/src",
        "Cargo.toml",
        "Cargo.lock",
    ] {
        rerun_if_changed(&workspace.join(part));
    }
    set_environment(&choice)?;

    let root_dir = workspace.join("tracer-ebpf");
    let log = env::var_os("CARGO_FEATURE_KERNEL_LOG").is_some();
    let package = Package {
        name: "tracer-ebpf",
        root_dir: root_dir
            .to_str()
            .context("the path of the checkout is not UTF-8")?,
        features: if log { &["log"] } else { &[] },
        ..Package::default()
    };
    aya_build::build_ebpf([package], Toolchain::Custom(&choice.toolchain))
        .context("cannot build the kernel programs: the compiler's messages are above")
}

fn rerun_if_changed(path: &Path) {
    println!("cargo:rerun-if-changed={}", path.display());
}

/// aya-build hands its own environment on to the cargo that it starts.
fn set_environment(choice: &Choice) -> Result<()> {
    let linker = choice.linker.parent().map(Path::to_owned);
    // Without rustup aya-build takes the first rustc on the PATH.
    let compiler = choice
        .toolchain
        .is_empty()
        .then(|| choice.sysroot.join("bin"));
    let inherited = env::var_os("PATH").unwrap_or_default();
    let path = linker
        .into_iter()
        .chain(compiler)
        .chain(env::split_paths(&inherited));
    let path = env::join_paths(path).context("cannot put the eBPF toolchain onto the PATH")?;
    // SAFETY: nothing else runs in this process yet: aya-build starts its threads later.
    unsafe {
        env::set_var("PATH", path);
        // Every line of that cargo's progress would become a warning of this one.
        env::set_var("CARGO_TERM_QUIET", "true");
        // That of `cargo miri` understands no other compiler.
        env::remove_var("RUSTC_WRAPPER");
        if choice.bootstrap {
            env::set_var("RUSTC_BOOTSTRAP", "1");
        }
    }
    Ok(())
}
