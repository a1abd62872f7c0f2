//! Events for tests of the filters and formatters: a clean close, to be changed where a test looks.

use crate::event::{
    Body, End, Event, Head, Ids, IoError, Reset, SCHEMA_VERSION,
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
    }
}

/// The client closed after it had its answer.
pub fn end() -> End {
    End {
        reason: Reason::FinPeer,
        closed_by: ClosedBy::Peer,
        how: How::Fin,
        state: Some(State(tracer_common::state::LAST_ACK)),
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
                state: Some(State(tracer_common::state::FIN_WAIT2)),
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
