//! The stories that the tool is for, with the real programs: Go's net/http, curl, nginx.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use crate::{
    Test,
    lab::{
        docker::{self, Docker},
        folder::Folder,
        needs::{Need, find},
        netns::Netns,
        program::{Program, build_go},
        tracer::{Line, Recording, Tracer},
    },
};

pub fn tests() -> Vec<Test> {
    let go = &[
        Need::Program("ip"),
        Need::Program("go"),
        Need::Program("curl"),
    ];
    let nginx = &[
        Need::Program("ip"),
        Need::Program("go"),
        Need::Program("curl"),
        Need::Program("nginx"),
    ];
    vec![
        Test::new("stories::riddle_8061", go, riddle_8061),
        Test::new("stories::riddle_8000", go, riddle_8000),
        Test::new("stories::nginx_gives_up", nginx, nginx_gives_up),
        Test::new(
            "stories::nginx_gives_up_in_containers",
            &[&nginx[..], &docker::NETWORK_NEEDS].concat(),
            nginx_gives_up_in_containers,
        ),
    ]
}

/// A handler that works for a while and then writes its response, as in the stories.
pub const SERVER: &str = r#"package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

func main() {
	size, _ := strconv.Atoi(os.Args[2])
	work, _ := time.ParseDuration(os.Args[3])
	body := make([]byte, size)
	for i := range body {
		body[i] = 'x'
	}
	server := &http.Server{
		ReadTimeout:  10 * time.Minute,
		WriteTimeout: 10 * time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(work)
			n, err := w.Write(body)
			fmt.Println("wrote", n, err)
		}),
	}
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		panic(err)
	}
	fmt.Println("listening")
	server.Serve(listener)
}
"#;

pub fn host() -> Netns {
    let netns = Netns::new();
    netns.ip("link set lo up\n");
    netns
}

/// The records of this namespace by process.
pub fn ends_of(recording: &Recording, netns: &Netns, pid: i64) -> Vec<Line> {
    recording
        .ends()
        .filter(|line| {
            line.int("netns") == Some(netns.inode() as i64) && line.int("pid") == Some(pid)
        })
        .cloned()
        .collect()
}

fn between(line: &Line, key: &str, low: i64, high: i64) {
    let value = line.int(key);
    assert!(
        value.is_some_and(|value| (low..=high).contains(&value)),
        "{key} is {value:?}, not {low} to {high}: {}",
        line.text
    );
}

pub fn equal(line: &Line, key: &str, due: impl Into<serde_json::Value>) {
    assert_eq!(line.json[key], due.into(), "{key}: {}", line.text);
}

/// Story 2: curl is interrupted after half a second, the handler writes after one.
fn riddle(size: usize) -> (Line, String, Line) {
    let folder = Folder::new();
    let binary = build_go(&folder, "go-server", SERVER);
    let netns = host();
    let server = Program::start(netns.command(&binary.to_string_lossy()).args([
        "127.0.0.1:3000",
        &size.to_string(),
        "1s",
    ]));
    server.says("listening", Duration::from_secs(10));
    let tracer = Tracer::start();
    let mut curl = Program::start(netns.command("curl").args(["-s", "http://127.0.0.1:3000/"]));
    thread::sleep(Duration::from_millis(500));
    curl.end(Signal::SIGINT);
    let said = server.says("wrote", Duration::from_secs(10));
    // The second write, if there is one, and the record.
    thread::sleep(Duration::from_millis(300));
    let recording = tracer.finish();

    let [client] = ends_of(&recording, &netns, curl.pid())
        .try_into()
        .expect("one end of curl's");
    equal(&client, "comm", "curl");
    equal(&client, "reason", "fin_local");
    equal(&client, "closed_by", "local");
    equal(&client, "closer_pid", curl.pid());
    equal(&client, "rx_bytes", 0);
    between(&client, "end_age_ms", 300, 900);

    let [end] = ends_of(&recording, &netns, server.pid())
        .try_into()
        .expect("one end of the server's");
    equal(&end, "comm", "go-server");
    equal(&end, "role", "server");
    equal(&end, "reason", "fin_peer_rst");
    equal(&end, "closed_by", "peer");
    equal(&end, "how", "fin");
    equal(&end, "errno", "EPIPE");
    equal(&end, "state", "close_wait");
    equal(&end, "rx_bytes", client.json["tx_bytes"].clone());
    equal(&end, "rx_unread_bytes", 0);
    between(&end, "end_age_ms", 300, 900);
    between(&end, "age_ms", 950, 3000);
    // All that was written came after the client's end, and nobody read it.
    equal(&end, "tx_bytes", end.json["tx_after_fin_bytes"].clone());
    equal(
        &end,
        "tx_unacked_bytes",
        end.json["tx_after_fin_bytes"].clone(),
    );
    let errors: Vec<&Line> = recording
        .of_event("tcp_io_error")
        .filter(|line| line.str("conn") == end.str("conn"))
        .collect();
    for error in &errors {
        equal(error, "op", "send");
        equal(error, "errno", "EPIPE");
    }
    assert_eq!(
        end.json["write_errno"].is_null(),
        errors.is_empty(),
        "{}",
        end.text
    );
    let resets: Vec<&str> = recording
        .of_event("tcp_reset")
        .filter(|line| line.str("conn") == client.str("conn"))
        .filter_map(|line| line.str("direction"))
        .collect();
    assert_eq!(resets, ["sent"], "the RST of curl's side");
    (end, said, client)
}

