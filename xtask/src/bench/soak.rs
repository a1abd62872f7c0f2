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
use tracer_common::table::WAYS;

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
    let load = Load::start(Kind::Churn, folder, 0)?;
    let mut running = Tracer::all(binary).remove(0).start(folder)?;
    // Not before: what is found open at the start is in the table without a cookie, as long as nobody asks for one.
    let held = footprint::hold(HELD)?;
    let handled = load.handled()?;
    let began = Instant::now();
    let mut samples = vec![sample(running.pid(), began)?];
    let mut due = duration / SAMPLES;
    while began.elapsed() < duration {
        load.rate(LOAD)?;
        sleep(LOAD);
        running.read_on()?;
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

/// Cookies of the connections in the tracer's table: a map of keys, in sets, and one of values, a slot for each.
fn entries(pid: u32) -> Result<BTreeSet<u64>> {
    let keys = bpftool_map(&["dump", "id", &map_id(pid, "CONN_KEYS")?])?;
    let values = map_id(pid, "CONNS")?;
    let sets = keys.as_array().context("bpftool dumped no list")?;
    let mut cookies = BTreeSet::new();
    for set in sets {
        let index = word(&set["key"]).context("a key without a number")?;
        let words = set["value"]
            .as_array()
            .context("a set without keys")?
            .chunks(8);
        for (slot, _) in (index * u64::from(WAYS)..)
            .zip(words)
            .filter(|(_, key)| word_of(key) != Some(0))
        {
            let key = (slot as u32).to_le_bytes().map(|byte| byte.to_string());
            let lookup = ["lookup", "id", &values, "key"];
            let words: Vec<_> = lookup
                .into_iter()
                .chain(key.iter().map(String::as_str))
                .collect();
            // The first of an entry.
            cookies.extend(word(&bpftool_map(&words)?["value"]));
        }
    }
    Ok(cookies)
}

fn map_id(pid: u32, name: &str) -> Result<String> {
    for map in maps(pid)? {
        let id = map.id.to_string();
        if bpftool_map(&["show", "id", &id])?["name"] == name {
            return Ok(id);
        }
    }
    bail!("the tracer has no map {name}")
}

fn bpftool_map(words: &[&str]) -> Result<Value> {
    let shown = command::read(Command::new("bpftool").args(["-j", "map"]).args(words))?;
    serde_json::from_str(&shown).context("bpftool's answer is no JSON")
}

/// The first eight bytes, or what there is.
fn word(bytes: &Value) -> Option<u64> {
    word_of(bytes.as_array()?)
}

fn word_of(bytes: &[Value]) -> Option<u64> {
    let mut word = 0;
    for (place, byte) in bytes.iter().take(8).enumerate() {
        let byte = u64::from_str_radix(byte.as_str()?.trim_start_matches("0x"), 16).ok()?;
        word |= byte << (8 * place);
    }
    Some(word)
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
    use super::word;

    #[test]
    fn a_word_is_the_first_eight_bytes() {
        let value = serde_json::json!(["0x01", "0x02", "0", "0", "0", "0", "0", "0x80", "0xff"]);
        assert_eq!(word(&value), Some(0x8000_0000_0000_0201));
        assert_eq!(word(&serde_json::json!(["0x07", "0x01"])), Some(0x107));
        assert_eq!(word(&serde_json::json!({})), None);
    }
}
