//! The live view in a real terminal (tmux) while a pipe really breaks, and the terminal afterwards.

pub mod child;
mod emulator;
mod load;
mod replay;
mod servers;

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Output},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    Test,
    lab::{folder::Folder, needs::Need, tracer::binary},
};

pub fn tests() -> Vec<Test> {
    let tmux = &[Need::Program("tmux")];
    let mut tests = vec![
        Test::new("tui::a_broken_pipe_is_found_and_told", tmux, broken_pipe),
        Test::new("tui::control_c_restores_the_terminal", tmux, || {
            restored(|terminal, _| terminal.keys(&["C-c"]))
        }),
        Test::new("tui::sigterm_restores_the_terminal", tmux, || {
            restored(|_, pid| signal("-TERM", pid))
        }),
        Test::new("tui::the_end_of_a_run_restores_the_terminal", tmux, || {
            ends_by_itself("--for 1s")
        }),
        Test::new("tui::a_terminal_that_is_closed_ends_it", tmux, closed),
        Test::new("tui::a_recording_is_shown", tmux, recording),
        Test::new(
            "tui::a_panic_of_the_view_restores_the_terminal",
            tmux,
            || panics("view", 1),
        ),
        Test::new("tui::a_panic_elsewhere_restores_the_terminal", tmux, || {
            panics("elsewhere", 101)
        }),
    ];
    tests.extend(replay::tests());
    tests.extend(load::tests());
    tests.extend(servers::tests());
    tests
}

const PATIENCE: Duration = Duration::from_secs(20);

/// A terminal of 100 by 30, with a shell in a folder of its own.
struct Terminal {
    folder: Folder,
}

impl Terminal {
    fn new() -> Terminal {
        let terminal = Terminal {
            folder: Folder::new(),
        };
        let shell = "env -u NO_COLOR LC_ALL=C.UTF-8 PS1='ready> ' sh";
        let mut command = terminal.tmux();
        command
            .args([
                "-f",
                "/dev/null",
                "new-session",
                "-d",
                "-x",
                "100",
                "-y",
                "30",
            ])
            .arg(shell)
            .current_dir(terminal.folder.path());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TRACER_") {
                command.env_remove(name);
            }
        }
        let output = command.output().expect("tmux runs");
        assert!(output.status.success(), "{output:?}");
        terminal.wait_for("ready>");
        terminal
    }

    fn tmux(&self) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.folder.file("socket"));
        command
    }

    fn asked(&self, args: &[&str]) -> String {
        let Output { stdout, .. } = self.tmux().args(args).output().expect("tmux runs");
        String::from_utf8_lossy(&stdout).into_owned()
    }

    /// Keys by tmux's names.
    fn keys(&self, keys: &[&str]) {
        let mut args = vec!["send-keys"];
        args.extend(keys);
        self.asked(&args);
    }

    fn type_text(&self, text: &str) {
        self.asked(&["send-keys", "-l", text]);
    }

    fn screen(&self) -> String {
        self.asked(&["capture-pane", "-p"])
    }

    /// The screen as soon as it has the text.
    fn wait_for(&self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if screen.contains(text) {
                return screen;
            }
            assert!(
                Instant::now() < until,
                "no {text:?} on the screen:\n{screen}"
            );
            sleep(Duration::from_millis(50));
        }
    }

    /// Starts tracer; how it ended is then said by the shell.
    fn start(&self, args: &str) {
        self.run(&format!("{} {args}", binary().display()));
    }

    fn run(&self, command: &str) {
        self.type_text(&format!("{command}; echo ended=$?"));
        self.keys(&["Enter"]);
    }

    /// The process that the shell runs.
    fn process(&self) -> String {
        let shell = self.asked(&["display-message", "-p", "#{pane_pid}"]);
        let children = format!("/proc/{0}/task/{0}/children", shell.trim());
        let children = fs::read_to_string(children).expect("the shell's children");
        let pid = children.split_whitespace().next();
        pid.expect("tracer runs").to_owned()
    }

    /// The terminal is as it was before: its screen, cursor, mouse and line discipline.
    fn assert_restored(&self) {
        self.assert_restored_after(0);
    }

    fn assert_restored_after(&self, status: i32) {
        self.wait_for(&format!("ended={status}"));
        let state = "#{alternate_on} #{mouse_any_flag} #{cursor_flag}";
        assert_eq!(
            self.asked(&["display-message", "-p", state]).trim(),
            "0 0 1"
        );
        self.type_text("clear; stty -a");
        self.keys(&["Enter"]);
        let screen = self.wait_for("icanon");
        for mode in ["icanon", "echo", "isig"] {
            let set = screen.split_whitespace().any(|word| word == mode);
            assert!(set, "{mode}: {screen}");
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.asked(&["kill-server"]);
    }
}

fn signal(name: &str, pid: &str) {
    let status = Command::new("kill").args([name, pid]).status();
    assert!(status.is_ok_and(|status| status.success()), "kill {pid}");
}

