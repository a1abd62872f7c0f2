//! Which kernels are meant: releases of the matrix, or files.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::fetch;

/// A release and the suite of Debian that has it.
pub struct Release {
    pub version: &'static str,
    pub suite: &'static str,
}

/// Oldest first.
pub const MATRIX: [Release; 5] = [
    Release {
        version: "5.10",
        suite: "bullseye",
    },
    Release {
        version: "6.1",
        suite: "bookworm",
    },
    Release {
        version: "6.12",
        suite: "trixie",
    },
    Release {
        version: "6.18",
        suite: "trixie-backports",
    },
    Release {
        version: "7.3",
        suite: "trixie-backports",
    },
];

/// A kernel that is here.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// Heads its column, and names the folder of its run.
    pub name: String,
    pub image: PathBuf,
    /// `lib/modules/RELEASE`; without it only what is built in can be tested.
    pub modules: Option<PathBuf>,
}

pub enum Wanted {
    Release(&'static Release),
    File(PathBuf),
}

/// Everything is looked at before anything is fetched or built.
pub fn wanted(asked: &[String]) -> Result<Vec<Wanted>> {
    if asked.is_empty() {
        return Ok(MATRIX.iter().map(Wanted::Release).collect());
    }
    asked.iter().map(|name| parse(name)).collect()
}

fn parse(name: &str) -> Result<Wanted> {
    if let Some(release) = MATRIX.iter().find(|release| release.version == name) {
        return Ok(Wanted::Release(release));
    }
    let file = PathBuf::from(name);
    if !file.is_file() {
        let versions: Vec<_> = MATRIX.iter().map(|release| release.version).collect();
        bail!(
            "--kernel {name}: neither a release of the matrix ({}) nor the file of a kernel image",
            versions.join(", ")
        );
    }
    Ok(Wanted::File(file))
}

impl Wanted {
    pub fn get(&self, folder: &Path, refresh: bool) -> Result<Kernel> {
        match self {
            Self::Release(release) => fetch::kernel(release, folder, refresh),
            Self::File(file) => Ok(from_file(file)),
        }
    }
}

/// An image as distributions install it, `boot/vmlinuz-RELEASE`, has its modules nearby.
fn from_file(image: &Path) -> Kernel {
    let file_name = image.file_name().unwrap_or_default().to_string_lossy();
    let release = file_name
        .strip_prefix("vmlinuz-")
        .unwrap_or(&file_name)
        .to_owned();
    let root = image.parent().and_then(Path::parent);
    let modules = root.and_then(|root| {
        ["lib/modules", "usr/lib/modules"]
            .map(|place| root.join(place).join(&release))
            .into_iter()
            .find(|place| place.is_dir())
    });
    Kernel {
        name: release,
        image: image.to_owned(),
        modules,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_choice_it_is_the_whole_matrix() {
        assert_eq!(wanted(&[]).unwrap().len(), MATRIX.len());
    }

    #[test]
    fn what_is_neither_release_nor_file_is_refused_with_the_releases() {
        let error = wanted(&["6.2".to_owned()]).err().unwrap().to_string();
        assert!(
            error.contains("--kernel 6.2") && error.contains("6.12"),
            "{error}"
        );
    }

    #[test]
    fn a_file_is_a_kernel_of_its_release() {
        let image = env!("CARGO_MANIFEST_DIR").to_owned() + "/Cargo.toml";
        let Wanted::File(file) = parse(&image).unwrap() else {
            panic!("taken for a release");
        };
        let kernel = from_file(&file);
        assert_eq!((kernel.name.as_str(), kernel.modules), ("Cargo.toml", None));
    }
}
