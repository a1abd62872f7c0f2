//! What a guest says of itself (init.sh), and what came of it.

use std::{fmt, path::Path, time::Duration};

use serde_json::Value;

#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    /// With its reason.
    Skipped(String),
    /// With what it printed.
    Failed(String),
    /// Killed by init when its time was up.
    TimedOut,
    /// The guest ended, or was ended, in it.
    Unfinished,
}

/// How the guest itself ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Done,
    /// With what the kernel said.
    Panic(String),
    Hang(Duration),
    /// QEMU ended, and nothing says why.
    Vanished,
}

#[derive(Debug)]
pub struct Verdict {
    /// `uname -r`; `None` when it never got so far.
    pub release: Option<String>,
    /// In the order in which they were tried.
    pub families: Vec<Family>,
    pub end: End,
    /// `WARNING`s and the like of the kernel, which it outlived.
    pub complaints: Vec<String>,
    /// Where its logs are.
    pub logs: String,
}

/// What came of a family of hooks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Family {
    /// As the tracer's --hooks calls it.
    pub name: String,
    /// Programs that the kernel refused, with the verifier's words.
    pub rejected: Vec<String>,
    /// Hooks that this kernel does not have, and nothing in their place.
    pub absent: Vec<String>,
    /// Hooks that took another's place.
    pub instead: Vec<String>,
    /// Loaded programs, and how many instructions the verifier went through where it says so.
    pub programs: Vec<(String, Option<u64>)>,
    pub tests: Vec<(String, Outcome)>,
}

impl Verdict {
    /// Takes in what came of other tests on the same kernel.
    pub fn with(mut self, other: Self) -> Self {
        let mut others = other.families.into_iter();
        for (family, other) in self.families.iter_mut().zip(others.by_ref()) {
            family.tests.extend(other.tests);
            // The programs are the same, and refused to both.
            if family.rejected.is_empty() {
                family.rejected = other.rejected;
            }
        }
        self.families.extend(others);
        if self.end == End::Done {
            self.end = other.end;
        }
        self.release = self.release.or(other.release);
        self.complaints.extend(other.complaints);
        self.logs += &format!(", {}", other.logs);
        self
    }

    pub fn is_good(&self) -> bool {
        self.end == End::Done
            && self.complaints.is_empty()
            && !self.families.is_empty()
            && self.families.iter().all(Family::is_good)
    }
}

impl Family {
    fn is_good(&self) -> bool {
        let fine = |outcome: &Outcome| matches!(outcome, Outcome::Passed | Outcome::Skipped(_));
        self.rejected.is_empty()
            && !self.tests.is_empty()
            && self.tests.iter().all(|(_, outcome)| fine(outcome))
    }
}

/// What it prints: the first words of init, the tracer's own lines, tests.
#[derive(Default)]
enum Part {
    #[default]
    Boot,
    Hooks,
    Test(String),
    Between,
}

#[derive(Default)]
pub struct Listener {
    part: Part,
    release: Option<String>,
    /// What came since the last line of init's.
    said: Vec<String>,
    families: Vec<Family>,
    done: bool,
    hung: Option<Duration>,
}

impl Listener {
    pub fn has_begun(&self) -> bool {
        self.release.is_some()
    }

    pub fn hang(&mut self, after: Duration) {
        self.hung = Some(after);
    }

    /// Takes a line; returns what is worth telling at once.
    pub fn hear(&mut self, line: &str) -> Option<String> {
        let Some(word) = line.strip_prefix("vm: ") else {
            self.said.push(line.to_owned());
            return None;
        };
        let (verb, rest) = word.split_once(' ').unwrap_or((word, ""));
        let said = std::mem::take(&mut self.said);
        match (verb, std::mem::replace(&mut self.part, Part::Between)) {
            ("kernel", _) => {
                self.release = Some(rest.to_owned());
                Some(format!("up as {rest}"))
            }
            ("family", _) => {
                self.families.push(Family {
                    name: rest.to_owned(),
                    ..Family::default()
                });
                None
            }
            ("hooks", Part::Hooks) => self.family().hooks(&said, rest),
            ("hooks", _) => {
                self.part = Part::Hooks;
                None
            }
            ("test", _) => {
                self.part = Part::Test(rest.to_owned());
                None
            }
            ("ended", Part::Test(name)) => {
                let outcome = outcome(rest, &said);
                let family = self.family();
                let news = match family.name.as_str() {
                    "auto" => format!("{name}: {outcome}"),
                    hooks => format!("{name} ({hooks}): {outcome}"),
                };
                family.tests.push((name, outcome));
                Some(news)
            }
            ("done", _) => {
                self.done = true;
                None
            }
            _ => Some(format!("said what is not understood: {line}")),
        }
    }

