//! The agent's side: a process that holds sockets and does what it is told, one operation at a time.
//!
//! It is this same test binary, started again with `ROLE` in its environment.

use std::{
    collections::HashMap,
    io::{self, ErrorKind},
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd},
    os::unix::process::CommandExt,
    process::Command,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout},
    sched::{CloneFlags, setns},
    sys::socket::{AddressFamily, SockFlag, SockType, socketpair},
    unistd::{ForkResult, Uid, fork, gettid},
};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::{
    meet,
    protocol::{Fd, Half, Op, Reply, UringOp, receive, send},
    serve, sys, uring,
};

/// Set for every process that this binary starts as an agent.
pub const ROLE: &str = "TRACER_LAB_ROLE";
/// A path to the network namespace to work in.
pub const NETNS: &str = "TRACER_LAB_NETNS";
/// The name to take before anything else.
pub const COMM: &str = "TRACER_LAB_COMM";
/// Descriptors, comma-separated, that an exec handed over.
pub const KEPT: &str = "TRACER_LAB_KEPT";

/// How long an operation waits for the network before it says ETIME (which TCP never does).
const PATIENCE: Duration = Duration::from_secs(20);

/// Instead of an agent: an address to greet whoever comes at, until told to stop; see `meet`.
pub const GREET: &str = "TRACER_LAB_GREET";

/// What it says once it listens.
pub const GREETS: &str = "greets";

