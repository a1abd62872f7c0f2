//! What is measured: tracer in its ways of use, and the peers that are installed.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::command;

/// A tracer and how it is called.
pub struct Tracer {
    pub name: &'static str,
    program: PathBuf,
    args: &'static [&'static str],
    ours: bool,
}

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
        let peers = [
            ("tcplife (libbpf-tools)", "tcplife"),
            ("tcpstates (libbpf-tools)", "tcpstates"),
        ];
        let ours = ours.into_iter().map(|(name, args)| Tracer {
            name,
            program: binary.to_owned(),
            args,
            ours: true,
        });
        let peers = peers.into_iter().filter_map(|(name, program)| {
            Some(Tracer {
                name,
                program: command::find(program).or_else(|| sbin(program))?,
                args: &[],
                ours: false,
            })
        });
        ours.chain(peers).collect()
    }

    /// Starts it, its output in a file, and waits until it traces.
    pub fn start(&self, folder: &Path) -> Result<Running> {
        let output = folder.join("traced");
        let file = File::create(&output).context("cannot make the file for what is traced")?;
        let began = Instant::now();
        let child = Command::new(&self.program)
            .args(self.args)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let mut running = Running {
            child,
            output,
            ours: self.ours,
            start: None,
            cpu: Cpu::default(),
        };
        if self.ours {
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
        running.cpu = Cpu::of(running.child.id())?;
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
    ours: bool,
    /// From exec to the line that says that all is attached.
    pub start: Option<Duration>,
    cpu: Cpu,
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
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn stop(mut self) -> Result<Taken> {
        // What it still has to write belongs to the run.
        sleep(Duration::from_millis(500));
        let cpu = Cpu::of(self.child.id())?;
        let pid = Pid::from_raw(self.child.id() as i32);
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
        let (lines, lost, gaps) = read_output(&self.output, self.ours)?;
        fs::remove_file(&self.output).context("cannot remove what was traced")?;
        let seconds = |ticks: u64| ticks as f64 / TICKS_PER_SECOND;
        Ok(Taken {
            lines,
            bytes,
            user_s: seconds(cpu.user - self.cpu.user),
            system_s: seconds(cpu.system - self.cpu.system),
            lost,
            start_ms: self.start.map(|start| start.as_secs_f64() * 1_000.0),
            gaps,
        })
    }
}

/// Lines, events lost by its own `stop`, lines whose number does not follow.
fn read_output(file: &Path, ours: bool) -> Result<(u64, Option<u64>, Option<u64>)> {
    let reader = BufReader::new(File::open(file).context("cannot read what was traced")?);
    let (mut lines, mut gaps, mut last) = (0, 0, String::new());
    for line in reader.lines() {
        let line = line.context("cannot read what was traced")?;
        lines += 1;
        if ours {
            let seq = line
                .split_once("\"seq\":")
                .and_then(|(_, rest)| rest.split(',').next()?.parse::<u64>().ok());
            gaps += u64::from(seq != Some(lines));
            last = line;
        }
    }
    if !ours {
        return Ok((lines, None, None));
    }
    let stop: Value = serde_json::from_str(&last).context("the last line is no JSON")?;
    if stop["event"] != "stop" {
        bail!("the last line is no stop: {last}");
    }
    Ok((lines, stop["lost"].as_u64(), Some(gaps)))
}

#[cfg(test)]
mod tests {
    use super::parse_stat;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 55 66 0 0 20 0 1 0 9 1 1";
        let cpu = parse_stat(stat).expect("a stat line");
        assert_eq!((cpu.user, cpu.system), (55, 66));
        assert!(parse_stat("7 (a").is_none());
    }
}
