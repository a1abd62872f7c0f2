//! docs/output.md says what every event and key means. Its reference is made from the lists of keys
//! that the encoder and the schema are made from; this test holds it to them, and with
//! UPDATE_DOCS=1 in the environment writes it. So it is with docs/timeouts.md and the table, and with docs/metrics.md.

mod blocks;
#[path = "../doc_blocks/mod.rs"]
mod doc_blocks;
mod metrics;

use std::fmt::Write;

use serde_json::Value;
use tracer::core::timeouts::BUILT_IN;
use tracer::event::{
    Called, End, Head, Ids, Key, Keys, Shortened,
    json::Json,
    schema,
    values::{
        Attribution, ClosedBy, Direction, Family, GivesUpBy, How, Kind, LastData, Op, Pattern,
        Reason, Role, StallEnd, StopReason, What, Where,
    },
};

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");

/// Everything from here on is made.
const MARK: &str = "<!-- From here on made from tracer/src/event: \
                    UPDATE_DOCS=1 cargo test --package tracer --test docs -->\n";
const TIMEOUTS_MARK: &str = "<!-- From here on made from tracer/src/core/timeouts/table.toml: \
                             UPDATE_DOCS=1 cargo test --package tracer --test docs -->\n";

#[test]
fn the_reference_is_up_to_date() {
    hold("output.md", MARK, &reference());
}

#[test]
fn the_timeouts_are_up_to_date() {
    hold("timeouts.md", TIMEOUTS_MARK, &timeouts());
}

/// Everything after the mark is as it is made.
fn hold(name: &str, mark: &str, made: &str) {
    let file = format!("{DOCS}/{name}");
    let text = std::fs::read_to_string(&file).expect(name);
    let (intro, _) = text.split_once(mark).expect("it has the mark");
    let wanted = format!("{intro}{mark}{made}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, wanted).expect("it can be written");
        return;
    }
    assert!(
        text == wanted,
        "docs/{name} is out of date: UPDATE_DOCS=1 cargo test --package tracer --test docs"
    );
}

fn timeouts() -> String {
    let mut out = String::from(
        "\n| id | default | runs on | hangs up | setting | known by |\n|---|---|---|---|---|---|\n",
    );
    for timeout in BUILT_IN.entries() {
        let id = match timeout.verified {
            true => format!("[`{}`]({})", timeout.id, timeout.source),
            false => format!("[`{}`]({}) (not verified)", timeout.id, timeout.source),
        };
        let default = match timeout.versions.as_str() {
            "" => timeout.defaults(),
            versions => format!("{} ({versions})", timeout.defaults()),
        };
        row(
            &mut out,
            &[
                &format!("{id}: {}", timeout.what),
                &default,
                &timeout.runs_on(),
                &timeout.hangs_up(),
                &timeout.setting,
                &timeout.known_by(),
            ],
        );
    }
    out
}

#[test]
fn every_key_and_value_has_a_meaning() {
    for kind in Kind::ALL {
        for key in schema::groups(*kind).iter().copied().flatten() {
            assert!(!key.doc.is_empty(), "{}: {}", kind.as_str(), key.name);
        }
    }
    for list in lists() {
        for (name, meaning) in &list.values {
            assert!(!meaning.is_empty(), "{}: {name}", list.title);
        }
    }
}

/// A closed list of names.
struct List {
    title: &'static str,
    schema: Value,
    values: Vec<(&'static str, &'static str)>,
}

macro_rules! list {
    ($title:literal, $names:ident) => {
        List {
            title: $title,
            schema: $names::schema(),
            values: $names::ALL
                .iter()
                .map(|name| (name.as_str(), name.meaning()))
                .collect(),
        }
    };
}

fn lists() -> Vec<List> {
    vec![
        list!("reason", Reason),
        list!("closed_by", ClosedBy),
        list!("how", How),
        list!("pattern", Pattern),
        list!("attribution", Attribution),
        list!("role", Role),
        list!("family", Family),
        list!("last_data", LastData),
        list!("direction", Direction),
        list!("gives_up_by", GivesUpBy),
        list!("ended", StallEnd),
        list!("op", Op),
        list!("where", Where),
        list!("why", StopReason),
        list!("what", What),
    ]
}

