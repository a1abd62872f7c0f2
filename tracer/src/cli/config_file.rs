//! The configuration file: TOML, one key per option, every value kept as text with its line.

use std::{collections::BTreeMap, fs, path::Path};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::Usage;

/// A value as it stands in the file.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// From 1.
    pub line: usize,
    /// One, or those of an array.
    pub values: Vec<String>,
}

/// Entries by key.
pub type Entries = BTreeMap<String, Entry>;

/// Reads and parses a file.
pub fn read(path: &Path) -> Result<Entries, Usage> {
    let text = fs::read_to_string(path).map_err(|error| {
        Usage(format!(
            "cannot read the configuration file {}: {error}; --config and TRACER_CONFIG name a \
             TOML file, `tracer gen config` prints one",
            path.display()
        ))
    })?;
    parse(&text).map_err(|Fault { line, what }| Usage(format!("{}:{line}: {what}", path.display())))
}

/// What is wrong in a file, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    pub line: usize,
    pub what: String,
}

/// Parses the text of a file.
pub fn parse(text: &str) -> Result<Entries, Fault> {
    let table = DeTable::parse(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        Fault {
            line: line(text, start),
            what: format!(
                "not TOML: {}; lines have the form key = value",
                error.message().replace('\n', ", ")
            ),
        }
    })?;
    let mut entries = Entries::new();
    for (key, value) in table.get_ref() {
        let key = key.get_ref();
        let line = line(text, value.span().start);
        let values = strings(value.get_ref()).ok_or_else(|| Fault {
            line,
            what: format!(
                "{key}: expected a string, an integer, true or false, or an array of strings or \
                 integers"
            ),
        })?;
        entries.insert(key.to_string(), Entry { line, values });
    }
    Ok(entries)
}

fn line(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

fn strings(value: &DeValue<'_>) -> Option<Vec<String>> {
    match value {
        DeValue::Array(items) => items.iter().map(Spanned::get_ref).map(string).collect(),
        DeValue::Boolean(value) => Some(vec![value.to_string()]),
        single => Some(vec![string(single)?]),
    }
}

fn string(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .map(|value| value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_with_their_lines() {
        let text =
            "# comment\noutput = \"json\"\n\nport = [80,\n  443]\nwide = true\ncount = 0x10\n";
        let entries = parse(text).expect("valid");
        let expected = [
            ("count", 7, vec!["16"]),
            ("output", 2, vec!["json"]),
            ("port", 4, vec!["80", "443"]),
            ("wide", 6, vec!["true"]),
        ];
        let found: Vec<_> = entries
            .iter()
            .map(|(key, entry)| {
                let values = entry.values.iter().map(String::as_str).collect::<Vec<_>>();
                (key.as_str(), entry.line, values)
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn faults_name_their_line() {
        for (text, line, what) in [
            ("\nport = \n", 2, "not TOML"),
            ("port = 80\nport = 81\n", 2, "not TOML"),
            ("a = 1\n[filters]\nb = 2\n", 2, "filters: expected a string"),
            ("for = 1.5\n", 1, "for: expected a string"),
            ("port = [80, [81]]\n", 1, "port: expected a string"),
        ] {
            let fault = parse(text).expect_err(text);
            assert_eq!(fault.line, line, "{text:?}: {fault:?}");
            assert!(fault.what.starts_with(what), "{text:?}: {fault:?}");
        }
    }
}
