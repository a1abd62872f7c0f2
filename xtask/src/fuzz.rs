//! `cargo xtask fuzz`: libFuzzer on whatever tracer reads from outside (tracer/fuzz), with AddressSanitizer, by the stable
//! compiler. What it finds interesting stays in the cache folder, where the next run begins; what it finds wrong belongs
//! into tracer/fuzz/findings.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    cargo::{built, cargo, workspace},
    command::{self, say, shown},
    toolchain::{self, choice},
};

/// What there is: a module of tracer/fuzz/src each, and other tests' files that are seeds, too.
const TARGETS: [(&str, &[&str]); 6] = [
    ("btf", &["tracer/tests/btf"]),
    ("cgroup", &[]),
    ("config", &[]),
    ("decode", &[]),
    ("filter", &[]),
    ("replay", &["tracer/tests/recordings/v1"]),
];

/// As cargo-fuzz sets them, but for its `--cfg fuzzing`, which would compile other crates differently.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address";

/// With --target a build script is compiled without these flags.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

#[derive(clap::Args)]
pub struct Options {
    /// Which targets (default: all of them): btf, cgroup, config, decode, filter, replay
    targets: Vec<String>,
    /// How long each of them runs
    #[arg(long, value_name = "N", default_value_t = 600)]
    seconds: u32,
}

pub fn fuzz(options: &Options) -> Result<ExitCode> {
    let asked = |name: &str| {
        options.targets.is_empty() || options.targets.iter().any(|target| target == name)
    };
    if let Some(unknown) = options
        .targets
        .iter()
        .find(|target| TARGETS.iter().all(|(name, _)| name != target))
    {
        bail!(
            "there is no target {unknown}: these are {}",
            names().collect::<Vec<_>>().join(", ")
        );
    }
    let fuzzers = build()?;
    for name in names().filter(|name| asked(name)) {
        say(format!("fuzzing {name} for {} s", options.seconds));
        command::run(&mut fuzzer(&fuzzers, name, options.seconds)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

pub fn names() -> impl Iterator<Item = &'static str> {
    TARGETS.iter().map(|(name, _)| *name)
}

/// Programs by the names of their targets.
pub struct Fuzzers(Vec<(String, PathBuf)>);

/// Builds them all: they share nearly everything.
pub fn build() -> Result<Fuzzers> {
    toolchain::ensure()?;
    let mut command = cargo();
    command
        .args(["build", "--release", "--target", TRIPLE])
        .args(["--manifest-path", "tracer/fuzz/Cargo.toml", "--target-dir"])
        .arg(workspace().join("target/fuzz"))
        .arg("--message-format=json-render-diagnostics")
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", FLAGS)
        .stderr(std::process::Stdio::inherit());
    let output = command::capture(&mut command)?;
    if !output.status.success() {
        bail!("{} ended with {}", shown(&command), output.status);
    }
    let built = built(&String::from_utf8_lossy(&output.stdout));
    Ok(Fuzzers(
        built
            .into_iter()
            .map(|built| (built.target, built.file))
            .collect(),
    ))
}

/// The command that looks for what a target does not stand.
pub fn fuzzer(fuzzers: &Fuzzers, name: &str, seconds: u32) -> Result<Command> {
    let (_, program) = fuzzers
        .0
        .iter()
        .find(|(target, _)| target == name)
        .context("cargo built no such target")?;
    let corpus = choice::cache()?.join("fuzz").join(name);
    fs::create_dir_all(&corpus).with_context(|| format!("cannot create {}", corpus.display()))?;
    let fixtures = TARGETS
        .iter()
        .find(|(target, _)| *target == name)
        .map_or(&[][..], |(_, folders)| folders);
    let own = ["seeds", "findings"].map(|kind| format!("tracer/fuzz/{kind}/{name}"));
    let folders = own
        .iter()
        .map(String::as_str)
        .chain(fixtures.iter().copied());
    let findings = workspace().join(format!("target/fuzz/finding-{name}-"));
    let mut command = Command::new(program);
    command
        .arg(format!("-max_total_time={seconds}"))
        .args([
            "-max_len=16384",
            "-rss_limit_mb=2048",
            "-print_final_stats=1",
            "-timeout=120",
        ])
        .arg(format!("-artifact_prefix={}", findings.display()))
        .arg(corpus)
        .args(
            folders
                .map(|folder| workspace().join(folder))
                .filter(|folder: &PathBuf| Path::is_dir(folder)),
        )
        // Freed memory is soon used again: the core keeps much.
        .env("ASAN_OPTIONS", "quarantine_size_mb=1")
        .current_dir(workspace());
    Ok(command)
}
