//! The command line: from what was typed, the environment and a configuration file to a validated
//! [`Command`]. Nothing is attached and no privilege is needed to find that something is wrong.

mod args;
mod config_file;
mod explain;
mod fingerprints;
mod generate;
pub mod settings;
mod sources;
pub mod values;

use std::ffi::OsString;

use clap::{Parser, error::ErrorKind};

pub use args::Part;
use args::{Cli, Sub};
pub use settings::{Hooks, Log, LogFormat, Output, Replay, Settings, Speed, Stories, Theme, View};

/// What to do.
#[derive(Debug, PartialEq)]
pub enum Command {
    /// Trace.
    Live(Box<Settings>),
    /// Show recordings.
    Replay(Box<Replay>),
    /// Break a pipe and explain it.
    Demo(Log),
    /// Say what this kernel offers; as JSON.
    Doctor(bool, Hooks, Log),
    /// Be one of the two ends of the demo's connection.
    DemoPart(Part, u16),
    /// Write this text to standard output: help, version, schema, an explanation, a generated file.
    Print(String),
}

/// Wrong usage or configuration: one message that names the place and the accepted form.
#[derive(Debug, PartialEq, Eq)]
pub struct Usage(pub String);

impl Usage {
    /// The exit status that goes with it.
    pub const STATUS: u8 = 2;
}

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "error: {}", self.0)
    }
}

impl std::error::Error for Usage {}

/// Understands a command line, `args` beginning with the program's name. `env` looks up variables
/// of the environment; the configuration file is read if one is named.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<Command, Usage> {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return not_parsed(&error),
    };
    Ok(match cli.command {
        None => Command::Live(Box::new(settings::live(cli.live, env)?)),
        Some(Sub::Demo { log, part, port }) => match part.zip(port) {
            Some((part, port)) => Command::DemoPart(part, port),
            None => Command::Demo(settings::log_only(log, env)?),
        },
        Some(Sub::Doctor { json, hooks, log }) => {
            let (hooks, log) = settings::doctor(hooks, log, env)?;
            Command::Doctor(json, hooks, log)
        }
        Some(Sub::Replay(args)) => Command::Replay(Box::new(settings::replay(*args, env)?)),
        Some(Sub::Explain { name }) => Command::Print(explain::page(&name)?),
        Some(Sub::Schema) => Command::Print(generate::schema()),
        Some(Sub::Generate { what }) => Command::Print(generate::text(what)),
    })
}

/// clap reports help and version as errors too.
fn not_parsed(error: &clap::Error) -> Result<Command, Usage> {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(Command::Print(text)),
        // clap shows the help of a command that lacks its own command.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Err(Usage(format!(
            "a command is missing\n\n{}",
            text.trim_end()
        ))),
        _ => {
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            Err(Usage(text.trim_end().to_owned()))
        }
    }
}

#[cfg(test)]
mod tests;
