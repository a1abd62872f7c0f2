//! Real sockets on loopback; the numbers come from a thread in the place of the ring buffer's reader.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream as Client},
};

use super::*;
use crate::{
    core::sample,
    event::text::Label,
    metrics::{
        snapshot::{About, Own, Probe},
        tally::Tally,
    },
};

const PATIENCE: Duration = Duration::from_secs(20);

fn snapshot(attached: bool) -> Snapshot {
    let mut tally = Tally::new(10);
    tally.count(&sample::close(sample::ids(), sample::end()));
    Snapshot {
        about: Arc::new(About {
            version: "0.1.0",
            kernel: Label::from("6.18.0"),
            probes: vec![Probe {
                signal: "socket_end",
                hook: "tp_btf:inet_sock_set_state".to_owned(),
                attached,
            }],
            ring_bytes: 65_536,
            max_connections: 1_000,
            began_ms: 0,
        }),
        tally,
        own: Own::default(),
    }
}

/// A server, and what it asks.
fn served() -> (SocketAddr, mpsc::Receiver<Ask>) {
    let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let addr = listener.local_addr().expect("bound");
    (addr, start(listener).expect("a thread"))
}

/// One that is answered for as long as the test lasts.
fn answered(attached: bool) -> SocketAddr {
    let (addr, mut asks) = served();
    thread::spawn(move || {
        while let Some(ask) = asks.blocking_recv() {
            let _ = ask.send(snapshot(attached));
        }
    });
    addr
}

fn connect(addr: SocketAddr) -> Client {
    let client = Client::connect(addr).expect("it listens");
    client.set_read_timeout(Some(PATIENCE)).expect("a socket");
    client.set_write_timeout(Some(PATIENCE)).expect("a socket");
    client
}

fn rest(mut client: Client) -> String {
    let mut text = String::new();
    client.read_to_string(&mut text).expect("a response");
    text
}

fn exchange(addr: SocketAddr, request: &str) -> String {
    let mut client = connect(addr);
    client.write_all(request.as_bytes()).expect("it reads");
    rest(client)
}

fn get(addr: SocketAddr, path: &str) -> String {
    exchange(addr, &format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
}

#[test]
fn a_page_comes_whole_and_in_the_form_that_was_asked_for() {
    let addr = answered(true);
    let text = get(addr, "/metrics");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    let length = format!("Content-Length: {}\r\n", body.len());
    assert!(head.contains(&length), "{head}: {}", body.len());
    assert!(body.contains("tracer_connections_closed_total{"));
    let open = exchange(
        addr,
        "GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text\r\n\r\n",
    );
    assert!(open.contains("application/openmetrics-text; version=1.0.0"));
    assert!(open.ends_with("# EOF\n"));
    let head = exchange(addr, "HEAD /metrics HTTP/1.1\r\n\r\n");
    assert!(
        head.ends_with("\r\n\r\n") && head.contains("Content-Length: "),
        "{head}"
    );
}

#[test]
fn what_is_not_there_is_said() {
    let addr = answered(true);
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
        ("\x16\x03\x01\0\0\0", "400"),
    ] {
        let text = exchange(addr, request);
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
    }
}

#[test]
fn health_is_that_the_ring_buffer_is_read_through_hooks() {
    let healthy = get(answered(true), "/healthz");
    assert!(healthy.starts_with("HTTP/1.1 200 "), "{healthy}");
    let blind = get(answered(false), "/healthz");
    assert!(blind.starts_with("HTTP/1.1 503 "), "{blind}");
    // Nobody takes what it asks.
    let (addr, _asks) = served();
    for path in ["/healthz", "/metrics"] {
        let text = get(addr, path);
        assert!(text.starts_with("HTTP/1.1 503 "), "{text}");
        assert!(
            text.ends_with("The ring buffer is not being read.\n"),
            "{text}"
        );
    }
}

#[test]
fn a_head_without_end_is_refused_and_the_refusal_can_be_read() {
    let addr = answered(true);
    let mut client = connect(addr);
    let part = "a".repeat(1 << 16);
    client
        .write_all(format!("GET /metrics HTTP/1.1\r\nA: {part}").as_bytes())
        .expect("it reads");
    for _ in 0..15 {
        client.write_all(part.as_bytes()).expect("it reads on");
    }
    client.shutdown(Shutdown::Write).expect("a socket");
    let text = rest(client);
    assert!(text.starts_with("HTTP/1.1 431 "), "{text}");
}

#[test]
fn idle_connections_keep_nobody_out_and_do_not_stay() {
    let addr = answered(true);
    let began = std::time::Instant::now();
    let idle: Vec<_> = (0..CONNECTIONS_MAX * 3).map(|_| connect(addr)).collect();
    let text = get(addr, "/metrics");
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    // All but the last ones were closed for newer ones, the last ones for being slow.
    let mut slow = 0;
    for mut client in idle {
        let mut text = String::new();
        // One that was closed at once may have been reset.
        if client.read_to_string(&mut text).is_ok() && text.starts_with("HTTP/1.1 408 ") {
            slow += 1;
        }
    }
    assert!((1..=CONNECTIONS_MAX).contains(&slow), "{slow}");
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}

#[test]
fn the_reader_of_the_ring_buffer_is_asked_rarely() {
    let (addr, mut asks) = served();
    let counted = thread::spawn(move || {
        let mut asked = 0;
        while let Some(ask) = asks.blocking_recv() {
            asked += 1;
            let _ = ask.send(snapshot(true));
            if asked == 3 {
                break;
            }
        }
        asked
    });
    let began = std::time::Instant::now();
    let mut scrapes = 0;
    while !counted.is_finished() {
        get(addr, "/metrics");
        scrapes += 1;
        assert!(began.elapsed() < PATIENCE);
    }
    assert!(began.elapsed() >= 2 * FRESH, "{:?}", began.elapsed());
    assert!(scrapes > 3, "{scrapes}");
}

#[test]
fn an_address_that_is_taken_is_told() {
    let taken = StdListener::bind("127.0.0.1:0").expect("a free port");
    let addr = taken.local_addr().expect("bound");
    let error = listen(addr).expect_err("it is taken");
    let text = format!("{error:#}");
    assert!(
        text.starts_with(&format!("cannot listen for scrapers on {addr}: ")),
        "{text}"
    );
}
