//! The public events: what a line of NDJSON says, key by key. The structs below are the schema: the
//! encoder, `tracer schema` and docs/output.md are made from them.

pub mod json;
mod keys;
pub mod names;
pub mod parse;
pub mod read;
pub mod schema;
mod shorten;
pub mod text;
pub mod time;
pub mod values;

use json::IfKnown;
use keys::keys;
pub use keys::{Key, Keys};
use text::{Addr, Comm, Label};
use time::Timestamp;
use values::*;

/// Version of the schema: keys are only added within it.
pub const SCHEMA_VERSION: u32 = 1;

/// Longest line, without its newline: what `fgets` with a 4096-byte buffer takes whole.
pub const MAX_LINE_BYTES: usize = 4094;

keys! {
    /// How every line begins.
    pub struct Head {
        /// Schema version.
        v: u32,
        /// What happened.
        event: Kind,
        /// When, UTC, from the kernel's monotonic clock at the event. For `tcp_close` the moment of TCP_CLOSE.
        ts: Timestamp,
        /// The same moment by CLOCK_MONOTONIC, microseconds. Sort by this: lines of different sockets may be written out of order.
        mono_us: u64,
        /// Number of this line in this run, from 1, without gaps.
        seq: u64,
        /// This run of tracer, 8 hex digits.
        run_id: Label,
        /// Host name, or NODE_NAME of the environment.
        node: Label,
        /// This boot (`/proc/sys/kernel/random/boot_id`).
        boot_id: Label,
    }
}

keys! {
    /// Which connection, and whose: common to the `tcp_*` events.
    pub struct Ids {
        /// The socket: the first eight digits of the boot id and the kernel's socket cookie. `null` for a RST without a socket.
        conn: Option<ConnId>,
        /// The two initial sequence numbers, smaller first: equal on both ends of a connection, on any node and through NAT. `null` when the start was not seen.
        flow_id: Option<Hex16>,
        /// Community ID v1 (seed 0) of this socket's own addresses, as Zeek, Suricata and Wireshark compute it.
        community_id: Option<CommunityId>,
        /// `ipv4` or `ipv6`; a v4-mapped v6 address counts as `ipv4`.
        family: Family,
        /// Address of this end, as this socket sees it; v4-mapped ones as IPv4.
        local_addr: Addr,
        /// Port of this end.
        local_port: u16,
        /// Address of the other end, as this socket sees it: behind NAT or a proxy, theirs.
        peer_addr: Addr,
        /// Port of the other end.
        peer_port: u16,
        /// `client`: this end sent the SYN.
        role: Role,
        /// Process that owned the socket, in the initial pid namespace.
        pid: Option<u32>,
        /// Its thread that connected, accepted or used the socket.
        tid: Option<u32>,
        /// Name of the process (of its thread-group leader).
        comm: Option<Comm>,
        /// Path of its executable, as its own mount namespace has it; without ` (deleted)` if that file was replaced. `null` if the process died before it could be read.
        exe: Option<Label>,
        /// User id that the socket was made with.
        uid: Option<u32>,
        /// How the owner is known.
        attribution: Attribution,
        /// Process whose call ended the local end: close, shutdown, exit, or `ss -K`. `null` if no process did.
        closer_pid: Option<u32>,
        /// Name of that process.
        closer_comm: Option<Comm>,
        /// Inode number of the network namespace (`ls -L /proc/PID/ns/net`).
        netns: Option<u32>,
        /// Path of its cgroup; that of the socket's (v2) where the process could not be read or is in the root. v1 hierarchies count where they name a container and v2 does not.
        cgroup: Option<Label>,
        /// Container, from that path: 64 hex digits, or the name of an LXC container.
        container_id: Option<Label>,
        /// Container runtime: `docker`, `containerd`, `crio`, `podman`, `lxc`; `null` where the path does not tell it.
        runtime: Option<Label>,
        /// Kubernetes pod uid, from that path.
        pod_uid: Option<Label>,
        /// systemd unit (service or scope), from that path; `null` in a container.
        unit: Option<Label>,
        /// Process at the other end, when that is on this node.
        peer_pid: Option<u32>,
        /// Name of that process.
        peer_comm: Option<Comm>,
        /// `conn` of the other end, when that is on this node.
        peer_conn: Option<ConnId>,
        /// Container of the other end, when that is on this node.
        peer_container_id: Option<Label>,
    } with {
        /// At the end of the line.
        called: Called,
    }
}

