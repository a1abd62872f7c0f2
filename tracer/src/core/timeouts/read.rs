//! The file's form: one table a timeout, its id the table's name, or only `id = "45s"`.

use std::time::Duration;

use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

use super::{Clock, Clocks, Timeout};
use crate::event::{
    text::Label,
    values::{How, Role},
};

/// Shortest and longest timeout that is one: below, everything is due; above, nobody waits.
const LEAST_MS: u64 = 10;
const MOST_MS: u64 = 365 * 24 * 3_600_000;
/// Ids are written into lines of limited length, five at a time.
const ID_MAX_BYTES: usize = 64;

const FORM: &str = "expected id = \"45s\", or [id] with value = \"45s\" and others (`tracer explain \
                    nginx.proxy_read_timeout` shows one)";

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// From 1.
    pub line: usize,
    pub what: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    what: Option<String>,
    value: Option<Words>,
    clock: Option<Words>,
    closer: Option<String>,
    how: Option<String>,
    process: Option<Words>,
    runtime: Option<Words>,
    port: Option<Ports>,
    late: Option<String>,
    late_why: Option<String>,
    setting: Option<String>,
    versions: Option<String>,
    verified: Option<bool>,
    common: Option<bool>,
    source: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a string or an array of strings")]
enum Words {
    One(String),
    Many(Vec<String>),
}

