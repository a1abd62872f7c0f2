//! Connections that nothing is wrong with, many at once, so that coincidences are frequent: no timeout fits them, and none
//! is the consequence of another, also when a proxy ends hundreds at a time.

use std::{fs, path::Path, thread, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    Test,
    lab::{
        folder::Folder,
        needs::Need,
        netns::Netns,
        program::{Program, build_go},
        tracer::{Line, Tracer},
    },
};

pub fn tests() -> Vec<Test> {
    let needs = ["ip", "go", "nginx"].map(Need::Program);
    vec![Test::new(
        "healthy::no_hint_and_no_chain",
        &needs,
        no_hint_and_no_chain,
    )]
}

/// Client processes at a time, and connections of each: three quarters go through the proxy.
const CLIENTS: usize = 4;
const CONNECTIONS: usize = 80;

/// `serve`: HTTP that takes any body and answers with as much as it is asked for, and a server that answers once
/// the client has said all (and half-closed). `load`: connections of random length, size and pauses, each answered in full;
/// then "idle", with some of them kept open.
const PROGRAM: &str = r#"package main

import (
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

func main() {
	if os.Args[1] == "serve" {
		serve()
	} else {
		count, _ := strconv.Atoi(os.Args[2])
		seed, _ := strconv.ParseInt(os.Args[3], 10, 64)
		load(count, seed)
	}
}

func must(err error) {
	if err != nil {
		fmt.Println("failed", err)
		os.Exit(1)
	}
}

func serve() {
	echo, err := net.Listen("tcp", "127.0.0.1:8002")
	must(err)
	go func() {
		for {
			conn, err := echo.Accept()
			must(err)
			go func() {
				said, err := io.ReadAll(conn)
				must(err)
				conn.Write(said)
				conn.Close()
			}()
		}
	}()
	listener, err := net.Listen("tcp", "127.0.0.1:8001")
	must(err)
	fmt.Println("listening")
	http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		size, _ := strconv.Atoi(r.URL.Query().Get("size"))
		w.Write(make([]byte, size))
	}))
}

func load(count int, seed int64) {
	var all sync.WaitGroup
	for number := 0; number < count; number++ {
		all.Add(1)
		random := rand.New(rand.NewSource(seed*1000 + int64(number)))
		go func(number int) {
			defer all.Done()
			time.Sleep(time.Duration(random.Intn(1000)) * time.Millisecond)
			switch {
			case number%8 == 0:
				halfClose(random)
			case number%8 == 1:
				requests(random, "8001", true)
			default:
				requests(random, "8000", number%3 != 0)
			}
		}(number)
	}
	all.Wait()
	fmt.Println("idle")
	select {}
}

func halfClose(random *rand.Rand) {
	conn, err := net.Dial("tcp", "127.0.0.1:8002")
	must(err)
	said := make([]byte, 1+random.Intn(200000))
	_, err = conn.Write(said)
	must(err)
	time.Sleep(time.Duration(random.Intn(400)) * time.Millisecond)
	must(conn.(*net.TCPConn).CloseWrite())
	heard, err := io.ReadAll(conn)
	must(err)
	if len(heard) != len(said) {
		must(fmt.Errorf("%d bytes of %d", len(heard), len(said)))
	}
	conn.Close()
}

// On one connection, which is closed in the end or stays idle.
func requests(random *rand.Rand, port string, close bool) {
	transport := &http.Transport{MaxConnsPerHost: 1}
	client := &http.Client{Transport: transport}
	for left := 1 + random.Intn(8); left > 0; left-- {
		size := random.Intn(300000)
		body := strings.NewReader(strings.Repeat("x", random.Intn(20000)))
		url := fmt.Sprintf("http://127.0.0.1:%s/?size=%d", port, size)
		response, err := client.Post(url, "text/plain", body)
		must(err)
		read, err := io.Copy(io.Discard, response.Body)
		must(err)
		if response.StatusCode != 200 || read != int64(size) {
			must(fmt.Errorf("%s: %d of %d bytes", response.Status, read, size))
		}
		response.Body.Close()
		// Half of them end with the last answer.
		if left > 1 || random.Intn(2) == 0 {
			time.Sleep(time.Duration(random.Intn(400)) * time.Millisecond)
		}
	}
	if close {
		transport.CloseIdleConnections()
	}
}
"#;

