//! What any line must look like: keys, their order, types, null or not, values of enums (contract.md section 3).
//!
//! Keys that a later issue fills may be null; keys that must be there always are checked to be there.

use serde_json::Value;

use super::tracer::Line;

/// The longest line, without its newline.
pub const LONGEST: usize = 4094;

const OWN: &[&str] = &[
    "v", "event", "ts", "mono_us", "seq", "run_id", "node", "boot_id",
];

const COMMON: &[&str] = &[
    "v",
    "event",
    "ts",
    "mono_us",
    "seq",
    "run_id",
    "node",
    "boot_id",
    "conn",
    "flow_id",
    "community_id",
    "family",
    "local_addr",
    "local_port",
    "peer_addr",
    "peer_port",
    "role",
    "pid",
    "tid",
    "comm",
    "exe",
    "uid",
    "attribution",
    "closer_pid",
    "closer_comm",
    "netns",
    "cgroup",
    "container_id",
    "runtime",
    "pod_uid",
    "unit",
    "peer_pid",
    "peer_comm",
    "peer_conn",
    "peer_container_id",
];

const END: &[&str] = &[
    "reason",
    "closed_by",
    "how",
    "state",
    "errno",
    "rst_reason",
    "end_age_ms",
    "age_ms",
    "idle_rx_ms",
    "idle_tx_ms",
    "last_data",
    "half_close_ms",
    "preexisting",
    "rx_bytes",
    "tx_bytes",
    "tx_unacked_bytes",
    "tx_unsent_bytes",
    "rx_unread_bytes",
    "tx_after_fin_bytes",
    "retrans",
    "srtt_us",
    "read_errno",
    "write_errno",
    "io_errors",
    "sigpipe",
    "pattern",
    "hints",
    "hint_s",
    "repeats",
    "cause_conn",
    "root_conn",
    "chain",
    "story",
    "timeline",
    "suppressed",
    "mptcp",
    "truncated",
    "lost",
];

const RESET: &[&str] = &["direction", "rst_reason", "state"];

const IO_ERROR: &[&str] = &[
    "op",
    "errno",
    "sigpipe",
    "reason",
    "closed_by",
    "how",
    "end_age_ms",
    "story",
];

const STALL: &[&str] = &[
    "stalled_ms",
    "retrans_in_row",
    "tx_unacked_bytes",
    "gives_up_in_ms",
    "gives_up_by",
];

pub const REASONS: &[&str] = &[
    "fin_local",
    "fin_peer",
    "fin_both",
    "fin_peer_rst",
    "rst_peer",
    "abort_unread",
    "abort_linger0",
    "abort_admin",
    "disconnect",
    "listener_closed",
    "timeout_retrans",
    "timeout_keepalive",
    "timeout_user",
    "timeout_probe",
    "timeout_fin_wait",
    "timeout_orphan",
    "connect_refused",
    "connect_timeout",
    "connect_unreachable",
    "connect_cancelled",
    "oom",
    "netns_exit",
    "unknown",
];

const STATES: &[&str] = &[
    "established",
    "syn_sent",
    "syn_recv",
    "fin_wait1",
    "fin_wait2",
    "time_wait",
    "close",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
    "new_syn_recv",
];

const PATTERNS: &[&str] = &[
    "process_exit",
    "dead_peer",
    "silent_drop",
    "peer_gave_up_waiting",
    "local_gave_up_waiting",
    "peer_no_answer",
    "local_no_answer",
    "no_request",
    "write_after_peer_close",
    "peer_idle_close",
    "local_idle_close",
    "max_age",
    "normal",
];

/// What a key may hold.
enum Shape {
    Int,
    Bool,
    Text,
    OneOf(&'static [&'static str]),
    /// That many lower hexadecimal digits.
    Hex(usize),
    Conn,
    Time,
    Errno,
    Address,
    Array,
    Any,
}

use Shape::{Address, Any, Array, Bool, Conn, Errno, Hex, Int, OneOf, Text, Time};

