//! What each BPF program costs: runs and nanoseconds a run, as the kernel counts them (bpf_stats), and instructions.

use std::{collections::HashMap, fs, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    load::{Kind, Load},
    tracers::Tracer,
};
use crate::command;

const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// One program under churn.
#[derive(Clone, Debug)]
pub struct Program {
    pub name: String,
    pub runs: u64,
    pub ns_per_run: f64,
    /// As the verifier went through it.
    pub verified_instructions: Option<u64>,
    /// Runs for each connection of the load, both ends.
    pub runs_per_connection: f64,
}

/// Runs tracer under churn with the kernel's counters on. They cost some 50 ns a run themselves.
pub fn measure(binary: &Path, folder: &Path, duration: Duration) -> Result<Vec<Program>> {
    let load = Load::start(Kind::Churn, folder)?;
    let tracer = Tracer::all(binary).remove(0);
    let was = fs::read_to_string(STATS).with_context(|| format!("cannot read {STATS}"))?;
    fs::write(STATS, "1").with_context(|| format!("cannot write {STATS}"))?;
    let programs = (|| {
        let running = tracer.start(folder)?;
        let rate = load.rate(duration)?;
        let shown = command::read(Command::new("bpftool").args(["-j", "prog", "show"]))?;
        let ids = ids(running.pid())?;
        running.stop()?;
        let connections = rate * duration.as_secs_f64();
        parse(&shown, &ids, connections).context("bpftool's answer is not understood")
    })();
    fs::write(STATS, was.trim()).with_context(|| format!("cannot write {STATS}"))?;
    programs
}

/// Ids of the programs that a process holds descriptors of, and the instructions that the verifier
/// went through (5.16).
fn ids(pid: u32) -> Result<HashMap<u64, Option<u64>>> {
    let folder = format!("/proc/{pid}/fdinfo");
    let mut ids: HashMap<u64, Option<u64>> = HashMap::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
        let Ok(info) = fs::read_to_string(entry?.path()) else {
            continue;
        };
        let number = |key: &str| -> Option<u64> {
            let value = info.lines().find_map(|line| line.strip_prefix(key))?;
            value.trim().parse().ok()
        };
        if let Some(id) = number("prog_id:") {
            // A link names its program too, and says no more of it.
            let verified = ids.entry(id).or_default();
            *verified = verified.or(number("verified_insns:"));
        }
    }
    Ok(ids)
}

fn parse(shown: &str, ids: &HashMap<u64, Option<u64>>, connections: f64) -> Option<Vec<Program>> {
    let shown: Value = serde_json::from_str(shown).ok()?;
    let mut programs: Vec<_> = shown
        .as_array()?
        .iter()
        .filter_map(|program| {
            let verified = ids.get(&program["id"].as_u64()?)?;
            let runs = program["run_cnt"].as_u64().filter(|runs| *runs > 0)?;
            Some(Program {
                name: program["name"].as_str()?.to_owned(),
                runs,
                ns_per_run: program["run_time_ns"].as_u64()? as f64 / runs as f64,
                verified_instructions: *verified,
                runs_per_connection: runs as f64 / connections,
            })
        })
        .collect();
    programs.sort_by_key(|program| std::cmp::Reverse(program.runs));
    Some(programs)
}

#[cfg(test)]
mod tests {
    use super::{HashMap, parse};

    #[test]
    fn only_this_tracers_programs_that_ran_count() {
        let shown = r#"[
            {"id":11,"name":"set_state","run_time_ns":600,"run_cnt":3},
            {"id":12,"name":"set_state","run_time_ns":900,"run_cnt":3},
            {"id":13,"name":"idle"}]"#;
        let programs =
            parse(shown, &HashMap::from([(11, Some(900)), (13, None)]), 1.5).expect("JSON");
        assert_eq!(programs.len(), 1);
        assert_eq!(programs[0].ns_per_run, 200.0);
        assert_eq!(programs[0].runs_per_connection, 2.0);
    }
}
