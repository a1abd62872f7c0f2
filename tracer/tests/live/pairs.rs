//! Both ends of a connection know each other: directly, over a bridge and through NAT. What is right comes from the load
//! itself: the client tells the server each connection's number, and both log the kernel's cookie of their socket.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    Test,
    lab::{
        agent::{
            Agent, Listener, Sock, child,
            meet::{
                Met, Plan,
                Way::{self, *},
            },
            protocol::{Op, Reply},
        },
        docker::{self, Docker},
        link::{LINKS, Link, Net, full_sockets},
        needs::Need,
        netns::Netns,
        tracer::{Line, Recording, Tracer},
    },
};

pub fn tests() -> Vec<Test> {
    let ip = Need::Program("ip");
    let iptables = Need::Program("iptables");
    let mut tests = vec![
        Test::new("pairs::direct", &[ip], direct),
        Test::new("pairs::bridge", &[ip], || told(vec![bridge])),
        Test::new("pairs::nat", &[ip, iptables], || {
            told(vec![redirect, dnat_and_masquerade, service]);
        }),
        Test::new("pairs::docker", &docker::NETWORK_NEEDS, docker_ports),
        Test::new("pairs::same_port_again", &[ip], || {
            told(vec![same_port_again]);
        }),
        Test::new("pairs::syn_cookies", &[ip], || told(vec![syn_cookies])),
        Test::new("pairs::fastopen", &[ip], || told(vec![fastopen])),
        Test::new(
            "pairs::simultaneous_open",
            &[ip, Need::Program("tc"), Need::Qdisc("tbf")],
            || told(vec![simultaneous_open]),
        ),
    ];
    for test in &mut tests {
        test.needs.push(Need::Cookies);
    }
    tests
}

const CONNECTIONS: u32 = 1000;

/// For ends that live on for long: both sides hold theirs, one after the other.
const SECONDS_MS: u64 = 1000;

/// Both orders of ending, RSTs, and ends that live on.
pub const ALL_WAYS: [Way; 7] = [
    ClientFirst,
    ServerFirst,
    ClientFirstServerHolds,
    ServerFirstClientHolds,
    ClientAborts,
    ServerAborts,
    ClientHurries,
];

/// A process and the ends that it had.
pub struct Side {
    pub pid: i32,
    pub comm: String,
    container_id: Option<String>,
    met: Vec<Met>,
}

impl Side {
    fn of(agent: &Agent, met: Vec<Met>) -> Side {
        Side {
            pid: agent.pid,
            comm: agent.comm_text(),
            container_id: None,
            met,
        }
    }
}

/// What happened on one link.
pub struct Meeting {
    pub link: &'static str,
    pub client: Side,
    pub servers: Vec<Side>,
    /// Until everything is told.
    _hosts: Vec<Arc<Netns>>,
    _agents: Vec<Arc<Agent>>,
}

/// The plan of every link; some change a thing or two.
fn plan(addr: SocketAddr) -> Plan {
    Plan {
        addr,
        from: None,
        first: 0,
        count: CONNECTIONS,
        ways: ALL_WAYS.to_vec(),
        threads: 8,
        hold_ms: 100,
        fastopen: false,
    }
}

/// The last connection, which ends the server's work.
fn stop(plan: &Plan, addr: SocketAddr, number: u32) -> Plan {
    Plan {
        addr,
        from: None,
        first: number,
        count: 1,
        ways: vec![Stop],
        hold_ms: 0,
        ..*plan
    }
}

fn call(agent: &Agent, op: Op) -> Vec<Met> {
    match agent.must(op) {
        Reply::Met(met) => met,
        other => panic!("a log was due: {other:?}"),
    }
}

