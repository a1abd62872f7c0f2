//! Understands the text that a test program prints, libtest's or libtest-mimic's: passes it on as it comes, and counts.
//!
//! Counts come from libtest's `test result:` lines, because what a test's own children print may tear the lines of
//! single tests apart. With `--show-output` it also prints what passing tests said; that is not passed on, but read
//! for `skipped: NAME: REASON`, by which a test says that it could not run here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    io::{self, Write},
    mem,
};

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub passed: usize,
    pub failed: Vec<Failure>,
    /// Failed at first, and passed when run again by themselves.
    pub unsteady: Vec<Failure>,
    /// Name and reason.
    pub skipped: Vec<(String, String)>,
    pub unfinished: Option<Unfinished>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    pub name: String,
    /// The first line of what it printed.
    pub reason: String,
}

/// A program that ended before its `test result:` line.
#[derive(Debug, PartialEq, Eq)]
pub struct Unfinished {
    running: Option<String>,
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.running {
            Some(test) => write!(f, "while {test} was running"),
            None => write!(f, "before its tests were done"),
        }
    }
}

pub struct Listener<W: Write> {
    out: W,
    /// What came since the last newline, and how much of it has been passed on.
    line: Vec<u8>,
    passed_on: usize,
    part: Part,
    section: Section,
    report: Report,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Outside and in the list of `test NAME ... ok`.
    List,
    /// What the passing tests printed.
    Successes,
    /// What the failing tests printed, then their names.
    Failures,
}

/// One test program's output; `cargo test --doc` prints several.
#[derive(Default)]
struct Section {
    open: bool,
    /// The tests that were begun: skips are also said of tests that the filter leaves out.
    begun: BTreeSet<String>,
    running: Option<String>,
    /// Lines that say ok or FAILED: needed only if the section is never closed.
    ok: usize,
    failed: Vec<String>,
    /// Name and, where it is given, reason.
    ignored: Vec<(String, Option<String>)>,
    /// By name, as a test may say it more than once.
    skipped: BTreeMap<String, String>,
    /// The indented lines last seen: before the result, the names of those that failed.
    indented: Vec<String>,
    /// Those whose words have begun, each with its first ones.
    said: Vec<(String, Option<String>)>,
}

impl<W: Write> Listener<W> {
    pub fn new(out: W) -> Self {
        Self {
            out,
            line: Vec::new(),
            passed_on: 0,
            part: Part::List,
            section: Section::default(),
            report: Report::default(),
        }
    }

