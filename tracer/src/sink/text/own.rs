//! The tool's own lines: what it sees and what it cannot, what was lost, totals.

use std::collections::BTreeSet;

use super::{
    INDENT, LINE, Text,
    row::{Row, Style, wrap},
    units,
};
use crate::event::{
    Head, Lost, Start, Stop,
    time::Timestamp,
    values::{Counts, StopReason, Where},
};

const LEGEND: [&str; 4] = [
    "Each line is the end of a connection, a RST, a failed call or a silent peer, seen by its process.",
    "Below it, in words: who hung up on whom, and why. Ends that were clean have nothing to tell.",
    "AT: the connection's age when the first end came. RX, TX: payload bytes. -: not known.",
    "`tracer explain WHY` says what a reason means.",
];

impl Text {
    pub(super) fn start(self, head: &Head, start: &Start, out: &mut Vec<u8>) {
        let mut row = Row::new(self.colour);
        let title = format!(
            "tracer {} on {}, Linux {}, {}; times are UTC",
            start.version,
            head.node,
            start.kernel,
            units::date(head.ts)
        );
        row.left(0, title, Style::Bold);
        row.finish(out);

        let (missing, attached): (Vec<_>, Vec<_>) =
            start.hooks.0.iter().partition(|hook| hook.error.is_some());
        // One hook may serve several signals. Who knows them by name looks wide.
        let attached: BTreeSet<_> = attached.iter().map(|hook| hook.hook.to_string()).collect();
        let hooks = match self.wide {
            true => attached.into_iter().collect::<Vec<_>>().join(", "),
            false => format!("{} are attached", attached.len()),
        };
        self.paragraph(&format!("Hooks: {hooks}."), out);
        for hook in missing {
            let error = hook.error.as_ref().map(ToString::to_string);
            let error = error.unwrap_or_default();
            self.paragraph(&format!("Not attached: {}: {error}.", hook.hook), out);
        }
        // Two hooks may serve one sight.
        let blind: BTreeSet<_> = start.blind.0.iter().map(ToString::to_string).collect();
        for blind in blind {
            self.paragraph(&format!("Not seen because of that: {blind}."), out);
        }
        if !start.filters.0.is_empty() {
            let filters: Vec<_> = start.filters.0.iter().map(ToString::to_string).collect();
            self.paragraph(&format!("Only: {}", filters.join(" ")), out);
        }
        for line in LEGEND {
            self.paragraph(line, out);
        }
        self.heads(out);
    }

    fn heads(self, out: &mut Vec<u8>) {
        let columns = self.columns();
        let mut row = Row::new(self.colour);
        row.left(0, "TIME", Style::Bold);
        row.left(columns.who, "PROCESS[PID]", Style::Bold);
        row.left(columns.addresses, "LOCAL → PEER", Style::Bold);
        row.left(columns.why, "WHY", Style::Bold);
        row.right(columns.age_end, "AT", Style::Bold);
        row.right(columns.rx_end, "RX", Style::Bold);
        row.right(columns.tx_end, "TX", Style::Bold);
        if self.wide {
            row.left(columns.closed_by, "ENDED BY", Style::Bold);
            row.left(columns.errno, "ERRNO", Style::Bold);
            row.left(columns.peer, "PEER'S PROCESS", Style::Bold);
        }
        row.finish(out);
    }

    pub(super) fn lost(self, ts: Timestamp, lost: &Lost, out: &mut Vec<u8>) {
        let mut row = Row::new(self.colour);
        row.left(0, units::clock(ts), Style::Dim);
        row.left(INDENT, format!("{} LOST", events(lost.count)), Style::Red);
        row.finish(out);
        let advice = match lost.r#where {
            Where::Ring => {
                "The kernel's ring buffer was full: a larger --ring-size lasts longer bursts."
            }
            Where::Map => "There was no room for more connections: raise --max-connections.",
            Where::Output => "Whoever reads the output was too slow.",
            Where::MissedRun => "The kernel skipped a program of tracer.",
        };
        let kinds = list(&lost.kinds);
        let text = match kinds.as_str() {
            "" => advice.to_owned(),
            kinds => format!("{advice} Lost: {kinds}."),
        };
        self.below(Some(text), out);
    }

    pub(super) fn stop(self, ts: Timestamp, stop: &Stop, out: &mut Vec<u8>) {
        let why = match stop.why {
            StopReason::Signal => "told to stop",
            StopReason::Duration => "--for is over",
            StopReason::Count => "--count is reached",
            StopReason::ReaderGone => "the reader of the output went away",
            StopReason::Failure => "something failed",
        };
        let mut row = Row::new(self.colour);
        row.left(0, units::clock(ts), Style::Dim);
        let title = format!("End after {}: {why}.", units::age(stop.duration_ms));
        row.left(INDENT, title, Style::Bold);
        row.finish(out);
        self.totals("Written", &stop.written, out);
        self.totals("Ends written, by reason", &stop.reasons, out);
        if stop.lost > 0 {
            self.totals(
                &format!("{} LOST", events(stop.lost)),
                &stop.lost_kinds,
                out,
            );
        } else {
            self.below(Some("Nothing was lost.".to_owned()), out);
        }
        if stop.recovered > 0 {
            let text = format!(
                "{} were made good when their sockets were destroyed.",
                stop.recovered
            );
            self.below(Some(text), out);
        }
        if stop.syn_recv_ended > 0 {
            let text = format!(
                "Incoming connections that were never established: {}.",
                stop.syn_recv_ended
            );
            self.below(Some(text), out);
        }
        for cluster in &stop.clusters.0 {
            let process = cluster.process.as_ref().map(ToString::to_string);
            let text = format!(
                "Repeated: {} of {} ends of {} with {} ({}) came at {}.",
                cluster.count,
                cluster.of,
                process.unwrap_or_else(|| "unknown processes".to_owned()),
                cluster.peer,
                cluster.pattern,
                units::age(cluster.clock_ms)
            );
            self.below(Some(text), out);
        }
    }

    fn totals(self, title: &str, counts: &Counts, out: &mut Vec<u8>) {
        let counts = match list(counts) {
            counts if counts.is_empty() => "nothing".to_owned(),
            counts => counts,
        };
        self.below(Some(format!("{title}: {counts}.")), out);
    }

    fn paragraph(self, text: &str, out: &mut Vec<u8>) {
        let limit = if self.wide { usize::MAX } else { LINE };
        wrap(text, 0, limit, out);
    }
}

fn events(count: u64) -> String {
    match count {
        1 => "1 event".to_owned(),
        count => format!("{count} events"),
    }
}

/// Largest first.
fn list(counts: &Counts) -> String {
    let mut counts = counts.0.clone();
    counts.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), name.clone()));
    let counts: Vec<_> = counts
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    counts.join(", ")
}
