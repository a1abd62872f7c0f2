//! What each BPF program costs: runs and nanoseconds a run, as the kernel counts them (bpf_stats), and instructions.
//! Twice: under churn, where a run may be preempted and its caches are others' too, and of one thread that nothing
//! preempts, which says what the program itself costs and is the same from run to run.

use std::{
    collections::HashMap,
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{
    load::{Kind, Load},
    tracers::Tracer,
};
use crate::command;

const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// One program.
#[derive(Clone, Debug)]
pub struct Program {
    pub name: String,
    pub runs: u64,
    pub ns_per_run: f64,
    /// Of one thread alone.
    pub ns_alone: Option<f64>,
    /// As the verifier went through it.
    pub verified_instructions: Option<u64>,
    /// Runs for each connection of the load, both ends.
    pub runs_per_connection: f64,
}

/// Connections of the thread that is measured alone.
const ALONE: u32 = 12_000;

/// Runs tracer with the kernel's counters on. They cost some 50 ns a run themselves.
pub fn measure(binary: &Path, folder: &Path, duration: Duration) -> Result<Vec<Program>> {
    let load = Load::start(Kind::Churn, folder, 0)?;
    let churn = || Ok(load.rate(duration)? * duration.as_secs_f64());
    let mut programs = counted(binary, folder, churn)?;
    drop(load);
    let alone = counted(binary, folder, || {
        let own = std::env::current_exe().context("where is this program?")?;
        let mut command = Command::new("chrt");
        command
            .args(["--fifo", "50", "taskset", "--cpu-list", "0"])
            .arg(own)
            .args(["bench-churn", &ALONE.to_string()]);
        command::read(&mut command)?;
        Ok(f64::from(ALONE))
    })?;
    for program in &mut programs {
        let same = alone.iter().find(|alone| alone.name == program.name);
        program.ns_alone = same.map(|alone| alone.ns_per_run);
    }
    Ok(programs)
}

/// Counts while `load` runs, which says how many connections it had.
fn counted(
    binary: &Path,
    folder: &Path,
    load: impl FnOnce() -> Result<f64>,
) -> Result<Vec<Program>> {
    let running = Tracer::all(binary).remove(0).start(folder)?;
    let was = fs::read_to_string(STATS).with_context(|| format!("cannot read {STATS}"))?;
    fs::write(STATS, "1").with_context(|| format!("cannot write {STATS}"))?;
    let connections = load();
    fs::write(STATS, was.trim()).with_context(|| format!("cannot write {STATS}"))?;
    let shown = command::read(Command::new("bpftool").args(["-j", "prog", "show"]))?;
    let ids = ids(running.pid())?;
    running.stop()?;
    parse(&shown, &ids, connections?).context("bpftool's answer is not understood")
}

/// What `bench-churn` does: that many connections, one after the other, both ends in this thread.
pub fn churn_here(connections: u32) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
    let to = listener.local_addr().context("no address")?;
    let mut buffer = [0; 512];
    for _ in 0..connections {
        let mut client = TcpStream::connect(to).context("cannot connect")?;
        let (mut server, _) = listener.accept().context("cannot accept")?;
        client.write_all(&[b'q'; 80])?;
        let _ = server.read(&mut buffer)?;
        server.write_all(&[b'a'; 250])?;
        let _ = client.read(&mut buffer)?;
        drop(server);
        let _ = client.read(&mut buffer)?;
    }
    Ok(())
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
                ns_alone: None,
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
