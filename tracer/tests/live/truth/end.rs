//! A socket of the load, and what its process knows of it: every call counts what went through it.

use std::{
    io::{self, Read as _, Write as _},
    net::SocketAddr,
    os::fd::AsFd as _,
    thread,
    time::{Duration, Instant},
};

use socket2::Socket;

use super::log::{Entry, mono_us};
use crate::lab::agent::sys;

const PATIENCE: Duration = Duration::from_secs(60);
const CLOSE: u8 = 7;
const CLOSE_WAIT: u8 = 8;

/// How an end is to be finished once its part is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    Now,
    /// The connection has ended and the socket is still there, for another one.
    Reused,
}

pub struct End {
    pub socket: Socket,
    pub entry: Entry,
}

impl End {
    pub fn new(socket: Socket, entry: Entry) -> io::Result<End> {
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        // Where RSTs are lost, the next probe is answered by another.
        socket.set_keepalive(true)?;
        let mut end = End { socket, entry };
        end.entry.cookie = Some(end.socket.cookie()?);
        end.entry.local = addr(end.socket.local_addr())?;
        Ok(end)
    }

    fn returned(&mut self) {
        self.entry.last_call_us = mono_us();
    }

    pub fn write(&mut self, len: usize) -> io::Result<()> {
        let buffer = vec![b'x'; len.min(1 << 16)];
        let after_fin = self.state()? == CLOSE_WAIT;
        let mut left = len;
        while left > 0 {
            let sent = (&self.socket).write(&buffer[..left.min(buffer.len())])?;
            self.returned();
            self.entry.written += sent as u64;
            if after_fin {
                self.entry.written_after_fin += sent as u64;
            }
            left -= sent;
        }
        Ok(())
    }

    /// Writes until that much is out or a write fails; the failure is one of those that may be.
    pub fn write_until_error(&mut self, chunk: usize, len: usize) -> io::Result<()> {
        let buffer = vec![b'x'; chunk.max(1)];
        let mut left = len;
        while left > 0 {
            match (&self.socket).write(&buffer[..left.min(buffer.len())]) {
                Ok(sent) => {
                    self.entry.written += sent as u64;
                    left -= sent;
                }
                Err(error) => {
                    self.failed_write(&error);
                    break;
                }
            }
        }
        self.returned();
        Ok(())
    }

    /// This write must fail so.
    pub fn write_error(&mut self, errno: i32) -> io::Result<()> {
        match (&self.socket).write(&[b'x'; 5]) {
            Err(error) if error.raw_os_error() == Some(errno) => {
                self.failed_write(&error);
                Ok(())
            }
            other => Err(io::Error::other(format!(
                "a write returned {other:?} where errno {errno} was due"
            ))),
        }
    }

    fn failed_write(&mut self, error: &io::Error) {
        let errno = sys::errno_of(error);
        self.entry.write_errno.get_or_insert(errno);
        self.entry.errors += 1;
        self.entry.sigpipe |= errno == libc::EPIPE;
        self.returned();
    }

    pub fn read(&mut self, len: usize) -> io::Result<()> {
        let mut buffer = vec![0; len.min(1 << 16)];
        let mut left = len;
        while left > 0 {
            let room = left.min(buffer.len());
            let got = (&self.socket).read(&mut buffer[..room])?;
            self.returned();
            self.entry.read += got as u64;
            if got == 0 {
                return Err(io::Error::other(format!("the end, {left} bytes early")));
            }
            left -= got;
        }
        Ok(())
    }

    /// The same, where a RST may overtake what was to come.
    pub fn read_or_reset(&mut self, len: usize) -> io::Result<()> {
        match self.read(len) {
            Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => {
                self.failed_read(&error);
                Ok(())
            }
            other => other,
        }
    }

