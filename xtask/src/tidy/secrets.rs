//! What is true of one machine only stays out of the project: paths of a developer's checkout, and the hosts from
//! which a machine happens to take its packages.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use super::{Fault, File};

/// Split, so that this file does not mention them.
const PLACES: [&str; 2] = [concat!("../", "shared"), concat!("/wo", "rk/")];

/// Every Cargo.lock names it: cargo's public index is a repository there.
const PUBLIC: &[&str] = &["github.com"];

pub fn faults(files: &[File], mirrors: &BTreeSet<String>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in files {
        for (number, line) in file.text().lines().enumerate() {
            let mut report = |what: String| faults.push(Fault::new(file, number + 1, what));
            for place in PLACES.iter().filter(|place| line.contains(**place)) {
                report(format!("{place} is a place on one machine"));
            }
            for host in mirrors.iter().filter(|host| mentions_host(line, host)) {
                report(format!(
                    "{host} is where this machine takes packages from: read it from the configuration"
                ));
            }
        }
    }
    faults
}

/// The host itself, not one whose name it is part of.
fn mentions_host(line: &str, host: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '-' || c == '.';
    line.match_indices(host).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let mut after = line[at + host.len()..].chars();
        let ends = match after.next() {
            // A full stop after the host ends a sentence.
            Some('.') => !after.next().is_some_and(char::is_alphanumeric),
            Some(next) => !part_of_name(next),
            None => true,
        };
        ends && !before.is_some_and(part_of_name)
    })
}

/// The hosts in this machine's configuration of apt and cargo.
pub fn mirrors() -> BTreeSet<String> {
    let mut files = vec![
        PathBuf::from("/etc/apt/sources.list"),
        PathBuf::from("/etc/apt/apt.conf"),
    ];
    files.extend(listed("/etc/apt/sources.list.d", &["list", "sources"]));
    files.extend(listed("/etc/apt/apt.conf.d", &["", "conf"]));
    let home = |variable| env::var_os(variable).map(PathBuf::from);
    let cargo = home("CARGO_HOME").or_else(|| Some(home("HOME")?.join(".cargo")));
    files.extend(
        cargo
            .iter()
            .flat_map(|folder| [folder.join("config.toml"), folder.join("config")]),
    );
    // One that is not there configures nothing.
    files
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .flat_map(|text| hosts(&text))
        .collect()
}

fn listed(folder: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let read = |file: &Path| {
        let extension = file.extension().unwrap_or_default();
        extensions.iter().any(|read| extension == *read)
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|file| read(file))
        .collect()
}

/// The hosts of the URLs in a configuration.
fn hosts(text: &str) -> BTreeSet<String> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#') && !line.starts_with("//"));
    lines
        .flat_map(|line| line.split("://").skip(1))
        .filter_map(|rest| {
            let authority = rest
                .split(['/', '"', '\'', ' ', '\t', ']', ';', '?'])
                .next()?;
            let host = authority.rsplit('@').next()?.split(':').next()?;
            Some(host.trim_end_matches('.').to_lowercase())
        })
        // A bare word would be found everywhere, and so would loopback.
        .filter(|host| {
            host.contains('.') && !host.starts_with("127.") && !PUBLIC.contains(&host.as_str())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::file, *};

    fn set(hosts: &[&str]) -> BTreeSet<String> {
        hosts.iter().map(|host| (*host).to_owned()).collect()
    }

    #[test]
    fn places_of_one_machine_are_found() {
        for place in PLACES {
            let faults = faults(
                &[file("README.md", &format!("fine\nsee {place}x"))],
                &set(&[]),
            );
            assert_eq!(faults.len(), 1);
            assert_eq!(faults[0].line, Some(2));
        }
    }

    #[test]
    fn mirrors_are_found_as_whole_hosts() {
        let mirrors = set(&["mirror.example"]);
        let count = |text: &str| faults(&[file("a", text)], &mirrors).len();
        assert_eq!(count("from http://mirror.example/debian"), 1);
        assert_eq!(count("ask mirror.example."), 1);
        assert_eq!(
            count("my-mirror.example, a.mirror.example, mirror.example.org, mirror.examples"),
            0
        );
    }

    #[test]
    fn hosts_are_read_from_every_kind_of_configuration() {
        let sources =
            "# http://old.example/\ndeb [arch=amd64] http://deb.example/debian bookworm main\n";
        assert_eq!(hosts(sources), set(&["deb.example"]));
        assert_eq!(
            hosts("URIs: https://a.example/x http://b.example/y"),
            set(&["a.example", "b.example"])
        );
        assert_eq!(
            hosts("Acquire::http::Proxy \"http://p.example:3128\";"),
            set(&["p.example"])
        );
        let cargo = "[source.m]\nregistry = \"sparse+https://u:p@Crates.Example/index/\"\n\
                     index = 'https://github.com/rust-lang/index'\nproxy = \"http://127.0.0.1:1\"";
        assert_eq!(hosts(cargo), set(&["crates.example"]));
    }
}
