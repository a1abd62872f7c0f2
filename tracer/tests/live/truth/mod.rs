//! Truth under load: many processes end many connections in many ways at once, each writes down what it did, and the
//! records are held against that.

pub mod client;
pub mod end;
mod hammer;
pub mod judge;
pub mod log;
pub mod server;
mod soak;
mod storm;
pub mod ways;
pub mod worker;

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    Test,
    lab::{
        blind_spot::{BlindSpot, Ports},
        folder::Folder,
        link::{LINKS, Link, Net},
        needs::Need,
        tracer::{command, hooks},
    },
};
use hammer::Hammers;
use judge::{Records, judge, read_log};
use worker::{AGAIN_PORTS, Client, Kind, Task};

/// Not round, so that no batch size fits by accident.
const CONNECTIONS: u64 = 20_011;
const MANY_CONNECTIONS: u64 = 200_003;

/// A lossy link has so much less to do: its connections mostly wait.
const LOSSY_PART: u64 = 8;

pub fn tests() -> Vec<Test> {
    let needs = [
        Need::Program("ip"),
        Need::Program("nft"),
        Need::Program("tc"),
        Need::Qdisc("tbf"),
        Need::Cookies,
    ];
    let long = [&[Need::Asked("LIVE_LONG")], &needs[..]].concat();
    let hour = [&[Need::Program("bpftool")], &long[..]].concat();
    vec![
        Test::new("truth::twenty_thousand", &long, || held_to(CONNECTIONS)),
        Test::new("truth::two_hundred_thousand", &long, || {
            held_to(MANY_CONNECTIONS);
        }),
        Test::new("truth::an_hour_of_faults", &hour, soak::soak),
    ]
}

/// A process of the load, which ends with the test.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    pub fn start(command: &mut Command) -> Running {
        let command = command.stdin(Stdio::null());
        Running(command.spawn().expect("this program starts"))
    }
}

/// One link with its servers, and what its clients are told.
pub struct Place {
    pub net: Net,
    _servers: Vec<Running>,
    threads: SocketAddr,
    forks: SocketAddr,
    void: SocketAddr,
    number: u64,
    log: PathBuf,
    pids: Vec<i32>,
    image: PathBuf,
    /// Of the client; on a link that loses packets most of them wait.
    client_threads: u64,
    is_lossy: bool,
}

/// Where pids come again: from here on, so many for each.
const FIRST_PID: i32 = 31_000;
const PIDS: i32 = 5;

impl Place {
    /// The four links.
    pub fn all(folder: &Folder, image: &Path) -> Vec<Place> {
        let places = (0..).zip(LINKS);
        places
            .map(|(number, link)| Place::new(link, number, false, folder, image))
            .collect()
    }

    /// A link that is slow and loses every fiftieth packet.
    fn lossy(folder: &Folder, image: &Path) -> Place {
        let place = Place::new(Link::VethV4, LINKS.len() as u64, true, folder, image);
        place.net.nft(
            "table inet loss { chain input { type filter hook input priority 0; \
             iifname veth0 numgen random mod 50 < 1 drop; }; }\n",
        );
        for host in [&place.net.client_ns, &place.net.server_ns] {
            host.run("tc qdisc add dev veth0 root tbf rate 30mbit burst 4kb limit 256kb");
        }
        place
    }

