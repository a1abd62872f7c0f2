//! The processes of the load: this test program again, told by its environment what to do. Servers with threads and
//! servers that fork, clients with threads, and storms of short processes whose pids come again and again.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, exit},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
    sys::{
        prctl::set_pdeathsig,
        signal::{SigHandler, Signal, kill, signal},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork, getpid, gettid, pipe},
};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{
    end::{Closed, End, addr},
    log::{Entry, Log, Said, mono_us},
    ways::{AGAIN, DEADLY, Deal, PLAYED, Way, play},
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
    /// Accepts in processes with threads, forked before.
    Threads {
        addr: SocketAddr,
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
    /// Only ways in which both ends say goodbye: the link loses packets.
    pub is_lossy: bool,
    /// Another file of this program.
    pub image: Option<PathBuf>,
}

/// The ports of clients that use them again and again.
pub const AGAIN_PORTS: std::ops::Range<u16> = 9000..9008;

const SERVERS: usize = 2;
const SERVER_THREADS: usize = 6;
/// Short processes at a time.
const SHORT: usize = 3;

impl Task {
    pub fn command(&self) -> Command {
        let mut command = Command::new("/proc/self/exe");
        self.give(&mut command);
        command
    }

    fn give(&self, command: &mut Command) {
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
        Kind::Threads { addr } => worker.serve(addr),
        Kind::Forks { addr, pids } => worker.fork_and_serve(addr, &pids),
        Kind::Client(client) => worker.connect(&client),
        Kind::Storm { client, pids } => worker.storm(&client, &pids),
        Kind::Short { client, number } => worker.short(&client, number),
        Kind::Void { to, count } => worker.void(to, count),
    }
    exit(0);
}

/// Of the process that has the connections from this number on.
fn name(kind: &str, number: u64) -> String {
    let (seed, place, count) = (number >> 44 & 0xfff, number >> 32 & 0xff, number & 0xffff);
    format!("{kind}-{seed:x}-{place:x}-{count:x}")
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
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % sides
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len() as u64) as usize]
    }
}

struct Worker {
    task: Task,
    log: Log,
    pid: i32,
    comm: String,
    exe: String,
    /// Who had its sockets before it.
    before: Vec<i32>,
}

impl Worker {
    fn entry(&self, peer: SocketAddr, is_client: bool) -> Entry {
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

    fn fault(&self, what: &str, error: &io::Error) {
        let text = format!("{}[{}]: {what}: {error}", self.comm, self.pid);
        self.log.say(&Said::Fault(text));
    }

    fn say(&self, entry: &Entry) {
        self.log.say(&Said::End(Box::new(entry.clone())));
    }
}

/// Servers.
impl Worker {
    fn serve(mut self, addr: SocketAddr) {
        let listener = listener(addr).expect("a free port");
        self.before = vec![self.pid];
        for _ in 0..SERVERS {
            // SAFETY: one thread so far.
            if let ForkResult::Child = unsafe { fork() }.expect("fork") {
                set_pdeathsig(Signal::SIGKILL).expect("prctl");
                self.pid = getpid().as_raw();
                thread::scope(|scope| {
                    for _ in 0..SERVER_THREADS {
                        scope.spawn(|| self.accept(&listener));
                    }
                });
            }
        }
        loop {
            thread::park();
        }
    }

    fn accept(&self, listener: &Socket) {
        loop {
            let served = listener.accept().and_then(|(socket, peer)| {
                let entry = self.entry(addr(Ok(peer))?, false);
                self.answer(End::new(socket, entry)?, false)
            });
            if let Err(error) = served {
                self.fault("serving", &error);
            }
        }
    }

