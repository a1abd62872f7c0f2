//! `--metrics-listen`: a real Prometheus scrapes what a real tracer counted of real connections, and nothing that is
//! done to the socket keeps either of them from their work.

use std::{
    collections::BTreeMap,
    fs,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    Test,
    endings::{abort::abort_linger0, after_close::write_to_orphan_in_fin_wait1},
    lab::{
        expect::{End, judge},
        folder::Folder,
        link::{Link, Net},
        needs::{Need, find},
        netns::Netns,
        program::Program,
        tracer::{Line, Recording, Tracer, command},
        unit::deploy,
    },
};

pub fn tests() -> Vec<Test> {
    let ip = Need::Program("ip");
    let prometheus = &[ip, Need::Program("prometheus"), Need::Program("promtool")];
    vec![
        Test::new("metrics::prometheus", prometheus, prometheus_scrapes),
        Test::new(
            "metrics::for_prometheus",
            &[Need::Program("promtool")],
            for_prometheus,
        ),
        Test::new("metrics::hostile", &[ip], hostile),
        Test::new("metrics::few_workloads", &[ip], few_workloads),
        Test::new("metrics::timeouts", &[ip], timeouts),
        Test::new("metrics::address_taken", &[ip], address_taken),
    ]
}

/// Of the tracer, in a namespace of its own.
const PORT: u16 = 9435;
const PROMETHEUS_PORT: u16 = 9090;

const PATIENCE: Duration = Duration::from_secs(60);

/// A tracer that counts what these two hosts do, and serves it on loopback of a third.
struct Lab {
    host: Netns,
    net: Net,
    tracer: Tracer,
}

impl Lab {
    fn start(args: &[&str]) -> Lab {
        let host = Netns::new();
        host.ip("link set lo up\n");
        let net = Net::new(Link::VethV4);
        let port = format!(":{PORT}");
        let pids = format!("{},{}", net.client.pid, net.server.pid);
        let mut all = vec!["--metrics-listen", &port, "--pid", &pids];
        all.extend(args);
        let tracer = Tracer::start_in(&host, &all);
        Lab { host, net, tracer }
    }

    fn scrape(&self) -> String {
        let response = get(&self.host, PORT, "/metrics", "");
        let (head, body) = response.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
        body.to_owned()
    }

    /// Ends with the checks of the records, and returns those for comparison with what was counted.
    fn finish(self, ends: &[End]) -> Recording {
        let recording = self.tracer.finish();
        let ends: Vec<End> = ends.iter().cloned().map(End::record_only).collect();
        judge(&recording, &self.net.inodes(), &ends);
        recording
    }
}

fn connect(host: &Netns, port: u16) -> TcpStream {
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    let stream = host
        .within(|| TcpStream::connect(addr))
        .expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
    stream
}

/// A response, its head included. Of version 1.0, so that no chunks have to be put together.
fn get(host: &Netns, port: u16, path: &str, headers: &str) -> String {
    let mut stream = connect(host, port);
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    response
}

/// The value of a sample of the page.
fn sample(page: &str, series: &str) -> u64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series));
    let value = line.unwrap_or_else(|| panic!("{series} is not in:\n{page}"));
    value.trim().parse().expect("a count")
}

fn feed(command: &mut Command, input: &str) {
    crate::lab::netns::run(command.stdout(Stdio::null()), input);
}

