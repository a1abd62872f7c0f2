//! The four ways in which the two ends of a test are joined, and the namespaces that each needs.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    agent::{Agent, Listener, Role, Sock},
    netns::Netns,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    LoV4,
    LoV6,
    VethV4,
    VethV6,
}

pub const LINKS: [Link; 4] = [Link::LoV4, Link::LoV6, Link::VethV4, Link::VethV6];

impl Link {
    pub fn name(self) -> &'static str {
        match self {
            Link::LoV4 => "lo_v4",
            Link::LoV6 => "lo_v6",
            Link::VethV4 => "veth_v4",
            Link::VethV6 => "veth_v6",
        }
    }

    pub fn is_v6(self) -> bool {
        matches!(self, Link::LoV6 | Link::VethV6)
    }

    pub fn is_veth(self) -> bool {
        matches!(self, Link::VethV4 | Link::VethV6)
    }

    /// (client's, server's) address.
    fn addresses(self) -> (IpAddr, IpAddr) {
        let (a, b) = match self {
            Link::LoV4 => ("127.0.0.1", "127.0.0.1"),
            Link::LoV6 => ("::1", "::1"),
            Link::VethV4 => ("10.77.0.1", "10.77.0.2"),
            Link::VethV6 => ("fd77::1", "fd77::2"),
        };
        (
            a.parse().expect("an address"),
            b.parse().expect("an address"),
        )
    }
}

/// Two hosts joined by a link, with one agent on each. On loopback both are the same namespace.
pub struct Net {
    pub link: Link,
    pub client_ns: Arc<Netns>,
    pub server_ns: Arc<Netns>,
    pub client: Arc<Agent>,
    pub server: Arc<Agent>,
    pub client_ip: IpAddr,
    pub server_ip: IpAddr,
}

/// In /proc/net/tcp: the state of a listener, and the timer of a socket in TIME_WAIT (whatever state it shows).
const LISTEN: &str = "0A";
const TIME_WAIT_TIMER: &str = "03:";

impl Net {
    pub fn new(link: Link) -> Net {
        let client_ns = Arc::new(Netns::new());
        let server_ns = if link.is_veth() {
            Arc::new(Netns::new())
        } else {
            Arc::clone(&client_ns)
        };
        client_ns.ip("link set lo up\n");
        if link.is_veth() {
            server_ns.ip("link set lo up\n");
            // No duplicate address detection: it would delay the first packets by a second.
            client_ns.ip(&format!(
                "link add veth0 type veth peer name veth0 netns {}\n\
                 address add 10.77.0.1/24 dev veth0\n\
                 address add fd77::1/64 dev veth0 nodad\n\
                 link set veth0 up\n",
                server_ns.path()
            ));
            server_ns.ip("address add 10.77.0.2/24 dev veth0\n\
                 address add fd77::2/64 dev veth0 nodad\n\
                 link set veth0 up\n");
        }
        let (client_ip, server_ip) = link.addresses();
        if link.is_veth() {
            // The neighbours must know each other, or the first connection measures that as its round trip.
            greet((&client_ns, client_ip), (&server_ns, server_ip));
            greet((&server_ns, server_ip), (&client_ns, client_ip));
        }
        Net {
            link,
            client: Agent::start(Some(&client_ns), "lab-client"),
            server: Agent::start(Some(&server_ns), "lab-server"),
            client_ns,
            server_ns,
            client_ip,
            server_ip,
        }
    }

    /// The inodes of its namespaces.
    pub fn inodes(&self) -> [u64; 2] {
        [self.client_ns.inode(), self.server_ns.inode()]
    }

    /// Sets a sysctl of /proc/sys/net on both hosts.
    pub fn sysctl(&self, key: &str, value: &str) {
        self.client.sysctl(key, value);
        if self.link.is_veth() {
            self.server.sysctl(key, value);
        }
    }

    /// Runs a script of nft on both hosts.
    pub fn nft(&self, script: &str) {
        self.client_ns.nft(script);
        if self.link.is_veth() {
            self.server_ns.nft(script);
        }
    }

    pub fn listen(&self) -> Listener {
        self.listen_with(256)
    }

    pub fn listen_with(&self, backlog: i32) -> Listener {
        self.server
            .listen(SocketAddr::new(self.server_ip, 0), backlog)
    }

    /// A fresh socket of the client's.
    pub fn socket(&self) -> Sock {
        Sock::open(&self.client, self.link.is_v6())
    }

    /// One established connection: (client's end, server's end).
    pub fn connect(&self, listener: &Listener) -> (Sock, Sock) {
        let mut client = self.socket();
        client.connect(listener.addr).expect("a connection");
        let server = listener.accept();
        assert_eq!(
            server.peer,
            Some(client.local),
            "accepted another connection"
        );
        (client, server)
    }

    /// `count` established connections, as (actor, other): the actor is in turn the client and the server.
    pub fn pairs(&self, count: usize) -> Vec<Pair> {
        let listener = self.listen();
        let pairs = (0..count)
            .map(|number| {
                let (client, server) = self.connect(&listener);
                let (x, y) = if number % 2 == 0 {
                    (client, server)
                } else {
                    (server, client)
                };
                Pair { x, y, number }
            })
            .collect();
        listener.close();
        pairs
    }

    /// The namespace of a socket.
    pub fn ns_of(&self, sock: &Sock) -> &Netns {
        match sock.role {
            Role::Client => &self.client_ns,
            Role::Server => &self.server_ns,
        }
    }

