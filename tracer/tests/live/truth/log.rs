//! What a worker writes down of each of its sockets: the truth that the records are held against. Every process appends to
//! one file of its load, a line a socket.

use std::{fs::File, io::Write as _, net::SocketAddr, path::Path};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::ways::Way;

/// One end of a connection, as the process that had it knows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// The same on both ends; 0 where the client never said it.
    pub number: u64,
    /// `None`: a server to which the client said nothing.
    pub way: Option<Way>,
    /// The end that the way is about.
    pub is_x: bool,
    pub is_client: bool,
    /// The kernel's number of the socket; `None` for one that nobody accepted.
    pub cookie: Option<u64>,
    pub netns: u64,
    pub local: SocketAddr,
    pub peer: SocketAddr,
    pub pid: i32,
    pub tid: i32,
    pub comm: String,
    pub exe: String,
    /// A process that had the socket before it was handed on: it accepted it, or it listens.
    pub before: Vec<i32>,
    /// CLOCK_MONOTONIC: from then on nobody else was its owner.
    pub owned_us: i64,
    /// When the last receive or send returned.
    pub last_call_us: i64,
    pub written: u64,
    pub read: u64,
    /// Written when the other end was known to have closed.
    pub written_after_fin: u64,
    pub read_errno: Option<i32>,
    pub write_errno: Option<i32>,
    pub errors: u64,
    pub sigpipe: bool,
    /// The errno of a connect that failed.
    pub connect_errno: Option<i32>,
    /// How the process ended that took the socket with it: exit status, or minus the signal.
    pub died: Option<i32>,
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
pub enum Said {
    End(Box<Entry>),
    /// Something went otherwise than the load was written: no ground for a verdict.
    Fault(String),
}

/// The file, shared by processes: a line goes out in one write.
pub struct Log(File);

impl Log {
    pub fn open(path: &Path) -> Log {
        let file = File::options().append(true).create(true).open(path);
        Log(file.expect("the folder of the load"))
    }

    pub fn say(&self, said: &Said) {
        let mut line = serde_json::to_vec(said).expect("plain data");
        line.push(b'\n');
        (&self.0).write_all(&line).expect("room for the log");
    }
}

pub fn mono_us() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("the clock");
    now.tv_sec() * 1_000_000 + now.tv_nsec() / 1_000
}
