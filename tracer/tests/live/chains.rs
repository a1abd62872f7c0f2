//! The long way round (story 3): curl → haproxy → nginx → gunicorn on one node, with the timeout in each hop in turn, all
//! at the same time. Whoever gave up first is what every record of the row names; which connections belong together is
//! known from the programs' own logs.

use std::{collections::HashMap, fs, path::Path, time::Duration};

use nix::sys::signal::Signal;

use crate::{
    Test,
    lab::{
        folder::Folder,
        link::full_sockets,
        needs::Need,
        netns::Netns,
        program::Program,
        tracer::{Line, Tracer},
    },
};

pub fn tests() -> Vec<Test> {
    let needs = ["ip", "curl", "haproxy", "nginx", "gunicorn"].map(Need::Program);
    vec![Test::new("chains::long_way_round", &needs, long_way_round)]
}

/// Requests of each kind, all at once.
const TIMES: usize = 7;

/// Which hop gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hop {
    Client,
    Haproxy,
    Nginx,
    Gunicorn,
}

const HOPS: [Hop; 4] = [Hop::Client, Hop::Haproxy, Hop::Nginx, Hop::Gunicorn];

/// What the application does meanwhile: nothing, or it has begun to answer.
const WORK: [&str; 2] = ["wait", "stream"];

/// `wait` answers after 3.5 s. `stream` answers at once and either goes on for as long or falls silent.
const APP: &str = r#"
import os, time

def app(environ, start_response):
    path = environ["PATH_INFO"]
    line = "request %s %s %d\n" % (environ["HTTP_X_ID"], environ["REMOTE_PORT"], os.getpid())
    os.write(1, line.encode())
    length = 360000 if "/client" in path else 110000
    start_response("200 OK", [("Content-Length", str(length))])
    if "/stream" in path:
        def body():
            yield b"x" * 10000
            if "/client" in path:
                for _ in range(35):
                    time.sleep(0.1)
                    yield b"x" * 10000
            else:
                time.sleep(3.5)
                yield b"x" * 100000
        return body()
    time.sleep(3.5)
    return [b"x" * length]
"#;

const HAPROXY: &str = r#"
global
    nbthread 2
    log /dev/null local0
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    option abortonclose
frontend front
    bind 127.0.0.1:8000
    use_backend short if { path_beg /haproxy }
    default_backend long
backend long
    server nginx 127.0.0.1:8001
backend short
    timeout server 1s
    server nginx 127.0.0.1:8001
"#;

fn nginx_config(home: &Path) -> String {
    let home = home.display();
    format!(
        "user root;\nworker_processes 2;\ndaemon off;\npid {home}/nginx.pid;\nerror_log {home}/error.log;\n\
         events {{ worker_connections 512; }}\n\
         http {{\n\
         log_format ports '$http_x_id $remote_port $status';\n\
         access_log {home}/access.log ports;\n\
         client_body_temp_path {home}/body;\nproxy_temp_path {home}/proxy;\n\
         fastcgi_temp_path {home}/fastcgi;\nuwsgi_temp_path {home}/uwsgi;\nscgi_temp_path {home}/scgi;\n\
         proxy_read_timeout 60s;\n\
         server {{\n listen 127.0.0.1:8001;\n\
         location / {{ proxy_pass http://127.0.0.1:8002; }}\n\
         location /nginx {{ proxy_pass http://127.0.0.1:8002; proxy_read_timeout 1s; }}\n\
         location /gunicorn {{ proxy_pass http://127.0.0.1:8003; }}\n\
         }}\n}}\n"
    )
}

/// The four programs, in a namespace.
struct Programs {
    folder: Folder,
    netns: Netns,
    running: Vec<Program>,
    gunicorns: [Program; 2],
}

const FRONT: u16 = 8000;
const NGINX: u16 = 8001;
const PATIENT: u16 = 8002;
const STRICT: u16 = 8003;

