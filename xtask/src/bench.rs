//! `cargo xtask bench`: what tracing costs, side by side with nothing and with the peers, in one run on one machine.
//!
//! Runs alternate: untraced, each tracer, untraced again, and so on. A tracer's share is its rate against the mean of
//! the untraced runs before and after it; the table has medians and the spread. Nothing else should run meanwhile.

mod delay;
mod footprint;
mod load;
mod own;
mod programs;
mod report;
mod soak;
mod tracers;

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    apt,
    cargo::workspace,
    command::{self, say},
    run, toolchain,
};
use delay::Delays;
use load::Load;
pub use own::Own;
use report::Report;
use tracers::Tracer;

const PACKAGES: &[&str] = &["nginx-light", "wrk", "iproute2", "bpftool", "libbpf-tools"];

#[derive(clap::Args)]
pub struct Options {
    /// Rounds: each has every tracer once, between two untraced runs
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of load in each run
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    seconds: u64,
    /// Only the loads whose names contain this
    #[arg(long, value_name = "SUBSTR")]
    load: Option<String>,
    /// Only the tracers whose names contain this
    #[arg(long, value_name = "SUBSTR")]
    tracer: Option<String>,
    /// Only what each BPF program costs
    #[arg(long)]
    programs: bool,
    /// Only how long after its cause a line is there
    #[arg(long, conflicts_with = "programs")]
    delay: bool,
    /// Connections that are held open to measure memory, and beside the load that needs idle ones
    #[arg(long, default_value_t = 100_000)]
    idle: usize,
    /// Nothing but a long run at half load, this many minutes: is all flat, and what is left at the end
    #[arg(long, value_name = "MINUTES")]
    soak: Option<u64>,
    /// Also write everything that was measured to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub fn bench(options: &Options) -> Result<ExitCode> {
    if !command::is_root() {
        bail!("bench needs root: it attaches tracers and makes network namespaces");
    }
    toolchain::ensure()?;
    let missing = apt::missing(PACKAGES)?;
    if !missing.is_empty() {
        say(format!("installs {}", missing.join(" ")));
        apt::install(&missing)?;
    }
    let binary = run::build()?;
    let folder = workspace().join("target/bench");
    fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    if let Some(minutes) = options.soak {
        print!(
            "{}",
            soak::run(&binary, &folder, Duration::from_secs(60 * minutes))?
        );
        return Ok(ExitCode::SUCCESS);
    }
    let mut report = Report::new(options.rounds, options.seconds)?;
    // What was measured before something failed is shown, too.
    let measured = measure(options, &binary, &folder, &mut report);
    let mut out = io::stdout().lock();
    report
        .write_table(&mut out)
        .context("cannot write the table to stdout")?;
    out.flush()?;
    if let Some(file) = &options.json {
        fs::write(file, report.json())
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    measured.map(|()| ExitCode::SUCCESS)
}

/// Opens and ends connections, for the measurement of programs.
pub fn churn(connections: u32) -> Result<ExitCode> {
    programs::churn_here(connections)?;
    Ok(ExitCode::SUCCESS)
}

/// Holds connections, for the measurement of memory.
pub fn hold(connections: usize) -> Result<ExitCode> {
    footprint::hold_here(connections)?;
    Ok(ExitCode::SUCCESS)
}

/// One of our own loads, its serving end.
pub fn serve(own: Own) -> Result<ExitCode> {
    own::serve(own)?;
    Ok(ExitCode::SUCCESS)
}

/// One of our own loads, its driving end: prints the rate.
pub fn drive(own: Own, seconds: u64) -> Result<ExitCode> {
    println!("{}", own::drive(own, Duration::from_secs(seconds))?);
    Ok(ExitCode::SUCCESS)
}

fn measure(options: &Options, binary: &Path, folder: &Path, report: &mut Report) -> Result<()> {
    let chosen = |part: &Option<String>, name: &str| {
        part.as_ref()
            .is_none_or(|part| name.contains(part.as_str()))
    };
    let tracers: Vec<_> = Tracer::all(binary)
        .into_iter()
        .filter(|tracer| chosen(&options.tracer, tracer.name))
        .collect();
    let duration = Duration::from_secs(options.seconds);
    for kind in load::Kind::ALL {
        if options.programs || options.delay || !chosen(&options.load, kind.name()) {
            continue;
        }
        let load = Load::start(*kind, folder, options.idle)?;
        say(format!("{}: warms up", kind.name()));
        load.rate(duration)?;
        for round in 1..=options.rounds {
            say(format!(
                "{}: round {round} of {}",
                kind.name(),
                options.rounds
            ));
            let mut before = load.rate(duration)?;
            for tracer in &tracers {
                let running = tracer.start(folder)?;
                let handled = kind.is_churn().then(|| load.handled()).transpose()?;
                let rate = load.rate(duration)?;
                // Its own page is one more than the load; the first page's is the tracer's to tell.
                let handled = match handled {
                    Some(before) => Some(load.handled()? - before + 1),
                    None => None,
                };
                let mut taken = running.stop()?;
                taken.handled = handled;
                let after = load.rate(duration)?;
                report.add(*kind, tracer.name, (before + after) / 2.0, rate, taken);
                before = after;
            }
        }
    }
    if options.load.is_none() && !options.delay {
        report.programs = programs::measure(binary, folder, duration)?;
    }
    if options.load.is_none() && !options.programs {
        if !options.delay {
            report.footprint = Some(footprint::measure(binary, folder, options.idle)?);
        }
        report.delays = Delays::measure(binary, folder)?;
    }
    Ok(())
}