keys! {
    /// What people call the container that the process runs in: at the end of the `tcp_*` events that know it.
    #[derive(Default, Eq)]
    pub struct Called {
        /// Name of the container, where the node has it: from the files of Docker, kubelet, containerd, CRI-O or Podman.
        container_name: IfKnown<Label>,
        /// Name of its Kubernetes pod, from there.
        pod: IfKnown<Label>,
        /// Namespace of that pod.
        pod_namespace: IfKnown<Label>,
    }
}

keys! {
    /// How a connection ended: what `tcp_close` and `tcp_connect_failed` add.
    pub struct End {
        /// What cut the connection short, if anything did, else the first FIN.
        reason: Reason,
        /// Who ended it first.
        closed_by: ClosedBy,
        /// What ended it first.
        how: How,
        /// TCP state that was left for CLOSE.
        state: Option<State>,
        /// The socket's pending error at TCP_CLOSE, whether or not a call ever returned it.
        errno: Option<Errno>,
        /// The kernel's reason for a RST that this end sent (6.10 and later).
        rst_reason: Option<Label>,
        /// From ESTABLISHED to the first end; for `tcp_connect_failed` from the SYN to the failure. `null` when the start was not seen.
        end_age_ms: Option<u64>,
        /// From ESTABLISHED to TCP_CLOSE.
        age_ms: Option<u64>,
        /// From the last payload received to the first end, in steps of the kernel's tick. `null`: none was received.
        idle_rx_ms: Option<u64>,
        /// From the last payload sent (or sent again) to the first end. `null`: none was sent.
        idle_tx_ms: Option<u64>,
        /// Direction of the last payload before the first end.
        last_data: LastData,
        /// From the first FIN to TCP_CLOSE. `null`: no FIN.
        half_close_ms: Option<u64>,
        /// The connection was open before tracing began.
        preexisting: bool,
        /// Payload received in order.
        rx_bytes: Option<u64>,
        /// Payload that went to the network at least once.
        tx_bytes: Option<u64>,
        /// Of that, not acknowledged by the peer.
        tx_unacked_bytes: Option<u64>,
        /// Written by the application and never sent.
        tx_unsent_bytes: Option<u64>,
        /// Received and never read by the application.
        rx_unread_bytes: Option<u64>,
        /// Written after the peer's FIN: lost if a RST followed. `null` if that FIN came before tracing began.
        tx_after_fin_bytes: Option<u64>,
        /// Segments sent again.
        retrans: Option<u32>,
        /// Smoothed round-trip time. `null`: none was measured.
        srtt_us: Option<u32>,
        /// First error that a receive returned before this record was written.
        read_errno: Option<Errno>,
        /// First error that a send returned before this record was written.
        write_errno: Option<Errno>,
        /// Errors that sends and receives returned.
        io_errors: u32,
        /// A SIGPIPE was generated, even if it was ignored.
        sigpipe: bool,
        /// What kind of end this looks like.
        pattern: Option<Pattern>,
        /// Timeouts that fit, best first (ids of the timeout table).
        hints: List<Label>,
        /// The value they share, seconds.
        hint_s: Option<u64>,
        /// Ends of this process, peer and pattern at the same clock.
        repeats: Option<u64>,
        /// Connection of the same process whose end brought this end about.
        cause_conn: Option<ConnId>,
        /// Connection whose end started it all.
        root_conn: Option<ConnId>,
        /// The way from there to here.
        chain: Option<List<Label>>,
        /// What happened, in words. `null` for a clean close unless `--stories all`.
        story: Option<Label>,
        /// What happened, in order, `ms` from `ts`. `null` for a clean close unless `--stories all`.
        timeline: Option<List<Moment>>,
        /// Further `tcp_io_error` events of this connection that were only counted.
        suppressed: u32,
        /// An MPTCP subflow.
        mptcp: bool,
        /// Texts were shortened: the line was too long, or the path of the executable or of the cgroup was above 512 bytes.
        truncated: bool,
        /// Events lost so far in this run.
        lost: u64,
        /// Signal that ended the process, when the process ended the connection by exiting.
        exit_signal: IfKnown<Signal>,
        /// Exit status of that process, when no signal ended it.
        exit_status: IfKnown<u32>,
        /// Signal by which it was asked to: the last that ends a process by default, also one that it caught and then exited.
        killer_signal: IfKnown<Signal>,
        /// From that signal to TCP_CLOSE.
        killer_signal_ms: IfKnown<u64>,
        /// Process that sent that signal; absent when the kernel did.
        killer_pid: IfKnown<u32>,
        /// Name of that process.
        killer_comm: IfKnown<Comm>,
        /// The kernel killed the process for want of memory.
        oom_killed: IfKnown<bool>,
    }
}