impl Words {
    fn into_vec(self) -> Vec<String> {
        match self {
            Words::One(word) => vec![word],
            Words::Many(words) => words,
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a port or an array of ports")]
enum Ports {
    One(u16),
    Many(Vec<u16>),
}

/// The entries of a text. What one does not say is as in the entry of the same id in `known`.
pub fn entries(text: &str, known: &[Timeout], site: bool) -> Result<Vec<Timeout>, Fault> {
    let at = |offset: usize| {
        let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    };
    let table = DeTable::parse(text).map_err(|error| Fault {
        line: at(error.span().map_or(0, |span| span.start)),
        what: format!("not TOML: {}; {FORM}", error.message().replace('\n', ", ")),
    })?;
    let mut found = Vec::new();
    flatten("", table.into_inner(), known, &mut found);
    found
        .into_iter()
        .map(|(id, value)| {
            let start = value.span().start;
            entry(&id, value, known, site).map_err(|(offset, what)| Fault {
                line: at(offset.unwrap_or(start)),
                what: format!("{id}: {what}"),
            })
        })
        .collect()
}

/// `[nginx.send_timeout]` is a table in a table for TOML, and an id for us.
fn flatten<'a>(
    prefix: &str,
    table: DeTable<'a>,
    known: &[Timeout],
    found: &mut Vec<(String, Spanned<DeValue<'a>>)>,
) {
    for (key, value) in table {
        let key = key.get_ref();
        let id = match prefix {
            "" => key.to_string(),
            prefix => format!("{prefix}.{key}"),
        };
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(inner) if is_prefix(&id, &inner, known) => {
                flatten(&id, inner, known, found);
            }
            other => found.push((id, Spanned::new(span, other))),
        }
    }
}

/// Whether a table holds entries, and is none. What could be a misspelt key of an entry is one.
fn is_prefix(id: &str, table: &DeTable<'_>, known: &[Timeout]) -> bool {
    let is_id = |key: &str| {
        let full = format!("{id}.{key}");
        known.iter().any(|entry| entry.id.as_str() == full)
    };
    !table.is_empty()
        && table.iter().all(|(key, value)| {
            matches!(value.get_ref(), DeValue::Table(_)) || is_id(key.get_ref())
        })
}

/// Where in the text, if that is known, and what.
type Wrong = (Option<usize>, String);

fn entry(
    id: &str,
    value: Spanned<DeValue<'_>>,
    known: &[Timeout],
    site: bool,
) -> Result<Timeout, Wrong> {
    let wrong = |what: String| (None, what);
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if id.is_empty() || id.len() > ID_MAX_BYTES || !id.bytes().all(is_word) {
        return Err(wrong(format!(
            "expected an id of at most {ID_MAX_BYTES} letters, digits, dots, hyphens and underscores"
        )));
    }
    let form = match value.get_ref() {
        DeValue::String(text) => Form {
            value: Some(Words::One(text.to_string())),
            ..Form::default()
        },
        DeValue::Table(_) => {
            Form::deserialize(ValueDeserializer::from(value)).map_err(|error| {
                let offset = error.span().map(|span| span.start);
                (
                    offset,
                    format!("{}; {FORM}", error.message().replace('\n', ", ")),
                )
            })?
        }
        _ => return Err(wrong(FORM.to_owned())),
    };
    let before = known.iter().find(|entry| entry.id.as_str() == id);
    fill(id, form, before, site).map_err(wrong)
}

fn fill(id: &str, form: Form, before: Option<&Timeout>, site: bool) -> Result<Timeout, String> {
    let mut entry = match before {
        Some(entry) => entry.clone(),
        None => Timeout {
            id: Label::from(id),
            what: String::new(),
            values_ms: Vec::new(),
            clocks: Clocks::OF_PROCESSES,
            closer: None,
            // What a product sends is known; what a site only gave a name may send anything.
            how: (!site).then_some(How::Fin),
            process: Vec::new(),
            runtime: Vec::new(),
            ports: Vec::new(),
            late_ms: None,
            late_why: String::new(),
            setting: String::new(),
            versions: String::new(),
            verified: true,
            common: false,
            source: String::new(),
            site,
            node: false,
        },
    };
    entry.site = site;
    match (form.value, before) {
        (Some(values), _) => {
            let values = values.into_vec();
            let values = values
                .iter()
                .map(|text| duration_ms("value", text, LEAST_MS));
            entry.values_ms = values.collect::<Result<_, _>>()?;
        }
        (None, Some(_)) => (),
        (None, None) => return Err(format!("no value; {FORM}")),
    }
    if let Some(clocks) = form.clock {
        let clocks: Result<Vec<_>, _> = clocks.into_vec().iter().map(|text| clock(text)).collect();
        entry.clocks = Clocks::of(clocks?);
    }
    if let Some(closer) = form.closer {
        entry.closer = match closer.as_str() {
            "server" => Some(Role::Server),
            "client" => Some(Role::Client),
            "either" => None,
            _ => {
                return Err(format!(
                    "closer {closer:?}: expected server, client or either"
                ));
            }
        };
    }
    if let Some(how) = form.how {
        entry.how = match how.as_str() {
            "fin" => Some(How::Fin),
            "rst" => Some(How::Rst),
            "any" => None,
            _ => return Err(format!("how {how:?}: expected fin, rst or any")),
        };
    }
    if let Some(late) = form.late {
        entry.late_ms = Some(duration_ms("late", &late, 0)?);
    }
    if let Some(ports) = form.port {
        entry.ports = match ports {
            Ports::One(port) => vec![port],
            Ports::Many(ports) => ports,
        };
    }
    let words = |words: Option<Words>, to: &mut Vec<String>| {
        if let Some(words) = words {
            *to = words.into_vec();
        }
    };
    words(form.process, &mut entry.process);
    words(form.runtime, &mut entry.runtime);
    let text = |text: Option<String>, to: &mut String| {
        if let Some(text) = text {
            *to = text;
        }
    };
    text(form.what, &mut entry.what);
    text(form.late_why, &mut entry.late_why);
    text(form.setting, &mut entry.setting);
    text(form.versions, &mut entry.versions);
    text(form.source, &mut entry.source);
    entry.verified = form.verified.unwrap_or(entry.verified);
    entry.common = form.common.unwrap_or(entry.common);
    Ok(entry)
}

fn clock(text: &str) -> Result<Clock, String> {
    let found = Clock::ALL.iter().find(|clock| clock.as_str() == text);
    found.copied().ok_or_else(|| {
        let names: Vec<_> = Clock::ALL.iter().map(|clock| clock.as_str()).collect();
        format!("clock {text:?}: expected any of {}", names.join(", "))
    })
}

fn duration_ms(key: &str, text: &str, least_ms: u64) -> Result<u64, String> {
    humantime::parse_duration(text)
        .ok()
        .as_ref()
        .map(Duration::as_millis)
        .and_then(|ms| u64::try_from(ms).ok())
        .filter(|ms| (least_ms..=MOST_MS).contains(ms))
        .ok_or_else(|| {
            format!(
                "{key} {text:?}: expected a number and a unit, such as 1500ms, 45s, 2m or 1h30m, \
                 at most 365d"
            )
        })
}
