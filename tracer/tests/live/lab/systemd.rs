//! A real systemd that is not this machine's: a user's manager, run by root in a mount namespace, with a unit of ours. It
//! has all the sandboxing of the system's manager.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::needs::Need;

pub const NEEDS: [Need; 6] = [
    Need::File(MANAGER),
    Need::Program("systemctl"),
    Need::Program("nsenter"),
    Need::Program("unshare"),
    Need::Program("setpriv"),
    Need::Program("ip"),
];

const MANAGER: &str = "/lib/systemd/systemd";

/// Where its units and sockets are: not below /run/user, which ProtectHome= closes.
const RUNTIME: &str = "/run/manager";

/// $1: the folder for what it is to run, $2: the name of its cgroup.
const BEGIN: &str = r#"
set -e
for top in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
    [ -e $top/cgroup.procs ] || continue
    mkdir -p $top/$2
    echo $$ > $top/$2/cgroup.procs
done
mount --make-rprivate /
mount -t tmpfs tmpfs /run
# What PID 1 of a system makes.
mkdir -p /run/systemd/system /run/systemd/unit-root /run/systemd/inaccessible/dir
cd /run/systemd/inaccessible
touch reg
mkfifo fifo
mknod chr c 0 0
mknod blk b 0 0
touch sock
mkdir -p /run/lab $XDG_RUNTIME_DIR/systemd
cp -r $1/. /run/lab
ln -s /run/lab $XDG_RUNTIME_DIR/systemd/user
exec setpriv --pdeathsig TERM /lib/systemd/systemd --user --unit=lab.target
"#;

pub struct Systemd {
    child: std::process::Child,
    cgroup: String,
}

impl Systemd {
    /// What is in the folder is in /run/lab then, units too.
    pub fn start(folder: &Path) -> Systemd {
        let cgroup = format!("tracer-lab-{}", std::process::id());
        fs::write(folder.join("lab.target"), "[Unit]\nDescription=Lab\n").expect("our folder");
        let child = Command::new("unshare")
            .args(["--mount", "bash", "-c", BEGIN, "bash"])
            .arg(folder)
            .arg(&cgroup)
            .env("XDG_RUNTIME_DIR", RUNTIME)
            .env("HOME", "/run/lab")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("manager.log")).expect("our folder"))
            .process_group(0)
            .spawn()
            .expect("a need");
        let systemd = Systemd { child, cgroup };
        let deadline = Instant::now() + Duration::from_secs(30);
        while systemd.ctl(&["is-active", "lab.target"]).is_err() {
            let log = fs::read_to_string(folder.join("manager.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "systemd does not begin:\n{log}");
            sleep(Duration::from_millis(50));
        }
        systemd
    }

    /// `systemctl`, and what it said.
    pub fn ctl(&self, args: &[&str]) -> Result<String, String> {
        let output = Command::new("nsenter")
            .args(["--mount", "--target", &self.child.id().to_string()])
            .args(["env", &format!("XDG_RUNTIME_DIR={RUNTIME}")])
            .args(["systemctl", "--user", "--no-pager"])
            .args(args)
            .output()
            .expect("a need");
        let text = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stdout) + &text(&output.stderr)),
        }
    }

    pub fn must(&self, args: &[&str]) -> String {
        self.ctl(args)
            .unwrap_or_else(|error| panic!("systemctl {args:?}: {error}"))
    }

    /// A property of a unit.
    pub fn show(&self, unit: &str, property: &str) -> String {
        self.must(&["show", unit, "--value", "-p", property])
    }

    /// /run/lab as it is there.
    pub fn lab(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root/run/lab", self.child.id()))
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // It stops its units first.
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(20);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        for top in ["", "systemd", "unified"] {
            remove(&Path::new("/sys/fs/cgroup").join(top).join(&self.cgroup));
        }
    }
}

/// A cgroup and those in it.
fn remove(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(cgroup);
}
