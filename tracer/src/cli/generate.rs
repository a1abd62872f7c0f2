//! Texts made from the definition of the command line: `tracer gen`, `tracer schema`.

use std::fmt::Write;

use clap::CommandFactory;
use clap_mangen::Man;

use super::args::{Cli, Generate, MORE};
use crate::{
    event::schema,
    tui::keymap::{BINDINGS, Binding},
};

/// Every setting, commented out, with its default or an example.
const CONFIG: &str = include_str!("../../../deploy/tracer.toml");

pub fn text(what: Generate) -> String {
    match what {
        Generate::Man => man(),
        Generate::Config => CONFIG.to_owned(),
        Generate::Completions { shell } => {
            let mut out = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tracer", &mut out);
            let script = String::from_utf8_lossy(&out);
            // After `--reason` fish's argparse misses the value that is being completed; there is no command yet then
            // either. clap_complete takes it for one, and offers no values.
            script.replace("    or return\n", "    or return 0\n")
        }
    }
}

/// The man page. clap_mangen makes the parts that are options; it would fill the lines of the
/// others and refer to a page for each command.
fn man() -> String {
    let command = Cli::command();
    let mut page = options(Man::new(command.clone()).section("8"));
    page.push_str(".SH COMMANDS\n");
    for sub in command.get_subcommands() {
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        let name = sub.get_name();
        // Writing to a String cannot fail.
        let _ = write!(page, ".TP\n\\fBtracer {name}\\fR\n{}\n", roff(&about));
    }
    for line in MORE.lines() {
        match line.strip_suffix(':').filter(|_| !line.starts_with(' ')) {
            Some(title) => {
                let _ = write!(page, ".SH {}\n.nf\n", title.to_uppercase());
            }
            None if line.is_empty() => page.push_str(".fi\n"),
            None => {
                let _ = writeln!(page, "{}", roff(line.strip_prefix("  ").unwrap_or(line)));
            }
        }
    }
    page.push_str(".fi\n.SH KEYS OF THE LIVE VIEW\n");
    for Binding { shown, help, .. } in BINDINGS {
        let _ = write!(page, ".TP\n\\fB{}\\fR\n{}\n", roff(shown), roff(help));
    }
    page
}

fn options(man: Man) -> String {
    let mut out = Vec::new();
    // Writing to a Vec cannot fail.
    let _ = man
        .render_title(&mut out)
        .and_then(|()| man.render_name_section(&mut out))
        .and_then(|()| man.render_synopsis_section(&mut out))
        .and_then(|()| man.render_description_section(&mut out))
        .and_then(|()| man.render_options_section(&mut out));
    String::from_utf8_lossy(&out).into_owned()
}

/// A line as roff takes it literally.
fn roff(line: &str) -> String {
    let line = line.replace('\\', r"\e").replace('-', r"\-");
    if line.starts_with(['.', '\'']) {
        format!(r"\&{line}")
    } else {
        line
    }
}

/// The JSON Schema of the events.
pub fn schema() -> String {
    format!("{:#}\n", schema::document())
}
