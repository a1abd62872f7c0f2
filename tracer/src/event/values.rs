//! The values of the events: closed lists of names, ids, and small records.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::{
    json::{self, Json},
    read::{Cursor, Read},
    text::Label,
};
use crate::event::names;

/// A closed list of names, each with what it means.
macro_rules! names {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[doc = $doc:literal])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[doc = $doc])* $variant,)* }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// As the events spell it.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }

            /// What it means, in a sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $($name::$variant => concat!($($doc),*).trim_ascii(),)* }
            }
        }

        impl std::str::FromStr for $name {
            type Err = ();
            fn from_str(text: &str) -> Result<Self, ()> {
                match text { $($text => Ok($name::$variant),)* _ => Err(()) }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl Json for $name {
            fn write(&self, out: &mut Vec<u8>) {
                static NAMES: &[json::Quoted] = &[$(json::quoted($text),)*];
                let (quoted, length) = &NAMES[*self as usize];
                json::first(quoted, *length, out);
            }

            fn schema() -> Value {
                json!({"enum": [$($text),*]})
            }
        }

        impl Read for $name {
            /// A name of a later version is `unknown`, where there is such a name.
            fn read(from: &mut Cursor<'_>) -> Option<Self> {
                let text = from.string()?;
                text.parse().or_else(|()| "unknown".parse()).ok()
            }
        }
    };
}

names! {
    /// Kind of event.
    pub enum Kind {
        /// All hooks are attached.
        Start = "start",
        /// A connection ended: the full record.
        TcpClose = "tcp_close",
        /// A connect ended without being established.
        TcpConnectFailed = "tcp_connect_failed",
        /// A RST was sent or received.
        TcpReset = "tcp_reset",
        /// A send or receive of a process on a TCP socket returned an error.
        TcpIoError = "tcp_io_error",
        /// An established connection's peer is silent.
        TcpStall = "tcp_stall",
        /// It is silent no longer, or the connection ended.
        TcpStallEnd = "tcp_stall_end",
        /// Events were lost, in the kernel or in us.
        Lost = "lost",
        /// Every minute, or as --heartbeat says: counters, hooks still attached.
        Heartbeat = "heartbeat",
        /// Totals.
        Stop = "stop",
    }
}

names! {
    pub enum Reason {
        /// We closed first: our FIN began the end.
        FinLocal = "fin_local",
        /// The peer closed first: its FIN began the end.
        FinPeer = "fin_peer",
        /// Both ends closed at once: the FINs crossed.
        FinBoth = "fin_both",
        /// The broken pipe: the peer closed, we wrote, and the peer answered with a RST.
        FinPeerRst = "fin_peer_rst",
        /// The peer sent a RST.
        RstPeer = "rst_peer",
        /// We closed with received data unread, so the kernel sent a RST instead of a FIN.
        AbortUnread = "abort_unread",
        /// We closed with SO_LINGER set to 0: a RST instead of a FIN.
        AbortLinger0 = "abort_linger0",
        /// An administrator destroyed the socket (`ss -K`, SOCK_DESTROY).
        AbortAdmin = "abort_admin",
        /// The process disconnected the socket: connect(AF_UNSPEC).
        Disconnect = "disconnect",
        /// The listener was closed before the connection was accepted.
        ListenerClosed = "listener_closed",
        /// The peer did not acknowledge data, however often it was sent again (tcp_retries2).
        TimeoutRetrans = "timeout_retrans",
        /// The peer answered no keepalive probe.
        TimeoutKeepalive = "timeout_keepalive",
        /// The peer was silent for longer than TCP_USER_TIMEOUT.
        TimeoutUser = "timeout_user",
        /// The peer answered no window probe, or the data could not leave this host.
        TimeoutProbe = "timeout_probe",
        /// After our FIN was acknowledged, the peer's never came (tcp_fin_timeout, TCP_LINGER2).
        TimeoutFinWait = "timeout_fin_wait",
        /// After our close, the peer never acknowledged the rest (tcp_orphan_retries).
        TimeoutOrphan = "timeout_orphan",
        /// The peer answered the SYN with a RST: nothing listens there, or a firewall rejects.
        ConnectRefused = "connect_refused",
        /// No answer to the SYN (tcp_syn_retries).
        ConnectTimeout = "connect_timeout",
        /// An ICMP error answered the SYN.
        ConnectUnreachable = "connect_unreachable",
        /// The process gave up before the connection was established.
        ConnectCancelled = "connect_cancelled",
        /// Out of TCP memory, or too many orphans (tcp_mem, tcp_max_orphans).
        Oom = "oom",
        /// The network namespace went away.
        NetnsExit = "netns_exit",
        /// The kernel's traces do not say.
        Unknown = "unknown",
    }
}

