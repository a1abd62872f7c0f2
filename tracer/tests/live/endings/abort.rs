//! Rows 5 to 8 and 10: one side aborts with a RST, the other receives it (row 23 without a FIN before).

use super::*;
use crate::lab::needs::Need;
use expect::{ABORT_ADMIN, ABORT_LINGER0, ABORT_UNREAD, DISCONNECT, LISTENER_CLOSED, RST_PEER, is};

pub const ROWS: [Row; 6] = [
    Row::new("abort_unread", abort_unread),
    Row::new("abort_linger0", abort_linger0),
    Row::new("disconnect", disconnect),
    Row::new("disconnect_and_connect_again", disconnect_and_connect_again),
    Row::new("listener_closed", listener_closed),
    Row::new("abort_admin", abort_admin).needs(&[Need::Program("ip"), Need::Program("ss")]),
];

/// Row 5: x closes with data that it has not read.
pub fn abort_unread(net: &Net, count: usize) -> Vec<End> {
    let mut ends = Vec::new();
    for pair in net.pairs(count) {
        talk(&pair);
        let unread = 7 + pair.number;
        pair.y.write(unread);
        net.wait_for("the data", PATIENCE, || pair.x.unread() == unread);
        pair.y.settle();
        pair.x.close();
        let error = pair.y.recv().unwrap_err();
        assert_eq!(error.errno, libc::ECONNRESET);
        pair.y.close();
        let (x, y) = both(net, &pair, ABORT_UNREAD, RST_PEER);
        ends.push(
            x.closer(&pair.x.agent)
                .want("state", is("established"))
                .resets(&[("sent", &["tcp_abort_on_close"])])
                .io_errors(&[]),
        );
        ends.push(
            reset_by_peer(y)
                .want("state", is("established"))
                .errors(Some("ECONNRESET"), None, 1, false)
                .io_errors(&[("recv", "ECONNRESET")]),
        );
    }
    ends
}

/// Row 6: x closes with SO_LINGER {1, 0}.
pub fn abort_linger0(net: &Net, count: usize) -> Vec<End> {
    let mut ends = Vec::new();
    for pair in net.pairs(count) {
        talk(&pair);
        pair.x.close_linger0();
        let error = pair.y.try_write(10).unwrap_err();
        assert_eq!(error.errno, libc::ECONNRESET);
        pair.y.close();
        let (x, y) = both(net, &pair, ABORT_LINGER0, RST_PEER);
        ends.push(
            x.closer(&pair.x.agent)
                .want("state", is("established"))
                .resets(&[("sent", &["tcp_state"])])
                .io_errors(&[]),
        );
        ends.push(
            reset_by_peer(y)
                .want("state", is("established"))
                .errors(None, Some("ECONNRESET"), 1, false)
                .io_errors(&[("send", "ECONNRESET")]),
        );
    }
    ends
}

/// Row 7: x dissolves the association by connect(AF_UNSPEC) and keeps the descriptor for a while.
pub fn disconnect(net: &Net, count: usize) -> Vec<End> {
    let pairs = net.pairs(count);
    let mut ends = Vec::new();
    for pair in &pairs {
        talk(pair);
        pair.x.disconnect();
        wait_for_state(net, &pair.y, CLOSE);
        pair.y.close();
        let (x, y) = both(net, pair, DISCONNECT, RST_PEER);
        ends.push(
            x.closer(&pair.x.agent)
                .want("state", is("established"))
                .resets(&[("sent", &["tcp_state"])])
                .io_errors(&[]),
        );
        ends.push(
            reset_by_peer(y)
                .want("state", is("established"))
                .io_errors(&[]),
        );
    }
    // The later close of the descriptor is no second end.
    sleep(OPEN_GRACE);
    pairs.iter().for_each(|pair| pair.x.close());
    ends
}

