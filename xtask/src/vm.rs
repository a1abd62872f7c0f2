//! `cargo xtask vm`: the live tests on other kernels, each in a virtual machine of its own, and one table of what came of
//! it.
//!
//! Kernels are Debian's cloud builds, through this machine's own package configuration and kept in the cache folder. A
//! guest is an initramfs of the programs that the tests need, without a disk; its init runs the tests one by one.

mod fetch;
mod guest;
mod initramfs;
mod jobs;
mod kernel;
mod modules;
mod results;
mod table;
mod verdict;

use std::{
    fs,
    io::{self, Write as _},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    sync::Mutex,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    apt,
    cargo::{built, cargo},
    command::{self, say, shown},
    toolchain,
};
use jobs::Part;
use kernel::Kernel;

/// What boots a guest and fills it. The programs that tests drive are taken along where they are installed.
const PACKAGES: &[&str] = &[
    "qemu-system-x86",
    "busybox-static",
    "kmod",
    "xz-utils",
    "zstd",
    "iproute2",
    "nftables",
    "curl",
    "bpftool",
];

/// Every signal is needed by one of them.
const SMOKE: &[&str] = &[
    "rows::fin",
    "rows::abort_unread",
    "rows::icmp_on_established",
    "rows::rst_from_no_socket",
    "rows::write_to_time_wait",
];

#[derive(clap::Args)]
pub struct Options {
    /// A release of the matrix (5.10, 6.1, 6.12, 6.18, 7.3) or the file of a kernel image; without it, all of the matrix
    #[arg(long = "kernel", value_name = "VERSION|PATH")]
    kernels: Vec<String>,
    /// Run only tests whose names contain this; several may be named
    #[arg(long = "filter", value_name = "SUBSTR")]
    filters: Vec<String>,
    /// Run only a few tests, of everything a little, with every family of hooks
    #[arg(long, conflicts_with = "filters")]
    smoke: bool,
    /// Have the tracer use this family of hooks, as its own --hooks; several are tried in turn
    #[arg(long, value_name = "FAMILY", value_parser = ["auto", "tp_btf", "fentry", "kprobe"])]
    hooks: Vec<String>,
    /// Run so many guests side by side, without it one a processor; where there are fewer kernels, their tests are
    /// divided
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Keep what came of it in tracer/tests/matrix.json, which docs/kernels.md tells of
    #[arg(long)]
    save: bool,
    /// Boot with lockdown=confidentiality: what is tried is `tracer doctor`, and the test of it
    #[arg(long, conflicts_with_all = ["filters", "smoke", "hooks"])]
    lockdown: bool,
    /// Fetch kernels again, for a newer build of the same release
    #[arg(long)]
    refresh: bool,
}

impl Options {
    /// How grep is to take the names, and the names: parts of them, or whole ones.
    fn tests(&self) -> (&'static str, Vec<&str>) {
        if self.lockdown {
            ("-x", vec!["doctor::under_lockdown"])
        } else if self.smoke {
            ("-x", SMOKE.to_vec())
        } else if self.filters.is_empty() {
            ("", vec![""])
        } else {
            ("", self.filters.iter().map(String::as_str).collect())
        }
    }

    /// Of its init, as shell.
    fn environment(&self, part: Part) -> String {
        let links = if self.smoke {
            "export LIVE_LINKS=lo_v4,veth_v6\n"
        } else {
            ""
        };
        format!("{links}PART={} OF={}\n", part.number, part.of)
    }

    fn families(&self) -> Vec<&str> {
        if !self.hooks.is_empty() {
            self.hooks.iter().map(String::as_str).collect()
        } else if self.smoke {
            vec!["auto", "fentry", "kprobe"]
        } else {
            vec!["auto"]
        }
    }
}

