//! deploy/fleet: the ends of several nodes in one table, and what is asked of it, by the engines themselves. Namespaces
//! are the nodes: of one recording each gets the lines of its own sockets, without what a node cannot know of another.
//! What is right comes from the load, as in `pairs`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write,
    fs,
    path::Path,
    process::Command,
    thread::sleep,
    time::Duration,
};

use serde_json::Value;

use crate::{
    Test,
    lab::{
        agent::meet::Way,
        folder::Folder,
        link::{Link, Net},
        needs::{Need, pip_modules},
        tracer::{Line, Recording, Tracer},
    },
    pairs::{self, ALL_WAYS, Meeting},
};

const ENGINES: [&str; 2] = ["duckdb", "clickhouse"];

pub fn tests() -> Vec<Test> {
    let engines = Need::Pip(&["duckdb", "chdb", "chdb-core"]);
    let ip = Need::Program("ip");
    vec![
        Test::new(
            "fleet::both_ends",
            &[ip, Need::Program("iptables"), engines],
            both_ends,
        ),
        Test::new("fleet::timeouts", &[ip, engines], timeouts),
    ]
}

/// Namespace to node.
type Nodes = BTreeMap<i64, String>;

/// What a node cannot know of another.
const OF_OTHERS: [&str; 4] = ["peer_pid", "peer_comm", "peer_conn", "peer_container_id"];

/// The recordings of the nodes, as `tracer` on each would have written them, had it not known these keys.
fn split<'a>(
    recording: &Recording,
    nodes: &Nodes,
    unknown: impl Iterator<Item = &'a str> + Clone,
) -> Folder {
    let folder = Folder::new();
    let mut files: BTreeMap<&str, String> = BTreeMap::new();
    for line in recording.lines.iter() {
        let Some(node) = line.int("netns").and_then(|netns| nodes.get(&netns)) else {
            continue;
        };
        let mut json = line.json.clone();
        json["node"] = node.as_str().into();
        for key in unknown.clone() {
            json[key] = Value::Null;
        }
        let file = files.entry(node).or_default();
        writeln!(file, "{json}").expect("a string");
    }
    fs::create_dir(folder.path().join("recordings")).expect("the folder is ours");
    for (node, lines) in files {
        let file = folder.path().join(format!("recordings/{node}.ndjson"));
        fs::write(file, lines).expect("the folder is ours");
    }
    folder
}

/// What an engine answers, question to rows.
fn ask(engine: &str, folder: &Path) -> HashMap<String, Vec<Value>> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("python3")
        .arg(package.join("tests/live/fleet/ask.py"))
        .arg(engine)
        .arg(package.join("../deploy/fleet"))
        .env("PYTHONPATH", pip_modules())
        .current_dir(folder)
        .output()
        .expect("python3 runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{engine}: {said}");
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{engine}: {error}: {said}"))
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key]
        .as_str()
        .unwrap_or_else(|| panic!("no {key}: {row}"))
}

fn number(row: &Value, key: &str) -> f64 {
    row[key]
        .as_f64()
        .unwrap_or_else(|| panic!("no {key}: {row}"))
}

/// The two ends of a connection, by their cookies.
fn cookies(row: &Value) -> (u64, u64) {
    (
        cookie(text(row, "client_conn")),
        cookie(text(row, "server_conn")),
    )
}

fn cookie(conn: &str) -> u64 {
    let (_, digits) = conn.split_once('-').expect("boot and cookie");
    u64::from_str_radix(digits, 16).expect("hex digits")
}

fn closer(way: Way) -> &'static str {
    match way {
        Way::ServerFirst | Way::ServerFirstClientHolds | Way::ServerAborts => "server",
        _ => "client",
    }
}

