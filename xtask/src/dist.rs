//! `cargo xtask dist`: what is given to others, all of one static binary: a Debian package, a tarball, a container image,
//! the JSON Schema and the checksums.
//!
//! The same binary gives the same bytes, wherever and whenever it is packed: files are sorted, belong to root and have the
//! time of SOURCE_DATE_EPOCH, which is that of the commit unless it is set. The same sources give the same binary in a
//! folder of the same name, with the same compilers.

mod binary;
mod debian;
mod image;
mod licences;
mod stage;
mod tarball;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    cargo::workspace,
    command::{self, say},
    toolchain,
};
pub use binary::build;

/// That of the workspace, which is tracer's.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What packs, and the Debian package that has it.
const TOOLS: [(&str, &str); 5] = [
    ("tar", "tar"),
    ("gzip", "gzip"),
    ("sha256sum", "coreutils"),
    ("date", "coreutils"),
    ("dpkg-deb", "dpkg"),
];

#[derive(clap::Args)]
pub struct Options {
    /// Where to put it [default: dist/ in cargo's target folder]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

pub fn dist(options: &Options) -> Result<ExitCode> {
    possible()?;
    let named = options.out.as_deref().map(ours).transpose()?;
    toolchain::ensure()?;
    let binary = build()?;
    let out = named.map_or_else(|| folder(&binary), Ok)?;
    make(&binary, &out)?;
    say(format!("{} has", out.display()));
    print!("{}", sums(&out)?);
    Ok(ExitCode::SUCCESS)
}

/// A folder that is named may be emptied only if there is nothing in it, or packages.
fn ours(out: &Path) -> Result<PathBuf> {
    let has_entries = fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
    if has_entries && !out.join(SUMS).exists() {
        bail!(
            "{} has files that are no packages: name a folder that is empty or not there",
            out.display()
        );
    }
    std::path::absolute(out).context("cannot tell the current folder")
}

/// Fails with what this machine lacks.
pub fn possible() -> Result<()> {
    for (tool, package) in TOOLS {
        if command::find(tool).is_none() {
            bail!("packing needs {tool}: install it (Debian's package is called {package})");
        }
    }
    binary::static_libc()
}

const SUMS: &str = "SHA256SUMS";

/// The checksums of what was packed into a folder.
pub fn sums(out: &Path) -> Result<String> {
    let file = out.join(SUMS);
    fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
}

/// Where packages go unless said otherwise: `binary` is in TARGET/TRIPLE/PROFILE.
pub fn folder(binary: &Path) -> Result<PathBuf> {
    let target = binary.ancestors().nth(3);
    Ok(target
        .context("cargo builds below a target folder")?
        .join("dist"))
}

/// Packs a binary; what was in the folder before is gone.
pub fn make(binary: &Path, out: &Path) -> Result<()> {
    if out.exists() {
        fs::remove_dir_all(out).with_context(|| format!("cannot empty {}", out.display()))?;
    }
    let work = out.join("work");
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let release = Release {
        binary: binary.to_owned(),
        epoch: epoch()?,
        licences: licences::text()?,
        work,
        out: out.to_owned(),
    };
    release.schema()?;
    tarball::pack(&release)?;
    debian::pack(&release)?;
    image::pack(&release)?;
    fs::remove_dir_all(&release.work).context("cannot remove the work folder")?;
    release.sums()
}

/// What is packed.
struct Release {
    binary: PathBuf,
    /// Seconds since 1970: the time of everything in it.
    epoch: u64,
    /// Of everything that is linked into the binary.
    licences: String,
    /// For files on their way.
    work: PathBuf,
    out: PathBuf,
}

impl Release {
    /// What the binary itself prints, such as its man page.
    fn says(&self, args: &[&str]) -> Result<String> {
        command::read(Command::new(&self.binary).args(args))
    }

    fn schema(&self) -> Result<()> {
        let file = self.out.join(format!("tracer-{VERSION}.schema.json"));
        fs::write(&file, self.says(&["schema"])?)
            .with_context(|| format!("cannot write {}", file.display()))
    }

    fn sums(&self) -> Result<()> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.out).context("cannot list the packages")? {
            names.push(entry.context("cannot list the packages")?.file_name());
        }
        names.sort();
        let sums = command::read(
            Command::new("sha256sum")
                .arg("--")
                .args(names)
                .current_dir(&self.out),
        )?;
        fs::write(self.out.join(SUMS), sums).context("cannot write the checksums")
    }
}

/// A file of the checkout.
fn source(path: &str) -> Result<Vec<u8>> {
    let file = workspace().join(path);
    fs::read(&file).with_context(|| format!("cannot read {}", file.display()))
}

fn epoch() -> Result<u64> {
    const VARIABLE: &str = "SOURCE_DATE_EPOCH";
    let text = match env::var(VARIABLE) {
        Ok(text) => text,
        Err(_) => command::read(
            Command::new("git")
                // In a container the checkout may well belong to somebody else.
                .args(["-c", "safe.directory=*", "log", "-1", "--format=%ct"])
                .current_dir(workspace()),
        )
        .with_context(|| {
            format!("no commit tells the time: set {VARIABLE} to seconds since 1970")
        })?,
    };
    text.trim()
        .parse()
        .with_context(|| format!("{VARIABLE} {text:?}: expected seconds since 1970"))
}