/// Broken pipes and aborts, 23 of each. Prometheus has exactly as many, by reason, role and workload, and for one of
/// each the connection's id.
fn prometheus_scrapes() {
    let lab = Lab::start(&[]);
    let prometheus = Prometheus::start(&lab.host);
    feed(
        Command::new("promtool").args(["check", "metrics"]),
        &lab.scrape(),
    );
    prometheus.wait_for("the first scrape", || {
        prometheus.sum("tracer_connections_closed_total") == Some(0)
    });
    assert!(get(&lab.host, PORT, "/healthz", "").ends_with("\r\n\r\nok\n"));

    let mut ends = write_to_orphan_in_fin_wait1(&lab.net, 23);
    ends.extend(abort_linger0(&lab.net, 23));
    lab.net.wait_until_gone();
    prometheus.wait_for("all ends", || {
        prometheus.sum("tracer_connections_closed_total") == Some(4 * 23)
    });
    let by = |labels: &str, metric: &str| {
        prometheus.counts(&format!("sum by ({labels}) ({metric}) > 0"))
    };
    let closed = by("reason, role", "tracer_connections_closed_total");
    let workloads = by("workload", "tracer_connections_closed_by_workload_total");
    let attribution = by("method", "tracer_attribution_total");
    let ages = by("role", "tracer_connection_age_seconds_count");
    let resets = by("direction", "tracer_resets_total");
    let errors = by("errno, op", "tracer_io_errors_total");
    // What `increase` makes of series that were there at 0 before.
    let increase =
        prometheus.counts("sum(round(increase(tracer_connections_closed_total[5m]))) > bool 0");
    assert_eq!(increase.values().collect::<Vec<_>>(), [&1]);
    let exemplars = prometheus.exemplars("tracer_connections_closed_total");
    feed(
        Command::new("promtool").args(["check", "metrics"]),
        &lab.scrape(),
    );
    prometheus.understands_what_is_deployed();
    drop(prometheus);
    let recording = lab.finish(&ends);

    let told = |keys: &[&str]| counted(recording.ends(), keys);
    assert_eq!(closed, told(&["reason", "role"]));
    let due = ends.iter().filter_map(|end| end.due("reason")?.as_str());
    let due = add_up(due.map(|reason| (reason.to_owned(), 1)));
    assert_eq!(due["fin_peer_rst"], 23);
    // What this machine hid from all BPF programs is told without its reason.
    if recording.recovered() + recording.hidden_ends() == 0 {
        assert_eq!(told(&["reason"]), due);
    }
    assert_eq!(attribution, told(&["attribution"]));
    assert_eq!(ages, told(&["role"]));
    assert_eq!(
        resets,
        counted(recording.of_event("tcp_reset"), &["direction"])
    );
    let failed = counted(recording.of_event("tcp_io_error"), &["errno", "op"]);
    assert_eq!(errors, failed);
    let named = recording.ends().map(|line| (workload(line), 1));
    assert_eq!(workloads, add_up(named));
    for (labels, conn) in &exemplars {
        let (reason, role) = (&labels["reason"], &labels["role"]);
        let ours = recording.ends().any(|line| {
            line.str("conn") == Some(conn)
                && line.json["reason"] == *reason
                && line.json["role"] == *role
        });
        assert!(ours, "{labels}: {conn}");
    }
    assert!(exemplars.len() >= closed.len(), "{exemplars:?}");
}

/// How many lines have each of the combinations of these keys' values.
fn counted<'a>(lines: impl Iterator<Item = &'a Line>, keys: &[&str]) -> BTreeMap<String, u64> {
    let values = |line: &Line| {
        let values: Vec<_> = keys.iter().map(|key| line.str(key).unwrap_or("")).collect();
        values.join(" ")
    };
    add_up(lines.map(|line| (values(line), 1)))
}

fn add_up(counts: impl Iterator<Item = (String, u64)>) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for (name, count) in counts {
        *sums.entry(name).or_default() += count;
    }
    sums
}

/// As docs/metrics.md says it; these tests may run in a container or in a service.
fn workload(line: &Line) -> String {
    let service = line.str("unit").filter(|unit| unit.ends_with(".service"));
    let name = line.str("container_name").or(service).or(line.str("comm"));
    name.unwrap_or("_unknown").to_owned()
}

/// Prometheus on loopback of a namespace, with what it keeps in a folder of its own.
struct Prometheus<'a> {
    host: &'a Netns,
    _program: Program,
    _folder: Folder,
}

