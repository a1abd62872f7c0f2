//! The live tests: real TCP connections between real processes, each ended in a known way, and the tracer's records
//! compared with what was done. They need root; README.md in this folder says how to run and extend them.

mod bytes;
mod chains;
mod cli;
mod commands;
mod completions;
mod deaths;
#[path = "../doc_blocks/mod.rs"]
mod doc_blocks;
mod doctor;
mod endings;
mod faults;
mod filters;
mod fleet;
mod healthy;
mod heartbeat;
mod hostile;
#[path = "../json_schema/mod.rs"]
mod json_schema;
mod lab;
mod load;
mod metrics;
mod names;
mod owners;
mod packages;
mod pairs;
mod pipelines;
mod pooled;
mod privilege;
mod resets;
mod rows;
mod servers;
mod service;
mod stalls;
mod stories;
mod timeouts;
mod truth;
mod tui;

use libtest_mimic::{Arguments, Failed, Trial};

use lab::needs::{Need, unmet};

/// A test, and what it needs beyond root.
pub struct Test {
    pub name: String,
    pub needs: Vec<Need>,
    pub run: Box<dyn FnOnce() + Send>,
}

impl Test {
    pub fn new(
        name: impl Into<String>,
        needs: &[Need],
        run: impl FnOnce() + Send + 'static,
    ) -> Test {
        Test {
            name: name.into(),
            needs: needs.to_vec(),
            run: Box::new(run),
        }
    }
}

fn main() {
    lab::agent::child::run_if_agent();
    tui::child::run_if_view();
    truth::worker::run_if_worker();
    listen_to_interrupts();
    // What a panic says is reported with its test.
    std::panic::set_hook(Box::new(|_| {}));
    let mut arguments = Arguments::from_args();
    // One at a time: a tracer sees the whole machine, and two cores are soon busy.
    arguments.test_threads.get_or_insert(1);

    let tests = [
        cli::tests(),
        privilege::tests(),
        commands::tests(),
        completions::tests(),
        doctor::tests(),
        rows::tests(),
        resets::tests(),
        bytes::tests(),
        owners::tests(),
        pairs::tests(),
        deaths::tests(),
        filters::tests(),
        heartbeat::tests(),
        stalls::tests(),
        stories::tests(),
        pooled::tests(),
        timeouts::tests(),
        chains::tests(),
        healthy::tests(),
        names::tests(),
        hostile::tests(),
        packages::tests(),
        servers::tests(),
        service::tests(),
        pipelines::tests(),
        fleet::tests(),
        load::tests(),
        faults::tests(),
        truth::tests(),
        metrics::tests(),
        tui::tests(),
    ];
    let trials = tests
        .into_iter()
        .flatten()
        .map(|test| {
            let asked = !arguments.list && selected(&arguments, &test.name);
            let reason = if asked { unmet(&test.needs) } else { None };
            if let Some(reason) = &reason {
                println!("skipped: {}: {reason}", test.name);
            }
            let name = test.name.clone();
            Trial::test(test.name, move || run(&name, &test.needs, test.run))
                .with_ignored_flag(reason.is_some())
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}

/// As libtest selects by name.
fn selected(arguments: &Arguments, name: &str) -> bool {
    let fits = |filter: &String| match arguments.exact {
        true => name == filter,
        false => name.contains(filter.as_str()),
    };
    arguments.filter.as_ref().is_none_or(fits) && !arguments.skip.iter().any(fits)
}

fn run(name: &str, needs: &[Need], test: Box<dyn FnOnce() + Send>) -> Result<(), Failed> {
    // Agents inherit nothing of it: it is closed on exec.
    let _turn = lab::turn::take(needs);
    let _log = lab::kernel_log::start(name);
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(test)) {
        Ok(()) => Ok(()),
        Err(panic) => Err(Failed::from(lab::panic_text(&*panic))),
    }
}

/// A shell's background job ignores SIGINT, and so would every program that a test starts and interrupts.
fn listen_to_interrupts() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    for which in [Signal::SIGINT, Signal::SIGQUIT] {
        // SAFETY: the default action, and no other thread yet.
        unsafe { signal(which, SigHandler::SigDfl) }.expect("a signal that has an action");
    }
}
