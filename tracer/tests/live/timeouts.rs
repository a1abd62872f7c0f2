//! Which timeout it was: hints and repeats with a real nginx, and what gets none.

use std::{
    fs,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    Test,
    cli::as_nobody,
    lab::{
        folder::Folder,
        needs::Need,
        netns::Netns,
        program::{Program, build_go},
        tracer::{Line, Tracer},
    },
    rows::TIMES,
    stories::{SERVER, ends_of, equal, host, nginx_worker},
};

pub fn tests() -> Vec<Test> {
    let nginx = &[
        Need::Program("ip"),
        Need::Program("go"),
        Need::Program("curl"),
        Need::Program("nginx"),
    ];
    let gunicorn = &[Need::Program("ip"), Need::Program("gunicorn")];
    vec![
        Test::new("timeouts::hints_and_repeats", nginx, hints_and_repeats),
        Test::new("timeouts::a_default", gunicorn, a_default),
        Test::new(
            "timeouts::a_wrong_file_is_told_without_privilege",
            &[],
            a_wrong_file_is_told_without_privilege,
        ),
    ]
}

/// Clients that wait for gunicorn to close.
const AT_ONCE: usize = 5;

/// What this site has: nginx with other values than its own, and something that nobody knows. Timers of a machine that
/// builds and tests at the same time are late.
const SITE: &str = r#"
[nginx.proxy_read_timeout]
value = "2s"
late = "2s"

[nginx.upstream_keepalive_timeout]
value = "1500ms"
late = "1500ms"

[checkout-lb]
value = "2500ms"
late = "2500ms"
"#;

fn nginx_conf(home: &Path) -> String {
    let home = home.display();
    format!(
        "user root;\nworker_processes 1;\ndaemon off;\npid {home}/nginx.pid;\nerror_log {home}/error.log;\n\
         events {{ worker_connections 512; }}\n\
         http {{\n  access_log off;\n  client_body_temp_path {home}/body;\n  proxy_temp_path {home}/proxy;\n\
         fastcgi_temp_path {home}/fastcgi;\n  uwsgi_temp_path {home}/uwsgi;\n  scgi_temp_path {home}/scgi;\n\
         upstream quick {{\n    server 127.0.0.1:8082;\n    keepalive 64;\n    keepalive_timeout 1500ms;\n  }}\n\
         server {{\n    listen 127.0.0.1:8000;\n\
         location /slow {{\n      proxy_pass http://127.0.0.1:8081;\n      proxy_read_timeout 2s;\n    }}\n\
         location /quick {{\n      proxy_pass http://quick;\n      proxy_http_version 1.1;\n\
         proxy_set_header Connection \"\";\n    }}\n  }}\n}}\n"
    )
}

