//! A Docker daemon of a test's own, with everything in a folder of its own.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    folder::Folder,
    needs::{Need, find},
    netns::{Netns, run},
};

pub const NEEDS: [Need; 4] = [
    Need::Program("dockerd"),
    Need::Program("docker"),
    Need::Program("busybox"),
    Need::Program("tar"),
];

/// And what it needs for networks.
pub const NETWORK_NEEDS: [Need; 6] = [
    NEEDS[0],
    NEEDS[1],
    NEEDS[2],
    NEEDS[3],
    Need::Program("ip"),
    Need::Program("iptables"),
];

/// The image that [`Docker::import_busybox`] makes.
pub const BUSYBOX: &str = "busybox:lab";

pub struct Docker {
    daemon: Child,
    host: String,
    folder: Folder,
}

impl Docker {
    /// Without networks, so without firewall rules.
    pub fn start() -> Docker {
        Docker::start_as(
            Command::new(find("dockerd").expect("a need")),
            &["--iptables=false", "--bridge=none"],
        )
    }

    /// As a host that has nothing but this namespace: bridges and rules are made in there.
    pub fn start_in(netns: &Netns) -> Docker {
        let dockerd = find("dockerd").expect("a need");
        let dockerd = dockerd.to_str().expect("a path of Debian's");
        Docker::start_as(netns.command(dockerd), &[])
    }

    fn start_as(mut dockerd: Command, args: &[&str]) -> Docker {
        let folder = Folder::new();
        let host = format!("unix://{}", folder.file("socket").display());
        let daemon = dockerd
            .args(args)
            .arg("--storage-driver=vfs")
            .args(["--host", &host])
            .arg("--data-root")
            .arg(folder.file("data"))
            .arg("--exec-root")
            .arg(folder.file("exec"))
            .arg("--pidfile")
            .arg(folder.file("pid"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.file("log")).expect("the folder is ours"))
            .spawn()
            .expect("dockerd");
        let docker = Docker {
            daemon,
            host,
            folder,
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !docker.try_run(&["version"]).0 {
            let log = fs::read_to_string(docker.folder.file("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "dockerd does not answer:\n{log}");
            sleep(Duration::from_millis(200));
        }
        docker
    }

    /// The client, as a command of its own.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(["--host", &self.host]).args(args);
        command.stdin(Stdio::null());
        command
    }

    /// Where the containerd listens that it has started.
    pub fn containerd(&self) -> PathBuf {
        self.folder.file("exec/containerd/containerd.sock")
    }

    /// Where it keeps its containers.
    pub fn containers(&self) -> PathBuf {
        self.folder.file("data/containers")
    }

    pub fn try_run(&self, args: &[&str]) -> (bool, String) {
        let output = self.command(args).output().expect("docker");
        let text = if output.status.success() {
            output.stdout
        } else {
            output.stderr
        };
        (
            output.status.success(),
            String::from_utf8_lossy(&text).trim().to_owned(),
        )
    }

    pub fn run(&self, args: &[&str]) -> String {
        let (good, text) = self.try_run(args);
        assert!(good, "docker {args:?}: {text}");
        text
    }

    /// An image of busybox alone.
    pub fn import_busybox(&self) {
        let root = self.folder.file("busybox");
        fs::create_dir_all(root.join("bin")).expect("the folder is ours");
        fs::copy(find("busybox").expect("a need"), root.join("bin/busybox")).expect("a copy");
        for name in ["sh", "nc", "sleep"] {
            symlink("busybox", root.join("bin").join(name)).expect("a link");
        }
        self.import(&root, BUSYBOX);
    }

    /// An image of one program and the libraries that it needs.
    pub fn import_program(&self, program: &Path, name: &str) {
        let root = self.folder.file(&name.replace(':', "-"));
        let list = Command::new("ldd").arg(program).output();
        let list = list.expect("ldd comes with the C library").stdout;
        let list = String::from_utf8_lossy(&list).into_owned();
        let libraries = list.split_whitespace().filter(|word| word.starts_with('/'));
        for file in libraries.map(Path::new).chain([program]) {
            let copy = root.join(file.strip_prefix("/").expect("an absolute path"));
            fs::create_dir_all(copy.parent().expect("a file in a folder"))
                .expect("the folder is ours");
            fs::copy(file, &copy).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        }
        self.import(&root, name);
    }

    /// Starts a container; the last arguments are image and command.
    pub fn start_container(&self, args: &[&str]) -> Container<'_> {
        let id = self.run(&[&["run", "--detach"], args].concat());
        let pid = self.run(&["inspect", "--format={{.State.Pid}}", &id]);
        Container {
            docker: self,
            id,
            pid: pid.parse().expect("a pid"),
        }
    }

    /// An image of a folder.
    pub fn import(&self, root: &Path, name: &str) {
        let file = self.folder.file("image.tar").display().to_string();
        run(
            Command::new("tar")
                .args(["-cf", &file, "-C"])
                .arg(root)
                .arg("."),
            "",
        );
        self.run(&["import", &file, name]);
    }
}

pub struct Container<'a> {
    docker: &'a Docker,
    pub id: String,
    /// Of its first process.
    pub pid: i32,
}

impl Container<'_> {
    pub fn says(&self, text: &str, patience: Duration) {
        let deadline = Instant::now() + patience;
        while !self.docker.run(&["logs", &self.id]).contains(text) {
            assert!(Instant::now() < deadline, "`{text}` was to be said");
            sleep(Duration::from_millis(50));
        }
    }

    /// Waits for its end; what it has said on standard output.
    pub fn output(&self) -> String {
        self.docker.run(&["wait", &self.id]);
        self.docker.run(&["logs", &self.id])
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let _ = self.docker.try_run(&["rm", "--force", &self.id]);
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.daemon.id() as i32), Signal::SIGTERM);
        let _ = self.daemon.wait();
    }
}