/// A proxy that keeps connections on both sides.
fn nginx_config(home: &Path) -> String {
    let home = home.display();
    format!(
        "user root;\nworker_processes 2;\ndaemon off;\npid {home}/nginx.pid;\nerror_log {home}/error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n  access_log off;\n  client_body_temp_path {home}/body;\n  proxy_temp_path {home}/proxy;\n\
         fastcgi_temp_path {home}/fastcgi;\n  uwsgi_temp_path {home}/uwsgi;\n  scgi_temp_path {home}/scgi;\n\
         client_max_body_size 10m;\n\
         upstream backend {{ server 127.0.0.1:8001; keepalive 4; }}\n\
         server {{\n    listen 127.0.0.1:8000 backlog=1024;\n    location / {{\n      proxy_pass http://backend;\n\
         proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n    }}\n  }}\n}}\n"
    )
}

fn no_hint_and_no_chain() {
    let folder = Folder::new();
    let binary = build_go(&folder, "healthy", PROGRAM);
    let binary = binary.to_str().expect("a path of ours");
    let netns = Netns::new();
    netns.ip("link set dev lo up\n");
    let mut server = Program::start(netns.command(binary).arg("serve"));
    server.says("listening", Duration::from_secs(20));
    let config = folder.file("nginx.conf");
    fs::write(&config, nginx_config(folder.path())).expect("the folder is ours");
    let mut nginx = Program::start(
        netns
            .command("nginx")
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(&config),
    );
    netns.wait_for_listener(8000);
    let tracer = Tracer::start();
    let load = |round: usize| -> Vec<Program> {
        let clients: Vec<Program> = (0..CLIENTS)
            .map(|number| {
                let seed = (round * CLIENTS + number).to_string();
                let count = CONNECTIONS.to_string();
                Program::start(netns.command(binary).args(["load", &count, &seed]))
            })
            .collect();
        for client in &clients {
            client.says("idle", Duration::from_secs(60));
        }
        clients
    };

    // A reload closes what is idle, all at once; so does the proxy's end.
    let first = load(0);
    let workers = children(nginx.pid());
    kill(Pid::from_raw(nginx.pid() as i32), Signal::SIGHUP).expect("nginx runs");
    let gone = |pids: &[i64]| !pids.iter().any(|pid| children(nginx.pid()).contains(pid));
    netns.wait_for("the old workers to go", || gone(&workers));
    let second = load(1);
    nginx.end(Signal::SIGTERM);
    for mut client in first.into_iter().chain(second) {
        client.end(Signal::SIGTERM);
    }
    server.end(Signal::SIGTERM);
    thread::sleep(Duration::from_millis(200));
    let recording = tracer.finish();

    let inode = Some(netns.inode() as i64);
    let ends: Vec<&Line> = recording
        .ends()
        .filter(|line| line.int("netns") == inode)
        .collect();
    // Two ends each, but for those of nginx's upstream, of which there are fewer.
    let least = 2 * 2 * CLIENTS * CONNECTIONS;
    assert!(ends.len() >= least, "{} ends, {least} at least", ends.len());
    let wrong: Vec<&str> = ends
        .iter()
        .filter(|line| !is_healthy(line))
        .map(|line| line.text.as_str())
        .collect();
    assert!(
        wrong.is_empty(),
        "{} of {} ends are explained that need no explanation, such as\n{}",
        wrong.len(),
        ends.len(),
        wrong[..wrong.len().min(4)].join("\n")
    );
}

/// No hint, no chain, nobody who gave up, and whoever closed it is where it began.
fn is_healthy(line: &Line) -> bool {
    let json = &line.json;
    let none = |key: &str| json[key].is_null();
    let closer = match line.str("closed_by") {
        Some("local") => &json["conn"],
        Some("peer") => &json["peer_conn"],
        _ => return false,
    };
    let gave_up = ["peer_gave_up_waiting", "local_gave_up_waiting"];
    !gave_up.contains(&line.str("pattern").unwrap_or_default())
        && json["hints"].as_array().is_some_and(Vec::is_empty)
        && none("hint_s")
        && none("cause_conn")
        && none("chain")
        && json["root_conn"] == *closer
}

fn children(pid: i64) -> Vec<i64> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}