keys! {
    /// What `tcp_reset` adds.
    pub struct Reset {
        /// Whether this end sent or received the RST.
        direction: Direction,
        /// The kernel's reason for a RST that was sent (6.10 and later).
        rst_reason: Option<Label>,
        /// State of the socket at that moment; `null` without a socket.
        state: Option<State>,
        /// RSTs without a socket that were not written before this one (at most 100 a second are).
        suppressed: u64,
    }
}

keys! {
    /// What `tcp_io_error` adds. The later keys name the culprit once the connection has ended.
    pub struct IoError {
        /// The call that failed.
        op: Op,
        /// The error that it returned.
        errno: Errno,
        /// A SIGPIPE came with it, even if it was ignored.
        sigpipe: bool,
        /// What ended the connection; `null` while it has not ended.
        reason: Option<Reason>,
        /// Who ended it first.
        closed_by: Option<ClosedBy>,
        /// What ended it first.
        how: Option<How>,
        /// From ESTABLISHED to that first end.
        end_age_ms: Option<u64>,
        /// What happened, in words.
        story: Option<Label>,
    }
}

keys! {
    /// What `tcp_stall` and `tcp_stall_end` add. Counts and settings are those of the moment; at the end of a stall the last that were seen.
    pub struct Stall {
        /// How long the peer has owed an answer: from the first byte, window probe or keepalive probe that it did not answer. At its end: for how long it had.
        stalled_ms: u64,
        /// Retransmission timeouts in a row. At the end of a stall: the most of them.
        retrans_in_row: u32,
        /// Sent and not acknowledged.
        tx_unacked_bytes: Option<u64>,
        /// Until the kernel gives the connection up, if the peer stays silent. `null`: it never does, or the stall is over.
        gives_up_in_ms: Option<u64>,
        /// The setting that decides it.
        gives_up_by: Option<GivesUpBy>,
        /// Written by the application and never sent: with nothing unacknowledged, nothing leaves this host.
        tx_unsent_bytes: Option<u64>,
        /// Window or keepalive probes in a row without an answer. At the end of a stall: the most of them.
        probes_in_row: u32,
        /// From the last payload received. `null`: none was.
        idle_rx_ms: Option<u64>,
        /// TCP state.
        state: State,
        /// Idle time before the first keepalive probe; `null`: SO_KEEPALIVE is off. It does not run while data is unacknowledged or unsent.
        keepalive_time_ms: Option<u64>,
        /// From one keepalive probe to the next.
        keepalive_intvl_ms: Option<u64>,
        /// Unanswered keepalive probes after which the kernel gives up.
        keepalive_probes: Option<u32>,
        /// TCP_USER_TIMEOUT; `null`: not set.
        user_timeout_ms: Option<u64>,
        /// `tcp_retries2` of the network namespace.
        retries2: Option<u32>,
        /// How it was over; `null` for `tcp_stall`.
        ended: Option<StallEnd>,
        /// What happens, in words.
        story: Option<Label>,
    }
}

keys! {
    /// What `start` adds: the recording describes itself.
    pub struct Start {
        /// Version of tracer.
        version: Label,
        /// Kernel release.
        kernel: Label,
        /// Which hook serves each signal, and why one does not.
        hooks: List<HookState>,
        /// What cannot be seen because of that.
        blind: List<Label>,
        /// The filters in force, as options.
        filters: List<Label>,
    }
}

keys! {
    /// What `lost` adds.
    pub struct Lost {
        /// Events lost since the last such line.
        count: u64,
        /// `ring`: the kernel's ring buffer was full; `map`: no room for a connection; `output`: the reader was too slow, or it could not be written; `missed_run`: the kernel skipped a program.
        r#where: Where,
        /// The same by kind of event.
        kinds: Counts,
    }
}

