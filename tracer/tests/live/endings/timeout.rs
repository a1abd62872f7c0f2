//! Rows 16 to 20 with nobody at the other end: keepalive, user timeout, retransmission and window probes give up.
//!
//! The other end is silenced by a firewall and then ended inside the silence by a RST that nobody receives.

use super::*;
use crate::lab::agent::Answer;
use expect::{
    ABORT_LINGER0, ABORT_UNREAD, FIN_LOCAL, TIMEOUT_KEEPALIVE, TIMEOUT_ORPHAN, TIMEOUT_PROBE,
    TIMEOUT_RETRANS, TIMEOUT_USER, is,
};

pub const ROWS: [Row; 9] = [
    Row::with_nft("timeout_keepalive", timeout_keepalive),
    Row::with_nft("timeout_user_keepalive", timeout_user_keepalive),
    Row::with_nft("timeout_user_retrans", timeout_user_retrans),
    Row::with_nft("timeout_user_probe", timeout_user_probe),
    Row::with_nft("timeout_retrans", timeout_retrans),
    Row::with_nft("timeout_retrans_soft_error", timeout_retrans_soft_error),
    Row::with_nft("timeout_orphan", timeout_orphan),
    Row::with_nft("timeout_orphan_in_last_ack", timeout_orphan_in_last_ack),
    Row::with_nft("timeout_probe", timeout_probe),
];

/// Row 16.
pub fn timeout_keepalive(net: &Net, count: usize) -> Vec<End> {
    keepalive(net, count, TIMEOUT_KEEPALIVE, |x| {
        x.set_tcp(libc::TCP_KEEPCNT, 1)
    })
}

/// Row 17 a: TCP_USER_TIMEOUT ends it at a keepalive probe.
pub fn timeout_user_keepalive(net: &Net, count: usize) -> Vec<End> {
    keepalive(net, count, TIMEOUT_USER, |x| {
        x.set_tcp(libc::TCP_USER_TIMEOUT, 1500)
    })
}

fn keepalive(net: &Net, count: usize, verdict: Verdict, limit: fn(&Sock)) -> Vec<End> {
    let pairs = net.pairs(count);
    for pair in &pairs {
        talk(pair);
        pair.x.set_tcp(libc::TCP_KEEPIDLE, 1);
        pair.x.set_tcp(libc::TCP_KEEPINTVL, 1);
        limit(&pair.x);
        pair.x.set(libc::SOL_SOCKET, libc::SO_KEEPALIVE, &[1]);
    }
    silence(net, &pairs);
    let mut ends = Vec::new();
    as_they_die(net, &pairs, |pair| {
        timed_out(pair.x.recv(), libc::ETIMEDOUT);
        pair.x.close();
        let (x, y) = both(net, pair, verdict, ABORT_LINGER0);
        ends.push(
            x.no_closer()
                .want("state", is("established"))
                .want("end_age_ms", Want::Between(1500, 6000))
                .errors(Some("ETIMEDOUT"), None, 1, false)
                .resets(&[("sent", &["tcp_keepalive_timeout"])])
                .io_errors(&[("recv", "ETIMEDOUT")]),
        );
        ends.push(y.closer(&pair.y.agent));
    });
    ends
}

/// Row 17 b: TCP_USER_TIMEOUT with data in flight.
pub fn timeout_user_retrans(net: &Net, count: usize) -> Vec<End> {
    let pairs = net.pairs(count);
    for pair in &pairs {
        talk(pair);
        pair.x.set_tcp(libc::TCP_USER_TIMEOUT, 1000);
    }
    silence(net, &pairs);
    let mut ends = Vec::new();
    for pair in &pairs {
        let lost = 11 + pair.number;
        pair.x.write(lost);
    }
    as_they_die(net, &pairs, |pair| {
        let lost = 11 + pair.number;
        ends.extend(gave_up(net, pair, TIMEOUT_USER, libc::ETIMEDOUT, lost));
    });
    ends
}

/// Row 18: TCP retransmits until tcp_retries2.
pub fn timeout_retrans(net: &Net, count: usize) -> Vec<End> {
    retransmit(net, count, libc::ETIMEDOUT, TIMEOUT_RETRANS, silence)
}

/// Row 18 with ICMP errors all the while: the program is told the last one instead of ETIMEDOUT.
pub fn timeout_retrans_soft_error(net: &Net, count: usize) -> Vec<End> {
    let verdict = TIMEOUT_RETRANS.errno(Some("EHOSTUNREACH"));
    retransmit(net, count, libc::EHOSTUNREACH, verdict, |net, pairs| {
        silence(net, pairs);
        net.reject(pairs[0].listener_port(), "icmpx host-unreachable");
    })
}

fn retransmit(
    net: &Net,
    count: usize,
    errno: i32,
    verdict: Verdict,
    break_it: fn(&Net, &[Pair]),
) -> Vec<End> {
    net.sysctl("net.ipv4.tcp_retries2", "2");
    let pairs = net.pairs(count);
    pairs.iter().for_each(talk);
    break_it(net, &pairs);
    for pair in &pairs {
        pair.x.write(11 + pair.number);
    }
    let mut ends = Vec::new();
    as_they_die(net, &pairs, |pair| {
        ends.extend(gave_up(net, pair, verdict, errno, 11 + pair.number));
    });
    ends
}

/// x gives up with `lost` bytes unacknowledged; y had been silenced.
fn gave_up(net: &Net, pair: &Pair, verdict: Verdict, errno: i32, lost: usize) -> [End; 2] {
    timed_out(pair.x.recv(), errno);
    pair.x.close();
    let (x, y) = both(net, pair, verdict, ABORT_LINGER0);
    [
        x.no_closer()
            .want("state", is("established"))
            .want("retrans", Want::Between(1, 20))
            .int("tx_unacked_bytes", lost)
            .errors(verdict.errno, None, 1, false)
            .resets(&[])
            .io_errors(&[("recv", verdict.errno.expect("a timeout has an error"))]),
        y.closer(&pair.y.agent)
            .int("rx_bytes", pair.y.taken())
            .int("rx_unread_bytes", 0),
    ]
}

