//! Who owned the socket: not whatever ran on the CPU, and not always who opened it.

use std::{
    net::SocketAddr,
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use crate::{
    Test,
    lab::{
        agent::{
            Agent, Role, Sock,
            protocol::{Op, Reply, UringOp},
        },
        expect::{
            ABORT_LINGER0, End, FIN_LOCAL, FIN_PEER, RST_PEER, TIMEOUT_ORPHAN, Want, is, judge,
            null, one_of,
        },
        link::{LINKS, Net, Pair},
        needs::Need,
        tracer::{Line, Tracer},
    },
    rows::on_links,
};

/// Each on four links.
const TIMES: usize = 11;

pub fn tests() -> Vec<Test> {
    let test = |name: &str, body: fn(&Net) -> Vec<End>| {
        Test::new(
            format!("owners::{name}"),
            &[Need::Program("ip")],
            move || told(body),
        )
    };
    vec![
        test("prefork_worker", prefork_worker),
        test("passed_by_scm_rights", passed_by_scm_rights),
        test("inherited_over_fork", inherited_over_fork),
        test("inherited_over_exec", inherited_over_exec),
        test("reset_after_exec", reset_after_exec),
        test("never_accepted", never_accepted),
        test("io_uring", io_uring),
        test("io_uring_worker", io_uring_worker),
        test("thread", thread),
        test("hostile_names", hostile_names),
        test("renamed_later", renamed_later),
        test("other_uid", other_uid),
        test("duplicate_descriptor", duplicate_descriptor),
        test(
            "killed_parent_lives_on_in_child",
            killed_parent_lives_on_in_child,
        ),
        Test::new(
            "owners::orphans_outlive_their_namespace",
            &[Need::Program("ip"), Need::Program("nft")],
            orphans_outlive_their_namespace,
        ),
        Test::new(
            "owners::opened_before_the_tracer",
            &[Need::Program("ip")],
            opened_before_the_tracer,
        ),
    ]
}

fn told(body: fn(&Net) -> Vec<End>) {
    let tracer = Tracer::start();
    let labs = on_links(&LINKS, |link| {
        let net = Net::new(link);
        let ends = body(&net);
        net.wait_until_gone();
        (net, ends)
    });
    let recording = tracer.finish();
    let namespaces: Vec<u64> = labs.iter().flat_map(|(net, _)| net.inodes()).collect();
    let ends: Vec<End> = labs.iter().flat_map(|(_, ends)| ends.clone()).collect();
    judge(&recording, &namespaces, &ends);
}

/// Both ways on a connection, so that its present owner has done I/O.
fn talk(a: &Sock, b: &Sock) {
    a.write(64);
    b.read(64);
    b.write(32);
    a.read(32);
}

/// `closing` closes, `other` follows.
fn close(net: &Net, closing: &Sock, other: &Sock) -> [End; 2] {
    closing.close();
    other.read_eof();
    other.close();
    [
        End::of(net, closing, Some(other), FIN_LOCAL).closer(&closing.agent),
        End::of(net, other, Some(closing), FIN_PEER).closer(&other.agent),
    ]
}

/// `aborting` sends a RST; the owner of `other` does nothing at that time.
fn abort(net: &Net, aborting: &Sock, other: &Sock) -> [End; 2] {
    other.settle();
    aborting.close_linger0();
    net.wait_for("the RST", Duration::from_secs(10), || other.state() == 7);
    other.close();
    [
        End::of(net, aborting, Some(other), ABORT_LINGER0).closer(&aborting.agent),
        End::of(net, other, Some(aborting), RST_PEER).no_closer(),
    ]
}

/// The master listens; its workers accept.
fn prefork_worker(net: &Net) -> Vec<End> {
    let master = Agent::start(Some(&net.server_ns), "lab-master");
    let listener = master.listen(SocketAddr::new(net.server_ip, 0), 64);
    let workers: Vec<Arc<Agent>> = (0..3)
        .map(|number| {
            let worker = master.fork();
            worker.rename(format!("lab-worker-{number}").as_bytes());
            worker
        })
        .collect();
    let mut ends = Vec::new();
    for number in 0..TIMES {
        let mut client = net.socket();
        client.connect(listener.addr).expect("a connection");
        let server = listener.accept_by(&workers[number % 3]);
        talk(&client, &server);
        ends.extend(match number % 2 {
            0 => close(net, &server, &client),
            _ => abort(net, &client, &server),
        });
    }
    for agent in workers.iter().chain([&master]) {
        agent.must(Op::Close { fd: listener.fd });
    }
    ends
}

/// One process accepts, another gets the socket and works with it.
fn passed_by_scm_rights(net: &Net) -> Vec<End> {
    let listener = net.listen();
    let worker = Agent::start(Some(&net.server_ns), "lab-receiver");
    let (via, at) = Agent::passage(&net.server, &worker);
    let mut ends = Vec::new();
    for number in 0..TIMES {
        let (client, accepted) = net.connect(&listener);
        net.server.must(Op::SendFd {
            via,
            fd: accepted.fd,
        });
        accepted.close();
        let Reply::Fd(fd) = worker.must(Op::RecvFd { via: at }) else {
            panic!("a descriptor was due")
        };
        let server = accepted.held_by(&worker, fd);
        talk(&client, &server);
        ends.extend(match number % 2 {
            0 => close(net, &server, &client),
            _ => abort(net, &client, &server),
        });
    }
    listener.close();
    ends
}

/// The parent connects and closes its copy; the child works with its own.
fn inherited_over_fork(net: &Net) -> Vec<End> {
    let listener = net.listen();
    let mut ends = Vec::new();
    for number in 0..TIMES {
        let parent = Agent::start(Some(&net.client_ns), "lab-parent");
        let mut opened = Sock::open(&parent, net.link.is_v6());
        opened.connect(listener.addr).expect("a connection");
        let server = listener.accept();
        let child = parent.fork();
        child.rename(b"lab-child");
        opened.close();
        let client = opened.held_by(&child, opened.fd);
        talk(&client, &server);
        ends.extend(match number % 2 {
            0 => close(net, &client, &server),
            _ => abort(net, &server, &client),
        });
    }
    listener.close();
    ends
}

/// The same process, another program.
fn inherited_over_exec(net: &Net) -> Vec<End> {
    let listener = net.listen();
    let mut ends = Vec::new();
    for _ in 0..TIMES {
        let agent = Agent::start(Some(&net.client_ns), "lab-before-exec");
        let mut client = Sock::open(&agent, net.link.is_v6());
        client.connect(listener.addr).expect("a connection");
        let server = listener.accept();
        agent.exec(&[client.fd], "lab-after-exec");
        talk(&client, &server);
        ends.extend(close(net, &client, &server));
    }
    listener.close();
    ends
}

/// The program changes, and the peer ends the connection before the new one has touched it.
fn reset_after_exec(net: &Net) -> Vec<End> {
    let listener = net.listen();
    let mut ends = Vec::new();
    for _ in 0..TIMES {
        let agent = Agent::start(Some(&net.client_ns), "lab-before-exec");
        let mut client = Sock::open(&agent, net.link.is_v6());
        client.connect(listener.addr).expect("a connection");
        let server = listener.accept();
        agent.exec(&[client.fd], "lab-after-exec");
        ends.extend(abort(net, &server, &client));
    }
    listener.close();
    ends
}

/// The client aborts while its connection waits in the accept queue: it is the listener's.
fn never_accepted(net: &Net) -> Vec<End> {
    let listener = net.listen();
    let mut ends = Vec::new();
    for number in 0..TIMES {
        let mut client = net.socket();
        client.connect(listener.addr).expect("a connection");
        client.write(5 + number);
        client.settle();
        client.close_linger0();
        let child = Sock::new(
            &net.server,
            -1,
            listener.addr,
            Some(client.local),
            Role::Server,
        );
        ends.push(End::of(net, &client, Some(&child), ABORT_LINGER0).closer(&client.agent));
        ends.push(
            End::of(net, &child, Some(&client), RST_PEER)
                .no_closer()
                .want("attribution", is("listener")),
        );
    }
    net.wait_until_gone();
    // The descriptors of the dead are still handed out; nothing more is to be told of them.
    for _ in 0..TIMES {
        let Reply::Accepted { fd, .. } = net.server.must(Op::Accept { fd: listener.fd }) else {
            panic!("a socket was due")
        };
        net.server.must(Op::Close { fd });
    }
    listener.close();
    ends
}

fn io_uring(net: &Net) -> Vec<End> {
    by_ring(net, false)
}

/// Through the ring's worker threads, whose names are not the owner's.
fn io_uring_worker(net: &Net) -> Vec<End> {
    by_ring(net, true)
}

fn by_ring(net: &Net, async_worker: bool) -> Vec<End> {
    let listener = net.listen();
    let mut ends = Vec::new();
    for number in 0..TIMES {
        let agent = Agent::start(Some(&net.client_ns), "lab-uring");
        let mut client = Sock::open(&agent, net.link.is_v6());
        client.peer = Some(listener.addr);
        client.uring(
            UringOp::Connect {
                addr: listener.addr,
            },
            async_worker,
        );
        let client = client.renamed();
        let server = listener.accept();
        client.uring(UringOp::Send { len: 64 }, async_worker);
        server.read(64);
        server.write(32);
        client.uring(UringOp::Recv { len: 32 }, async_worker);
        let [mut x, y] = if number % 2 == 0 {
            client.uring(UringOp::Close, async_worker);
            server.read_eof();
            server.close();
            [
                End::of(net, &client, Some(&server), FIN_LOCAL).closer(&agent),
                End::of(net, &server, Some(&client), FIN_PEER).closer(&server.agent),
            ]
        } else {
            let [y, x] = abort(net, &server, &client);
            [x, y]
        };
        if async_worker {
            x = x.want("tid", Want::NotNull);
        }
        ends.extend([x, y]);
    }
    listener.close();
    ends
}

/// A thread that is not the leader does everything. ASSUMPTION: `tid` is any of those that acted.
fn thread(net: &Net) -> Vec<End> {
    let listener = net.listen();
    let mut ends = Vec::new();
    for number in 0..TIMES {
        let agent = Agent::start(Some(&net.client_ns), "lab-leader");
        let mut tids = Vec::new();
        let mut act = |op: Op| {
            let op = Op::InThread {
                name: format!("lab-thread-{number}"),
                op: Box::new(op),
            };
            match agent.must(op) {
                Reply::Threaded { tid, reply } => {
                    tids.push(tid);
                    *reply
                }
                other => panic!("a thread was due: {other:?}"),
            }
        };
        let opened = Sock::open(&agent, net.link.is_v6());
        let fd = opened.fd;
        let Reply::Names { local, .. } = act(Op::Connect {
            fd,
            addr: listener.addr,
        }) else {
            panic!("a connection was due")
        };
        let client = Sock::new(&agent, fd, local, Some(listener.addr), Role::Client);
        let server = listener.accept();
        server.write(32);
        act(Op::Read { fd, len: 32 });
        act(Op::Close { fd });
        server.read_eof();
        server.close();
        ends.push(
            End::of(net, &client, Some(&server), FIN_LOCAL)
                .closer(&agent)
                .int("rx_unread_bytes", 0)
                .want("tid", one_of(tids)),
        );
        ends.push(End::of(net, &server, Some(&client), FIN_PEER).closer(&server.agent));
    }
    listener.close();
    ends
}

/// Names that would break a line, a terminal or a parser.
const HOSTILE: &[&[u8]] = &[
    b"quote\"back\\slash",
    b"\x1b[31mred\x1b[0m",
    b"two\nlines\r",
    b"bad\xff\xfeutf8",
    b"cut\xe2\x82",
    b"tab\tbell\x07del\x7f",
    "grün€".as_bytes(),
    b"{\"v\":1}",
    b"</script>",
    b" ",
    b"\xed\xa0\x80surrogate",
];

fn hostile_names(net: &Net) -> Vec<End> {
    let listener = net.listen();
    let mut ends = Vec::new();
    for (number, name) in HOSTILE.iter().enumerate() {
        let agent = Agent::start(Some(&net.client_ns), "lab-nice");
        agent.rename(name);
        let mut client = Sock::open(&agent, net.link.is_v6());
        client.connect(listener.addr).expect("a connection");
        let server = listener.accept();
        talk(&client, &server);
        ends.extend(match number % 2 {
            0 => close(net, &client, &server),
            _ => abort(net, &server, &client),
        });
    }
    listener.close();
    ends
}

/// Renamed after the connect. ASSUMPTION: a closer is named as it is when it closes; an owner as it is at its last I/O.
fn renamed_later(net: &Net) -> Vec<End> {
    let listener = net.listen();
    let mut ends = Vec::new();
    for _ in 0..TIMES {
        let agent = Agent::start(Some(&net.client_ns), "lab-old-name");
        let mut client = Sock::open(&agent, net.link.is_v6());
        client.connect(listener.addr).expect("a connection");
        let server = listener.accept();
        agent.rename(b"lab-new-name");
        talk(&client, &server);
        ends.extend(close(net, &client, &server));
    }
    listener.close();
    ends
}

/// The socket's uid, not the tracer's.
fn other_uid(net: &Net) -> Vec<End> {
    let listener = net.listen();
    let mut ends = Vec::new();
    for _ in 0..TIMES {
        let agent = Agent::start(Some(&net.client_ns), "lab-nobody");
        agent.must(Op::SetUid { uid: 65534 });
        let mut client = Sock::open(&agent, net.link.is_v6());
        client.connect(listener.addr).expect("a connection");
        let server = listener.accept();
        talk(&client, &server);
        let [x, y] = close(net, &client, &server);
        ends.extend([x.want("uid", is(65534)), y]);
    }
    listener.close();
    ends
}

/// A closed copy is no end.
fn duplicate_descriptor(net: &Net) -> Vec<End> {
    let listener = net.listen();
    let mut ends = Vec::new();
    for _ in 0..TIMES {
        let (client, server) = net.connect(&listener);
        let Reply::Fd(copy) = net.client.must(Op::Dup { fd: client.fd }) else {
            panic!("a descriptor was due")
        };
        client.close();
        let client = client.held_by(&net.client, copy);
        talk(&client, &server);
        ends.extend(close(net, &client, &server));
    }
    listener.close();
    ends
}

/// A master is killed; the socket that its child has inherited lives on, and is the child's.
fn killed_parent_lives_on_in_child(net: &Net) -> Vec<End> {
    let listener = net.listen();
    let mut ends = Vec::new();
    for _ in 0..TIMES {
        let parent = Agent::start(Some(&net.client_ns), "lab-parent");
        let mut opened = Sock::open(&parent, net.link.is_v6());
        opened.connect(listener.addr).expect("a connection");
        let server = listener.accept();
        let child = parent.fork();
        child.rename(b"lab-orphan");
        parent.kill(Signal::SIGKILL);
        let client = opened.held_by(&child, opened.fd);
        talk(&client, &server);
        ends.extend(close(net, &client, &server));
    }
    listener.close();
    ends
}

/// Everything that had the namespace open is gone, processes included; its orphans still retransmit in it, hold it, and
/// die of that. (So no socket of a program ever ends by the end of its namespace, row 31.)
fn orphans_outlive_their_namespace() {
    let tracer = Tracer::start();
    let labs = on_links(&LINKS, |link| {
        let net = Net::new(link);
        net.sysctl("net.ipv4.tcp_orphan_retries", "3");
        let pairs = net.pairs(TIMES);
        for pair in &pairs {
            talk(&pair.x, &pair.y);
            pair.x.settle();
            pair.y.settle();
        }
        net.blackhole(pairs[0].listener_port());
        let mut ends = Vec::new();
        for pair in &pairs {
            pair.x.close();
            pair.y.close();
            ends.push(End::of(&net, &pair.x, Some(&pair.y), TIMEOUT_ORPHAN).closer(&pair.x.agent));
            ends.push(End::of(&net, &pair.y, Some(&pair.x), TIMEOUT_ORPHAN).closer(&pair.y.agent));
        }
        (net.inodes(), [net.client.pid, net.server.pid], ends)
    });
    let ends: Vec<End> = labs.iter().flat_map(|(.., ends)| ends.clone()).collect();
    let namespaces: Vec<u64> = labs.iter().flat_map(|(inodes, ..)| *inodes).collect();
    // The number of a namespace that is gone may already be another one's, but its processes are not ours.
    let ours = |line: &Line| {
        let pid = line.int("pid");
        labs.iter()
            .any(|(_, pids, _)| pids.map(i64::from).map(Some).contains(&pid))
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    let told = || {
        tracer
            .lines()
            .iter()
            .filter(|line| line.is_end() && ours(line))
            .count()
    };
    while told() < ends.len() && Instant::now() < deadline {
        sleep(Duration::from_millis(100));
    }
    let mut recording = tracer.finish();
    recording.lines.retain(|line| !line.is_end() || ours(line));
    judge(&recording, &namespaces, &ends);
}

/// Connections and a listener that are older than the tracer.
fn opened_before_the_tracer() {
    let mut labs = on_links(&LINKS, |link| {
        let net = Net::new(link);
        let listener = net.listen();
        let pairs: Vec<Pair> = (0..TIMES)
            .map(|number| {
                let (client, server) = net.connect(&listener);
                talk(&client, &server);
                match number % 2 {
                    0 => Pair {
                        x: client,
                        y: server,
                        number,
                    },
                    _ => Pair {
                        x: server,
                        y: client,
                        number,
                    },
                }
            })
            .collect();
        // The last one is half closed already.
        let (client, server) = net.connect(&listener);
        client.shutdown(crate::lab::agent::protocol::Half::Write);
        server.read_eof();
        (net, listener, pairs, client, server)
    });
    let tracer = Tracer::start();
    let mut ends = Vec::new();
    for (net, listener, pairs, client, server) in &mut labs {
        let old = |end: End| {
            // Exact, or admitted to be unknown.
            end.want("preexisting", is(true))
                .want("age_ms", null())
                .want("end_age_ms", null())
                .want("half_close_ms", Want::Any)
                .want("role", one_of(["client", "server", "unknown"]))
        };
        for pair in pairs.iter() {
            talk(&pair.x, &pair.y);
            let told = match pair.number % 3 {
                0 => abort(net, &pair.x, &pair.y),
                _ => close(net, &pair.x, &pair.y),
            };
            ends.extend(told.map(|end| old(end).want("attribution", one_of(["scan", "io"]))));
        }
        // Accepted after the start from a listener that is older.
        let (x, y) = net.connect(listener);
        talk(&x, &y);
        ends.extend(close(net, &x, &y));
        // The first end was not seen: closed_by and tx_after_fin_bytes may be unknown, but not wrong.
        server.write(100);
        client.read(100);
        server.close();
        client.read_eof();
        client.close();
        ends.push(
            old(End::of(net, client, Some(server), FIN_LOCAL))
                .want("closed_by", one_of(["local", "unknown"]))
                .want("attribution", one_of(["scan", "io"])),
        );
        ends.push(
            old(End::of(net, server, Some(client), FIN_PEER))
                .want("closed_by", one_of(["peer", "unknown"]))
                .want("tx_after_fin_bytes", null())
                .want("attribution", one_of(["scan", "io"])),
        );
        listener.close();
        net.wait_until_gone();
    }
    let recording = tracer.finish();
    let namespaces: Vec<u64> = labs.iter().flat_map(|(net, ..)| net.inodes()).collect();
    judge(&recording, &namespaces, &ends);
}