    fn new(link: Link, number: u64, is_lossy: bool, folder: &Folder, image: &Path) -> Place {
        let net = Net::new(link);
        // An end whose RST was lost, or came before there was anything to end, learns of it by a probe.
        for key in ["time", "intvl"] {
            net.sysctl(&format!("net.ipv4.tcp_keepalive_{key}"), "1");
        }
        // A device whose other end takes nothing, so that a SYN is never answered.
        net.client_ns
            .ip("link add void0 type veth peer name void1\n\
             address add 10.66.0.1/24 dev void0\n\
             address add fd66::1/64 dev void0 nodad\n\
             link set void0 up\n\
             link set void1 up\n\
             neighbour add 10.66.0.2 lladdr 02:00:00:00:00:66 dev void0\n\
             neighbour add fd66::2 lladdr 02:00:00:00:00:66 dev void0\n");
        // A port may be used again at once, also by the end that closed first; older kernels know only the first.
        net.sysctl("net.ipv4.tcp_tw_reuse", "1");
        let delay = "/proc/sys/net/ipv4/tcp_tw_reuse_delay";
        net.client_ns.within(|| {
            if Path::new(delay).exists() {
                std::fs::write(delay, "1").expect("root");
            }
        });
        let void: IpAddr = match link.is_v6() {
            true => "fd66::2".parse().expect("an address"),
            false => "10.66.0.2".parse().expect("an address"),
        };
        let pid = FIRST_PID + 2 * PIDS * number as i32;
        let mut place = Place {
            threads: SocketAddr::new(net.server_ip, 7001),
            forks: SocketAddr::new(net.server_ip, 7002),
            void: SocketAddr::new(void, 7003),
            net,
            _servers: Vec::new(),
            number,
            log: folder.file("load.ndjson"),
            pids: (pid..pid + PIDS).collect(),
            image: image.to_owned(),
            client_threads: if is_lossy { 24 } else { 4 },
            is_lossy,
        };
        let threads = Kind::Threads {
            addr: place.threads,
            threads: 2 + place.client_threads,
        };
        let forks = Kind::Forks {
            addr: place.forks,
            pids: (pid + PIDS..pid + 2 * PIDS).collect(),
        };
        for (kind, comm) in [(threads, "tr-threads"), (forks, "tr-forks")] {
            let task = place.task(kind, comm, place.net.server_ns.path(), 1);
            place._servers.push(Running::start(&mut task.command()));
        }
        for addr in [place.threads, place.forks] {
            place.wait_for_listener(addr);
        }
        place
    }

    /// Without a connection, which would be in no log.
    fn wait_for_listener(&self, addr: SocketAddr) {
        let table = if addr.is_ipv6() { "tcp6" } else { "tcp" };
        let path = format!("/proc/{}/net/{table}", self.net.server.pid);
        let port = format!(":{:04X} ", addr.port());
        self.net
            .wait_for("a listener", Duration::from_secs(20), || {
                std::fs::read_to_string(&path).is_ok_and(|table| table.contains(&port))
            });
    }

    fn task(&self, kind: Kind, comm: &str, netns: String, seed: u64) -> Task {
        let inode = match &kind {
            Kind::Threads { .. } | Kind::Forks { .. } => self.net.server_ns.inode(),
            _ => self.net.client_ns.inode(),
        };
        Task {
            kind,
            comm: comm.to_owned(),
            netns,
            inode,
            log: self.log.clone(),
            seed: seed ^ self.number << 48,
        }
    }

    /// The clients of this place, for so many connections, with a pause between two of a thread.
    pub fn clients(&self, connections: u64, pause_us: u64, seed: u64) -> Vec<Running> {
        let client = Client {
            server: self.threads,
            closed: SocketAddr::new(self.net.server_ip, 7009),
            void: self.void,
            own_ip: self.net.client_ip,
            first: seed << 44 | self.number << 32 | 1,
            count: connections * 7 / 10,
            threads: self.client_threads,
            pause_us,
            ports: Vec::new(),
            image: Some(self.image.clone()),
        };
        let few = connections / 10;
        let again = Client {
            first: client.first | 1 << 56,
            count: 2 * few,
            threads: 2,
            ports: AGAIN_PORTS.collect(),
            ..client.clone()
        };
        let storm = Client {
            server: self.forks,
            first: client.first | 2 << 56,
            // Each makes two or three.
            count: few / 2,
            pause_us: 4 * pause_us,
            ..client.clone()
        };
        let kinds = [
            (Kind::Client(client), "tr-client"),
            (Kind::Client(again), "tr-again"),
            (
                Kind::Storm {
                    client: storm,
                    pids: self.pids.clone(),
                },
                "tr-storm",
            ),
            (
                Kind::Void {
                    to: self.void,
                    count: 1 + few / 10,
                },
                "tr-void",
            ),
        ];
        // On a lossy link an old connection may still have the port at the server.
        kinds
            .into_iter()
            .filter(|(_, comm)| !self.is_lossy || *comm != "tr-again")
            .map(|(kind, comm)| {
                let task = self.task(kind, comm, self.net.client_ns.path(), seed);
                Running::start(&mut task.command())
            })
            .collect()
    }
}

