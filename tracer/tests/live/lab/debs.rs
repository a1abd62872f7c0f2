//! Debian packages in a folder of the tests' own: such as must not be installed, because a machine has only one of
//! their kind and may have another.

use std::{fs, path::PathBuf, process::Command};

use super::needs::find;

/// Where they are, for all runs on this machine.
pub fn folder(packages: &[&str]) -> PathBuf {
    std::env::temp_dir()
        .join("tracer-live-debs")
        .join(packages[0])
}

/// Downloads and unpacks them, once. Says why that cannot be.
pub fn unpack(packages: &[&str]) -> Result<(), String> {
    let folder = folder(packages);
    if folder.exists() {
        return Ok(());
    }
    let needs = |why: String| format!("needs the packages {}: {why}", packages.join(" "));
    for program in ["apt-get", "dpkg-deb"] {
        find(program).ok_or_else(|| needs(format!("there is no {program}")))?;
    }
    // Another run may be at it too: whoever is first has made the folder.
    let parts = folder.with_extension(std::process::id().to_string());
    let made = || -> Result<(), String> {
        fs::create_dir_all(&parts).map_err(|error| error.to_string())?;
        let mut download = Command::new("apt-get");
        download
            .args(["-q", "download"])
            .args(packages)
            .current_dir(&parts);
        if run(&mut download).is_err() {
            // A machine that has just been made has no lists.
            run(Command::new("apt-get").args(["-q", "update"]))?;
            run(&mut download)?;
        }
        for deb in fs::read_dir(&parts).map_err(|error| error.to_string())? {
            let deb = deb.map_err(|error| error.to_string())?.path();
            if deb.extension().is_some_and(|end| end == "deb") {
                run(Command::new("dpkg-deb").arg("-x").args([&deb, &parts]))?;
            }
        }
        Ok(())
    };
    let made = made();
    if made.is_ok() && fs::rename(&parts, &folder).is_ok() {
        return Ok(());
    }
    let _ = fs::remove_dir_all(&parts);
    match folder.exists() {
        true => Ok(()),
        false => made.map_err(needs),
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr)
            .lines()
            .find(|line| line.starts_with("E:"))
            .unwrap_or("apt-get failed")
            .to_owned()),
    }
}

/// A program of theirs, with their libraries.
pub fn command(packages: &[&str], program: &str) -> Command {
    let folder = folder(packages);
    let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
    let libraries = [
        folder.join("usr/lib").join(&triple),
        folder.join("lib").join(&triple),
        folder
            .join("usr/lib")
            .join(packages[0].trim_end_matches("-core")),
    ];
    let mut command = Command::new(folder.join(program));
    command.env(
        "LD_LIBRARY_PATH",
        std::env::join_paths(libraries).expect("no colons"),
    );
    command
}