keys! {
    /// What `heartbeat` adds.
    pub struct Heartbeat {
        /// Lines written so far, by kind.
        written: Counts,
        /// Events lost so far.
        lost: u64,
        /// Sockets tracked now.
        connections: u64,
        /// Hooks attached.
        hooks: u64,
        /// Ends whose TCP_CLOSE was missed and made good when the socket was destroyed.
        recovered: u64,
        /// Runs that the kernel skipped because the program was running on that CPU already, and that no second program
        /// made good.
        missed_runs: u64,
        /// Passive sockets that never left SYN_RECV.
        syn_recv_ended: u64,
        /// The attached hooks, by name; one may serve several signals.
        attached: IfKnown<List<Label>>,
    }
}

keys! {
    /// What `stop` adds: totals.
    pub struct Stop {
        /// Why tracing stopped.
        why: StopReason,
        /// From `start`.
        duration_ms: u64,
        /// Lines written, by kind.
        written: Counts,
        /// Ends that were written, by reason.
        reasons: Counts,
        /// Events lost.
        lost: u64,
        /// The same by kind.
        lost_kinds: Counts,
        /// Ends whose TCP_CLOSE was missed and made good when the socket was destroyed.
        recovered: u64,
        /// Runs that the kernel skipped because the program was running on that CPU already, and that no second program
        /// made good.
        missed_runs: u64,
        /// Passive sockets that never left SYN_RECV.
        syn_recv_ended: u64,
        /// Ends of a process, peer and pattern that came at the same clock at least three times: the ten largest.
        clusters: List<Cluster>,
    }
}

keys! {
    /// At the end of a line of any other event that had to be shortened.
    #[derive(Eq)]
    pub struct Shortened {
        /// Texts were shortened: the line was too long.
        truncated: IfKnown<bool>,
    }
}

/// One line.
#[expect(
    clippy::large_enum_variant,
    reason = "most are ends, encoded at once: a box would be an allocation each"
)]
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    End { ids: Ids, end: End },
    Reset { ids: Ids, reset: Reset },
    IoError { ids: Ids, io: IoError },
    Stall { ids: Ids, stall: Stall },
    Start(Start),
    Lost(Lost),
    Heartbeat(Heartbeat),
    Stop(Stop),
}

impl Body {
    /// The connection's keys, for a `tcp_*` event.
    pub fn ids(&self) -> Option<&Ids> {
        match self {
            Body::End { ids, .. }
            | Body::Reset { ids, .. }
            | Body::IoError { ids, .. }
            | Body::Stall { ids, .. } => Some(ids),
            _ => None,
        }
    }

    fn ids_mut(&mut self) -> Option<&mut Ids> {
        match self {
            Body::End { ids, .. }
            | Body::Reset { ids, .. }
            | Body::IoError { ids, .. }
            | Body::Stall { ids, .. } => Some(ids),
            _ => None,
        }
    }
}

/// An event as the sinks and filters take it; `seq` is set when it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub head: Head,
    pub body: Body,
}

impl Event {
    /// The connection's keys, for a `tcp_*` event.
    pub fn ids(&self) -> Option<&Ids> {
        self.body.ids()
    }

    /// Appends the line, with its newline, at most [`MAX_LINE_BYTES`] + 1 bytes.
    pub fn write_line(&self, out: &mut Vec<u8>) {
        let start = out.len();
        self.write_object(out);
        if out.len() - start > MAX_LINE_BYTES {
            out.truncate(start);
            self.write_shortened(out);
        }
        out.push(b'\n');
    }

    fn write_object(&self, out: &mut Vec<u8>) {
        let start = out.len();
        self.head.write(out);
        out[start] = b'{';
        match &self.body {
            Body::End { ids, end } => {
                ids.write(out);
                end.write(out);
                ids.called.write(out);
            }
            Body::Reset { ids, reset } => {
                ids.write(out);
                reset.write(out);
                ids.called.write(out);
            }
            Body::IoError { ids, io } => {
                ids.write(out);
                io.write(out);
                ids.called.write(out);
            }
            Body::Stall { ids, stall } => {
                ids.write(out);
                stall.write(out);
                ids.called.write(out);
            }
            Body::Start(body) => body.write(out),
            Body::Lost(body) => body.write(out),
            Body::Heartbeat(body) => body.write(out),
            Body::Stop(body) => body.write(out),
        }
        out.push(b'}');
    }
}
