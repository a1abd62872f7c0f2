//! The page: every family of the list with its samples. Those of closed lists are there from the beginning at 0,
//! so that `rate()` sees the first event; a role that is not known only when it occurred.

use super::{
    families as f,
    histogram::Histogram,
    snapshot::{About, Own, Probe, Process, Snapshot},
    tally::{ERRNOS, Tally},
    text::{Format, Samples, Seconds, Text},
    workload::ReasonClass,
};
use crate::event::values::{
    Attribution, ClosedBy, Direction, Kind, Op, Pattern, Reason, Role, StallEnd, Where,
};

/// What ends a connect.
const OF_CONNECTS: &[Reason] = &[
    Reason::ConnectRefused,
    Reason::ConnectTimeout,
    Reason::ConnectUnreachable,
    Reason::ConnectCancelled,
    Reason::AbortAdmin,
    Reason::Unknown,
];

/// Of these, what ends nothing else.
fn is_of_connects_only(reason: Reason) -> bool {
    reason.as_str().starts_with("connect_")
}

pub fn page(format: Format, snapshot: &Snapshot, process: Option<&Process>) -> String {
    let mut text = Text::new(format);
    let Snapshot { about, tally, own } = snapshot;
    ends(&mut text, tally);
    moments(&mut text, tally);
    of_tracer(&mut text, about, own);
    let mut one = |family, value| text.family(family).value(&[], value);
    one(&f::WORKLOADS, tally.workloads.admitted());
    one(&f::MAX_WORKLOADS, tally.workloads.max());
    of_process(&mut text, about, process);
    text.finish()
}

fn ends(text: &mut Text, tally: &Tally) {
    let mut samples = text.family(&f::CLOSED);
    for (reason, roles) in Reason::ALL.iter().zip(&tally.closed) {
        for (role, counter) in Role::ALL.iter().zip(roles) {
            if counter.count > 0 || !is_of_connects_only(*reason) {
                samples.counter(&[reason.as_str(), role.as_str()], counter);
            }
        }
    }
    let mut samples = text.family(&f::CONNECT_FAILURES);
    for (reason, counter) in Reason::ALL.iter().zip(&tally.connect_failures) {
        if counter.count > 0 || OF_CONNECTS.contains(reason) {
            samples.counter(&[reason.as_str()], counter);
        }
    }
    let mut samples = text.family(&f::BY_WORKLOAD);
    for row in tally.workloads.rows() {
        for (class, roles) in ReasonClass::ALL.iter().zip(&row.ends) {
            for (role, count) in Role::ALL.iter().zip(roles) {
                if *count > 0 {
                    samples.value(&[&row.name, class.as_str(), role.as_str()], count);
                }
            }
        }
    }
    let mut samples = text.family(&f::PATTERNS);
    for (pattern, roles) in Pattern::ALL.iter().zip(&tally.patterns) {
        for (role, count) in Role::ALL.iter().zip(roles) {
            samples.value(&[pattern.as_str(), role.as_str()], count);
        }
    }
    let mut samples = text.family(&f::TIMEOUT_MATCHES);
    let mut hints: Vec<_> = tally.timeout_matches.iter().collect();
    hints.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
    for (hint, counts) in hints {
        for (pattern, count) in Pattern::ALL.iter().zip(counts) {
            if *count > 0 {
                samples.value(&[hint.as_str(), pattern.as_str()], count);
            }
        }
    }
    // What was refused was never established.
    let established = |class: &&ReasonClass| **class != ReasonClass::Refused;
    let mut samples = text.family(&f::AGE);
    for class in ReasonClass::ALL.iter().filter(established) {
        histograms(&mut samples, class.as_str(), &tally.age[*class as usize]);
    }
    let mut samples = text.family(&f::IDLE);
    for (closer, roles) in ClosedBy::ALL.iter().zip(&tally.idle) {
        histograms(&mut samples, closer.as_str(), roles);
    }
    let mut samples = text.family(&f::BYTES_LOST);
    let lost = tally.bytes_lost;
    samples.value(&["tx_unacked"], lost.tx_unacked);
    samples.value(&["tx_unsent"], lost.tx_unsent);
    samples.value(&["rx_unread"], lost.rx_unread);
}

fn histograms(samples: &mut Samples<'_>, name: &str, roles: &[Histogram]) {
    for (role, histogram) in Role::ALL.iter().zip(roles) {
        if *role != Role::Unknown || histogram.count() > 0 {
            samples.histogram(&[name, role.as_str()], histogram);
        }
    }
}

