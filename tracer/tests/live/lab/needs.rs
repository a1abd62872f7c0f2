//! What a test needs of the machine. A test whose needs are not met is reported as ignored, with the reason.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::{debs, dist, kernel, memory, netns::Netns};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A program on the PATH.
    Program(&'static str),
    /// A queueing discipline that the kernel must have.
    Qdisc(&'static str),
    /// A file that must exist.
    File(&'static str),
    /// Debian packages that are unpacked and not installed; the first is the one that counts.
    Debs(&'static [&'static str]),
    /// Packages of npm's registry, as `name@version`.
    Npm(&'static [&'static str]),
    /// Packages of Python's index, with all that they need of others.
    Pip(&'static [&'static str]),
    /// What `cargo xtask dist` makes.
    Dist,
    /// Written permission to change a sysctl of the whole machine for a moment.
    GlobalSysctl,
    /// This variable of the environment: it takes long.
    Asked(&'static str),
    /// Sockets' numbers in the records are the kernel's.
    Cookies,
    /// Calls whose returns are watched by kretprobes.
    Kretprobes,
    /// A cgroup whose memory can be limited.
    MemoryLimit,
    /// A kernel that keeps its memory from root.
    Lockdown,
    /// No other run of these tests meanwhile.
    Alone,
}

/// Says why a test cannot run here; `None`: it can.
pub fn unmet(needs: &[Need]) -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    needs.iter().find_map(|need| match need {
        Need::Program(name) => find(name)
            .is_none()
            .then(|| format!("needs the program {name}")),
        Need::Qdisc(name) => {
            (!has_qdisc(name)).then(|| format!("needs the queueing discipline {name}"))
        }
        Need::File(path) => (!Path::new(path).exists()).then(|| format!("needs {path}")),
        Need::Debs(packages) => debs::unpack(packages).err(),
        Need::Npm(packages) => npm_install(packages).err(),
        Need::Pip(packages) => pip_install(packages).err(),
        Need::Dist => std::env::var_os(dist::VARIABLE).is_none().then(|| {
            format!(
                "needs {} to name the folder that `cargo xtask dist` filled",
                dist::VARIABLE
            )
        }),
        Need::Asked(name) => {
            (std::env::var_os(name).is_none()).then(|| format!("takes long: set {name} to run it"))
        }
        Need::Cookies => (!kernel::gives_cookies()).then(|| {
            "goes by the kernel's socket cookies: from 5.12, and not with --hooks kprobe".to_owned()
        }),
        Need::Kretprobes => (!kernel::by_kretprobes())
            .then(|| "needs kretprobes: a kernel that has them, and LIVE_HOOKS=kprobe".to_owned()),
        Need::Lockdown => {
            let modes = std::fs::read_to_string("/sys/kernel/security/lockdown");
            let locked = modes.is_ok_and(|modes| modes.contains("[confidentiality]"));
            (!locked).then(|| {
                "needs a kernel in lockdown=confidentiality: cargo xtask vm --lockdown".to_owned()
            })
        }
        Need::MemoryLimit => (!memory::can_be_limited())
            .then(|| "needs the memory controller of cgroups, v1 or v2, to be root's".to_owned()),
        Need::Alone => None,
        Need::GlobalSysctl => (std::env::var_os("LIVE_GLOBAL_SYSCTL").is_none()).then(|| {
            "changes a sysctl of the whole machine: set LIVE_GLOBAL_SYSCTL=1 to allow it".to_owned()
        }),
    })
}

/// Where a program is, with the folders that a user's PATH may lack.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Where npm's packages are put: once for all runs on this machine.
pub fn npm_modules() -> PathBuf {
    std::env::temp_dir().join("tracer-live-npm/node_modules")
}

fn npm_install(packages: &[&str]) -> Result<(), String> {
    let npm = find("npm").ok_or("needs the program npm")?;
    let modules = npm_modules();
    let folder = modules.parent().expect("a folder in the temporary one");
    let output = std::fs::create_dir_all(folder).and_then(|()| {
        Command::new(npm)
            .args(["install", "--no-audit", "--no-fund", "--prefer-offline"])
            .args(["--fetch-retries=1", "--fetch-timeout=20000", "--prefix"])
            .arg(folder)
            .args(packages)
            .output()
    });
    let packages = packages.join(" and ");
    let output = output.map_err(|error| format!("needs {packages} from npm: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let why = said.lines().find(|line| line.contains("error"));
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "needs {packages} from npm: {}",
            why.unwrap_or("it cannot install them")
        )),
    }
}

/// Where pip's packages are put: once for all runs on this machine.
pub fn pip_modules() -> PathBuf {
    std::env::temp_dir().join("tracer-live-pip")
}

fn pip_install(packages: &[&str]) -> Result<(), String> {
    let python = find("python3").ok_or("needs the program python3")?;
    let folder = pip_modules();
    if packages
        .iter()
        .all(|package| is_installed(&folder, package))
    {
        return Ok(());
    }
    let output = Command::new(python)
        .args(["-m", "pip", "install", "--quiet", "--no-deps"])
        .args(["--disable-pip-version-check", "--root-user-action=ignore"])
        .args(["--retries=1", "--timeout=20", "--upgrade", "--target"])
        .arg(&folder)
        .args(packages)
        .output();
    let packages = packages.join(" and ");
    let output = output.map_err(|error| format!("needs {packages} from pip: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "needs {packages} from pip: {}",
            said.lines().last().unwrap_or("it cannot install them")
        )),
    }
}

/// pip notes what it has installed as `some_name-1.2.dist-info`.
fn is_installed(folder: &Path, package: &str) -> bool {
    let (name, version) = package.split_once("==").unwrap_or((package, ""));
    let begin = format!("{}-{version}", name.replace('-', "_").to_lowercase());
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().to_lowercase())
        .any(|name| name.starts_with(&begin) && name.ends_with(".dist-info"))
}

fn has_qdisc(name: &str) -> bool {
    let netns = Netns::new();
    let options: &[&str] = match name {
        "tbf" => &["rate", "1mbit", "burst", "2kb", "limit", "1mb"],
        _ => &[],
    };
    let mut command: Command = netns.command("tc");
    command
        .args(["qdisc", "add", "dev", "lo", "root", name])
        .args(options);
    command.output().is_ok_and(|output| output.status.success())
}
