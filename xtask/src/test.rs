//! `cargo xtask test`: every test that this machine can run, and one line of counts at the end.
//!
//! The formatter, the house rules and the linters count as one test each. Test programs are started one by one rather
//! than by `cargo test`, so that the live ones can be run as root while nothing else is, and so that a skip, which
//! libtest does not know, can be told from a pass: a test that cannot run here prints `skipped: NAME: REASON` and
//! returns.

mod libtest;
mod live;
mod second_chance;
mod tally;
mod watch;

use std::{
    io::{self, Write as _},
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::Result;

use crate::{
    cargo::{Built, built, cargo, workspace},
    command::{self, say},
    deny, fuzz, tidy,
    toolchain::{self, choice::Choice},
};
use libtest::{Listener, Report};
use tally::Tally;
use watch::End;

/// For what only reads the sources.
const SHORT: Duration = Duration::from_secs(5 * 60);
/// For what compiles, from scratch and on a slow machine.
const COMPILE: Duration = Duration::from_secs(30 * 60);
/// For a program of unprivileged tests.
const UNPRIVILEGED: Duration = Duration::from_secs(10 * 60);

/// For the core in an interpreter, with --long.
const MIRI: Duration = Duration::from_secs(60 * 60);
/// For a fuzz target, with --long.
const FUZZ_SECONDS: u32 = 600;
const FUZZ: Duration = Duration::from_secs(FUZZ_SECONDS as u64 + 120);

/// The workspace without the part that only compiles for the BPF target.
const USER_SPACE: [&str; 3] = ["--workspace", "--exclude", "tracer-ebpf"];

#[derive(clap::Args)]
pub struct Options {
    /// Count a test that is skipped for want of privilege as failed
    #[arg(long)]
    require_root: bool,
    /// Run the ignored tests too: they take long
    #[arg(long)]
    long: bool,
    /// Run only tests whose names contain this (the steps fmt, tidy, clippy, clippy-ebpf, deny, advisories are tests too)
    #[arg(long, value_name = "SUBSTR")]
    filter: Option<String>,
    /// Leave out the live tests, which need root
    #[arg(long)]
    skip_live: bool,
    /// Give live tests that fail no second chance
    #[arg(long)]
    strict: bool,
}

pub fn test(options: &Options) -> Result<ExitCode> {
    let toolchain = toolchain::ensure()?;
    let mut session = Session {
        options,
        tally: Tally::new(options.require_root),
    };
    session.check_sources();
    session.lint(&toolchain);
    session.deny();
    let (live, unprivileged): (Vec<_>, Vec<_>) = session
        .build()
        .into_iter()
        .partition(|program| program.target == live::TARGET);
    session.unprivileged(&unprivileged);
    session.miri();
    session.fuzz();
    session.live(&live);
    if let Some(part) = &options.filter
        && session.tally.is_empty()
    {
        session.tally.fail(
            "--filter",
            format!("there is no test whose name contains {part}"),
        );
    }
    session.tally.report(io::stdout().lock())
}

/// One run: what was asked for, and what came of it so far.
struct Session<'a> {
    options: &'a Options,
    tally: Tally,
}

