//! Agents: separate processes that hold the sockets of a test, so that every end has an owner with a known pid.
//!
//! `Agent` and `Sock` are the test's side; what they say is `protocol`, what the process does with it is `child`.

pub mod child;
pub mod meet;
pub mod protocol;
pub mod serve;
pub mod sys;
pub mod uring;

use std::{
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        socket::{AddressFamily, SockFlag, SockType, socketpair},
    },
    unistd::Pid,
};

use self::protocol::{Fd, Half, Op, Reply, UringOp, receive, send};
use super::netns::Netns;

/// Longer than any operation of an agent waits.
const PATIENCE: Duration = Duration::from_secs(60);

/// One process that holds sockets.
pub struct Agent {
    pub pid: i32,
    comm: Mutex<Vec<u8>>,
    pub uid: u32,
    channel: Mutex<OwnedFd>,
    /// `None` for a process that an agent forked.
    child: Mutex<Option<Child>>,
}

/// The result of an operation: a value, or the errno and the bytes before it.
pub type Answer<T> = Result<T, Failed>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed {
    pub errno: i32,
    pub done: usize,
}

impl Agent {
    /// Starts an agent of that name in a namespace (`None`: in ours).
    pub fn start(netns: Option<&Netns>, comm: &str) -> Arc<Agent> {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .expect("a socket pair");
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0(comm)
            .env(child::ROLE, "agent")
            .env(child::COMM, comm)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null());
        if let Some(netns) = netns {
            command.env(child::NETNS, netns.path());
        }
        let child = command.spawn().expect("starting this binary as an agent");
        let agent = Arc::new(Agent {
            pid: child.id() as i32,
            comm: Mutex::new(comm.as_bytes().to_vec()),
            uid: 0,
            channel: Mutex::new(ours),
            child: Mutex::new(Some(child)),
        });
        // The first answer says that it has its name and its namespace.
        agent.call(Op::State { fd: -1 }).unwrap_err();
        agent
    }

    /// The name as the kernel has it: at most 15 bytes.
    pub fn comm(&self) -> Vec<u8> {
        let mut comm = self.comm.lock().expect("not poisoned").clone();
        comm.truncate(15);
        comm
    }

    /// As a record must show it.
    pub fn comm_text(&self) -> String {
        String::from_utf8_lossy(&self.comm()).into_owned()
    }

    pub fn rename(&self, comm: &[u8]) {
        let comm_op = Op::Rename {
            comm: comm.to_vec(),
        };
        self.call(comm_op).expect("prctl");
        *self.comm.lock().expect("not poisoned") = comm.to_vec();
    }

    fn exchange(&self, op: &Op, fds: &[i32]) -> (Reply, Vec<OwnedFd>) {
        let channel = self.channel.lock().expect("not poisoned");
        send(channel.as_fd(), op, fds)
            .unwrap_or_else(|errno| panic!("agent {} is gone ({errno}): {op:?}", self.pid));
        receive(channel.as_fd(), Some(PATIENCE))
            .unwrap_or_else(|errno| panic!("agent {} does not answer ({errno}): {op:?}", self.pid))
            .unwrap_or_else(|| panic!("agent {} died during {op:?}", self.pid))
    }

    pub fn call(&self, op: Op) -> Answer<Reply> {
        match self.exchange(&op, &[]).0 {
            Reply::Failed { errno, done } => Err(Failed { errno, done }),
            reply => Ok(reply),
        }
    }

    /// An operation that must succeed.
    pub fn must(&self, op: Op) -> Reply {
        let text = format!("{op:?}");
        self.call(op).unwrap_or_else(|failed| {
            panic!(
                "{text}: {} after {} bytes",
                Errno::from_raw(failed.errno),
                failed.done
            )
        })
    }

    /// Writes a file of /proc/sys in the agent's namespace.
    pub fn sysctl(&self, key: &str, value: &str) {
        self.must(Op::WriteFile {
            path: format!("/proc/sys/{}", key.replace('.', "/")),
            text: value.to_owned(),
        });
    }

    pub fn socket(self: &Arc<Self>, v6: bool, mptcp: bool) -> Fd {
        match self.must(Op::Socket { v6, mptcp }) {
            Reply::Fd(fd) => fd,
            other => panic!("socket: {other:?}"),
        }
    }

    /// A listening socket on `addr` (port 0: any).
    pub fn listen(self: &Arc<Self>, addr: SocketAddr, backlog: i32) -> Listener {
        self.listen_with(addr, backlog, false)
    }

    pub fn listen_with(self: &Arc<Self>, addr: SocketAddr, backlog: i32, mptcp: bool) -> Listener {
        let fd = self.socket(addr.is_ipv6(), mptcp);
        self.must(Op::Bind { fd, addr });
        match self.must(Op::Listen { fd, backlog }) {
            Reply::Names { local, .. } => Listener {
                agent: Arc::clone(self),
                fd,
                addr: local,
            },
            other => panic!("listen: {other:?}"),
        }
    }

    /// Forks; the child is an agent of its own that has every descriptor of its parent.
    pub fn fork(&self) -> Arc<Agent> {
        let (reply, mut fds) = self.exchange(&Op::Fork, &[]);
        let Reply::Pid(pid) = reply else {
            panic!("fork: {reply:?}")
        };
        Arc::new(Agent {
            pid,
            comm: Mutex::new(self.comm()),
            uid: self.uid,
            channel: Mutex::new(fds.remove(0)),
            child: Mutex::new(None),
        })
    }

    /// Becomes a fresh image under a new name; only `keep` survives.
    pub fn exec(&self, keep: &[Fd], comm: &str) {
        let op = Op::Exec {
            keep: keep.to_vec(),
            comm: comm.to_owned(),
        };
        {
            let channel = self.channel.lock().expect("not poisoned");
            send(channel.as_fd(), &op, &[]).expect("an agent that lives");
        }
        *self.comm.lock().expect("not poisoned") = comm.as_bytes().to_vec();
        // Answered by the new image (or by the old one, if the exec failed).
        let failed = self.call(Op::State { fd: -1 }).unwrap_err();
        assert_eq!(
            failed.errno,
            libc::EBADF,
            "exec: {}",
            Errno::from_raw(failed.errno)
        );
    }

    /// A private channel between two agents, over which one can pass sockets to the other.
    pub fn passage(from: &Agent, to: &Agent) -> (Fd, Fd) {
        let (a, b) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .expect("a socket pair");
        let take = |agent: &Agent, fd: OwnedFd| match agent.exchange(&Op::Take, &[fd.as_raw_fd()]).0
        {
            Reply::Fd(fd) => fd,
            other => panic!("take: {other:?}"),
        };
        (take(from, a), take(to, b))
    }

    /// Ends the process and waits until it is gone, and its sockets with it.
    pub fn kill(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.pid), signal);
        self.wait();
    }

    /// Lets the process end by exit(2).
    pub fn exit(&self) {
        {
            let channel = self.channel.lock().expect("not poisoned");
            send(channel.as_fd(), &Op::Exit { status: 0 }, &[]).expect("an agent that lives");
        }
        self.wait();
    }

    fn wait(&self) {
        if let Some(mut child) = self.child.lock().expect("not poisoned").take() {
            child.wait().expect("waiting for an agent");
            return;
        }
        // A grandchild of ours: its end is seen in /proc only (as a zombie, or gone).
        let deadline = Instant::now() + Duration::from_secs(5);
        while alive(self.pid) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill(Signal::SIGKILL);
    }
}