impl Programs {
    fn start() -> Programs {
        let folder = Folder::new();
        let netns = Netns::new();
        netns.ip("link set dev lo up\n");
        let file = |name: &str, text: &str| {
            let path = folder.file(name);
            fs::write(&path, text).expect("the folder is ours");
            path
        };
        file("app.py", APP);
        let haproxy = file("haproxy.cfg", HAPROXY);
        let nginx = file("nginx.conf", &nginx_config(folder.path()));
        let gunicorn = |port: u16, args: &[&str]| {
            Program::start(
                netns
                    .command("gunicorn")
                    .current_dir(folder.path())
                    .args(["--preload", "--bind", &format!("127.0.0.1:{port}")])
                    .args(args)
                    .arg("app:app"),
            )
        };
        // Patient with all that the others give up, and strict with its own workers.
        let gunicorns = [
            gunicorn(PATIENT, &["--workers=2", "--threads=21", "--timeout=60"]),
            gunicorn(STRICT, &["--workers=14", "--timeout=1"]),
        ];
        let running = vec![
            Program::start(
                netns
                    .command("nginx")
                    .arg("-p")
                    .arg(folder.path())
                    .arg("-c")
                    .arg(&nginx),
            ),
            Program::start(netns.command("haproxy").arg("-db").arg("-f").arg(&haproxy)),
        ];
        for port in [FRONT, NGINX, PATIENT, STRICT] {
            netns.wait_for_listener(port);
        }
        Programs {
            folder,
            netns,
            running,
            gunicorns,
        }
    }

    fn pid(&self) -> i32 {
        self.running[0].pid() as i32
    }

    /// Until gunicorn has done with every connection.
    fn wait_until_served(&self) {
        self.netns.wait_for("gunicorn", || {
            let sockets = full_sockets(self.pid());
            let ports = [PATIENT, STRICT].map(|port| format!(":{port:04X} "));
            !sockets
                .iter()
                .any(|line| ports.iter().any(|port| line.contains(port)))
        });
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        // Their workers go with them.
        for program in &mut self.gunicorns {
            program.end(Signal::SIGTERM);
        }
        for program in &mut self.running {
            program.end(Signal::SIGTERM);
        }
    }
}

fn long_way_round() {
    let programs = Programs::start();
    let tracer = Tracer::start();
    let mut clients = Vec::new();
    for hop in HOPS {
        for work in WORK {
            for number in 0..TIMES {
                let id = format!("{hop:?}-{work}-{number}");
                let patience = if hop == Hop::Client { "1" } else { "60" };
                let path = format!("{hop:?}/{work}").to_lowercase();
                let client = Program::start(programs.netns.command("curl").args([
                    "--silent",
                    "--output",
                    "/dev/null",
                    "--max-time",
                    patience,
                    "--header",
                    &format!("X-Id: {id}"),
                    "--write-out",
                    "port %{local_port}\n",
                    &format!("http://127.0.0.1:{FRONT}/{path}"),
                ]));
                clients.push((hop, work, id, client));
            }
        }
    }
    let mut ports = HashMap::new();
    for (_, _, id, client) in &clients {
        let port = number(&client.says("port ", Duration::from_secs(30)), 1);
        ports.insert((FRONT, id.as_str()), port);
    }
    programs.wait_until_served();
    let recording = tracer.finish();

    let access_log = fs::read_to_string(programs.folder.file("access.log")).expect("nginx's log");
    for line in access_log.lines() {
        let id = line.split(' ').next().expect("an id");
        ports.insert((NGINX, id), number(line, 1));
    }
    let served: Vec<Vec<String>> = programs.gunicorns.iter().map(Program::said).collect();
    for (line, port) in served
        .iter()
        .zip([PATIENT, STRICT])
        .flat_map(|(lines, port)| {
            lines
                .iter()
                .filter(|line| line.starts_with("request "))
                .map(move |line| (line, port))
        })
    {
        let id = line.split(' ').nth(1).expect("an id");
        ports.insert((port, id), number(line, 2));
    }
    let mut ends: HashMap<(u16, u16), &Line> = HashMap::new();
    let netns = Some(programs.netns.inode() as i64);
    for line in recording.ends().filter(|line| line.int("netns") == netns) {
        let port = |key| line.int(key).expect("a port") as u16;
        ends.insert((port("local_port"), port("peer_port")), line);
    }
    let mut wrong = Vec::new();
    for (hop, work, id, _) in &clients {
        let last = if *hop == Hop::Gunicorn {
            STRICT
        } else {
            PATIENT
        };
        let both = |server: u16| {
            let client = *ports
                .get(&(server, id.as_str()))
                .unwrap_or_else(|| panic!("{id} did not reach port {server}"));
            [(client, server), (server, client)]
        };
        let row = [FRONT, NGINX, last].into_iter().flat_map(both);
        let row: Vec<Option<&Line>> = row.map(|ports| ends.get(&ports).copied()).collect();
        if row.iter().flatten().any(|line| recording.is_blind(line)) {
            continue;
        }
        if let Err(problem) = judge(*hop, work, &row) {
            let texts: Vec<&str> = row.iter().flatten().map(|line| &*line.text).collect();
            wrong.push((format!("{id}: {problem}"), texts.join("\n")));
        }
    }
    let problems: Vec<&str> = wrong.iter().map(|(problem, _)| &**problem).collect();
    assert!(
        wrong.is_empty(),
        "{} of {} rows are not as they were:\n{}\n{}",
        wrong.len(),
        clients.len(),
        problems.join("\n"),
        wrong[0].1
    );
}

