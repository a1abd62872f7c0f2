//! The report: a row a test, a column a kernel, and below it what went wrong.

use std::io::{Result, Write};

use super::{
    kernel::Kernel,
    verdict::{End, Outcome, Verdict},
};

pub type Column = (Kernel, Verdict);

const WIDTH: usize = 9;

pub fn write(out: &mut impl Write, columns: &[Column]) -> Result<()> {
    let names = names(columns);
    let longest = names.iter().map(|name| name.len()).max().unwrap_or(0);
    write!(out, "{:longest$}", "")?;
    for (kernel, _) in columns {
        write!(out, " {:>WIDTH$}", kernel.name)?;
    }
    writeln!(out)?;
    for name in &names {
        write!(out, "{name:longest$}")?;
        for (_, verdict) in columns {
            write!(out, " {:>WIDTH$}", cell(verdict, name))?;
        }
        writeln!(out)?;
    }
    instructions(out, columns)?;
    for (kernel, verdict) in columns {
        writeln!(out)?;
        details(out, kernel, verdict)?;
    }
    Ok(())
}

/// What each verifier went through, program by program.
fn instructions(out: &mut impl Write, columns: &[Column]) -> Result<()> {
    let mut names: Vec<&str> = columns
        .iter()
        .flat_map(|(_, verdict)| verdict.programs.iter().map(|(name, _)| name.as_str()))
        .collect();
    names.sort_unstable();
    names.dedup();
    let longest = names.iter().map(|name| name.len()).max().unwrap_or(0);
    if longest > 0 {
        writeln!(out, "\nverified instructions (from 5.16; -: not loaded)")?;
    }
    for name in names {
        write!(out, "{name:longest$}")?;
        for (_, verdict) in columns {
            let found = verdict.programs.iter().find(|(program, _)| program == name);
            let cell = match found {
                Some((_, Some(count))) => count.to_string(),
                Some((_, None)) => "loaded".to_owned(),
                None => "-".to_owned(),
            };
            write!(out, " {cell:>WIDTH$}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// In the order in which they ran.
fn names(columns: &[Column]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for (_, verdict) in columns {
        for (name, _) in &verdict.tests {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
    }
    names
}

fn cell(verdict: &Verdict, name: &str) -> &'static str {
    let found = verdict.tests.iter().find(|(test, _)| test == name);
    match found.map(|(_, outcome)| outcome) {
        None => "-",
        Some(Outcome::Passed) => "ok",
        Some(Outcome::Skipped(_)) => "skipped",
        Some(Outcome::Failed(_)) => "FAILED",
        Some(Outcome::TimedOut) => "TIMED OUT",
        Some(Outcome::Unfinished) => match &verdict.end {
            End::Panic(_) => "PANIC",
            End::Hang(_) => "HANG",
            End::Done | End::Vanished => "CUT OFF",
        },
    }
}

fn details(out: &mut impl Write, kernel: &Kernel, verdict: &Verdict) -> Result<()> {
    let count = |wanted: fn(&Outcome) -> bool| {
        let outcomes = verdict.tests.iter().map(|(_, outcome)| outcome);
        outcomes.filter(|outcome| wanted(outcome)).count()
    };
    let passed = count(|outcome| *outcome == Outcome::Passed);
    let skipped = count(|outcome| matches!(outcome, Outcome::Skipped(_)));
    let failed = verdict.tests.len() - passed - skipped;
    let release = verdict.release.as_deref().unwrap_or("it did not start");
    writeln!(
        out,
        "Linux {} ({release}): {passed} passed, {failed} failed, {skipped} skipped; logs in {}",
        kernel.name, verdict.logs
    )?;
    match &verdict.end {
        End::Done => {}
        End::Panic(words) => writeln!(out, "  kernel panic:\n{}", indented(words))?,
        End::Hang(after) => writeln!(out, "  hang: silent for {} s", after.as_secs())?,
        End::Vanished => writeln!(out, "  the guest ended, and its console does not say why")?,
    }
    for hook in &verdict.instead {
        writeln!(out, "  {}", first_line(hook))?;
    }
    for hook in &verdict.absent {
        writeln!(out, "  absent: {}", first_line(hook))?;
    }
    for program in &verdict.rejected {
        writeln!(out, "  rejected by the verifier:\n{}", indented(program))?;
    }
    for complaint in &verdict.complaints {
        writeln!(out, "  the kernel complained: {complaint}")?;
    }
    for (name, outcome) in &verdict.tests {
        match outcome {
            Outcome::Passed | Outcome::Unfinished => {}
            Outcome::Skipped(reason) => writeln!(out, "  skipped: {name}: {reason}")?,
            Outcome::TimedOut => writeln!(out, "  timed out: {name}")?,
            Outcome::Failed(said) => writeln!(out, "  failed: {name}\n{}", indented(said))?,
        }
    }
    Ok(())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn indented(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(|line| format!("    {line}")).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, tests: Vec<(String, Outcome)>, end: End) -> Column {
        let kernel = Kernel {
            name: name.to_owned(),
            image: "vmlinuz".into(),
            modules: None,
        };
        let verdict = Verdict {
            release: Some(format!("{name}.0")),
            rejected: Vec::new(),
            absent: Vec::new(),
            instead: Vec::new(),
            programs: vec![("set_state".to_owned(), Some(3453))],
            tests,
            end,
            complaints: Vec::new(),
            logs: "/logs".to_owned(),
        };
        (kernel, verdict)
    }

    #[test]
    fn a_test_has_a_row_and_a_kernel_a_column() {
        let columns = [
            column(
                "5.10",
                vec![
                    ("fin".into(), Outcome::Passed),
                    ("rst".into(), Outcome::Unfinished),
                ],
                End::Panic("Oops: 0".into()),
            ),
            column(
                "6.1",
                vec![
                    ("fin".into(), Outcome::Failed("one\ntwo".into())),
                    ("rst".into(), Outcome::Skipped("needs x".into())),
                    ("oom".into(), Outcome::Passed),
                ],
                End::Done,
            ),
        ];
        let mut out = Vec::new();
        write(&mut out, &columns).unwrap();
        let text = String::from_utf8(out).unwrap();
        let words: Vec<Vec<&str>> = text
            .lines()
            .take(4)
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            words,
            [
                vec!["5.10", "6.1"],
                vec!["fin", "ok", "FAILED"],
                vec!["rst", "PANIC", "skipped"],
                vec!["oom", "-", "ok"],
            ]
        );
        assert!(
            text.contains("Linux 6.1 (6.1.0): 1 passed, 1 failed, 1 skipped; logs in /logs"),
            "{text}"
        );
        assert!(text.contains("  skipped: rst: needs x"), "{text}");
        assert!(text.contains("    two"), "{text}");
        assert!(text.contains("    Oops: 0"), "{text}");
        assert!(text.contains("set_state      3453      3453\n"), "{text}");
    }
}
