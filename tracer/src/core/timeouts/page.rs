//! An entry in words, for `tracer explain` and docs/timeouts.md.

use std::fmt::Write;

use super::{Timeout, Value};
use crate::event::values::{How, Role};

impl Timeout {
    /// `60 s, 75 s`.
    pub fn defaults(&self) -> String {
        let values: Vec<_> = self
            .values_ms
            .iter()
            .map(|ms| Value(*ms).to_string())
            .collect();
        match values.as_slice() {
            [] => "each socket's own".to_owned(),
            values => values.join(", "),
        }
    }

    /// What it runs on: `waiting for a response`.
    pub fn runs_on(&self) -> String {
        let clocks: Vec<_> = self.clocks.iter().map(|clock| clock.meaning()).collect();
        clocks.join("; or: ")
    }

    /// Which end hangs up, and how: `the client's end, FIN`.
    pub fn hangs_up(&self) -> String {
        let end = match self.closer {
            Some(Role::Client) => "the client's end",
            Some(Role::Server) => "the server's end",
            _ => "either end",
        };
        match self.how {
            Some(How::Fin) => format!("{end}, FIN"),
            Some(How::Rst) => format!("{end}, RST"),
            _ => end.to_owned(),
        }
    }

    /// Names of processes that are it, or may be.
    pub fn known_by(&self) -> String {
        let mut names = self.process.join(", ");
        if !self.runtime.is_empty() {
            let also = if names.is_empty() {
                "perhaps "
            } else {
                ", perhaps "
            };
            names.push_str(also);
            names.push_str(&self.runtime.join(", "));
        }
        names
    }

    /// A page of the form that reasons and patterns have.
    pub fn page(&self) -> String {
        let Timeout { id, what, .. } = self;
        let mut page = format!("# {id}\n\n{what}.\n\n");
        let late = self.late_ms.filter(|_| !self.late_why.is_empty());
        let late = late.map(|ms| format!("by up to {}: {}", Value(ms), self.late_why));
        let ports: Vec<_> = self.ports.iter().map(ToString::to_string).collect();
        let rows = [
            ("Default", self.defaults()),
            ("Of which", self.versions.clone()),
            ("Runs on", self.runs_on()),
            ("Hangs up", self.hangs_up()),
            ("Process", self.known_by()),
            ("Port", ports.join(", ")),
            ("Setting", self.setting.clone()),
            ("Late", late.unwrap_or_default()),
            ("Source", self.source.clone()),
        ];
        for (name, text) in rows {
            if !text.is_empty() {
                // Writing to a String cannot fail.
                let _ = writeln!(page, "{name:10}{text}");
            }
        }
        if !self.verified {
            page.push_str("\nNot verified: from memory or at second hand.\n");
        }
        let _ = write!(
            page,
            "\n## What to check next\n\n\
             - A hint says that the time fits, not that it was so: is this what hung up, and is it set so?\n\
             - Your own value: `{id} = \"…\"` in a file for --fingerprints.\n"
        );
        page
    }
}
