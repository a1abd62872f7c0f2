//! Licences of the crates that are linked into the binary: most ask that their text goes with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{cargo::cargo, command};

/// The two programs: in user space, and in the kernel.
const PROGRAMS: [&str; 2] = ["tracer", "tracer-ebpf"];

/// How the names of licence files begin.
const BEGINNINGS: [&str; 5] = ["license", "licence", "copying", "notice", "unlicense"];

/// One list of crates, then every different text once.
pub fn text() -> Result<String> {
    let mut command = cargo();
    command.args([
        "metadata",
        "--format-version=1",
        "--filter-platform",
        "x86_64-unknown-linux-gnu",
    ]);
    let metadata: Value = serde_json::from_str(&command::read(&mut command)?)
        .context("cargo metadata prints no JSON")?;
    let mut crates = BTreeMap::new();
    // Texts to those who use them.
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in linked(&metadata) {
        let text = |key: &str| package[key].as_str().unwrap_or("unknown").to_owned();
        let name = format!("{} {}", text("name"), text("version"));
        let manifest = text("manifest_path");
        let folder = Path::new(&manifest)
            .parent()
            .context("a manifest is in a folder")?;
        for licence in files(folder)? {
            texts.entry(licence).or_default().insert(name.clone());
        }
        crates.insert(name, text("license"));
    }
    let mut out = "tracer is linked with the GNU C library (LGPL-2.1-or-later), with the standard library of Rust\n\
                   (MIT OR Apache-2.0), and with these crates:\n\n"
        .to_owned();
    for (name, licence) in &crates {
        // Writing to a String does not fail.
        let _ = writeln!(out, "{name}: {licence}");
    }
    for (text, names) in &texts {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let _ = write!(
            out,
            "\n\n==== {}\n\n{}\n",
            names.join(", "),
            text.trim_matches('\n')
        );
    }
    Ok(out)
}

/// What the programs depend on other than to be built or tested, without our own crates.
fn linked(metadata: &Value) -> Vec<&Value> {
    let array = |value: &'_ Value| value.as_array().cloned().unwrap_or_default();
    let packages: BTreeMap<&str, &Value> = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|package| Some((package["id"].as_str()?, package)))
        .collect();
    let needs: BTreeMap<String, Vec<String>> = array(&metadata["resolve"]["nodes"])
        .iter()
        .filter_map(|node| {
            let linked = |dep: &Value| {
                array(&dep["dep_kinds"])
                    .iter()
                    .any(|kind| kind["kind"].is_null())
            };
            let needs = array(&node["deps"])
                .iter()
                .filter(|dep| linked(dep))
                .filter_map(|dep| Some(dep["pkg"].as_str()?.to_owned()))
                .collect();
            Some((node["id"].as_str()?.to_owned(), needs))
        })
        .collect();
    let is_program = |package: &Value| {
        package["name"]
            .as_str()
            .is_some_and(|name| PROGRAMS.contains(&name))
    };
    let mut todo: Vec<String> = packages
        .iter()
        .filter(|(_, package)| is_program(package))
        .map(|(id, _)| (*id).to_owned())
        .collect();
    let mut seen = BTreeSet::new();
    while let Some(id) = todo.pop() {
        if seen.insert(id.clone()) {
            todo.extend(needs.get(&id).into_iter().flatten().cloned());
        }
    }
    let from_outside = |package: &&Value| !package["source"].is_null();
    seen.iter()
        .filter_map(|id| packages.get(id.as_str()).copied())
        .filter(from_outside)
        .collect()
}

fn files(folder: &Path) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let file = entry
            .with_context(|| format!("cannot list {}", folder.display()))?
            .path();
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        if file.is_file()
            && BEGINNINGS
                .iter()
                .any(|beginning| name.starts_with(beginning))
        {
            let text =
                fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            texts.push(String::from_utf8_lossy(&text).replace("\r\n", "\n"));
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_builds_or_tests_is_not_linked() {
        let package = |name: &str, outside: bool| serde_json::json!({ "id": name, "name": name, "source": outside.then_some("registry") });
        let dep = |name: &str, kind: Option<&str>| serde_json::json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        let metadata = serde_json::json!({
            "packages": [package("tracer", false), package("a", true), package("b", true), package("c", true)],
            "resolve": { "nodes": [
                { "id": "tracer", "deps": [dep("a", None), dep("b", Some("build"))] },
                { "id": "a", "deps": [dep("c", None), dep("b", Some("dev"))] },
            ] },
        });
        let names: Vec<_> = linked(&metadata)
            .iter()
            .map(|package| package["name"].as_str())
            .collect();
        assert_eq!(names, [Some("a"), Some("c")]);
    }
}
