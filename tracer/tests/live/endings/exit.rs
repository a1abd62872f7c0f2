//! Row 14: the owner's process ends, and the kernel closes its sockets: rows 1, 5 and 6 with `pattern` process_exit.

use std::sync::Arc;

use nix::sys::signal::Signal;

use super::*;
use crate::lab::agent::Agent;
use expect::{ABORT_LINGER0, ABORT_UNREAD, FIN_LOCAL, FIN_PEER, RST_PEER, is, null};

pub const ROWS: [Row; 4] = [
    Row::new("exit", exit),
    Row::new("sigkill", sigkill),
    Row::new("sigkill_unread", sigkill_unread),
    Row::new("sigkill_linger0", sigkill_linger0),
];

/// Connections whose x belongs to a process of its own each, in turn as client and as server.
fn victims(net: &Net, count: usize) -> Vec<Pair> {
    let listener = net.listen();
    let pairs = (0..count)
        .map(|number| {
            let (x, y) = if number % 2 == 0 {
                let victim = Agent::start(Some(&net.client_ns), "lab-victim");
                let mut x = Sock::open(&victim, net.link.is_v6());
                x.connect(listener.addr).expect("a connection");
                (x, listener.accept())
            } else {
                let victim = Agent::start(Some(&net.server_ns), "lab-victim");
                let own = victim.listen(std::net::SocketAddr::new(net.server_ip, 0), 1);
                let (y, x) = net.connect(&own);
                own.close();
                (x, y)
            };
            let pair = Pair { x, y, number };
            talk(&pair);
            pair
        })
        .collect();
    listener.close();
    pairs
}

/// exit(2) with everything read: FIN.
pub fn exit(net: &Net, count: usize) -> Vec<End> {
    fin_by(net, count, |victim| victim.exit(), by_itself)
}

/// SIGKILL with everything read: FIN.
pub fn sigkill(net: &Net, count: usize) -> Vec<End> {
    fin_by(
        net,
        count,
        |victim| victim.kill(Signal::SIGKILL),
        by_sigkill,
    )
}

fn fin_by(net: &Net, count: usize, end: fn(&Agent), how: fn(End) -> End) -> Vec<End> {
    let mut ends = Vec::new();
    for pair in victims(net, count) {
        end(&pair.x.agent);
        pair.y.read_eof();
        pair.y.close();
        let (x, y) = both(net, &pair, FIN_LOCAL, FIN_PEER);
        ends.push(how(of_dead(x, &pair.x.agent)).resets(&[]));
        ends.push(y.closer(&pair.y.agent).resets(&[]).io_errors(&[]));
    }
    ends
}

/// SIGKILL with unread data: RST.
pub fn sigkill_unread(net: &Net, count: usize) -> Vec<End> {
    let mut ends = Vec::new();
    for pair in victims(net, count) {
        let unread = 5 + pair.number;
        pair.y.write(unread);
        net.wait_for("the data", PATIENCE, || pair.x.unread() == unread);
        pair.y.settle();
        pair.x.agent.kill(Signal::SIGKILL);
        ends.extend(reset(
            net,
            &pair,
            ABORT_UNREAD,
            ("sent", &["tcp_abort_on_close"]),
        ));
    }
    ends
}

/// SIGKILL of a process that had set SO_LINGER {1, 0}: RST.
pub fn sigkill_linger0(net: &Net, count: usize) -> Vec<End> {
    let mut ends = Vec::new();
    for pair in victims(net, count) {
        pair.x.set(libc::SOL_SOCKET, libc::SO_LINGER, &[1, 0]);
        pair.x.agent.kill(Signal::SIGKILL);
        ends.extend(reset(net, &pair, ABORT_LINGER0, ("sent", &["tcp_state"])));
    }
    ends
}

fn reset(net: &Net, pair: &Pair, verdict: Verdict, sent: Reset) -> [End; 2] {
    let error = pair.y.recv().unwrap_err();
    assert_eq!(error.errno, libc::ECONNRESET);
    pair.y.close();
    let (x, y) = both(net, pair, verdict, RST_PEER);
    [
        by_sigkill(of_dead(x, &pair.x.agent))
            .want("state", is("established"))
            .resets(&[sent]),
        reset_by_peer(y).errors(Some("ECONNRESET"), None, 1, false),
    ]
}

fn of_dead(end: End, victim: &Arc<Agent>) -> End {
    end.closer(victim)
        .want("pattern", is("process_exit"))
        .io_errors(&[])
}

/// exit(0), and nobody had asked for it.
fn by_itself(end: End) -> End {
    end.want("exit_status", is(0))
        .want("exit_signal", null())
        .want("killer_signal", null())
        .want("killer_pid", null())
}

/// Killed by this process.
fn by_sigkill(end: End) -> End {
    end.want("exit_signal", is("SIGKILL"))
        .want("exit_status", null())
        .want("killer_signal", is("SIGKILL"))
        .want("killer_pid", is(std::process::id()))
        .want("oom_killed", null())
}
