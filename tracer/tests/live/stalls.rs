//! Peers that fall silent: told of while they are, with the time at which the kernel gives them up compared with
//! when it does, and told apart from peers that are only slow or do not read.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    Test,
    lab::{
        agent::Sock,
        link::{Link, Net, Pair},
        needs::Need,
        netns::run,
        tracer::{Line, Recording, Tracer},
    },
    rows::on_links,
};

pub fn tests() -> Vec<Test> {
    let ip = &[Need::Program("ip")];
    let nft = &[Need::Program("ip"), Need::Program("nft")];
    vec![
        Test::new("stalls::dropped_far_away", nft, dropped_far_away),
        Test::new("stalls::route_lost_here", ip, route_lost_here),
        Test::new("stalls::until_they_answer", nft, until_they_answer),
        Test::new(
            "stalls::forgotten",
            &[
                Need::Program("ip"),
                Need::Program("nft"),
                Need::Asked("LIVE_LONG"),
            ],
            forgotten,
        ),
    ]
}

/// A map that a slow machine, such as an emulated one, walks over once a second too.
pub const SMALL: &[&str] = &["--max-connections", "4096"];

const LINKS: &[Link] = &[Link::VethV4, Link::VethV6];

/// Connections to a link: each of the kinds several times, from both ends.
const COUNT: usize = 10;

/// Longer than a delayed acknowledgement.
const DELAYED_ACK: Duration = Duration::from_millis(250);

/// Until the kernel has given all up, or the tracer has told.
const PATIENCE: Duration = Duration::from_secs(40);

/// Between the time foretold and the end: far less than the last timer, which takes seconds.
const OFF_MS: i64 = 500;

const SILENT_CLOSED: [&str; 3] = ["tcp_stall", "tcp_stall_end", "tcp_close"];

/// The far side drops everything: data with and without keepalive and with a timeout of its own, and idle
/// connections that only keepalive asks for.
fn dropped_far_away() {
    let tracer = Tracer::start_with(SMALL);
    let labs = on_links(LINKS, |link| {
        let net = Net::new(link);
        net.sysctl("net.ipv4.tcp_retries2", "3");
        let pairs = net.pairs(COUNT);
        for pair in &pairs {
            talk(pair);
            match pair.number % 5 {
                1 => keepalive(&pair.x, Some(9)),
                2 => keepalive(&pair.x, Some(5)),
                3 => pair.x.set_tcp(libc::TCP_USER_TIMEOUT, 5_000),
                4 => {
                    // The count is the namespace's.
                    net.sysctl("net.ipv4.tcp_keepalive_probes", "6");
                    keepalive(&pair.x, None);
                }
                _ => (),
            }
        }
        sleep(DELAYED_ACK);
        net.blackhole(pairs[0].listener_port());
        for pair in pairs.iter().filter(|pair| !is_idle(pair)) {
            pair.x.write(300 + pair.number);
        }
        until_given_up(&net, &pairs);
        (net, pairs)
    });
    let recording = tracer.finish();
    for (net, pairs) in &labs {
        for pair in pairs {
            let Some([stall, end, close]) = told(&recording, net, &pair.x, SILENT_CLOSED) else {
                continue;
            };
            let (by, setting) = match pair.number % 5 {
                2 => ("tcp_keepcnt", "(TCP_KEEPCNT = 5)"),
                3 => ("tcp_user_timeout", "(TCP_USER_TIMEOUT = 5000 ms)"),
                4 => ("tcp_keepalive_probes", "(tcp_keepalive_probes = 6)"),
                _ => ("tcp_retries2", "(tcp_retries2 = 3)"),
            };
            equal(&stall, "gives_up_by", by);
            says(&stall, setting);
            says(&close, setting.trim_start_matches('('));
            foretold(&stall, &close);
            let lost = if is_idle(pair) { 0 } else { 300 + pair.number };
            equal(&stall, "tx_unacked_bytes", lost);
            equal(&stall, "tx_unsent_bytes", 0);
            let (in_row, reason) = match is_idle(pair) {
                true => ("probes_in_row", "timeout_keepalive"),
                false => ("retrans_in_row", "timeout_retrans"),
            };
            at_least(&stall, in_row, 3);
            at_least(&end, in_row, 3);
            let reason = if by == "tcp_user_timeout" {
                "timeout_user"
            } else {
                reason
            };
            equal(&close, "reason", reason);
            equal(&end, "ended", "closed");
            let with_keepalive = !matches!(pair.number % 5, 0 | 3);
            assert_eq!(
                stall.int("keepalive_intvl_ms"),
                with_keepalive.then_some(1_000),
                "{}",
                stall.text
            );
        }
    }
}

