//! The eBPF toolchain: a rustc that can compile core for the BPF target (it needs core's sources and a compiler that
//! accepts `-Z build-std`), and a bpf-linker whose LLVM reads what that rustc writes.
//!
//! In this order: rustup's nightly with rust-src and a bpf-linker on the PATH, as aya's documentation has it; Debian's
//! own packages, installed here when we are root; otherwise advice. What was found is kept in one file in the cache
//! folder (see [`choice`]), so that the next run has nothing to do and tracer's build script finds it too.

pub mod choice;
mod debian;
mod nightly;
mod probe;

use std::{
    fs::{self, File},
    path::Path,
    time::UNIX_EPOCH,
};

use anyhow::{Context as _, Result, bail};

use crate::command::say;
use choice::Choice;

/// Sets up the toolchain unless that is done.
pub fn ensure() -> Result<Choice> {
    if let Some(choice) = current() {
        return Ok(choice);
    }
    let cache = choice::cache()?;
    fs::create_dir_all(&cache)
        .with_context(|| format!("cannot create the cache folder {}", cache.display()))?;
    // Two first runs at once would build the linker twice and install packages under each other's feet.
    let lock = File::create(cache.join("lock")).context("cannot create the set-up's lock file")?;
    lock.lock().context("cannot lock the set-up")?;
    if let Some(choice) = current() {
        return Ok(choice);
    }

    say("setting up the eBPF toolchain (once)");
    let choice = choose()?;
    save(&choice)?;
    say(format!(
        "the eBPF toolchain is ready: {}, {}",
        choice.rustc().display(),
        choice.linker.display()
    ));
    Ok(choice)
}

/// See [`Choice::stamp`].
fn stamp(rustc: &Path, linker: &Path) -> String {
    let changed = |file: &Path| {
        let time = file.metadata().and_then(|meta| meta.modified()).ok()?;
        Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs().to_string())
    };
    [rustc, linker]
        .map(|file| changed(file).unwrap_or_else(|| "-".to_owned()))
        .join(" ")
}

fn current() -> Option<Choice> {
    let choice = Choice::read().ok()?;
    let now = stamp(&choice.rustc(), &choice.linker);
    (choice.stamp == now).then_some(choice)
}

fn choose() -> Result<Choice> {
    match nightly::find() {
        Ok(choice) => return Ok(choice),
        Err(lack) => say(format!("rustup's nightly cannot be used: {lack:#}")),
    }
    match debian::set_up() {
        Ok(choice) => return Ok(choice),
        Err(lack) => say(format!("Debian's packages cannot be used: {lack:#}")),
    }
    bail!(
        "no eBPF toolchain, and none can be set up here. Do one of these and run this again:\n  \
         anywhere: rustup toolchain install nightly --component rust-src && cargo install bpf-linker\n  \
         on Debian 12: run this once as root, and it installs Debian's packages"
    );
}

fn save(choice: &Choice) -> Result<()> {
    let file = choice::file()?;
    let draft = file.with_extension("new");
    fs::write(&draft, written(choice))
        .and_then(|()| fs::rename(&draft, &file))
        .with_context(|| format!("cannot write {}", file.display()))
}

fn written(choice: &Choice) -> String {
    format!(
        "toolchain={}\nsysroot={}\nlinker={}\nbootstrap={}\nstamp={}\n",
        choice.toolchain,
        choice.sysroot.display(),
        choice.linker.display(),
        u8::from(choice.bootstrap),
        choice.stamp,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_choice_is_read_back() {
        let choice = Choice {
            toolchain: "tracer-debian".into(),
            sysroot: "/a b/sysroot".into(),
            linker: "/cache/bin/bpf-linker".into(),
            bootstrap: true,
            stamp: "1 2".into(),
        };
        assert_eq!(Choice::parse(&written(&choice)).unwrap(), choice);
    }

    #[test]
    fn a_choice_with_a_line_missing_is_refused() {
        let error =
            Choice::parse("toolchain=nightly\nsysroot=/s\nlinker=/l\nstamp=1 2\n").unwrap_err();
        assert_eq!(error.to_string(), "no line bootstrap=…");
    }
}
