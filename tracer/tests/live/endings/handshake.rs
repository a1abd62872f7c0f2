//! Rows 28 to 30: handshakes that go wrong on the server's side. A passive socket that never leaves SYN_RECV gets no
//! record; its client does.

use std::net::SocketAddr;

use super::*;
use crate::lab::{agent::Role, link::Link};
use expect::{ABORT_LINGER0, FIN_LOCAL, FIN_PEER, LISTENER_CLOSED, RST_PEER, is};

pub const ROWS: [Row; 3] = [
    Row::with_nft("abort_on_overflow", abort_on_overflow),
    Row::with_nft("child_creation_failure", child_creation_failure).links(&[Link::VethV4]),
    Row::with_nft("invalid_ack_in_syn_sent", invalid_ack_in_syn_sent),
];

/// The third packet of these clients' handshakes does not arrive; the clients believe to be connected.
fn half_open(net: &Net, to: SocketAddr, count: usize) -> Vec<Sock> {
    net.firewall(&format!(
        "tcp dport {} tcp sport >= {} tcp flags & (fin | syn | rst | ack) == ack drop;",
        to.port(),
        FIRST_EPHEMERAL
    ));
    (0..count)
        .map(|_| {
            let mut client = net.socket();
            client.connect(to).expect("a SYN-ACK");
            client
        })
        .collect()
}

/// Below it are the ports that we choose ourselves.
const FIRST_EPHEMERAL: u16 = 32_768;

/// Row 28: the accept queue is full when the handshake completes, and tcp_abort_on_overflow answers with a RST.
pub fn abort_on_overflow(net: &Net, count: usize) -> Vec<End> {
    net.sysctl("net.ipv4.tcp_abort_on_overflow", "1");
    let listener = net.listen_with(30);
    let clients = half_open(net, listener.addr, count);
    // One more than the backlog fits in.
    let fillers: Vec<Sock> = (0..31)
        .map(|number| {
            let mut filler = net.socket();
            filler.agent.must(crate::lab::agent::protocol::Op::Bind {
                fd: filler.fd,
                addr: SocketAddr::new(net.client_ip, 30_000 + number),
            });
            filler.connect(listener.addr).expect("room in the queue");
            filler
        })
        .collect();
    net.heal();
    let mut ends = Vec::new();
    for (number, client) in clients.iter().enumerate() {
        client.write(6 + number);
        let error = client.recv().unwrap_err();
        assert_eq!(error.errno, libc::ECONNRESET);
        client.close();
        let end = End::of(net, client, None, RST_PEER);
        ends.push(
            reset_by_peer(end)
                .want("state", is("established"))
                .int("tx_unacked_bytes", 6 + number)
                .errors(Some("ECONNRESET"), None, 1, false),
        );
    }
    listener.close();
    for filler in &fillers {
        wait_for_state(net, filler, CLOSE);
        filler.close();
        let child = Sock::new(
            &listener.agent,
            -1,
            listener.addr,
            Some(filler.local),
            Role::Server,
        );
        ends.push(
            End::of(net, &child, Some(filler), LISTENER_CLOSED).want("attribution", is("listener")),
        );
        ends.push(End::of(net, filler, Some(&child), RST_PEER));
    }
    ends
}

/// Row 29: the server has lost its route to the client when the handshake completes, so the child dies in SYN_RECV
/// (IPv4 only: IPv6 looks for the route before it makes the child).
pub fn child_creation_failure(net: &Net, count: usize) -> Vec<End> {
    for device in ["all", "veth0"] {
        net.sysctl(&format!("net.ipv4.conf.{device}.rp_filter"), "0");
    }
    let listener = net.listen();
    let clients = half_open(net, listener.addr, count);
    net.server_ns.run("ip route del 10.77.0.0/24 dev veth0");
    net.heal();
    for (number, client) in clients.iter().enumerate() {
        client.write(6 + number);
    }
    // Some retransmissions fail in the same way.
    sleep(Duration::from_millis(700));
    let ends = clients
        .iter()
        .enumerate()
        .map(|(number, client)| {
            client.close_linger0();
            End::of(net, client, None, ABORT_LINGER0)
                .closer(&client.agent)
                .int("tx_unacked_bytes", 6 + number)
        })
        .collect();
    listener.close();
    ends
}

/// Row 30, as it happens after a crash: the server still has the old connection when a new one comes from the same
/// port. Its acknowledgement makes the new socket send a RST, which ends the old connection; the new one lives.
pub fn invalid_ack_in_syn_sent(net: &Net, count: usize) -> Vec<End> {
    let listener = net.listen();
    let old: Vec<Pair> = (0..count)
        .map(|number| {
            let (x, y) = net.connect(&listener);
            Pair { x, y, number }
        })
        .collect();
    old.iter().for_each(talk);
    sleep(DELAYED_ACK);
    net.blackhole(listener.addr.port());
    old.iter().for_each(|pair| pair.x.close_linger0());
    net.heal();
    let mut ends = Vec::new();
    for pair in &old {
        let mut again = net.socket();
        again.agent.must(crate::lab::agent::protocol::Op::Bind {
            fd: again.fd,
            addr: pair.x.local,
        });
        again.connect(listener.addr).expect("the second SYN");
        wait_for_state(net, &pair.y, CLOSE);
        pair.y.close();
        let (x, y) = both(net, pair, ABORT_LINGER0, RST_PEER);
        ends.push(x.closer(&pair.x.agent));
        ends.push(reset_by_peer(y));

        let pair = Pair {
            x: again,
            y: listener.accept(),
            number: pair.number + 50,
        };
        talk(&pair);
        pair.x.close();
        pair.y.read_eof();
        pair.y.close();
        let (x, y) = both(net, &pair, FIN_LOCAL, FIN_PEER);
        ends.push(
            x.closer(&pair.x.agent)
                .resets(&[("sent", &["tcp_invalid_ack_sequence"])]),
        );
        ends.push(y.closer(&pair.y.agent).resets(&[]));
    }
    listener.close();
    ends
}
