//! A live test that fails once in hundreds of runs: run again by itself, it tells an accident from a defect.
//!
//! It is still told, with the reason, before the counts; and more than a few at once are no accident.

use std::mem;

use super::libtest::Report;

/// So many may fail in one run.
const MOST: usize = 3;
/// So often each of them has to pass then.
pub const TIMES: usize = 3;

/// `alone` runs one test by its name; `None`: something went wrong beyond the test.
pub fn give(report: &mut Report, mut alone: impl FnMut(&str) -> Option<Report>) {
    if report.failed.len() > MOST {
        return;
    }
    let mut passes = |name: &str| alone(name).is_some_and(|report| is_a_pass(&report));
    for test in mem::take(&mut report.failed) {
        if (0..TIMES).all(|_| passes(&test.name)) {
            report.unsteady.push(test);
        } else {
            report.failed.push(test);
        }
    }
}

/// A test that is skipped when it is run again proves nothing.
fn is_a_pass(report: &Report) -> bool {
    report.passed == 1 && report.failed.is_empty()
}

#[cfg(test)]
mod tests {
    use super::{super::libtest::Listener, *};

    const PASSES: &str =
        "\nrunning 1 test\ntest a ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored\n";
    const FAILS: &str = "\nrunning 1 test\ntest a ... FAILED\n\nfailures:\n\n---- a ----\nlate\n\n\n\
        failures:\n    a\n\ntest result: FAILED. 0 passed; 1 failed; 0 ignored\n";
    const SKIPS: &str = "skipped: a: needs tc\n\nrunning 1 test\ntest a ... ignored\n\n\
        test result: ok. 0 passed; 0 failed; 1 ignored\n";

    fn report(text: &str) -> Report {
        let mut listener = Listener::new(std::io::sink());
        listener.hear(text.as_bytes());
        listener.finish()
    }

    /// A full run in which so many failed, as libtest-mimic prints it.
    fn full_run(failures: usize) -> Report {
        let names: Vec<_> = (0..failures)
            .map(|number| format!("test_{number}"))
            .collect();
        let mut text = "\nrunning 9 tests\ntest fine ... ok\n".to_owned();
        text.extend(names.iter().map(|name| format!("test {name} ... FAILED\n")));
        text += "\nfailures:\n\n";
        text.extend(
            names
                .iter()
                .map(|name| format!("---- {name} ----\n{name} came late:\nso\n\n")),
        );
        text += "\nfailures:\n";
        text.extend(names.iter().map(|name| format!("    {name}\n")));
        text += &format!("\ntest result: FAILED. 1 passed; {failures} failed; 0 ignored\n");
        report(&text)
    }

    /// (failed, unsteady) after a second chance that goes like this, each time.
    fn after(
        failures: usize,
        mut alone: impl FnMut(&str) -> Option<&'static str>,
    ) -> (usize, usize) {
        let mut run = full_run(failures);
        give(&mut run, |name| alone(name).map(report));
        assert_eq!(run.passed, 1);
        (run.failed.len(), run.unsteady.len())
    }

    #[test]
    fn passing_each_time_is_unsteady_and_keeps_the_first_reason() {
        let mut run = full_run(2);
        let mut asked = Vec::new();
        give(&mut run, |name| {
            asked.push(name.to_owned());
            Some(report(PASSES))
        });
        assert_eq!(
            asked,
            ["test_0", "test_0", "test_0", "test_1", "test_1", "test_1"]
        );
        assert_eq!(run.failed, []);
        assert_eq!(run.unsteady[1].name, "test_1");
        assert_eq!(run.unsteady[1].reason, "test_1 came late:");
    }

    #[test]
    fn one_more_failure_is_a_failure() {
        let mut times = 0;
        let third_fails = |_: &str| {
            times += 1;
            Some(if times == 3 { FAILS } else { PASSES })
        };
        assert_eq!(after(1, third_fails), (1, 0));
        assert_eq!(
            after(3, |name| Some(if name == "test_1" {
                FAILS
            } else {
                PASSES
            })),
            (1, 2)
        );
    }

    #[test]
    fn neither_a_skip_nor_a_crash_is_a_pass() {
        assert_eq!(after(1, |_| Some(SKIPS)), (1, 0));
        assert_eq!(after(1, |_| None), (1, 0));
        assert_eq!(after(1, |_| Some("running 1 test\ntest a ... ")), (1, 0));
    }

    #[test]
    fn many_failures_get_no_second_chance() {
        assert_eq!(after(4, |_| panic!("run again")), (4, 0));
        assert_eq!(after(0, |_| panic!("run again")), (0, 0));
    }
}
