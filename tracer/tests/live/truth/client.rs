//! The clients of the load: threads that make one connection after the other, each in a way that is thrown for.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd as _,
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{
    end::{Closed, End, addr},
    server::listener,
    ways::{AGAIN, Deal, PLAYED, Way, play},
    worker::{Client, Dice, Worker, with},
};
use crate::lab::agent::sys;

impl Worker {
    pub fn connect(&self, client: &Client) {
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

    pub fn one(&self, client: &Client, dice: &mut Dice, number: u64, at: u64) -> io::Result<()> {
        let port = match client.ports.len() as u64 {
            0 => None,
            ports => {
                let share = (ports / client.threads).max(1);
                let turn = (at * share + dice.roll(share)) % ports;
                Some(client.ports[turn as usize])
            }
        };
        if port.is_none() && dice.roll(40) == 0 {
            return match dice.roll(3) {
                0 => self.cancelled(client.void, number),
                1 => self.listener_closed(client.own_ip, number, dice),
                _ => self.itself(client.own_ip, number, dice),
            };
        }
        let ways: &[Way] = if port.is_some() { &AGAIN } else { &PLAYED };
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
    pub fn dial(&self, client: &Client, deal: &Deal, port: Option<u16>) -> io::Result<Option<End>> {
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

    pub fn speak(&self, end: &mut End, deal: &Deal) -> io::Result<Closed> {
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
            let fd = socket.as_fd();
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

    pub fn void(&self, to: SocketAddr, count: u64) {
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
        while sys::queued(end.socket.as_fd(), libc::TIOCOUTQ)? > 0 {
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

pub fn deal(dice: &mut Dice, number: u64, way: Way) -> Deal {
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