/// Idle for more than a minute, then what is sent is answered with a RST, or never: a box on the way has forgotten the
/// connection.
fn forgotten() {
    const IDLE: Duration = Duration::from_secs(61);
    let tracer = Tracer::start_with(SMALL);
    let labs = on_links(LINKS, |link| {
        let net = Net::new(link);
        net.sysctl("net.ipv4.tcp_retries2", "3");
        let pairs = net.pairs(COUNT);
        pairs.iter().for_each(talk);
        sleep(IDLE);
        let resets = link == Link::VethV4;
        let port = pairs[0].listener_port();
        if resets {
            net.firewall(&format!(
                "tcp flags & rst != 0 accept; tcp dport {port} reject with tcp reset; \
                 tcp sport {port} reject with tcp reset;"
            ));
        } else {
            net.blackhole(port);
        }
        for pair in &pairs {
            // The RST may come within the call.
            let _ = pair.x.try_write(100);
        }
        until_given_up(&net, &pairs);
        (net, pairs, resets)
    });
    let recording = tracer.finish();
    for (net, pairs, resets) in &labs {
        for pair in pairs {
            let close = if *resets {
                told(&recording, net, &pair.x, ["tcp_close"]).map(|[close]| close)
            } else {
                told(&recording, net, &pair.x, SILENT_CLOSED).map(|[.., close]| close)
            };
            let Some(close) = close else { continue };
            equal(&close, "pattern", "silent_drop");
            let reason = if *resets {
                "rst_peer"
            } else {
                "timeout_retrans"
            };
            equal(&close, "reason", reason);
            says(&close, "of silence");
        }
    }
}

/// Pairs of `dropped_far_away` that send nothing.
fn is_idle(pair: &Pair) -> bool {
    matches!(pair.number % 5, 2 | 4)
}

/// The route goes on this host: what is written never leaves it, with and without keepalive; idle connections find out
/// by keepalive.
fn route_lost_here() {
    let tracer = Tracer::start_with(SMALL);
    let labs = on_links(LINKS, |link| {
        let net = Net::new(link);
        net.sysctl("net.ipv4.tcp_retries2", "4");
        let pairs = net.pairs(COUNT);
        for pair in &pairs {
            talk(pair);
            if pair.number % 3 > 0 {
                keepalive(&pair.x, Some(5));
            }
        }
        sleep(DELAYED_ACK);
        lose_route(&net);
        for pair in pairs.iter().filter(|pair| pair.number % 3 < 2) {
            pair.x.write(1000 + pair.number);
        }
        until_given_up(&net, &pairs);
        (net, pairs)
    });
    let recording = tracer.finish();
    for (net, pairs) in &labs {
        for pair in pairs {
            let Some([stall, end, close]) = told(&recording, net, &pair.x, SILENT_CLOSED) else {
                continue;
            };
            foretold(&stall, &close);
            at_least(&stall, "probes_in_row", 3);
            equal(&stall, "retrans_in_row", 0);
            equal(&stall, "tx_unacked_bytes", 0);
            equal(&end, "ended", "closed");
            if pair.number % 3 < 2 {
                equal(&stall, "tx_unsent_bytes", 1000 + pair.number);
                equal(&stall, "gives_up_by", "tcp_retries2");
                equal(&close, "reason", "timeout_probe");
                says(&stall, "leaves this host");
                says(&close, "could leave this host any more");
            } else {
                equal(&stall, "tx_unsent_bytes", 0);
                equal(&stall, "gives_up_by", "tcp_keepcnt");
                equal(&close, "reason", "timeout_keepalive");
            }
        }
    }
}

