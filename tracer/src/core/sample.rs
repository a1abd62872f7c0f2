//! Events for tests of the filters and formatters: a clean close, to be changed where a test looks.

use tracer_common::{
    conn::Conn,
    record::{Head as RecordHead, SILENT_IN_ROW, Stall as StallRecord, Timers, kind, pending},
    sock::{SockSnap, sock_bit},
    state,
};

use super::stall::{Change, Silent, Stalls};
use crate::event::{
    Body, Called, End, Event, Head, Ids, IoError, Reset, SCHEMA_VERSION, Stall,
    text::{Addr, Comm, Label},
    time::Timestamp,
    values::*,
};

/// 2026-11-20T12:23:36.123456789Z.
pub fn head(event: Kind) -> Head {
    Head {
        v: SCHEMA_VERSION,
        event,
        ts: Timestamp(1_795_177_416_123_456_789),
        mono_us: 862_913_554_021,
        seq: 7,
        run_id: Label::from("9f3c1b2a"),
        node: Label::from("web-1"),
        boot_id: Label::from("4b2d0c7e-5f0e-4a3c-9d5e-0a1b2c3d4e5f"),
    }
}

pub fn comm(name: &[u8]) -> Comm {
    let mut bytes = [0; 16];
    bytes[..name.len()].copy_from_slice(name);
    Comm(bytes)
}

pub fn addr(text: &str) -> Addr {
    Addr(text.parse().expect("an address"))
}

pub fn conn(cookie: u64) -> ConnId {
    ConnId {
        boot: *b"4b2d0c7e",
        cookie,
    }
}

/// `go-server[790]`, 10.1.4.23:8080, asked by 10.2.0.7:48122.
pub fn ids() -> Ids {
    Ids {
        conn: Some(conn(0xa1)),
        flow_id: Some(Hex16(1)),
        community_id: None,
        family: Family::Ipv4,
        local_addr: addr("10.1.4.23"),
        local_port: 8080,
        peer_addr: addr("10.2.0.7"),
        peer_port: 48122,
        role: Role::Server,
        pid: Some(790),
        tid: Some(791),
        comm: Some(comm(b"go-server")),
        exe: None,
        uid: Some(1000),
        attribution: Attribution::Accept,
        closer_pid: None,
        closer_comm: None,
        netns: Some(4_026_531_840),
        cgroup: None,
        container_id: None,
        runtime: None,
        pod_uid: None,
        unit: None,
        peer_pid: None,
        peer_comm: None,
        peer_conn: None,
        peer_container_id: None,
        called: Called::default(),
    }
}

/// The client closed after it had its answer.
pub fn end() -> End {
    End {
        reason: Reason::FinPeer,
        closed_by: ClosedBy::Peer,
        how: How::Fin,
        state: Some(State(state::LAST_ACK)),
        errno: None,
        rst_reason: None,
        end_age_ms: Some(2_004),
        age_ms: Some(2_005),
        idle_rx_ms: Some(1_996),
        idle_tx_ms: Some(4),
        last_data: LastData::Tx,
        half_close_ms: Some(1),
        preexisting: false,
        rx_bytes: Some(78),
        tx_bytes: Some(8_193),
        tx_unacked_bytes: Some(0),
        tx_unsent_bytes: Some(0),
        rx_unread_bytes: Some(0),
        tx_after_fin_bytes: Some(0),
        retrans: Some(0),
        srtt_us: Some(412),
        read_errno: None,
        write_errno: None,
        io_errors: 0,
        sigpipe: false,
        pattern: Some(Pattern::Normal),
        hints: List(Vec::new()),
        hint_s: None,
        repeats: None,
        cause_conn: None,
        root_conn: None,
        chain: None,
        story: None,
        timeline: None,
        suppressed: 0,
        mptcp: false,
        truncated: false,
        lost: 0,
        exit_signal: None.into(),
        exit_status: None.into(),
        killer_signal: None.into(),
        killer_signal_ms: None.into(),
        killer_pid: None.into(),
        killer_comm: None.into(),
        oom_killed: None.into(),
    }
}

pub fn close(ids: Ids, end: End) -> Event {
    Event {
        head: head(Kind::TcpClose),
        body: Body::End { ids, end },
    }
}

