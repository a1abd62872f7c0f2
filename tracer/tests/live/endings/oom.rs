//! Rows 11 and 12: too many orphans. The limit is one number for the whole machine, so these tests run only where
//! that is allowed, and reach it by making orphans, not by forbidding them: others are hardly touched.

use std::{
    fs,
    net::SocketAddr,
    sync::{LazyLock, Mutex},
    time::Instant,
};

use super::*;
use crate::lab::{
    agent::{Agent, Listener, Role},
    needs::Need,
    netns::Netns,
};
use expect::{ABORT_LINGER0, FIN_PEER_RST, OOM_AFTER_FIN, is};

const NEEDS: &[Need] = &[
    Need::Program("ip"),
    Need::Program("nft"),
    Need::GlobalSysctl,
];

pub const ROWS: [Row; 2] = [
    Row::new("oom_in_close", oom_in_close).needs(NEEDS),
    Row::new("oom_in_timer", oom_in_timer).needs(NEEDS),
];

/// The links take turns: the limit is for all.
static TURN: Mutex<()> = Mutex::new(());

const LIMIT: &str = "/proc/sys/net/ipv4/tcp_max_orphans";

/// Orphans that stay: full sockets in FIN_WAIT2, in a namespace where that lasts long.
struct Crowd {
    listener: Listener,
}

const CROWD: usize = 600;

/// The crowd's own, for all links and to the end: the number of a namespace that is gone may be given to the net of the
/// next link, which has no place for the crowd's records.
static ASIDE: LazyLock<Netns> = LazyLock::new(|| {
    let netns = Netns::new();
    netns.ip("link set lo up\n");
    netns
});

impl Crowd {
    fn gather() -> Crowd {
        let agent = Agent::start(Some(&ASIDE), "lab-crowd");
        agent.sysctl("net.ipv4.tcp_fin_timeout", "120");
        let crowd = Crowd {
            listener: agent.listen(SocketAddr::from(([127, 0, 0, 1], 0)), 64),
        };
        for _ in 0..CROWD {
            crowd.one_more();
        }
        crowd
    }

    /// Makes an orphan; the end that it leaves behind.
    fn one_more(&self) -> Sock {
        let Listener { agent, addr, .. } = &self.listener;
        let fd = agent.socket(false, false);
        let mut client = Sock::new(agent, fd, *addr, None, Role::Client);
        client.connect(*addr).expect("a connection");
        let server = self.listener.accept();
        client.close();
        server
    }
}

/// tcp_max_orphans below the crowd's number, until dropped.
struct Scarcity {
    before: String,
}

impl Scarcity {
    /// The kernel compares the limit with a sum of its own, made every 100 ms by a timer that may wait as long as its
    /// processor rests (TIMER_DEFERRABLE), and shown nowhere: only an orphan that is aborted proves it.
    fn begin(crowd: &Crowd) -> Scarcity {
        let before = fs::read_to_string(LIMIT).expect("tcp_max_orphans");
        fs::write(LIMIT, (CROWD / 2).to_string()).expect("root of the initial namespace");
        let scarcity = Scarcity { before };
        let deadline = Instant::now() + PATIENCE;
        while crowd.one_more().state() != CLOSE {
            assert!(Instant::now() < deadline, "no orphan is one too many");
            sleep(Duration::from_millis(20));
        }
        scarcity
    }
}

impl Drop for Scarcity {
    fn drop(&mut self) {
        fs::write(LIMIT, &self.before).expect("restoring tcp_max_orphans");
    }
}

/// Row 11: close(2) sends the FIN, finds too many orphans, and aborts.
pub fn oom_in_close(net: &Net, count: usize) -> Vec<End> {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let pairs = net.pairs(count);
    pairs.iter().for_each(talk);
    // Bare acknowledgements get lost: one of the FIN, before close(2) looks for too many orphans, would leave x in
    // TIME_WAIT.
    let port = pairs[0].listener_port();
    let bare = "tcp flags & (fin | syn | rst | ack) == ack drop";
    net.firewall(&format!(
        "tcp dport {port} {bare}; tcp sport {port} {bare};"
    ));
    let crowd = Crowd::gather();
    let scarcity = Scarcity::begin(&crowd);
    pairs.iter().for_each(|pair| pair.x.close());
    drop(scarcity);
    let mut ends = Vec::new();
    for pair in &pairs {
        wait_for_state(net, &pair.y, CLOSE);
        pair.y.close();
        let (x, y) = both(net, pair, OOM_AFTER_FIN, FIN_PEER_RST);
        ends.push(
            x.closer(&pair.x.agent)
                .want("state", is("fin_wait1"))
                .resets(&[("sent", &["tcp_abort_on_memory"])])
                .io_errors(&[]),
        );
        ends.push(reset_by_peer(y).want("state", is("close_wait")));
    }
    drop(crowd);
    ends
}

/// Row 12: the timer of an orphan finds too many orphans.
pub fn oom_in_timer(net: &Net, count: usize) -> Vec<End> {
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let pairs = net.pairs(count);
    pairs.iter().for_each(talk);
    let crowd = Crowd::gather();
    net.blackhole(pairs[0].listener_port());
    let mut ends = Vec::new();
    for pair in &pairs {
        pair.x.close();
        pair.y.close_linger0();
        let (x, y) = both(net, pair, OOM_AFTER_FIN, ABORT_LINGER0);
        ends.push(
            x.closer(&pair.x.agent)
                .want("state", is("fin_wait1"))
                .resets(&[("sent", &["tcp_abort_on_memory"])])
                .io_errors(&[]),
        );
        ends.push(y.closer(&pair.y.agent));
    }
    let scarcity = Scarcity::begin(&crowd);
    net.wait_until_gone();
    drop(scarcity);
    drop(crowd);
    ends
}