names! {
    pub enum ClosedBy {
        /// This end's process, or the kernel on its behalf.
        Local = "local",
        /// The peer.
        Peer = "peer",
        /// This node's kernel gave up.
        Kernel = "kernel",
        /// Not seen.
        Unknown = "unknown",
    }
}

names! {
    pub enum How {
        /// A FIN: an orderly close.
        Fin = "fin",
        /// A RST: an abort.
        Rst = "rst",
        /// A timer of this kernel.
        Timeout = "timeout",
        /// An ICMP error.
        Icmp = "icmp",
        /// Nothing was sent or received for it.
        None = "none",
    }
}

names! {
    pub enum Role {
        /// This end sent the SYN.
        Client = "client",
        /// The peer sent the SYN.
        Server = "server",
        /// The connection was open before tracing began.
        Unknown = "unknown",
    }
}

names! {
    pub enum Attribution {
        /// The process that called connect.
        Connect = "connect",
        /// The process to which accept returned the socket.
        Accept = "accept",
        /// The process that last sent or received on it.
        Io = "io",
        /// Never accepted: the process that listens.
        Listener = "listener",
        /// Found among the open files of a process when tracing began.
        Scan = "scan",
        /// The process whose call ended it.
        Syscall = "syscall",
        /// No process is known.
        None = "none",
    }
}

names! {
    pub enum Family {
        /// IPv4, also as v4-mapped IPv6.
        Ipv4 = "ipv4",
        /// IPv6.
        Ipv6 = "ipv6",
    }
}

names! {
    pub enum LastData {
        /// Received by this end.
        Rx = "rx",
        /// Sent by this end.
        Tx = "tx",
        /// There was no payload, or its time is not known.
        None = "none",
    }
}

names! {
    pub enum Pattern {
        /// The process that owned the socket exited, was killed, or had just been told to end.
        ProcessExit = "process_exit",
        /// The peer vanished without FIN or RST.
        DeadPeer = "dead_peer",
        /// A box between the ends forgot the connection after long idleness.
        SilentDrop = "silent_drop",
        /// The peer hung up while it waited for our answer.
        PeerGaveUpWaiting = "peer_gave_up_waiting",
        /// We hung up while we waited for the peer's answer.
        LocalGaveUpWaiting = "local_gave_up_waiting",
        /// The peer hung up without answering what we had sent.
        PeerNoAnswer = "peer_no_answer",
        /// We hung up without answering what the peer had sent.
        LocalNoAnswer = "local_no_answer",
        /// No request was ever sent.
        NoRequest = "no_request",
        /// We wrote after the peer had closed.
        WriteAfterPeerClose = "write_after_peer_close",
        /// The peer closed an idle connection.
        PeerIdleClose = "peer_idle_close",
        /// We closed an idle connection.
        LocalIdleClose = "local_idle_close",
        /// The connection reached an age limit.
        MaxAge = "max_age",
        /// Nothing out of the ordinary.
        Normal = "normal",
    }
}

names! {
    pub enum Direction {
        /// This end sent it.
        Sent = "sent",
        /// The peer sent it.
        Received = "received",
    }
}

names! {
    /// The setting that decides when the kernel gives a silent connection up.
    pub enum GivesUpBy {
        /// The sysctl `net.ipv4.tcp_retries2`: doublings of the retransmission timeout, or window probes.
        TcpRetries2 = "tcp_retries2",
        /// The socket option TCP_USER_TIMEOUT.
        TcpUserTimeout = "tcp_user_timeout",
        /// The sysctl `net.ipv4.tcp_keepalive_probes`.
        TcpKeepaliveProbes = "tcp_keepalive_probes",
        /// The socket option TCP_KEEPCNT.
        TcpKeepcnt = "tcp_keepcnt",
    }
}

names! {
    /// How a stall is over.
    pub enum StallEnd {
        /// The peer answered again.
        Recovered = "recovered",
        /// The connection ended.
        Closed = "closed",
    }
}

names! {
    pub enum Op {
        /// write, send, sendmsg, sendfile and the like.
        Send = "send",
        /// read, recv, recvmsg and the like.
        Recv = "recv",
    }
}

names! {
    pub enum Where {
        /// The kernel's ring buffer was full.
        Ring = "ring",
        /// There was no room for a connection.
        Map = "map",
        /// The reader of the output was too slow, or it could not be written (a full disk).
        Output = "output",
        /// The kernel skipped a program.
        MissedRun = "missed_run",
    }
}

