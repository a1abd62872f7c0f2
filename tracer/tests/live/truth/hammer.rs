//! Threads that begin and end to listen all the time, on every processor. That makes no connection and no record, but the
//! program that watches states runs for a good part of it; so packets of the load often come in the middle of it, and
//! the kernel skips the runs that they would have brought.

use std::{
    net::{Ipv4Addr, Shutdown, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};

use socket2::{Domain, Socket, Type};

pub struct Hammers {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Hammers {
    pub fn start() -> Hammers {
        let is_over = Arc::new(AtomicBool::new(false));
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let threads = (0..processors)
            .map(|_| {
                let is_over = Arc::clone(&is_over);
                thread::spawn(move || hammer(&is_over))
            })
            .collect();
        Hammers { is_over, threads }
    }

    pub fn stop(self) {
        self.is_over.store(true, Relaxed);
        for thread in self.threads {
            thread.join().expect("a socket of this host");
        }
    }
}

fn hammer(is_over: &AtomicBool) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(&any.into()).expect("a port");
    while !is_over.load(Relaxed) {
        socket.listen(1).expect("a listener");
        socket.shutdown(Shutdown::Both).expect("it listens");
    }
}
