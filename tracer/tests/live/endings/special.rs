//! Rows 22, 32 and 33, and sockets of unusual make: fast open, IPv4 on an IPv6 socket.

use std::net::{IpAddr, SocketAddr};

use super::*;
use crate::lab::{
    agent::{Role, protocol::Op},
    link::Link,
    needs::Need,
};
use expect::{ABORT_LINGER0, DISCONNECT, FIN_LOCAL, FIN_PEER, is, one_of};

pub const ROWS: [Row; 5] = [
    Row::with_nft("icmp_on_established", icmp_on_established),
    // Debian's 5.10 is built without it.
    Row::new("mptcp", mptcp).needs(&[
        Need::Program("ip"),
        Need::File("/proc/sys/net/mptcp/enabled"),
    ]),
    Row::new("repair", repair),
    Row::new("fastopen", fastopen),
    Row::new("v4_mapped", v4_mapped).links(&[Link::LoV4, Link::VethV4]),
];

/// Row 22: with IP_RECVERR an ICMP error reaches the program, but the connection survives it.
pub fn icmp_on_established(net: &Net, count: usize) -> Vec<End> {
    let pairs = net.pairs(count);
    for pair in &pairs {
        talk(pair);
        match net.link.is_v6() {
            true => pair.x.set(libc::SOL_IPV6, libc::IPV6_RECVERR, &[1]),
            false => pair.x.set(libc::SOL_IP, libc::IP_RECVERR, &[1]),
        }
    }
    sleep(DELAYED_ACK);
    net.reject(pairs[0].listener_port(), "icmpx host-unreachable");
    for pair in &pairs {
        pair.x.write(8 + pair.number);
    }
    for pair in &pairs {
        // The first ICMP error met the socket inside send(2); a later one, of a retransmission, sets sk_err.
        let error = pair.x.recv().unwrap_err();
        assert_eq!(error.errno, libc::EHOSTUNREACH);
    }
    net.heal();
    let mut ends = Vec::new();
    for pair in &pairs {
        pair.y.read(8 + pair.number);
        // More errors may have come before the firewall was open: they are consumed like the first.
        pair.x.settle();
        pair.x.close();
        pair.y.read_eof();
        pair.y.close();
        let (x, y) = both(net, pair, FIN_LOCAL, FIN_PEER);
        ends.push(
            x.closer(&pair.x.agent)
                .want(
                    "errno",
                    one_of([serde_json::Value::Null, "EHOSTUNREACH".into()]),
                )
                .errors(Some("EHOSTUNREACH"), None, 1, false)
                .resets(&[])
                .io_errors(&[("recv", "EHOSTUNREACH")]),
        );
        ends.push(y.closer(&pair.y.agent).resets(&[]).io_errors(&[]));
    }
    ends
}

/// Row 32: every subflow is a record. A kernel thread closes it, and both sides may do so at the same time.
pub fn mptcp(net: &Net, count: usize) -> Vec<End> {
    let listener = net
        .server
        .listen_with(SocketAddr::new(net.server_ip, 0), 64, true);
    let mut ends = Vec::new();
    for number in 0..count {
        let fd = net.client.socket(net.link.is_v6(), true);
        let mut client = Sock::new(&net.client, fd, listener.addr, None, Role::Client);
        client.connect(listener.addr).expect("an MPTCP connection");
        let server = listener.accept();
        let (x, y) = match number % 2 {
            0 => (client, server),
            _ => (server, client),
        };
        let pair = Pair { x, y, number };
        talk(&pair);
        pair.x.close();
        pair.y.read_eof();
        pair.y.close();
        let (x, y) = both(net, &pair, FIN_LOCAL, FIN_PEER);
        for end in [x, y] {
            ends.push(
                end.want("mptcp", is(true))
                    .want("reason", one_of(["fin_local", "fin_peer", "fin_both"]))
                    .want("closed_by", one_of(["local", "peer"]))
                    .want("attribution", Want::Any)
                    .want("tid", Want::Any)
                    .want("rx_unread_bytes", Want::Any)
                    .resets(&[]),
            );
        }
    }
    listener.close();
    ends
}

/// Row 33: a checkpointed socket is closed without a word. ASSUMPTION: `disconnect`, local, none: no RST was sent.
pub fn repair(net: &Net, count: usize) -> Vec<End> {
    let mut ends = Vec::new();
    for pair in net.pairs(count) {
        talk(&pair);
        pair.x.set_tcp(libc::TCP_REPAIR, 1);
        pair.x.close();
        pair.y.close_linger0();
        let (x, y) = both(net, &pair, DISCONNECT.first("local", "none"), ABORT_LINGER0);
        ends.push(
            x.closer(&pair.x.agent)
                .want("state", is("established"))
                .resets(&[])
                .io_errors(&[]),
        );
        ends.push(y.closer(&pair.y.agent));
    }
    ends
}

/// Data in the SYN: it is payload like any other.
pub fn fastopen(net: &Net, count: usize) -> Vec<End> {
    // Client and server, without a cookie, for every listener.
    net.sysctl(
        "net.ipv4.tcp_fastopen",
        &(0x1 | 0x2 | 0x4 | 0x200 | 0x400).to_string(),
    );
    let listener = net.listen();
    let mut ends = Vec::new();
    for number in 0..count {
        let mut client = net.socket();
        client.set_tcp(libc::TCP_FASTOPEN_CONNECT, 1);
        client.connect(listener.addr).expect("a deferred connect");
        client.write(30 + number);
        let client = client.renamed();
        let server = listener.accept();
        server.read(30 + number);
        let pair = Pair {
            x: client,
            y: server,
            number,
        };
        talk(&pair);
        pair.x.close();
        pair.y.read_eof();
        pair.y.close();
        let (x, y) = both(net, &pair, FIN_LOCAL, FIN_PEER);
        ends.push(x.closer(&pair.x.agent).resets(&[]).io_errors(&[]));
        ends.push(y.closer(&pair.y.agent).resets(&[]).io_errors(&[]));
    }
    listener.close();
    ends
}

/// IPv4 through IPv6 sockets is IPv4, at both ends.
pub fn v4_mapped(net: &Net, count: usize) -> Vec<End> {
    let any: SocketAddr = "[::]:0".parse().expect("an address");
    let listener = net.server.listen(any, 64);
    let IpAddr::V4(server_ip) = net.server_ip else {
        unreachable!("a row of the IPv4 links")
    };
    let mapped = SocketAddr::new(server_ip.to_ipv6_mapped().into(), listener.addr.port());
    let mut ends = Vec::new();
    for number in 0..count {
        let fd = net.client.socket(true, false);
        let mut client = Sock::new(&net.client, fd, any, None, Role::Client);
        client.connect(mapped).expect("a connection");
        let server = listener.accept();
        let pair = Pair {
            x: client.unmapped(),
            y: server.unmapped(),
            number,
        };
        talk(&pair);
        pair.x.close();
        pair.y.read_eof();
        pair.y.close();
        let (x, y) = both(net, &pair, FIN_LOCAL, FIN_PEER);
        ends.push(x.closer(&pair.x.agent));
        ends.push(y.closer(&pair.y.agent));
    }
    listener.agent.must(Op::Close { fd: listener.fd });
    ends
}
