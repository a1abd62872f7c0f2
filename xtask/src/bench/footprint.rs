//! Memory with many connections open, and how fast a recording is replayed.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
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
    /// From exec to `start`, with that many sockets to scan.
    pub start_ms: f64,
    pub replayed_events_per_s: f64,
}

/// Ports of one address that are used: below what the kernel gives out by itself.
const PER_ADDRESS: usize = 20_000;

/// What a replay is measured with.
const RECORD_FOR: Duration = Duration::from_secs(5);

pub fn measure(binary: &Path, folder: &Path, connections: usize) -> Result<Footprint> {
    let tracer = Tracer::all(binary).remove(0);
    let empty = tracer.start(folder)?;
    let resident_before_bytes = resident(empty.pid())?;
    empty.stop()?;
    let held = hold(connections)?;
    let running = tracer.start(folder)?;
    // Processes that it remembers, connections that it was told of.
    thread::sleep(Duration::from_secs(1));
    let resident_bytes = resident(running.pid())?;
    let start = running.start.context("it has not started")?;
    running.stop()?;
    drop(held);
    Ok(Footprint {
        connections,
        resident_bytes,
        resident_before_bytes,
        start_ms: start.as_secs_f64() * 1_000.0,
        replayed_events_per_s: replay(binary, folder)?,
    })
}

/// Both ends of that many connections.
fn hold(connections: usize) -> Result<Vec<(TcpStream, TcpStream)>> {
    let files = 2 * connections as u64 + 1_000;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("cannot read RLIMIT_NOFILE")?;
    setrlimit(Resource::RLIMIT_NOFILE, files.max(hard), files.max(hard))
        .with_context(|| format!("cannot raise RLIMIT_NOFILE to {files}: use a smaller --idle"))?;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).context("cannot listen")?;
    let port = listener.local_addr().context("no address")?.port();
    let mut held = Vec::with_capacity(connections);
    for number in 0..connections {
        let host = 1 + (number / PER_ADDRESS) as u8;
        let to = SocketAddr::from((Ipv4Addr::new(127, 0, 77, host), port));
        let ours = TcpStream::connect(to).with_context(|| format!("connection {number}"))?;
        let (theirs, _) = listener.accept().context("cannot accept")?;
        held.push((ours, theirs));
    }
    Ok(held)
}

/// Anonymous memory: the maps are the kernel's, the ring buffer is mapped from there.
fn resident(pid: u32) -> Result<u64> {
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
    let load = Load::start(Kind::Churn, folder)?;
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
