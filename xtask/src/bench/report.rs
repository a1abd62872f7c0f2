//! What was measured, as a table for people and as JSON.

use std::{
    fs,
    io::{self, Write},
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{delay::Delays, footprint::Footprint, load::Kind, programs::Program, tracers::Taken};

/// One run of a tracer under a load.
struct Run {
    /// Of the untraced runs before and after.
    untraced: f64,
    rate: f64,
    taken: Taken,
}

pub struct Report {
    machine: String,
    rounds: usize,
    seconds: u64,
    runs: Vec<(Kind, &'static str, Vec<Run>)>,
    pub programs: Vec<Program>,
    pub footprint: Option<Footprint>,
    pub delays: Delays,
}

impl Report {
    pub fn new(rounds: usize, seconds: u64) -> Result<Report> {
        let kernel =
            fs::read_to_string("/proc/sys/kernel/osrelease").context("no kernel release")?;
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Report {
            machine: format!("Linux {}, {cpus} CPUs", kernel.trim()),
            rounds,
            seconds,
            runs: Vec::new(),
            programs: Vec::new(),
            footprint: None,
            delays: Delays::default(),
        })
    }

    pub fn add(
        &mut self,
        kind: Kind,
        tracer: &'static str,
        untraced: f64,
        rate: f64,
        taken: Taken,
    ) {
        let run = Run {
            untraced,
            rate,
            taken,
        };
        match self
            .runs
            .iter_mut()
            .find(|(k, t, _)| (*k, *t) == (kind, tracer))
        {
            Some((.., runs)) => runs.push(run),
            None => self.runs.push((kind, tracer, vec![run])),
        }
    }

    pub fn write_table(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "{}; {} rounds of {} s, medians, spread in brackets\n",
            self.machine, self.rounds, self.seconds
        )?;
        for kind in Kind::ALL {
            let tracers: Vec<_> = self
                .runs
                .iter()
                .filter(|(of, ..)| of == kind)
                .map(|(_, tracer, runs)| (tracer, runs))
                .collect();
            if tracers.is_empty() {
                continue;
            }
            writeln!(out, "{}\n", kind.name())?;
            writeln!(
                out,
                "| | {} | of untraced | lines/s | lost | of nginx's connections | user µs a line | system µs a line | bytes a line | wakeups/s | resident MiB |",
                kind.unit()
            )?;
            writeln!(out, "|---|---|---|---|---|---|---|---|---|---|---|")?;
            for (tracer, runs) in tracers {
                let figures = Figures::of(runs, self.seconds);
                writeln!(
                    out,
                    "| {tracer} | {:.0} | {:.1} % [{:.1}–{:.1}] | {:.0} | {} | {} | {:.2} | {:.2} | {:.0} | {:.0} | {:.1} |",
                    figures.rate,
                    figures.share.1 * 100.0,
                    figures.share.0 * 100.0,
                    figures.share.2 * 100.0,
                    figures.lines_per_s,
                    figures
                        .lost
                        .map_or("not said".to_owned(), |lost| lost.to_string()),
                    figures.of_handled,
                    figures.user_us,
                    figures.system_us,
                    figures.bytes,
                    figures.wakeups_per_s,
                    figures.resident_bytes / f64::from(1 << 20),
                )?;
            }
            writeln!(out)?;
        }
        if !self.programs.is_empty() {
            writeln!(
                out,
                "| program | ns a run, of one thread alone | under churn | runs a connection | instructions verified |"
            )?;
            writeln!(out, "|---|---|---|---|---|")?;
            for program in &self.programs {
                writeln!(
                    out,
                    "| {} | {} | {:.0} | {:.2} | {} |",
                    program.name,
                    program
                        .ns_alone
                        .map_or("–".to_owned(), |ns| format!("{ns:.0}")),
                    program.ns_per_run,
                    program.runs_per_connection,
                    program
                        .verified_instructions
                        .map_or("–".to_owned(), |count| count.to_string()),
                )?;
            }
            writeln!(
                out,
                "\nthe life of a socket in set_state, destroy_sock and exit_accept4, of one thread alone: {:.0} ns\n",
                life_ns(&self.programs)
            )?;
        }
        if let Some(footprint) = &self.footprint {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            writeln!(
                out,
                "resident, maps apart: {:.1} MiB, {:.1} MiB with {} connections of which both ends are here; \
                 maps {:.1} MiB; from exec to start {:.0} ms, {:.0} ms with these connections; replay {:.0} events/s",
                mib(footprint.resident_before_bytes),
                mib(footprint.resident_bytes),
                footprint.connections,
                mib(footprint.maps_bytes),
                footprint.start_before_ms,
                footprint.start_ms,
                footprint.replayed_events_per_s,
            )?;
        }
        for (when, delays_ms) in [
            ("on an idle machine", &self.delays.idle_ms),
            (
                "beside a new connection per request",
                &self.delays.loaded_ms,
            ),
        ] {
            if let Some(longest_ms) = delays_ms.last() {
                writeln!(
                    out,
                    "from an end to its line {when}, of {}: {:.1} ms in the middle, {longest_ms:.1} ms at most",
                    delays_ms.len(),
                    median(delays_ms),
                )?;
            }
        }
        Ok(())
    }

    pub fn json(&self) -> String {
        let runs: Vec<Value> = self
            .runs
            .iter()
            .flat_map(|(kind, tracer, runs)| {
                runs.iter().map(move |run| {
                    json!({
                        "load": kind.name(),
                        "tracer": tracer,
                        "untraced_per_s": run.untraced,
                        "traced_per_s": run.rate,
                        "lines": run.taken.lines,
                        "bytes": run.taken.bytes,
                        "user_s": run.taken.user_s,
                        "system_s": run.taken.system_s,
                        "lost": run.taken.lost,
                        "seq_gaps": run.taken.gaps,
                        "start_ms": run.taken.start_ms,
                        "wakeups": run.taken.wakeups,
                        "resident_bytes": run.taken.resident_bytes,
                        "maps_bytes": run.taken.maps_bytes,
                        "ends_of_server": run.taken.ends_of_server,
                        "handled": run.taken.handled,
                    })
                })
            })
            .collect();
        let programs: Vec<Value> = self
            .programs
            .iter()
            .map(|program| {
                json!({
                    "program": program.name,
                    "runs": program.runs,
                    "ns_per_run": program.ns_per_run,
                    "ns_per_run_alone": program.ns_alone,
                    "runs_per_connection": program.runs_per_connection,
                    "verified_instructions": program.verified_instructions,
                })
            })
            .collect();
        let footprint = self.footprint.as_ref().map(|footprint| {
            json!({
                "connections": footprint.connections,
                "resident_bytes": footprint.resident_bytes,
                "resident_before_bytes": footprint.resident_before_bytes,
                "maps_bytes": footprint.maps_bytes,
                "start_ms": footprint.start_ms,
                "start_before_ms": footprint.start_before_ms,
                "replayed_events_per_s": footprint.replayed_events_per_s,
            })
        });
        let all = json!({
            "machine": self.machine,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "runs": runs,
            "programs": programs,
            "footprint": footprint,
            "delays_ms": self.delays.idle_ms,
            "delays_loaded_ms": self.delays.loaded_ms,
        });
        format!("{all:#}\n")
    }
}