/// 8193 bytes with the headers: two writes, and the second one fails.
fn riddle_8061() {
    let (end, said, _) = riddle(8061);
    assert!(said.contains("broken pipe"), "the server said: {said}");
    equal(&end, "write_errno", "EPIPE");
    equal(&end, "sigpipe", true);
    between(&end, "tx_after_fin_bytes", 4096, 8192);
}

/// 8132 bytes with the headers: the server sees no error, and the response is lost all the same.
fn riddle_8000() {
    let (end, said, _) = riddle(8000);
    assert!(said.contains("wrote 8000 <nil>"), "the server said: {said}");
    between(&end, "tx_after_fin_bytes", 4000, 8192);
}

/// Story 1: nginx waits for two seconds, the handler works for four and then writes a lot.
fn nginx_gives_up() {
    let folder = Folder::new();
    let binary = build_go(&folder, "go-server", SERVER);
    let netns = host();
    let server = Program::start(netns.command(&binary.to_string_lossy()).args([
        "127.0.0.1:8080",
        &(64 << 20).to_string(),
        "4s",
    ]));
    server.says("listening", Duration::from_secs(10));
    let config = folder.path().join("nginx.conf");
    let text = nginx_config(&folder.path().to_string_lossy(), "127.0.0.1:8080");
    fs::write(&config, text).expect("the folder is ours");
    let mut nginx = Program::start(
        netns
            .command("nginx")
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(&config),
    );
    let worker = nginx_worker(nginx.pid());
    let tracer = Tracer::start();
    let mut curl = Program::start(netns.command("curl").args([
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}\n",
        "http://127.0.0.1:8000/",
    ]));
    curl.says("504", Duration::from_secs(10));
    let said = server.says("wrote", Duration::from_secs(10));
    assert!(said.contains("broken pipe"), "the server said: {said}");
    thread::sleep(Duration::from_millis(300));
    let recording = tracer.finish();
    curl.end(Signal::SIGTERM);
    nginx.end(Signal::SIGQUIT);

    let [end] = ends_of(&recording, &netns, server.pid())
        .try_into()
        .expect("one end of the server's");
    equal(&end, "comm", "go-server");
    equal(&end, "reason", "fin_peer_rst");
    equal(&end, "closed_by", "peer");
    equal(&end, "how", "fin");
    equal(&end, "errno", "EPIPE");
    equal(&end, "peer_pid", worker);
    equal(&end, "peer_comm", "nginx");
    between(&end, "end_age_ms", 1900, 2900);
    between(&end, "idle_rx_ms", 1900, 2900);
    between(&end, "age_ms", 3900, 6000);
    between(&end, "half_close_ms", 1500, 3500);
    between(&end, "tx_after_fin_bytes", 1, 64 << 20);
    assert!(
        matches!(end.str("write_errno"), Some("EPIPE" | "ECONNRESET")),
        "the write failed: {}",
        end.text
    );
    assert!(
        end.str("story")
            .is_some_and(|story| story.contains("nginx")),
        "{}",
        end.text
    );

    let by_nginx = ends_of(&recording, &netns, worker);
    let upstream: Vec<&Line> = by_nginx
        .iter()
        .filter(|line| line.int("peer_port") == Some(8080))
        .collect();
    let downstream: Vec<&Line> = by_nginx
        .iter()
        .filter(|line| line.int("local_port") == Some(8000))
        .collect();
    if upstream.is_empty() && recording.is_blind(&end) {
        println!("note: the end of nginx's upstream came while PID 1 was the current task");
        return;
    }
    let ([upstream], [downstream]) = (upstream.as_slice(), downstream.as_slice()) else {
        panic!("nginx has one end on each side: {by_nginx:?}")
    };
    equal(upstream, "reason", "fin_local");
    equal(upstream, "role", "client");
    equal(upstream, "comm", "nginx");
    equal(upstream, "closer_pid", worker);
    between(upstream, "end_age_ms", 1900, 2900);
    equal(downstream, "role", "server");
    between(downstream, "end_age_ms", 1900, 3500);
    let [client] = ends_of(&recording, &netns, curl.pid())
        .try_into()
        .expect("one end of curl's");
    equal(&client, "comm", "curl");
}

/// With the time limits of the story. `home`: a folder that it may write to.
pub fn nginx_config(home: &str, backend: &str) -> String {
    format!(
        "user root;\nworker_processes 1;\ndaemon off;\npid {home}/nginx.pid;\nerror_log {home}/error.log;\n\
         events {{ worker_connections 64; }}\n\
         http {{\n  access_log off;\n  client_body_temp_path {home}/body;\n  proxy_temp_path {home}/proxy;\n\
         fastcgi_temp_path {home}/fastcgi;\n  uwsgi_temp_path {home}/uwsgi;\n  scgi_temp_path {home}/scgi;\n\
         server {{\n    listen 8000;\n    location / {{\n      proxy_pass http://{backend};\n\
         proxy_read_timeout 2s;\n      proxy_connect_timeout 2s;\n      proxy_send_timeout 2s;\n    }}\n  }}\n}}\n"
    )
}