fn alive(pid: i32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => !stat
            .rsplit(')')
            .next()
            .unwrap_or("")
            .trim_start()
            .starts_with(['Z', 'X']),
        Err(_) => false,
    }
}

/// A listening socket.
pub struct Listener {
    pub agent: Arc<Agent>,
    pub fd: Fd,
    pub addr: SocketAddr,
}

impl Listener {
    pub fn accept(&self) -> Sock {
        self.accept_by(&self.agent)
    }

    /// Accepted by another process that has the listener (after a fork) under the same number.
    pub fn accept_by(&self, agent: &Arc<Agent>) -> Sock {
        match agent.must(Op::Accept { fd: self.fd }) {
            Reply::Accepted { fd, local, peer } => {
                Sock::new(agent, fd, local, Some(peer), Role::Server)
            }
            other => panic!("accept: {other:?}"),
        }
    }

    pub fn close(&self) {
        self.agent.must(Op::Close { fd: self.fd });
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Client,
    Server,
}

/// One end of a connection, in the hands of an agent. It counts what went through it.
pub struct Sock {
    pub agent: Arc<Agent>,
    pub fd: Fd,
    pub local: SocketAddr,
    pub peer: Option<SocketAddr>,
    pub role: Role,
    written: AtomicUsize,
    read: AtomicUsize,
}

impl Sock {
    pub fn new(
        agent: &Arc<Agent>,
        fd: Fd,
        local: SocketAddr,
        peer: Option<SocketAddr>,
        role: Role,
    ) -> Sock {
        Sock {
            agent: Arc::clone(agent),
            fd,
            local,
            peer,
            role,
            written: AtomicUsize::new(0),
            read: AtomicUsize::new(0),
        }
    }

