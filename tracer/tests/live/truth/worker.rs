//! The processes of the load: this test program again, told by its environment what to do.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, exit},
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
    sys::{
        prctl::set_pdeathsig,
        signal::{Signal, kill},
    },
    unistd::{ForkResult, fork, getpid, gettid},
};
use serde::{Deserialize, Serialize};

use super::{
    end::End,
    log::{Entry, Log, Said, mono_us},
    ways::{Deal, Way},
};
use crate::lab::agent::sys;

/// Says that this process is a worker, and what it is to do.
const WORKER: &str = "LIVE_TEST_IS_WORKER";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Task {
    pub kind: Kind,
    pub comm: String,
    pub netns: String,
    pub inode: u64,
    pub log: PathBuf,
    pub seed: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Kind {
    /// Accepts in processes with so many threads each, forked before.
    Threads {
        addr: SocketAddr,
        threads: u64,
    },
    /// Forks for each connection, into these pids where they are free.
    Forks {
        addr: SocketAddr,
        pids: Vec<i32>,
    },
    Client(Client),
    /// Short processes, in these pids where they are free, with one to three connections each.
    Storm {
        client: Client,
        pids: Vec<i32>,
    },
    /// One of them, in an image of its own.
    Short {
        client: Client,
        number: u64,
    },
    /// SYNs that nobody answers.
    Void {
        to: SocketAddr,
        count: u64,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Client {
    pub server: SocketAddr,
    /// Nobody listens there.
    pub closed: SocketAddr,
    /// Nobody answers there.
    pub void: SocketAddr,
    pub own_ip: IpAddr,
    /// The number of the first connection, and how many.
    pub first: u64,
    pub count: u64,
    pub threads: u64,
    /// Between two connections of a thread.
    pub pause_us: u64,
    /// The ports that it uses again and again; empty: whatever the kernel gives.
    pub ports: Vec<u16>,
    /// Another file of this program.
    pub image: Option<PathBuf>,
}

/// The ports of clients that use them again and again.
pub const AGAIN_PORTS: std::ops::Range<u16> = 9000..9008;

impl Task {
    pub fn command(&self) -> Command {
        let mut command = Command::new("/proc/self/exe");
        self.give(&mut command);
        command
    }

    pub fn give(&self, command: &mut Command) {
        let text = serde_json::to_string(self).expect("plain data");
        command.env(WORKER, text).arg0(&self.comm);
    }
}

pub fn run_if_worker() {
    let Ok(text) = std::env::var(WORKER) else {
        return;
    };
    let task: Task = serde_json::from_str(&text).expect("both are this program");
    sys::set_comm(task.comm.as_bytes());
    set_pdeathsig(Signal::SIGKILL).expect("prctl");
    let netns = std::fs::File::open(&task.netns).expect("the namespace of a worker");
    setns(netns, CloneFlags::CLONE_NEWNET).expect("setns needs root");
    let worker = Worker {
        log: Log::open(&task.log),
        pid: getpid().as_raw(),
        comm: shown(&task.comm),
        exe: exe(),
        before: Vec::new(),
        task,
    };
    match worker.task.kind.clone() {
        Kind::Threads { addr, threads } => worker.serve(addr, threads),
        Kind::Forks { addr, pids } => worker.fork_and_serve(addr, &pids),
        Kind::Client(client) => worker.connect(&client),
        Kind::Storm { client, pids } => worker.storm(&client, &pids),
        Kind::Short { client, number } => worker.short(&client, number),
        Kind::Void { to, count } => worker.void(to, count),
    }
    exit(0);
}

/// The kernel keeps 15 bytes of a name.
fn shown(comm: &str) -> String {
    comm.chars().take(15).collect()
}

fn exe() -> String {
    let path = std::fs::read_link("/proc/self/exe").expect("/proc");
    path.to_string_lossy().into_owned()
}

/// Numbers that look like chance and are the same for the same seed.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % sides
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len() as u64) as usize]
    }
}

pub struct Worker {
    pub task: Task,
    log: Log,
    pub pid: i32,
    comm: String,
    exe: String,
    /// Who had its sockets before it.
    pub before: Vec<i32>,
}

impl Worker {
    pub fn entry(&self, peer: SocketAddr, is_client: bool) -> Entry {
        Entry {
            number: 0,
            way: None,
            is_x: false,
            is_client,
            cookie: None,
            netns: self.task.inode,
            local: peer,
            peer,
            pid: self.pid,
            tid: gettid().as_raw(),
            comm: self.comm.clone(),
            exe: self.exe.clone(),
            before: self.before.clone(),
            owned_us: mono_us(),
            last_call_us: 0,
            written: 0,
            read: 0,
            written_after_fin: 0,
            read_errno: None,
            write_errno: None,
            errors: 0,
            sigpipe: false,
            connect_errno: None,
            died: None,
        }
    }

    pub fn fault(&self, what: &str, error: &io::Error) {
        let text = format!("{}[{}]: {what}: {error}", self.comm, self.pid);
        self.log.say(&Said::Fault(text));
    }

    pub fn say(&self, entry: &Entry) {
        self.log.say(&Said::End(Box::new(entry.clone())));
    }

    /// Writes down what it did, and then closes, in whichever way it does that.
    pub fn finish(&self, end: End, deal: &Deal) {
        if deal.way.is_deadly() && end.entry.is_x {
            die(self, vec![end.entry], deal);
        }
        self.say(&end.entry);
    }

    pub fn become_child(&mut self, comm: &str) {
        set_pdeathsig(Signal::SIGKILL).expect("prctl");
        sys::set_comm(comm.as_bytes());
        self.comm = shown(comm);
        self.pid = getpid().as_raw();
    }
}

pub fn with(what: &str, error: io::Error) -> io::Error {
    io::Error::other(format!("{what}: {error}"))
}
/// Ends the process with its sockets open.
pub fn die(worker: &Worker, entries: Vec<Entry>, deal: &Deal) -> ! {
    let status = (deal.number % 200) as i32;
    let died = if deal.way == Way::Killed {
        -libc::SIGKILL
    } else {
        status
    };
    for entry in entries {
        worker.say(&Entry {
            died: Some(died),
            ..entry
        });
    }
    if died < 0 {
        let _ = kill(getpid(), Signal::SIGKILL);
    }
    leave(status)
}

/// exit(2) without anything of ours or of a library's before it.
pub fn leave(status: i32) -> ! {
    // SAFETY: nothing of this process is used any more.
    unsafe { libc::_exit(status) }
}

/// Forks; the child's pid is the first of these that is free, else the kernel's choice. 0 in the child.
pub fn spawn(pids: &[i32], turn: usize) -> Result<i32, Errno> {
    #[repr(C)]
    #[derive(Default)]
    struct CloneArgs {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
        set_tid: u64,
        set_tid_size: u64,
        cgroup: u64,
    }
    for at in 0..pids.len() {
        let pid = pids[(turn + at) % pids.len()];
        let args = CloneArgs {
            exit_signal: libc::SIGCHLD as u64,
            set_tid: &raw const pid as u64,
            set_tid_size: 1,
            ..CloneArgs::default()
        };
        // SAFETY: as fork(2), in a process of one thread; `args` and `pid` outlive the call.
        let made = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) };
        match Errno::result(made) {
            Err(Errno::EEXIST) => continue,
            made => return made.map(|pid| pid as i32),
        }
    }
    // SAFETY: one thread.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child.as_raw()),
        ForkResult::Child => Ok(0),
    }
}