/// Per socket, of which a connection has two.
fn life_ns(programs: &[Program]) -> f64 {
    let of_life = ["set_state", "destroy_sock", "exit_accept4"];
    programs
        .iter()
        .filter(|program| of_life.contains(&program.name.as_str()))
        .filter_map(|program| Some(program.ns_alone? * program.runs_per_connection / 2.0))
        .sum()
}

/// Medians over the runs.
struct Figures {
    rate: f64,
    /// Lowest, median, highest.
    share: (f64, f64, f64),
    lines_per_s: f64,
    /// In all runs together.
    lost: Option<u64>,
    user_us: f64,
    system_us: f64,
    bytes: f64,
    wakeups_per_s: f64,
    resident_bytes: f64,
    /// Ends told of nginx's own sockets, and nginx's count, in all runs together.
    of_handled: String,
}

impl Figures {
    fn of(runs: &[Run], seconds: u64) -> Figures {
        let of = |figure: fn(&Run) -> f64| sorted(runs.iter().map(figure).collect());
        let share = of(|run| run.rate / run.untraced);
        let per_line = |value: f64, run: &Run| value / (run.taken.lines.max(1) as f64);
        let per = |figure: &dyn Fn(&Run) -> f64| median(&sorted(runs.iter().map(figure).collect()));
        Figures {
            rate: median(&of(|run| run.rate)),
            share: (
                share.first().copied().unwrap_or(0.0),
                median(&share),
                share.last().copied().unwrap_or(0.0),
            ),
            lines_per_s: per(&|run| run.taken.lines as f64 / seconds.max(1) as f64),
            lost: runs
                .iter()
                .map(|run| Some(run.taken.lost? + run.taken.gaps?))
                .sum(),
            user_us: per(&|run| per_line(run.taken.user_s * 1e6, run)),
            system_us: per(&|run| per_line(run.taken.system_s * 1e6, run)),
            bytes: per(&|run| per_line(run.taken.bytes as f64, run)),
            wakeups_per_s: per(&|run| run.taken.wakeups as f64 / seconds.max(1) as f64),
            resident_bytes: per(&|run| run.taken.resident_bytes as f64),
            of_handled: of_handled(runs),
        }
    }
}

/// Only a run that writes every close can be held against nginx's count.
fn of_handled(runs: &[Run]) -> String {
    let told: u64 = runs.iter().map(|run| run.taken.ends_of_server).sum();
    match runs
        .iter()
        .map(|run| run.taken.handled)
        .sum::<Option<u64>>()
    {
        Some(handled) if told * 2 > handled => format!("{told} of {handled}"),
        _ => "–".to_owned(),
    }
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> f64 {
    match sorted.len() {
        0 => 0.0,
        len if len % 2 == 1 => sorted[len / 2],
        len => (sorted[len / 2 - 1] + sorted[len / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median(&[1.0, 2.0, 9.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), 3.0);
        assert_eq!(median(&[]), 0.0);
    }
}
