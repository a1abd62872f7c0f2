//! tracer-VERSION-x86_64-linux.tar.gz: for every distribution.

use anyhow::Result;

use super::{Release, VERSION, source, stage, stage::Stage};

/// Of the project itself.
pub const LICENCES: [&str; 3] = ["LICENSE-APACHE", "LICENSE-GPL2", "LICENSE-MIT"];

pub const THIRD_PARTY: &str = "LICENSES-THIRD-PARTY";

/// Shells, and what each calls a file of completions.
pub const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "tracer"),
    ("zsh", "_tracer"),
    ("fish", "tracer.fish"),
];

pub fn pack(release: &Release) -> Result<()> {
    let name = format!("tracer-{VERSION}-x86_64-linux");
    let stage = Stage::new(release.work.join("tarball"), release.epoch)?;
    let path = |path: &str| format!("{name}/{path}");
    stage.executable(&path("tracer"), std::fs::read(&release.binary)?)?;
    for file in LICENCES.into_iter().chain(["README.md", "CHANGELOG.md"]) {
        stage.file(&path(file), source(file)?)?;
    }
    stage.file(&path(THIRD_PARTY), &release.licences)?;
    stage.file(&path("events.schema.json"), release.says(&["schema"])?)?;
    stage.file(&path("tracer.8"), release.says(&["gen", "man"])?)?;
    stage.file(&path("tracer.toml"), release.says(&["gen", "config"])?)?;
    for (shell, file) in COMPLETIONS {
        let completions = release.says(&["gen", "completions", shell])?;
        stage.file(&path(&format!("completions/{shell}/{file}")), completions)?;
    }
    for file in ["systemd/tracer.service", "logrotate.d/tracer", "Dockerfile"] {
        stage.file(&path(file), source(&format!("deploy/{file}"))?)?;
    }
    let tar = release.out.join(format!("{name}.tar"));
    stage.tar(&name, &tar)?;
    stage::gzip(&tar)
}
