//! Calling cargo on this workspace, and reading from its messages what it built.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

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

/// An executable that cargo built.
#[derive(Debug, PartialEq, Eq)]
pub struct Built {
    /// The folder of its package.
    pub package: PathBuf,
    /// The target's name: of a binary, a library or a file in tests/.
    pub target: String,
    pub file: PathBuf,
    /// It runs tests, rather than being what they test.
    pub tests: bool,
}

impl Built {
    /// `tracer/live` for the target live of the package in tracer/.
    pub fn name(&self) -> String {
        let package = self
            .package
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        if package == self.target.as_str() {
            self.target.clone()
        } else {
            format!("{package}/{}", self.target)
        }
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
                file: text(&message["executable"])?.into(),
                tests: message["profile"]["test"] == true,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_executables_count() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","manifest_path":"/w/tracer/Cargo.toml","target":{"name":"live"},"profile":{"test":true},"executable":"/t/live-1"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","manifest_path":"/w/a/Cargo.toml","target":{"name":"a"},"profile":{"test":false},"executable":null}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        let built = built(messages);
        assert_eq!(
            built,
            [Built {
                package: "/w/tracer".into(),
                target: "live".into(),
                file: "/t/live-1".into(),
                tests: true
            }]
        );
        assert_eq!(built[0].name(), "tracer/live");
    }
}
