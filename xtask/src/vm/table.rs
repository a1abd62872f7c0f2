//! The report: a row a test, a column a kernel, and below it what went wrong.

use std::io::{Result, Write};

use super::{
    kernel::Kernel,
    verdict::{End, Family, Outcome, Verdict},
};

pub type Column = (Kernel, Verdict);

const WIDTH: usize = 11;

/// A family of hooks on a kernel: a column of the table.
struct Tried<'a> {
    head: String,
    family: &'a Family,
    end: &'a End,
}

fn tried(columns: &[Column]) -> Vec<Tried<'_>> {
    let mut all = Vec::new();
    for (kernel, verdict) in columns {
        for family in &verdict.families {
            let head = match family.name.as_str() {
                "" | "auto" => kernel.name.clone(),
                hooks => format!("{} {hooks}", kernel.name),
            };
            all.push(Tried {
                head,
                family,
                end: &verdict.end,
            });
        }
    }
    all
}

pub fn write(out: &mut impl Write, columns: &[Column]) -> Result<()> {
    let tried = tried(columns);
    let names = names(&tried);
    let longest = names.iter().map(|name| name.len()).max().unwrap_or(0);
    write!(out, "{:longest$}", "")?;
    for column in &tried {
        write!(out, " {:>WIDTH$}", column.head)?;
    }
    writeln!(out)?;
    for name in &names {
        write!(out, "{name:longest$}")?;
        for column in &tried {
            write!(out, " {:>WIDTH$}", cell(column, name))?;
        }
        writeln!(out)?;
    }
    instructions(out, &tried)?;
    for (kernel, verdict) in columns {
        writeln!(out)?;
        details(out, kernel, verdict)?;
    }
    Ok(())
}

/// What each verifier went through, program by program.
fn instructions(out: &mut impl Write, tried: &[Tried<'_>]) -> Result<()> {
    let mut names: Vec<&str> = tried
        .iter()
        .flat_map(|column| column.family.programs.iter().map(|(name, _)| name.as_str()))
        .collect();
    names.sort_unstable();
    names.dedup();
    let longest = names.iter().map(|name| name.len()).max().unwrap_or(0);
    if longest > 0 {
        writeln!(out, "\nverified instructions (from 5.16; -: not loaded)")?;
    }
    for name in names {
        write!(out, "{name:longest$}")?;
        for column in tried {
            let mut programs = column.family.programs.iter();
            let cell = match programs.find(|(program, _)| program == name) {
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
fn names<'a>(tried: &[Tried<'a>]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for column in tried {
        for (name, _) in &column.family.tests {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
    }
    names
}

fn cell(column: &Tried<'_>, name: &str) -> &'static str {
    let mut tests = column.family.tests.iter();
    match tests
        .find(|(test, _)| test == name)
        .map(|(_, outcome)| outcome)
    {
        None => "-",
        Some(Outcome::Passed) => "ok",
        Some(Outcome::Skipped(_)) => "skipped",
        Some(Outcome::Failed(_)) => "FAILED",
        Some(Outcome::TimedOut) => "TIMED OUT",
        Some(Outcome::Unfinished) => match column.end {
            End::Panic(_) => "PANIC",
            End::Hang(_) => "HANG",
            End::Done | End::Vanished => "CUT OFF",
        },
    }
}

fn details(out: &mut impl Write, kernel: &Kernel, verdict: &Verdict) -> Result<()> {
    let release = verdict.release.as_deref().unwrap_or("it did not start");
    writeln!(
        out,
        "Linux {} ({release}); logs in {}",
        kernel.name, verdict.logs
    )?;
    match &verdict.end {
        End::Done => {}
        End::Panic(words) => writeln!(out, "  kernel panic:\n{}", indented(words))?,
        End::Hang(after) => writeln!(out, "  hang: silent for {} s", after.as_secs())?,
        End::Vanished => writeln!(out, "  the guest ended, and its console does not say why")?,
    }
    for complaint in &verdict.complaints {
        writeln!(out, "  the kernel complained: {complaint}")?;
    }
    for family in &verdict.families {
        of_family(out, family)?;
    }
    Ok(())
}

fn of_family(out: &mut impl Write, family: &Family) -> Result<()> {
    let count = |wanted: fn(&Outcome) -> bool| {
        let outcomes = family.tests.iter().map(|(_, outcome)| outcome);
        outcomes.filter(|outcome| wanted(outcome)).count()
    };
    let passed = count(|outcome| *outcome == Outcome::Passed);
    let skipped = count(|outcome| matches!(outcome, Outcome::Skipped(_)));
    let failed = family.tests.len() - passed - skipped;
    writeln!(
        out,
        "  --hooks {}: {passed} passed, {failed} failed, {skipped} skipped",
        family.name
    )?;
    for hook in &family.instead {
        writeln!(out, "  {}", first_line(hook))?;
    }
    for hook in &family.absent {
        writeln!(out, "  absent: {}", first_line(hook))?;
    }
    for program in &family.rejected {
        writeln!(out, "  rejected by the verifier:\n{}", indented(program))?;
    }
    for (name, outcome) in &family.tests {
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
        let family = Family {
            name: "auto".to_owned(),
            programs: vec![("set_state".to_owned(), Some(3453))],
            tests,
            ..Family::default()
        };
        let verdict = Verdict {
            release: Some(format!("{name}.0")),
            families: vec![family],
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
            text.contains(
                "Linux 6.1 (6.1.0); logs in /logs\n  --hooks auto: 1 passed, 1 failed, 1 skipped"
            ),
            "{text}"
        );
        assert!(text.contains("  skipped: rst: needs x"), "{text}");
        assert!(text.contains("    two"), "{text}");
        assert!(text.contains("    Oops: 0"), "{text}");
        assert!(
            text.contains("set_state        3453        3453\n"),
            "{text}"
        );
    }
}
