//! The fenced blocks of README.md and docs/: what is a command, and whether it is run. `sh` is run, one part after the
//! other, parts being separated by empty lines, unless a comment on the line before the block says otherwise:
//!
//! `<!-- not run: WHY -->` or, where TRACER_FOR must not end a live run early, `<!-- run to its end -->`.

use std::{fs, path::Path};

#[derive(Debug, PartialEq, Eq)]
pub enum Order {
    /// Live runs end after a moment.
    Run,
    RunToItsEnd,
    /// Not a command, or one with an excuse.
    Leave,
    /// What is wrong with it.
    Fault(String),
}

pub struct Block {
    /// From the top of the checkout.
    pub doc: String,
    pub line: usize,
    pub order: Order,
    pub text: String,
}

/// What is in blocks without being a command.
const OTHER: &[&str] = &[
    "text",
    "toml",
    "json",
    "yaml",
    "ini",
    "promql",
    "sql",
    "logql",
    "dockerfile",
];

pub fn blocks() -> Vec<Block> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut docs = vec!["README.md".to_owned()];
    for folder in ["docs", "docs/reasons"] {
        let entries = fs::read_dir(top.join(folder)).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        docs.extend(
            names
                .map(|name| format!("{folder}/{}", name.to_string_lossy()))
                .filter(|name| name.ends_with(".md")),
        );
    }
    docs.sort();
    docs.iter()
        .flat_map(|doc| {
            let text = fs::read_to_string(top.join(doc)).expect("a document");
            in_text(doc, &text)
        })
        .collect()
}

pub fn in_text(doc: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut before = "";
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(language), None) => {
                open = Some(Block {
                    doc: doc.to_owned(),
                    line: number + 1,
                    order: order(language.trim(), before.trim()),
                    text: String::new(),
                });
            }
            (None, Some(block)) => {
                block.text += line;
                block.text += "\n";
            }
            (None, None) => (),
        }
        if !line.trim().is_empty() {
            before = line;
        }
    }
    assert!(open.is_none(), "{doc}: a block without an end");
    blocks
}

fn order(language: &str, before: &str) -> Order {
    let comment = before
        .strip_prefix("<!-- ")
        .and_then(|rest| rest.strip_suffix(" -->"));
    match (language, comment) {
        ("sh", Some("run to its end")) => Order::RunToItsEnd,
        ("sh", Some(comment)) => match comment.strip_prefix("not run: ") {
            Some(why) if why.len() > 10 => Order::Leave,
            Some(_) => Order::Fault("say why it is not run".to_owned()),
            None => Order::Run,
        },
        ("sh", None) => Order::Run,
        (other, _) if OTHER.contains(&other) => Order::Leave,
        (other, _) => Order::Fault(format!(
            "`{other}` is no language of a block here: sh is run; {} are not",
            OTHER.join(", ")
        )),
    }
}