/// Silence that ends, among connections that were never silent: busy, idle, with a keepalive that is answered, and with
/// a peer that does not read.
fn until_they_answer() {
    let mut options = SMALL.to_vec();
    options.extend(["--events", "tcp_stall,tcp_stall_end"]);
    let tracer = Tracer::start_with(&options);
    let labs = on_links(LINKS, |link| {
        let net = Net::new(link);
        let silent = net.pairs(COUNT);
        let well = net.pairs(4);
        silent.iter().chain(&well).for_each(talk);
        let [busy, idle, asked, full] = &well[..] else {
            panic!("four pairs")
        };
        keepalive(&asked.x, Some(3));
        full.x.set(libc::SOL_SOCKET, libc::SO_SNDBUF, &[65536]);
        net.wait_for("a closed window", PATIENCE, || {
            full.x.fill(1 << 20);
            let (in_flight, unsent) = full.x.outstanding();
            in_flight == 0 && unsent > 0
        });
        sleep(DELAYED_ACK);
        net.blackhole(silent[0].listener_port());
        for pair in &silent {
            pair.x.write(50 + pair.number);
        }
        wait_for_lines(&tracer, &net, "tcp_stall", COUNT, || {
            busy.x.write(10);
            busy.y.read(10);
        });
        net.heal();
        for pair in &silent {
            pair.y.read(50 + pair.number);
            pair.x.settle();
        }
        wait_for_lines(&tracer, &net, "tcp_stall_end", COUNT, || ());
        for pair in silent.iter().chain([busy, idle, asked]) {
            pair.x.close();
            pair.y.close();
        }
        full.x.close_linger0();
        full.y.close();
        net.wait_until_gone();
        (net, silent)
    });
    let recording = tracer.finish();
    for (net, silent) in &labs {
        assert_eq!(
            lines_of(&recording.lines, net, None).len(),
            2 * COUNT,
            "the peers that answered are told of"
        );
        for pair in silent {
            let due = ["tcp_stall", "tcp_stall_end"];
            let Some([stall, end]) = told(&recording, net, &pair.x, due) else {
                continue;
            };
            equal(&stall, "tx_unacked_bytes", 50 + pair.number);
            equal(&stall, "retries2", 15);
            // 924.6 s from the first retransmission, and then the next timer, which takes 120 s at most, and an
            // eighth of it that the kernel's timers may be late.
            let gives_up_ms = stall.int("gives_up_in_ms").unwrap_or(0);
            assert!(
                (920_000..924_600 + 135_000).contains(&gives_up_ms),
                "{}",
                stall.text
            );
            equal(&end, "ended", "recovered");
            equal(&end, "tx_unacked_bytes", 0);
            at_least(&end, "retrans_in_row", 3);
            says(&end, "answers");
            let stalled_ms = |line: &Line| line.int("stalled_ms").unwrap_or(-1);
            let apart_ms = (mono_us(&end) - mono_us(&stall)) / 1000;
            assert!(
                stalled_ms(&end) >= stalled_ms(&stall)
                    && stalled_ms(&end) <= stalled_ms(&stall) + apart_ms,
                "{}\n{}",
                stall.text,
                end.text
            );
        }
    }
}

fn talk(pair: &Pair) {
    pair.x.write(20);
    pair.y.read(20);
    pair.y.write(30);
    pair.x.read(30);
    pair.x.settle();
    pair.y.settle();
}

/// After 1 s and then every second.
fn keepalive(sock: &Sock, probes: Option<i32>) {
    sock.set_tcp(libc::TCP_KEEPIDLE, 1);
    sock.set_tcp(libc::TCP_KEEPINTVL, 1);
    if let Some(probes) = probes {
        sock.set_tcp(libc::TCP_KEEPCNT, probes);
    }
    sock.set(libc::SOL_SOCKET, libc::SO_KEEPALIVE, &[1]);
}

/// Neither host finds the way to the other any more.
fn lose_route(net: &Net) {
    let line = match net.link {
        Link::VethV6 => "-6 route del fd77::/64 dev veth0",
        _ => "route del 10.77.0.0/24 dev veth0",
    };
    for host in [&net.client_ns, &net.server_ns] {
        let mut command = host.command("ip");
        command.args(line.split_whitespace());
        run(&mut command, "");
    }
}

/// Waits until the kernel has given up every x, and lets the rest go.
fn until_given_up(net: &Net, pairs: &[Pair]) {
    const CLOSE: usize = 7;
    net.wait_for("the ends of all", PATIENCE, || {
        pairs.iter().all(|pair| pair.x.state() == CLOSE)
    });
    for pair in pairs {
        pair.x.close();
        pair.y.close_linger0();
    }
    net.wait_until_gone();
}

