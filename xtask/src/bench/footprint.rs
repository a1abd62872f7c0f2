//! Memory with many connections open, and how fast a recording is replayed.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{
    load::{Kind, Load},
    tracers::Tracer,
};

#[derive(Clone, Debug)]
pub struct Footprint {
    pub connections: usize,
    /// Resident, without what is mapped of the ring buffer.
    pub resident_bytes: u64,
    /// The same without connections.
    pub resident_before_bytes: u64,
    /// The maps, as the kernel counts them.
    pub maps_bytes: u64,
    /// From exec to `start`, with that many sockets to scan, and with next to none.
    pub start_ms: f64,
    pub start_before_ms: f64,
    pub replayed_events_per_s: f64,
}

/// What a replay is measured with.
const RECORD_FOR: Duration = Duration::from_secs(5);

pub fn measure(binary: &Path, folder: &Path, connections: usize) -> Result<Footprint> {
    let tracer = Tracer::all(binary).remove(0);
    let empty = tracer.start(folder)?;
    let resident_before_bytes = resident(empty.pid())?;
    let start_before = empty.start.context("it has not started")?;
    empty.stop()?;
    let held = hold(connections)?;
    let running = tracer.start(folder)?;
    // Processes that it remembers, connections that it was told of.
    thread::sleep(Duration::from_secs(1));
    let resident_bytes = resident(running.pid())?;
    let start = running.start.context("it has not started")?;
    let maps_bytes = running.stop()?.maps_bytes;
    drop(held);
    Ok(Footprint {
        connections,
        resident_bytes,
        resident_before_bytes,
        maps_bytes,
        start_ms: start.as_secs_f64() * 1_000.0,
        start_before_ms: start_before.as_secs_f64() * 1_000.0,
        replayed_events_per_s: replay(binary, folder)?,
    })
}

/// Connections that one process holds, both ends: within the usual limit of open files.
const PER_PROCESS: usize = 8_000;

/// Processes that hold connections, until they are dropped.
pub struct Holders(Vec<Child>);

impl Drop for Holders {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // Its end of file is what it waits for.
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}

pub fn hold(connections: usize) -> Result<Holders> {
    let own = std::env::current_exe().context("where is this program?")?;
    let mut holders = Holders(Vec::new());
    for first in (0..connections).step_by(PER_PROCESS) {
        let count = PER_PROCESS.min(connections - first);
        let child = Command::new(&own)
            .args(["bench-hold", &count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a process that holds connections")?;
        holders.0.push(child);
    }
    for child in &mut holders.0 {
        let mut said = String::new();
        let stdout = child.stdout.take().context("no pipe")?;
        BufReader::new(stdout)
            .read_line(&mut said)
            .context("cannot hear from a process that holds connections")?;
        if said.trim() != HELD {
            bail!("a process could not hold its connections; use a smaller --idle");
        }
    }
    Ok(holders)
}

const HELD: &str = "held";

/// What `bench-hold` does: both ends of that many connections, until standard input ends.
pub fn hold_here(connections: usize) -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("cannot read RLIMIT_NOFILE")?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("cannot raise RLIMIT_NOFILE")?;
    // An address of its own in 127.0.0.0/8: the ports of one would not do for all.
    let [.., high, low] = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, 77, high, low.clamp(1, 254));
    let listener = TcpListener::bind((address, 0)).context("cannot listen")?;
    let to = listener.local_addr().context("no address")?;
    let mut held = Vec::with_capacity(connections);
    for number in 0..connections {
        let ours = TcpStream::connect(to).with_context(|| format!("connection {number}"))?;
        let (theirs, _) = listener.accept().context("cannot accept")?;
        held.push((ours, theirs));
    }
    println!("{HELD}");
    io::copy(&mut io::stdin(), &mut io::sink()).context("cannot wait for the end")?;
    Ok(())
}

/// Anonymous memory: the maps are the kernel's, the ring buffer is mapped from there.
pub fn resident(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kib = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    match (kib("RssAnon:"), kib("RssFile:")) {
        (Some(anon), Some(file)) => Ok((anon + file) << 10),
        _ => bail!("{path} does not say how much is resident"),
    }
}

/// Records a few seconds of churn, then replays it to nowhere, on one CPU.
fn replay(binary: &Path, folder: &Path) -> Result<f64> {
    let recording = folder.join("recording.ndjson");
    let load = Load::start(Kind::Churn, folder, 0)?;
    let file = File::create(&recording).context("cannot make a recording")?;
    let mut tracer = Command::new(binary)
        .args(["-o", "json", "--for", &format!("{}s", RECORD_FOR.as_secs())])
        .stdout(file)
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start tracer")?;
    load.rate(RECORD_FOR)?;
    tracer.wait()?;
    let lines = fs::read(&recording)
        .context("cannot read the recording")?
        .iter()
        .filter(|byte| **byte == b'\n')
        .count();
    let began = Instant::now();
    let status = Command::new(binary)
        .args(["replay", "-o", "json"])
        .arg(&recording)
        .stdout(Stdio::null())
        .status()
        .context("cannot start tracer replay")?;
    let took = began.elapsed();
    fs::remove_file(&recording).context("cannot remove the recording")?;
    if !status.success() {
        bail!("tracer replay ended with {status}");
    }
    Ok(lines as f64 / took.as_secs_f64())
}