    /// Waits until no full TCP socket but listeners is left in either namespace.
    pub fn wait_until_gone(&self) {
        self.wait_for("all sockets to be gone", Duration::from_secs(20), || {
            self.full_sockets().is_empty()
        });
    }

    pub fn wait_for(&self, what: &str, patience: Duration, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + patience;
        while !done() {
            assert!(
                Instant::now() < deadline,
                "waited in vain on {} for {what}; still there:\n{}",
                self.link.name(),
                self.full_sockets().join("\n")
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The lines of /proc/net/tcp that are neither listeners nor TIME_WAIT.
    pub fn full_sockets(&self) -> Vec<String> {
        let mut lines = full_sockets(self.client.pid);
        if self.link.is_veth() {
            lines.extend(full_sockets(self.server.pid));
        }
        lines
    }
}

/// The lines of /proc/net/tcp in a process's namespace that are neither listeners nor TIME_WAIT.
pub fn full_sockets(pid: i32) -> Vec<String> {
    let mut lines = Vec::new();
    for table in ["tcp", "tcp6"] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        let is_full = |line: &&str| {
            let mut fields = line.split_whitespace().skip(3);
            let state = fields.next().unwrap_or("");
            let timer = fields.nth(1).unwrap_or("");
            state != LISTEN && !timer.starts_with(TIME_WAIT_TIMER)
        };
        lines.extend(text.lines().skip(1).filter(is_full).map(str::to_owned));
    }
    lines
}

impl Pair {
    /// The port of the listener that they came from: no other connection of the test has it on either end.
    pub fn listener_port(&self) -> u16 {
        match self.x.role {
            Role::Server => self.x.local.port(),
            Role::Client => self.y.local.port(),
        }
    }
}

/// Sends datagrams from one host to the other until one arrives.
fn greet((from, local): (&Netns, IpAddr), (to, peer): (&Netns, IpAddr)) {
    let receiver = to
        .within(|| UdpSocket::bind((peer, 0)).expect("an address without detection of duplicates"));
    let addr = receiver.local_addr().expect("bound");
    let sender = from.within(|| {
        UdpSocket::bind((local, 0)).expect("an address without detection of duplicates")
    });
    receiver
        .set_read_timeout(Some(Duration::from_millis(20)))
        .expect("a timeout");
    for _ in 0..250 {
        let _ = sender.send_to(b"hello", addr);
        if receiver.recv(&mut [0; 8]).is_ok() {
            return;
        }
    }
    panic!("no datagram from {local} arrives at {peer}");
}

/// A connection in which `x` does what the ending is about, and `y` is the other end.
pub struct Pair {
    pub x: Sock,
    pub y: Sock,
    pub number: usize,
}

/// A queue that everything sent waits in.
impl Net {
    /// Nothing passes from now on.
    pub fn hold_back(&self) {
        for host in self.hosts() {
            // 1540 bytes pass at once; the datagram takes all but some 40 of them, less than a FIN or SYN needs.
            host.run(&format!(
                "tc qdisc add dev {} root tbf rate 500bit burst 1540 limit 1mb",
                self.device()
            ));
            self.datagram(host, 1450);
        }
    }

    /// Everything passes that was kept back.
    pub fn let_go(&self) {
        for host in self.hosts() {
            host.run(&format!(
                "tc qdisc change dev {} root tbf rate 1gbit burst 64kb limit 1mb",
                self.device()
            ));
            // Whatever is sent next wakes the queue.
            self.datagram(host, 10);
        }
    }

    fn hosts(&self) -> Vec<&Netns> {
        let mut hosts = vec![&*self.client_ns];
        if self.link.is_veth() {
            hosts.push(&self.server_ns);
        }
        hosts
    }

    fn device(&self) -> &'static str {
        if self.link.is_veth() { "veth0" } else { "lo" }
    }

    /// Sends a UDP datagram from that host to the other.
    fn datagram(&self, from: &Netns, len: usize) {
        let (local, peer) = if from.inode() == self.client_ns.inode() {
            (self.client_ip, self.server_ip)
        } else {
            (self.server_ip, self.client_ip)
        };
        from.within(|| {
            UdpSocket::bind((local, 0))
                .and_then(|socket| socket.send_to(&vec![0; len], (peer, 9)))
                .expect("a datagram")
        });
    }
}

/// Broken networks: rules in a table of their own on both hosts, for one port (either end's).
impl Net {
    /// Both hosts drop everything of that port that arrives.
    pub fn blackhole(&self, port: u16) {
        self.firewall(&format!("tcp dport {port} drop; tcp sport {port} drop;"));
    }

    /// Both hosts answer everything of that port with an ICMP error.
    pub fn reject(&self, port: u16, with: &str) {
        // Otherwise one ICMP error a second, but for loopback.
        self.sysctl("net.ipv4.icmp_ratelimit", "0");
        self.sysctl("net.ipv6.icmp.ratelimit", "0");
        self.firewall(&format!(
            "tcp dport {port} reject with {with}; tcp sport {port} reject with {with};"
        ));
    }

    /// Rules for what arrives, on both hosts, instead of those before.
    pub fn firewall(&self, rules: &str) {
        self.nft(&format!(
            "table inet lab\n\
             delete table inet lab\n\
             table inet lab {{ chain input {{ type filter hook input priority 0; {rules} }}; }}\n"
        ));
    }

    pub fn heal(&self) {
        self.nft("table inet lab\ndelete table inet lab\n");
    }
}
