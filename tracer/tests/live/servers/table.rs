//! docs/servers.md and tests/stories are made of what these tests saw: written with UPDATE_DOCS=1 in the environment,
//! compared otherwise, but for what differs from run to run.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::case::Side;
use crate::lab::tracer::Line;

/// One writer at a time: tests may run in parallel.
static DOCS: Mutex<()> = Mutex::new(());

const HEADER: &str = "| setting | end | `reason` | first end | `pattern` | its clock | `hints` | story |\n\
                      |---|---|---|---|---|---|---|---|\n";

/// A product's part of the page, and the records that it was made of.
pub struct Table {
    product: String,
    version: String,
    rows: String,
    records: String,
}

impl Table {
    pub fn new(product: &str, version: &str) -> Table {
        Table {
            product: product.to_owned(),
            version: version.to_owned(),
            rows: String::new(),
            records: String::new(),
        }
    }

    /// `line` is one of the records.
    pub fn row(&mut self, setting: &str, role: &str, side: &Side, line: &Line) {
        let text = |key| line.str(key).unwrap_or("null");
        let clock = side.clock.map_or(String::new(), |(key, ms)| {
            format!("`{key}` {}.{} s", ms / 1000, ms % 1000 / 100)
        });
        let _ = writeln!(
            self.rows,
            "| `{setting}` | {role}: {} | {} | {}, {} | {} | {clock} | {} | {} |",
            side.comm,
            text("reason"),
            text("closed_by"),
            text("how"),
            text("pattern"),
            side.hint.unwrap_or(""),
            alone(text("story")),
        );
        let quoted = |key: &str, value: &str| format!("\"{key}\":\"{value}\"");
        let mut record = line.text.clone();
        // What is so on one machine only.
        if let Some(cgroup) = line.str("cgroup") {
            record = record.replace(&quoted("cgroup", cgroup), &quoted("cgroup", "/"));
        }
        if let Some((folder, name)) = line.str("exe").and_then(|exe| exe.rsplit_once('/')) {
            let here = quoted("exe", &format!("{folder}/{name}"));
            record = record.replace(&here, &quoted("exe", &format!("/usr/bin/{name}")));
        }
        self.records.push_str(&record);
        self.records.push('\n');
    }

    /// Holds the page to the rows, or writes both page and records.
    pub fn settle(&self) {
        let Some(root) = sources() else { return };
        let _guard = DOCS.lock().unwrap_or_else(PoisonError::into_inner);
        let page = root.join("docs/servers.md");
        let text = fs::read_to_string(&page).expect("docs/servers.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&page, self.placed_in(&text)).expect("docs/servers.md can be written");
            let name = self.product.to_lowercase().replace([' ', '/', '.'], "_");
            let folder = root.join("tracer/tests/stories");
            fs::create_dir_all(&folder).expect("tests/stories can be made");
            let file = folder.join(format!("{name}.ndjson"));
            fs::write(file, &self.records).expect("tests/stories can be written");
            return;
        }
        let there = section(&text, &self.product).map_or("", |(_, body, _)| body);
        let rows = there.lines().filter(|line| line.starts_with("| `"));
        let there: Vec<String> = rows.map(shape).collect();
        let due: Vec<String> = self.rows.lines().map(shape).collect();
        let stale: Vec<&String> = due.iter().filter(|row| !there.contains(row)).collect();
        assert!(
            stale.is_empty() && there.len() == due.len(),
            "docs/servers.md is out of date for {}: run this test with UPDATE_DOCS=1\n{stale:#?}",
            self.product
        );
    }

    fn placed_in(&self, text: &str) -> String {
        let body = format!("\n{}\n\n{HEADER}{}", self.version, self.rows);
        match section(text, &self.product) {
            Some((before, _, after)) => format!("{before}{body}{after}"),
            None => format!("{}\n\n## {}\n{body}", text.trim_end(), self.product),
        }
    }
}

/// The project's folder, where these tests run beside it.
fn sources() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    root.join("docs").is_dir().then(|| root.to_owned())
}

/// A section of the page: what is before its text, its text, and what follows.
fn section<'a>(text: &'a str, title: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let heading = format!("\n## {title}\n");
    let start = text.find(&heading)? + heading.len();
    let end = text[start..]
        .find("\n## ")
        .map_or(text.len(), |at| start + at);
    Some((&text[..start], &text[start..end], &text[end..]))
}

/// A story without what other ends had to do with it.
fn alone(story: &str) -> String {
    let mut story = story.to_owned();
    let because = story.find(", because ").or_else(|| {
        let had = story.find(" had closed it because ")?;
        story[..had].rfind("; ")
    });
    if let Some(start) = because {
        let end = story[start..].find(". ").map(|at| start + at);
        story.replace_range(start..end.unwrap_or(story.len() - 1), "");
    }
    if let Some(said) = story.find(" such ends came at ") {
        let end = story[said..].find(')').map_or(story.len(), |at| said + at);
        let (bracket, semicolon) = (story[..said].rfind(" ("), story[..said].rfind("; "));
        match (bracket, semicolon) {
            (Some(bracket), Some(semicolon)) if semicolon > bracket => {
                story.replace_range(semicolon..end, "");
            }
            (Some(bracket), _) => story.replace_range(bracket..=end, ""),
            _ => (),
        }
    }
    story
}

/// A row without what differs from run to run: numbers, the units that go with their size, a timeout that is named
/// only when the machine is not busy, a write that failed before the record was written or after, and the story's second
/// sentence, which is about amounts.
fn shape(row: &str) -> String {
    let mut out = String::new();
    let mut number = false;
    for c in row.chars() {
        let digit = c.is_ascii_digit() || number && c == '.';
        if digit && !number {
            out.push('#');
        }
        if !digit {
            out.push(c);
        }
        number = digit;
    }
    for (unit, same) in [("KiB", "bytes"), ("MiB", "bytes"), ("ms", "s")] {
        out = out.replace(&format!("# {unit}"), &format!("# {same}"));
    }
    if let Some(start) = out.find(" (# s: ")
        && let Some(end) = out[start..].find(')')
    {
        out.replace_range(start..=start + end, "");
    }
    for rest in [". ", ", and its next write failed"] {
        out.truncate(out.find(rest).unwrap_or(out.len()));
    }
    out.truncate(out.trim_end_matches(['.', ' ', '|']).len());
    out
}
