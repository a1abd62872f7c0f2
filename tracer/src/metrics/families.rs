//! Every metric: the pages, docs/metrics.md and the tests of deploy/ are made from this list.

/// What a metric is, as Prometheus and OpenMetrics spell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Counter,
    Gauge,
    Histogram,
}

impl Type {
    pub const fn as_str(self) -> &'static str {
        match self {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram => "histogram",
        }
    }
}

/// A metric and its labels.
#[derive(Debug)]
pub struct Family {
    /// With `_total` where it is a counter.
    pub name: &'static str,
    pub kind: Type,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

macro_rules! families {
    ($($(#[doc = $doc:literal])* $const:ident = $kind:ident $name:literal [$($label:literal),*];)*) => {
        $(
            $(#[doc = $doc])*
            pub static $const: Family = Family {
                name: $name,
                kind: Type::$kind,
                labels: &[$($label),*],
                help: concat!($($doc),*).trim_ascii(),
            };
        )*

        /// In the order of the page.
        pub static ALL: &[&Family] = &[$(&$const),*];
    };
}

families! {
    /// Established connections that ended, by what ended them.
    CLOSED = Counter "tracer_connections_closed_total" ["reason", "role"];
    /// Connects that ended without being established.
    CONNECT_FAILURES = Counter "tracer_connect_failures_total" ["reason"];
    /// Both of these by workload: the pod's namespace and workload, else the container's name, else the systemd service, else the process's name. Those that found no place count as `_other`, those without an owner as `_unknown`.
    BY_WORKLOAD = Counter "tracer_connections_closed_by_workload_total" ["workload", "reason_class", "role"];
    /// Both of these by what kind of end it looks like.
    PATTERNS = Counter "tracer_patterns_total" ["pattern", "role"];
    /// Ends that a known timeout fits. An end that several fit counts for each of them.
    TIMEOUT_MATCHES = Counter "tracer_timeout_matches_total" ["hint", "pattern"];
    /// Age of established connections at their first FIN, RST or timeout.
    AGE = Histogram "tracer_connection_age_seconds" ["reason_class", "role"];
    /// From the last payload in either direction, or from ESTABLISHED if there was none, to the first FIN, RST or timeout.
    IDLE = Histogram "tracer_idle_before_close_seconds" ["closed_by", "role"];
    /// Payload that never arrived as far as this end knows: sent and not acknowledged, written and never sent, received and never read.
    BYTES_LOST = Counter "tracer_bytes_lost_total" ["direction"];
    /// RSTs, as `tcp_reset` events tell them.
    RESETS = Counter "tracer_resets_total" ["direction"];
    /// Failed sends and receives, as `tcp_io_error` events tell them.
    IO_ERRORS = Counter "tracer_io_errors_total" ["op", "errno"];
    /// Peers that fell silent on an established connection.
    STALLS = Counter "tracer_stalls_total" [];
    /// Silences that are over, and how.
    STALLS_ENDED = Counter "tracer_stalls_ended_total" ["ended"];
    /// How the owner of an ended connection is known.
    ATTRIBUTION = Counter "tracer_attribution_total" ["method"];

    /// Always 1.
    BUILD_INFO = Gauge "tracer_build_info" ["version", "kernel"];
    /// Lines written, or events given to the live view, by event.
    EMITTED = Counter "tracer_events_emitted_total" ["event"];
    /// Events lost, as `lost` lines tell them: `ring` buffer full, no room in the `map`, `output` too slow or failing.
    LOST = Counter "tracer_events_lost_total" ["where"];
    /// Records read from the ring buffer.
    RECORDS = Counter "tracer_ring_records_total" [];
    /// Records that were of another build's form.
    UNDECODABLE = Counter "tracer_ring_records_undecodable_total" [];
    /// How often there was more in the ring buffer than is read at a time: tracer lags behind.
    RING_BEHIND = Counter "tracer_ring_behind_total" [];
    /// Size of the ring buffer.
    RING_BYTES = Gauge "tracer_ring_size_bytes" [];
    /// Whether a hook serves this signal.
    PROBE_ATTACHED = Gauge "tracer_probe_attached" ["probe", "hook"];
    /// Runs of hooks that the kernel skipped because the program was running on that CPU already, and that no second program made good.
    MISSED_RUNS = Counter "tracer_missed_runs_total" [];
    /// Ends whose TCP_CLOSE was missed and made good when the socket was destroyed.
    RECOVERED = Counter "tracer_recovered_ends_total" [];
    /// Passive sockets that never left SYN_RECV: they are no ends.
    SYN_RECV_ENDED = Counter "tracer_syn_recv_ended_total" [];
    /// Entries of a map in the kernel: `conns` are the connections that are tracked now.
    MAP_ENTRIES = Gauge "tracer_bpf_map_entries" ["map"];
    /// Entries that it has room for.
    MAP_MAX_ENTRIES = Gauge "tracer_bpf_map_max_entries" ["map"];
    /// Bytes of lines that wait for a slow reader.
    QUEUE_BYTES = Gauge "tracer_output_queue_bytes" [];
    /// Bytes that may wait before lines are lost.
    QUEUE_MAX_BYTES = Gauge "tracer_output_queue_max_bytes" [];
    /// Workloads that have a place of their own.
    WORKLOADS = Gauge "tracer_workloads" [];
    /// Places that there are (`--metrics-max-workloads`).
    MAX_WORKLOADS = Gauge "tracer_max_workloads" [];

    /// CPU time of tracer, user and system.
    CPU_SECONDS = Counter "process_cpu_seconds_total" [];
    /// Memory of tracer that is in RAM, the kernel side's maps apart.
    RESIDENT_BYTES = Gauge "process_resident_memory_bytes" [];
    /// When tracing began, in seconds since 1970.
    START_TIME = Gauge "process_start_time_seconds" [];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_prometheus_wants_them() {
        for family in ALL {
            let name = family.name;
            assert!(
                name.starts_with("tracer_") || name.starts_with("process_"),
                "{name}"
            );
            assert_eq!(
                name.ends_with("_total"),
                family.kind == Type::Counter,
                "{name}"
            );
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            assert!(name.bytes().all(plain), "{name}");
            assert!(
                family.help.ends_with('.') && !family.help.contains(['\n', '\\']),
                "{name}"
            );
        }
        let mut names: Vec<_> = ALL.iter().map(|family| family.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn nothing_unbounded_is_a_label() {
        const NEVER: &[&str] = &[
            "addr",
            "peer",
            "port",
            "pid",
            "conn",
            "cgroup",
            "container",
            "comm",
            "netns",
        ];
        for family in ALL {
            for label in family.labels {
                let found = NEVER.iter().find(|never| label.contains(**never));
                assert_eq!(found, None, "{}: {label}", family.name);
            }
        }
    }
}
