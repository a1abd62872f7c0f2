//! Real servers and clients: a program in a namespace, its output, and its end with the test.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{folder::Folder, netns::run};

pub struct Program {
    child: Child,
    output: Arc<Mutex<Vec<String>>>,
}

impl Program {
    pub fn start(command: &mut Command) -> Program {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = Arc::new(Mutex::new(Vec::new()));
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let lines = Arc::clone(&output);
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                lines.lock().expect("not poisoned").push(line);
            }
        });
        Program { child, output }
    }

    pub fn pid(&self) -> i64 {
        self.child.id().into()
    }

    /// What it has said so far.
    pub fn said(&self) -> Vec<String> {
        self.output.lock().expect("not poisoned").clone()
    }

    pub fn says(&self, text: &str, patience: Duration) -> String {
        let deadline = Instant::now() + patience;
        loop {
            let output = self.output.lock().expect("not poisoned").clone();
            if let Some(line) = output.iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            assert!(
                Instant::now() < deadline,
                "`{text}` was to be said, but: {output:?}"
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Until it ends by itself. Returns whether it was content.
    pub fn wait(&mut self) -> bool {
        self.child.wait().expect("waiting for a program").success()
    }

    pub fn end(&mut self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), signal);
        self.child.wait().expect("waiting for a program");
    }
}

impl Drop for Program {
    /// With its workers: those of nginx and Apache outlive a master that is killed.
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let pid = self.child.id();
        let workers = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let _ = self.child.kill();
        let _ = self.child.wait();
        for worker in workers.unwrap_or_default().split_whitespace() {
            let worker = worker.parse().expect("a pid");
            let _ = kill(Pid::from_raw(worker), Signal::SIGKILL);
        }
    }
}

/// Compiles a Go program with what Debian packages, without a module and without the network.
pub fn build_go(folder: &Folder, name: &str, source: &str) -> PathBuf {
    let file = folder.file(&format!("{name}.go"));
    fs::write(&file, source).expect("the folder is ours");
    let binary = folder.file(name);
    let mut command = Command::new("go");
    command
        .args(["build", "-o"])
        .arg(&binary)
        .arg(&file)
        .current_dir(folder.path())
        .env("GO111MODULE", "off")
        .env("GOFLAGS", "")
        .env("GOPATH", "/usr/share/gocode")
        .env("GOCACHE", std::env::temp_dir().join("tracer-live-go-cache"));
    run(&mut command, "");
    binary
}
