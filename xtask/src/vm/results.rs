//! What came of the matrix, kept in the tree: docs/kernels.md tells of the last run of every kernel and family of hooks.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use super::{
    table::Column,
    verdict::{Family, Outcome},
};
use crate::cargo::workspace;

const FILE: &str = "tracer/tests/matrix.json";

/// Puts these results in the place of earlier ones of the same tests, kernel and family.
pub fn save(columns: &[Column]) -> Result<()> {
    let path = workspace().join(FILE);
    let mut all = match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text)
            .with_context(|| format!("{} is no JSON object", path.display()))?,
        Err(_) => Map::new(),
    };
    for (kernel, verdict) in columns {
        for family in &verdict.families {
            let head = format!("{} {}", kernel.name, family.name);
            merge(&mut all, &head, verdict.release.as_deref(), family);
        }
    }
    let text = serde_json::to_string_pretty(&all).context("cannot write JSON")?;
    fs::write(&path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}

/// Of another build of the kernel nothing is kept.
fn merge(all: &mut Map<String, Value>, head: &str, release: Option<&str>, family: &Family) {
    let empty = json!({ "release": release, "programs": {}, "tests": {} });
    let known = all.entry(head).or_insert_with(|| empty.clone());
    if known["release"].as_str() != release {
        *known = empty;
    }
    // The doctor names all that there are; those that went with an earlier tracer are gone.
    if !family.programs.is_empty() {
        known["programs"] = json!({});
    }
    for (name, instructions) in &family.programs {
        known["programs"][name] = json!(instructions);
    }
    for (name, outcome) in &family.tests {
        known["tests"][name] = json!(word(outcome));
    }
}

fn word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Skipped(reason) => format!("skipped: {reason}"),
        Outcome::Passed => "ok".to_owned(),
        Outcome::Failed(_) | Outcome::TimedOut | Outcome::Unfinished => "failed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(program: &str, tests: Vec<(String, Outcome)>) -> Family {
        Family {
            name: "kprobe".to_owned(),
            programs: vec![(program.to_owned(), Some(7))],
            tests,
            ..Family::default()
        }
    }

    #[test]
    fn a_later_run_replaces_what_it_ran_again() {
        let mut all = Map::new();
        let first = family(
            "gone",
            vec![
                ("fin".into(), Outcome::Failed("so".into())),
                ("rst".into(), Outcome::Skipped("needs x".into())),
            ],
        );
        merge(&mut all, "6.1 kprobe", Some("6.1.0"), &first);
        let second = family("set_state", vec![("fin".into(), Outcome::Passed)]);
        merge(&mut all, "6.1 kprobe", Some("6.1.0"), &second);
        let known = &all["6.1 kprobe"];
        assert_eq!(
            known["tests"],
            json!({"fin": "ok", "rst": "skipped: needs x"})
        );
        assert_eq!(known["programs"], json!({"set_state": 7}));
        merge(&mut all, "6.1 kprobe", Some("6.1.1"), &second);
        assert_eq!(all["6.1 kprobe"]["tests"], json!({"fin": "ok"}));
    }
}