    fn fork_and_serve(mut self, at: SocketAddr, pids: &[i32]) {
        let listener = listener(at).expect("a free port");
        // Children are reaped at once, and their pids free again.
        // SAFETY: no handler is installed.
        unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn) }.expect("a signal to ignore");
        let parent = self.pid;
        for number in 0.. {
            let Ok((socket, peer)) = listener.accept() else {
                continue;
            };
            let (closed, closes) = pipe().expect("a pipe");
            if spawn(pids, number).expect("a process") > 0 {
                // In this order: the child goes on when the socket is its own.
                drop(socket);
                drop(closes);
                continue;
            }
            drop(closes);
            let _ = nix::unistd::read(&closed, &mut [0]);
            self.become_child(&format!("tr-fork-{number:x}"));
            self.before = vec![parent];
            drop(listener);
            let served = addr(Ok(peer))
                .and_then(|peer| End::new(socket, self.entry(peer, false)))
                .and_then(|end| self.answer(end, true));
            if let Err(error) = served {
                self.fault("serving", &error);
            }
            leave(0);
        }
    }

    fn answer(&self, mut end: End, was_passed: bool) -> io::Result<()> {
        let first = end.read_first()?;
        if was_passed {
            end.entry.owned_us = mono_us();
        }
        let Some(first) = first else {
            self.say(&end.entry);
            return Ok(());
        };
        let deal = Deal::decode(&first)?;
        end.entry.number = deal.number;
        end.entry.way = Some(deal.way);
        end.entry.is_x = !deal.x_is_client;
        let what = format!("{:?} of {}", deal.way, deal.number);
        play(&mut end, &deal).map_err(|error| with(&what, error))?;
        self.finish(end, &deal);
        Ok(())
    }

    /// Writes down what it did, and then closes, in whichever way it does that.
    fn finish(&self, end: End, deal: &Deal) {
        if deal.way.is_deadly() && end.entry.is_x {
            die(self, vec![end.entry], deal);
        }
        self.say(&end.entry);
    }

    fn become_child(&mut self, comm: &str) {
        set_pdeathsig(Signal::SIGKILL).expect("prctl");
        sys::set_comm(comm.as_bytes());
        self.comm = shown(comm);
        self.pid = getpid().as_raw();
    }
}

fn with(what: &str, error: io::Error) -> io::Error {
    io::Error::other(format!("{what}: {error}"))
}

fn listener(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(addr))?;
    socket.listen(4096)?;
    Ok(socket)
}

