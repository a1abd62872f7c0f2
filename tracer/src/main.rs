//! Parse, run, exit status.

use std::process::ExitCode;

use tracer::{
    cli::{self, Command, Usage},
    demo, doctor, log, replay, run,
    sink::{self, Shape},
};

fn main() -> ExitCode {
    let command = match cli::parse(std::env::args_os(), |name| std::env::var_os(name)) {
        Ok(command) => command,
        Err(usage) => return wrong(&usage),
    };
    let result = match command {
        Command::Print(text) => sink::print(&text),
        Command::Live(settings) => {
            log::start(&settings.log);
            let to_stdout = settings.output_file.is_none();
            match Shape::choose(settings.output, settings.wide, to_stdout) {
                Ok(shape) => run::run(*settings, shape),
                Err(usage) => return wrong(&usage),
            }
        }
        Command::Replay(settings) => {
            log::start(&settings.log);
            match Shape::choose(settings.output, settings.wide, true) {
                Ok(shape) => replay::replay(&settings, shape),
                Err(usage) => return wrong(&usage),
            }
        }
        Command::Demo(log) => {
            log::start(&log);
            demo::demo()
        }
        Command::Doctor(json, hooks, log) => {
            log::start(&log);
            doctor::doctor(json, run::family(hooks))
        }
        Command::DemoPart(part, port) => demo::part(part, port),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::failure(format_args!("tracer: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn wrong(usage: &Usage) -> ExitCode {
    log::failure(usage);
    ExitCode::from(Usage::STATUS)
}
