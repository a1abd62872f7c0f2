//! The load of `pairs.rs`: many connections at once, each with a number that the client tells the server, so that both
//! sides' logs say which two sockets (by the kernel's cookies) are the ends of one connection.

use std::{
    io,
    mem::MaybeUninit,
    net::SocketAddr,
    sync::Mutex,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::sys;

/// How a connection goes on once the client has sent its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// The server answers, then that side closes and the other follows.
    ClientFirst,
    ServerFirst,
    /// The same, but the other side lives on for `hold_ms` after the load.
    ClientFirstServerHolds,
    ServerFirstClientHolds,
    /// The server answers, then the client sends a RST.
    ClientAborts,
    /// The server sends a RST instead of an answer.
    ServerAborts,
    /// The client does not wait for an answer: it may be gone before the server accepts.
    ClientHurries,
    /// As `ClientFirst`; the server accepts no more after it.
    Stop,
}

const WAYS: [Way; 8] = [
    Way::ClientFirst,
    Way::ServerFirst,
    Way::ClientFirstServerHolds,
    Way::ServerFirstClientHolds,
    Way::ClientAborts,
    Way::ServerAborts,
    Way::ClientHurries,
    Way::Stop,
];

/// What a client is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    pub addr: SocketAddr,
    /// Where every connection comes from: one port, used again and again.
    pub from: Option<SocketAddr>,
    /// The number of the first connection.
    pub first: u32,
    pub count: u32,
    /// In turn.
    pub ways: Vec<Way>,
    /// Connections at a time.
    pub threads: u32,
    pub hold_ms: u64,
    /// The number goes with the SYN.
    pub fastopen: bool,
}

/// Number and cookie of a connection's end.
pub type Met = (u32, u64);

const PATIENCE: Duration = Duration::from_secs(30);

pub fn meet(plan: &Plan) -> io::Result<Vec<Met>> {
    let log = Mutex::new(Vec::new());
    let held = Mutex::new(Vec::new());
    let work = |thread: u32| {
        for number in (thread..plan.count).step_by(plan.threads as usize) {
            let way = plan.ways[number as usize % plan.ways.len()];
            let (met, socket) = one(plan, plan.first + number, way)?;
            log.lock().expect("not poisoned").push(met);
            held.lock().expect("not poisoned").extend(socket);
        }
        io::Result::Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..plan.threads)
            .map(|thread| scope.spawn(move || work(thread)))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no panic"))
    })?;
    std::thread::sleep(Duration::from_millis(plan.hold_ms));
    drop(held);
    Ok(log.into_inner().expect("not poisoned"))
}

/// One connection; the socket is returned if it lives on.
fn one(plan: &Plan, number: u32, way: Way) -> io::Result<(Met, Option<Socket>)> {
    let socket = connect(plan)?;
    let met = (number, socket.cookie()?);
    let mut greeting = [way as u8; 5];
    greeting[1..].copy_from_slice(&number.to_le_bytes());
    socket.send(&greeting)?;
    match way {
        Way::ClientHurries => return Ok((met, None)),
        Way::ServerAborts => expect_reset(&socket)?,
        _ => answered(&socket, number)?,
    }
    match way {
        Way::ServerFirst => expect_end(&socket)?,
        Way::ServerFirstClientHolds => {
            expect_end(&socket)?;
            return Ok((met, Some(socket)));
        }
        Way::ClientAborts => socket.set_linger(Some(Duration::ZERO))?,
        _ => (),
    }
    Ok((met, None))
}

fn connect(plan: &Plan) -> io::Result<Socket> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let socket = Socket::new(
            Domain::for_address(plan.addr),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_read_timeout(Some(PATIENCE))?;
        if plan.fastopen {
            sys::set_option(
                std::os::fd::AsFd::as_fd(&socket),
                libc::IPPROTO_TCP,
                libc::TCP_FASTOPEN_CONNECT,
                &[1],
            )?;
        }
        let connected = (|| {
            if let Some(from) = plan.from {
                socket.set_reuse_address(true)?;
                socket.bind(&SockAddr::from(from))?;
            }
            socket.connect(&SockAddr::from(plan.addr))
        })();
        match connected {
            Ok(()) => return Ok(socket),
            // The port's last connection is not quite gone.
            Err(error)
                if plan.from.is_some()
                    && error.kind() != io::ErrorKind::ConnectionRefused
                    && Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Accepts until it is told to stop.
pub fn greet(listener: &SockRef, hold_ms: u64) -> io::Result<Vec<Met>> {
    let mut log = Vec::new();
    let mut held = Vec::new();
    loop {
        let (socket, _) = listener.accept()?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let greeting: [u8; 5] = read(&socket)?;
        let number = u32::from_le_bytes([greeting[1], greeting[2], greeting[3], greeting[4]]);
        log.push((number, socket.cookie()?));
        let way = WAYS[usize::from(greeting[0])];
        if !matches!(way, Way::ServerAborts | Way::ClientHurries) {
            socket.send(&number.to_le_bytes())?;
        }
        match way {
            Way::ServerFirst | Way::ServerFirstClientHolds => (),
            Way::ServerAborts => socket.set_linger(Some(Duration::ZERO))?,
            Way::ClientAborts => expect_reset(&socket)?,
            Way::ClientFirst | Way::ClientHurries => expect_end(&socket)?,
            Way::ClientFirstServerHolds => {
                expect_end(&socket)?;
                held.push(socket);
            }
            Way::Stop => {
                expect_end(&socket)?;
                break;
            }
        }
    }
    std::thread::sleep(Duration::from_millis(hold_ms));
    Ok(log)
}

fn read<const LEN: usize>(socket: &Socket) -> io::Result<[u8; LEN]> {
    let mut bytes = [0; LEN];
    io::Read::read_exact(&mut &*socket, &mut bytes)?;
    Ok(bytes)
}

fn answered(socket: &Socket, number: u32) -> io::Result<()> {
    match u32::from_le_bytes(read(socket)?) {
        answer if answer == number => Ok(()),
        answer => Err(io::Error::other(format!("{answer} answers {number}"))),
    }
}

fn expect_end(socket: &Socket) -> io::Result<()> {
    match socket.recv(&mut [MaybeUninit::uninit(); 8])? {
        0 => Ok(()),
        _ => Err(io::Error::other("data where the end of file was due")),
    }
}

fn expect_reset(socket: &Socket) -> io::Result<()> {
    match socket.recv(&mut [MaybeUninit::uninit(); 8]) {
        Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::other("no reset")),
    }
}