/// The same as it was published: two containers on a network of their own, and `curl localhost`, which docker-proxy
/// carries to the first of them.
fn nginx_gives_up_in_containers() {
    let folder = Folder::new();
    let binary = build_go(&folder, "go-server", SERVER);
    let netns = host();
    let docker = Docker::start_in(&netns);
    docker.run(&["network", "create", "shop"]);
    docker.import_program(&binary, "go-server:lab");
    let nginx = find("nginx").expect("a need");
    docker.import_program(&nginx, "nginx:lab");
    let mount = |name: &str, text: &str, place: &str| {
        let file = folder.file(name);
        fs::write(&file, text).expect("the folder is ours");
        format!("--volume={}:{place}:ro", file.display())
    };
    let size = (64 << 20).to_string();
    let server = docker.start_container(&[
        "--name=server",
        "--network=shop",
        "go-server:lab",
        &binary.to_string_lossy(),
        "0.0.0.0:8080",
        &size,
        "3s",
    ]);
    server.says("listening", Duration::from_secs(20));
    let proxy = docker.start_container(&[
        "--name=proxy",
        "--network=shop",
        "--publish=8000:8000",
        "--tmpfs=/tmp",
        &mount("passwd", "root:x:0:0::/:/bin/sh\n", "/etc/passwd"),
        &mount("group", "root:x:0:\n", "/etc/group"),
        &mount(
            "nginx.conf",
            &nginx_config("/tmp", "server:8080"),
            "/nginx.conf",
        ),
        "nginx:lab",
        &nginx.to_string_lossy(),
        "-c",
        "/nginx.conf",
    ]);
    let worker = nginx_worker(proxy.pid.into());
    let tracer = Tracer::start();
    let url = "http://127.0.0.1:8000/";
    let curl = ["-s", "-o", "/dev/null", "-w", "%{http_code}\n", url];
    let curl = Program::start(netns.command("curl").args(curl));
    curl.says("504", Duration::from_secs(10));
    server.says("broken pipe", Duration::from_secs(20));
    thread::sleep(Duration::from_millis(300));
    let recording = tracer.finish();

    let of = |pid: i64, port: &str, value: i64| -> Line {
        let found: Vec<&Line> = recording
            .ends()
            .filter(|line| line.int("pid") == Some(pid) && line.int(port) == Some(value))
            .collect();
        match found.as_slice() {
            [line] => (*line).clone(),
            other => panic!("one end of {pid} with {port} {value}: {other:?}"),
        }
    };
    let end = of(server.pid.into(), "local_port", 8080);
    let upstream = of(worker, "peer_port", 8080);
    let downstream = of(worker, "local_port", 8000);
    let client = of(curl.pid(), "peer_port", 8000);

    equal(&end, "reason", "fin_peer_rst");
    equal(&end, "closed_by", "peer");
    equal(&end, "errno", "EPIPE");
    between(&end, "end_age_ms", 1900, 2900);
    between(&end, "half_close_ms", 500, 3500);
    for (own, container, name) in [(&end, &server, "server"), (&upstream, &proxy, "proxy")] {
        equal(own, "container_id", container.id.as_str());
        equal(own, "container_name", name);
        equal(own, "runtime", "docker");
    }
    for (own, other, container) in [(&end, &upstream, &proxy), (&upstream, &end, &server)] {
        equal(own, "peer_pid", other.int("pid"));
        equal(own, "peer_conn", other.json["conn"].clone());
        equal(own, "peer_container_id", container.id.as_str());
        equal(own, "flow_id", other.json["flow_id"].clone());
        equal(own, "root_conn", upstream.json["conn"].clone());
    }
    let story = end.str("story").unwrap_or_default();
    let due = format!(
        "nginx[{worker}] hung up on go-server[{}] after waiting 2.0 s",
        server.pid
    );
    assert!(story.starts_with(&due), "{story}");
    equal(&upstream, "reason", "fin_local");
    equal(&upstream, "closer_pid", worker);
    equal(&downstream, "peer_comm", "docker-proxy");
    equal(&client, "peer_comm", "docker-proxy");
}

/// The only child of nginx's master, once the port is open.
pub fn nginx_worker(master: i64) -> i64 {
    let read = |path: String| fs::read_to_string(path).unwrap_or_default();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let children = read(format!("/proc/{master}/task/{master}/children"));
        // 8000 in LISTEN.
        let open = read(format!("/proc/{master}/net/tcp")).contains(":1F40 00000000:0000 0A");
        if let (Some(worker), true) = (children.split_whitespace().next(), open) {
            return worker.parse().expect("a pid");
        }
        assert!(Instant::now() < deadline, "nginx does not listen");
        thread::sleep(Duration::from_millis(10));
    }
}
