//! What is measured: tracer in its ways of use, and the peers that are installed.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead as _, BufReader, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    fcntl::{FallocateFlags, fallocate},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use super::{footprint, load::PORT};
use crate::command;

/// A tracer and how it is called.
pub struct Tracer {
    pub name: &'static str,
    program: PathBuf,
    args: Vec<String>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Ours, its lines in the file.
    Lines,
    /// Ours, in a terminal.
    View,
    Peer,
}

/// The least that bpftrace can say of a close.
const ONE_LINER: &str = "tracepoint:sock:inet_sock_set_state /args->newstate == 7/ \
     { printf(\"%d %s %d %d\\n\", pid, comm, args->sport, args->dport); }";

/// How long a peer, which does not say when it is ready, is given.
const PEER_START: Duration = Duration::from_secs(2);

/// How long anything may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(30);

impl Tracer {
    /// Ours first, then the peers that this machine has.
    pub fn all(binary: &Path) -> Vec<Tracer> {
        let ours = [
            ("tracer -o json", &["-o", "json"][..]),
            ("tracer -o json --abnormal", &["-o", "json", "--abnormal"]),
            ("tracer -o json --pid 1", &["-o", "json", "--pid", "1"]),
        ];
        let own = |args: &[&str]| args.iter().map(|arg| (*arg).to_owned()).collect();
        let ours = ours.into_iter().map(|(name, args)| Tracer {
            name,
            program: binary.to_owned(),
            args: own(args),
            kind: Kind::Lines,
        });
        // script(1) makes a terminal; what is drawn goes to the file.
        let view = Tracer {
            name: "tracer -o tui",
            program: "script".into(),
            args: own(&[
                "-qec",
                &format!("exec {} -o tui", binary.display()),
                "/dev/null",
            ]),
            kind: Kind::View,
        };
        let peers = [
            ("tcplife (libbpf-tools)", "tcplife", &[][..]),
            ("tcpstates (libbpf-tools)", "tcpstates", &[]),
            ("bpftrace, a line a close", "bpftrace", &["-e", ONE_LINER]),
        ];
        let peers = peers.into_iter().filter_map(|(name, program, args)| {
            Some(Tracer {
                name,
                program: command::find(program).or_else(|| sbin(program))?,
                args: own(args),
                kind: Kind::Peer,
            })
        });
        ours.chain([view]).chain(peers).collect()
    }

    /// Starts it, its output in a file, and waits until it traces.
    pub fn start(&self, folder: &Path) -> Result<Running> {
        let output = folder.join("traced");
        let file = File::create(&output).context("cannot make the file for what is traced")?;
        let began = Instant::now();
        let child = Command::new(&self.program)
            .args(&self.args)
            .env("TERM", "xterm-256color")
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let mut running = Running {
            child,
            output,
            kind: self.kind,
            start: None,
            pid: 0,
            cpu: Cpu::default(),
            sleeps: 0,
            told: Output::default(),
        };
        running.pid = running.child.id();
        if self.kind != Kind::Peer {
            while fs::metadata(&running.output).map_or(0, |meta| meta.len()) == 0 {
                if began.elapsed() > PATIENCE || running.child.try_wait()?.is_some() {
                    bail!("{} did not start", self.name);
                }
                sleep(Duration::from_millis(1));
            }
            running.start = Some(began.elapsed());
        } else {
            sleep(PEER_START);
        }
        if self.kind == Kind::View {
            running.pid = child_of(running.pid)?;
        }
        running.cpu = Cpu::of(running.pid)?;
        running.sleeps = sleeps(running.pid)?;
        Ok(running)
    }
}

fn sbin(program: &str) -> Option<PathBuf> {
    let file = Path::new("/usr/sbin").join(program);
    command::is_executable(&file).then_some(file)
}

/// CPU time of a process, clock ticks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    user: u64,
    system: u64,
}

/// USER_HZ, which the kernel gives to user space everywhere.
const TICKS_PER_SECOND: f64 = 100.0;