fn moments(text: &mut Text, tally: &Tally) {
    let mut samples = text.family(&f::RESETS);
    for (direction, count) in Direction::ALL.iter().zip(&tally.resets) {
        samples.value(&[direction.as_str()], count);
    }
    let mut samples = text.family(&f::IO_ERRORS);
    for (op, errnos) in Op::ALL.iter().zip(&tally.io_errors) {
        for (errno, count) in ERRNOS.iter().chain(&["other"]).zip(errnos) {
            samples.value(&[op.as_str(), errno], count);
        }
    }
    text.family(&f::STALLS).value(&[], tally.stalls);
    let mut samples = text.family(&f::STALLS_ENDED);
    for (ended, count) in StallEnd::ALL.iter().zip(&tally.stalls_ended) {
        samples.value(&[ended.as_str()], count);
    }
    let mut samples = text.family(&f::ATTRIBUTION);
    for (method, count) in Attribution::ALL.iter().zip(&tally.attribution) {
        samples.value(&[method.as_str()], count);
    }
}

fn of_tracer(text: &mut Text, about: &About, own: &Own) {
    text.family(&f::BUILD_INFO)
        .value(&[about.version, about.kernel.as_str()], 1);
    let mut samples = text.family(&f::EMITTED);
    for kind in Kind::ALL {
        let written = own.written.0.iter();
        let count = written.filter(|(name, _)| name == kind.as_str());
        samples.value(&[kind.as_str()], count.map(|(_, count)| count).sum::<u64>());
    }
    let mut samples = text.family(&f::LOST);
    for (place, count) in Where::ALL.iter().zip(&own.lost) {
        // Missed runs are made good, or counted by themselves.
        if *place != Where::MissedRun {
            samples.value(&[place.as_str()], count);
        }
    }
    let mut one = |family, value: u64| text.family(family).value(&[], value);
    one(&f::RECORDS, own.records);
    one(&f::UNDECODABLE, own.undecodable);
    one(&f::RING_BEHIND, own.ring_behind);
    one(&f::RING_BYTES, about.ring_bytes.into());
    let mut samples = text.family(&f::PROBE_ATTACHED);
    for Probe {
        signal,
        hook,
        attached,
    } in &about.probes
    {
        samples.value(&[signal, hook], u8::from(*attached));
    }
    let mut one = |family, value: u64| text.family(family).value(&[], value);
    one(&f::MISSED_RUNS, own.missed_runs);
    one(&f::RECOVERED, own.recovered);
    one(&f::SYN_RECV_ENDED, own.syn_recv_ended);
    text.family(&f::MAP_ENTRIES)
        .value(&["conns"], own.connections);
    text.family(&f::MAP_MAX_ENTRIES)
        .value(&["conns"], about.max_connections);
    let mut one = |family, value: u64| text.family(family).value(&[], value);
    one(&f::QUEUE_BYTES, own.queued_bytes);
    one(&f::QUEUE_MAX_BYTES, own.queue_max_bytes);
}

