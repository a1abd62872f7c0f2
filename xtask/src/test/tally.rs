//! The counts of a whole run, and the report that ends it.

use std::{io::Write, process::ExitCode};

use anyhow::{Context as _, Result};

use super::{
    libtest::{Failure, Report},
    second_chance::TIMES,
};

pub struct Tally {
    require_root: bool,
    passed: usize,
    /// Name and what is known of it.
    failed: Vec<(String, String)>,
    /// Name and reason.
    skipped: Vec<(String, String)>,
    /// Name, and why it failed before it passed.
    unsteady: Vec<(String, String)>,
}

impl Tally {
    pub fn new(require_root: bool) -> Self {
        Self {
            require_root,
            passed: 0,
            failed: Vec::new(),
            skipped: Vec::new(),
            unsteady: Vec::new(),
        }
    }

    pub fn pass(&mut self, count: usize) {
        self.passed += count;
    }

    pub fn fail(&mut self, name: &str, what: impl Into<String>) {
        self.failed.push((name.to_owned(), what.into()));
    }

    pub fn skip(&mut self, name: &str, reason: &str) {
        let list = if self.require_root && lacks_privilege(reason) {
            &mut self.failed
        } else {
            &mut self.skipped
        };
        list.push((name.to_owned(), reason.to_owned()));
    }

    pub fn is_empty(&self) -> bool {
        self.passed == 0 && self.failed.is_empty() && self.skipped.is_empty()
    }

    /// The tests of one program.
    pub fn add(&mut self, program: &str, report: Report) {
        self.pass(report.passed);
        for Failure { name, reason } in report.failed {
            self.fail(&format!("{program} {name}"), reason);
        }
        self.pass(report.unsteady.len());
        for Failure { name, reason } in report.unsteady {
            self.unsteady.push((format!("{program} {name}"), reason));
        }
        for (test, reason) in report.skipped {
            self.skip(&format!("{program} {test}"), &reason);
        }
    }

    /// Says what was skipped and what failed, and ends with the line that scripts look for.
    pub fn report(&self, mut out: impl Write) -> Result<ExitCode> {
        let mut write = || {
            writeln!(out)?;
            for (name, reason) in &self.skipped {
                writeln!(out, "skipped: {name}: {reason}")?;
            }
            for (name, what) in &self.failed {
                writeln!(out, "failed: {name}: {what}")?;
            }
            for (name, reason) in &self.unsteady {
                writeln!(
                    out,
                    "unsteady: {name}: failed once in the full run ({reason}), passed {TIMES} of {TIMES} alone"
                )?;
            }
            let counts = [self.passed, self.failed.len(), self.skipped.len()];
            let [passed, failed, skipped] = counts;
            writeln!(out, "{passed} passed, {failed} failed, {skipped} skipped")
        };
        write().context("cannot write the report to stdout")?;
        Ok(if self.failed.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

/// By the words with which a test says that it may not do what it has to.
fn lacks_privilege(reason: &str) -> bool {
    reason.starts_with("needs root") || reason.contains("CAP_") || reason.contains("privilege")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(tally: &Tally) -> String {
        let mut out = Vec::new();
        tally.report(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn with_skips(require_root: bool) -> Tally {
        let mut tally = Tally::new(require_root);
        tally.pass(1);
        let skipped = ["needs root", "lacks CAP_BPF", "no nginx here"]
            .map(|reason| ("a".to_owned(), reason.to_owned()))
            .to_vec();
        tally.add(
            "live",
            Report {
                passed: 2,
                skipped,
                ..Report::default()
            },
        );
        tally
    }

    #[test]
    fn the_last_line_counts() {
        let mut tally = with_skips(false);
        tally.fail("clippy", "exit status: 101");
        let report = reported(&tally);
        assert!(
            report.contains("\nfailed: clippy: exit status: 101\n"),
            "{report}"
        );
        assert!(
            report.contains("\nskipped: live a: no nginx here\n"),
            "{report}"
        );
        assert!(
            report.ends_with("\n3 passed, 1 failed, 3 skipped\n"),
            "{report}"
        );
    }

    #[test]
    fn what_is_unsteady_is_told_right_before_the_counts_and_fails_nothing() {
        let mut tally = with_skips(false);
        let unsteady = vec![Failure {
            name: "rows::rst".to_owned(),
            reason: "came late".to_owned(),
        }];
        tally.add(
            "live",
            Report {
                unsteady,
                ..Report::default()
            },
        );
        let report = reported(&tally);
        assert!(
            report.ends_with(
                "\nunsteady: live rows::rst: failed once in the full run (came late), passed 3 of 3 alone\n\
                 4 passed, 0 failed, 3 skipped\n"
            ),
            "{report}"
        );
    }

    #[test]
    fn root_required_turns_skips_for_want_of_privilege_into_failures() {
        let report = reported(&with_skips(true));
        assert!(
            report.ends_with("\n3 passed, 2 failed, 1 skipped\n"),
            "{report}"
        );
    }
}
