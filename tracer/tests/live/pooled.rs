//! The fourth story: a Go client with a timeout goes on sending its requests into a dead connection of its pool.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    Test,
    lab::{
        folder::Folder,
        link::{Link, Net},
        needs::Need,
        program::{Program, build_go},
        tracer::{Line, Tracer},
    },
    stalls::SMALL,
    stories::equal,
};

pub fn tests() -> Vec<Test> {
    let needs = &[
        Need::Program("ip"),
        Need::Program("nft"),
        Need::Program("go"),
    ];
    vec![Test::new(
        "stories::connection_that_would_not_die",
        needs,
        connection_that_would_not_die,
    )]
}

const PORT: u16 = 8443;
const PATIENCE: Duration = Duration::from_secs(40);

/// HTTP/2, where one connection serves all requests and outlives their timeouts.
const SERVER: &str = r#"package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
)

func main() {
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		panic(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "hello")
	}))
	server.Listener = listener
	server.EnableHTTP2 = true
	server.StartTLS()
	fmt.Println("listening")
	select {}
}
"#;

/// Every request says which connection it took and what became of it.
const CLIENT: &str = r#"package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"time"
)

func main() {
	client := &http.Client{
		Timeout: time.Second,
		Transport: &http.Transport{
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
			ForceAttemptHTTP2: true,
			DialContext:       http.DefaultTransport.(*http.Transport).DialContext,
		},
	}
	for {
		request, _ := http.NewRequest("GET", os.Args[1], nil)
		local := "none"
		trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
			local = info.Conn.LocalAddr().String()
		}}
		request = request.WithContext(httptrace.WithClientTrace(request.Context(), trace))
		response, err := client.Do(request)
		if err == nil {
			_, err = io.ReadAll(response.Body)
			response.Body.Close()
		}
		outcome := "failed"
		if err == nil {
			outcome = "answered"
		}
		fmt.Println(outcome, "on", local)
		time.Sleep(200 * time.Millisecond)
	}
}
"#;

fn connection_that_would_not_die() {
    let folder = Folder::new();
    let server = build_go(&folder, "go-server", SERVER);
    let client = build_go(&folder, "go-client", CLIENT);
    let net = Net::new(Link::VethV4);
    // Seconds instead of a quarter of an hour.
    net.sysctl("net.ipv4.tcp_retries2", "3");
    let address = format!("{}:{PORT}", net.server_ip);
    let server = Program::start(
        net.server_ns
            .command(&server.to_string_lossy())
            .arg(&address),
    );
    server.says("listening", PATIENCE);
    let tracer = Tracer::start_with(SMALL);
    let url = format!("https://{address}/");
    let client = Program::start(net.client_ns.command(&client.to_string_lossy()).arg(url));
    let first = client.says("answered on", PATIENCE);
    let local = first.rsplit(' ').next().expect("an address").to_owned();
    let port: i64 = local
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .expect("a port");

    net.blackhole(PORT);
    let stall = wait_for(&tracer, "tcp_stall", client.pid(), port);
    let close = wait_for(&tracer, "tcp_close", client.pid(), port);
    net.heal();
    let deadline = Instant::now() + PATIENCE;
    let output = loop {
        let output = client.said();
        let is_well = |line: &String| line.starts_with("answered") && !line.ends_with(&local);
        if output.iter().any(is_well) {
            break output;
        }
        assert!(Instant::now() < deadline, "no new connection: {output:?}");
        sleep(Duration::from_millis(50));
    };
    let failed = output
        .iter()
        .filter(|line| **line == format!("failed on {local}"))
        .count();
    assert!(
        failed >= 3,
        "requests went on into the dead connection: {output:?}"
    );
    drop((client, server));
    tracer.finish();

    equal(&stall, "comm", "go-client");
    equal(&stall, "gives_up_by", "tcp_retries2");
    equal(&stall, "keepalive_time_ms", 30_000);
    let story = stall.str("story").unwrap_or("");
    let begins = format!(
        "go-client[{}] has had no acknowledgement from {address} for ",
        stall.json["pid"]
    );
    assert!(story.starts_with(&begins), "{story}");
    for part in [
        " retransmissions in a row, ",
        "; the kernel gives up in about ",
        "(tcp_retries2 = 3)",
        "Its keepalive (after 30.0 s, then every 30.0 s) does not run while data is unacknowledged.",
    ] {
        assert!(story.contains(part), "no `{part}` in {story}");
    }
    let mono_us = |line: &Line| line.int("mono_us").expect("a time");
    let real_ms = (mono_us(&close) - mono_us(&stall)) / 1000;
    let foretold_ms = stall.int("gives_up_in_ms").expect("a time");
    assert!(
        (real_ms - foretold_ms).abs() <= 500,
        "foretold in {foretold_ms} ms, came after {real_ms} ms"
    );
    equal(&close, "reason", "timeout_retrans");
    equal(&close, "closed_by", "kernel");
    equal(&close, "pattern", "dead_peer");
    let story = close.str("story").unwrap_or("");
    assert!(story.contains("(tcp_retries2 = 3)"), "{story}");
}

/// The line of this event and connection, as soon as it is there.
fn wait_for(tracer: &Tracer, event: &str, pid: i64, local_port: i64) -> Line {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = tracer.lines().into_iter().find(|line| {
            line.event() == event
                && line.int("pid") == Some(pid)
                && line.int("local_port") == Some(local_port)
        });
        if let Some(line) = found {
            return line;
        }
        assert!(Instant::now() < deadline, "no {event} of port {local_port}");
        sleep(Duration::from_millis(50));
    }
}