fn of_process(text: &mut Text, about: &About, process: Option<&Process>) {
    let mut samples = text.family(&f::CPU_SECONDS);
    if let Some(process) = process {
        samples.value(&[], Seconds(process.cpu_ms));
    }
    let mut samples = text.family(&f::RESIDENT_BYTES);
    if let Some(process) = process {
        samples.value(&[], process.resident_bytes);
    }
    text.family(&f::START_TIME)
        .value(&[], Seconds(about.began_ms));
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use super::*;
    use crate::{
        core::sample,
        event::{
            text::Label,
            values::{Counts, List},
        },
        metrics::families::{ALL, Type},
    };

    fn snapshot() -> Snapshot {
        let mut tally = Tally::new(5);
        let mut end = sample::end();
        end.hints = List(vec![Label::from("nginx.proxy_read_timeout")]);
        tally.count(&sample::close(sample::ids(), end));
        let mut own = Own {
            records: 9,
            ..Own::default()
        };
        own.lost[Where::Output as usize] = 3;
        own.written = Counts::default();
        own.written.add("tcp_close", 1);
        Snapshot {
            about: Arc::new(About {
                version: "0.1.0",
                kernel: Label::from("6.18.0"),
                probes: vec![Probe {
                    signal: "socket_end",
                    hook: "tp_btf:inet_sock_set_state".to_owned(),
                    attached: true,
                }],
                ring_bytes: 65_536,
                max_connections: 1_000,
                began_ms: 1_795_177_416_123,
            }),
            tally,
            own,
        }
    }

    fn shown(format: Format) -> String {
        let process = Process {
            cpu_ms: 1_230,
            resident_bytes: 4_096,
        };
        page(format, &snapshot(), Some(&process))
    }

    /// The family that a sample is of.
    fn family_of(sample: &str) -> &'static f::Family {
        let name = sample.split(['{', ' ']).next().unwrap_or_default();
        let of = |family: &&&f::Family| {
            let rest = name.strip_prefix(family.name);
            rest.is_some_and(|rest| match family.kind {
                Type::Histogram => ["_bucket", "_sum", "_count"].contains(&rest),
                Type::Counter | Type::Gauge => rest.is_empty(),
            })
        };
        ALL.iter().find(of).unwrap_or_else(|| panic!("{sample}"))
    }

    #[test]
    fn every_family_is_there_once_and_in_order_with_its_samples_below() {
        for (format, total) in [(Format::Prometheus, true), (Format::OpenMetrics, false)] {
            let text = shown(format);
            let mut families = ALL.iter();
            let mut current: Option<&f::Family> = None;
            for line in text.lines().filter(|line| *line != "# EOF") {
                if let Some(rest) = line.strip_prefix("# HELP ") {
                    let family = families.next().expect("no more families than there are");
                    let name = match total {
                        true => family.name,
                        false => family.name.trim_end_matches("_total"),
                    };
                    assert_eq!(rest, format!("{name} {}", family.help));
                    current = Some(family);
                } else if !line.starts_with("# TYPE ") {
                    let family = family_of(line);
                    assert_eq!(
                        Some(family.name),
                        current.map(|family| family.name),
                        "{line}"
                    );
                }
            }
            assert!(families.next().is_none());
        }
    }

    #[test]
    fn no_series_is_there_twice() {
        let text = shown(Format::Prometheus);
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let series: Vec<_> = samples.filter_map(|line| line.rsplit_once(' ')).collect();
        let names: BTreeSet<_> = series.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), series.len());
        for (name, value) in series {
            assert!(value.parse::<f64>().is_ok(), "{name} {value}");
        }
    }

    #[test]
    fn what_was_counted_is_told() {
        let text = shown(Format::OpenMetrics);
        for line in [
            "tracer_connections_closed_total{reason=\"fin_peer\",role=\"server\"} 1 \
             # {conn=\"4b2d0c7e-00000000000000a1\"} 1.0 1795177416.123",
            "tracer_connections_closed_total{reason=\"fin_peer_rst\",role=\"client\"} 0",
            "tracer_connect_failures_total{reason=\"connect_timeout\"} 0",
            "tracer_connections_closed_by_workload_total{workload=\"go-server\",reason_class=\"ok\",role=\"server\"} 1",
            "tracer_patterns_total{pattern=\"normal\",role=\"server\"} 1",
            "tracer_timeout_matches_total{hint=\"nginx.proxy_read_timeout\",pattern=\"normal\"} 1",
            "tracer_idle_before_close_seconds_bucket{closed_by=\"peer\",role=\"server\",le=\"1.0\"} 1 \
             # {conn=\"4b2d0c7e-00000000000000a1\"} 0.004 1795177416.123",
            "tracer_idle_before_close_seconds_sum{closed_by=\"peer\",role=\"server\"} 0.004",
            "tracer_io_errors_total{op=\"send\",errno=\"EPIPE\"} 0",
            "tracer_attribution_total{method=\"accept\"} 1",
            "tracer_build_info{version=\"0.1.0\",kernel=\"6.18.0\"} 1",
            "tracer_events_emitted_total{event=\"tcp_close\"} 1",
            "tracer_events_lost_total{where=\"output\"} 3",
            "tracer_ring_records_total 9",
            "tracer_probe_attached{probe=\"socket_end\",hook=\"tp_btf:inet_sock_set_state\"} 1",
            "tracer_bpf_map_max_entries{map=\"conns\"} 1000",
            "tracer_workloads 1",
            "process_cpu_seconds_total 1.23",
            "process_start_time_seconds 1795177416.123",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
        assert!(text.ends_with("\n# EOF\n"));
    }

    #[test]
    fn a_page_stays_small_at_the_beginning() {
        let text = shown(Format::Prometheus);
        let samples = text.lines().filter(|line| !line.starts_with('#')).count();
        assert!(samples < 900, "{samples}");
    }
}
