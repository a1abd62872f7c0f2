//! Calling cargo on this workspace, and reading from its messages what it built.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::command::{self, shown};

/// The checkout this xtask was built in.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace")
}

/// The cargo that started us, in the workspace.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// Builds tracer, with what `set` does to the command, and returns where it is.
pub fn build_tracer(args: &[&str], set: impl FnOnce(&mut Command)) -> Result<PathBuf> {
    let mut command = cargo();
    command
        .args(["build", "--package", "tracer"])
        .args(args)
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit());
    set(&mut command);
    let output = command::capture(&mut command)?;
    if !output.status.success() {
        bail!("{} ended with {}", shown(&command), output.status);
    }
    built(&String::from_utf8_lossy(&output.stdout))
        .into_iter()
        .find(|built| built.target == "tracer")
        .map(|built| built.file)
        .with_context(|| format!("{} named no executable", shown(&command)))
}

/// An executable that cargo built.
#[derive(Debug, PartialEq, Eq)]
pub struct Built {
    /// The folder of its package.
    pub package: PathBuf,
    /// The target's name: of a binary, a library or a file in tests/.
    pub target: String,
    /// `lib`, `bin`, `test`.
    pub kind: String,
    pub file: PathBuf,
    /// It runs tests, rather than being what they test.
    pub tests: bool,
}

impl Built {
    /// The package and which of its targets: `tracer lib`, `tracer bin`, `tracer live`.
    pub fn name(&self) -> String {
        let package = self
            .package
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let of_package = package.replace('-', "_") == self.target.replace('-', "_");
        let target = if of_package { &self.kind } else { &self.target };
        format!("{package} {target}")
    }
}

/// What `cargo … --message-format=json-render-diagnostics` says it built.
pub fn built(messages: &str) -> Vec<Built> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| {
            let text = |value: &Value| value.as_str().map(str::to_owned);
            Some(Built {
                package: Path::new(message["manifest_path"].as_str()?)
                    .parent()?
                    .to_owned(),
                target: text(&message["target"]["name"])?,
                kind: text(&message["target"]["kind"][0])?,
                file: text(&message["executable"])?.into(),
                tests: message["profile"]["test"] == true,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(package: &str, target: &str, kind: &str, executable: &str) -> String {
        let profile = kind == "test";
        serde_json::json!({
            "reason": "compiler-artifact",
            "manifest_path": format!("/w/{package}/Cargo.toml"),
            "target": {"name": target, "kind": [kind]},
            "profile": {"test": profile},
            "executable": Some(executable).filter(|file| !file.is_empty()),
        })
        .to_string()
    }

    #[test]
    fn only_executables_count() {
        let messages = [
            artifact("tracer", "live", "test", "/t/live-1"),
            artifact("tracer-common", "tracer_common", "lib", ""),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
            "not JSON".to_owned(),
        ];
        let live = Built {
            package: "/w/tracer".into(),
            target: "live".into(),
            kind: "test".into(),
            file: "/t/live-1".into(),
            tests: true,
        };
        assert_eq!(built(&messages.join("\n")), [live]);
    }

    #[test]
    fn targets_are_told_apart_by_name() {
        let messages = [
            artifact("tracer-common", "tracer_common", "lib", "/t/a"),
            artifact("tracer", "tracer", "bin", "/t/b"),
            artifact("tracer", "live", "test", "/t/c"),
        ];
        let names: Vec<_> = built(&messages.join("\n"))
            .iter()
            .map(Built::name)
            .collect();
        assert_eq!(names, ["tracer-common lib", "tracer bin", "tracer live"]);
    }
}
