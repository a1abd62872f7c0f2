//! The servers of the load: processes with threads, forked before, and one that forks for each connection.

use std::{io, net::SocketAddr, thread};

use nix::{
    sys::{
        prctl::set_pdeathsig,
        signal::{SigHandler, Signal, signal},
    },
    unistd::{ForkResult, fork, getpid, pipe, read},
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{
    end::{End, addr},
    log::mono_us,
    ways::{Deal, play},
    worker::{Worker, leave, spawn, with},
};

const PROCESSES: usize = 2;

impl Worker {
    pub fn serve(mut self, addr: SocketAddr, threads: u64) {
        let listener = listener(addr).expect("a free port");
        self.before = vec![self.pid];
        for _ in 0..PROCESSES {
            // SAFETY: one thread so far.
            if let ForkResult::Child = unsafe { fork() }.expect("fork") {
                set_pdeathsig(Signal::SIGKILL).expect("prctl");
                self.pid = getpid().as_raw();
                thread::scope(|scope| {
                    for _ in 0..threads {
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

    pub fn fork_and_serve(mut self, at: SocketAddr, pids: &[i32]) {
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
            let _ = read(&closed, &mut [0]);
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
}

pub fn listener(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(addr))?;
    socket.listen(4096)?;
    Ok(socket)
}
