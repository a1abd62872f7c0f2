//! The Debian package, in a root that has nothing but Debian's essential packages.

use std::{
    collections::BTreeSet,
    env,
    ffi::OsStr,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use super::VERSION;
use crate::lab::{blind_spot::BlindSpot, dist, folder::Folder, netns::run};

/// No error and no warning.
pub fn lintian() {
    let mut command = Command::new("lintian");
    command.args(["--fail-on", "error,warning"]);
    run(command.arg(dist::file(".deb")), "");
}

/// Made once for all runs on this machine: half a minute.
fn bare_root() -> PathBuf {
    let tar = env::temp_dir().join("tracer-live-root.tar");
    if !tar.exists() {
        // Whole or not at all: another run may look.
        let new = tar.with_extension(format!("new-{}.tar", std::process::id()));
        let mut command = Command::new("mmdebstrap");
        command.args(["--quiet", "--variant=essential", "--mode=root"]);
        run(command.arg(release()).arg(&new), "");
        fs::rename(&new, &tar).expect("both are in the temporary folder");
    }
    tar
}

/// This machine's: its configuration says from where to fetch it.
fn release() -> String {
    let text = fs::read_to_string("/etc/os-release").expect("every distribution has it");
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    name.expect("Debian names its releases").to_owned()
}

struct Root {
    folder: Folder,
}

impl Root {
    fn new() -> Root {
        let folder = Folder::new();
        let mut command = Command::new("tar");
        command.args(["-xpf"]).arg(bare_root());
        run(command.arg("-C").arg(folder.path()), "");
        Root { folder }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.file(path.trim_start_matches('/'))
    }

    fn run(&self, program: &str, args: &[&str]) {
        let mut command = Command::new("chroot");
        command.arg(self.folder.path()).arg(program).args(args);
        run(clean(&mut command), "");
    }

    /// With the kernel's file systems, which are gone with the program.
    fn run_on_the_kernel(&self, line: &str) -> String {
        let script = "mount --rbind /proc \"$0/proc\" && mount --rbind /sys \"$0/sys\" && exec chroot \"$0\" $1";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script]);
        command.arg(self.folder.path()).arg(line);
        let output = clean(&mut command).output().expect("unshare is essential");
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Every file, but what dpkg itself writes.
    fn files(&self) -> BTreeSet<PathBuf> {
        let mut files = BTreeSet::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("the root").flatten() {
                let path = entry.path();
                let inside = path.strip_prefix(self.folder.path()).expect("below it");
                if inside.starts_with("var/lib/dpkg") || inside == Path::new("var/log/dpkg.log") {
                    continue;
                }
                files.insert(inside.to_owned());
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                }
            }
        }
        files
    }
}

fn clean(command: &mut Command) -> &mut Command {
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C.UTF-8")
}

pub fn installs_runs_and_leaves_nothing() {
    let root = Root::new();
    let before = root.files();
    fs::copy(dist::file(".deb"), root.path("tmp/tracer.deb")).expect("a copy");
    let install = || root.run("dpkg", &["--install", "/tmp/tracer.deb"]);

    install();
    root.run("sh", &["-c", "test -z \"$(dpkg --verify tracer)\""]);
    root.run(
        "sh",
        &[
            "-c",
            "test \"$(dpkg-query -Wf '${Version}' tracer)\" = \"$0\"",
            VERSION,
        ],
    );
    root.run(
        "tracer",
        &["--config", "/etc/tracer/tracer.toml", "--version"],
    );
    let enabled = root.path("etc/systemd/system/multi-user.target.wants/tracer.service");
    assert!(!enabled.exists(), "nothing starts without being asked for");
    let is_told = |demo: &str| {
        let told = ["fin_peer_rst", "EPIPE", "demo-client"];
        told.iter().all(|text| demo.contains(text))
    };
    let blind_spot = BlindSpot::watch();
    for missed in 0.. {
        let demo = root.run_on_the_kernel("tracer demo");
        if is_told(&demo) {
            break;
        }
        // Another one for each that this machine is known to have hidden.
        let seen = blind_spot.as_ref().map(BlindSpot::seen);
        let hidden = seen.map_or(0, |seen| seen.len());
        assert!(missed < hidden, "{demo}");
    }

    // An administrator's changes, the choice to enable it included, survive an upgrade.
    let config = root.path("etc/tracer/tracer.toml");
    let changed = fs::read_to_string(&config).expect("a conffile") + "abnormal = true\n";
    fs::write(&config, &changed).expect("the root is ours");
    // As systemctl does, which is not here.
    fs::create_dir_all(enabled.parent().expect("a folder")).expect("the root is ours");
    symlink("/usr/lib/systemd/system/tracer.service", &enabled).expect("the root is ours");
    assert!(enabled.symlink_metadata().is_ok());
    install();
    assert_eq!(fs::read_to_string(&config).expect("a conffile"), changed);
    assert!(enabled.symlink_metadata().is_ok());
    root.run(
        "tracer",
        &["--config", "/etc/tracer/tracer.toml", "--version"],
    );

    // What belongs to the administrator goes with the purge.
    let log = root.path("var/log/tracer/events.ndjson");
    fs::create_dir_all(log.parent().expect("a folder")).expect("the root is ours");
    fs::write(&log, "{}\n").expect("the root is ours");
    root.run("dpkg", &["--remove", "tracer"]);
    assert!(!root.path("usr/bin/tracer").exists());
    assert!(config.exists() && log.exists());
    root.run("dpkg", &["--purge", "tracer"]);
    fs::remove_file(root.path("tmp/tracer.deb")).expect("the root is ours");
    let after = root.files();
    let left: Vec<&PathBuf> = after
        .difference(&before)
        // Folders that systemd's packages would own.
        .filter(|path| path.extension() != Some(OsStr::new("wants")))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(before.is_subset(&after));
}
