//! What the thread that reads the ring buffer hands out: a copy of all numbers at one moment.

use std::sync::Arc;

use super::tally::Tally;
use crate::event::{
    text::Label,
    values::{Counts, Where},
};

/// A signal and what serves it.
#[derive(Clone, Debug)]
pub struct Probe {
    pub signal: &'static str,
    pub hook: String,
    pub attached: bool,
}

/// What stays as it is for a run.
#[derive(Clone, Debug)]
pub struct About {
    pub version: &'static str,
    pub kernel: Label,
    pub probes: Vec<Probe>,
    pub ring_bytes: u32,
    pub max_connections: u32,
    /// When tracing began, since 1970.
    pub began_ms: u64,
}

/// The tracer's own numbers.
#[derive(Clone, Debug, Default)]
pub struct Own {
    pub written: Counts,
    pub lost: [u64; Where::ALL.len()],
    pub records: u64,
    pub undecodable: u64,
    pub ring_behind: u64,
    pub missed_runs: u64,
    pub recovered: u64,
    pub syn_recv_ended: u64,
    pub connections: u64,
    /// Lines that wait for a slow reader.
    pub queued_bytes: u64,
    pub queue_max_bytes: u64,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub about: Arc<About>,
    pub tally: Tally,
    pub own: Own,
}

/// What the process uses of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// User and system.
    pub cpu_ms: u64,
    pub resident_bytes: u64,
}