impl Prometheus<'_> {
    fn start(host: &Netns) -> Prometheus<'_> {
        let folder = Folder::new();
        let config = folder.file("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 1s}}\n\
             rule_files: ['{}']\n\
             scrape_configs: [{{job_name: tracer, static_configs: [{{targets: ['127.0.0.1:{PORT}']}}]}}]\n",
            rules().display()
        );
        fs::write(&config, text).expect("the folder is ours");
        let program = find("prometheus").expect("a need");
        let mut command = host.command(program.to_str().expect("a path of Debian's"));
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.file("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{PROMETHEUS_PORT}"))
            .arg("--enable-feature=exemplar-storage");
        let program = Program::start(&mut command);
        host.wait_for_listener(PROMETHEUS_PORT);
        Prometheus {
            host,
            _program: program,
            _folder: folder,
        }
    }

    fn wait_for(&self, what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            assert!(
                Instant::now() < deadline,
                "waited in vain for {what}: {:?}",
                self.counts("{__name__=~\"tracer_connections_closed_total|up\"} > 0")
            );
            sleep(Duration::from_millis(100));
        }
    }

    fn ask(&self, path: &str, query: &str) -> Value {
        let query: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let response = get(
            self.host,
            PROMETHEUS_PORT,
            &format!("/api/v1/{path}?query={query}&start=0&end=9999999999"),
            "",
        );
        let (head, body) = response.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(" 200 "), "{response}");
        let answer: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(answer["status"], "success", "{answer}");
        answer["data"].clone()
    }

    /// Every rule is evaluated and every panel of the dashboard answered.
    fn understands_what_is_deployed(&self) {
        let mut health = Vec::new();
        self.wait_for("the rules", || {
            let data = self.ask("rules", "");
            let groups = data["groups"].as_array().expect("groups").iter();
            let rules = groups.flat_map(|group| group["rules"].as_array().expect("rules"));
            health = rules.map(|rule| rule["health"].clone()).collect();
            !health.contains(&"unknown".into())
        });
        assert!(health.len() > 5, "{health:?}");
        assert!(health.iter().all(|health| health == "ok"), "{health:?}");
        let dashboard = fs::read(deploy("grafana/tracer.json")).expect("the dashboard");
        let dashboard: Value = serde_json::from_slice(&dashboard).expect("JSON");
        let panels = dashboard["panels"].as_array().expect("panels").iter();
        for target in panels
            .filter_map(|panel| panel["targets"].as_array())
            .flatten()
        {
            let query = target["expr"].as_str().expect("a query");
            let query = query
                .replace("$__rate_interval", "1m")
                .replace("$__range", "1h")
                .replace("$instance", ".+");
            self.ask("query", &query);
        }
        let queries = block("```promql\n");
        let queries: Vec<_> = queries.split("\n\n").collect();
        assert!(queries.len() > 3, "{queries:?}");
        for query in queries {
            self.ask("query", query);
        }
    }

    /// Values by their labels' values, those in the order of the labels' names.
    fn counts(&self, query: &str) -> BTreeMap<String, u64> {
        let data = self.ask("query", query);
        let samples = data["result"].as_array().expect("a vector").iter();
        samples
            .map(|sample| {
                let labels = sample["metric"].as_object().expect("labels");
                let sorted: BTreeMap<_, _> = labels.iter().collect();
                let values: Vec<_> = sorted.values().filter_map(|value| value.as_str()).collect();
                let value = sample["value"][1].as_str().expect("a number");
                (values.join(" "), value.parse().expect("a count"))
            })
            .collect()
    }

    fn sum(&self, metric: &str) -> Option<u64> {
        self.counts(&format!("sum({metric})")).into_values().next()
    }

    /// The labels of a series, and the connection of one of its exemplars.
    fn exemplars(&self, metric: &str) -> Vec<(Value, String)> {
        let data = self.ask("query_exemplars", metric);
        let series = data.as_array().expect("a list").iter();
        series
            .flat_map(|series| {
                let labels = &series["seriesLabels"];
                let exemplars = series["exemplars"].as_array().expect("a list").iter();
                exemplars.map(|exemplar| {
                    let conn = exemplar["labels"]["conn"].as_str().expect("an id");
                    (labels.clone(), conn.to_owned())
                })
            })
            .collect()
    }
}

fn rules() -> PathBuf {
    let file = deploy("prometheus/tracer.rules.yml");
    file.canonicalize().expect("the rules")
}

/// A block of docs/metrics.md, by what it begins with.
fn block(start: &str) -> String {
    let page = fs::read_to_string(deploy("../docs/metrics.md")).expect("the page");
    let (_, rest) = page.split_once(start).expect("its block");
    let (block, _) = rest.split_once("```").expect("its end");
    block.trim_end().to_owned()
}