/// Ends the process with its sockets open.
fn die(worker: &Worker, entries: Vec<Entry>, deal: &Deal) -> ! {
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
fn leave(status: i32) -> ! {
    // SAFETY: nothing of this process is used any more.
    unsafe { libc::_exit(status) }
}

/// Forks; the child's pid is the first of these that is free, else the kernel's choice. 0 in the child.
fn spawn(pids: &[i32], turn: usize) -> Result<i32, Errno> {
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

/// Clients.
impl Worker {
    fn connect(&self, client: &Client) {
        thread::scope(|scope| {
            for at in 0..client.threads {
                scope.spawn(move || {
                    let mut dice = Dice(self.task.seed ^ at << 32);
                    for number in (at..client.count).step_by(client.threads as usize) {
                        let number = client.first + number;
                        if let Err(error) = self.one(client, &mut dice, number, at) {
                            self.fault(&format!("connection {number}"), &error);
                        }
                        if client.pause_us > 0 {
                            let pause_us = dice.roll(2 * client.pause_us);
                            thread::sleep(Duration::from_micros(pause_us));
                        }
                    }
                });
            }
        });
    }

    fn one(&self, client: &Client, dice: &mut Dice, number: u64, at: u64) -> io::Result<()> {
        let port = match client.ports.len() as u64 {
            0 => None,
            ports => {
                let share = (ports / client.threads).max(1);
                let turn = (at * share + dice.roll(share)) % ports;
                Some(client.ports[turn as usize])
            }
        };
        if port.is_none() && !client.is_lossy && dice.roll(40) == 0 {
            return match dice.roll(3) {
                0 => self.cancelled(client.void, number),
                1 => self.listener_closed(client.own_ip, number, dice),
                _ => self.itself(client.own_ip, number, dice),
            };
        }
        let ways: &[Way] = if client.is_lossy {
            &[Way::Fin, Way::HalfClose, Way::HurriedClose]
        } else if port.is_some() {
            &AGAIN
        } else {
            &PLAYED
        };
        let way = dice.pick(ways);
        let deal = deal(dice, number, way);
        let Some(mut end) = self.dial(client, &deal, port)? else {
            return Ok(());
        };
        let closed = self.speak(&mut end, &deal)?;
        if closed == Closed::Reused && end.entry.is_x {
            self.say(&end.entry);
            return self.again(client, dice, number, end.socket);
        }
        self.finish(end, &deal);
        Ok(())
    }

    /// A connection for this deal; `None` where there is none in the end.
    fn dial(&self, client: &Client, deal: &Deal, port: Option<u16>) -> io::Result<Option<End>> {
        let peer = match deal.way {
            Way::Refused => client.closed,
            _ => client.server,
        };
        let mut entry = self.entry(peer, true);
        entry.number = deal.number;
        entry.way = Some(deal.way);
        entry.is_x = deal.x_is_client;
        let mut from = port.map(|port| SocketAddr::new(client.own_ip, port));
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let socket = socket(peer)?;
            if let Some(from) = from {
                socket.set_reuse_address(true)?;
                match socket.bind(&SockAddr::from(from)) {
                    Err(error)
                        if error.kind() == io::ErrorKind::AddrInUse
                            && Instant::now() < deadline =>
                    {
                        thread::sleep(Duration::from_micros(300));
                        continue;
                    }
                    bound => bound?,
                }
            }
            let cookie = socket.cookie()?;
            let failed = match socket.connect(&SockAddr::from(peer)) {
                Ok(()) if deal.way == Way::Refused => {
                    return Err(io::Error::other("somebody listens at the closed port"));
                }
                Ok(()) => return End::new(socket, entry).map(Some),
                Err(error) => error,
            };
            let mut entry = entry.clone();
            entry.cookie = Some(cookie);
            entry.local = addr(socket.local_addr())?;
            entry.connect_errno = failed.raw_os_error();
            entry.is_x = true;
            match failed.raw_os_error() {
                Some(libc::ECONNREFUSED) if deal.way == Way::Refused => {
                    self.say(&entry);
                    return Ok(None);
                }
                // The port's last connection is not quite gone.
                Some(libc::EADDRNOTAVAIL) if from.is_some() => {
                    entry.way = Some(Way::NoPort);
                    entry.local = from.expect("just matched");
                    self.say(&entry);
                    from = None;
                }
                _ => return Err(with(&format!("connect for {:?}", deal.way), failed)),
            }
        }
    }

    fn speak(&self, end: &mut End, deal: &Deal) -> io::Result<Closed> {
        let is_silent = matches!(deal.way, Way::SilentAbort | Way::SilentClose);
        let said = if is_silent {
            Ok(())
        } else {
            end.write_first(&deal.encode())
        };
        said.and_then(|()| play(end, deal))
            .map_err(|error| with(&format!("{:?} of {}", deal.way, deal.number), error))
    }

    /// The same socket connects again.
    fn again(
        &self,
        client: &Client,
        dice: &mut Dice,
        number: u64,
        socket: Socket,
    ) -> io::Result<()> {
        let deal = Deal {
            x_is_client: true,
            ..deal(dice, number | 1 << 62, Way::Fin)
        };
        socket.connect(&SockAddr::from(client.server))?;
        let mut entry = self.entry(client.server, true);
        entry.number = deal.number;
        entry.way = Some(deal.way);
        entry.is_x = true;
        let mut end = End::new(socket, entry)?;
        self.speak(&mut end, &deal)?;
        self.finish(end, &deal);
        Ok(())
    }

    /// The SYN is unanswered when the socket is closed.
    fn cancelled(&self, to: SocketAddr, number: u64) -> io::Result<()> {
        let end = self.begin(to, number, Way::Cancelled, 0)?;
        self.say(&end.entry);
        Ok(())
    }

    fn begin(&self, to: SocketAddr, number: u64, way: Way, timeout_ms: i32) -> io::Result<End> {
        let socket = socket(to)?;
        socket.set_nonblocking(true)?;
        if timeout_ms > 0 {
            let fd = std::os::fd::AsFd::as_fd(&socket);
            sys::set_option(fd, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, &[timeout_ms])?;
        }
        match socket.connect(&SockAddr::from(to)) {
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => (),
            other => return Err(io::Error::other(format!("{other:?} where nobody answers"))),
        }
        let mut entry = self.entry(to, true);
        entry.number = number;
        entry.way = Some(way);
        entry.is_x = true;
        End::new(socket, entry)
    }

    fn void(&self, to: SocketAddr, count: u64) {
        let began: io::Result<Vec<End>> = (0..count)
            .map(|_| self.begin(to, 0, Way::TimedOut, 500))
            .collect();
        let ended = began.and_then(|ends| {
            for mut end in ends {
                end.wait_for_close()?;
                end.entry.connect_errno = end
                    .socket
                    .take_error()?
                    .and_then(|error| error.raw_os_error());
                self.say(&end.entry);
            }
            Ok(())
        });
        if let Err(error) = ended {
            self.fault("SYNs that nobody answers", &error);
        }
    }

    fn listener_closed(&self, ip: IpAddr, number: u64, dice: &mut Dice) -> io::Result<()> {
        let listener = listener(SocketAddr::new(ip, 0))?;
        let to = addr(listener.local_addr())?;
        let mut ends = Vec::new();
        for _ in 0..=dice.roll(3) {
            let socket = socket(to)?;
            socket.connect(&SockAddr::from(to))?;
            let mut entry = self.entry(to, true);
            entry.number = number;
            entry.way = Some(Way::ListenerClosed);
            let mut end = End::new(socket, entry)?;
            end.write(dice.roll(2000) as usize)?;
            ends.push(end);
        }
        // The children are still unaccepted, and are x.
        for end in &ends {
            let mut child = self.entry(end.entry.local, false);
            child.number = number;
            child.way = Some(Way::ListenerClosed);
            child.is_x = true;
            child.local = to;
            self.say(&child);
        }
        for end in &ends {
            self.wait_until_acked(end)?;
        }
        drop(listener);
        for mut end in ends {
            end.read_reset()?;
            self.say(&end.entry);
        }
        Ok(())
    }

    fn wait_until_acked(&self, end: &End) -> io::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while sys::queued(std::os::fd::AsFd::as_fd(&end.socket), libc::TIOCOUTQ)? > 0 {
            if Instant::now() > deadline {
                return Err(io::Error::other("unacknowledged on loopback"));
            }
            thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    fn itself(&self, ip: IpAddr, number: u64, dice: &mut Dice) -> io::Result<()> {
        let own = SocketAddr::new(ip, 0);
        let socket = socket(own)?;
        socket.bind(&SockAddr::from(own))?;
        let own = addr(socket.local_addr())?;
        socket.connect(&SockAddr::from(own))?;
        let mut entry = self.entry(own, true);
        entry.number = number;
        entry.way = Some(Way::Itself);
        entry.is_x = true;
        let mut end = End::new(socket, entry)?;
        let len = dice.roll(3000) as usize;
        end.write(len)?;
        end.read(len)?;
        self.say(&end.entry);
        Ok(())
    }
}

impl End {
    fn write_first(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = io::Write::write(&mut &self.socket, bytes)?;
        self.entry.written += sent as u64;
        match sent == bytes.len() {
            true => Ok(()),
            false => Err(io::Error::other("no room for the first bytes")),
        }
    }
}

fn socket(peer: SocketAddr) -> io::Result<Socket> {
    Socket::new(Domain::for_address(peer), Type::STREAM, Some(Protocol::TCP))
}

fn deal(dice: &mut Dice, number: u64, way: Way) -> Deal {
    // What fits in the first flight, but for ways that wait for all of it.
    let large = matches!(way, Way::Fin | Way::HalfClose) && dice.roll(30) == 0;
    let most = if large { 150_000 } else { 4_000 };
    Deal {
        number,
        way,
        x_is_client: way.is_the_clients() || dice.roll(2) == 0,
        there: dice.roll(most) as u32,
        back: dice.roll(most) as u32,
        late: 1 + dice.roll(3_000) as u32,
    }
}

/// Storms.
impl Worker {
    fn storm(mut self, client: &Client, pids: &[i32]) {
        let mut alive = 0;
        for number in 0..client.count {
            while alive >= SHORT {
                alive -= usize::from(reaped(None));
            }
            while reaped(Some(WaitPidFlag::WNOHANG)) {
                alive -= 1;
            }
            if spawn(pids, number as usize).expect("a process") > 0 {
                alive += 1;
                if client.pause_us > 0 {
                    thread::sleep(Duration::from_micros(client.pause_us));
                }
                continue;
            }
            let number = client.first + number;
            self.become_child(&name("tr", number));
            match &client.image {
                // Its own image, as a shell's children have.
                Some(image) if number.is_multiple_of(8) => {
                    let task = Task {
                        kind: Kind::Short {
                            client: client.clone(),
                            number,
                        },
                        comm: name("tx", number),
                        ..self.task.clone()
                    };
                    let mut command = Command::new(image);
                    task.give(&mut command);
                    self.fault("exec", &command.exec());
                }
                _ => self.short(client, number),
            }
            leave(0);
        }
        while reaped(None) {}
    }

    /// The life of a short process: some connections, of which the last may end with it.
    fn short(&self, client: &Client, number: u64) {
        let mut dice = Dice(self.task.seed ^ number << 20);
        let lived = (|| {
            for turn in 0..dice.roll(3) {
                let number = number | (turn + 1) << 40;
                self.one(client, &mut dice, number, 0)?;
            }
            let way = dice.pick(&DEADLY);
            let mut entries = Vec::new();
            let mut held = Vec::new();
            let mut last = None;
            for turn in 0..dice.roll(4) {
                let deal = Deal {
                    x_is_client: turn == 0 || dice.roll(3) > 0,
                    ..deal(&mut dice, number | (turn + 4) << 40, way)
                };
                let Some(mut end) = self.dial(client, &deal, None)? else {
                    continue;
                };
                self.speak(&mut end, &deal)?;
                if deal.x_is_client {
                    entries.push(end.entry);
                    held.push(end.socket);
                    last.get_or_insert(deal);
                } else {
                    self.finish(end, &deal);
                }
            }
            match last {
                Some(deal) => die(self, entries, &deal),
                None => Ok::<(), io::Error>(()),
            }
        })();
        if let Err(error) = lived {
            self.fault(&format!("process {number}"), &error);
        }
    }
}

/// Whether a child has ended.
fn reaped(flags: Option<WaitPidFlag>) -> bool {
    matches!(
        waitpid(None::<Pid>, flags),
        Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..))
    )
}
