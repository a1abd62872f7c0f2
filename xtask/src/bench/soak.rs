//! A long run at half of what the machine can do: memory, descriptors and map entries over time, and against the live
//! sockets at the end.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::Path,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{
    footprint::{self, resident},
    load::{Kind, Load},
    tracers::{Tracer, maps},
};
use crate::command::{self, say};

/// Load and rest in turn: half of what the machine can do, on the whole.
const LOAD: Duration = Duration::from_secs(5);
const SAMPLES: u32 = 20;

/// Connections that live on, of which both ends are here.
const HELD: usize = 1_009;

/// One moment of the run.
struct Sample {
    at: Duration,
    resident_bytes: u64,
    maps_bytes: u64,
    descriptors: usize,
}

pub fn run(binary: &Path, folder: &Path, duration: Duration) -> Result<String> {
    let held = footprint::hold(HELD)?;
    let load = Load::start(Kind::Churn, folder, 0)?;
    let running = Tracer::all(binary).remove(0).start(folder)?;
    let handled = load.handled()?;
    let began = Instant::now();
    let mut samples = vec![sample(running.pid(), began)?];
    let mut due = duration / SAMPLES;
    while began.elapsed() < duration {
        load.rate(LOAD)?;
        sleep(LOAD);
        if began.elapsed() >= due {
            samples.push(sample(running.pid(), began)?);
            say(format!(
                "soak: {} s of {}",
                began.elapsed().as_secs(),
                duration.as_secs()
            ));
            due += duration / SAMPLES;
        }
    }
    let connections = load.handled()? - handled;
    sleep(Duration::from_secs(2));
    let entries = entries(running.pid())?;
    let live = live_sockets()?;
    let missing = live.difference(&entries).count();
    let extra = entries.difference(&live).count();
    drop(held);
    let taken = running.stop()?;
    let mut text = String::from(
        "| after | resident | maps, as the kernel counts them | descriptors |\n|---|---|---|---|\n",
    );
    for sample in &samples {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        writeln!(
            text,
            "| {} s | {:.1} MiB | {:.1} MiB | {} |",
            sample.at.as_secs(),
            mib(sample.resident_bytes),
            mib(sample.maps_bytes),
            sample.descriptors
        )?;
    }
    writeln!(
        text,
        "\n{connections} connections of nginx, {} ends of them told (two of its status pages among them), {} lost, {} gaps; \
         at the end {} connections in the map, {} live sockets, {extra} only in the map, {missing} only live",
        taken.ends_of_server,
        taken.lost.unwrap_or_default(),
        taken.gaps.unwrap_or_default(),
        entries.len(),
        live.len(),
    )?;
    Ok(text)
}

fn sample(pid: u32, began: Instant) -> Result<Sample> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).context("the tracer is gone")?;
    Ok(Sample {
        at: began.elapsed(),
        resident_bytes: resident(pid)?,
        maps_bytes: maps(pid)?.iter().map(|map| map.bytes).sum(),
        descriptors: descriptors.count(),
    })
}

/// Addresses of the sockets in the map of connections.
fn entries(pid: u32) -> Result<BTreeSet<u64>> {
    for map in maps(pid)? {
        let id = map.id.to_string();
        let shown = command::read(Command::new("bpftool").args(["-j", "map", "show", "id", &id]))?;
        let shown: Value = serde_json::from_str(&shown).context("bpftool's answer is no JSON")?;
        if shown["name"] != "CONNS" {
            continue;
        }
        let dump = command::read(Command::new("bpftool").args(["-j", "map", "dump", "id", &id]))?;
        let dump: Value = serde_json::from_str(&dump).context("bpftool's answer is no JSON")?;
        let entries = dump.as_array().context("bpftool dumped no list")?;
        return Ok(entries
            .iter()
            .filter_map(|entry| cookie(&entry["value"]))
            .collect());
    }
    bail!("the tracer has no map of connections")
}

/// The first eight bytes of an entry.
fn cookie(value: &Value) -> Option<u64> {
    let mut cookie = 0;
    for (place, byte) in value.as_array()?.iter().take(8).enumerate() {
        let byte = u64::from_str_radix(byte.as_str()?.trim_start_matches("0x"), 16).ok()?;
        cookie |= byte << (8 * place);
    }
    Some(cookie)
}

/// Cookies of the connections of this namespace: neither listening nor in TIME_WAIT.
fn live_sockets() -> Result<BTreeSet<u64>> {
    let shown = command::read(Command::new("ss").args([
        "-tneH",
        "state",
        "connected",
        "exclude",
        "time-wait",
    ]))?;
    Ok(shown
        .lines()
        .filter_map(|line| {
            let (_, rest) = line.split_once(" sk:")?;
            u64::from_str_radix(rest.split_ascii_whitespace().next()?, 16).ok()
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::cookie;

    #[test]
    fn a_cookie_is_the_first_eight_bytes() {
        let value = serde_json::json!(["0x01", "0x02", "0", "0", "0", "0", "0", "0x80", "0xff"]);
        assert_eq!(cookie(&value), Some(0x8000_0000_0000_0201));
        assert_eq!(cookie(&serde_json::json!({})), None);
    }
}