/// Opens and ends the connections. The client reaches the servers at `plan.addr`, and each by itself at its own address.
fn meet(
    link: &'static str,
    client: &Arc<Agent>,
    listeners: &[Listener],
    plan: Plan,
    hosts: Vec<Arc<Netns>>,
) -> Meeting {
    thread::scope(|scope| {
        let greeting: Vec<_> = listeners
            .iter()
            .map(|listener| {
                let op = Op::Greet {
                    fd: listener.fd,
                    hold_ms: plan.hold_ms,
                };
                scope.spawn(move || call(&listener.agent, op))
            })
            .collect();
        let mut met = call(client, Op::Meet(plan.clone()));
        for (last, listener) in (plan.count..).zip(listeners) {
            met.extend(call(client, Op::Meet(stop(&plan, listener.addr, last))));
        }
        let servers = listeners
            .iter()
            .zip(greeting)
            .map(|(listener, greeting)| Side::of(&listener.agent, greeting.join().expect("a log")))
            .collect();
        let agents = listeners.iter().map(|listener| &listener.agent);
        Meeting {
            link,
            client: Side::of(client, met),
            servers,
            _hosts: hosts,
            _agents: agents.chain([client]).map(Arc::clone).collect(),
        }
    })
}

/// Runs them beside each other under one tracer, and judges what it told.
fn told<F: FnOnce() -> Meeting + Send + 'static>(links: Vec<F>) {
    let (meetings, recording) = recorded(links);
    let by_cookie = by_cookie(&recording);
    for meeting in &meetings {
        judge(meeting, &recording, &by_cookie);
    }
}

/// Runs them beside each other under one tracer.
pub fn recorded<F: FnOnce() -> Meeting + Send + 'static>(
    links: Vec<F>,
) -> (Vec<Meeting>, Recording) {
    let tracer = Tracer::start();
    let running: Vec<_> = links.into_iter().map(thread::spawn).collect();
    let meetings: Vec<Meeting> = running
        .into_iter()
        .map(|link| match link.join() {
            Ok(meeting) => meeting,
            Err(panic) => std::panic::resume_unwind(panic),
        })
        .collect();
    for meeting in &meetings {
        let servers = meeting.servers.iter().map(|server| server.pid);
        wait_until_gone(servers.chain([meeting.client.pid]));
    }
    (meetings, tracer.finish())
}

