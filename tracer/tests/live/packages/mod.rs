//! What `cargo xtask dist` makes, used as its users do, and the files of deploy/ for clusters.

mod debian;
mod image;
mod kubernetes;
mod tarball;

use std::process::Command;

use crate::{
    Test,
    lab::{dist, docker, needs::Need, netns::run},
};

/// Those of this workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");

const INSTALL: &str = include_str!("../../../../docs/install.md");

pub fn tests() -> Vec<Test> {
    let image = [&docker::NEEDS[..], &[Need::Dist, Need::Program("ctr")]].concat();
    vec![
        Test::new("packages::checksums", &[Need::Dist], checksums),
        Test::new(
            "packages::tarball",
            &[Need::Dist],
            tarball::runs_in_an_empty_root,
        ),
        Test::new(
            "packages::lintian",
            &[Need::Dist, Need::Program("lintian")],
            debian::lintian,
        ),
        Test::new(
            "packages::debian",
            &[Need::Dist, Need::Program("mmdebstrap")],
            debian::installs_runs_and_leaves_nothing,
        ),
        Test::new(
            "packages::image",
            &image,
            image::attributes_from_a_container,
        ),
        Test::new(
            "packages::kubernetes",
            &[Need::Pip(kubernetes::VALIDATE)],
            kubernetes::daemon_set,
        ),
    ]
}

/// Every file is in the list, and is what the list says.
fn checksums() {
    let sums = std::fs::read_to_string(dist::file("SHA256SUMS")).expect("the checksums");
    let mut listed: Vec<&str> = sums
        .lines()
        .filter_map(|line| line.split_once("  ").map(|(_, name)| name))
        .collect();
    let mut there = dist::names();
    there.retain(|name| name != "SHA256SUMS");
    there.sort();
    listed.sort_unstable();
    assert_eq!(listed, there);
    assert_eq!(there.len(), 4, "{there:?}");
    let mut command = Command::new("sha256sum");
    command.args(["--check", "--strict", "SHA256SUMS"]);
    run(command.current_dir(dist::folder()), "");
}