/// Three servers of one program: nginx gives up the slow one, keeps the quick one's connections for a while, and the
/// third is left to work for as long as a timeout that is in the table.
fn hints_and_repeats() {
    let folder = Folder::new();
    let built = build_go(&folder, "server", SERVER);
    let netns = host();
    // Nobody else's processes are called so: the repeats are ours.
    let name = |what: &str| format!("{what}-{}", std::process::id());
    let start = |what: &str, port: u16, work: &str| {
        let binary = folder.file(&name(what));
        fs::copy(&built, &binary).expect("the folder is ours");
        let address = format!("127.0.0.1:{port}");
        let mut server = netns.command(&binary.to_string_lossy());
        let server = Program::start(server.args([&address, "100", work]));
        server.says("listening", Duration::from_secs(20));
        server
    };
    let slow = start("slow", 8081, "3s");
    let quick = start("quick", 8082, "500ms");
    let busy = start("busy", 8083, "2500ms");
    let config = written(&folder, "nginx.conf", &nginx_conf(folder.path()));
    let mut nginx = netns.command("nginx");
    nginx.arg("-p").arg(folder.path()).arg("-c").arg(&config);
    let mut nginx = Program::start(&mut nginx);
    let worker = nginx_worker(nginx.pid());

    let site = written(&folder, "site.toml", SITE);
    let tracer = Tracer::start_with(&["--fingerprints", &site.to_string_lossy()]);
    let mut clients = [
        all_at_once(&netns, "http://127.0.0.1:8000/slow"),
        all_at_once(&netns, "http://127.0.0.1:8000/quick"),
        all_at_once(&netns, "http://127.0.0.1:8083/busy"),
    ];
    let ended = |program: &Program| {
        let lines = tracer.lines();
        let is_its = |line: &&Line| line.is_end() && line.int("pid") == Some(program.pid());
        lines.iter().filter(is_its).count()
    };
    let deadline = Instant::now() + Duration::from_secs(40);
    while ended(&slow) < TIMES || ended(&busy) < TIMES || ended(&quick) < TIMES {
        assert!(
            Instant::now() < deadline,
            "ended: {} slow, {} busy, {} quick",
            ended(&slow),
            ended(&busy),
            ended(&quick)
        );
        sleep(Duration::from_millis(50));
    }
    let recording = tracer.finish();
    for client in &mut clients {
        client.end(Signal::SIGTERM);
    }
    nginx.end(Signal::SIGQUIT);

    let ends = ends_of(&recording, &netns, slow.pid());
    assert_eq!(ends.len(), TIMES);
    for end in &ends {
        equal(end, "pattern", "peer_gave_up_waiting");
        equal(end, "hints", json!(["nginx.proxy_read_timeout"]));
        equal(end, "hint_s", 2);
        says(end, "for a response (2 s: nginx.proxy_read_timeout");
    }
    let stop = recording.of_event("stop").next().expect("the last line");
    repeated(&ends, stop, &name("slow"), "peer_gave_up_waiting");

    let ends = ends_of(&recording, &netns, quick.pid());
    for end in &ends {
        equal(end, "pattern", "peer_idle_close");
        equal(end, "hints", json!(["nginx.upstream_keepalive_timeout"]));
        equal(end, "hint_s", 2);
        says(end, "(1.5 s: nginx.upstream_keepalive_timeout");
    }
    repeated(&ends, stop, &name("quick"), "peer_idle_close");

    // The same from nginx's side.
    for (port, pattern, hint) in [
        (8081, "local_gave_up_waiting", "nginx.proxy_read_timeout"),
        (8082, "local_idle_close", "nginx.upstream_keepalive_timeout"),
    ] {
        let ends = ends_of(&recording, &netns, worker);
        let upstream: Vec<&Line> = ends
            .iter()
            .filter(|end| end.int("peer_port") == Some(port))
            .collect();
        assert_eq!(upstream.len(), TIMES, "to port {port}");
        for end in upstream {
            equal(end, "pattern", pattern);
            equal(end, "hints", json!([hint]));
        }
    }

    // As long as a timeout of this site, and then answered.
    let ends = ends_of(&recording, &netns, busy.pid());
    assert_eq!(ends.len(), TIMES);
    for end in &ends {
        equal(end, "pattern", "normal");
        equal(end, "hints", json!([]));
        equal(end, "hint_s", Value::Null);
        equal(end, "repeats", Value::Null);
    }
}

fn written(folder: &Folder, name: &str, text: &str) -> PathBuf {
    let path = folder.file(name);
    fs::write(&path, text).expect("the folder is ours");
    path
}

/// That many requests, each with a connection of its own.
fn all_at_once(netns: &Netns, url: &str) -> Program {
    let mut curl = netns.command("curl");
    curl.args(["-s", "-Z", "--parallel-immediate", "--parallel-max", "64"]);
    for _ in 0..TIMES {
        curl.args(["-o", "/dev/null", url]);
    }
    Program::start(&mut curl)
}

fn says(end: &Line, words: &str) {
    let story = end.str("story").unwrap_or_default();
    assert!(story.contains(words), "`{words}` is not in: {story}");
}

/// They are counted in the order in which they were written, and `stop` has the same numbers. On a machine that is busy
/// with other things some timers may be too late to count with the others.
fn repeated(ends: &[Line], stop: &Line, process: &str, pattern: &str) {
    let counts: Vec<i64> = ends
        .iter()
        .map(|end| end.int("repeats").unwrap_or(1))
        .collect();
    let most = counts.iter().copied().max().unwrap_or(0);
    assert!(most as usize > TIMES / 2, "repeats: {counts:?}");
    for count in 2..most {
        assert!(counts.contains(&count), "{count} is not in {counts:?}");
    }
    let first = ends.iter().find(|end| end.int("repeats") == Some(3));
    if let Some(end) = first {
        says(end, " such ends came at ");
    }
    let clusters = stop.json["clusters"].as_array().expect("an array");
    let found = clusters.iter().find(|cluster| {
        cluster["process"] == *process && cluster["pattern"] == *pattern && cluster["count"] == most
    });
    let cluster = found.unwrap_or_else(|| panic!("{process} {pattern} {most}: {}", stop.text));
    assert_eq!(cluster["of"], ends.len());
    assert_eq!(cluster["peer"], "nginx");
}