pub fn vm(options: &Options) -> Result<ExitCode> {
    let wanted = kernel::wanted(&options.kernels)?;
    toolchain::ensure()?;
    install_packages()?;
    let folder = folder()?;
    let (kernels, missing): (Vec<_>, Vec<_>) = wanted
        .iter()
        .map(|wanted| wanted.get(&folder, options.refresh))
        .partition(Result::is_ok);
    let kernels: Vec<Kernel> = kernels.into_iter().flatten().collect();
    let programs = build()?;
    let accel = Mutex::new(guest::Accel::to_try());
    let jobs = options.jobs.map_or_else(jobs::by_default, Into::into);
    let parts = Part::all(kernels.len(), jobs);
    let guests: Vec<_> = kernels
        .iter()
        .flat_map(|kernel| parts.clone().map(move |part| (kernel, part)))
        .collect();
    let mut verdicts = jobs::side_by_side(guests, jobs, |(kernel, part)| {
        on(kernel, part, &programs, options, &folder, &accel)
            .with_context(|| format!("on Linux {}", kernel.name))
    })
    .into_iter();
    let mut columns = Vec::new();
    // One that cannot be had must not keep the others' table away.
    let mut untried: Vec<_> = missing.into_iter().filter_map(Result::err).collect();
    for kernel in kernels {
        let parts: Result<Vec<_>> = verdicts.by_ref().take(parts.clone().count()).collect();
        match parts.map(|parts| parts.into_iter().reduce(verdict::Verdict::with)) {
            Ok(verdict) => columns.extend(verdict.map(|verdict| (kernel, verdict))),
            Err(error) => untried.push(error),
        }
    }
    for error in &untried {
        say(format!("{error:#}"));
    }
    if options.save {
        results::save(&columns)?;
    }
    let mut out = io::stdout().lock();
    table::write(&mut out, &columns).context("cannot write the table to stdout")?;
    out.flush()?;
    let all_good = columns.iter().all(|(_, verdict)| verdict.is_good());
    Ok(if all_good && untried.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn on(
    kernel: &Kernel,
    part: Part,
    programs: &guest::Programs,
    options: &Options,
    folder: &Path,
    accel: &Mutex<guest::Accel>,
) -> Result<verdict::Verdict> {
    let image = kernel.image.display();
    say(match part.of {
        1 => format!("Linux {} ({image})", kernel.name),
        of => format!(
            "Linux {} ({image}), part {} of {of}",
            kernel.name,
            part.number + 1
        ),
    });
    // A folder of its own: two runs may try the same kernel at once.
    let run = format!("{}-{}-{}", kernel.name, std::process::id(), part.number);
    let place = folder.join("runs").join(run);
    if place.exists() {
        fs::remove_dir_all(&place).with_context(|| format!("cannot empty {}", place.display()))?;
    }
    fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let initramfs = initramfs::build(kernel, part, programs, options, &place)?;
    let verdict = guest::boot(kernel, &initramfs, &place, options.lockdown, accel)?;
    // What it said stays; the programs do not have to.
    fs::remove_file(&initramfs)
        .with_context(|| format!("cannot remove {}", initramfs.display()))?;
    Ok(verdict)
}

/// Tracer and the test program, optimised: a guest runs at a tenth of the speed. One call builds both from the same
/// crates.
fn build() -> Result<guest::Programs> {
    say("building tracer and the live tests");
    let mut command = cargo();
    command
        .args(["test", "--release", "--no-run", "--package", "tracer"])
        .args(["--test", "live"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit());
    let output = command::capture(&mut command)?;
    if !output.status.success() {
        bail!("{} ended with {}", shown(&command), output.status);
    }
    let built = built(&String::from_utf8_lossy(&output.stdout));
    let file = |target: &str, tests: bool| {
        let mut all = built.iter();
        all.find(|built| built.tests == tests && built.target == target)
            .map(|built| built.file.clone())
            .with_context(|| format!("{} named no program {target}", shown(&command)))
    };
    Ok(guest::Programs {
        tracer: file("tracer", false)?,
        live: file("live", true)?,
    })
}

fn install_packages() -> Result<()> {
    if command::find("apt-get").is_none() {
        bail!("the kernels of the matrix are Debian's, and there is no apt-get here");
    }
    let missing = apt::missing(PACKAGES)?;
    if missing.is_empty() {
        return Ok(());
    }
    if !command::is_root() {
        bail!("install {} first", missing.join(" "));
    }
    say(format!("installing {}", missing.join(" ")));
    apt::install(&missing)
}

/// Kernels, and what the last run on each left behind.
fn folder() -> Result<PathBuf> {
    Ok(toolchain::choice::cache()?.join("vm"))
}