/// What is written for Prometheus is understood by its own tool, and every alert fires when it should.
fn for_prometheus() {
    let folder = Folder::new();
    let config = folder.file("prometheus.yml");
    fs::write(&config, block("```yaml\n")).expect("the folder is ours");
    feed(
        Command::new("promtool")
            .args(["check", "config"])
            .arg(config),
        "",
    );
    feed(
        Command::new("promtool")
            .args(["check", "rules"])
            .arg(rules()),
        "",
    );
    let tests = deploy("prometheus/tracer.rules.test.yml");
    feed(
        Command::new("promtool").args(["test", "rules"]).arg(tests),
        "",
    );
}

/// What an attacker on the same host can do to the socket, all of it at once, while 23 connections break.
fn hostile() {
    let lab = Lab::start(&[]);
    let before = sample(&lab.scrape(), "tracer_ring_records_total");
    let host = &lab.host;
    let idle: Vec<_> = (0..200).map(|_| connect(host, PORT)).collect();
    let ends = thread::scope(|scope| {
        scope.spawn(|| slow_loris(host));
        scope.spawn(|| long_head(host));
        scope.spawn(|| garbage(host));
        scope.spawn(|| slow_reader(host));
        let ends = write_to_orphan_in_fin_wait1(&lab.net, 23);
        // In the middle of it.
        for _ in 0..5 {
            lab.scrape();
        }
        ends
    });
    lab.net.wait_until_gone();
    lab.host.wait_for("all ends to be counted", || {
        sum(&lab.scrape(), "tracer_connections_closed_total{") == 2 * 23
    });
    let page = lab.scrape();
    assert!(sample(&page, "tracer_ring_records_total") > before);
    for place in ["ring", "map", "output"] {
        let lost = format!("tracer_events_lost_total{{where=\"{place}\"}}");
        assert_eq!(sample(&page, &lost), 0, "{place}");
    }
    drop(idle);
    lab.finish(&ends);
}

fn sum(page: &str, start: &str) -> u64 {
    let samples = page.lines().filter(|line| line.starts_with(start));
    let values = samples.filter_map(|line| line.rsplit_once(' '));
    values
        .map(|(_, value)| value.parse::<u64>().expect("a count"))
        .sum()
}

/// A byte now and then; it is told to go, or just closed for newer ones.
fn slow_loris(host: &Netns) {
    let mut stream = connect(host, PORT);
    stream
        .set_read_timeout(Some(Duration::from_millis(100)))
        .expect("a socket");
    let deadline = Instant::now() + PATIENCE;
    let request = b"GET /metrics HTTP/1.1\r\nA: "
        .iter()
        .chain([b'a'].iter().cycle());
    for byte in request {
        assert!(Instant::now() < deadline, "it is never told to go");
        if stream.write_all(&[*byte]).is_err() {
            return;
        }
        let mut answer = [0; 512];
        match stream.read(&mut answer) {
            Ok(0) => return,
            Ok(length) => {
                let text = String::from_utf8_lossy(&answer[..length]);
                assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
                return;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => (),
            Err(_) => return,
        }
    }
}

/// A head of a megabyte.
fn long_head(host: &Netns) {
    let mut stream = connect(host, PORT);
    let head = format!("GET /metrics HTTP/1.1\r\nA: {}", "a".repeat(1 << 20));
    // It may be closed for newer connections before it is answered.
    if stream.write_all(head.as_bytes()).is_err() {
        return;
    }
    let _ = stream.shutdown(Shutdown::Write);
    let mut response = String::new();
    if stream.read_to_string(&mut response).is_ok() && !response.is_empty() {
        assert!(response.starts_with("HTTP/1.1 431 "), "{response}");
    }
}

fn garbage(host: &Netns) {
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"GET /metrics\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n: \r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r\n\r\n\r\n\r\n\xff\xff",
    ] {
        let mut stream = connect(host, PORT);
        let _ = stream.write_all(bytes);
        let mut response = String::new();
        if stream.read_to_string(&mut response).is_ok() && !response.is_empty() {
            assert!(
                response.starts_with("HTTP/1.1 400 "),
                "{bytes:?}: {response}"
            );
        }
    }
}

/// Asks for many pages and takes none of them.
fn slow_reader(host: &Netns) {
    let asked: Vec<_> = (0..50)
        .map(|_| {
            let mut stream = connect(host, PORT);
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n");
            stream
        })
        .collect();
    sleep(Duration::from_millis(500));
    drop(asked);
}

