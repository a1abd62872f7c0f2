//! RSTs that belong to no connection: rows 27 and 28.

use std::{net::SocketAddr, thread::sleep, time::Duration};

use crate::{
    Test,
    endings::{connect::connect_refused, handshake::abort_on_overflow},
    lab::{
        kernel,
        link::{LINKS, Link, Net},
        needs::Need,
        tracer::{Line, Recording, Tracer},
    },
    rows::{TIMES, on_links},
};

pub fn tests() -> Vec<Test> {
    let ip = &[Need::Program("ip")];
    let nft = &[Need::Program("ip"), Need::Program("nft")];
    vec![
        Test::new("resets::closed_port", ip, closed_port),
        Test::new("resets::flood", ip, flood),
        Test::new("resets::overflow", nft, overflow),
    ]
}

/// The lines without a connection from these ports of ours.
fn without_conn<'a>(
    recording: &'a Recording,
    net: &Net,
    ports: std::ops::Range<u16>,
) -> Vec<&'a Line> {
    recording
        .of_event("tcp_reset")
        .filter(|line| {
            line.json["conn"].is_null()
                && line.str("local_addr") == Some(&net.server_ip.to_string())
                && line.int("local_port").is_some_and(|port| ports.contains(&(port as u16)))
                // Where there is no socket, the namespace may be unknown, but not another one.
                && line.int("netns").is_none_or(|netns| netns == net.server_ns.inode() as i64)
        })
        .collect()
}

/// Row 27: a closed port answers; the end that answers has no socket, no owner and no conn.
fn closed_port() {
    let tracer = Tracer::start();
    // One link at a time: no more than 100 of these lines are written in a second.
    let nets: Vec<Net> = LINKS
        .iter()
        .map(|&link| {
            let net = Net::new(link);
            connect_refused(&net, TIMES);
            sleep(Duration::from_millis(1100));
            net
        })
        .collect();
    let recording = tracer.finish();
    for net in &nets {
        let name = net.link.name();
        let lines = without_conn(&recording, net, 20_000..20_000 + TIMES as u16);
        // On loopback the root namespace may have the same addresses, but nobody uses these ports.
        let ours: Vec<&&Line> = lines
            .iter()
            .filter(|line| line.int("netns").is_some() || net.link.is_veth())
            .collect();
        assert_eq!(ours.len(), TIMES, "lines without conn on {name}");
        let mut ports: Vec<i64> = ours
            .iter()
            .filter_map(|line| line.int("local_port"))
            .collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), TIMES, "different ports on {name}");
        for line in ours {
            assert_eq!(line.str("direction"), Some("sent"), "{}", line.text);
            assert_eq!(line.str("rst_reason"), reason("no_socket"), "{}", line.text);
            assert_eq!(
                line.str("peer_addr"),
                Some(net.client_ip.to_string().as_str()),
                "{}",
                line.text
            );
            for key in ["pid", "comm", "state", "closer_pid", "flow_id"] {
                assert!(
                    line.json[key].is_null(),
                    "{key} of nobody's RST: {}",
                    line.text
                );
            }
        }
    }
}

/// At most 100 a second are written, the rest is counted in the next.
fn flood() {
    const BURST: usize = 300;
    let tracer = Tracer::start();
    let net = Net::new(Link::LoV4);
    sleep(Duration::from_millis(1100));
    connect_refused(&net, BURST);
    sleep(Duration::from_millis(1500));
    connect_refused(&net, 1);
    let recording = tracer.finish();
    let ours = without_conn(&recording, &net, 20_000..20_000 + BURST as u16);
    // What was suppressed may also be somebody else's.
    let suppressed: i64 = recording
        .of_event("tcp_reset")
        .filter_map(|line| line.int("suppressed"))
        .sum();
    // The burst lasts for a part of one or of two seconds.
    assert!((50..=201).contains(&ours.len()), "{} lines", ours.len());
    assert!(
        ours.len() as i64 + suppressed > BURST as i64,
        "{} lines and {suppressed} suppressed of {} in all",
        ours.len(),
        BURST + 1
    );
    // The receiving ends have sockets, and none of them is left out.
    let received = recording
        .of_event("tcp_reset")
        .filter(|line| {
            line.str("direction") == Some("received")
                && line.int("netns") == Some(net.client_ns.inode() as i64)
        })
        .count();
    assert_eq!(received, BURST + 1, "RSTs received");
}

/// Row 28: the RST to a client whose connection found no room belongs to no connection of the server's.
fn overflow() {
    let tracer = Tracer::start();
    let labs = on_links(&LINKS, |link| {
        let net = Net::new(link);
        let ends = abort_on_overflow(&net, TIMES);
        net.wait_until_gone();
        (net, ends.len())
    });
    let recording = tracer.finish();
    for (net, _) in &labs {
        let lines = recording
            .of_event("tcp_reset")
            .filter(|line| line.str("rst_reason") == reason("invalid_syn"))
            .filter(|line| line.int("netns") == Some(net.server_ns.inode() as i64))
            .filter(|line| {
                let addr = SocketAddr::new(net.server_ip, 0).ip().to_string();
                line.str("local_addr") == Some(&addr) && line.json["conn"].is_null()
            })
            .count();
        assert_eq!(lines, TIMES, "RSTs of the overflow on {}", net.link.name());
    }
}

/// What a kernel that gives reasons says.
fn reason(name: &str) -> Option<&str> {
    kernel::gives_rst_reasons().then_some(name)
}
