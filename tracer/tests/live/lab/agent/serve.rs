//! The load of `load.rs`: connections opened and ended as fast as one process can, in a fixed mixture.
//!
//! Each kind of ending is told by the client in its first byte, so that both ends know what will happen, and
//! each side logs how many of each kind it did.

use std::{
    io,
    mem::{self, MaybeUninit},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    time::Duration,
};

use nix::sys::resource::{Resource, setrlimit};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::protocol::Churn;

/// The kinds, by number. The log is a count per kind.
pub const KINDS: usize = 5;
pub const CLIENT_CLOSES: u8 = 0;
pub const SERVER_CLOSES: u8 = 1;
pub const CLIENT_LINGER0: u8 = 2;
pub const SERVER_UNREAD: u8 = 3;
pub const SERVER_LINGER0: u8 = 4;

/// Opens and ends the client's ends; a refusal to connect is an error.
pub fn churn(plan: &Churn) -> io::Result<Vec<u64>> {
    let mut log = vec![0; KINDS];
    let address = SockAddr::from(plan.addr);
    let domain = if plan.addr.is_ipv6() {
        Domain::IPV6
    } else {
        Domain::IPV4
    };
    let mut buffer = [MaybeUninit::uninit(); 64];
    for number in 0..plan.count {
        let kind = (number % KINDS) as u8;
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.connect(&address)?;
        match kind {
            CLIENT_CLOSES => {
                socket.send(&[kind])?;
                socket.recv(&mut buffer)?;
            }
            CLIENT_LINGER0 => {
                socket.send(&[kind])?;
                socket.recv(&mut buffer)?;
                socket.set_linger(Some(Duration::ZERO))?;
            }
            SERVER_UNREAD => {
                // The server reads one byte and leaves the other.
                socket.send(&[kind, kind])?;
                let reset = socket.recv(&mut buffer);
                expect_reset(reset)?;
            }
            SERVER_LINGER0 => {
                socket.send(&[kind])?;
                let reset = socket.recv(&mut buffer);
                expect_reset(reset)?;
            }
            _ => {
                socket.send(&[kind])?;
                // The end of file.
                if socket.recv(&mut buffer)? != 0 {
                    return Err(io::Error::other("data where the end of file was due"));
                }
            }
        }
        drop(socket);
        log[usize::from(kind)] += 1;
    }
    Ok(log)
}

/// Accepts and ends the server's ends, one after the other.
pub fn serve(listener: &SockRef, count: usize) -> io::Result<Vec<u64>> {
    let mut log = vec![0; KINDS];
    let mut kind = [MaybeUninit::uninit(); 1];
    let mut buffer = [MaybeUninit::uninit(); 64];
    for _ in 0..count {
        let (socket, _) = listener.accept()?;
        if socket.recv(&mut kind)? != 1 {
            return Err(io::Error::other("a client that says nothing"));
        }
        // SAFETY: the receive above wrote this byte.
        let kind = unsafe { kind[0].assume_init() };
        match kind {
            CLIENT_CLOSES => {
                socket.send(b"ok")?;
                if socket.recv(&mut buffer)? != 0 {
                    return Err(io::Error::other("data where the end of file was due"));
                }
            }
            CLIENT_LINGER0 => {
                socket.send(b"ok")?;
                let reset = socket.recv(&mut buffer);
                expect_reset(reset)?;
            }
            SERVER_UNREAD => {}
            SERVER_LINGER0 => socket.set_linger(Some(Duration::ZERO))?,
            _ => {
                // Our FIN is out before the client can close.
                socket.shutdown(Shutdown::Write)?;
                if socket.recv(&mut buffer)? != 0 {
                    return Err(io::Error::other("data where the end of file was due"));
                }
            }
        }
        drop(socket);
        log[usize::from(kind)] += 1;
    }
    Ok(log)
}

/// Opens so many connections to itself; they end with the process.
pub fn hold(count: usize) -> io::Result<usize> {
    let files = 2 * count as u64 + 100;
    setrlimit(Resource::RLIMIT_NOFILE, files, files)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    for _ in 0..count {
        let client = TcpStream::connect(address)?;
        let (server, _) = listener.accept()?;
        mem::forget((client, server));
    }
    Ok(count)
}

fn expect_reset(received: io::Result<usize>) -> io::Result<()> {
    match received {
        Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => Ok(()),
        Err(error) => Err(error),
        Ok(count) => Err(io::Error::other(format!(
            "{count} bytes where a reset was due"
        ))),
    }
}