    /// The first bytes; `None` if the connection ended instead.
    pub fn read_first<const LEN: usize>(&mut self) -> io::Result<Option<[u8; LEN]>> {
        let mut first = [0; LEN];
        match (&self.socket).read(&mut first) {
            Ok(0) => {
                self.returned();
                Ok(None)
            }
            Ok(got) if got == LEN => {
                self.entry.read += LEN as u64;
                self.returned();
                Ok(Some(first))
            }
            Ok(got) => Err(io::Error::other(format!("{got} of {LEN} bytes at first"))),
            Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => {
                self.failed_read(&error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads until the end or an error; whichever it is, it is one of those that may be.
    pub fn read_until_error(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            match (&self.socket).read(&mut buffer) {
                Ok(0) => break,
                Ok(got) => self.entry.read += got as u64,
                Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => {
                    self.failed_read(&error);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        self.returned();
        Ok(())
    }

    /// Takes the error where no call fails by it.
    pub fn take_reset(&mut self) -> io::Result<()> {
        match self.socket.take_error()? {
            Some(error) if error.raw_os_error() == Some(libc::ECONNRESET) => Ok(()),
            other => Err(io::Error::other(format!(
                "the pending error is {other:?} where ECONNRESET was due"
            ))),
        }
    }

    /// Writes until the kernel takes no more for the moment.
    pub fn fill(&mut self) -> io::Result<()> {
        self.socket.set_nonblocking(true)?;
        let buffer = vec![b'x'; 1 << 16];
        loop {
            match (&self.socket).write(&buffer) {
                Ok(sent) => self.entry.written += sent as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.returned();
        self.socket.set_nonblocking(false)
    }

    pub fn read_end(&mut self) -> io::Result<()> {
        let got = (&self.socket).read(&mut [0; 64])?;
        self.returned();
        match got {
            0 => Ok(()),
            got => Err(io::Error::other(format!(
                "{got} bytes where the end was due"
            ))),
        }
    }

    pub fn read_reset(&mut self) -> io::Result<()> {
        match (&self.socket).read(&mut [0; 64]) {
            Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => {
                self.failed_read(&error);
                Ok(())
            }
            other => Err(io::Error::other(format!(
                "a read returned {other:?} where ECONNRESET was due"
            ))),
        }
    }

    fn failed_read(&mut self, error: &io::Error) {
        self.entry.read_errno.get_or_insert(sys::errno_of(error));
        self.entry.errors += 1;
        self.returned();
    }

    pub fn shutdown_write(&mut self) -> io::Result<()> {
        self.socket.shutdown(std::net::Shutdown::Write)
    }

    pub fn shutdown_both(&mut self) -> io::Result<()> {
        self.socket.shutdown(std::net::Shutdown::Both)
    }

    /// close(2) will send a RST.
    pub fn linger0(&mut self) -> io::Result<()> {
        self.socket.set_linger(Some(Duration::ZERO))
    }

    /// close(2) will wait until all is acknowledged.
    pub fn linger(&mut self) -> io::Result<()> {
        self.socket.set_linger(Some(PATIENCE))
    }

    pub fn disconnect(&mut self) -> io::Result<Closed> {
        sys::disconnect(self.socket.as_fd())?;
        Ok(Closed::Reused)
    }

    fn state(&self) -> io::Result<u8> {
        Ok(sys::tcp_state(self.socket.as_fd())?)
    }

    pub fn wait_for_unread(&mut self, len: usize) -> io::Result<()> {
        self.wait_for("unread bytes", |end| {
            Ok(sys::queued(end.socket.as_fd(), libc::FIONREAD)? >= len)
        })
    }

    pub fn wait_for_fin(&mut self) -> io::Result<()> {
        self.wait_for("the other's FIN", |end| Ok(end.state()? == CLOSE_WAIT))
    }

    pub fn wait_for_close(&mut self) -> io::Result<()> {
        self.wait_for("TCP_CLOSE", |end| Ok(end.state()? == CLOSE))
    }

    fn wait_for(
        &self,
        what: &str,
        mut done: impl FnMut(&End) -> io::Result<bool>,
    ) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !done(self)? {
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("waited in vain for {what}")));
            }
            thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }
}

pub fn addr(addr: io::Result<socket2::SockAddr>) -> io::Result<SocketAddr> {
    addr?
        .as_socket()
        .ok_or_else(|| io::Error::other("an address of another family"))
}