/// Two processes and one place: the second one counts with all others.
fn few_workloads() {
    let lab = Lab::start(&["--metrics-max-workloads", "1"]);
    lab.net.client.rename(b"first");
    let ends = abort_linger0(&lab.net, 5);
    lab.net.wait_until_gone();
    let of = |page: &str, name: &str| {
        let start = format!("tracer_connections_closed_by_workload_total{{workload=\"{name}\"");
        sum(page, &start)
    };
    lab.host.wait_for("all ends to be counted", || {
        sum(
            &lab.scrape(),
            "tracer_connections_closed_by_workload_total{",
        ) == 10
    });
    let page = lab.scrape();
    let recording = lab.finish(&ends);
    let named = add_up(recording.ends().map(|line| (workload(line), 1)));
    let first = named
        .keys()
        .find(|name| of(&page, name) > 0)
        .expect("one has the place");
    assert_eq!(of(&page, first), named[first]);
    assert_eq!(of(&page, "_other"), 10 - named[first]);
}

/// Five clients that wait for a response no longer than a timeout of the site: the histogram of silences and the counts
/// of timeouts say what the lines say.
fn timeouts() {
    let folder = Folder::new();
    let site = folder.file("site.toml");
    let timeout = "[lab-patience]\nvalue = \"1400ms\"\nclock = \"waiting\"\nlate = \"1400ms\"\n";
    fs::write(&site, timeout).expect("the folder is ours");
    let lab = Lab::start(&["--fingerprints", site.to_str().expect("UTF-8")]);
    let pairs = lab.net.pairs(5);
    for pair in &pairs {
        pair.x.write(10);
        pair.y.read(10);
    }
    sleep(Duration::from_millis(1_400));
    for pair in &pairs {
        pair.x.close();
        pair.y.read_eof();
        pair.y.close();
    }
    lab.net.wait_until_gone();
    lab.host.wait_for("all ends to be counted", || {
        sum(&lab.scrape(), "tracer_connections_closed_total{") == 10
    });
    let page = lab.scrape();
    let recording = lab.tracer.finish();
    let hints = |line: &Line| {
        let hints = line.json["hints"].as_array().cloned().unwrap_or_default();
        let pattern = line.str("pattern").unwrap_or_default().to_owned();
        let named = move |hint: Value| {
            let hint = hint.as_str().unwrap_or_default().to_owned();
            (format!("{{hint=\"{hint}\",pattern=\"{pattern}\"}}"), 1)
        };
        hints.into_iter().map(named)
    };
    let told = add_up(recording.ends().flat_map(hints));
    assert!(
        told.keys().any(|series| series.contains("lab-patience")),
        "{told:?}"
    );
    for (series, count) in &told {
        let counted = sample(&page, &format!("tracer_timeout_matches_total{series}"));
        assert_eq!(counted, *count, "{series}");
    }
    assert_eq!(
        sum(&page, "tracer_timeout_matches_total{"),
        told.values().sum::<u64>()
    );
    for (below_s, below_ms) in [
        ("1.0", 1_000),
        ("1.9", 1_900),
        ("2.3", 2_300),
        ("+Inf", i64::MAX),
    ] {
        let silent = recording.ends().filter(|line| {
            let idle = [line.int("idle_rx_ms"), line.int("idle_tx_ms")];
            idle.into_iter()
                .flatten()
                .min()
                .is_some_and(|ms| ms <= below_ms)
        });
        let bucket = format!("le=\"{below_s}\"");
        let counted = page.lines().filter(|line| {
            line.starts_with("tracer_idle_before_close_seconds_bucket{") && line.contains(&bucket)
        });
        let counted: String = counted.map(|line| format!("{line}\n")).collect();
        assert_eq!(
            sum(&counted, ""),
            silent.count() as u64,
            "{below_s}:\n{counted}"
        );
    }
}

/// Two of them cannot have the same port; the second says so, and attaches nothing.
fn address_taken() {
    let lab = Lab::start(&[]);
    let mut second = command(&["--metrics-listen", &PORT.to_string()]);
    lab.host.take_in(&mut second);
    let output = second.output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let said = String::from_utf8_lossy(&output.stderr);
    let due = format!("tracer: cannot listen for scrapers on 127.0.0.1:{PORT}: ");
    assert!(said.starts_with(&due), "{said}");
}