/// (shape, may be null) of a key in an event.
fn shape(event: &str, key: &str) -> (Shape, bool) {
    let end = matches!(event, "tcp_close" | "tcp_connect_failed");
    let reset = event == "tcp_reset";
    match key {
        "v" | "mono_us" | "seq" | "lost" => (Int, false),
        "event" | "node" | "boot_id" => (Text, false),
        "ts" => (Time, false),
        "run_id" => (Hex(8), false),
        "conn" => (Conn, reset),
        "flow_id" => (Hex(16), true),
        "community_id" => (Text, true),
        "family" => (OneOf(&["ipv4", "ipv6"]), false),
        "local_addr" | "peer_addr" => (Address, false),
        "local_port" | "peer_port" => (Int, false),
        "role" => (OneOf(&["client", "server", "unknown"]), reset),
        "pid" | "tid" | "closer_pid" | "peer_pid" | "uid" => (Int, true),
        "comm" | "exe" | "closer_comm" | "peer_comm" | "cgroup" | "container_id" | "runtime"
        | "pod_uid" | "unit" | "peer_container_id" | "story" => (Text, true),
        "attribution" => (
            OneOf(&[
                "connect", "accept", "io", "listener", "scan", "syscall", "none",
            ]),
            false,
        ),
        "netns" => (Int, !end),
        "peer_conn" | "cause_conn" | "root_conn" => (Conn, true),
        // A RST or an error before the end does not know it yet.
        "reason" => (OneOf(REASONS), !end),
        "closed_by" => (OneOf(&["local", "peer", "kernel", "unknown"]), !end),
        "how" => (OneOf(&["fin", "rst", "timeout", "icmp", "none"]), !end),
        "state" => (OneOf(STATES), true),
        "errno" => (Errno, event != "tcp_io_error"),
        "read_errno" | "write_errno" => (Errno, true),
        "rst_reason" => (Text, true),
        "direction" => (OneOf(&["sent", "received"]), false),
        "op" => (OneOf(&["send", "recv"]), false),
        "end_age_ms" | "age_ms" | "idle_rx_ms" | "idle_tx_ms" | "half_close_ms" | "tx_bytes"
        | "rx_bytes" | "tx_unacked_bytes" | "tx_unsent_bytes" | "rx_unread_bytes"
        | "tx_after_fin_bytes" | "retrans" | "srtt_us" | "hint_s" | "repeats" | "io_errors"
        | "suppressed" => (Int, true),
        "stalled_ms" | "retrans_in_row" | "probes_in_row" => (Int, false),
        // A kernel that never gives up has no time for it; nor has the end of a stall.
        "gives_up_in_ms" => (Int, true),
        "gives_up_by" => (
            OneOf(&[
                "tcp_retries2",
                "tcp_user_timeout",
                "tcp_keepalive_probes",
                "tcp_keepcnt",
            ]),
            true,
        ),
        "ended" => (OneOf(&["recovered", "closed"]), event == "tcp_stall"),
        "last_data" => (OneOf(&["rx", "tx", "none"]), true),
        "sigpipe" => (Bool, event != "tcp_io_error" && !end),
        "preexisting" | "mptcp" | "truncated" => (Bool, !end),
        "pattern" => (OneOf(PATTERNS), true),
        "hints" | "chain" | "timeline" => (Array, true),
        _ => (Any, true),
    }
}