/// Until no full socket is left in the namespaces of these processes.
fn wait_until_gone(pids: impl IntoIterator<Item = i32>) {
    let deadline = Instant::now() + Duration::from_secs(20);
    for pid in pids {
        while !full_sockets(pid).is_empty() {
            let left = full_sockets(pid).join("\n");
            assert!(Instant::now() < deadline, "sockets are left:\n{left}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn by_cookie(recording: &Recording) -> HashMap<u64, Vec<&Line>> {
    let mut ends: HashMap<u64, Vec<&Line>> = HashMap::new();
    for line in recording.ends() {
        let cookie = cookie_in(line, "conn").expect("every end has its socket");
        ends.entry(cookie).or_default().push(line);
    }
    ends
}

/// The socket's number in `conn` or `peer_conn`.
fn cookie_in(line: &Line, key: &str) -> Result<u64, String> {
    line.str(key)
        .and_then(|conn| conn.split_once('-'))
        .and_then(|(_, digits)| u64::from_str_radix(digits, 16).ok())
        .ok_or_else(|| format!("no {key}: {}", line.text))
}

/// One record for each end, and each names the other as the logs do.
fn judge(meeting: &Meeting, recording: &Recording, by_cookie: &HashMap<u64, Vec<&Line>>) {
    let mut wrong = Vec::new();
    let mut unseen = Unseen::new(recording);
    for (number, cookie, server, server_cookie) in meeting.connections() {
        if unseen.excuses(by_cookie, cookie) || unseen.excuses(by_cookie, server_cookie) {
            continue;
        }
        let ends = (record(by_cookie, cookie), record(by_cookie, server_cookie));
        if [&ends.0, &ends.1]
            .into_iter()
            .flatten()
            .any(|line| recording.is_blind(line))
        {
            continue;
        }
        let (Ok(client_end), Ok(server_end)) = ends else {
            wrong.push(format!("{number}: {ends:?}"));
            continue;
        };
        let client = &meeting.client;
        for (own, owner, other, peer) in [
            (client_end, client, server_end, server),
            (server_end, server, client_end, client),
        ] {
            let named = is_of(own, owner)
                && own.json["peer_conn"] == other.json["conn"]
                && own.int("peer_pid") == Some(peer.pid.into())
                && own.str("peer_comm") == Some(&peer.comm)
                && own.str("peer_container_id") == peer.container_id.as_deref()
                && own.str("flow_id").is_some()
                && own.json["flow_id"] == other.json["flow_id"];
            if !named {
                wrong.push(format!("{number}: {}\n    beside {}", own.text, other.text));
            }
        }
    }
    none_wrong(meeting.link, &wrong);
}

fn none_wrong(link: &str, wrong: &[String]) {
    assert!(
        wrong.is_empty(),
        "{link}: {} ends are not paired as they were, such as\n{}",
        wrong.len(),
        wrong[..wrong.len().min(4)].join("\n")
    );
}

/// An end of which there is no record. Where nobody could see the ends of a connection, its ports are not known
/// either, so such ends are counted against the connections that the machine is known to have hidden.
struct Unseen {
    hidden: usize,
}

impl Unseen {
    fn new(recording: &Recording) -> Unseen {
        Unseen {
            hidden: recording.hidden_ends(),
        }
    }

    /// Whether this end may be one of them.
    fn excuses(&mut self, by_cookie: &HashMap<u64, Vec<&Line>>, cookie: u64) -> bool {
        let excused = !by_cookie.contains_key(&cookie) && self.hidden > 0;
        self.hidden -= usize::from(excused);
        excused
    }
}

/// The only record of a socket.
fn record<'a>(by_cookie: &HashMap<u64, Vec<&'a Line>>, cookie: u64) -> Result<&'a Line, String> {
    match by_cookie.get(&cookie).map(Vec::as_slice) {
        Some([line]) => Ok(*line),
        other => Err(format!("{} records", other.map_or(0, <[_]>::len))),
    }
}

impl Meeting {
    /// Number, client's cookie, server, server's cookie, as both logs have them.
    pub fn connections(&self) -> Vec<(u32, u64, &Side, u64)> {
        let mut accepted: BTreeMap<u32, (&Side, u64)> = BTreeMap::new();
        for server in &self.servers {
            for (number, cookie) in &server.met {
                let before = accepted.insert(*number, (server, *cookie));
                assert!(before.is_none(), "{}: {number} came twice", self.link);
            }
        }
        assert_eq!(
            accepted.len(),
            self.client.met.len(),
            "{}: every connection was accepted",
            self.link
        );
        let both = |(number, cookie): &Met| {
            let (server, server_cookie) = accepted[number];
            (*number, *cookie, server, server_cookie)
        };
        self.client.met.iter().map(both).collect()
    }
}

fn is_of(line: &Line, side: &Side) -> bool {
    line.int("pid") == Some(side.pid.into())
        && line.str("comm") == Some(&side.comm)
        && line.str("container_id") == side.container_id.as_deref()
}

/// Over loopback and veth, IPv4 and IPv6.
fn direct() {
    told(LINKS.into_iter().map(|link| move || over(link)).collect());
}

pub fn over(link: Link) -> Meeting {
    let net = Net::new(link);
    let listener = net.listen();
    let plan = Plan {
        hold_ms: SECONDS_MS,
        ..plan(listener.addr)
    };
    let hosts = vec![net.client_ns.clone(), net.server_ns.clone()];
    meet(link.name(), &net.client, &[listener], plan, hosts)
}

/// A namespace with an address on a device that the middle has the other end of.
fn host(middle: &Netns, device: &str, address: &str) -> Arc<Netns> {
    let netns = Netns::new();
    netns.ip(&format!(
        "link set lo up\n\
         link add eth0 type veth peer name {device} netns {}\n\
         address add {address} dev eth0\n\
         link set eth0 up\n",
        middle.path()
    ));
    middle.ip(&format!("link set dev {device} up\n"));
    Arc::new(netns)
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Two hosts on a Linux bridge.
fn bridge() -> Meeting {
    let middle = Arc::new(Netns::new());
    middle.ip("link add br0 type bridge\nlink set br0 up\n");
    let client_ns = host(&middle, "a", "10.79.0.1/24");
    let server_ns = host(&middle, "b", "10.79.0.2/24");
    for device in ["a", "b"] {
        middle.run(&format!("ip link set dev {device} master br0"));
    }
    let client = Agent::start(Some(&client_ns), "lab-client");
    let server = Agent::start(Some(&server_ns), "lab-server");
    let listener = server.listen(addr("10.79.0.2:0"), 256);
    let plan = plan(listener.addr);
    let hosts = vec![middle, client_ns, server_ns];
    meet("bridge", &client, &[listener], plan, hosts)
}

/// A port of this host that is another one.
fn redirect() -> Meeting {
    let netns = Arc::new(Netns::new());
    netns.ip("link set lo up\n");
    let client = Agent::start(Some(&netns), "lab-client");
    let server = Agent::start(Some(&netns), "lab-server");
    let listener = server.listen(addr("127.0.0.1:0"), 256);
    let port = listener.addr.port();
    netns.run(&format!(
        "iptables -w -t nat -A OUTPUT -p tcp --dport 80 -j REDIRECT --to-ports {port}"
    ));
    let plan = plan(addr("127.0.0.1:80"));
    meet("redirect", &client, &[listener], plan, vec![netns])
}

/// A client and a server with a router between them.
struct Routed {
    router: Arc<Netns>,
    client_ns: Arc<Netns>,
    server_ns: Arc<Netns>,
}

const SERVER_IP: &str = "10.78.2.2";

impl Routed {
    fn new() -> Routed {
        let router = Arc::new(Netns::new());
        let client_ns = host(&router, "a", "10.78.1.2/24");
        let server_ns = host(&router, "b", "10.78.2.2/24");
        router
            .ip("link set lo up\naddress add 10.78.1.1/24 dev a\naddress add 10.78.2.1/24 dev b\n");
        client_ns.run("ip route add default via 10.78.1.1");
        server_ns.run("ip route add default via 10.78.2.1");
        router.within(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("root"));
        Routed {
            router,
            client_ns,
            server_ns,
        }
    }

    fn nat(&self, rule: &str) {
        self.router.run(&format!("iptables -w -t nat {rule}"));
    }

    fn hosts(self) -> Vec<Arc<Netns>> {
        vec![self.router, self.client_ns, self.server_ns]
    }
}

/// Neither end sees the other's address.
pub fn dnat_and_masquerade() -> Meeting {
    let net = Routed::new();
    let client = Agent::start(Some(&net.client_ns), "lab-client");
    let server = Agent::start(Some(&net.server_ns), "lab-server");
    let listener = server.listen(addr("10.78.2.2:0"), 256);
    let to = listener.addr;
    net.nat(&format!(
        "-A PREROUTING -d 10.78.1.1 -p tcp --dport 80 -j DNAT --to-destination {to}"
    ));
    net.nat("-A POSTROUTING -o b -j MASQUERADE");
    let plan = Plan {
        hold_ms: SECONDS_MS,
        ..plan(addr("10.78.1.1:80"))
    };
    meet(
        "DNAT and MASQUERADE",
        &client,
        &[listener],
        plan,
        net.hosts(),
    )
}

/// The chains that kube-proxy makes of a service with three endpoints.
fn service() -> Meeting {
    let net = Routed::new();
    let client = Agent::start(Some(&net.client_ns), "lab-client");
    let listeners: Vec<Listener> = (0..3)
        .map(|number| {
            let server = Agent::start(Some(&net.server_ns), &format!("lab-server-{number}"));
            server.listen(addr(&format!("{SERVER_IP}:0")), 256)
        })
        .collect();
    for rule in [
        "-N KUBE-SERVICES",
        "-N KUBE-SVC",
        "-N KUBE-POSTROUTING",
        "-N KUBE-MARK-MASQ",
        "-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000",
        "-A KUBE-POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE --random-fully",
        "-A POSTROUTING -j KUBE-POSTROUTING",
        "-A PREROUTING -j KUBE-SERVICES",
        "-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp --dport 80 -j KUBE-SVC",
        "-A KUBE-SVC -j KUBE-MARK-MASQ",
    ] {
        net.nat(rule);
    }
    for (number, listener) in listeners.iter().enumerate() {
        let to = listener.addr;
        net.nat(&format!("-N KUBE-SEP-{number}"));
        net.nat(&format!(
            "-A KUBE-SEP-{number} -p tcp -j DNAT --to-destination {to}"
        ));
        let chance = match listeners.len() - number {
            1 => String::new(),
            left => format!(
                "-m statistic --mode random --probability {}",
                1.0 / left as f64
            ),
        };
        net.nat(&format!("-A KUBE-SVC {chance} -j KUBE-SEP-{number}"));
    }
    let plan = plan(addr("10.96.0.10:80"));
    let meeting = meet("service", &client, &listeners, plan, net.hosts());
    for server in &meeting.servers {
        assert!(server.met.len() > 100, "the rules choose at random");
    }
    meeting
}

/// The same two ports within a moment, after a RST, and from TIME_WAIT at the server.
pub fn same_port_again() -> Meeting {
    let net = Net::new(Link::VethV4);
    let listener = net.listen();
    let plan = Plan {
        from: Some(SocketAddr::new(net.client_ip, 30_001)),
        ways: vec![ServerFirst, ClientAborts, ServerAborts, ServerFirst],
        threads: 1,
        hold_ms: 0,
        ..plan(listener.addr)
    };
    let hosts = vec![net.client_ns.clone(), net.server_ns.clone()];
    meet("the same port", &net.client, &[listener], plan, hosts)
}

/// The server keeps nothing of a handshake until it is over.
fn syn_cookies() -> Meeting {
    let net = Net::new(Link::VethV4);
    net.sysctl("net.ipv4.tcp_syncookies", "2");
    let listener = net.listen();
    let plan = plan(listener.addr);
    let hosts = vec![net.client_ns.clone(), net.server_ns.clone()];
    meet("SYN cookies", &net.client, &[listener], plan, hosts)
}

/// Payload on both sides before either is ESTABLISHED.
fn fastopen() -> Meeting {
    let net = Net::new(Link::VethV4);
    // Client and server, without a cookie, for every listener.
    net.sysctl("net.ipv4.tcp_fastopen", &0x607.to_string());
    let listener = net.listen();
    let plan = Plan {
        fastopen: true,
        ..plan(listener.addr)
    };
    let hosts = vec![net.client_ns.clone(), net.server_ns.clone()];
    meet("fast open", &net.client, &[listener], plan, hosts)
}

/// The SYNs cross on the wire, because a queue holds both back until both sides have sent theirs.
fn simultaneous_open() -> Meeting {
    let net = Net::new(Link::VethV4);
    let mut pairs: Vec<(Sock, Sock)> = (0..50)
        .map(|number| {
            let bound = |agent: &Arc<Agent>, ip: IpAddr| {
                let mut sock = Sock::open(agent, false);
                sock.local = SocketAddr::new(ip, 30_000 + number);
                let (fd, addr) = (sock.fd, sock.local);
                agent.must(Op::Bind { fd, addr });
                sock
            };
            (
                bound(&net.client, net.client_ip),
                bound(&net.server, net.server_ip),
            )
        })
        .collect();
    net.hold_back();
    for (x, y) in &mut pairs {
        x.connect_start(y.local);
        y.connect_start(x.local);
    }
    net.let_go();
    let (mut met_x, mut met_y) = (Vec::new(), Vec::new());
    for (number, (x, y)) in (0..).zip(&mut pairs) {
        x.connect_wait().expect("a connection");
        y.connect_wait().expect("a connection");
        met_x.push((number, x.cookie()));
        met_y.push((number, y.cookie()));
        let (first, second) = if number % 2 == 0 { (x, y) } else { (y, x) };
        first.close();
        second.read_eof();
        second.close();
    }
    Meeting {
        link: "a simultaneous open",
        client: Side::of(&net.client, met_x),
        servers: vec![Side::of(&net.server, met_y)],
        _hosts: vec![net.client_ns.clone(), net.server_ns.clone()],
        _agents: vec![net.client, net.server],
    }
}

/// A container's published port: from another host by DNAT, and from the container's own through docker-proxy.
fn docker_ports() {
    let docker_ns = Arc::new(Netns::new());
    docker_ns.ip("link set dev lo up\n");
    let outside_ns = host(&docker_ns, "outside", "10.78.1.2/24");
    docker_ns.run("ip address add 10.78.1.1/24 dev outside");
    let docker = Docker::start_in(&docker_ns);
    docker.import_program(&std::env::current_exe().expect("this program"), "lab:1");
    let tracer = Tracer::start();
    let (outside, inside) = thread::scope(|scope| {
        let outside = scope.spawn(|| {
            let addr = addr("10.78.1.1:81");
            published("DNAT by Docker", &docker, &outside_ns, addr, &ALL_WAYS)
        });
        let inside = scope.spawn(|| {
            let addr = addr("127.0.0.1:82");
            // The proxy passes no RST on.
            published("docker-proxy", &docker, &docker_ns, addr, &ALL_WAYS[..4])
        });
        let both = (outside.join(), inside.join());
        both.0.and_then(|outside| Ok((outside, both.1?)))
    })
    .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    wait_until_gone([outside.client.pid, inside.client.pid]);
    let recording = tracer.finish();
    let by_cookie = by_cookie(&recording);
    judge(&outside, &recording, &by_cookie);
    judge_proxied(&inside, &recording, &by_cookie);
}

/// The load against the port of `addr`, which leads to a container of its own.
fn published(
    link: &'static str,
    docker: &Docker,
    from: &Arc<Netns>,
    addr: SocketAddr,
    ways: &[Way],
) -> Meeting {
    let program = std::env::current_exe().expect("this program");
    let program = program.to_str().expect("a path of ours");
    let role = format!("{}=greeter", child::ROLE);
    let comm = format!("{}=lab-greeter", child::COMM);
    let greet = format!("{}=0.0.0.0:80", child::GREET);
    let publish = format!("{}:80", addr.port());
    let container = docker.start_container(&[
        "--env",
        &role,
        "--env",
        &comm,
        "--env",
        &greet,
        "--publish",
        &publish,
        "lab:1",
        program,
    ]);
    container.says(child::GREETS, Duration::from_secs(20));
    let client = Agent::start(Some(from), "lab-client");
    let plan = Plan {
        ways: ways.to_vec(),
        ..plan(addr)
    };
    let mut met = call(&client, Op::Meet(plan.clone()));
    met.extend(call(&client, Op::Meet(stop(&plan, addr, plan.count))));
    let output = container.output();
    let log = output.lines().last().expect("a log");
    let server = Side {
        pid: container.pid,
        comm: "lab-greeter".to_owned(),
        container_id: Some(container.id.clone()),
        met: serde_json::from_str(log).expect("a log"),
    };
    Meeting {
        link,
        client: Side::of(&client, met),
        servers: vec![server],
        _hosts: vec![Arc::clone(from)],
        _agents: vec![client],
    }
}

/// Each connection is two: the proxy is the other end of both.
fn judge_proxied(meeting: &Meeting, recording: &Recording, by_cookie: &HashMap<u64, Vec<&Line>>) {
    let mut wrong = Vec::new();
    let mut unseen = Unseen::new(recording);
    let mut proxies = BTreeSet::new();
    for (number, cookie, server, server_cookie) in meeting.connections() {
        for (side, cookie) in [(&meeting.client, cookie), (server, server_cookie)] {
            if unseen.excuses(by_cookie, cookie) {
                continue;
            }
            let own = record(by_cookie, cookie);
            if own.as_ref().is_ok_and(|own| recording.is_blind(own)) {
                continue;
            }
            let ends = own.and_then(|own| {
                let peer = cookie_in(own, "peer_conn")?;
                Ok((own, record(by_cookie, peer)?))
            });
            let (own, other) = match ends {
                Ok(ends) => ends,
                Err(problem) => {
                    wrong.push(format!("{number}: {problem}"));
                    continue;
                }
            };
            let new = proxies.insert(other.str("conn"));
            let named = new
                && is_of(own, side)
                && own.str("peer_comm") == Some("docker-proxy")
                && own.json["peer_pid"] == other.json["pid"]
                && other.str("comm") == Some("docker-proxy")
                && other.json["peer_conn"] == own.json["conn"]
                && other.int("peer_pid") == Some(side.pid.into())
                && other.str("peer_container_id") == side.container_id.as_deref()
                && own.json["flow_id"] == other.json["flow_id"];
            if !named {
                wrong.push(format!("{number}: {}\n    beside {}", own.text, other.text));
            }
        }
    }
    none_wrong(meeting.link, &wrong);
}
