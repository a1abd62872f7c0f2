//! Rows 9, 20, 21 and 23 in SYN_SENT: connections that never came to be.

use std::net::SocketAddr;

use super::*;
use crate::lab::link::Link;
use expect::{
    CONNECT_CANCELLED, CONNECT_REFUSED, CONNECT_TIMEOUT, CONNECT_UNREACHABLE, FIN_LOCAL, FIN_PEER,
    is, one_of,
};

pub const ROWS: [Row; 7] = [
    Row::with_nft("connect_cancelled", connect_cancelled),
    Row::with_nft("connect_timeout", connect_timeout),
    Row::with_nft("connect_user_timeout", connect_user_timeout),
    Row::with_nft("connect_unreachable", connect_unreachable),
    Row::with_nft(
        "connect_unreachable_event_loop",
        connect_unreachable_event_loop,
    )
    .links(&[Link::LoV4, Link::VethV4]),
    Row::new("connect_refused", connect_refused),
    Row::new(
        "connect_refused_then_accepted",
        connect_refused_then_accepted,
    ),
];

/// Ports at which nothing listens, one per connection.
fn closed_port(net: &Net, number: usize) -> SocketAddr {
    SocketAddr::new(net.server_ip, 20_000 + number as u16)
}

/// Starts a connect to a closed port for each number.
fn start(net: &Net, count: usize) -> Vec<Sock> {
    (0..count)
        .map(|number| {
            let mut sock = net.socket();
            sock.connect_start(closed_port(net, number));
            sock
        })
        .collect()
}

fn drop_all_syns(net: &Net) {
    net.firewall("tcp dport 20000-20999 drop;");
}

/// Row 9: closed while the SYN is unanswered.
pub fn connect_cancelled(net: &Net, count: usize) -> Vec<End> {
    drop_all_syns(net);
    start(net, count)
        .iter()
        .map(|sock| {
            sock.close();
            End::of(net, sock, None, CONNECT_CANCELLED)
                .closer(&sock.agent)
                .want("state", is("syn_sent"))
                .resets(&[])
                .io_errors(&[])
        })
        .collect()
}

/// Row 20: no answer to any SYN.
pub fn connect_timeout(net: &Net, count: usize) -> Vec<End> {
    net.sysctl("net.ipv4.tcp_syn_retries", "1");
    drop_all_syns(net);
    let mut socks = start(net, count);
    timed_out(net, &mut socks, Want::Between(1900, 4000))
}

/// Row 20 by TCP_USER_TIMEOUT. ASSUMPTION: it is a connect_timeout like any other.
pub fn connect_user_timeout(net: &Net, count: usize) -> Vec<End> {
    drop_all_syns(net);
    let mut socks: Vec<Sock> = (0..count).map(|_| net.socket()).collect();
    for (number, sock) in socks.iter_mut().enumerate() {
        sock.set_tcp(libc::TCP_USER_TIMEOUT, 500);
        sock.connect_start(closed_port(net, number));
    }
    timed_out(net, &mut socks, Want::Between(400, 3000))
}

fn timed_out(net: &Net, socks: &mut [Sock], age: Want) -> Vec<End> {
    socks
        .iter_mut()
        .map(|sock| {
            let error = sock.connect_wait().unwrap_err();
            assert_eq!(error.errno, libc::ETIMEDOUT);
            sock.close();
            End::of(net, sock, None, CONNECT_TIMEOUT)
                .no_closer()
                .want("state", is("syn_sent"))
                .want("end_age_ms", age.clone())
                .resets(&[])
                .io_errors(&[])
        })
        .collect()
}