/// Runs as an agent if this process was started as one; does not return then.
pub fn run_if_agent() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    if let Ok(comm) = std::env::var(COMM) {
        sys::set_comm(comm.as_bytes());
    }
    if let Ok(path) = std::env::var(NETNS) {
        let ns = std::fs::File::open(&path).expect("the namespace of an agent");
        setns(ns, CloneFlags::CLONE_NEWNET).expect("setns needs root");
    }
    if let Ok(addr) = std::env::var(GREET) {
        greet(&addr);
    }
    let mut agent = Agent::default();
    if let Ok(kept) = std::env::var(KEPT) {
        for fd in kept.split(',').filter_map(|fd| fd.parse::<RawFd>().ok()) {
            // SAFETY: the image before this one left exactly these descriptors open for us.
            agent.adopt(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
    // SAFETY: the channel is descriptor 0 by the way agents are started, and nothing else uses stdin.
    let channel = unsafe { OwnedFd::from_raw_fd(0) };
    agent.serve(channel);
    std::process::exit(0);
}

/// In a container, where nobody can command an agent: the log goes to standard output.
fn greet(addr: &str) -> ! {
    let listener = std::net::TcpListener::bind(addr).expect("an address of the container");
    println!("{GREETS}");
    let met = meet::greet(&SockRef::from(&listener), 0).expect("connections as planned");
    println!("{}", serde_json::json!(met));
    std::process::exit(0);
}

#[derive(Default)]
struct Agent {
    fds: HashMap<Fd, OwnedFd>,
}

/// What an operation that failed has to say: the error, and the bytes that went through before it.
struct Failure {
    errno: i32,
    done: usize,
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Failure {
            errno: errno as i32,
            done: 0,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure {
            errno: sys::errno_of(&error),
            done: 0,
        }
    }
}

impl Agent {
    fn serve(&mut self, mut channel: OwnedFd) {
        while let Ok(Some((op, mut fds))) = receive::<Op>(channel.as_fd(), None) {
            let (reply, passed) = match op {
                Op::Fork => match self.fork() {
                    Ok(Forked::Parent(pid, theirs)) => (Reply::Pid(pid), Some(theirs)),
                    Ok(Forked::Child(ours)) => {
                        channel = ours;
                        continue;
                    }
                    Err(failure) => (failed(failure), None),
                },
                Op::Exec { keep, comm } => (failed(self.exec(&channel, &keep, &comm)), None),
                Op::Take => (Reply::Fd(self.adopt(fds.remove(0))), None),
                op => (self.answer(op), None),
            };
            let passed: Vec<RawFd> = passed.iter().map(AsRawFd::as_raw_fd).collect();
            if send(channel.as_fd(), &reply, &passed).is_err() {
                break;
            }
        }
    }

    fn answer(&mut self, op: Op) -> Reply {
        self.perform(op).unwrap_or_else(failed)
    }

    fn adopt(&mut self, fd: OwnedFd) -> Fd {
        let number = fd.as_raw_fd();
        self.fds.insert(number, fd);
        number
    }

    fn fd(&self, fd: Fd) -> Result<BorrowedFd<'_>, Failure> {
        self.fds
            .get(&fd)
            .map(AsFd::as_fd)
            .ok_or(Errno::EBADF.into())
    }

    fn socket(&self, fd: Fd) -> Result<SockRef<'_>, Failure> {
        self.fds
            .get(&fd)
            .map(SockRef::from)
            .ok_or(Errno::EBADF.into())
    }

    fn perform(&mut self, op: Op) -> Result<Reply, Failure> {
        match op {
            Op::Socket { v6, mptcp } => {
                let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
                let protocol = if mptcp {
                    Protocol::from(libc::IPPROTO_MPTCP)
                } else {
                    Protocol::TCP
                };
                let socket = Socket::new(domain, Type::STREAM, Some(protocol))?;
                Ok(Reply::Fd(self.adopt(socket.into())))
            }
            Op::SetOpt {
                fd,
                level,
                name,
                value,
            } => {
                sys::set_option(self.fd(fd)?, level, name, &value)?;
                Ok(Reply::Done)
            }
            Op::Bind { fd, addr } => {
                let socket = self.socket(fd)?;
                socket.set_reuse_address(true)?;
                socket.bind(&SockAddr::from(addr))?;
                Ok(Reply::Done)
            }
            Op::Listen { fd, backlog } => {
                self.socket(fd)?.listen(backlog)?;
                self.names(fd)
            }
            Op::ConnectStart { fd, addr } => {
                let socket = self.socket(fd)?;
                socket.set_nonblocking(true)?;
                let started = socket.connect(&SockAddr::from(addr));
                socket.set_nonblocking(false)?;
                match started {
                    Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => self.names(fd),
                    Err(error) => Err(error.into()),
                    Ok(()) => self.names(fd),
                }
            }
            Op::ConnectWait { fd } => {
                wait(self.fd(fd)?, PollFlags::POLLOUT)?;
                match self.socket(fd)?.take_error()? {
                    Some(error) => Err(error.into()),
                    None => self.names(fd),
                }
            }
            Op::Connect { fd, addr } => {
                self.socket(fd)?.connect(&SockAddr::from(addr))?;
                self.names(fd)
            }
            Op::Accept { fd } => {
                wait(self.fd(fd)?, PollFlags::POLLIN)?;
                let (socket, peer) = self.socket(fd)?.accept()?;
                let local = socket
                    .local_addr()?
                    .as_socket()
                    .ok_or(Errno::EAFNOSUPPORT)?;
                let peer = peer.as_socket().ok_or(Errno::EAFNOSUPPORT)?;
                let fd = self.adopt(socket.into());
                Ok(Reply::Accepted { fd, local, peer })
            }
            Op::Names { fd } => self.names(fd),
            Op::Write {
                fd,
                len,
                chunk,
                flags,
            } => self.write(fd, len, chunk, flags),
            Op::Fill { fd, len } => self.fill(fd, len),
            Op::Read { fd, len } => self.read(fd, len),
            Op::Recv { fd } => {
                wait(self.fd(fd)?, PollFlags::POLLIN)?;
                let mut buffer = [MaybeUninit::uninit(); 65536];
                Ok(Reply::Count(self.socket(fd)?.recv(&mut buffer)?))
            }
            Op::Shutdown { fd, how } => {
                let how = match how {
                    Half::Read => std::net::Shutdown::Read,
                    Half::Write => std::net::Shutdown::Write,
                    Half::Both => std::net::Shutdown::Both,
                };
                self.socket(fd)?.shutdown(how)?;
                Ok(Reply::Done)
            }
            Op::Disconnect { fd } => {
                sys::disconnect(self.fd(fd)?)?;
                Ok(Reply::Done)
            }
            Op::Close { fd } => {
                drop(self.fds.remove(&fd).ok_or(Errno::EBADF)?);
                Ok(Reply::Done)
            }
            Op::Unread { fd } => Ok(Reply::Count(sys::queued(self.fd(fd)?, libc::FIONREAD)?)),
            Op::Outstanding { fd } => {
                let fd = self.fd(fd)?;
                let unsent = sys::queued(fd, 0x894B)?;
                let all = sys::queued(fd, libc::TIOCOUTQ)?;
                Ok(Reply::Pair(all - unsent, unsent))
            }
            Op::State { fd } => Ok(Reply::Count(sys::tcp_state(self.fd(fd)?)?.into())),
            Op::Cookie { fd } => Ok(Reply::Cookie(self.socket(fd)?.cookie()?)),
            Op::Dup { fd } => {
                let copy = self.fd(fd)?.try_clone_to_owned()?;
                Ok(Reply::Fd(self.adopt(copy)))
            }
            Op::Exit { status } => std::process::exit(status),
            Op::Rename { comm } => {
                sys::set_comm(&comm);
                Ok(Reply::Done)
            }
            Op::InThread { name, op } => Ok(self.in_thread(&name, *op)),
            Op::Uring {
                fd,
                op,
                async_worker,
            } => self.uring(fd, &op, async_worker),
            Op::SendFd { via, fd } => {
                send(self.fd(via)?, &(), &[self.fd(fd)?.as_raw_fd()])?;
                Ok(Reply::Done)
            }
            Op::RecvFd { via } => {
                let (_, mut fds) =
                    receive::<()>(self.fd(via)?, Some(PATIENCE))?.ok_or(Errno::EPIPE)?;
                Ok(Reply::Fd(self.adopt(fds.remove(0))))
            }
            Op::SetUid { uid } => {
                nix::unistd::setuid(Uid::from_raw(uid))?;
                Ok(Reply::Done)
            }
            Op::WriteFile { path, text } => {
                std::fs::write(path, text)?;
                Ok(Reply::Done)
            }
            Op::Churn(churn) => Ok(Reply::Log(serve::churn(&churn)?)),
            Op::Serve { fd, count } => Ok(Reply::Log(serve::serve(&self.socket(fd)?, count)?)),
            Op::Hold { count } => Ok(Reply::Count(serve::hold(count)?)),
            Op::Meet(plan) => Ok(Reply::Met(meet::meet(&plan)?)),
            Op::Greet { fd, hold_ms } => Ok(Reply::Met(meet::greet(&self.socket(fd)?, hold_ms)?)),
            Op::Fork | Op::Exec { .. } | Op::Take => Err(Errno::EINVAL.into()),
        }
    }

    fn names(&self, fd: Fd) -> Result<Reply, Failure> {
        let socket = self.socket(fd)?;
        let local = socket
            .local_addr()?
            .as_socket()
            .ok_or(Errno::EAFNOSUPPORT)?;
        let peer = socket.peer_addr().ok().and_then(|peer| peer.as_socket());
        Ok(Reply::Names { local, peer })
    }

    fn write(&self, fd: Fd, len: usize, chunk: usize, flags: i32) -> Result<Reply, Failure> {
        let buffer = vec![b'x'; chunk.min(len)];
        let mut done = 0;
        let socket = self.socket(fd)?;
        let began = Instant::now();
        while done < len {
            let part = &buffer[..buffer.len().min(len - done)];
            match socket.send_with_flags(part, flags) {
                Ok(sent) => done += sent,
                Err(error) => {
                    let errno = sys::errno_of(&error);
                    return Err(Failure { errno, done });
                }
            }
            if began.elapsed() > PATIENCE {
                let errno = libc::ETIME;
                return Err(Failure { errno, done });
            }
        }
        Ok(Reply::Count(done))
    }

    fn fill(&self, fd: Fd, len: usize) -> Result<Reply, Failure> {
        match self.write(fd, len, 65536, libc::MSG_DONTWAIT) {
            Err(Failure { errno, done }) if errno == libc::EAGAIN => Ok(Reply::Count(done)),
            other => other,
        }
    }

    fn read(&self, fd: Fd, len: usize) -> Result<Reply, Failure> {
        let socket = self.socket(fd)?;
        let mut buffer = [MaybeUninit::uninit(); 65536];
        let mut done = 0;
        while done < len {
            wait(self.fd(fd)?, PollFlags::POLLIN).map_err(|errno| Failure {
                errno: errno as i32,
                done,
            })?;
            let room = buffer.len().min(len - done);
            match socket.recv(&mut buffer[..room]) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let errno = sys::errno_of(&error);
                    return Err(Failure { errno, done });
                }
            }
        }
        Ok(Reply::Count(done))
    }

    fn in_thread(&mut self, name: &str, op: Op) -> Reply {
        std::thread::scope(|scope| {
            let body = || {
                let tid = gettid().as_raw();
                let reply = Box::new(self.answer(op));
                Reply::Threaded { tid, reply }
            };
            let thread = std::thread::Builder::new()
                .name(name.to_owned())
                .spawn_scoped(scope, body)
                .expect("a thread");
            thread.join().expect("operations do not panic")
        })
    }

    fn uring(&mut self, fd: Fd, op: &UringOp, async_worker: bool) -> Result<Reply, Failure> {
        let done = uring::perform(self.fd(fd)?, op, async_worker)?;
        if let UringOp::Close = op {
            // The ring has closed the number; the owner here must not close it again.
            let _ = self.fds.remove(&fd).map(IntoRawFd::into_raw_fd);
        }
        Ok(Reply::Count(done))
    }

    fn fork(&self) -> Result<Forked, Failure> {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        // SAFETY: an agent has one thread whenever it forks (`InThread` joins its own).
        match unsafe { fork() }? {
            ForkResult::Parent { child } => Ok(Forked::Parent(child.as_raw(), theirs)),
            ForkResult::Child => Ok(Forked::Child(ours)),
        }
    }

    /// Returns only when it failed.
    fn exec(&mut self, channel: &OwnedFd, keep: &[Fd], comm: &str) -> Failure {
        // A forked agent's channel is not 0.
        // SAFETY: descriptor 0 is the channel itself or the inherited copy of the parent's.
        if channel.as_raw_fd() != 0 && unsafe { libc::dup2(channel.as_raw_fd(), 0) } < 0 {
            return Errno::last().into();
        }
        for fd in keep {
            let kept = self
                .fd(*fd)
                .and_then(|fd| Ok(fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?));
            if let Err(failure) = kept {
                return failure;
            }
        }
        let kept: Vec<String> = keep.iter().map(Fd::to_string).collect();
        // SAFETY: clearing close-on-exec of descriptor 0 touches no memory.
        unsafe { libc::fcntl(0, libc::F_SETFD, 0) };
        let error = Command::new("/proc/self/exe")
            .env(ROLE, "agent")
            .env(COMM, comm)
            .env(KEPT, kept.join(","))
            .env_remove(NETNS)
            .exec();
        error.into()
    }
}

enum Forked {
    Parent(i32, OwnedFd),
    Child(OwnedFd),
}

fn failed(failure: Failure) -> Reply {
    Reply::Failed {
        errno: failure.errno,
        done: failure.done,
    }
}

/// Waits until the descriptor is ready or in error.
fn wait(fd: BorrowedFd, events: PollFlags) -> Result<(), Errno> {
    let timeout = PollTimeout::try_from(PATIENCE).expect("a patience that poll can express");
    let mut ready = [PollFd::new(fd, events)];
    match nix::poll::poll(&mut ready, timeout)? {
        0 => Err(Errno::ETIME),
        _ => Ok(()),
    }
}