fn reference() -> String {
    let lists = lists();
    let mut out = String::from("\n## Events\n\n| `event` | when |\n|---|---|\n");
    for kind in Kind::ALL {
        row(&mut out, &[&format!("`{kind}`"), kind.meaning()]);
    }
    table(&mut out, "Every line begins with", Head::KEYS, &lists);
    table(&mut out, "Then, in every `tcp_*` event", Ids::KEYS, &lists);
    table(
        &mut out,
        "Then, in `tcp_close` and `tcp_connect_failed`",
        End::KEYS,
        &lists,
    );
    for kind in Kind::ALL {
        if matches!(kind, Kind::TcpClose | Kind::TcpConnectFailed) {
            continue;
        }
        // Of a connection's event the first and the last two are common ones.
        let keys = match schema::groups(*kind) {
            [own, _] | [_, own, _, _] => *own,
            _ => &[],
        };
        table(&mut out, &format!("Then, in `{kind}`"), keys, &lists);
    }
    table(
        &mut out,
        "At the end of every `tcp_*` event",
        Called::KEYS,
        &lists,
    );
    table(
        &mut out,
        "At the end of every line of another event that was shortened",
        Shortened::KEYS,
        &lists,
    );
    out.push_str("\n## Values\n");
    for list in &lists {
        let _ = write!(
            out,
            "\n### `{}`\n\n| value | meaning |\n|---|---|\n",
            list.title
        );
        for (name, meaning) in &list.values {
            let name = match list.title {
                "reason" | "pattern" => format!("[`{name}`](reasons/{name}.md)"),
                _ => format!("`{name}`"),
            };
            row(&mut out, &[&name, meaning]);
        }
    }
    out
}

fn table(out: &mut String, title: &str, keys: &[Key], lists: &[List]) {
    let _ = write!(
        out,
        "\n## {title}\n\n| key | type | meaning |\n|---|---|---|\n"
    );
    for key in keys {
        let schema = (key.schema)();
        let name = format!("`{}`", key.name);
        row(out, &[&name, &type_of(&schema, lists), key.doc]);
    }
}

fn row(out: &mut String, cells: &[&str]) {
    for cell in cells {
        let _ = write!(out, "| {} ", cell.replace('|', "\\|"));
    }
    out.push_str("|\n");
}

/// A type as people say it.
fn type_of(schema: &Value, lists: &[List]) -> String {
    if let Some(list) = lists.iter().find(|list| list.schema == *schema) {
        return format!("[{}](#{})", list.title, list.title);
    }
    if *schema == Kind::schema() {
        return "[event](#events)".to_owned();
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let types: Vec<_> = any.iter().map(|schema| type_of(schema, lists)).collect();
        return if types.iter().all(|name| *name == types[0]) {
            types[0].clone()
        } else {
            types.join(" or ")
        };
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<_> = values.iter().filter_map(Value::as_str).collect();
        return values.join(", ");
    }
    match schema["type"].as_str() {
        Some("array") => format!("array of {}", type_of(&schema["items"], lists)),
        Some("object") => object(schema, lists),
        Some("string") if schema["format"] == "date-time" => "RFC 3339, UTC, 9 digits".to_owned(),
        Some("string") if schema["format"].is_string() => "address".to_owned(),
        Some("string") if schema["pattern"].is_string() => {
            format!(
                "string `{}`",
                schema["pattern"].as_str().unwrap_or_default()
            )
        }
        Some(name) => name.to_owned(),
        None => panic!("{schema} has no name here"),
    }
}

fn object(schema: &Value, lists: &[List]) -> String {
    let Some(properties) = schema["properties"].as_object() else {
        return format!(
            "object of {} by name",
            type_of(&schema["additionalProperties"], lists)
        );
    };
    let required = schema["required"].as_array();
    let keys: Vec<_> = properties
        .iter()
        .map(|(name, schema)| {
            let always = required.is_some_and(|keys| keys.iter().any(|key| key == name));
            let maybe = if always { "" } else { "?" };
            format!("`{name}`{maybe} {}", type_of(schema, lists))
        })
        .collect();
    format!("{{{}}}", keys.join(", "))
}