    pub fn hear(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.end_line();
            }
        }
        // A test's name comes before it runs: shown at once, a hang has a name.
        if self.part == Part::List && self.line.starts_with(b"test ") {
            self.pass_on();
        }
        // Nobody may be reading any more; the counts still matter.
        let _ = self.out.flush();
    }

    pub fn finish(mut self) -> Report {
        if !self.line.is_empty() {
            self.line.push(b'\n');
            self.end_line();
        }
        if self.section.open {
            let section = mem::take(&mut self.section);
            self.report.unfinished = Some(Unfinished {
                running: section.running.clone(),
            });
            let (passed, failed) = (section.ok, section.failed.clone());
            self.add(section, passed, failed);
        }
        self.report
    }

    fn pass_on(&mut self) {
        let _: io::Result<()> = self.out.write_all(&self.line[self.passed_on..]);
        self.passed_on = self.line.len();
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line).trim_end().to_owned();
        self.read(&line);
        if self.part == Part::Failures {
            self.section.note_reason(&line);
        }
        if self.part != Part::Successes {
            self.pass_on();
        }
        self.line.clear();
        self.passed_on = 0;
    }

    fn read(&mut self, line: &str) {
        if let Some((name, reason)) = line
            .strip_prefix("skipped: ")
            .and_then(|rest| rest.split_once(": "))
        {
            self.section
                .skipped
                .insert(name.to_owned(), reason.to_owned());
        }
        match line {
            "successes:" if self.part == Part::List => self.part = Part::Successes,
            "failures:" => {
                self.part = Part::Failures;
                self.section.indented.clear();
            }
            _ if line.starts_with("test result: ") => self.close(line),
            _ if self.part == Part::List => self.section.list(line),
            _ => match line.strip_prefix("    ") {
                Some(name) => self.section.indented.push(name.to_owned()),
                None if line.is_empty() => {}
                None => self.section.indented.clear(),
            },
        }
    }

    fn close(&mut self, result: &str) {
        self.part = Part::List;
        let section = mem::take(&mut self.section);
        let count = |what: &str| {
            let (before, _) = result.split_once(what)?;
            before.rsplit(' ').next()?.parse::<usize>().ok()
        };
        let failures = count(" failed").unwrap_or(0);
        let first = section.indented.len().saturating_sub(failures);
        let mut failed = section.indented[first..].to_vec();
        failed.resize(failures, "(its name was lost)".to_owned());
        self.add(section, count(" passed").unwrap_or(0), failed);
    }

    fn add(&mut self, mut section: Section, passed: usize, failed: Vec<String>) {
        let skipped = &mut self.report.skipped;
        let failed = failed.into_iter().map(|name| section.failure(name));
        let failed: Vec<_> = failed.collect();
        for (name, reason) in section.ignored {
            let said = section.skipped.remove(&name);
            skipped.push((
                name,
                reason.or(said).unwrap_or_else(|| "ignored".to_owned()),
            ));
        }
        let ignored = skipped.len();
        let told = section.skipped.into_iter();
        let told = told.filter(|(name, _)| {
            section.begun.contains(name) && failed.iter().all(|failure| failure.name != *name)
        });
        skipped.extend(told.take(passed));
        self.report.passed += passed - (skipped.len() - ignored);
        self.report.failed.extend(failed);
    }
}

impl Section {
    /// What a failing test printed begins with `---- NAME ----`, libtest's with `---- NAME stdout ----`.
    fn note_reason(&mut self, line: &str) {
        let heading = line.strip_prefix("---- ");
        if let Some(name) = heading.and_then(|rest| rest.strip_suffix(" ----")) {
            let name = name.trim_end_matches(" stdout");
            self.said.push((name.to_owned(), None));
        } else if let Some((_, reason @ None)) = self.said.last_mut()
            && !line.is_empty()
        {
            *reason = Some(line.trim().to_owned());
        }
    }

    fn failure(&self, name: String) -> Failure {
        let said = self.said.iter().find(|(said, _)| *said == name);
        let reason = said.and_then(|(_, reason)| reason.clone());
        Failure {
            name,
            reason: reason.unwrap_or_else(|| "see above".to_owned()),
        }
    }

    /// A line of the list. A test that runs alone has its name printed first and the result when it is known, after
    /// whatever its children printed in between.
    fn list(&mut self, line: &str) {
        if line.starts_with("running ") && (line.ends_with(" tests") || line.ends_with(" test")) {
            self.open = true;
            return;
        }
        let result = match line.strip_prefix("test ").and_then(split_name) {
            Some((name, result)) => {
                self.begun.insert(name.to_owned());
                self.running = Some(name.to_owned());
                result
            }
            None => line,
        };
        let Some(name) = self.running.clone() else {
            return;
        };
        match result {
            "ok" => self.ok += 1,
            "FAILED" => self.failed.push(name),
            "ignored" => self.ignored.push((name, None)),
            _ => match result.strip_prefix("ignored, ") {
                Some(reason) => self.ignored.push((name, Some(reason.to_owned()))),
                None => return,
            },
        }
        self.running = None;
    }
}

/// `NAME ... RESULT`, where the result may be yet to come; libtest-mimic aligns the results.
fn split_name(line: &str) -> Option<(&str, &str)> {
    let (name, result) = line
        .split_once(" ... ")
        .or_else(|| Some((line.strip_suffix(" ...")?, "")))?;
    let name = name.split(" - should panic").next().unwrap_or(name);
    Some((name.trim_end(), result))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str) -> (Report, String) {
        let mut out = Vec::new();
        let mut listener = Listener::new(&mut out);
        // Byte by byte, the worst that a pipe can do.
        for byte in text.as_bytes() {
            listener.hear(&[*byte]);
        }
        (listener.finish(), String::from_utf8(out).unwrap())
    }

    const MIXED: &str = "
