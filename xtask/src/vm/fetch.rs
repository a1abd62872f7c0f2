//! Debian's kernels, by the machine's own apt: its archives, its keys and its proxies, but with another suite and in a
//! root of its own, so that the machine's package lists stay as they are.

use std::{
    cmp::Ordering,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::kernel::{Kernel, Release};
use crate::command::{self, say};

/// Of the package debian-archive-keyring; without it apt takes the keys that it trusts for everything.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The kernel of a release, fetched unless it is here already.
pub fn kernel(release: &Release, folder: &Path, refresh: bool) -> Result<Kernel> {
    let place = folder.join("kernels").join(release.version);
    if refresh && place.exists() {
        fs::remove_dir_all(&place).with_context(|| format!("cannot empty {}", place.display()))?;
    }
    if !place.exists() {
        say(format!(
            "fetching Linux {} ({})",
            release.version, release.suite
        ));
        fetch(release, folder, &place)
            .with_context(|| format!("cannot fetch Linux {}", release.version))?;
    }
    found(release.version, &place)
}

/// What is complete gets its place; until then it lies beside it.
fn fetch(release: &Release, folder: &Path, place: &Path) -> Result<()> {
    let apt = Apt::new(release.suite, &folder.join("apt").join(release.suite))?;
    let packages = apt.packages(release.version)?;
    let unfinished = place.with_file_name(format!("{}.part", release.version));
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)
            .with_context(|| format!("cannot empty {}", unfinished.display()))?;
    }
    fs::create_dir_all(&unfinished)
        .with_context(|| format!("cannot make {}", unfinished.display()))?;
    command::read(
        apt.get()
            .arg("download")
            .args(&packages)
            .current_dir(&unfinished),
    )?;
    for deb in listed(&unfinished)? {
        command::read(
            Command::new("dpkg-deb")
                .arg("-x")
                .arg(&deb)
                .arg(&unfinished),
        )?;
        fs::remove_file(&deb).with_context(|| format!("cannot remove {}", deb.display()))?;
    }
    // depmod knows only this place.
    if !unfinished.join("lib").exists() {
        symlink("usr/lib", unfinished.join("lib")).context("cannot link lib to usr/lib")?;
    }
    let kernel = found(release.version, &unfinished)?;
    let modules = kernel.modules.context("its packages have no modules")?;
    command::read(
        Command::new("depmod").arg("-b").arg(&unfinished).arg(
            modules
                .file_name()
                .context("a folder of modules has a name")?,
        ),
    )?;
    fs::rename(&unfinished, place).with_context(|| format!("cannot make {}", place.display()))
}

/// Image and modules below an unpacked package.
fn found(version: &str, place: &Path) -> Result<Kernel> {
    let modules = listed(&place.join("lib/modules"))?
        .into_iter()
        .next()
        .with_context(|| format!("{} has no lib/modules", place.display()))?;
    let release = modules.file_name().unwrap_or_default().to_string_lossy();
    let image = [
        modules.join("vmlinuz"),
        modules.join("vmlinuz.unsigned"),
        place.join(format!("boot/vmlinuz-{release}")),
    ]
    .into_iter()
    .find(|image| image.is_file())
    .with_context(|| format!("{} has no kernel image", place.display()))?;
    Ok(Kernel {
        name: version.to_owned(),
        image,
        modules: Some(modules),
    })
}

