//! docs/dependencies.md has every crate that a manifest names, its version and its licence, and says why it is there.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Fault, File};
use crate::{cargo::cargo, command};

const TABLE: &str = "docs/dependencies.md";

/// A crate, its version and its licence, as cargo has them.
type Row = [String; 3];

/// Those that the manifests of this workspace name, from crates.io.
pub fn named() -> Result<BTreeSet<Row>> {
    let mut command = cargo();
    // With all features, or what is behind one has no licence.
    command.args([
        "metadata",
        "--format-version=1",
        "--all-features",
        "--filter-platform",
        "x86_64-unknown-linux-gnu",
    ]);
    let metadata: Value = serde_json::from_str(&command::read(&mut command)?)
        .context("cargo metadata prints no JSON")?;
    Ok(rows(&metadata))
}

fn rows(metadata: &Value) -> BTreeSet<Row> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages: Vec<&Value> = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    let licences: BTreeMap<String, String> = packages
        .iter()
        .map(|package| (text(&package["name"]), text(&package["license"])))
        .collect();
    let ours = packages
        .iter()
        .filter(|package| package["source"].is_null());
    let dependencies =
        ours.flat_map(|package| package["dependencies"].as_array().into_iter().flatten());
    dependencies
        .filter(|dependency| !dependency["source"].is_null())
        .map(|dependency| {
            let name = text(&dependency["name"]);
            let licence = licences.get(&name).cloned().unwrap_or_default();
            let version = text(&dependency["req"]).trim_start_matches('^').to_owned();
            [name, version, licence]
        })
        .collect()
}

pub fn faults(files: &[File], named: &BTreeSet<Row>) -> Vec<Fault> {
    let Some(table) = files.iter().find(|file| file.path == TABLE) else {
        return vec![super::covers_nothing(TABLE, "dependencies.rs")];
    };
    let mut faults = Vec::new();
    let mut told = BTreeSet::new();
    for (number, line) in table.text().lines().enumerate() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, version, licence, what, why] = cells[..] else {
            continue;
        };
        if name == "crate" || name.starts_with("---") {
            continue;
        }
        let row = [name, version, licence].map(str::to_owned);
        if !named.contains(&row) {
            faults.push(Fault::new(
                table,
                number + 1,
                format!("{}: no manifest names this", row.join(" ")),
            ));
        }
        if what.is_empty() || why.is_empty() {
            faults.push(Fault::new(
                table,
                number + 1,
                format!("{name}: without a reason"),
            ));
        }
        told.insert(row);
    }
    let missing = named
        .difference(&told)
        .map(|row| Fault::new(table, None, format!("{} is missing", row.join(" "))));
    faults.extend(missing);
    faults
}

#[cfg(test)]
mod tests {
    use super::{super::file, *};

    fn metadata() -> Value {
        let ours = serde_json::json!([
            { "name": "a", "req": "^1.2", "source": "registry" },
            { "name": "b", "req": "^3", "source": "registry" },
            { "name": "tracer-common", "req": "*", "source": null },
        ]);
        serde_json::json!({ "packages": [
            { "name": "tracer", "license": "MIT", "source": null, "dependencies": ours },
            { "name": "a", "license": "MIT", "source": "registry", "dependencies": [{ "name": "c", "req": "^1", "source": "registry" }] },
            { "name": "b", "license": "ISC", "source": "registry", "dependencies": [] },
        ] })
    }

    #[test]
    fn table_and_manifests_say_the_same() {
        let named = rows(&metadata());
        let head = "| crate | version | licence | for | why not ours |\n|---|---|---|---|---|\n";
        let good = "| a | 1.2 | MIT | x | y |\n| b | 3 | ISC | x | y |\n";
        let check = |rows: &str| -> Vec<String> {
            let faults = faults(&[file(TABLE, &format!("{head}{rows}"))], &named);
            faults.iter().map(ToString::to_string).collect()
        };
        assert_eq!(check(good), [""; 0]);
        assert_eq!(
            check("| a | 1.1 | MIT | x | y |\n| b | 3 | ISC | x | |\n"),
            [
                "docs/dependencies.md:3: a 1.1 MIT: no manifest names this",
                "docs/dependencies.md:4: b: without a reason",
                "docs/dependencies.md: a 1.2 MIT is missing",
            ]
        );
    }
}