/// A tracer that writes to a file.
pub struct Recorder {
    pub child: Running,
    pub file: PathBuf,
    blind: Option<BlindSpot>,
}

impl Recorder {
    pub fn start(file: PathBuf, args: &[&str]) -> Recorder {
        let blind = BlindSpot::watch();
        let mut command = command(&["-o", "json", "--output-file"]);
        command.arg(&file).args(args).args(hooks());
        let child = Running::start(command.stdout(Stdio::null()));
        let deadline = Instant::now() + Duration::from_secs(30);
        while !std::fs::read_to_string(&file).is_ok_and(|text| text.contains("\"start\"")) {
            assert!(Instant::now() < deadline, "the tracer did not start");
            thread::sleep(Duration::from_millis(5));
        }
        Recorder { child, file, blind }
    }

    pub fn pid(&self) -> i32 {
        self.child.0.id() as i32
    }

    /// Ends it, and returns the connections that this machine hid.
    pub fn finish(&mut self) -> HashSet<Ports> {
        kill(Pid::from_raw(self.pid()), Signal::SIGINT).expect("it runs");
        let status = self.child.0.wait().expect("it ends");
        assert!(status.success(), "the tracer ended with {status}");
        self.blind
            .as_ref()
            .map_or_else(HashSet::new, BlindSpot::seen)
    }
}

/// Another file of this program, for processes that exec.
pub fn image(folder: &Folder) -> PathBuf {
    let image = folder.file("image");
    let program = std::env::current_exe().expect("this program");
    if std::fs::hard_link(&program, &image).is_err() {
        std::fs::copy(&program, &image).expect("room for a copy");
    }
    image
}

fn held_to(connections: u64) {
    let folder = Folder::new();
    let image = image(&folder);
    let mut places = Place::all(&folder, &image);
    let share = connections / places.len() as u64;
    places.push(Place::lossy(&folder, &image));
    let mut recorder = Recorder::start(folder.file("events.ndjson"), &[]);
    let hammers = Hammers::start();
    let began = Instant::now();
    let clients: Vec<Running> = places
        .iter()
        .flat_map(|place| {
            let part = if place.is_lossy { LOSSY_PART } else { 1 };
            place.clients(share / part, 0, 1)
        })
        .collect();
    for mut client in clients {
        let status = client.0.wait().expect("it ends");
        assert!(status.success(), "a client ended with {status}");
    }
    for place in &places {
        place.net.wait_until_gone();
    }
    let load = began.elapsed();
    hammers.stop();
    // Of the last end it is told within a quarter of a second.
    thread::sleep(Duration::from_millis(500));
    let blind = recorder.finish();
    let inodes: Vec<u64> = places.iter().flat_map(|place| place.net.inodes()).collect();
    let mut records = Records::of(&inodes);
    records.read(&recorder.file);
    let (entries, faults) = read_log(&folder.file("load.ndjson"));
    assert!(
        faults.is_empty(),
        "{} times the load went wrong, such as\n{}",
        faults.len(),
        faults[..faults.len().min(8)].join("\n")
    );
    let judgement = judge(&records, &entries, &blind, pids_again(&entries));
    println!("note: in {load:.1?}: {}", judgement.summary(&records));
    judgement.must_be_true(&records);
}

/// How often a pid was another process's before.
pub fn pids_again(entries: &[log::Entry]) -> usize {
    let processes: HashSet<(i32, &str)> = entries
        .iter()
        .map(|entry| (entry.pid, entry.comm.as_str()))
        .collect();
    let pids: HashSet<i32> = processes.iter().map(|(pid, _)| *pid).collect();
    processes.len() - pids.len()
}
