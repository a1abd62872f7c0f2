//! docs/metrics.md is made from the list of metrics, and whatever deploy/ and that page ask Prometheus for is in it:
//! names, labels and the values of labels.

use std::{fs, path::Path};

use serde_json::Value;
use tracer::{
    core::timeouts::BUILT_IN,
    event::values::{
        Attribution, ClosedBy, Direction, Kind, Op, Pattern, Reason, Role, StallEnd, Where,
    },
    metrics::{
        families::{ALL, Family, Type},
        histogram::{AGE_BOUNDS_MS, IDLE_BOUNDS_MS},
        tally::{ERRNOS, class},
        text::Seconds,
        workload::ReasonClass,
    },
};

use super::{DOCS, hold, row};

const MARK: &str = "<!-- From here on made from tracer/src/metrics: \
                    UPDATE_DOCS=1 cargo test --package tracer --test docs -->\n";

#[test]
fn the_metrics_are_up_to_date() {
    hold("metrics.md", MARK, &reference());
}

fn reference() -> String {
    let mut out = String::from("\n| metric | type | labels | what |\n|---|---|---|---|\n");
    for family in ALL {
        let labels: Vec<_> = family
            .labels
            .iter()
            .map(|label| linked(label, family))
            .collect();
        row(
            &mut out,
            &[
                &format!("`{}`", family.name),
                family.kind.as_str(),
                &labels.join(", "),
                family.help,
            ],
        );
    }
    out.push_str("\n## `reason_class`\n\n| class | reasons |\n|---|---|\n");
    for of in ReasonClass::ALL {
        let reasons = Reason::ALL.iter().filter(|reason| class(**reason) == *of);
        let reasons: Vec<_> = reasons
            .map(|reason| format!("[`{reason}`](reasons/{reason}.md)"))
            .collect();
        row(
            &mut out,
            &[&format!("`{}`", of.as_str()), &reasons.join(", ")],
        );
    }
    out.push_str("\n## Buckets\n\nUpper bounds in seconds.\n\n| metric | bounds |\n|---|---|\n");
    for (name, bounds) in [
        ("tracer_connection_age_seconds", AGE_BOUNDS_MS),
        ("tracer_idle_before_close_seconds", IDLE_BOUNDS_MS),
    ] {
        let bounds: Vec<_> = bounds.iter().map(|ms| Seconds(*ms).to_string()).collect();
        row(&mut out, &[&format!("`{name}`"), &bounds.join(" ")]);
    }
    out
}

/// A label, and where its values are explained.
fn linked(label: &str, family: &Family) -> String {
    match label {
        "reason" | "role" | "closed_by" | "pattern" | "op" | "where" | "ended" => {
            format!("[`{label}`](output.md#{label})")
        }
        "direction" if family.name == "tracer_resets_total" => {
            format!("[`{label}`](output.md#{label})")
        }
        "direction" => format!("`{label}`: {}", BYTES.join(", ")),
        "errno" => format!("`{label}`: {}, other", ERRNOS.join(", ")),
        "event" => format!("[`{label}`](output.md#events)"),
        "method" => format!("[`{label}`](output.md#attribution)"),
        "hint" => format!("[`{label}`](timeouts.md)"),
        "reason_class" => format!("[`{label}`](#reason_class)"),
        "workload" => format!("[`{label}`](#how-many-series)"),
        label => format!("`{label}`"),
    }
}

const BYTES: &[&str] = &["tx_unacked", "tx_unsent", "rx_unread"];

/// Every value that a label can have; `None`: any.
fn values(label: &str) -> Option<Vec<&'static str>> {
    macro_rules! names {
        ($names:ident) => {
            $names::ALL.iter().map(|name| name.as_str()).collect()
        };
    }
    Some(match label {
        "reason" => names!(Reason),
        "role" => names!(Role),
        "reason_class" => names!(ReasonClass),
        "closed_by" => names!(ClosedBy),
        "pattern" => names!(Pattern),
        "op" => names!(Op),
        "where" => names!(Where),
        "ended" => names!(StallEnd),
        "event" => names!(Kind),
        "method" => names!(Attribution),
        "direction" => {
            let resets = Direction::ALL.iter().map(|name| name.as_str());
            resets.chain(BYTES.iter().copied()).collect()
        }
        "errno" => ERRNOS.iter().copied().chain(["other"]).collect(),
        "hint" => BUILT_IN
            .entries()
            .iter()
            .map(|entry| entry.id.as_str())
            .collect(),
        "map" => vec!["conns"],
        _ => return None,
    })
}