/// Row 21: an ICMP error answers the SYN. The first one finds the socket in the hands of connect(2) and is only
/// remembered; the one that answers the retransmitted SYN ends it.
pub fn connect_unreachable(net: &Net, count: usize) -> Vec<End> {
    answer_with_icmp(net);
    let mut socks = start(net, count);
    socks
        .iter_mut()
        .enumerate()
        .map(|(number, sock)| {
            let (errno, name) = unreachable(number);
            wait_for_state(net, sock, CLOSE);
            let error = sock.connect_wait().unwrap_err();
            assert_eq!(error.errno, errno);
            sock.close();
            End::of(net, sock, None, CONNECT_UNREACHABLE.errno(Some(name)))
                .no_closer()
                .want("state", is("syn_sent"))
                .resets(&[])
                .io_errors(&[])
        })
        .collect()
}

/// Row 21 as a program with an event loop sees it over IPv4: the remembered error wakes it at once (the kernel queues
/// it even without IP_RECVERR), SO_ERROR tells it and takes it away, and the program closes. At CLOSE the socket knows
/// of no error any more. ASSUMPTION: it is connect_unreachable all the same, since that is what happened.
pub fn connect_unreachable_event_loop(net: &Net, count: usize) -> Vec<End> {
    answer_with_icmp(net);
    let mut socks = start(net, count);
    socks
        .iter_mut()
        .enumerate()
        .map(|(number, sock)| {
            let (errno, name) = unreachable(number);
            let error = sock.connect_wait().unwrap_err();
            assert_eq!(error.errno, errno);
            sock.close();
            End::of(net, sock, None, CONNECT_UNREACHABLE)
                .want("errno", one_of([serde_json::Value::Null, name.into()]))
                .want("state", is("syn_sent"))
                .want("end_age_ms", Want::Between(0, 500))
                .resets(&[])
                .io_errors(&[])
        })
        .collect()
}

fn answer_with_icmp(net: &Net) {
    // Otherwise one ICMP error a second, but for loopback.
    net.sysctl("net.ipv4.icmp_ratelimit", "0");
    net.sysctl("net.ipv6.icmp.ratelimit", "0");
    net.firewall(
        "tcp dport 20000-20009 reject with icmpx host-unreachable;
         tcp dport 20010-20019 reject with icmpx no-route;
         tcp dport 20020-20999 reject with icmpx port-unreachable;",
    );
}

/// What that firewall makes a program see.
fn unreachable(number: usize) -> (i32, &'static str) {
    match number {
        0..10 => (libc::EHOSTUNREACH, "EHOSTUNREACH"),
        10..20 => (libc::ENETUNREACH, "ENETUNREACH"),
        // No RST, although the program is told the same.
        _ => (libc::ECONNREFUSED, "ECONNREFUSED"),
    }
}

/// Row 23 in SYN_SENT: nobody listens there.
pub fn connect_refused(net: &Net, count: usize) -> Vec<End> {
    (0..count)
        .map(|number| {
            let mut sock = net.socket();
            let error = sock.connect(closed_port(net, number)).unwrap_err();
            assert_eq!(error.errno, libc::ECONNREFUSED);
            sock.close();
            refused(net, &sock).resets(&[("received", &[])])
        })
        .collect()
}

fn refused(net: &Net, sock: &Sock) -> End {
    End::of(net, sock, None, CONNECT_REFUSED)
        .no_closer()
        .want("state", is("syn_sent"))
        .io_errors(&[])
}

/// The same socket is refused once and then accepted: a failed connect and a connection, two records.
pub fn connect_refused_then_accepted(net: &Net, count: usize) -> Vec<End> {
    let listener = net.listen();
    let mut ends = Vec::new();
    for number in 0..count {
        let mut sock = net.socket();
        sock.connect(closed_port(net, number)).unwrap_err();
        ends.push(refused(net, &sock));

        let mut again = Sock::reuse(&sock);
        again.connect(listener.addr).expect("a connection");
        let pair = Pair {
            x: again,
            y: listener.accept(),
            number,
        };
        talk(&pair);
        pair.x.close();
        pair.y.read_eof();
        pair.y.close();
        let (x, y) = both(net, &pair, FIN_LOCAL, FIN_PEER);
        ends.push(x.closer(&pair.x.agent));
        ends.push(y.closer(&pair.y.agent).resets(&[]));
    }
    listener.close();
    ends
}
