//! The file system of a guest: busybox, the programs under test and those that they drive, with their libraries, and the
//! kernel's modules.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{Options, guest::Programs, jobs::Part, kernel::Kernel, modules};
use crate::{
    cargo::workspace,
    command::{self, shown},
};

/// Taken along where they are installed here; a test that misses one says so.
const DRIVEN: &[&str] = &[
    "bash",
    "ip",
    "tc",
    "ss",
    "nft",
    "iptables",
    "curl",
    "bpftool",
    "nginx",
    "haproxy",
    "apache2",
    "setpriv",
    "jq",
    "logrotate",
    "zsh",
    "fish",
    "/usr/bin/python3",
];

/// So are these, which some of them load, and what is written for one of them. Python's own folder has its version's name.
const LOADED: &[&str] = &[
    "/usr/lib/python3",
    "/usr/bin/gunicorn",
    "/usr/lib/x86_64-linux-gnu/xtables",
    "/usr/lib/apache2/modules",
    "/usr/lib/x86_64-linux-gnu/zsh",
    "/usr/share/zsh",
    "/usr/share/fish",
];

/// Of the project, what tests read, at the place where they were built.
const READ: &[&str] = &[
    "deploy",
    "tracer/tests/recordings",
    "tracer/tests/live/fleet",
];

const BUSYBOX: &str = "/bin/busybox";

/// Where the init script looks for what it runs.
const TRACER: &str = "opt/tracer";
const LIVE: &str = "opt/live";
const FILTER: &str = "opt/filter";
const MATCH: &str = "opt/match";
const ENVIRONMENT: &str = "opt/environment";
const HOOKS: &str = "opt/hooks";
const MODULES: &str = "opt/modules";

const FOLDERS: &[&str] = &[
    "dev",
    "etc",
    "opt",
    "proc",
    "root",
    "run",
    "sys",
    "tmp",
    "usr/bin",
    "usr/lib",
    "usr/lib64",
    "var/log",
    "var/lib",
];

/// Every place where a program or a library is looked for leads to /usr; the kernel looks in /sbin for its helpers.
const LINKS: &[(&str, &str)] = &[
    ("bin", "usr/bin"),
    ("sbin", "usr/bin"),
    ("usr/sbin", "bin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
];

/// Some programs look their user up.
const USERS: &str = "root:x:0:0::/root:/bin/sh\nwww-data:x:33:33::/tmp:/bin/sh\nnobody:x:65534:65534::/tmp:/bin/sh\n";
const GROUPS: &str = "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n";

/// Builds it below `place` and returns the packed file.
pub fn build(
    kernel: &Kernel,
    part: Part,
    programs: &Programs,
    options: &Options,
    place: &Path,
) -> Result<PathBuf> {
    let root = place.join("root");
    for folder in FOLDERS {
        let folder = root.join(folder);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    for (link, to) in LINKS {
        symlink(to, root.join(link)).with_context(|| format!("cannot link {link}"))?;
    }
    let init = root.join("init");
    write(&init, include_str!("init.sh"))?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", init.display()))?;
    let lines = |words: &[&str]| {
        words
            .iter()
            .map(|word| format!("{word}\n"))
            .collect::<String>()
    };
    let (how, names) = options.tests();
    write(&root.join(FILTER), &lines(&names))?;
    write(&root.join(MATCH), how)?;
    write(&root.join(ENVIRONMENT), &options.environment(part))?;
    write(&root.join(HOOKS), &lines(&options.families()))?;
    write(&root.join("etc/passwd"), USERS)?;
    write(&root.join("etc/group"), GROUPS)?;
    copy(Path::new(BUSYBOX), &root.join("bin/busybox"))?;
    strip(&programs.tracer, &root.join(TRACER))?;
    strip(&programs.live, &root.join(LIVE))?;
    let mut libraries = libraries(&programs.tracer)?;
    libraries.extend(self::libraries(&programs.live)?);
    for name in DRIVEN {
        if let Some(program) = command::find(name) {
            let name = program.file_name().context("a program has a name")?;
            copy(&program, &root.join("bin").join(name))?;
            libraries.extend(self::libraries(&program)?);
        }
    }
    // The few tests need none of it.
    let loaded = if options.smoke { Vec::new() } else { loaded() };
    for loaded in loaded {
        let to = root.join(loaded.strip_prefix("/").unwrap_or(&loaded));
        let folder = to.parent().context("what is loaded is in a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        // Python takes what it compiled before only with the time of its source.
        command::read(Command::new("cp").arg("-a").arg(&loaded).arg(folder))?;
        libraries.extend(of_modules(&loaded)?);
    }
    for library in libraries {
        let to = root.join(library.strip_prefix("/").unwrap_or(&library));
        copy(&library, &to)?;
    }
    if let Some(folder) = &kernel.modules {
        modules::copy(folder, &root.join(MODULES))?;
    }
    let packed = pack(&root, place)?;
    fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))?;
    Ok(packed)
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().context("a file is in a folder")?;
    fs::create_dir_all(folder)
        .and_then(|()| fs::copy(from, to).map(|_| ()))
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

/// Most of a binary is what a debugger needs, and a guest's files are its memory.
fn strip(from: &Path, to: &Path) -> Result<()> {
    command::read(Command::new("strip").arg("-o").arg(to).arg(from)).map(|_| ())
}

/// The shared libraries of a program, loader included, at the paths where it looks for them.
fn libraries(program: &Path) -> Result<BTreeSet<PathBuf>> {
    Ok(in_ldd(&command::read(Command::new("ldd").arg(program))?))
}

fn loaded() -> Vec<PathBuf> {
    let python = fs::canonicalize("/usr/bin/python3").unwrap_or_default();
    let python = python
        .file_name()
        .map(|name| Path::new("/usr/lib").join(name));
    let read = READ.iter().map(|path| workspace().join(path));
    let all = LOADED.iter().map(PathBuf::from).chain(python).chain(read);
    all.filter(|path| path.exists()).collect()
}

/// The libraries of what a program loads while it runs.
fn of_modules(folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut find = Command::new("find");
    find.arg(folder)
        .args(["-type", "f", "-name", "*.so", "-exec", "ldd", "{}", "+"]);
    Ok(in_ldd(&command::read(&mut find)?))
}

fn in_ldd(text: &str) -> BTreeSet<PathBuf> {
    text.lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        // `FILE:` heads what is said of one of several.
        .filter(|word| !word.ends_with(':'))
        .map(PathBuf::from)
        .collect()
}

fn pack(root: &Path, place: &Path) -> Result<PathBuf> {
    let file = place.join("initramfs");
    let mut command = Command::new("sh");
    command
        .args(["-c", "busybox find . | busybox cpio -o -H newc > \"$0\""])
        .arg(&file)
        .current_dir(root);
    let output = command::capture(&mut command)?;
    if !output.status.success() {
        bail!(
            "{} ended with {}\n{}",
            shown(&command),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_taken_from_where_the_loader_finds_them() {
        let text = "/usr/bin/a:\n\tlinux-vdso.so.1 (0x00007)\n\tlibm.so.6 => /lib/x/libm.so.6 (0x00007)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007)\n";
        let found: Vec<_> = in_ldd(text).into_iter().collect();
        assert_eq!(
            found,
            [
                PathBuf::from("/lib/x/libm.so.6"),
                PathBuf::from("/lib64/ld-linux-x86-64.so.2")
            ]
        );
    }
}
