//! tracer_VERSION_amd64.deb. What cannot be made from elsewhere is in deploy/debian/.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};

use super::{
    Release, VERSION, source,
    stage::Stage,
    tarball::{COMPLETIONS, THIRD_PARTY},
};
use crate::command;

/// Where Debian looks for completions.
const COMPLETION_FOLDERS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions"),
    ("zsh", "usr/share/zsh/vendor-completions"),
    ("fish", "usr/share/fish/vendor_completions.d"),
];

const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// What an administrator may change, and an upgrade then leaves alone.
const CONFIG: &str = "etc/tracer/tracer.toml";
const LOGROTATE: &str = "etc/logrotate.d/tracer";

const DOC: &str = "usr/share/doc/tracer";

pub fn pack(release: &Release) -> Result<()> {
    let stage = Stage::new(release.work.join("deb"), release.epoch)?;
    stage.executable("usr/bin/tracer", fs::read(&release.binary)?)?;
    stage.file(CONFIG, release.says(&["gen", "config"])?)?;
    stage.file(LOGROTATE, source("deploy/logrotate.d/tracer")?)?;
    stage.file(
        "usr/lib/systemd/system/tracer.service",
        source("deploy/systemd/tracer.service")?,
    )?;
    stage.gzipped(
        "usr/share/man/man8/tracer.8",
        release.says(&["gen", "man"])?,
    )?;
    for ((shell, file), (_, folder)) in COMPLETIONS.into_iter().zip(COMPLETION_FOLDERS) {
        let completions = release.says(&["gen", "completions", shell])?;
        stage.file(&format!("{folder}/{file}"), completions)?;
    }
    stage.file(
        &format!("{DOC}/copyright"),
        source("deploy/debian/copyright")?,
    )?;
    stage.gzipped(&format!("{DOC}/{THIRD_PARTY}"), &release.licences)?;
    stage.gzipped(&format!("{DOC}/changelog"), changelog(release)?)?;
    stage.gzipped(&format!("{DOC}/README.md"), source("README.md")?)?;
    stage.file(
        &format!("{DOC}/events.schema.json"),
        release.says(&["schema"])?,
    )?;
    stage.file(
        "usr/share/lintian/overrides/tracer",
        source("deploy/debian/lintian-overrides")?,
    )?;
    control(&stage)?;
    stage.settle()?;
    let mut command = Command::new("dpkg-deb");
    command
        .args(["--root-owner-group", "-Zxz", "--build"])
        .arg(stage.root())
        .arg(release.out.join(format!("tracer_{VERSION}_amd64.deb")))
        .env("SOURCE_DATE_EPOCH", release.epoch.to_string())
        // How many threads compress shows in what they write.
        .env("DPKG_DEB_THREADS_MAX", "1");
    command::read(&mut command).map(|_| ())
}

fn control(stage: &Stage) -> Result<()> {
    stage.file("DEBIAN/conffiles", format!("/{CONFIG}\n/{LOGROTATE}\n"))?;
    for script in SCRIPTS {
        stage.executable(
            &format!("DEBIAN/{script}"),
            source(&format!("deploy/debian/{script}"))?,
        )?;
    }
    let text = String::from_utf8(source("deploy/debian/control")?)
        .context("deploy/debian/control is not UTF-8")?;
    let sizes = command::read(
        Command::new("du")
            .args(["-sk", "--apparent-size"])
            .arg(stage.root()),
    )?;
    let size_kib = sizes.split_whitespace().next().context("du says no size")?;
    let text = text
        .replace("@VERSION@", VERSION)
        .replace("@SIZE@", size_kib);
    stage.file("DEBIAN/control", text)?;
    let sums = command::read(
        Command::new("sh")
            .args(["-c", SUMS])
            .current_dir(stage.root()),
    )?;
    stage.file("DEBIAN/md5sums", sums)
}

/// Of what dpkg does not look after as configuration.
const SUMS: &str = "find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum";

/// Longest line of a changelog that Debian likes.
const LINE_MAX: usize = 80;

/// The newest part of CHANGELOG.md in Debian's form.
fn changelog(release: &Release) -> Result<String> {
    let date = command::read(
        Command::new("date")
            .args(["--utc", "--rfc-email"])
            .arg(format!("--date=@{}", release.epoch))
            .env("LC_ALL", "C"),
    )?;
    let control = String::from_utf8(source("deploy/debian/control")?)
        .context("deploy/debian/control is not UTF-8")?;
    let maintainer = control
        .lines()
        .find_map(|line| line.strip_prefix("Maintainer: "))
        .context("deploy/debian/control names no maintainer")?;
    let changes =
        String::from_utf8(source("CHANGELOG.md")?).context("CHANGELOG.md is not UTF-8")?;
    Ok(format!(
        "tracer ({VERSION}) unstable; urgency=medium\n\n{}\n -- {maintainer}  {date}",
        changes_of_newest(&changes)
    ))
}

fn changes_of_newest(text: &str) -> String {
    let newest = text
        .lines()
        .skip_while(|line| !line.starts_with("## "))
        .skip(1)
        .take_while(|line| !line.starts_with("## "));
    let mut lines = Vec::new();
    for line in newest {
        let (words, begins) = match line.strip_prefix("- ") {
            Some(change) => (change, true),
            None => (line, false),
        };
        if begins {
            lines.push("  *".to_owned());
        }
        for word in words.split_whitespace() {
            let fits = |line: &&mut String| line.len() + 1 + word.len() <= LINE_MAX;
            match lines.last_mut().filter(fits) {
                Some(line) => *line = format!("{line} {word}"),
                None => lines.push(format!("    {word}")),
            }
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_changes_as_debian_writes_them() {
        let long = "word ".repeat(16);
        let text = format!(
            "# Changelog\n\n## 0.2.0\n\n- One\n  goes on.\n- {long}\n\n## 0.1.0\n\n- Old.\n"
        );
        let changes = changes_of_newest(&text);
        let lines: Vec<&str> = changes.lines().collect();
        assert_eq!(lines[0], "  * One goes on.");
        assert_eq!(lines[1].len(), "  *".len() + 15 * " word".len());
        assert_eq!(lines[2..], ["    word"]);
    }
}
