//! Parse, run, exit status.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

use tracer::{
    cli::{self, Command, Log, LogFormat, Usage},
    demo, doctor, replay, run,
    sink::Shape,
    tui,
};

fn main() -> ExitCode {
    let command = match cli::parse(std::env::args_os(), |name| std::env::var_os(name)) {
        Ok(command) => command,
        Err(usage) => return wrong(&usage),
    };
    let result = match command {
        Command::Print(text) => {
            // A reader that goes away has seen enough.
            let _ = std::io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Command::Live(settings) => {
            log_to_stderr(&settings.log);
            let to_stdout = settings.output_file.is_none();
            match Shape::choose(settings.output, settings.wide, to_stdout) {
                Ok(shape) => run::run(*settings, shape),
                Err(usage) => return wrong(&usage),
            }
        }
        Command::Replay(settings) => {
            log_to_stderr(&settings.log);
            match Shape::choose(settings.output, settings.wide, true) {
                Ok(shape) => replay::replay(&settings, shape),
                Err(usage) => return wrong(&usage),
            }
        }
        Command::Demo(log) => {
            log_to_stderr(&log);
            demo::demo()
        }
        Command::Doctor(json, log) => {
            log_to_stderr(&log);
            doctor::doctor(json)
        }
        Command::DemoPart(part, port) => demo::part(part, port),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tracer: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn wrong(usage: &Usage) -> ExitCode {
    eprintln!("{usage}");
    ExitCode::from(Usage::STATUS)
}

/// Standard output carries data only.
fn log_to_stderr(log: &Log) {
    let level = match log.verbosity {
        0 => tracing::Level::WARN,
        1 => tracing::Level::INFO,
        2 => tracing::Level::DEBUG,
        _ => tracing::Level::TRACE,
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(|| tui::log::Stderr);
    match log.format {
        LogFormat::Text => builder.without_time().init(),
        LogFormat::Json => builder.json().init(),
    }
}
