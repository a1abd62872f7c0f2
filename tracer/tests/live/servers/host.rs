//! A host for servers and their clients: a namespace with loopback, a folder, and the programs that run there.

use std::{
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use super::case::TIMES;
use crate::lab::{folder::Folder, netns::Netns, program::Program};

/// Debian's, for which its Python packages are made.
pub const PYTHON: &str = "/usr/bin/python3";

const CLIENT: &str = include_str!("programs/client.py");
const BACKEND: &str = include_str!("programs/backend.py");

/// A request, in the words of `client.py`.
pub const GET: &str = "GET / HTTP/1.1\\r\\nHost: lab\\r\\n\\r\\n";
pub const GET_BIG: &str = "GET /big HTTP/1.1\\r\\nHost: lab\\r\\n\\r\\n";
pub const HALF_A_HEADER: &str = "GET / HTTP/1.1\\r\\nHo";
pub const HALF_A_BODY: &str =
    "POST / HTTP/1.1\\r\\nHost: lab\\r\\nContent-Length: 100\\r\\n\\r\\nhalf";

/// For a server to listen.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Host {
    // Before what they use: programs end first.
    programs: Vec<Program>,
    pub netns: Netns,
    pub folder: Folder,
}

impl Host {
    pub fn new() -> Host {
        let netns = Netns::new();
        netns.ip("link set lo up\n");
        let host = Host {
            programs: Vec::new(),
            netns,
            folder: Folder::new(),
        };
        host.write("client.py", CLIENT);
        host.write("backend.py", BACKEND);
        host
    }

    /// A file in this host's folder.
    pub fn write(&self, name: &str, text: &str) -> String {
        let file = self.folder.file(name);
        fs::write(&file, text).expect("the folder is ours");
        file.display().to_string()
    }

    pub fn start(&mut self, command: &mut Command) -> &mut Program {
        self.programs.push(Program::start(command));
        self.programs.last_mut().expect("just pushed")
    }

    /// `client.py` with these arguments, on as many connections as a case has.
    pub fn client(&mut self, port: u16, text: &str, how: &[&str]) {
        let script = self.folder.file("client.py");
        let mut command = self.netns.command(PYTHON);
        command
            .arg(script)
            .args([port.to_string(), TIMES.to_string()]);
        command.arg(text).args(how);
        self.start(&mut command);
    }

    /// `backend.py` with these arguments.
    pub fn backend(&mut self, port: u16, how: &[&str]) {
        let script = self.folder.file("backend.py");
        let mut command = self.netns.command(PYTHON);
        command.arg(script).arg(port.to_string()).args(how);
        self.start(&mut command);
    }

    /// Waits until every one of these ports is open.
    pub fn wait_for(&self, ports: impl IntoIterator<Item = u16>) {
        let deadline = Instant::now() + PATIENCE;
        for port in ports {
            while !self.listens(port) {
                assert!(
                    Instant::now() < deadline,
                    "nothing listens on port {port}: {}",
                    self.logs()
                );
                thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn listens(&self, port: u16) -> bool {
        // The local port, any peer, LISTEN.
        let open = format!(":{port:04X} ");
        self.netns.within(|| {
            ["tcp", "tcp6"].iter().any(|table| {
                let sockets = fs::read_to_string(format!("/proc/thread-self/net/{table}"));
                sockets.unwrap_or_default().lines().any(|line| {
                    line.contains(&open) && line.split_whitespace().nth(3) == Some("0A")
                })
            })
        })
    }

    /// What the servers wrote into their logs.
    fn logs(&self) -> String {
        let files = fs::read_dir(self.folder.path())
            .into_iter()
            .flatten()
            .flatten();
        files
            .filter(|file| file.path().extension().is_some_and(|end| end == "log"))
            .filter_map(|file| fs::read_to_string(file.path()).ok())
            .collect()
    }
}
