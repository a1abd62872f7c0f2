//! A tree of files on its way into a package: modes and times are those that are said here, whatever the umask.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};

use crate::command;

pub struct Stage {
    root: PathBuf,
    epoch: u64,
}

impl Stage {
    /// An empty one.
    pub fn new(root: PathBuf, epoch: u64) -> Result<Self> {
        fs::create_dir(&root).with_context(|| format!("cannot make {}", root.display()))?;
        Ok(Stage { root, epoch })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn file(&self, path: &str, content: impl AsRef<[u8]>) -> Result<()> {
        self.write(path, content.as_ref(), 0o644)
    }

    pub fn executable(&self, path: &str, content: impl AsRef<[u8]>) -> Result<()> {
        self.write(path, content.as_ref(), 0o755)
    }

    /// As `path`.gz.
    pub fn gzipped(&self, path: &str, content: impl AsRef<[u8]>) -> Result<()> {
        self.file(path, content)?;
        gzip(&self.root.join(path))
    }

    fn write(&self, path: &str, content: &[u8], mode: u32) -> Result<()> {
        let file = self.root.join(path);
        let folder = file.parent().context("a file is in a folder")?;
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&file, content))
            .and_then(|()| fs::set_permissions(&file, Permissions::from_mode(mode)))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// The last thing before it is packed.
    pub fn settle(&self) -> Result<()> {
        let time = UNIX_EPOCH + Duration::from_secs(self.epoch);
        settle(&self.root, time).with_context(|| format!("cannot settle {}", self.root.display()))
    }

    /// As a tar of `what`, which is below the root.
    pub fn tar(&self, what: &str, to: &Path) -> Result<()> {
        self.settle()?;
        let mut command = Command::new("tar");
        command
            .args(["--create", "--format=gnu", "--sort=name"])
            .args(["--owner=0", "--group=0", "--numeric-owner"])
            .arg(format!("--mtime=@{}", self.epoch))
            .arg("--file")
            .arg(to)
            .arg("--directory")
            .arg(&self.root)
            .arg(what);
        command::read(&mut command).map(|_| ())
    }
}

/// Replaces a file by FILE.gz, which remembers neither name nor time.
pub fn gzip(file: &Path) -> Result<()> {
    command::read(
        Command::new("gzip")
            .args(["-9", "--no-name", "--"])
            .arg(file),
    )
    .map(|_| ())
}

fn settle(place: &Path, time: std::time::SystemTime) -> std::io::Result<()> {
    if place.is_dir() {
        fs::set_permissions(place, Permissions::from_mode(0o755))?;
        for entry in fs::read_dir(place)? {
            settle(&entry?.path(), time)?;
        }
    }
    File::open(place)?.set_modified(time)
}