fn number(line: &str, word: usize) -> u16 {
    let word = line.split(' ').nth(word).and_then(|word| word.parse().ok());
    word.unwrap_or_else(|| panic!("no port in `{line}`"))
}

/// The ends of a row, from the client's on: `None` is a connection that is kept for the next request.
///
/// Who got an answer, be it a 502 or 504, is no victim: its connection ended for itself. Neither is a connection that
/// was closed in the middle of a response by a proxy: nothing in TCP tells it from one that was complete.
fn judge(hop: Hop, work: &str, row: &[Option<&Line>]) -> Result<(), String> {
    let (root, victims) = match (hop, work) {
        (Hop::Client, _) => (0, 0..6),
        (Hop::Haproxy, _) => (2, 2..6),
        (Hop::Nginx, _) => (4, 4..6),
        (Hop::Gunicorn, "wait") => (5, 4..6),
        (Hop::Gunicorn, _) => (5, 0..6),
    };
    let root_end = row[root].ok_or("the connection that it began with is open")?;
    for (place, end) in row.iter().enumerate() {
        let Some(end) = end else {
            if victims.contains(&place) {
                return Err(format!("no end at {place}"));
            }
            continue;
        };
        let named = &end.json["root_conn"];
        if victims.contains(&place) {
            if named != &root_end.json["conn"] {
                return Err(format!("another root at {place}"));
            }
            chain_reads_right(end, place, root, row)?;
        } else if named != &end.json["conn"] && named != &end.json["peer_conn"] {
            return Err(format!("blames another connection at {place}"));
        }
    }
    match hop {
        Hop::Gunicorn => is_killed(root_end),
        _ => Ok(()),
    }
}

/// Each process on the way from the root to this end's connection, in order; null where there is just one.
fn chain_reads_right(
    end: &Line,
    place: usize,
    root: usize,
    row: &[Option<&Line>],
) -> Result<(), String> {
    // The two ends of a connection, and the two of a process, in turn.
    let (from, to) = (root / 2, place / 2);
    let mut due = vec![owner(row[root])];
    // Upstream the client's end is closed next, downstream the server's.
    due.extend((from + 1..=to).map(|connection| owner(row[2 * connection])));
    due.extend(
        (to..from)
            .rev()
            .map(|connection| owner(row[2 * connection + 1])),
    );
    let chain = end.json["chain"].as_array().map(Vec::as_slice);
    let told: Option<Vec<&str>> = chain.map(|chain| {
        let deeds = chain.iter().filter_map(|deed| deed.as_str());
        deeds.filter_map(|deed| deed.split(' ').next()).collect()
    });
    match told {
        None if due.len() == 1 => Ok(()),
        Some(told) if told == due => Ok(()),
        told => Err(format!("the chain at {place} is {told:?}, not {due:?}")),
    }
}

fn owner(end: Option<&Line>) -> String {
    let Some(end) = end else {
        return "nobody".to_owned();
    };
    let (comm, pid) = (end.str("comm"), end.int("pid"));
    format!("{}[{}]", comm.unwrap_or("?"), pid.unwrap_or(0))
}

/// The worker's master ends it with SIGABRT: it closes its connection and exits.
fn is_killed(end: &Line) -> Result<(), String> {
    let killed = end.str("killer_signal") == Some("SIGABRT")
        && end.str("killer_comm") == Some("gunicorn")
        && end
            .int("killer_pid")
            .is_some_and(|killer| Some(killer) != end.int("pid"));
    if killed {
        Ok(())
    } else {
        Err("no word of who killed the worker".to_owned())
    }
}
