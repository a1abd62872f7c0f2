//! Network namespaces without a name: each lives as long as somebody has it open, so nothing stays behind, however
//! the test ends.

use std::{
    fs::File,
    io::Write,
    net::{SocketAddr, TcpStream},
    os::fd::{AsFd, AsRawFd},
    os::unix::fs::MetadataExt,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, setns, unshare};

pub struct Netns {
    file: File,
}

impl Netns {
    /// A new, empty namespace; loopback is down.
    pub fn new() -> Netns {
        let file = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("unshare(CLONE_NEWNET) needs root");
            File::open("/proc/thread-self/ns/net").expect("/proc")
        })
        .join()
        .expect("the thread that makes a namespace");
        Netns { file }
    }

    /// As records name it.
    pub fn inode(&self) -> u64 {
        self.file.metadata().expect("fstat of a namespace").ino()
    }

    /// Where another process can open it, while this one lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// A command that will run in this namespace; its pid is that of the child.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        self.take_in(&mut command);
        command
    }

    /// What this command starts will run in this namespace.
    pub fn take_in(&self, command: &mut Command) {
        let file = self.file.try_clone().expect("dup of a namespace");
        // SAFETY: setns is a bare system call, safe between fork and exec.
        unsafe {
            command.pre_exec(move || Ok(setns(file.as_fd(), CloneFlags::CLONE_NEWNET)?));
        }
    }

    /// Runs `body` on a thread in this namespace.
    pub fn within<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET).expect("setns needs root");
                body()
            });
            inside.join().expect("the body does not panic")
        })
    }

    /// Waits until somebody accepts connections on that port of 127.0.0.1.
    pub fn wait_for_listener(&self, port: u16) {
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        self.wait_for("a listener", || {
            self.within(|| TcpStream::connect(addr).is_ok())
        });
    }

    pub fn wait_for(&self, what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !done() {
            assert!(Instant::now() < deadline, "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs a command to its end; a failure ends the test with what it said.
    pub fn run(&self, line: &str) {
        let mut words = line.split_whitespace();
        let program = words.next().expect("a command");
        run(self.command(program).args(words), "");
    }

    /// Feeds a script to a program's standard input.
    pub fn feed(&self, line: &str, script: &str) {
        let mut words = line.split_whitespace();
        let program = words.next().expect("a command");
        run(self.command(program).args(words), script);
    }

    /// `ip -batch`.
    pub fn ip(&self, script: &str) {
        self.feed("ip -batch -", script);
    }

    /// `nft -f`.
    pub fn nft(&self, script: &str) {
        self.feed("nft -f -", script);
    }
}

/// Runs a command with that input; panics with its output if it fails.
pub fn run(command: &mut Command, input: &str) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(input.as_bytes())
        .expect("the program reads its input");
    let output = child.wait_with_output().expect("waiting for a command");
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n{input}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}