/// What Prometheus adds.
const OF_SCRAPES: &[&str] = &["instance", "job", "le"];

#[test]
fn only_metrics_that_exist_are_asked_for() {
    let deploy = Path::new(DOCS).join("../deploy");
    let mut texts = vec![read(&Path::new(DOCS).join("metrics.md"))];
    texts.extend(dashboard(&deploy.join("grafana/tracer.json")));
    for entry in fs::read_dir(deploy.join("prometheus")).expect("a folder") {
        texts.push(read(&entry.expect("a file").path()));
    }
    for text in &texts {
        for use_ in uses(text) {
            check(&use_);
        }
        for label in grouped_by(text) {
            let known = ALL.iter().any(|family| family.labels.contains(&label));
            assert!(known || OF_SCRAPES.contains(&label), "by ({label})");
        }
    }
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The queries of a dashboard; each of its panels has one.
fn dashboard(file: &Path) -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read(file)).expect("JSON");
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        let targets = panel["targets"].as_array();
        assert_eq!(
            targets.is_none(),
            panel["type"] == "row",
            "{}",
            panel["title"]
        );
        for target in targets.into_iter().flatten() {
            queries.push(target["expr"].as_str().expect("a query").to_owned());
        }
    }
    for variable in dashboard["templating"]["list"]
        .as_array()
        .expect("variables")
    {
        queries.extend(variable["query"]["query"].as_str().map(str::to_owned));
    }
    assert!(queries.len() > 20, "{}", queries.len());
    queries
}

/// A metric in a query, and what stands between its braces.
#[derive(Debug)]
struct Use<'a> {
    name: &'a str,
    selectors: &'a str,
}

fn uses(text: &str) -> Vec<Use<'_>> {
    let mut uses = Vec::new();
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let start = &rest[at..];
        let length = start.find(|c: char| !word(c)).unwrap_or(start.len());
        let (name, after) = start.split_at(length);
        if name.starts_with("tracer_") || name.starts_with("process_") {
            let selectors = after
                .strip_prefix('{')
                .and_then(|inside| inside.split_once('}'))
                .map_or("", |(selectors, _)| selectors);
            uses.push(Use { name, selectors });
        }
        rest = after;
    }
    uses
}

/// Panics with what does not exist.
fn check(use_: &Use<'_>) {
    let family = ALL.iter().find(|family| {
        let rest = use_.name.strip_prefix(family.name);
        rest.is_some_and(|rest| match family.kind {
            Type::Histogram => ["", "_bucket", "_sum", "_count"].contains(&rest),
            Type::Counter | Type::Gauge => rest.is_empty(),
        })
    });
    let family = family.unwrap_or_else(|| panic!("there is no metric {}", use_.name));
    let mut parts = use_.selectors.split('"');
    // label, operator and comma; value; and so on
    while let (Some(label), Some(value)) = (parts.next(), parts.next()) {
        let regex = label.ends_with('~');
        let label = label.trim_matches(|c: char| ",=~! ".contains(c));
        if OF_SCRAPES.contains(&label) {
            continue;
        }
        assert!(family.labels.contains(&label), "{use_:?}: {label}");
        let Some(known) = values(label) else { continue };
        let given = value.split(|c| regex && c == '|');
        for value in given {
            assert!(known.contains(&value), "{use_:?}: {label}={value}");
        }
    }
}

/// Labels of `by (…)`.
fn grouped_by(text: &str) -> Vec<&str> {
    let groups = text.split("by (").skip(1);
    let lists = groups.filter_map(|rest| rest.split_once(')'));
    lists
        .flat_map(|(list, _)| list.split(','))
        .map(str::trim)
        .collect()
}

#[test]
fn a_name_that_does_not_exist_is_found() {
    for wrong in [
        "tracer_connections_closed",
        "tracer_connections_closed_total{port=\"80\"}",
        "tracer_connections_closed_total{role=\"server\",reason=~\"fin_peer|rst\"}",
        "tracer_timeout_matches_total{hint=\"nginx\"}",
        "tracer_stalls_total_bucket",
    ] {
        let uses = uses(wrong);
        assert_eq!(uses.len(), 1, "{wrong}");
        assert!(
            std::panic::catch_unwind(|| check(&uses[0])).is_err(),
            "{wrong}"
        );
    }
    let right =
        "sum(rate(tracer_connection_age_seconds_bucket{le=\"0.5\", reason_class!=\"ok\"}[5m]))";
    check(&uses(right)[0]);
    let groups = grouped_by("sum by (instance, reason) (x) / sum by (le) (y)");
    assert_eq!(groups, ["instance", "reason", "le"]);
}