    /// A socket that is not connected yet.
    pub fn open(agent: &Arc<Agent>, v6: bool) -> Sock {
        let any = if v6 { "[::]:0" } else { "0.0.0.0:0" };
        let fd = agent.socket(v6, false);
        Sock::new(
            agent,
            fd,
            any.parse().expect("an address"),
            None,
            Role::Client,
        )
    }

    /// The same descriptor for a further connection, with fresh counts.
    pub fn reuse(sock: &Sock) -> Sock {
        let any = if sock.local.is_ipv6() {
            "[::]:0"
        } else {
            "0.0.0.0:0"
        };
        Sock::new(
            &sock.agent,
            sock.fd,
            any.parse().expect("an address"),
            None,
            Role::Client,
        )
    }

    /// With the name that it has by now (a fast open has none before its first write).
    pub fn renamed(mut self) -> Sock {
        let reply = self.agent.must(Op::Names { fd: self.fd });
        self.learn(reply);
        self
    }

    /// With its addresses as records show them: IPv4 where an IPv6 socket carries it.
    pub fn unmapped(mut self) -> Sock {
        for addr in std::iter::once(&mut self.local).chain(&mut self.peer) {
            addr.set_ip(addr.ip().to_canonical());
        }
        self
    }

    /// The same socket in another process (after a fork, an exec or SCM_RIGHTS).
    pub fn held_by(&self, agent: &Arc<Agent>, fd: Fd) -> Sock {
        let sock = Sock::new(agent, fd, self.local, self.peer, self.role);
        sock.written.store(self.written(), Relaxed);
        sock.read.store(self.taken(), Relaxed);
        sock
    }

    /// Bytes that the application wrote with success.
    pub fn written(&self) -> usize {
        self.written.load(Relaxed)
    }

    /// Bytes that the application has read.
    pub fn taken(&self) -> usize {
        self.read.load(Relaxed)
    }

    pub fn connect(&mut self, addr: SocketAddr) -> Answer<()> {
        self.peer = Some(addr);
        let reply = self.agent.call(Op::Connect { fd: self.fd, addr })?;
        self.learn(reply);
        Ok(())
    }

    /// Sends the SYN and does not wait.
    pub fn connect_start(&mut self, addr: SocketAddr) {
        self.peer = Some(addr);
        let reply = self.agent.must(Op::ConnectStart { fd: self.fd, addr });
        self.learn(reply);
    }

    pub fn connect_wait(&mut self) -> Answer<()> {
        let reply = self.agent.call(Op::ConnectWait { fd: self.fd })?;
        self.learn(reply);
        Ok(())
    }

    fn learn(&mut self, reply: Reply) {
        if let Reply::Names { local, .. } = reply {
            self.local = local;
        }
    }

    fn counted(&self, counter: &AtomicUsize, answer: Answer<Reply>) -> Answer<usize> {
        let answer = match answer {
            Ok(Reply::Count(count)) => Ok(count),
            Ok(other) => panic!("a count was due: {other:?}"),
            Err(failed) => Err(failed),
        };
        let done = answer.unwrap_or_else(|failed: Failed| failed.done);
        counter.fetch_add(done, Relaxed);
        answer
    }

    /// Writes in one call (or more, for what is larger than 64 KiB).
    pub fn try_write(&self, len: usize) -> Answer<usize> {
        self.try_write_with(len, 65536, 0)
    }

