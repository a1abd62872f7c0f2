//! Rows 9, 20, 21 and 23 in SYN_SENT: connections that never came to be.

use std::net::SocketAddr;

use super::*;
use expect::{CONNECT_REFUSED, CONNECT_TIMEOUT, is};

pub const ROWS: [Row; 2] = [
    Row::new("connect_refused", connect_refused),
    Row::with_nft("connect_timeout", connect_timeout),
];

/// Ports at which nothing listens, one per connection.
fn closed_port(net: &Net, number: usize) -> SocketAddr {
    SocketAddr::new(net.server_ip, 20_000 + number as u16)
}

/// Row 23 in SYN_SENT: nobody listens there.
pub fn connect_refused(net: &Net, count: usize) -> Vec<End> {
    let mut ends = Vec::new();
    for number in 0..count {
        let mut sock = net.socket();
        let error = sock.connect(closed_port(net, number)).unwrap_err();
        assert_eq!(error.errno, libc::ECONNREFUSED);
        sock.close();
        ends.push(
            End::of(net, &sock, None, CONNECT_REFUSED)
                .no_closer()
                .want("state", is("syn_sent"))
                .resets(&[("received", &[])])
                .io_errors(&[]),
        );
    }
    ends
}

/// Row 20: no answer to any SYN.
pub fn connect_timeout(net: &Net, count: usize) -> Vec<End> {
    net.sysctl("net.ipv4.tcp_syn_retries", "1");
    net.server_ns.nft(DROP_CLOSED_PORTS);
    let mut socks: Vec<_> = (0..count).map(|_| net.socket()).collect();
    for (number, sock) in socks.iter_mut().enumerate() {
        sock.connect_start(closed_port(net, number));
    }
    socks
        .iter_mut()
        .map(|sock| {
            let error = sock.connect_wait().unwrap_err();
            assert_eq!(error.errno, libc::ETIMEDOUT);
            sock.close();
            End::of(net, sock, None, CONNECT_TIMEOUT)
                .no_closer()
                .want("state", is("syn_sent"))
                .want("end_age_ms", expect::Want::Between(1900, 4000))
                .resets(&[])
                .io_errors(&[])
        })
        .collect()
}

const DROP_CLOSED_PORTS: &str = "table inet lab {
    chain input { type filter hook input priority 0; tcp dport 20000-20999 drop; }
}";
