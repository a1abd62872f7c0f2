//! The filter line: the options of the command line without their dashes, `port=8080 abnormal`.
//! Alternatives within one are separated by commas; different ones have to hold together.

use crate::{
    cli::values,
    core::filter::Filter,
    event::values::{Kind, Reason},
};

/// What can be asked for, with whether it takes values.
const FIELDS: &[(&str, bool)] = &[
    ("abnormal", false),
    ("comm", true),
    ("container", true),
    ("events", true),
    ("hint", true),
    ("local-port", true),
    ("peer", true),
    ("pid", true),
    ("port", true),
    ("reason", true),
    ("unit", true),
];

/// Understands a filter line; the error is for the one who types it.
pub fn parse(text: &str) -> Result<Filter, String> {
    let mut filter = Filter::default();
    for word in words(text) {
        let word = word.trim_start_matches('-');
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        // As the options are called, and as the keys of the configuration file.
        let name = name.replace('_', "-");
        match (name.as_str(), value) {
            ("abnormal", None) => filter.abnormal = true,
            ("comm", Some(value)) => list(&mut filter.comms, value, values::comm)?,
            ("container", Some(value)) => list(&mut filter.containers, value, values::container)?,
            ("events", Some(value)) => list(&mut filter.events, value, values::kind)?,
            ("hint", Some(value)) => list(&mut filter.hints, value, values::hint)?,
            ("local-port", Some(value)) => list(&mut filter.local_ports, value, values::port)?,
            ("peer", Some(value)) => list(&mut filter.peers, value, values::network)?,
            ("pid", Some(value)) => list(&mut filter.pids, value, values::pid)?,
            ("port", Some(value)) => list(&mut filter.ports, value, values::port)?,
            ("reason", Some(value)) => list(&mut filter.reasons, value, values::reason)?,
            ("unit", Some(value)) => list(&mut filter.units, value, values::unit)?,
            ("abnormal", Some(_)) => return Err("abnormal takes no value".to_owned()),
            (known, None) if FIELDS.iter().any(|(name, _)| *name == known) => {
                return Err(format!("{known} needs a value: {known}=…"));
            }
            (other, _) => {
                let names: Vec<_> = FIELDS.iter().map(|(name, _)| *name).collect();
                return Err(format!("{other:?} is none of {}", names.join(", ")));
            }
        }
    }
    Ok(filter)
}

/// Separated by spaces that are not between quotes.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => words.push(String::new()),
            c => {
                if let Some(word) = words.last_mut() {
                    word.push(c);
                }
            }
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn list<T: PartialEq>(
    into: &mut Vec<T>,
    text: &str,
    parse: fn(&str) -> Result<T, String>,
) -> Result<(), String> {
    for item in text.split(',').map(str::trim) {
        let value = parse(item).map_err(|form| format!("{item:?}: {form}"))?;
        if !into.contains(&value) {
            into.push(value);
        }
    }
    Ok(())
}

/// What can be typed next, each as the whole last word or value, and how much of it is typed.
/// `known` lists values of a field that are in sight.
pub fn complete(text: &str, known: impl Fn(&str) -> Vec<String>) -> (Vec<String>, usize) {
    let word = text.rsplit(char::is_whitespace).next().unwrap_or_default();
    let word = word.trim_start_matches('-');
    let (candidates, typed) = match word.split_once('=') {
        None => {
            let names = FIELDS.iter().map(|(name, takes_value)| {
                if *takes_value {
                    format!("{name}=")
                } else {
                    (*name).to_owned()
                }
            });
            (names.collect(), word)
        }
        Some((name, values)) => {
            let typed = values.rsplit(',').next().unwrap_or_default();
            let names = match name {
                "reason" => Reason::ALL.iter().map(ToString::to_string).collect(),
                "events" => Kind::ALL
                    .iter()
                    .filter(|kind| values::kind(kind.as_str()).is_ok())
                    .map(ToString::to_string)
                    .collect(),
                name => known(name),
            };
            (names, typed)
        }
    };
    let mut fitting: Vec<_> = candidates
        .into_iter()
        .filter(|candidate| candidate.starts_with(typed) && candidate != typed)
        .collect();
    fitting.sort();
    fitting.dedup();
    (fitting, typed.len())
}

/// What Tab adds: all that the candidates have in common, or the first of them.
pub fn completion(candidates: &[String], typed: usize) -> String {
    let Some(first) = candidates.first() else {
        return String::new();
    };
    let common = candidates.iter().fold(first.as_str(), |common, other| {
        let same = common
            .char_indices()
            .zip(other.chars())
            .find(|((_, a), b)| a != b)
            .map_or(common.len().min(other.len()), |((at, _), _)| at);
        &common[..same]
    });
    let whole = if common.len() > typed { common } else { first };
    whole.get(typed..).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_means_what_the_flags_mean() {
        let filter = parse(
            "port=80,443 --reason=fin_peer_rst abnormal comm=\"a b\" peer=10.0.0.0/8 local_port=1",
        )
        .expect("a filter");
        assert_eq!(
            filter.describe(),
            [
                "--abnormal",
                "--comm a b",
                "--port 80,443",
                "--local-port 1",
                "--peer 10.0.0.0/8",
                "--reason fin_peer_rst",
            ]
        );
        assert_eq!(parse("  "), Ok(Filter::default()));
    }

    #[test]
    fn faults_are_told_with_the_accepted_form() {
        for (text, part) in [
            ("port=http", "expected ports"),
            ("reason=rst", "rst_peer"),
            ("prot=1", "is none of abnormal"),
            ("port", "port needs a value"),
            ("abnormal=1", "takes no value"),
            ("port=80,,", "\"\": expected ports"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn names_and_values_are_completed() {
        let known = |field: &str| match field {
            "comm" => vec!["nginx".to_owned(), "node".to_owned()],
            _ => Vec::new(),
        };
        for (text, added) in [
            ("re", "ason="),
            ("abnormal po", "rt="),
            ("reason=fin_peer,timeout_k", "eepalive"),
            ("reason=fin_", "both"),
            ("comm=ng", "inx"),
            ("comm=n", "ginx"),
            ("events=tcp_r", "eset"),
            ("x", ""),
            ("peer=1", ""),
        ] {
            let (candidates, typed) = complete(text, known);
            assert_eq!(
                completion(&candidates, typed),
                added,
                "{text}: {candidates:?}"
            );
        }
    }
}