    pub fn try_write_with(&self, len: usize, chunk: usize, flags: i32) -> Answer<usize> {
        let op = Op::Write {
            fd: self.fd,
            len,
            chunk,
            flags,
        };
        self.counted(&self.written, self.agent.call(op))
    }

    pub fn write(&self, len: usize) {
        if len > 0 {
            let written = self.try_write(len);
            assert_eq!(
                written,
                Ok(len),
                "a write of {len} bytes on {:?}",
                self.local
            );
        }
    }

    /// Writes until the kernel takes no more.
    pub fn fill(&self, len: usize) -> usize {
        let op = Op::Fill { fd: self.fd, len };
        self.counted(&self.written, self.agent.call(op))
            .expect("room or EAGAIN")
    }

    pub fn read(&self, len: usize) {
        if len > 0 {
            let op = Op::Read { fd: self.fd, len };
            let read = self.counted(&self.read, self.agent.call(op));
            assert_eq!(read, Ok(len), "a read of {len} bytes on {:?}", self.local);
        }
    }

    /// One receive call.
    pub fn recv(&self) -> Answer<usize> {
        self.counted(&self.read, self.agent.call(Op::Recv { fd: self.fd }))
    }

    /// The end of file must be next.
    pub fn read_eof(&self) {
        assert_eq!(self.recv(), Ok(0), "the end of file on {:?}", self.local);
    }

    pub fn shutdown(&self, how: Half) {
        self.agent.must(Op::Shutdown { fd: self.fd, how });
    }

    pub fn close(&self) {
        self.agent.must(Op::Close { fd: self.fd });
    }

    /// close(2) after SO_LINGER {1, 0}: a RST.
    pub fn close_linger0(&self) {
        self.set(libc::SOL_SOCKET, libc::SO_LINGER, &[1, 0]);
        self.close();
    }

    pub fn disconnect(&self) {
        self.agent.must(Op::Disconnect { fd: self.fd });
    }

    pub fn set(&self, level: i32, name: i32, value: &[i32]) {
        self.agent.must(Op::SetOpt {
            fd: self.fd,
            level,
            name,
            value: value.to_vec(),
        });
    }

    pub fn set_tcp(&self, name: i32, value: i32) {
        self.set(libc::IPPROTO_TCP, name, &[value]);
    }

    /// Acknowledge every segment at once (or with the usual delay).
    pub fn quickack(&self, on: bool) {
        self.set_tcp(libc::TCP_QUICKACK, on.into());
    }

    /// (in flight, not yet sent), both without a FIN.
    pub fn outstanding(&self) -> (usize, usize) {
        match self.agent.must(Op::Outstanding { fd: self.fd }) {
            Reply::Pair(in_flight, unsent) => (in_flight, unsent),
            other => panic!("outstanding: {other:?}"),
        }
    }

    /// Waits until everything written has been acknowledged.
    pub fn settle(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.outstanding() != (0, 0) {
            assert!(
                Instant::now() < deadline,
                "{:?} is not acknowledged",
                self.local
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn unread(&self) -> usize {
        match self.agent.must(Op::Unread { fd: self.fd }) {
            Reply::Count(count) => count,
            other => panic!("unread: {other:?}"),
        }
    }

    pub fn state(&self) -> usize {
        match self.agent.must(Op::State { fd: self.fd }) {
            Reply::Count(state) => state,
            other => panic!("state: {other:?}"),
        }
    }

    pub fn cookie(&self) -> u64 {
        match self.agent.must(Op::Cookie { fd: self.fd }) {
            Reply::Cookie(cookie) => cookie,
            other => panic!("a cookie was due: {other:?}"),
        }
    }

    pub fn uring(&self, op: UringOp, async_worker: bool) -> usize {
        let (sends, receives) = (
            matches!(op, UringOp::Send { .. }),
            matches!(op, UringOp::Recv { .. }),
        );
        let op = Op::Uring {
            fd: self.fd,
            op,
            async_worker,
        };
        let Reply::Count(count) = self.agent.must(op) else {
            panic!("a count was due")
        };
        if sends {
            self.written.fetch_add(count, Relaxed);
        } else if receives {
            self.read.fetch_add(count, Relaxed);
        }
        count
    }
}
