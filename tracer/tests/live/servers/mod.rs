//! Real servers and clients, and the timeouts that each of them comes with: who is told to have hung up, after what,
//! and with which clock.

mod apache;
mod case;
mod go;
mod haproxy;
mod host;
mod nginx;
mod node;
mod python;
mod table;

use std::process::Command;

use host::Host;

use crate::{
    Test,
    lab::{needs::find, tracer::Tracer},
};

pub fn tests() -> Vec<Test> {
    let mut tests = vec![
        nginx::test(),
        haproxy::test(),
        apache::test(),
        node::test(),
        go::test(),
    ];
    tests.extend(python::tests());
    tests
}

/// A tracer that tells the story of every end, and knows these timeouts besides its own.
fn tracer(host: &Host, timeouts: &str) -> Tracer {
    let file = host.write("timeouts.toml", timeouts);
    Tracer::start_with(&["--stories", "all", "--fingerprints", &file])
}

/// The first line that a program says of itself.
fn version(program: &str, arguments: &[&str]) -> String {
    let program = find(program).expect("a need of the test");
    let output = Command::new(program).args(arguments).output();
    let output = output.expect("a program that can be run");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    said.lines().next().unwrap_or_default().trim().to_owned()
}
