//! `tracer doctor`: what this kernel offers, found by really loading and attaching for a moment.

mod report;

use anyhow::{Context, Result, anyhow};

use crate::{
    kernel::{
        attach::{self, Attached, Sizes},
        btf::Btf,
        clock,
        facts::Facts,
        hooks::Family,
        layout::{Layout, VMLINUX},
        losses,
        surroundings::{Obstacle, Surroundings},
    },
    sink,
};
use report::{Hook, Program, Report, short};

/// As little as the kernel gives: nothing is traced.
const SIZES: Sizes = Sizes {
    ring_bytes: 65_536,
    max_connections: 1_024,
};

/// Writes the report; fails when tracing is impossible. `family`: whose hooks to try where there is a choice.
pub fn doctor(json: bool, family: Option<Family>) -> Result<()> {
    let report = examine(family)?;
    let text = if json {
        format!("{}\n", report.json())
    } else {
        report.text()
    };
    sink::print(&text)?;
    match report.obstacle {
        None => Ok(()),
        Some(Obstacle { what, .. }) => Err(anyhow!("tracing is impossible: {}", short(&what))),
    }
}

fn examine(family: Option<Family>) -> Result<Report> {
    let facts = Facts::read()?;
    let surroundings = Surroundings::look();
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION"),
        kernel: facts.kernel,
        obstacle: surroundings.obstacle(),
        hooks: Vec::new(),
        programs: Vec::new(),
        attach_ms: 0,
        surroundings,
    };
    if report.obstacle.is_some() {
        return Ok(report);
    }
    let began_ns = clock::monotonic_ns();
    match attach(&report.surroundings, facts.jiffy_ns, family) {
        Ok(attached) => {
            report.hooks = attached.hooks.iter().map(Hook::from).collect();
            report.programs = programs(&attached);
        }
        Err(error) => {
            report.obstacle = Some(Obstacle {
                what: format!("{error:#}"),
                fix: "if this is a container, give it --privileged, or a seccomp profile that allows bpf(2); \
                      else please report the kernel's version and this message"
                    .to_owned(),
            });
        }
    }
    report.attach_ms = (clock::monotonic_ns() - began_ns) / 1_000_000;
    Ok(report)
}

fn attach(surroundings: &Surroundings, jiffy_ns: u64, family: Option<Family>) -> Result<Attached> {
    let bytes = std::fs::read(VMLINUX).with_context(|| format!("cannot read {VMLINUX}"))?;
    let btf = Btf::parse(&bytes).with_context(|| format!("cannot understand {VMLINUX}"))?;
    let mut layout = Layout::resolve(&btf, jiffy_ns)?;
    layout.reads(surroundings.may_probe);
    attach::attach(&layout, &btf, SIZES, family)
}

fn programs(attached: &Attached) -> Vec<Program> {
    let mut programs: Vec<Program> = attached
        .programs()
        .map(|(name, program)| Program {
            name: name.to_owned(),
            verified_instructions: losses::verified_instructions(program),
        })
        .collect();
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    programs
}