impl Cpu {
    fn of(pid: u32) -> Result<Cpu> {
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        parse_stat(&stat).with_context(|| format!("{path} is not as expected: {stat}"))
    }
}

fn parse_stat(stat: &str) -> Option<Cpu> {
    // The name may hold anything but ends with the last parenthesis.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user = fields.next()?.parse().ok()?;
    let system = fields.next()?.parse().ok()?;
    Some(Cpu { user, system })
}

/// A tracer at work.
pub struct Running {
    child: Child,
    output: PathBuf,
    kind: Kind,
    /// From exec to the line that says that all is attached.
    pub start: Option<Duration>,
    /// Its own, not that of what it runs in.
    pid: u32,
    cpu: Cpu,
    sleeps: u64,
    /// What was read of its output so far.
    told: Output,
}

/// What a tracer did and used.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    pub lines: u64,
    pub bytes: u64,
    pub user_s: f64,
    pub system_s: f64,
    /// Events that it says it lost; `None` for a peer, which does not say.
    pub lost: Option<u64>,
    pub start_ms: Option<f64>,
    /// Lines whose `seq` does not follow.
    pub gaps: Option<u64>,
    /// Times that its threads went to sleep, and so were woken.
    pub wakeups: u64,
    pub resident_bytes: u64,
    pub maps_bytes: u64,
    /// Lines with the port of the load's nginx as the local one.
    pub ends_of_server: u64,
    /// What nginx says, where its connections are the load's.
    pub handled: Option<u64>,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Reads what it has written since the last time, and gives its room back: a long run writes more than a disk
    /// may have.
    pub fn read_on(&mut self) -> Result<()> {
        self.told.read_on(&self.output, self.kind == Kind::Lines)?;
        let file = OpenOptions::new().write(true).open(&self.output);
        let file = file.context("cannot open what was traced")?;
        let read = self.told.at.try_into().context("it is too long")?;
        let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(&file, hole, 0, read).context("cannot give back the room of what was traced")
    }

    pub fn stop(mut self) -> Result<Taken> {
        // What it still has to write belongs to the run.
        sleep(Duration::from_millis(500));
        let cpu = Cpu::of(self.pid)?;
        let wakeups = sleeps(self.pid)?.saturating_sub(self.sleeps);
        let resident_bytes = footprint::resident(self.pid)?;
        let maps_bytes = maps(self.pid)?.iter().map(|map| map.bytes).sum();
        let pid = Pid::from_raw(self.pid as i32);
        kill(pid, Signal::SIGINT).context("cannot end the tracer")?;
        let until = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > until {
                let _ = self.child.kill();
                bail!("a tracer did not end on SIGINT");
            }
            sleep(Duration::from_millis(10));
        }
        let bytes = fs::metadata(&self.output).map_or(0, |meta| meta.len());
        let told = match self.kind {
            Kind::View => Output::default(),
            kind => self.told.end(&self.output, kind == Kind::Lines)?,
        };
        fs::remove_file(&self.output).context("cannot remove what was traced")?;
        let seconds = |ticks: u64| ticks as f64 / TICKS_PER_SECOND;
        Ok(Taken {
            lines: told.lines,
            bytes,
            user_s: seconds(cpu.user - self.cpu.user),
            system_s: seconds(cpu.system - self.cpu.system),
            lost: told.lost,
            start_ms: self.start.map(|start| start.as_secs_f64() * 1_000.0),
            gaps: told.gaps,
            wakeups,
            resident_bytes,
            maps_bytes,
            ends_of_server: told.ends_of_server,
            handled: None,
        })
    }
}

/// What a tracer has written.
#[derive(Default)]
struct Output {
    lines: u64,
    /// By its own `stop`.
    lost: Option<u64>,
    gaps: Option<u64>,
    ends_of_server: u64,
    /// Bytes that were read.
    at: u64,
    /// The last whole line, if it is one of ours.
    last: String,
}