names! {
    pub enum StopReason {
        /// SIGINT or SIGTERM, or `q`.
        Signal = "signal",
        /// `--for` is over.
        Duration = "duration",
        /// `--count` was reached.
        Count = "count",
        /// The reader of the output went away.
        ReaderGone = "reader_gone",
        /// Something failed.
        Failure = "failure",
    }
}

names! {
    /// What a moment of the timeline is.
    pub enum What {
        /// The handshake was complete.
        Established = "established",
        /// First payload received.
        FirstRx = "first_rx",
        /// Last payload received.
        LastRx = "last_rx",
        /// Last payload sent.
        LastTx = "last_tx",
        /// The peer's FIN came.
        PeerFin = "peer_fin",
        /// Our FIN was sent.
        LocalFin = "local_fin",
        /// First write after the peer's FIN.
        WriteAfterFin = "write_after_fin",
        /// We sent a RST.
        RstSent = "rst_sent",
        /// The peer's RST came.
        RstReceived = "rst_received",
        /// A send failed.
        WriteError = "write_error",
        /// A receive failed.
        ReadError = "read_error",
        /// The peer fell silent.
        Stall = "stall",
        /// TCP_CLOSE.
        Closed = "closed",
    }
}

/// A symbolic errno; a number without a name is `E123`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Errno(pub u32);

impl Errno {
    /// `None` for 0.
    pub fn from_code(code: i32) -> Option<Self> {
        (code != 0).then_some(Errno(code.unsigned_abs()))
    }
}

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match names::errno(self.0) {
            Some(name) => f.pad(name),
            None => write!(f, "E{}", self.0),
        }
    }
}

impl Json for Errno {
    fn write(&self, out: &mut Vec<u8>) {
        json::string(self.to_string().as_bytes(), out);
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^E[A-Z0-9]+$"})
    }
}

/// A signal by its name; one without a name is `SIG34`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Signal(pub u8);

impl std::fmt::Display for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match names::signal(self.0) {
            Some(name) => f.pad(name),
            None => write!(f, "SIG{}", self.0),
        }
    }
}

impl Json for Signal {
    fn write(&self, out: &mut Vec<u8>) {
        json::string(self.to_string().as_bytes(), out);
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^SIG[A-Z0-9]+$"})
    }
}

/// A TCP state in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State(pub u8);

impl State {
    pub fn as_str(self) -> &'static str {
        names::state(self.0).unwrap_or("unknown")
    }
}

impl Json for State {
    fn write(&self, out: &mut Vec<u8>) {
        self.as_str().write(out);
    }

    fn schema() -> Value {
        let states: Vec<_> = (1..=12).map(|state| State(state).as_str()).collect();
        json!({"enum": states})
    }
}

/// A 64-bit id as 16 hex digits: no JSON number holds it exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hex16(pub u64);

impl std::fmt::Display for Hex16 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Json for Hex16 {
    fn write(&self, out: &mut Vec<u8>) {
        let mut text = [b'"'; 18];
        text[1..17].copy_from_slice(&json::hex16(self.0));
        out.extend_from_slice(&text);
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^[0-9a-f]{16}$"})
    }
}

/// `BOOT-COOKIE`: unique on this node and boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnId {
    /// First eight digits of the boot id.
    pub boot: [u8; 8],
    pub cookie: u64,
}

impl std::fmt::Display for ConnId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let boot = str::from_utf8(&self.boot).unwrap_or("????????");
        write!(f, "{boot}-{:016x}", self.cookie)
    }
}

impl Json for ConnId {
    fn write(&self, out: &mut Vec<u8>) {
        let mut text = [b'"'; 27];
        text[1..9].copy_from_slice(&self.boot);
        text[9] = b'-';
        text[10..26].copy_from_slice(&json::hex16(self.cookie));
        out.extend_from_slice(&text);
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^[0-9a-f]{8}-[0-9a-f]{16}$"})
    }
}

/// `1:` and 28 characters of base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CommunityId(pub [u8; 30]);

impl CommunityId {
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Json for CommunityId {
    fn write(&self, out: &mut Vec<u8>) {
        let mut text = [b'"'; 32];
        text[1..31].copy_from_slice(&self.0);
        out.extend_from_slice(&text);
    }

    fn schema() -> Value {
        json!({"type": "string", "pattern": "^1:[A-Za-z0-9+/]{27}=$"})
    }
}

/// An array.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct List<T>(pub Vec<T>);

impl<T: Json> Json for List<T> {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        for (index, item) in self.0.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            item.write(out);
        }
        out.push(b']');
    }

    fn schema() -> Value {
        json!({"type": "array", "items": T::schema()})
    }
}

