//! Debian packages: which are missing, and installing them.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::command::{self, say};

/// Those of `packages` that are not installed.
pub fn missing<'a>(packages: &[&'a str]) -> Result<Vec<&'a str>> {
    // It fails when one of them is unknown, and still lists the others.
    let output = command::capture(
        Command::new("dpkg-query")
            .args(["--show", "--showformat=${Package} ${db:Status-Status}\\n"])
            .args(packages),
    )?;
    let listed = String::from_utf8_lossy(&output.stdout);
    Ok(not_installed(&listed, packages))
}

fn not_installed<'a>(listed: &str, packages: &[&'a str]) -> Vec<&'a str> {
    let installed = |package: &str| {
        listed
            .lines()
            .any(|line| line.split_once(' ') == Some((package, "installed")))
    };
    packages
        .iter()
        .copied()
        .filter(|package| !installed(package))
        .collect()
}

/// Needs root. What apt prints is shown only if it fails.
pub fn install(packages: &[&str]) -> Result<()> {
    if try_install(packages).is_ok() {
        return Ok(());
    }
    // A machine that has just been made has no lists; one that was made long ago has lists of what is gone.
    say("refreshing apt's package lists");
    command::read(&mut apt_get(&["update"]))?;
    try_install(packages).with_context(|| {
        format!(
            "cannot install {}: see what apt-get says below, or install it by hand",
            packages.join(" ")
        )
    })
}

fn try_install(packages: &[&str]) -> Result<()> {
    command::read(apt_get(&["install", "--yes", "--no-install-recommends"]).args(packages))?;
    Ok(())
}

fn apt_get(args: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command
        // Another apt may be at work, as on a machine's first boot.
        .args(["-q", "-o", "DPkg::Lock::Timeout=300"])
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_fully_installed_counts() {
        let listed = "gcc installed\njq config-files\nlibc6-dev not-installed\n";
        assert_eq!(
            not_installed(listed, &["gcc", "jq", "libc6-dev", "curl"]),
            ["jq", "libc6-dev", "curl"]
        );
    }
}
