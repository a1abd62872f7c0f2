//! What `cargo xtask dist` has made.

use std::{env, fs, path::PathBuf};

pub const VARIABLE: &str = "TRACER_DIST";

pub fn folder() -> PathBuf {
    env::var_os(VARIABLE).expect("a need").into()
}

/// Names of the files in it.
pub fn names() -> Vec<String> {
    let entries = fs::read_dir(folder()).expect("the folder of packages");
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    entries.flatten().map(name).collect()
}

/// The one whose name ends so.
pub fn file(end: &str) -> PathBuf {
    let names = names();
    let name = names.iter().find(|name| name.ends_with(end));
    folder().join(name.unwrap_or_else(|| panic!("no {end} in {names:?}")))
}