/// Everything that is wrong with the form of a line.
pub fn check(line: &Line) -> Vec<String> {
    let mut wrong = Vec::new();
    if line.text.len() > LONGEST {
        wrong.push(format!("{} bytes long", line.text.len()));
    }
    let Some(object) = line.json.as_object() else {
        wrong.push("not a JSON object".to_owned());
        return wrong;
    };
    let keys: Vec<&str> = object.keys().map(String::as_str).collect();
    let event = line.event();
    let extra: &[&str] = match event {
        "start" | "stop" | "heartbeat" | "lost" => {
            if !keys.starts_with(OWN) {
                wrong.push(format!(
                    "begins with {:?}, not with {OWN:?}",
                    &keys[..keys.len().min(OWN.len())]
                ));
            }
            check_own(line, &mut wrong);
            return wrong;
        }
        "tcp_close" | "tcp_connect_failed" => END,
        "tcp_reset" => RESET,
        "tcp_io_error" => IO_ERROR,
        "tcp_stall" | "tcp_stall_end" => STALL,
        other => {
            wrong.push(format!("unknown event `{other}`"));
            return wrong;
        }
    };
    if !keys.starts_with(COMMON) {
        let differs = keys.iter().zip(COMMON).find(|(is, due)| is != due);
        wrong.push(format!(
            "the common keys are not in order: {differs:?} (is, due)"
        ));
    }
    let rest = &keys[COMMON.len().min(keys.len())..];
    if matches!(event, "tcp_close" | "tcp_connect_failed") {
        if !rest.starts_with(END) {
            let differs = rest.iter().zip(END).find(|(is, due)| is != due);
            wrong.push(format!(
                "the keys of an end are not in order: {differs:?} (is, due)"
            ));
        }
    } else {
        for key in extra {
            if !rest.contains(key) {
                wrong.push(format!("`{key}` is missing"));
            }
        }
    }
    for (key, value) in object {
        let (shape, nullable) = shape(event, key);
        if let Some(problem) = misfit(value, &shape, nullable) {
            wrong.push(format!("`{key}`: {problem}"));
        }
    }
    wrong
}

fn check_own(line: &Line, wrong: &mut Vec<String>) {
    let required: &[&str] = match line.event() {
        "start" => &["version", "kernel", "hooks", "filters"],
        "lost" => &["count", "where", "kinds"],
        _ => &[],
    };
    for key in required {
        if line.json.get(key).is_none_or(Value::is_null) {
            wrong.push(format!("`{key}` is missing"));
        }
    }
    for key in OWN {
        let (shape, nullable) = shape(line.event(), key);
        if let Some(problem) = misfit(&line.json[key], &shape, nullable) {
            wrong.push(format!("`{key}`: {problem}"));
        }
    }
}

fn misfit(value: &Value, shape: &Shape, nullable: bool) -> Option<String> {
    if value.is_null() {
        return (!nullable).then(|| "null, which it may not be".to_owned());
    }
    if let Some(float) = value.as_f64()
        && (value.is_f64() || float.abs() > 9_007_199_254_740_992.0)
    {
        return Some(format!("{value} is no integer below 2^53"));
    }
    let text = value.as_str();
    let fits = match shape {
        Int => value.is_u64() || value.is_i64(),
        Bool => value.is_boolean(),
        Text => text.is_some(),
        OneOf(values) => text.is_some_and(|text| values.contains(&text)),
        Hex(digits) => text.is_some_and(|text| text.len() == *digits && is_hex(text)),
        Conn => text.is_some_and(is_conn),
        Time => text.is_some_and(is_time),
        Errno => text.is_some_and(|text| {
            text.starts_with('E')
                && text
                    .chars()
                    .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
        }),
        Address => text.is_some_and(is_canonical_address),
        Array => value.is_array(),
        Any => true,
    };
    (!fits).then(|| format!("{value} is not what it may hold"))
}

fn is_hex(text: &str) -> bool {
    text.bytes()
        .all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
}

/// First 8 digits of the boot id, a dash, 16 digits of the cookie.
fn is_conn(text: &str) -> bool {
    text.split_once('-').is_some_and(|(boot, cookie)| {
        boot.len() == 8 && cookie.len() == 16 && is_hex(boot) && is_hex(cookie)
    })
}

/// RFC 3339, UTC, nine digits of fraction.
fn is_time(text: &str) -> bool {
    let pattern = "dddd-dd-ddTdd:dd:dd.dddddddddZ";
    text.len() == pattern.len()
        && text.chars().zip(pattern.chars()).all(|(c, p)| match p {
            'd' => c.is_ascii_digit(),
            p => c == p,
        })
}

fn is_canonical_address(text: &str) -> bool {
    text.parse::<std::net::IpAddr>()
        .is_ok_and(|address| address.to_string() == text)
}