/// Row 18 as an orphan: x closes with data in flight; nobody acknowledges it or the FIN.
pub fn timeout_orphan(net: &Net, count: usize) -> Vec<End> {
    net.sysctl("net.ipv4.tcp_orphan_retries", "2");
    let pairs = net.pairs(count);
    pairs.iter().for_each(talk);
    silence(net, &pairs);
    let mut ends = Vec::new();
    for pair in &pairs {
        let lost = 11 + pair.number;
        pair.x.write(lost);
        pair.x.close();
        let (x, y) = both(net, pair, TIMEOUT_ORPHAN, ABORT_LINGER0);
        ends.push(
            x.closer(&pair.x.agent)
                .want("state", is("fin_wait1"))
                .want("half_close_ms", Want::Between(1000, 10_000))
                .int("tx_unacked_bytes", lost)
                .resets(&[])
                .io_errors(&[]),
        );
        ends.push(
            y.closer(&pair.y.agent)
                .int("rx_bytes", pair.y.taken())
                .int("rx_unread_bytes", 0),
        );
    }
    ends
}

/// Row 18 as an orphan after the peer's FIN. ASSUMPTION: our own FIN is out too, so the reason is timeout_orphan; the
/// first end is the peer's.
pub fn timeout_orphan_in_last_ack(net: &Net, count: usize) -> Vec<End> {
    net.sysctl("net.ipv4.tcp_orphan_retries", "2");
    let pairs = net.pairs(count);
    for pair in &pairs {
        talk(pair);
        pair.y.close();
        pair.x.read_eof();
    }
    // y's socket leaves FIN_WAIT1 when x's delayed acknowledgement comes.
    sleep(DELAYED_ACK);
    net.blackhole(pairs[0].listener_port());
    let mut ends = Vec::new();
    for pair in &pairs {
        let lost = 11 + pair.number;
        pair.x.write(lost);
        pair.x.close();
        let (x, y) = both(net, pair, TIMEOUT_ORPHAN.first("peer", "fin"), FIN_LOCAL);
        ends.push(
            x.closer(&pair.x.agent)
                .want("state", is("last_ack"))
                .int("tx_unacked_bytes", lost)
                .int("tx_after_fin_bytes", lost)
                .resets(&[])
                .io_errors(&[]),
        );
        ends.push(
            y.closer(&pair.y.agent)
                .want("state", is("fin_wait2"))
                .int("rx_bytes", pair.y.taken())
                .int("rx_unread_bytes", 0)
                .resets(&[]),
        );
    }
    ends
}

/// Row 19: y does not read, its window is closed, and then it is silent.
pub fn timeout_probe(net: &Net, count: usize) -> Vec<End> {
    net.sysctl("net.ipv4.tcp_retries2", "3");
    zero_window(net, count, TIMEOUT_PROBE, |_| {})
}

/// Row 17 b on the probe timer.
pub fn timeout_user_probe(net: &Net, count: usize) -> Vec<End> {
    zero_window(net, count, TIMEOUT_USER, |x| {
        x.set_tcp(libc::TCP_USER_TIMEOUT, 1500);
    })
}

fn zero_window(net: &Net, count: usize, verdict: Verdict, limit: fn(&Sock)) -> Vec<End> {
    let pairs = net.pairs(count);
    for pair in &pairs {
        talk(pair);
        pair.x.set(libc::SOL_SOCKET, libc::SO_SNDBUF, &[65536]);
        net.wait_for("a closed window", PATIENCE, || {
            pair.x.fill(1 << 20);
            let (in_flight, unsent) = pair.x.outstanding();
            in_flight == 0 && unsent > 0
        });
    }
    let unsent: Vec<usize> = pairs.iter().map(|pair| pair.x.outstanding().1).collect();
    net.blackhole(pairs[0].listener_port());
    pairs.iter().for_each(|pair| pair.y.close());
    // Not before: it counts from the first probe, even while the peer answers them.
    pairs.iter().for_each(|pair| limit(&pair.x));
    let mut ends = Vec::new();
    as_they_die(net, &pairs, |pair| {
        let unsent = unsent[pair.number];
        timed_out(pair.x.recv(), libc::ETIMEDOUT);
        pair.x.close();
        let (x, y) = both(net, pair, verdict, ABORT_UNREAD);
        ends.push(
            x.no_closer()
                .want("state", is("established"))
                .int("tx_bytes", pair.x.written() - unsent)
                .int("tx_unsent_bytes", unsent)
                .errors(Some("ETIMEDOUT"), None, 1, false)
                .resets(&[])
                .io_errors(&[("recv", "ETIMEDOUT")]),
        );
        ends.push(
            y.closer(&pair.y.agent)
                .int("rx_bytes", pair.x.written() - unsent)
                .int(
                    "rx_unread_bytes",
                    pair.x.written() - unsent - pair.y.taken(),
                ),
        );
    });
    ends
}

/// Nothing passes any more, and y goes away unheard.
fn silence(net: &Net, pairs: &[Pair]) {
    // First all acknowledgements that are due.
    sleep(DELAYED_ACK);
    net.blackhole(pairs[0].listener_port());
    pairs.iter().for_each(|pair| pair.y.close_linger0());
}

fn timed_out(answer: Answer<usize>, errno: i32) {
    assert_eq!(answer.unwrap_err().errno, errno);
}