fn listed(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

/// An apt that sees one suite.
struct Apt {
    root: PathBuf,
}

impl Apt {
    fn new(suite: &str, root: &Path) -> Result<Self> {
        for folder in ["parts", "lists/partial", "cache/archives/partial"] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let targets = command::read(Command::new("apt-get").args([
            "indextargets",
            "--format",
            "$(REPO_URI) $(CODENAME) $(COMPONENT)",
            "Created-By: Packages",
        ]))?;
        let sources = sources(&targets, &codename()?, suite);
        ensure!(
            !sources.is_empty(),
            "apt's configuration names no archive of Debian to take {suite} from"
        );
        let file = root.join("parts/kernels.sources");
        fs::write(&file, sources).with_context(|| format!("cannot write {}", file.display()))?;
        let apt = Self {
            root: root.to_owned(),
        };
        // One archive of several may lack the suite: whether the kernel is there is what counts.
        if let Err(error) = command::read(apt.get().arg("update")) {
            say(format!("{error:#}"));
        }
        Ok(apt)
    }

    fn get(&self) -> Command {
        self.command("apt-get")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-q");
        for (key, value) in [
            ("Dir::Etc::sourcelist", PathBuf::from("/dev/null")),
            ("Dir::Etc::sourceparts", self.root.join("parts")),
            ("Dir::State::lists", self.root.join("lists")),
            ("Dir::Cache", self.root.join("cache")),
        ] {
            command.arg("-o").arg(format!("{key}={}", value.display()));
        }
        command
    }

    /// The newest build of a release: one package, or one for the image and one for the modules.
    fn packages(&self, version: &str) -> Result<Vec<String>> {
        let pattern = format!(
            "^linux-(image|binary|binary-unsigned)-{}[.].*-cloud-amd64$",
            version.replace('.', "[.]")
        );
        let found =
            command::read(
                self.command("apt-cache")
                    .args(["search", "--names-only", &pattern]),
            )?;
        newest(&found).with_context(|| format!("apt knows no package linux-image-{version}.*"))
    }
}

/// The suite that the machine itself runs.
fn codename() -> Result<String> {
    let file = "/etc/os-release";
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    text.lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').to_owned())
        .with_context(|| format!("{file} has no VERSION_CODENAME"))
}

/// The machine's archives of its own suite, and of that suite's security, with the suite exchanged.
fn sources(targets: &str, own: &str, suite: &str) -> String {
    let security = format!("{own}-security");
    let signed = if Path::new(KEYRING).exists() {
        format!("Signed-By: {KEYRING}\n")
    } else {
        String::new()
    };
    let mut text = String::new();
    for target in targets.lines() {
        let mut words = target.split(' ');
        let (Some(uri), Some(codename), Some("main")) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let suite = if codename == own {
            suite.to_owned()
        } else if codename == security && !suite.contains('-') {
            format!("{suite}-security")
        } else {
            continue;
        };
        text += &format!("Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: main\n{signed}\n");
    }
    text
}

/// Of the lines `PACKAGE - what it is`.
fn newest(found: &str) -> Option<Vec<String>> {
    let names: Vec<&str> = found
        .lines()
        .filter_map(|line| Some(line.split_once(" - ")?.0))
        .collect();
    let best = |prefix: &str| {
        names
            .iter()
            .filter_map(|name| name.strip_prefix(prefix))
            .filter(|build| build.starts_with(|first: char| first.is_ascii_digit()))
            .max_by(|a, b| by_number(a, b))
    };
    // From 6.19 the image package only names two others. Signed ones come later than unsigned ones.
    let (kind, build) = match (best("linux-binary-"), best("linux-binary-unsigned-")) {
        (Some(signed), Some(unsigned)) if by_number(signed, unsigned).is_lt() => {
            ("binary-unsigned", unsigned)
        }
        (Some(signed), _) => ("binary", signed),
        (None, Some(unsigned)) => ("binary-unsigned", unsigned),
        (None, None) => return Some(vec![format!("linux-image-{}", best("linux-image-")?)]),
    };
    Some(vec![
        format!("linux-{kind}-{build}"),
        format!("linux-modules-{build}"),
    ])
}

/// Compares names number by number.
fn by_number(a: &str, b: &str) -> Ordering {
    let numbers = |name: &str| -> Vec<u64> {
        name.split(|c: char| !c.is_ascii_digit())
            .filter_map(|digits| digits.parse().ok())
            .collect()
    };
    numbers(a).cmp(&numbers(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_keep_their_place_and_change_their_suite() {
        let targets = "http://a/debian/ bookworm main\nhttp://a/debian/ bookworm-updates main\n\
                       http://s/sec/ bookworm-security main\nhttp://x/ nodistro main\n\
                       http://a/debian/ bookworm contrib\n";
        let text = sources(targets, "bookworm", "trixie");
        let suites: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("URIs") || line.starts_with("Suites"))
            .collect();
        assert_eq!(
            suites,
            [
                "URIs: http://a/debian/",
                "Suites: trixie",
                "URIs: http://s/sec/",
                "Suites: trixie-security",
            ]
        );
        // Backports have no security suite of their own.
        let text = sources(targets, "bookworm", "trixie-backports");
        assert_eq!(text.matches("Suites:").count(), 1, "{text}");
    }

    #[test]
    fn the_newest_build_is_the_highest_number() {
        let found =
            "linux-image-6.18.9+deb13-cloud-amd64 - a\nlinux-image-6.18.15+deb13-cloud-amd64 - b\n";
        assert_eq!(
            newest(found).unwrap(),
            ["linux-image-6.18.15+deb13-cloud-amd64"]
        );
        assert_eq!(newest(""), None);
    }

    #[test]
    fn later_kernels_come_in_two_packages() {
        let found = "linux-binary-7.2.12+deb13-cloud-amd64 - a\nlinux-image-7.2.12+deb13-cloud-amd64 - b\n\
                     linux-binary-unsigned-7.2.12+deb13-cloud-amd64 - c\n";
        let packages = [
            "linux-binary-7.2.12+deb13-cloud-amd64",
            "linux-modules-7.2.12+deb13-cloud-amd64",
        ];
        assert_eq!(newest(found).unwrap(), packages);
        let found = "linux-binary-unsigned-7.3.4+deb13-cloud-amd64 - c\n";
        let packages = [
            "linux-binary-unsigned-7.3.4+deb13-cloud-amd64",
            "linux-modules-7.3.4+deb13-cloud-amd64",
        ];
        assert_eq!(newest(found).unwrap(), packages);
    }
}
