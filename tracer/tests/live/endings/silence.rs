//! Rows 18 and 19 when the route is lost on this host: nothing leaves it, so nobody can answer.

use super::*;
use crate::lab::link::Link;
use expect::{ABORT_LINGER0, TIMEOUT_PROBE, TIMEOUT_RETRANS, is, one_of};

const VETH: &[Link] = &[Link::VethV4, Link::VethV6];

pub const ROWS: [Row; 2] = [
    Row::with_nft("route_lost_in_flight", route_lost_in_flight).links(VETH),
    Row::new("route_lost_unsent", route_lost_unsent).links(VETH),
];

/// Row 18: data is in flight when the route goes; every retransmission fails on this host.
pub fn route_lost_in_flight(net: &Net, count: usize) -> Vec<End> {
    net.sysctl("net.ipv4.tcp_retries2", "2");
    let pairs = net.pairs(count);
    pairs.iter().for_each(talk);
    sleep(DELAYED_ACK);
    net.blackhole(pairs[0].listener_port());
    pairs.iter().for_each(|pair| pair.y.close_linger0());
    for pair in &pairs {
        pair.x.write(10);
    }
    lose_route(net);
    // Goes to the queue and stays there: the congestion window would let it out, the route does not.
    for pair in &pairs {
        pair.x.write(1000 + pair.number);
    }
    lost(net, &pairs, TIMEOUT_RETRANS, 10)
}

/// Row 19: nothing was in flight when the route went, so nothing is ever retransmitted; the socket lives on its probe
/// timer, although the window is open. ASSUMPTION: that is timeout_probe.
pub fn route_lost_unsent(net: &Net, count: usize) -> Vec<End> {
    net.sysctl("net.ipv4.tcp_retries2", "3");
    let pairs = net.pairs(count);
    pairs.iter().for_each(talk);
    sleep(DELAYED_ACK);
    lose_route(net);
    pairs.iter().for_each(|pair| pair.y.close_linger0());
    for pair in &pairs {
        pair.x.write(1000 + pair.number);
    }
    lost(net, &pairs, TIMEOUT_PROBE, 0)
}

/// `in_flight` bytes were sent and never acknowledged; 1000 and the connection's number never left.
fn lost(net: &Net, pairs: &[Pair], verdict: Verdict, in_flight: usize) -> Vec<End> {
    let mut ends = Vec::new();
    for pair in pairs {
        assert_eq!(pair.x.outstanding(), (in_flight, 1000 + pair.number));
    }
    as_they_die(net, pairs, |pair| {
        let unsent = 1000 + pair.number;
        let error = pair.x.recv().unwrap_err();
        pair.x.close();
        let name = match error.errno {
            libc::ETIMEDOUT => "ETIMEDOUT",
            libc::ENETUNREACH => "ENETUNREACH",
            libc::EHOSTUNREACH => "EHOSTUNREACH",
            other => panic!("errno {other} after the route was lost"),
        };
        let (x, y) = both(net, pair, verdict.errno(Some(name)), ABORT_LINGER0);
        ends.push(
            x.no_closer()
                .want("state", is("established"))
                .int("tx_bytes", pair.x.written() - unsent)
                .int("tx_unacked_bytes", in_flight)
                .int("tx_unsent_bytes", unsent)
                .errors(Some(name), None, 1, false)
                .resets(&[])
                .io_errors(&[("recv", name)]),
        );
        ends.push(
            y.closer(&pair.y.agent)
                .want("state", one_of(["established"]))
                .int("rx_bytes", pair.y.taken())
                .int("rx_unread_bytes", 0),
        );
    });
    ends
}

/// Neither host finds the way to the other any more.
fn lose_route(net: &Net) {
    let script = match net.link {
        Link::VethV6 => "-6 route del fd77::/64 dev veth0\n",
        _ => "route del 10.77.0.0/24 dev veth0\n",
    };
    for host in [&net.client_ns, &net.server_ns] {
        let mut command = host.command("ip");
        command.args(script.split_whitespace());
        crate::lab::netns::run(&mut command, "");
    }
}