/// Waits for so many lines of this event and these namespaces, doing `meanwhile` from time to time.
fn wait_for_lines(
    tracer: &Tracer,
    net: &Net,
    event: &str,
    count: usize,
    mut meanwhile: impl FnMut(),
) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let lines = tracer.lines();
        let lines = lines_of(&lines, net, None);
        let seen = lines.iter().filter(|line| line.event() == event).count();
        if seen >= count {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{seen} of {count} {event} on {}",
            net.link.name()
        );
        meanwhile();
        sleep(Duration::from_millis(50));
    }
}

/// The `tcp_*` lines of these namespaces, or of one socket in them.
fn lines_of<'a>(lines: &'a [Line], net: &Net, sock: Option<&Sock>) -> Vec<&'a Line> {
    let inodes = net.inodes().map(|inode| inode as i64);
    lines
        .iter()
        .filter(|line| {
            line.event().starts_with("tcp_")
                && line
                    .int("netns")
                    .is_some_and(|netns| inodes.contains(&netns))
                && sock.is_none_or(|sock| {
                    line.int("local_port") == Some(sock.local.port().into())
                        && line.int("peer_port") == sock.peer.map(|peer| peer.port().into())
                })
        })
        .collect()
}

/// The lines of a socket but for RSTs and errors of calls: these and no others, in this order, and of its owner.
/// `None`: this machine could not see all of it.
fn told<const DUE: usize>(
    recording: &Recording,
    net: &Net,
    sock: &Sock,
    due: [&str; DUE],
) -> Option<[Line; DUE]> {
    let peer = sock.peer.expect("a connection");
    let lines: Vec<Line> = lines_of(&recording.lines, net, Some(sock))
        .into_iter()
        .filter(|line| !matches!(line.event(), "tcp_reset" | "tcp_io_error"))
        .cloned()
        .collect();
    let (local, remote) = (sock.local.port(), peer.port());
    // An end that was made good at the socket's destruction has no state.
    let recovered = lines
        .iter()
        .any(|line| line.is_end() && line.json["state"].is_null());
    if recovered
        || recording
            .blind
            .contains(&(local.min(remote), local.max(remote)))
    {
        println!("note: {} → {peer} was not seen whole", sock.local);
        return None;
    }
    let events: Vec<&str> = lines.iter().map(Line::event).collect();
    assert_eq!(events, due, "{} → {peer}: {lines:#?}", sock.local);
    for line in &lines {
        equal(line, "pid", sock.agent.pid);
        equal(line, "comm", sock.agent.comm_text());
        equal(line, "conn", lines[0].json["conn"].clone());
    }
    lines.try_into().ok()
}

/// The end came when the stall had said that it would, and its timeline has the moment of the silence.
fn foretold(stall: &Line, close: &Line) {
    let gives_up_ms = stall.int("gives_up_in_ms").expect("a time");
    let real_ms = (mono_us(close) - mono_us(stall)) / 1000;
    assert!(
        (real_ms - gives_up_ms).abs() <= OFF_MS,
        "foretold in {gives_up_ms} ms, came after {real_ms} ms: {}",
        stall.text
    );
    let moments = close.json["timeline"].as_array().cloned();
    let silent = moments
        .unwrap_or_default()
        .into_iter()
        .find(|moment| moment["what"] == "stall")
        .unwrap_or_else(|| panic!("no moment of silence: {}", close.text));
    let since_ms = mono_us(stall) / 1000 - stall.int("stalled_ms").expect("a time");
    let moment_ms = mono_us(close) / 1000 + silent["ms"].as_i64().expect("a time");
    assert!((since_ms - moment_ms).abs() <= 2, "{}", close.text);
    equal(close, "pattern", "dead_peer");
}

fn mono_us(line: &Line) -> i64 {
    line.int("mono_us").expect("a time")
}

fn equal(line: &Line, key: &str, due: impl Into<serde_json::Value>) {
    assert_eq!(line.json[key], due.into(), "{key}: {}", line.text);
}

fn at_least(line: &Line, key: &str, least: i64) {
    let value = line.int(key);
    assert!(
        value.is_some_and(|value| value >= least),
        "{key} is {value:?}: {}",
        line.text
    );
}

fn says(line: &Line, text: &str) {
    let story = line.str("story").unwrap_or("");
    assert!(
        story.contains(text),
        "no `{text}` in the story of {}",
        line.text
    );
}