/// The clients, by their cookies, of connections whose addresses and ports were another's, too: the one port that is
/// used again and again, and those that the kernel itself chooses again. It notes how far it is without a lock, so a
/// processor that is held up there sets all others back by hundreds of ports.
fn reused_ports(recording: &Recording) -> BTreeSet<u64> {
    let mut clients: HashMap<&str, Vec<u64>> = HashMap::new();
    let is_client = |line: &&Line| line.str("role") == Some("client");
    for line in recording.ends().filter(is_client) {
        let id = line.str("community_id").expect("every end has one");
        let conn = line.str("conn").expect("every end has one");
        clients.entry(id).or_default().push(cookie(conn));
    }
    clients
        .into_values()
        .filter(|same| same.len() > 1)
        .flatten()
        .collect()
}

fn netns_of(recording: &Recording, pid: i32) -> i64 {
    let of_pid = |line: &&Line| line.int("pid") == Some(pid.into());
    let netns = recording
        .ends()
        .find(of_pid)
        .and_then(|line| line.int("netns"));
    netns.expect("every side has an end")
}

fn both_ends() {
    let links: Vec<fn() -> Meeting> = vec![
        || pairs::over(Link::VethV4),
        || pairs::over(Link::VethV6),
        pairs::dnat_and_masquerade,
        pairs::same_port_again,
    ];
    let (meetings, recording) = pairs::recorded(links);
    let mut nodes = Nodes::new();
    // Of every pair of cookies: who closed first, on which nodes, and whether addresses are the same on both.
    let mut truth = BTreeMap::new();
    for (index, meeting) in meetings.iter().enumerate() {
        let [server] = meeting.servers.as_slice() else {
            panic!("one server");
        };
        let names = (format!("web-{index}"), format!("db-{index}"));
        nodes.insert(netns_of(&recording, meeting.client.pid), names.0.clone());
        nodes.insert(netns_of(&recording, server.pid), names.1.clone());
        let all_ways = meeting.link != "the same port";
        let by_address = all_ways && !meeting.link.contains("NAT");
        for (number, cookie, _, server_cookie) in meeting.connections() {
            let way = ALL_WAYS[number as usize % ALL_WAYS.len()];
            let last = number as usize + 1 == meeting.connections().len();
            let closer = (all_ways && !last).then(|| closer(way));
            let told = (names.clone(), closer, by_address);
            truth.insert((cookie, server_cookie), told);
        }
    }
    let folder = split(&recording, &nodes, OF_OTHERS.into_iter());
    let unknown = OF_OTHERS.into_iter().chain(["flow_id"]);
    let older_than_the_trace = split(&recording, &nodes, unknown);
    let reused = reused_ports(&recording);

    for engine in ENGINES {
        let answers = ask(engine, folder.path());
        let rows = &answers["pairs"];
        let found: BTreeMap<_, _> = rows.iter().map(|row| (cookies(row), row)).collect();
        assert_eq!(found.len(), rows.len(), "{engine}: each once");
        for (pair, row) in &found {
            let told = truth
                .get(pair)
                .unwrap_or_else(|| panic!("{engine}: no pair: {row}"));
            let ((web, db), by, _) = told;
            assert_eq!(
                (text(row, "client_node"), text(row, "server_node")),
                (web.as_str(), db.as_str())
            );
            if let Some(by) = by {
                assert_eq!(text(row, "closer"), *by, "{engine}: {row}");
            }
        }
        let missing = truth.len() - found.len();
        let hidden = recording.hidden_ends();
        assert!(
            missing <= hidden,
            "{engine}: {missing} of {} pairs are missing",
            truth.len()
        );

        // Counted as they were paired.
        let mut due: BTreeMap<(String, String), f64> = BTreeMap::new();
        for row in found.values() {
            let (hung_up, on) = match text(row, "closer") {
                "client" => ("client_node", "server_node"),
                "server" => ("server_node", "client_node"),
                other => panic!("{engine}: {other}: {row}"),
            };
            let key = (text(row, hung_up).to_owned(), text(row, on).to_owned());
            *due.entry(key).or_default() += 1.0;
        }
        let mut counted: BTreeMap<(String, String), f64> = BTreeMap::new();
        for row in &answers["who-hangs-up"] {
            let key = (
                text(row, "on_node").to_owned(),
                text(row, "of_node").to_owned(),
            );
            *counted.entry(key).or_default() += number(row, "ends");
            let client = text(row, "closer") == "client";
            let sides = (text(row, "hung_up"), text(row, "on_whom"));
            let due = ("lab-client", "lab-server");
            assert_eq!(sides, if client { due } else { (due.1, due.0) }, "{row}");
        }
        assert_eq!(counted, due, "{engine}");

        // By addresses and time, where no NAT is between; without flow_id, where no port was used twice.
        let without = &ask(engine, older_than_the_trace.path())["by-address"];
        for (rows, reused) in [
            (&answers["by-address"], &BTreeSet::new()),
            (without, &reused),
        ] {
            let by_address: BTreeSet<_> = rows.iter().map(cookies).collect();
            let certain = |pair: &&(u64, u64)| !reused.contains(&pair.0);
            let due = found.keys().filter(|pair| truth[pair].2);
            let missing: Vec<_> = due
                .filter(certain)
                .filter(|pair| !by_address.contains(pair))
                .collect();
            assert!(missing.is_empty(), "{engine}: {missing:?}");
            let wrong = by_address.iter().filter(|pair| !truth.contains_key(pair));
            let wrong: Vec<_> = wrong.filter(certain).collect();
            assert!(wrong.is_empty(), "{engine}: {wrong:?}");
        }

        let alone: f64 = answers["alone"].iter().map(|row| number(row, "ends")).sum();
        assert!(alone <= hidden as f64, "{engine}: {:?}", answers["alone"]);
        println!(
            "note: {engine}: {} pairs of {} found",
            found.len(),
            truth.len()
        );
    }
}