running 4 tests
test rows::fin ... ok
test rows::oom ... ok
test rows::rst ... FAILED
test rows::slow ... ignored, takes an hour

successes:

---- rows::fin stdout ----
23 of 23

---- rows::oom stdout ----
skipped: rows::oom: needs a memory cgroup: none here

successes:
    rows::fin
    rows::oom

failures:

---- rows::rst stdout ----
    indented words of the test
skipped: rows::rst: not really, it failed
panicked

failures:
    rows::rst

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s
";

    #[test]
    fn passes_failures_ignored_and_skips_are_told_apart() {
        let (report, _) = heard(MIXED);
        assert_eq!(
            report,
            Report {
                passed: 1,
                failed: vec![Failure {
                    name: "rows::rst".into(),
                    reason: "indented words of the test".into(),
                }],
                unsteady: Vec::new(),
                skipped: vec![
                    ("rows::slow".into(), "takes an hour".into()),
                    (
                        "rows::oom".into(),
                        "needs a memory cgroup: none here".into()
                    ),
                ],
                unfinished: None,
            }
        );
    }

    #[test]
    fn what_failing_tests_print_is_passed_on_and_what_passing_ones_print_is_not() {
        let (_, out) = heard(MIXED);
        assert!(out.contains("panicked"), "{out}");
        assert!(out.contains("test result: FAILED"), "{out}");
        assert!(!out.contains("23 of 23"), "{out}");
    }

    #[test]
    fn a_skip_said_before_the_tests_is_the_reason_of_the_ignored_test() {
        let (report, _) = heard(
            "skipped: b: needs tc\nskipped: filtered_out: needs root\n\nrunning 3 tests\n\
             test a  ... ok\ntest bb ... ignored\ntest b  ... ignored\n\n\
             test result: ok. 1 passed; 0 failed; 2 ignored; 0 measured; 1 filtered out\n\n",
        );
        assert_eq!(report.passed, 1);
        let skipped = [("bb", "ignored"), ("b", "needs tc")];
        assert_eq!(
            report.skipped,
            skipped.map(|(name, why)| (name.to_owned(), why.to_owned()))
        );
    }

    #[test]
    fn a_name_is_passed_on_before_the_result_is_known() {
        let mut out = Vec::new();
        Listener::new(&mut out).hear(b"running 1 test\ntest hangs ... ");
        assert!(out.ends_with(b"test hangs ... "));
    }

    #[test]
    fn a_program_that_dies_leaves_what_it_had_done_and_whom_it_died_with() {
        let (report, _) =
            heard("running 3 tests\ntest a ... ok\ntest b ... FAILED\ntest c ... segfault\n");
        assert_eq!(report.passed, 1);
        assert_eq!(report.failed[0].name, "b");
        assert_eq!(
            report.unfinished.unwrap().to_string(),
            "while c was running"
        );
    }

    #[test]
    fn output_of_children_between_name_and_result_does_no_harm() {
        let (report, _) = heard(
            "running 2 tests\ntest a ... noise\nmore noise\nok\ntest b ... noiseok\n\n\
             test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n",
        );
        assert_eq!(
            (report.passed, report.failed.len(), report.unfinished),
            (2, 0, None)
        );
    }

    #[test]
    fn several_programs_add_up() {
        let one =
            "running 1 test\ntest a ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored\n";
        assert_eq!(heard(&format!("{one}{one}")).0.passed, 2);
    }

    #[test]
    fn a_skip_said_twice_is_one_skip() {
        let (report, _) = heard(
            "running 2 tests\ntest a ... skipped: a: needs root\nskipped: a: needs root\nok\ntest b ... ok\n\n\
             test result: ok. 2 passed; 0 failed; 0 ignored\n",
        );
        // The first stands behind the name, as a child's words do, and still one was understood.
        assert_eq!(report.skipped, [("a".to_owned(), "needs root".to_owned())]);
        assert_eq!(report.passed, 1);
    }
}