/// Row 7, and the same socket connects again at once: two connections, two records.
pub fn disconnect_and_connect_again(net: &Net, count: usize) -> Vec<End> {
    let listener = net.listen();
    let mut ends = Vec::new();
    for number in 0..count {
        let (x, y) = net.connect(&listener);
        let pair = Pair { x, y, number };
        talk(&pair);
        pair.x.disconnect();
        wait_for_state(net, &pair.y, CLOSE);
        pair.y.close();
        let (x, y) = both(net, &pair, DISCONNECT, RST_PEER);
        ends.push(x.closer(&pair.x.agent).resets_any());
        ends.push(reset_by_peer(y));

        let mut again = Sock::reuse(&pair.x);
        again.connect(listener.addr).expect("a second connection");
        let pair = Pair {
            x: again,
            y: listener.accept(),
            number: number + 50,
        };
        talk(&pair);
        pair.x.close();
        pair.y.read_eof();
        pair.y.close();
        let (x, y) = both(net, &pair, expect::FIN_LOCAL, expect::FIN_PEER);
        ends.push(x.closer(&pair.x.agent).resets_any());
        ends.push(y.closer(&pair.y.agent).resets(&[]));
    }
    listener.close();
    ends
}

/// Row 8: the listener is closed with connections that nobody has accepted.
pub fn listener_closed(net: &Net, count: usize) -> Vec<End> {
    let listener = net.listen();
    let clients: Vec<Sock> = (0..count)
        .map(|number| {
            let mut client = net.socket();
            client.connect(listener.addr).expect("a connection");
            client.write(20 + number);
            client
        })
        .collect();
    // All data is in the children's queues.
    clients.iter().for_each(Sock::settle);
    listener.close();
    let mut ends = Vec::new();
    for client in &clients {
        let error = client.recv().unwrap_err();
        assert_eq!(error.errno, libc::ECONNRESET);
        client.close();
        let child = Sock::new(
            &listener.agent,
            -1,
            listener.addr,
            Some(client.local),
            crate::lab::agent::Role::Server,
        );
        ends.push(
            End::of(net, &child, Some(client), LISTENER_CLOSED)
                .closer(&listener.agent)
                .want("state", is("established"))
                .want("attribution", is("listener"))
                .resets(&[("sent", &["tcp_state"])])
                .io_errors(&[]),
        );
        ends.push(
            reset_by_peer(End::of(net, client, Some(&child), RST_PEER))
                .want("state", is("established"))
                .errors(Some("ECONNRESET"), None, 1, false)
                .io_errors(&[("recv", "ECONNRESET")]),
        );
    }
    ends
}

/// Row 10: an administrator kills x's socket with `ss -K`.
pub fn abort_admin(net: &Net, count: usize) -> Vec<End> {
    let mut ends = Vec::new();
    for pair in net.pairs(count) {
        talk(&pair);
        let peer = pair.x.peer.expect("connected");
        let filter = format!(
            "sport = :{} and dport = :{}",
            pair.x.local.port(),
            peer.port()
        );
        let killer = net
            .ns_of(&pair.x)
            .command("ss")
            .args(["-K", "-H", "-t", "-n"])
            .args(filter.split(' '))
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("ss");
        let killer_pid = killer.id();
        let output = killer.wait_with_output().expect("ss");
        assert!(output.status.success(), "ss -K {filter}");
        let error = pair.x.recv().unwrap_err();
        assert_eq!(error.errno, libc::ECONNABORTED);
        pair.x.close();
        let error = pair.y.recv().unwrap_err();
        assert_eq!(error.errno, libc::ECONNRESET);
        pair.y.close();
        let (x, y) = both(net, &pair, ABORT_ADMIN, RST_PEER);
        ends.push(
            x.want("closer_pid", is(killer_pid))
                .want("closer_comm", is("ss"))
                .want("state", is("established"))
                .errors(Some("ECONNABORTED"), None, 1, false)
                .resets(&[("sent", &["tcp_state"])])
                .io_errors(&[("recv", "ECONNABORTED")]),
        );
        ends.push(reset_by_peer(y).want("state", is("established")).errors(
            Some("ECONNRESET"),
            None,
            1,
            false,
        ));
    }
    ends
}
