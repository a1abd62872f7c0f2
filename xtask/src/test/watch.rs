//! Runs a program under a time limit, handing on what it prints as it prints it.

use std::{
    collections::HashMap,
    fmt, fs,
    io::Read,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::command::shown;

/// How often the program is looked at while it prints nothing.
const TICK: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub enum End {
    Exited(ExitStatus),
    TimedOut(Duration),
}

impl End {
    pub fn success(&self) -> bool {
        matches!(self, Self::Exited(status) if status.success())
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "{status}"),
            Self::TimedOut(limit) => write!(f, "killed after {} s", limit.as_secs()),
        }
    }
}

/// Its stdout goes to `hear`, its stderr where ours goes. When the time is up, it is killed with all its descendants.
pub fn run(command: &mut Command, limit: Duration, hear: &mut dyn FnMut(&[u8])) -> Result<End> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    let mut stdout = child.stdout.take().context("its stdout was not piped")?;
    let (sender, receiver) = mpsc::channel();
    // Ends with the pipe, which a daemon that the program leaves behind may hold open for ever: never joined.
    thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(count @ 1..) = stdout.read(&mut buffer) {
            if sender.send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });

    let deadline = Instant::now() + limit;
    let mut status = None;
    loop {
        match receiver.recv_timeout(TICK) {
            Ok(bytes) => hear(&bytes),
            // A whole tick without output since it ended: nothing of its own can be on the way.
            Err(RecvTimeoutError::Timeout) if status.is_some() => break,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) if status.is_some() => break,
            Err(RecvTimeoutError::Disconnected) => thread::sleep(TICK),
        }
        if status.is_none() {
            status = child
                .try_wait()
                .with_context(|| format!("cannot wait for {}", shown(command)))?;
        }
        if status.is_none() && Instant::now() >= deadline {
            kill_tree(&mut child);
            return Ok(End::TimedOut(limit));
        }
    }
    status.map(End::Exited).context("it ended without a status")
}

/// Children share our process group, so that Ctrl-C reaches them; that is why they have to be looked for.
fn kill_tree(child: &mut Child) {
    let parents = parents();
    let mut doomed = vec![child.id()];
    let mut next = 0;
    while let Some(&parent) = doomed.get(next) {
        doomed.extend(
            parents
                .iter()
                .filter(|(_, of)| **of == parent)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    for pid in doomed {
        let Ok(raw) = i32::try_from(pid) else {
            continue;
        };
        // Fails for what runs under sudo, which needs sudo to be killed, and for what is gone.
        if kill(Pid::from_raw(raw), Signal::SIGKILL) == Err(nix::errno::Errno::EPERM) {
            let _ = Command::new("sudo")
                .args(["-n", "kill", "-KILL", &pid.to_string()])
                .status();
        }
    }
    let _ = child.wait();
}

/// Every process and its parent.
fn parents() -> HashMap<u32, u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // pid (comm) state ppid …; comm may contain anything.
            let (_, rest) = stat.rsplit_once(") ")?;
            Some((pid, rest.split(' ').nth(1)?.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn sh(script: &str, limit: Duration) -> (End, String) {
        let mut heard = Vec::new();
        let mut command = Command::new("sh");
        let end = run(command.args(["-c", script]), limit, &mut |bytes| {
            heard.extend_from_slice(bytes)
        });
        (end.unwrap(), String::from_utf8(heard).unwrap())
    }

    #[test]
    fn output_and_status_arrive() {
        let (end, heard) = sh("echo a; echo b; exit 3", LONG);
        assert_eq!(heard, "a\nb\n");
        assert_eq!(end.to_string(), "exit status: 3");
        assert!(!end.success());
    }

    #[test]
    fn a_hang_is_ended_with_its_children() {
        let (end, heard) = sh(
            "echo $$; sleep 600 & echo $!; wait",
            Duration::from_millis(300),
        );
        assert!(matches!(end, End::TimedOut(_)), "{end:?}");
        let sleeper: u32 = heard.lines().nth(1).unwrap().parse().unwrap();
        let gone = || {
            fs::read_to_string(format!("/proc/{sleeper}/stat"))
                .map_or(true, |stat| stat.contains(") Z "))
        };
        let start = Instant::now();
        while !gone() {
            assert!(start.elapsed() < LONG, "{sleeper} is still running");
            thread::sleep(TICK);
        }
    }

    #[test]
    fn a_daemon_left_behind_holds_nothing_up() {
        let start = Instant::now();
        let (end, heard) = sh("sleep 20 & echo done", LONG);
        assert!(end.success());
        assert_eq!(heard, "done\n");
        assert!(
            start.elapsed() < Duration::from_secs(15),
            "waited for the daemon"
        );
    }
}
