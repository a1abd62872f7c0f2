//! Many connections at once: nothing lost, nothing invented, every end with its owner.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, thread};

use crate::{
    Test,
    lab::{
        agent::{
            Agent, Listener,
            protocol::{Churn, Op, Reply},
            serve::{
                CLIENT_CLOSES, CLIENT_LINGER0, KINDS, SERVER_CLOSES, SERVER_LINGER0, SERVER_UNREAD,
            },
        },
        link::{Link, Net},
        needs::Need,
        tracer::Tracer,
    },
};

const CONNECTIONS: usize = 20_000;

/// Pairs of a client and a server process; each works through its share one connection after the other.
const PAIRS: usize = 4;

pub fn tests() -> Vec<Test> {
    vec![Test::new(
        "load::twenty_thousand",
        &[Need::Program("ip"), Need::Alone],
        twenty_thousand,
    )]
}

/// (pid, role, reason) of an end.
type Kind = (i32, &'static str, &'static str);

fn twenty_thousand() {
    let net = Net::new(Link::LoV4);
    let share = CONNECTIONS / PAIRS;
    let pairs: Vec<(Arc<Agent>, Listener)> = (0..PAIRS)
        .map(|_| {
            let client = Agent::start(Some(&net.client_ns), "lab-churn");
            let server = Agent::start(Some(&net.server_ns), "lab-serve");
            let listener = server.listen(SocketAddr::new(net.server_ip, 0), 64);
            (client, listener)
        })
        .collect();
    let tracer = Tracer::start();
    let logs: Vec<(Vec<u64>, Vec<u64>)> = thread::scope(|scope| {
        let running: Vec<_> = pairs
            .iter()
            .map(|(client, listener)| {
                let serve = Op::Serve {
                    fd: listener.fd,
                    count: share,
                };
                let churn = Op::Churn(Churn {
                    addr: listener.addr,
                    count: share,
                });
                let served = scope.spawn(move || log(listener.agent.must(serve)));
                let churned = scope.spawn(move || log(client.must(churn)));
                (churned, served)
            })
            .collect();
        running
            .into_iter()
            .map(|(churned, served)| {
                (
                    churned.join().expect("a log"),
                    served.join().expect("a log"),
                )
            })
            .collect()
    });
    net.wait_until_gone();
    let recording = tracer.finish();

    let mut due: BTreeMap<Kind, u64> = BTreeMap::new();
    for ((client, listener), (churned, served)) in pairs.iter().zip(&logs) {
        assert_eq!(churned, served, "both sides did the same");
        for kind in 0..KINDS as u8 {
            let (client_reason, server_reason) = reasons(kind);
            let count = churned[usize::from(kind)];
            *due.entry((client.pid, "client", client_reason))
                .or_default() += count;
            *due.entry((listener.agent.pid, "server", server_reason))
                .or_default() += count;
        }
    }
    let mut told: BTreeMap<Kind, u64> = BTreeMap::new();
    let mut strange = Vec::new();
    let netns = net.client_ns.inode() as i64;
    for line in recording
        .ends()
        .filter(|line| line.int("netns") == Some(netns))
    {
        let kind = due.keys().find(|(pid, role, reason)| {
            line.int("pid") == Some(i64::from(*pid))
                && line.str("role") == Some(role)
                && line.str("reason") == Some(reason)
                && line.event() == "tcp_close"
        });
        match kind {
            Some(kind) => *told.entry(*kind).or_default() += 1,
            None => strange.push(line.text.as_str()),
        }
    }
    // Ends that a timer brought about at the wrong moment; see `expect`.
    let unseen =
        |text: &&&str| text.contains(r#""reason":"unknown""#) && text.contains(r#""state":null"#);
    let recovered = strange.iter().filter(unseen).count();
    assert!(
        recovered == strange.len() && recovered <= recording.recovered(),
        "{} records that fit nothing, {} recovered, such as\n{}",
        strange.len(),
        recording.recovered(),
        strange[..strange.len().min(5)].join("\n")
    );
    if recovered == 0 {
        assert_eq!(told, due, "records by (pid, role, reason), told and due");
    }
    assert_eq!(
        told.values().sum::<u64>() + recovered as u64,
        2 * CONNECTIONS as u64
    );
}

fn log(reply: Reply) -> Vec<u64> {
    match reply {
        Reply::Log(log) => log,
        other => panic!("a log was due: {other:?}"),
    }
}

/// (client's, server's) reason.
fn reasons(kind: u8) -> (&'static str, &'static str) {
    match kind {
        CLIENT_CLOSES => ("fin_local", "fin_peer"),
        SERVER_CLOSES => ("fin_peer", "fin_local"),
        CLIENT_LINGER0 => ("abort_linger0", "rst_peer"),
        SERVER_UNREAD => ("rst_peer", "abort_unread"),
        SERVER_LINGER0 => ("rst_peer", "abort_linger0"),
        other => panic!("there is no kind {other}"),
    }
}