    /// The one that is tried now.
    fn family(&mut self) -> &mut Family {
        if self.families.is_empty() {
            self.families.push(Family::default());
        }
        let last = self.families.len() - 1;
        &mut self.families[last]
    }

    pub fn finish(mut self, console: &str, logs: &Path) -> Verdict {
        if let Part::Test(name) = std::mem::take(&mut self.part) {
            self.family().tests.push((name, Outcome::Unfinished));
        }
        let end = if self.done {
            End::Done
        } else if let Some(words) = panic(console) {
            End::Panic(words)
        } else if let Some(after) = self.hung {
            End::Hang(after)
        } else {
            End::Vanished
        };
        Verdict {
            release: self.release,
            families: self.families,
            end,
            complaints: complaints(console),
            logs: logs.display().to_string(),
        }
    }
}

impl Family {
    /// Of `tracer doctor --json`: which hooks are not attached, and why.
    fn hooks(&mut self, said: &[String], ended: &str) -> Option<String> {
        let report = said
            .iter()
            .find_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|report| report["possible"] == true);
        let Some(report) = report else {
            self.rejected.push(said.join("\n"));
            return Some(format!("tracing is impossible ({ended})"));
        };
        for program in report["programs"].as_array().into_iter().flatten() {
            let name = program["name"].as_str().unwrap_or_default().to_owned();
            let instructions = program["verified_instructions"].as_u64();
            self.programs.push((name, instructions));
        }
        // Lockdown takes helpers away, and programs with them.
        let allowed = report["may_probe"] != false;
        for hook in report["hooks"].as_array().into_iter().flatten() {
            let name = hook["hook"].as_str().unwrap_or_default();
            // A program may be refused, and another hook found in its place.
            for (key, link) in [("error", ":"), ("instead_of", " instead of")] {
                let Some(why) = hook[key].as_str() else {
                    continue;
                };
                let list = match key {
                    _ if allowed && is_rejection(why) => &mut self.rejected,
                    "error" => &mut self.absent,
                    _ => &mut self.instead,
                };
                list.push(format!("{name}{link} {why}"));
            }
        }
        Some(format!(
            "{} programs rejected, {} hooks absent",
            self.rejected.len(),
            self.absent.len()
        ))
    }
}

/// A verifier gives its reasons; a hook that is not there has none, nor has what is not allowed.
fn is_rejection(error: &str) -> bool {
    error
        .split("Verifier output: ")
        .skip(1)
        .any(|words| !words.starts_with(':'))
}

/// By the status of the test program, and by what it printed before.
fn outcome(status: &str, said: &[String]) -> Outcome {
    match status {
        "0" => match said.iter().find_map(|line| skip(line)) {
            Some(reason) => Outcome::Skipped(reason.to_owned()),
            None => Outcome::Passed,
        },
        // busybox's timeout passes the signal on as the status.
        "137" => Outcome::TimedOut,
        _ => Outcome::Failed(said.join("\n")),
    }
}

/// `skipped: NAME: REASON`.
fn skip(line: &str) -> Option<&str> {
    Some(line.strip_prefix("skipped: ")?.split_once(": ")?.1)
}

/// What a dying kernel says, with the lines after it.
fn panic(console: &str) -> Option<String> {
    const WORDS: [&str; 3] = ["Kernel panic", "Oops: ", "BUG: "];
    let lines: Vec<&str> = console.lines().collect();
    let first = lines
        .iter()
        .position(|line| WORDS.iter().any(|word| line.contains(word)))?;
    let few = &lines[first..lines.len().min(first + 30)];
    Some(few.join("\n"))
}