/// A client that hangs up, and a server that writes nevertheless, twice.
fn break_pipe(listener: &TcpListener) {
    let mut client =
        TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
    let (mut server, _) = listener.accept().expect("accepted");
    client.write_all(b"GET").expect("written");
    server.read_exact(&mut [0; 3]).expect("read");
    sleep(Duration::from_millis(300));
    drop(client);
    sleep(Duration::from_millis(50));
    server
        .write_all(b"first")
        .expect("the first write succeeds");
    sleep(Duration::from_millis(50));
    server.write_all(b"second").expect_err("the pipe is broken");
}

fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    (listener, port)
}

fn broken_pipe() {
    let terminal = Terminal::new();
    let (listener, port) = listener();
    terminal.start(&format!("--port {port}"));
    let screen = terminal.wait_for("watched");
    assert!(screen.contains("No connection has ended yet"), "{screen}");
    assert!(screen.contains("tracer demo"), "{screen}");

    break_pipe(&listener);
    terminal.wait_for("fin_peer_rst");
    terminal.type_text("/reason=fin_peer_");
    terminal.keys(&["Tab", "Enter"]);
    let screen = terminal.wait_for("filter: reason=fin_peer_rst");
    let rows = screen.lines().filter(|line| line.contains("127.0.0.1"));
    assert_eq!(rows.count(), 1, "{screen}");

    terminal.keys(&["Enter"]);
    let screen = terminal.wait_for("Timeline, to scale");
    for text in [
        "hung up on",
        "EPIPE",
        "THE OTHER END",
        "fin_local",
        "peer_fin",
    ] {
        assert!(screen.contains(text), "{text}: {screen}");
    }
    terminal.keys(&["Escape"]);
    terminal.wait_for("WHY");
    terminal.keys(&["w"]);
    terminal.wait_for("1 events written to tracer-");
    let written = fs::read_dir(terminal.folder.path())
        .expect("the folder")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|end| end == "ndjson"))
        .expect("the file that was written");
    let line = fs::read_to_string(written).expect("the file");
    let event: Value = serde_json::from_str(line.trim_end()).expect("one line of JSON");
    assert_eq!(event["reason"], "fin_peer_rst");
    assert_eq!(event["local_port"], port);

    terminal.keys(&["q"]);
    terminal.assert_restored();
}

fn restored(end: impl FnOnce(&Terminal, &str)) {
    let terminal = Terminal::new();
    let (_listener, port) = listener();
    terminal.start(&format!("--port {port}"));
    terminal.wait_for("watched");
    let pid = terminal.process();
    end(&terminal, &pid);
    terminal.assert_restored();
}

fn ends_by_itself(args: &str) {
    let terminal = Terminal::new();
    terminal.start(args);
    terminal.wait_for("watched");
    terminal.assert_restored();
}

/// The message can be read on the terminal as it was.
fn panics(place: &str, status: i32) {
    let terminal = Terminal::new();
    terminal.run(&child::panics_in(place));
    terminal.wait_for("Waiting for the recording");
    terminal.keys(&["Space"]);
    terminal.wait_for(&format!("forced: {place}"));
    terminal.assert_restored_after(status);
}

fn closed() {
    let terminal = Terminal::new();
    let (_listener, port) = listener();
    terminal.start(&format!("--port {port}"));
    terminal.wait_for("watched");
    let pid = terminal.process();
    terminal.asked(&["kill-server"]);
    let until = Instant::now() + PATIENCE;
    while fs::exists(format!("/proc/{pid}")).is_ok_and(|there| there) {
        assert!(Instant::now() < until, "it goes on without a terminal");
        sleep(Duration::from_millis(50));
    }
}

fn recording() {
    let terminal = Terminal::new();
    let (listener, port) = listener();
    terminal.start(&format!(
        "-o json --port {port} --events tcp_close --count 2 > ends.ndjson"
    ));
    // It is attached when it has written its first line.
    let file = terminal.folder.file("ends.ndjson");
    let until = Instant::now() + PATIENCE;
    while fs::metadata(&file).map_or(0, |file| file.len()) == 0 {
        assert!(Instant::now() < until, "no recording");
        sleep(Duration::from_millis(50));
    }
    break_pipe(&listener);
    terminal.wait_for("ended=0");
    terminal.type_text("clear");
    terminal.keys(&["Enter"]);

    // From a pipe: keys come from the terminal all the same.
    terminal.type_text("cat ends.ndjson | ");
    terminal.start("replay - --speed max");
    terminal.wait_for("the recording is over");
    let screen = terminal.wait_for("fin_peer_rst");
    assert!(screen.contains("replay"), "{screen}");
    terminal.keys(&["2"]);
    terminal.wait_for("COUNT");
    terminal.keys(&["q"]);
    terminal.assert_restored();

    // As JSON it is what it was.
    let again = Command::new(binary())
        .args(["replay", "-o", "json"])
        .arg(&file)
        .output()
        .expect("tracer runs");
    assert_eq!(again.stdout, fs::read(&file).expect("the recording"));
}