/// Two nodes whose clients give up after the same time.
fn timeouts() {
    const TIMES: usize = 23;
    const WAIT: Duration = Duration::from_millis(1_120);
    let tracer = Tracer::start();
    let nets = [Net::new(Link::VethV4), Net::new(Link::VethV6)];
    let connections: Vec<_> = nets
        .iter()
        .flat_map(|net| {
            let listener = net.listen();
            (0..TIMES).map(move |_| net.connect(&listener))
        })
        .collect();
    for (client, server) in &connections {
        client.write(100);
        server.read(100);
    }
    sleep(WAIT);
    for (client, _) in &connections {
        client.close();
    }
    for (_, server) in &connections {
        server.read_eof();
        server.close();
    }
    nets.iter().for_each(Net::wait_until_gone);
    let recording = tracer.finish();
    let mut nodes = Nodes::new();
    for (index, net) in nets.iter().enumerate() {
        let [client, server] = net.inodes();
        nodes.insert(client as i64, format!("web-{index}"));
        nodes.insert(server as i64, format!("db-{index}"));
    }
    let folder = split(&recording, &nodes, OF_OTHERS.into_iter());
    for engine in ENGINES {
        let rows = &ask(engine, folder.path())["timeouts"];
        let sum = |key| rows.iter().map(|row| number(row, key)).sum::<f64>();
        let due = (2 * TIMES) as f64;
        assert!(
            sum("ends") + recording.hidden_ends() as f64 >= due,
            "{engine}: {rows:?}"
        );
        assert!(sum("ends") <= due, "{engine}: {rows:?}");
        for row in rows {
            assert_eq!(text(row, "comm"), "lab-client", "{row}");
            assert_eq!(text(row, "pattern"), "local_gave_up_waiting", "{row}");
            // A busy machine needs its time to close them all.
            assert!((1.1..3.0).contains(&number(row, "waited_s")), "{row}");
        }
        assert_eq!(number(&rows[0], "nodes"), 2.0, "{engine}: {rows:?}");
    }
}
