//! `cargo xtask tidy`: the house rules that no compiler checks, as functions from the tracked files to faults.
//! What each rule allows and denies stands in one table at its top.

mod dependencies;
mod headers;
mod layout;
mod lexer;
mod paths;
mod purity;
mod secrets;
mod unsafety;

use std::{
    fmt, fs,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result};

use crate::{
    cargo::workspace,
    command::{self, say},
};

/// A tracked file.
pub struct File {
    /// From the top of the checkout, with slashes.
    path: String,
    content: Vec<u8>,
}

impl File {
    fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.content)
    }

    /// Whether it is the module `module` (a path without `.rs`) or lies below it.
    fn is_in(&self, module: &str) -> bool {
        let rest = self.path.strip_prefix(module);
        rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    }

    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    path: String,
    /// None when the fault is in no line of its own.
    line: Option<usize>,
    what: String,
}

impl Fault {
    fn new(file: &File, line: impl Into<Option<usize>>, what: impl Into<String>) -> Self {
        Self {
            path: file.path.clone(),
            line: line.into(),
            what: what.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path, self.what),
            None => write!(f, "{}: {}", self.path, self.what),
        }
    }
}

pub fn report() -> Result<ExitCode> {
    let faults = check()?;
    faults.iter().for_each(|fault| println!("{fault}"));
    if faults.is_empty() {
        say("tidy");
        return Ok(ExitCode::SUCCESS);
    }
    say(format!("{} faults against the house rules", faults.len()));
    Ok(ExitCode::FAILURE)
}

pub fn check() -> Result<Vec<Fault>> {
    let files = tracked()?;
    let mut faults = Vec::new();
    faults.extend(dependencies::faults(&files, &dependencies::named()?));
    faults.extend(layout::faults(&files));
    faults.extend(purity::faults(&files));
    faults.extend(unsafety::faults(&files));
    faults.extend(headers::faults(&files));
    faults.extend(secrets::faults(&files, &secrets::mirrors()));
    Ok(faults)
}

fn tracked() -> Result<Vec<File>> {
    let list = command::read(
        Command::new("git")
            // In a container the checkout may well belong to somebody else.
            .args(["-c", "safe.directory=*", "ls-files", "-z"])
            .current_dir(workspace()),
    )
    .context("cannot list the tracked files: the house rules are checked in a git checkout")?;
    let mut files = Vec::new();
    for path in list.split_terminator('\0') {
        let file = workspace().join(path);
        // Deleted and not committed yet, or a link.
        if !file.symlink_metadata().is_ok_and(|meta| meta.is_file()) {
            continue;
        }
        let content = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        files.push(File {
            path: path.to_owned(),
            content,
        });
    }
    Ok(files)
}

/// A rule over no file at all has lost its object: somebody has moved it, and the table has to follow.
fn covers_nothing(place: &str, table: &str) -> Fault {
    Fault {
        path: place.to_owned(),
        line: None,
        what: format!(
            "no file is here any more: bring the table in xtask/src/tidy/{table} up to date"
        ),
    }
}

#[cfg(test)]
fn file(path: &str, content: &str) -> File {
    File {
        path: path.to_owned(),
        content: content.as_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_its_file_and_its_folder() {
        assert!(file("tracer/src/core.rs", "").is_in("tracer/src/core"));
        assert!(file("tracer/src/core/a/b.rs", "").is_in("tracer/src/core"));
        assert!(!file("tracer/src/core_dump.rs", "").is_in("tracer/src/core"));
    }

    #[test]
    fn faults_are_shown_as_compilers_do() {
        let here = file("a/b.rs", "");
        assert_eq!(Fault::new(&here, 7, "no").to_string(), "a/b.rs:7: no");
        assert_eq!(Fault::new(&here, None, "no").to_string(), "a/b.rs: no");
    }
}