impl Session<'_> {
    fn check_sources(&mut self) {
        if works(cargo().args(["fmt", "--version"])) {
            self.step(
                "fmt",
                SHORT,
                cargo().args(["fmt", "--all", "--", "--check"]),
            );
        } else {
            self.skip_step("fmt", "rustfmt is not installed");
        }
        if !workspace().join(".git").exists() {
            self.skip_step("tidy", "not a git checkout");
        } else if self.wants("tidy") {
            say("tidy");
            match tidy::check() {
                Ok(faults) if faults.is_empty() => self.tally.pass(1),
                Ok(faults) => {
                    faults.iter().for_each(|fault| println!("{fault}"));
                    self.tally.fail("tidy", format!("{} faults", faults.len()));
                }
                Err(error) => self.tally.fail("tidy", format!("{error:#}")),
            }
        }
    }

    fn lint(&mut self, toolchain: &Choice) {
        if works(cargo().args(["clippy", "--version"])) {
            let mut clippy = cargo();
            clippy
                .arg("clippy")
                .args(USER_SPACE)
                .args(["--all-targets", "--", "-D", "warnings"]);
            self.step("clippy", COMPILE, &mut clippy);
        } else {
            self.skip_step("clippy", "clippy is not installed");
        }
        if works(ebpf_cargo(toolchain).args(["clippy", "--version"])) {
            let mut clippy = ebpf_cargo(toolchain);
            clippy
                .args([
                    "clippy",
                    "--package",
                    "tracer-ebpf",
                    "--all-features",
                    "--release",
                ])
                .args(["--target", "bpfel-unknown-none", "-Z", "build-std=core"])
                .args(["--", "-D", "warnings"]);
            self.step("clippy-ebpf", COMPILE, &mut clippy);
        } else {
            self.skip_step("clippy-ebpf", "the eBPF toolchain has no clippy");
        }
    }

    /// Licences, duplicates and sources of other people's crates; known faults, where their list can be had.
    fn deny(&mut self) {
        if !self.wants(deny::STEP) && !self.wants(deny::ADVISORIES) {
            return;
        }
        match deny::tool() {
            Ok(tool) => {
                self.step(deny::STEP, SHORT, &mut deny::check(&tool));
                match deny::fetch(&tool) {
                    Ok(()) => self.step(deny::ADVISORIES, SHORT, &mut deny::advisories(&tool)),
                    Err(lack) => self.skip_step(deny::ADVISORIES, &lack.to_string()),
                }
            }
            Err(lack) => {
                self.skip_step(deny::STEP, &lack.to_string());
                self.skip_step(deny::ADVISORIES, &lack.to_string());
            }
        }
    }

    /// The pure core in an interpreter that knows what is undefined.
    fn miri(&mut self) {
        const NAME: &str = "miri";
        if !self.options.long || !self.wants(NAME) {
            return;
        }
        let mut asked = Command::new("rustup");
        if !works(asked.args(["run", "nightly", "cargo", "miri", "--version"])) {
            let lack = "rustup component add --toolchain nightly miri rust-src brings it";
            return self.skip_step(NAME, lack);
        }
        let mut miri = Command::new("rustup");
        miri.args([
            "run",
            "nightly",
            "cargo",
            "miri",
            "test",
            "--package",
            "tracer",
        ])
        .args(["--lib", "--target-dir"])
        .arg(workspace().join("target/miri"))
        .args(["--", "core::", "event::"])
        // They read the whole table of timeouts, which takes the interpreter a quarter of an hour each time.
        .args(["--skip", "core::hints", "--skip", "core::timeouts"])
        // Some read the files that they compare with.
        .env("MIRIFLAGS", "-Zmiri-disable-isolation")
        .current_dir(workspace());
        self.step(NAME, MIRI, &mut miri);
    }

    /// The fuzz targets, each for long; for a moment they run among the other tests.
    fn fuzz(&mut self) {
        let wanted: Vec<_> = fuzz::names()
            .map(|name| (name, format!("fuzz-{name}")))
            .collect();
        if !self.options.long || !wanted.iter().any(|(_, step)| self.wants(step)) {
            return;
        }
        let fuzzers = match fuzz::build() {
            Ok(fuzzers) => fuzzers,
            Err(error) => {
                return self
                    .tally
                    .fail("building the fuzz targets", format!("{error:#}"));
            }
        };
        for (name, step) in wanted {
            match fuzz::fuzzer(&fuzzers, name, FUZZ_SECONDS) {
                Ok(mut fuzzer) => self.step(&step, FUZZ, &mut fuzzer),
                Err(error) => self.tally.fail(&step, format!("{error:#}")),
            }
        }
    }

    fn unprivileged(&mut self, programs: &[Built]) {
        for program in programs {
            let mut command = Command::new(&program.file);
            if self.options.long {
                command.arg("--include-ignored");
            }
            self.run(&program.name(), UNPRIVILEGED, &mut command, program);
        }
        let mut doc = cargo();
        doc.args(["test", "--doc"]).args(USER_SPACE).arg("--");
        say("doc");
        self.libtest("doc", COMPILE, &mut doc);
    }

    /// Compiles the test programs; without them a failure is counted and there is nothing to run.
    fn build(&mut self) -> Vec<Built> {
        const NAME: &str = "building the tests";
        say(NAME);
        let mut command = cargo();
        command
            .args([
                "test",
                "--no-run",
                "--message-format=json-render-diagnostics",
            ])
            .args(USER_SPACE);
        let mut messages = Vec::new();
        let end = watch::run(&mut command, COMPILE, &mut |bytes| {
            messages.extend_from_slice(bytes)
        });
        if !end.as_ref().is_ok_and(End::success) {
            self.tally.fail(NAME, shown(end));
            return Vec::new();
        }
        let mut programs = built(&String::from_utf8_lossy(&messages));
        programs.retain(|program| program.tests);
        programs
    }

    /// Runs a test program in the folder of its package, as cargo does.
    fn run(&mut self, name: &str, limit: Duration, command: &mut Command, program: &Built) {
        say(name);
        self.libtest(name, limit, within(command, program));
    }

    /// Runs what ends in libtest's arguments and prints libtest's output.
    fn libtest(&mut self, name: &str, limit: Duration, command: &mut Command) {
        let (report, fault) = self.heard(limit, command);
        if let Some(fault) = fault {
            self.tally.fail(name, fault);
        }
        self.tally.add(name, report);
    }

    /// The same without counting it; and what went wrong beyond its tests.
    fn heard(&self, limit: Duration, command: &mut Command) -> (Report, Option<String>) {
        // The output of tests that pass is where skips are said.
        command.arg("--show-output");
        if let Some(filter) = &self.options.filter {
            command.arg(filter);
        }
        let mut listener = Listener::new(io::stdout());
        let end = watch::run(command, limit, &mut |bytes| listener.hear(bytes));
        let report = listener.finish();
        let fault = if let Some(unfinished) = &report.unfinished {
            Some(format!("{} {unfinished}", shown(end)))
        } else if report.failed.is_empty() && !end.as_ref().is_ok_and(End::success) {
            Some(shown(end))
        } else {
            None
        };
        (report, fault)
    }

    /// A command that counts as one test.
    fn step(&mut self, name: &str, limit: Duration, command: &mut Command) {
        if !self.wants(name) {
            return;
        }
        say(name);
        match watch::run(command, limit, &mut echo) {
            Ok(end) if end.success() => self.tally.pass(1),
            end => self.tally.fail(name, shown(end)),
        }
    }

    fn skip_step(&mut self, name: &str, reason: &str) {
        if self.wants(name) {
            self.tally.skip(name, reason);
        }
    }

    fn wants(&self, name: &str) -> bool {
        self.options
            .filter
            .as_ref()
            .is_none_or(|part| name.contains(part.as_str()))
    }
}

fn within<'a>(command: &'a mut Command, program: &Built) -> &'a mut Command {
    command
        .current_dir(&program.package)
        .env("CARGO_MANIFEST_DIR", &program.package)
}

/// The cargo that compiles for the BPF target.
fn ebpf_cargo(toolchain: &Choice) -> Command {
    let mut command = cargo();
    if !toolchain.toolchain.is_empty() {
        command = Command::new("rustup");
        command
            .args(["run", &toolchain.toolchain, "cargo"])
            .current_dir(workspace());
    }
    if toolchain.bootstrap {
        command.env("RUSTC_BOOTSTRAP", "1");
    }
    command
}

fn works(command: &mut Command) -> bool {
    command::capture(command).is_ok_and(|output| output.status.success())
}

fn echo(bytes: &[u8]) {
    // Nobody may be reading any more; the exit status still counts.
    let mut stdout = io::stdout();
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}

fn shown(end: Result<End>) -> String {
    match end {
        Ok(end) => end.to_string(),
        Err(error) => format!("{error:#}"),
    }
}