pub fn connect_failed(ids: Ids, end: End) -> Event {
    Event {
        head: head(Kind::TcpConnectFailed),
        body: Body::End { ids, end },
    }
}

/// A RST that was sent.
pub fn reset(ids: Ids) -> Event {
    Event {
        head: head(Kind::TcpReset),
        body: Body::Reset {
            ids,
            reset: Reset {
                direction: Direction::Sent,
                rst_reason: Some(Label::from("abort_on_data")),
                state: Some(State(state::FIN_WAIT2)),
                suppressed: 0,
            },
        },
    }
}

/// A send that returned EPIPE, its culprit known or not.
pub fn io_error(ids: Ids, reason: Option<Reason>) -> Event {
    Event {
        head: head(Kind::TcpIoError),
        body: Body::IoError {
            ids,
            io: IoError {
                op: Op::Send,
                errno: Errno(32),
                sigpipe: true,
                reason,
                closed_by: reason.map(|_| ClosedBy::Peer),
                how: reason.map(|_| How::Fin),
                end_age_ms: reason.map(|_| 2_004),
                story: None,
            },
        },
    }
}

/// A peer that has been silent for 12.4 s, or how that was over.
pub fn stall_event(ids: Ids, ended: Option<StallEnd>) -> Event {
    Event {
        head: head(match ended {
            None => Kind::TcpStall,
            Some(_) => Kind::TcpStallEnd,
        }),
        body: Body::Stall {
            ids,
            stall: Stall {
                stalled_ms: 12_400,
                retrans_in_row: 4,
                tx_unacked_bytes: Some(312),
                gives_up_in_ms: ended.is_none().then_some(860_000),
                gives_up_by: ended.is_none().then_some(GivesUpBy::TcpRetries2),
                tx_unsent_bytes: Some(0),
                probes_in_row: 0,
                idle_rx_ms: Some(13_000),
                state: State(state::ESTABLISHED),
                keepalive_time_ms: Some(15_000),
                keepalive_intvl_ms: Some(15_000),
                keepalive_probes: Some(9),
                user_timeout_ms: None,
                retries2: Some(15),
                ended,
                story: Some(Label::from("Nobody answers.")),
            },
        },
    }
}

/// What the walk tells, at HZ=250, of a connection whose 312 bytes were sent 1.4 s ago and again after
/// 200, 600 and 1400 ms.
pub fn stall() -> StallRecord {
    let jiffies = 1_000_000;
    StallRecord {
        head: RecordHead {
            ts_ns: 9_000_000_000_000,
            sk: 0xffff_8880_0000_0001,
            cookie: 0xa1,
            kind: kind::STALL,
            code: 0,
        },
        conn: Conn {
            cookie: 0xa1,
            birth_ns: 1,
            established_ns: 2,
            ..Conn::ZERO
        },
        sock: SockSnap {
            jiffies,
            lrcvtime: jiffies - 1_000,
            lsndtime: jiffies,
            rcv_tstamp: jiffies - 1_000,
            bytes_received: 78,
            bytes_sent: 1_000,
            snd_una: 5_000,
            snd_nxt: 5_312,
            write_seq: 5_312,
            snd_wnd: 64_000,
            srtt_us8: 400,
            state: state::ESTABLISHED,
            retransmits: SILENT_IN_ROW,
            bits: sock_bit::FULL,
            ..SockSnap::ZERO
        },
        timers: Timers {
            retrans_stamp: 9_000_000 - 1_200,
            probes_tstamp: 0,
            rto: 400,
            rto_max: 30_000,
            due: jiffies + 400,
            keepalive_due: 0,
            keepalive_time: 0,
            keepalive_intvl: 0,
            sysctl_keepalive_time: 1_800_000,
            sysctl_keepalive_intvl: 18_750,
            sysctl_keepalive_probes: 9,
            retries2: 15,
            rttvar_us: 199_950,
            packets_out: 1,
            keepalive_probes: 0,
            backoff: 3,
            pending: pending::RETRANS,
            bits: 0,
            reserved: 0,
        },
    }
}

/// The same, as it is kept.
pub fn silent() -> Silent {
    match Stalls::default().take(&stall(), 4_000_000) {
        Some(Change::Began(silent)) => silent,
        other => panic!("{other:?}"),
    }
}
