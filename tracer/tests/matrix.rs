//! `matrix.json` has what came of the live tests on the kernels of the matrix (`cargo xtask vm --save` writes it), and
//! docs/kernels.md tells of it: UPDATE_DOCS=1 in the environment writes that part.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Map, Value};

const BEGIN: &str = "<!-- matrix: made by tests/matrix.rs -->\n";
const END: &str = "<!-- end -->\n";

/// As `cargo xtask vm --kernel` calls them.
const KERNELS: &[&str] = &["5.10", "6.1", "6.12", "6.18", "7.3"];
const FAMILIES: &[&str] = &["auto", "fentry", "kprobe"];

#[test]
fn the_matrix_is_told_as_it_was_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(folder.join("tests/matrix.json")).expect("tests/matrix.json");
    let results: Map<String, Value> = serde_json::from_str(&text).expect("JSON");
    let path = folder.join("../docs/kernels.md");
    let page = fs::read_to_string(&path).expect("docs/kernels.md");
    let (before, rest) = page.split_once(BEGIN).expect("where the part begins");
    let (_, after) = rest.split_once(END).expect("where the part ends");
    let columns = columns(&results);
    let part = format!(
        "{}\n{}\n{}",
        tests(&columns),
        others(&columns),
        programs(&columns)
    );
    let due = format!("{before}{BEGIN}{part}{END}{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &due).expect("docs/kernels.md can be written");
    } else {
        assert!(
            page == due,
            "docs/kernels.md is out of date: UPDATE_DOCS=1 cargo test --package tracer --test matrix"
        );
    }
}

/// A kernel and a family of hooks.
struct Column<'a> {
    head: String,
    release: &'a str,
    tests: &'a Map<String, Value>,
    programs: &'a Map<String, Value>,
}

fn columns(results: &Map<String, Value>) -> Vec<Column<'_>> {
    let mut columns = Vec::new();
    for kernel in KERNELS {
        for family in FAMILIES {
            let Some(found) = results.get(&format!("{kernel} {family}")) else {
                continue;
            };
            columns.push(Column {
                head: match *family {
                    "auto" => (*kernel).to_owned(),
                    family => format!("{kernel} {family}"),
                },
                release: found["release"].as_str().expect("a release"),
                tests: found["tests"].as_object().expect("tests"),
                programs: found["programs"].as_object().expect("programs"),
            });
        }
    }
    assert_eq!(
        columns.len(),
        results.len(),
        "a kernel or family is new here"
    );
    columns
}

fn head(first: &str, columns: &[Column<'_>]) -> String {
    let heads: Vec<&str> = columns.iter().map(|column| column.head.as_str()).collect();
    let rule = "---|".repeat(columns.len() + 1);
    format!("| {first} | {} |\n|{rule}\n", heads.join(" | "))
}

/// A row a file of tests: how many passed of those that ran.
fn tests(columns: &[Column<'_>]) -> String {
    let file = |name: &str| name.split("::").next().unwrap_or_default().to_owned();
    let ran = |column: &Column<'_>, of: &str| -> Vec<bool> {
        let tests = column.tests.iter();
        tests
            .filter(|(name, word)| file(name) == of && !word.as_str().is_some_and(is_skip))
            .map(|(_, word)| word == "ok")
            .collect()
    };
    let files: BTreeSet<String> = columns
        .iter()
        .flat_map(|column| column.tests.keys().map(|name| file(name)))
        .collect();
    let mut out = head("tests", columns);
    for of in &files {
        let cells: Vec<String> = columns
            .iter()
            .map(|column| {
                let ran = ran(column, of);
                let passed = ran.iter().filter(|passed| **passed).count();
                match ran.len() {
                    0 => String::new(),
                    all if all == passed => all.to_string(),
                    all => format!("**{passed} of {all}**"),
                }
            })
            .collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            out += &format!("| `{of}` | {} |\n", cells.join(" | "));
        }
    }
    out
}

fn is_skip(word: &str) -> bool {
    word.starts_with("skipped: ")
}

/// What did not pass, and what the kernels of the columns are.
fn others(columns: &[Column<'_>]) -> String {
    let mut out = String::new();
    let mut releases: Vec<&str> = columns.iter().map(|column| column.release).collect();
    releases.dedup();
    out += &format!("Kernels: {}.\n", releases.join(", "));
    for column in columns {
        let failed = column.tests.iter().filter(|(_, word)| *word == "failed");
        let failed: Vec<String> = failed.map(|(name, _)| format!("`{name}`")).collect();
        if !failed.is_empty() {
            out += &format!("Failed on {}: {}.\n", column.head, failed.join(", "));
        }
    }
    out
}

/// What each verifier went through.
fn programs(columns: &[Column<'_>]) -> String {
    let names: BTreeSet<&String> = columns
        .iter()
        .flat_map(|column| column.programs.keys())
        .collect();
    let mut out = head("instructions", columns);
    for name in names {
        let cells: Vec<String> = columns
            .iter()
            .map(|column| match column.programs.get(name) {
                None => String::new(),
                Some(Value::Null) => "loaded".to_owned(),
                Some(count) => count.to_string(),
            })
            .collect();
        out += &format!("| `{name}` | {} |\n", cells.join(" | "));
    }
    out
}
