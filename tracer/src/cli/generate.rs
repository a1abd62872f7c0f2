//! Texts made from the definition of the command line: `tracer gen`, `tracer schema`.

use clap::CommandFactory;

use super::args::{Cli, Generate};
use crate::event::schema;

/// Every setting, commented out, with its default or an example.
const CONFIG: &str = include_str!("config.toml");

pub fn text(what: Generate) -> String {
    let mut out = Vec::new();
    match what {
        Generate::Config => return CONFIG.to_owned(),
        Generate::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "tracer", &mut out);
        }
        Generate::Man => {
            let man = clap_mangen::Man::new(Cli::command().term_width(0)).section("8");
            // Writing to a Vec cannot fail.
            drop(man.render(&mut out));
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The JSON Schema of the events.
pub fn schema() -> String {
    format!("{:#}\n", schema::document())
}