/// A moment of the timeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// From the event's `ts`, either sign.
    pub ms: i64,
    pub what: What,
    /// Bytes, for a write.
    pub bytes: Option<u64>,
    /// For an error.
    pub errno: Option<Errno>,
}

impl Moment {
    pub fn at(ms: i64, what: What) -> Self {
        Moment {
            ms,
            what,
            bytes: None,
            errno: None,
        }
    }
}

impl Json for Moment {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"ms\":");
        self.ms.write(out);
        out.extend_from_slice(b",\"what\":");
        self.what.write(out);
        if let Some(bytes) = self.bytes {
            out.extend_from_slice(b",\"bytes\":");
            bytes.write(out);
        }
        if let Some(errno) = self.errno {
            out.extend_from_slice(b",\"errno\":");
            errno.write(out);
        }
        out.push(b'}');
    }

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "ms": i64::schema(),
                "what": What::schema(),
                "bytes": u64::schema(),
                "errno": Errno::schema(),
            },
            "required": ["ms", "what"],
        })
    }
}

/// A hook and the signal that it serves.
#[derive(Clone, Debug, PartialEq)]
pub struct HookState {
    pub signal: Label,
    pub hook: Label,
    /// Why it is not attached.
    pub error: Option<Label>,
    /// Better ones, and why they are not attached; the key is left out when there are none.
    pub instead_of: Option<Label>,
}

impl Json for HookState {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"signal\":");
        self.signal.write(out);
        out.extend_from_slice(b",\"hook\":");
        self.hook.write(out);
        out.extend_from_slice(b",\"error\":");
        self.error.write(out);
        if let Some(instead_of) = &self.instead_of {
            out.extend_from_slice(b",\"instead_of\":");
            instead_of.write(out);
        }
        out.push(b'}');
    }

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "signal": str::schema(),
                "hook": str::schema(),
                "error": Option::<Label>::schema(),
                "instead_of": str::schema(),
            },
            "required": ["signal", "hook", "error"],
        })
    }
}

/// Ends that kept coming at the same clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Name of the process, if it is known.
    pub process: Option<Label>,
    /// Name of the peer's process on this node, else its address, a server's with its port.
    pub peer: Label,
    pub pattern: Pattern,
    pub clock_ms: u64,
    pub count: u64,
    /// Of so many ends of this process, peer and pattern.
    pub of: u64,
}

impl Json for Cluster {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"process\":");
        self.process.write(out);
        out.extend_from_slice(b",\"peer\":");
        self.peer.write(out);
        out.extend_from_slice(b",\"pattern\":");
        self.pattern.write(out);
        out.extend_from_slice(b",\"clock_ms\":");
        self.clock_ms.write(out);
        out.extend_from_slice(b",\"count\":");
        self.count.write(out);
        out.extend_from_slice(b",\"of\":");
        self.of.write(out);
        out.push(b'}');
    }

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "process": Option::<Label>::schema(),
                "peer": str::schema(),
                "pattern": Pattern::schema(),
                "clock_ms": u64::schema(),
                "count": u64::schema(),
                "of": u64::schema(),
            },
            "required": ["process", "peer", "pattern", "clock_ms", "count", "of"],
        })
    }
}

/// Names and how often, names that never occurred left out.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Counts(pub Vec<(Cow<'static, str>, u64)>);

impl Counts {
    pub fn add(&mut self, name: impl Into<Cow<'static, str>>, count: u64) {
        if count == 0 {
            return;
        }
        let name = name.into();
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, total)) => *total += count,
            None => self.0.push((name, count)),
        }
    }

    pub fn merge(&mut self, other: &Counts) {
        for (name, count) in &other.0 {
            self.add(name.clone(), *count);
        }
    }

    /// Takes back what was added.
    pub fn remove(&mut self, other: &Counts) {
        for (name, count) in &other.0 {
            if let Some((_, total)) = self.0.iter_mut().find(|(known, _)| known == name) {
                *total = total.saturating_sub(*count);
            }
        }
        self.0.retain(|(_, total)| *total > 0);
    }

    pub fn total(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }
}

impl Json for Counts {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (index, (name, count)) in self.0.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            name.write(out);
            out.push(b':');
            count.write(out);
        }
        out.push(b'}');
    }

    fn schema() -> Value {
        json!({"type": "object", "additionalProperties": u64::schema()})
    }
}
