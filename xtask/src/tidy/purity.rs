//! The core of the daemon computes: from records to events, from events to text. It does not ask the world for
//! anything, so that every test of it is a table, and replay is the same as live.

use super::{Fault, File, covers_nothing, paths::mentions};

/// The modules that are kept pure.
const PURE: &[&str] = &[
    "tracer/src/core",
    "tracer/src/event",
    // Of the metrics, all but the server and what it reads of itself.
    "tracer/src/metrics/families",
    "tracer/src/metrics/histogram",
    "tracer/src/metrics/page",
    "tracer/src/metrics/request",
    "tracer/src/metrics/snapshot",
    "tracer/src/metrics/tally",
    "tracer/src/metrics/text",
    "tracer/src/metrics/workload",
    // Of the live view, all but its session with the terminal.
    "tracer/src/tui/columns",
    "tracer/src/tui/history",
    "tracer/src/tui/keymap",
    "tracer/src/tui/layout",
    "tracer/src/tui/model",
    "tracer/src/tui/query",
    "tracer/src/tui/totals",
    "tracer/src/tui/update",
    "tracer/src/tui/view",
];

/// What they may not mention, and where it belongs.
const DENIED: &[(&str, &str)] = &[
    ("aya", "the kernel is spoken to in tracer/src/kernel"),
    (
        "libc",
        "the system is asked at the edges; pass in what it said",
    ),
    (
        "nix",
        "the system is asked at the edges; pass in what it said",
    ),
    ("std::env", "settings are passed in"),
    (
        "std::fs",
        "files are read at the edges; pass in their content",
    ),
    ("std::net::Tcp*", "sockets are opened at the edges"),
    (
        "std::process",
        "the system is asked at the edges; pass in what it said",
    ),
    ("std::time::Instant", "the time is passed in"),
    ("std::time::SystemTime", "the time is passed in"),
    ("tokio", "the core has no tasks: it is called"),
];

pub fn faults(files: &[File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for module in PURE {
        let mut rust = files
            .iter()
            .filter(|file| file.is_rust() && file.is_in(module))
            .peekable();
        if rust.peek().is_none() {
            faults.push(covers_nothing(module, "purity.rs"));
        }
        faults.extend(rust.flat_map(in_file));
    }
    faults
}

fn in_file(file: &File) -> Vec<Fault> {
    mentions(&file.text())
        .into_iter()
        .filter_map(|mention| {
            let (denied, why) = DENIED
                .iter()
                .find(|(denied, _)| reaches(&mention.path, denied))?;
            let what = format!(
                "{} in the pure core, where {denied} is denied: {why}",
                mention.path.join("::")
            );
            Some(Fault::new(file, mention.line, what))
        })
        .collect()
}

/// Whether a path names what is denied, or brings it in: by a glob, or by importing the module around it.
fn reaches(path: &[String], denied: &str) -> bool {
    path.iter().zip(denied.split("::")).all(|(word, denied)| {
        word == "*"
            || denied
                .strip_suffix('*')
                .map_or(word == denied, |start| word.starts_with(start))
    })
}

#[cfg(test)]
mod tests {
    use super::{super::file, *};

    fn denied(source: &str) -> usize {
        in_file(&file("tracer/src/core/a.rs", source)).len()
    }

    #[test]
    fn every_line_of_the_table_denies() {
        for (denied, _) in DENIED {
            let path = denied.replace('*', "Stream");
            assert_eq!(
                in_file(&file("a.rs", &format!("use {path};"))).len(),
                1,
                "use {path}"
            );
            assert_eq!(
                in_file(&file("a.rs", &format!("fn f() {{ {path}::x() }}"))).len(),
                1,
                "{path}::x()"
            );
        }
    }

    #[test]
    fn ways_around_are_denied() {
        assert_eq!(denied("use std::{time::{Duration, Instant}, fmt};"), 1);
        assert_eq!(
            denied("use std::time;"),
            1,
            "time::Instant would not be seen"
        );
        assert_eq!(denied("use std::time::*;"), 1);
        assert_eq!(denied("use std::time::{self, Duration};"), 1);
    }

    #[test]
    fn what_only_looks_like_it_is_allowed() {
        assert_eq!(
            denied("use std::{time::Duration, net::{IpAddr, SocketAddr}, fmt};"),
            0
        );
        assert_eq!(
            denied("// std::fs\n/* tokio::spawn */ const A: &str = \"nix::x\";"),
            0
        );
        assert_eq!(
            denied("let aya = 1; env!(\"A\"); crate::libc_like::x(); event.process.fs"),
            0
        );
    }

    #[test]
    fn only_the_core_is_pure_and_it_has_to_be_there() {
        let fs = "use std::fs;";
        let core = file("tracer/src/core/a.rs", fs);
        let files = [
            core,
            file("tracer/src/event.rs", fs),
            file("tracer/src/sink/a.rs", fs),
        ];
        let found: Vec<_> = faults(&files).iter().map(ToString::to_string).collect();
        // Core and event have one each; that the other modules have no files is a fault of each too.
        assert_eq!(found.len(), PURE.len(), "{found:?}");
        assert!(
            found[0].starts_with("tracer/src/core/a.rs:1: std::fs in the pure core"),
            "{found:?}"
        );
        assert_eq!(faults(&[]).len(), PURE.len());
    }
}
