//! What the filters let through, and that they change nothing else.

use serde_json::Value;

use crate::{
    Test,
    endings::{
        abort::abort_linger0, after_close::write_to_orphan_in_fin_wait1, connect::connect_refused,
        fin::answered,
    },
    lab::{
        expect::{End, judge},
        link::{Link, Net},
        needs::Need,
        tracer::{Recording, Tracer},
    },
};

pub fn tests() -> Vec<Test> {
    let ip = &[Need::Program("ip")];
    vec![
        Test::new("filters::abnormal", ip, abnormal),
        Test::new("filters::reason", ip, reason),
        Test::new("filters::comm", ip, comm),
        Test::new("filters::pid", ip, pid),
        Test::new("filters::ports", ip, ports),
        Test::new("filters::peer", ip, peer),
        Test::new("filters::events", ip, events),
        Test::new("filters::all_of_different_ones", ip, all_of_different_ones),
    ]
}

/// Five of each kind over a veth pair: clean, aborted, broken pipe, refused.
fn mixture(net: &Net) -> Vec<End> {
    let ends = [
        answered(net, 5),
        abort_linger0(net, 5),
        write_to_orphan_in_fin_wait1(net, 5),
        connect_refused(net, 5),
    ];
    net.wait_until_gone();
    ends.concat()
}

/// Runs the mixture under those flags; exactly the ends that `passes` accepts must be told.
fn only(args: &dyn Fn(&Net) -> Vec<String>, passes: impl Fn(&End) -> bool) -> Recording {
    let net = Net::new(Link::VethV4);
    let args = args(&net);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let tracer = Tracer::start_with(&args);
    let all = mixture(&net);
    let recording = tracer.finish();
    let due: Vec<End> = all.iter().filter(|end| passes(end)).cloned().collect();
    assert!(
        !due.is_empty() && due.len() < all.len(),
        "a filter that filters"
    );
    // The lines beside the records are other tests' business.
    let due: Vec<End> = due.into_iter().map(End::record_only).collect();
    judge(&recording, &net.inodes(), &due);
    recording
}

fn flags(flags: &'static [&'static str]) -> impl Fn(&Net) -> Vec<String> {
    |_| flags.iter().map(|flag| (*flag).to_owned()).collect()
}

fn has(end: &End, key: &str, values: &[&str]) -> bool {
    end.due(key)
        .and_then(Value::as_str)
        .is_some_and(|value| values.contains(&value))
}

/// Clean closes are left out; the closer's side of a broken pipe is not clean, it has sent a RST.
fn abnormal() {
    only(&flags(&["--abnormal"]), |end| {
        !has(end, "reason", &["fin_local", "fin_peer"]) || end.with_reset()
    });
}

fn reason() {
    only(
        &flags(&["--reason", "fin_peer_rst", "--reason", "rst_peer"]),
        |end| has(end, "reason", &["fin_peer_rst", "rst_peer"]),
    );
}

fn comm() {
    only(&flags(&["--comm", "lab-server"]), |end| {
        has(end, "comm", &["lab-server"])
    });
}

fn pid() {
    let of_client = |net: &Net| vec!["--pid".to_owned(), net.client.pid.to_string()];
    only(&of_client, |end| has(end, "comm", &["lab-client"]));
}

/// `--port` is either end's, `--local-port` this one's.
fn ports() {
    // The ports to which `connect_refused` connects.
    let refused = |end: &End| has(end, "reason", &["connect_refused"]);
    only(
        &flags(&[
            "--port", "20000", "--port", "20001", "--port", "20002", "--port", "20003", "--port",
            "20004",
        ]),
        refused,
    );
    let net = Net::new(Link::VethV4);
    let tracer = Tracer::start_with(&["--local-port", "20000"]);
    mixture(&net);
    judge(&tracer.finish(), &net.inodes(), &[]);
}

/// The client's ends have the server as their peer.
fn peer() {
    only(&flags(&["--peer", "10.77.0.2/32"]), |end| {
        has(end, "role", &["client"])
    });
    only(&flags(&["--peer", "10.77.0.1"]), |end| {
        has(end, "role", &["server"])
    });
}

fn events() {
    let recording = only(
        &flags(&["--events", "tcp_connect_failed,tcp_reset"]),
        |end| has(end, "event", &["tcp_connect_failed"]),
    );
    let of = |event| recording.of_event(event).count();
    assert!(of("tcp_reset") > 0 && of("tcp_close") == 0 && of("tcp_io_error") == 0);
}

/// Alternatives within one filter, all of different ones.
fn all_of_different_ones() {
    only(
        &flags(&[
            "--comm",
            "lab-server,no-such-name",
            "--reason",
            "fin_local",
            "--reason",
            "fin_peer_rst",
        ]),
        |end| {
            has(end, "comm", &["lab-server"]) && has(end, "reason", &["fin_local", "fin_peer_rst"])
        },
    );
}