/// gunicorn as it comes: its --keep-alive of 2 s, which it looks after once a second.
fn a_default() {
    let folder = Folder::new();
    let app = "def app(environ, start_response):\n    \
               start_response('200 OK', [('Content-Length', '2')])\n    return [b'ok']\n";
    written(&folder, "app.py", app);
    let netns = host();
    let mut gunicorn = netns.command("gunicorn");
    gunicorn.args([
        "--worker-class=gthread",
        "--threads=8",
        "--bind=127.0.0.1:8084",
        "app:app",
    ]);
    let mut gunicorn = Program::start(gunicorn.current_dir(folder.path()));
    let answered = || ask(&netns, "cat <&3 | grep -q ok");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !answered().wait() {
        assert!(Instant::now() < deadline, "gunicorn does not answer");
        sleep(Duration::from_millis(100));
    }
    let tracer = Tracer::start();
    // A few at once: more receives that wait than kretprobes have instances would not be seen, nor whose they are.
    let mut left = TIMES;
    while left > 0 {
        let together = left.min(AT_ONCE);
        left -= together;
        let mut clients: Vec<Program> = (0..together)
            .map(|_| ask(&netns, "cat <&3 >/dev/null"))
            .collect();
        for client in &mut clients {
            client.wait();
        }
    }
    // The records of the last ones.
    sleep(Duration::from_millis(300));
    let recording = tracer.finish();
    // Its worker goes with it.
    gunicorn.end(Signal::SIGTERM);

    let ends: Vec<&Line> = recording
        .ends()
        .filter(|line| line.int("netns") == Some(netns.inode() as i64))
        .collect();
    assert_eq!(ends.len(), 2 * TIMES);
    let mut in_time = 0;
    for end in ends {
        let pattern = match end.str("role") {
            Some("server") => "local_idle_close",
            _ => "peer_idle_close",
        };
        equal(end, "pattern", pattern);
        let idle_ms = [end.int("idle_rx_ms"), end.int("idle_tx_ms")];
        let idle_ms = idle_ms.into_iter().flatten().min().unwrap_or(0);
        // Whether gunicorn is as quick as it says is up to the machine.
        if (1_980..=3_400).contains(&idle_ms) {
            equal(end, "hints", json!(["gunicorn.keepalive"]));
            equal(end, "hint_s", 2);
            says(end, "(2 s: gunicorn.keepalive");
            in_time += 1;
        } else {
            equal(end, "hints", json!([]));
        }
    }
    assert!(in_time > TIMES, "only {in_time} after 2 s");
}

/// A client that asks once and then does this with what comes.
fn ask(netns: &Netns, and_then: &str) -> Program {
    let script = format!(
        "exec 3<>/dev/tcp/127.0.0.1/8084; printf 'GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n' >&3; {and_then}"
    );
    Program::start(netns.command("bash").args(["-c", &script]))
}

/// Somebody without any privilege is told of the file, and not of the privilege.
fn a_wrong_file_is_told_without_privilege() {
    let folder = Folder::new();
    for (name, text, words) in [
        ("syntax", "checkout-lb 45s\n", "syntax:1: not TOML"),
        (
            "value",
            "\ncheckout-lb = \"45\"\n",
            "value:2: checkout-lb: value \"45\": expected a number and a unit",
        ),
        (
            "key",
            "[lb]\nvalue = \"5s\"\ncolour = \"red\"\n",
            "key:3: lb: unknown field `colour`",
        ),
        (
            "clock",
            "[lb]\nvalue = \"5s\"\nclock = \"moon\"\n",
            "clock:1: lb: clock \"moon\": expected any of waiting",
        ),
    ] {
        let path = written(&folder, name, text);
        let output = as_nobody(&folder, &["--fingerprints", &path.to_string_lossy()]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(output.stdout.is_empty());
        assert!(stderr.contains(words), "`{words}` is not in: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}