impl Output {
    /// Reads the whole lines that are new.
    fn read_on(&mut self, file: &Path, ours: bool) -> Result<()> {
        const WHAT: &str = "cannot read what was traced";
        let mut file = File::open(file).context(WHAT)?;
        file.seek(SeekFrom::Start(self.at)).context(WHAT)?;
        let mut reader = BufReader::new(file);
        let server = format!("\"local_port\":{PORT},");
        let mut line = String::new();
        loop {
            line.clear();
            self.at += reader.read_line(&mut line).context(WHAT)? as u64;
            let Some(text) = line.strip_suffix('\n') else {
                // Half a line, or none.
                self.at -= line.len() as u64;
                return Ok(());
            };
            self.lines += 1;
            if ours {
                let seq = text
                    .split_once("\"seq\":")
                    .and_then(|(_, rest)| rest.split(',').next()?.parse::<u64>().ok());
                *self.gaps.get_or_insert(0) += u64::from(seq != Some(self.lines));
                self.ends_of_server +=
                    u64::from(text.contains("\"event\":\"tcp_close\"") && text.contains(&server));
                text.clone_into(&mut self.last);
            }
        }
    }

    /// Reads the rest.
    fn end(mut self, file: &Path, ours: bool) -> Result<Self> {
        self.read_on(file, ours)?;
        if ours {
            let stop: Value =
                serde_json::from_str(&self.last).context("the last line is no JSON")?;
            if stop["event"] != "stop" {
                bail!("the last line is no stop: {}", self.last);
            }
            self.lost = stop["lost"].as_u64();
        }
        Ok(self)
    }
}

fn child_of(pid: u32) -> Result<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let first = children.split_ascii_whitespace().next();
    first
        .and_then(|child| child.parse().ok())
        .with_context(|| format!("{path} names nobody"))
}

/// Voluntary context switches of all threads.
fn sleeps(pid: u32) -> Result<u64> {
    let folder = format!("/proc/{pid}/task");
    let mut sum = 0;
    for thread in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
        let status = fs::read_to_string(thread?.path().join("status")).unwrap_or_default();
        let count = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
            .and_then(|count| count.trim().parse::<u64>().ok());
        sum += count.unwrap_or(0);
    }
    Ok(sum)
}

/// A BPF map of a process.
pub struct Map {
    pub id: u32,
    /// As the kernel counts it.
    pub bytes: u64,
}

pub fn maps(pid: u32) -> Result<Vec<Map>> {
    let folder = format!("/proc/{pid}/fdinfo");
    let mut maps: Vec<Map> = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
        let info = fs::read_to_string(entry?.path()).unwrap_or_default();
        let number = |key: &str| {
            let value = info.lines().find_map(|line| line.strip_prefix(key))?;
            value.trim().parse::<u64>().ok()
        };
        if let (Some(id), Some(bytes)) = (number("map_id:"), number("memlock:"))
            && maps.iter().all(|map| u64::from(map.id) != id)
        {
            maps.push(Map {
                id: id as u32,
                bytes,
            });
        }
    }
    Ok(maps)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Output, parse_stat};

    #[test]
    fn what_is_written_meanwhile_is_read_once() {
        let file = std::env::temp_dir().join(format!("tracer-bench-{}", std::process::id()));
        fs::write(&file, "{\"seq\":1,\"a\":0}\n{\"seq\":2,").expect("a file");
        let mut output = Output::default();
        output.read_on(&file, true).expect("a line and a half");
        assert_eq!((output.lines, output.at), (1, 16));
        let rest =
            "{\"seq\":1,\"a\":0}\n{\"seq\":2,\"a\":0}\n{\"seq\":4,\"event\":\"stop\",\"lost\":7}\n";
        fs::write(&file, rest).expect("a file");
        let output = output.end(&file, true).expect("a stop");
        assert_eq!(
            (output.lines, output.gaps, output.lost),
            (3, Some(1), Some(7))
        );
        fs::remove_file(&file).expect("it was there");
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 55 66 0 0 20 0 1 0 9 1 1";
        let cpu = parse_stat(stat).expect("a stat line");
        assert_eq!((cpu.user, cpu.system), (55, 66));
        assert!(parse_stat("7 (a").is_none());
    }
}
