//! tracer's chores. `cargo xtask --help` lists them; each lives in the module of its name.

mod apt;
mod bench;
mod cargo;
mod command;
mod deny;
mod dist;
mod fuzz;
mod picture;
mod run;
mod test;
mod tidy;
mod toolchain;
mod vm;

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about)]
struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Set up the eBPF toolchain if it is missing, build tracer and run it as root
    Run {
        /// What tracer is given
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Run every test that this machine can run
    Test(test::Options),
    /// Draw the pictures of the live view in docs/ from a recording
    Picture,
    /// Measure what tracing costs, beside nothing and beside its peers
    Bench(bench::Options),
    /// Hold connections open, for bench
    #[command(hide = true)]
    BenchHold { connections: usize },
    /// Open and end connections, for bench
    #[command(hide = true)]
    BenchChurn { connections: u32 },
    /// Serve one of bench's own loads
    #[command(hide = true)]
    BenchServe { own: bench::Own },
    /// Drive one of bench's own loads
    #[command(hide = true)]
    BenchDrive { own: bench::Own, seconds: u64 },
    /// Make the packages: Debian package, tarball, container image, all of a static binary
    Dist(dist::Options),
    /// Look for input that tracer does not stand, by libFuzzer
    Fuzz(fuzz::Options),
    /// Check the house rules
    Tidy,
    /// Run the live tests on other kernels, in virtual machines
    Vm(vm::Options),
}

fn main() -> Result<ExitCode> {
    match Args::parse().chore {
        Chore::Run { args } => run::run(&args),
        Chore::Test(options) => test::test(&options),
        Chore::Picture => picture::picture(),
        Chore::Bench(options) => bench::bench(&options),
        Chore::BenchHold { connections } => bench::hold(connections),
        Chore::BenchChurn { connections } => bench::churn(connections),
        Chore::BenchServe { own } => bench::serve(own),
        Chore::BenchDrive { own, seconds } => bench::drive(own, seconds),
        Chore::Dist(options) => dist::dist(&options),
        Chore::Fuzz(options) => fuzz::fuzz(&options),
        Chore::Tidy => tidy::report(),
        Chore::Vm(options) => vm::vm(&options),
    }
}