/// What a kernel outlives, but should not have to say.
fn complaints(console: &str) -> Vec<String> {
    const WORDS: [&str; 5] = [
        "WARNING: ",
        "BUG: ",
        "soft lockup",
        "self-detected stall",
        "blocked for more than",
    ];
    console
        .lines()
        .filter(|line| WORDS.iter().any(|word| line.contains(word)))
        .map(str::to_owned)
        .collect()
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "ok",
            Self::Skipped(_) => "skipped",
            Self::Failed(_) => "FAILED",
            Self::TimedOut => "TIMED OUT",
            Self::Unfinished => "UNFINISHED",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str, console: &str) -> Verdict {
        let mut listener = Listener::default();
        for line in text.lines() {
            listener.hear(line);
        }
        listener.finish(console, Path::new("/logs"))
    }

    const GOOD: &str = "vm: kernel 6.1.0\nvm: family auto\nvm: hooks\n{\"possible\":true,\"hooks\":[]}\nvm: hooks ended 0\n\
         vm: test rows::fin\nrunning 1 test\ntest rows::fin ... ok\nvm: ended 0\n\
         vm: test tui::a\nskipped: tui::a: needs the program tmux\nvm: ended 0\nvm: done\n";

    #[test]
    fn a_run_without_fault_is_good() {
        let verdict = heard(GOOD, "");
        assert!(verdict.is_good(), "{verdict:?}");
        assert_eq!(verdict.release.as_deref(), Some("6.1.0"));
        let skipped = Outcome::Skipped("needs the program tmux".to_owned());
        assert_eq!(
            verdict.families[0].tests,
            [
                ("rows::fin".to_owned(), Outcome::Passed),
                ("tui::a".to_owned(), skipped)
            ]
        );
    }

    #[test]
    fn a_panic_names_its_test_and_its_words() {
        let text = "vm: kernel 6.1.0\nvm: test rows::oom\nrunning 1 test\n";
        let verdict = heard(
            text,
            "[ 3.1] Kernel panic - not syncing: Fatal exception\n[ 3.2] more\n",
        );
        assert!(
            matches!(&verdict.end, End::Panic(words) if words.contains("Fatal") && words.contains("more"))
        );
        assert_eq!(
            verdict.families[0].tests,
            [("rows::oom".to_owned(), Outcome::Unfinished)]
        );
        assert!(!verdict.is_good());
    }

    #[test]
    fn a_hang_is_none() {
        let mut listener = Listener::default();
        listener.hear("vm: kernel 6.1.0");
        listener.hear("vm: test a");
        listener.hang(Duration::from_secs(9));
        let verdict = listener.finish("", Path::new(""));
        assert_eq!(verdict.end, End::Hang(Duration::from_secs(9)));
        assert_eq!(heard("vm: kernel 6.1.0", "").end, End::Vanished);
    }

    #[test]
    fn a_rejection_is_told_from_an_absent_hook() {
        let report = r#"{"possible":true,"programs":[{"name":"a","verified_instructions":9}],"hooks":[
            {"signal":"state","hook":"fexit:a","error":null,"instead_of":"tp_btf:a (absent)"},
            {"signal":"io","hook":"tp_btf:b","error":"BTF: type not found"},
            {"signal":"rst","hook":"tp_btf:c","error":"load failed. Verifier output: R1 invalid"},
            {"signal":"oom","hook":"kprobe:e","error":null,"instead_of":"x (absent), fexit:e (Verifier output: R9 >>=)"},
            {"signal":"x","hook":"fentry:d","error":"not allowed. Verifier output: : not allowed"}]}"#
            .replace('\n', "");
        let verdict = heard(
            &format!("vm: hooks\n{report}\nvm: hooks ended 0\nvm: done\n"),
            "",
        );
        let family = &verdict.families[0];
        assert_eq!(family.absent.len(), 2, "{family:?}");
        assert_eq!(family.rejected.len(), 2, "{family:?}");
        assert_eq!(family.instead.len(), 1, "{family:?}");
        let verdict = heard(
            "vm: hooks\ncannot attach: R1 invalid\nvm: hooks ended 1\n",
            "",
        );
        assert_eq!(verdict.families[0].rejected, ["cannot attach: R1 invalid"]);
    }

    #[test]
    fn families_are_told_apart() {
        let second = GOOD.split_once('\n').expect("lines").1;
        let second = second.replace("family auto", "family kprobe");
        let text = GOOD.replace("vm: done\n", &second);
        let verdict = heard(&text, "");
        let names: Vec<&str> = verdict
            .families
            .iter()
            .map(|family| &*family.name)
            .collect();
        assert_eq!(names, ["auto", "kprobe"]);
        assert!(verdict.is_good(), "{verdict:?}");
        let verdict = heard(&text.replacen("vm: ended 0", "vm: ended 101", 3), "");
        assert!(!verdict.is_good(), "{verdict:?}");
    }

    #[test]
    fn parts_make_one() {
        let cut_off = "vm: kernel 6.1.0\nvm: family auto\nvm: test rows::oom\n";
        let whole = heard(GOOD, "").with(heard(cut_off, ""));
        let tests = whole.families[0].tests.iter();
        let names: Vec<&str> = tests.map(|(name, _)| &**name).collect();
        assert_eq!(names, ["rows::fin", "tui::a", "rows::oom"]);
        assert_eq!(whole.end, End::Vanished);
        assert!(!whole.is_good());
        assert!(heard(GOOD, "").with(heard(GOOD, "")).is_good());
    }

    #[test]
    fn failures_timeouts_and_complaints_are_bad() {
        for ended in ["1", "101", "137"] {
            let text = GOOD.replacen("vm: ended 0", &format!("vm: ended {ended}"), 1);
            assert!(!heard(&text, "").is_good(), "{ended}");
        }
        assert!(!heard(GOOD, "[ 1.0] WARNING: CPU: 0 at net/x.c:1\n").is_good());
        assert!(
            !heard("vm: kernel 6.1.0\nvm: done\n", "").is_good(),
            "no test at all"
        );
    }
}
