//! The view under load: keys are answered, memory stays, and what is lost is on the screen.

use std::{
    fs,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use super::{
    child::{self, FLOOD_PER_S, FLOOD_S},
    emulator::Emulator,
};
use crate::{
    Test,
    lab::{folder::Folder, needs::Need, netns::Netns, program::Program, tracer::binary},
};

/// How long wrk runs, seconds; and in the long tests.
const LOAD_S: u64 = 12;
const LONG_LOAD_S: u64 = 600;

/// What memory may grow by once the history is full.
const GROWTH_KIB: u64 = 16 << 10;

/// Far above what is measured; without end it is frozen.
const FROZEN: Duration = Duration::from_secs(2);

pub fn tests() -> Vec<Test> {
    let wrk = [
        Need::Program("ip"),
        Need::Program("nginx"),
        Need::Program("wrk"),
        Need::Alone,
    ];
    let long = [&[Need::Asked("LIVE_LONG")], &wrk[..]].concat();
    vec![
        Test::new(
            "tui::a_flood_freezes_no_keys_and_takes_no_memory",
            &[],
            flooded,
        ),
        Test::new("tui::wrk_without_keep_alive", &wrk, || loaded(LOAD_S)),
        Test::new("tui::ten_minutes_of_wrk", &long, || loaded(LONG_LOAD_S)),
    ]
}

/// Times from key to screen, sorted.
struct Answers(Vec<Duration>);

impl Answers {
    /// Presses a key until the time is over, and looks each time until the screen has the text.
    fn of(terminal: &Emulator, length: Duration, mut meanwhile: impl FnMut()) -> Answers {
        let mut all = Vec::new();
        let began = Instant::now();
        while began.elapsed() < length {
            for (key, shows) in [("?", "this help"), ("\x1b", " WHY")] {
                let pressed = Instant::now();
                terminal.press(key);
                terminal.wait_for(shows);
                all.push(pressed.elapsed());
                // A prime, so that keys come at all moments between drawings.
                sleep(Duration::from_millis(293));
            }
            meanwhile();
        }
        all.sort();
        Answers(all)
    }

    fn median(&self) -> Duration {
        self.0[self.0.len() / 2]
    }

    fn longest(&self) -> Duration {
        self.0[self.0.len() - 1]
    }
}

fn rss_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    kib.expect("a number")
}

fn flooded() {
    let terminal = Emulator::start(&mut child::flooded());
    terminal.wait_for(" WHY");
    let pid = terminal.pid();
    // The history is full after a fraction of that.
    sleep(Duration::from_secs(1));
    let before = rss_kib(pid);
    let length = Duration::from_secs(u64::from(FLOOD_S) - 2);
    let answers = Answers::of(&terminal, length, || ());
    let grown = rss_kib(pid).saturating_sub(before);
    println!(
        "note: {FLOOD_PER_S} ends a second: key to screen {:?}, at most {:?}; {before} KiB, {grown} more",
        answers.median(),
        answers.longest()
    );
    assert!(answers.median() < FROZEN, "{:?}", answers.0);
    assert!(grown < GROWTH_KIB, "{before} KiB and {grown} more");
    // Hundreds of thousands of clean closes later the broken pipe is still there.
    let screen = terminal.wait_for("the flood is over");
    assert!(super::replay::ends(&screen) > 10 * 10_000, "{screen}");
    terminal.press("/reason=fin_peer_rst\r");
    terminal.wait_for("!");
    terminal.press("\r");
    terminal.wait_for("hung up on");
    terminal.press("q");
    assert_eq!(terminal.end(), Some(0));
}

fn loaded(seconds: u64) {
    let length = Duration::from_secs(seconds);
    let folder = Folder::new();
    let netns = Netns::new();
    netns.ip("link set lo up");
    let home = folder.path().display();
    let config = folder.file("nginx.conf");
    let text = format!(
        "user root;\nworker_processes 1;\ndaemon off;\npid {home}/nginx.pid;\nerror_log {home}/error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n  access_log off;\n  keepalive_timeout 0;\n  client_body_temp_path {home}/body;\n  \
         proxy_temp_path {home}/proxy;\n  fastcgi_temp_path {home}/fastcgi;\n  uwsgi_temp_path {home}/uwsgi;\n  \
         scgi_temp_path {home}/scgi;\n  server {{\n    listen 127.0.0.1:8061;\n    location / {{ return 200 \"ok\"; }}\n  }}\n}}\n"
    );
    fs::write(&config, text).expect("the folder is ours");
    let nginx = &mut netns.command("nginx");
    let _nginx = Program::start(nginx.arg("-p").arg(folder.path()).arg("-c").arg(&config));

    let terminal = Emulator::start(Command::new(binary()).args(["--port", "8061"]));
    terminal.wait_for("watched");
    let pid = terminal.pid();
    let mut wrk = netns.command("wrk");
    let wrk = wrk
        .args([
            "-t2",
            "-c64",
            &format!("-d{seconds}"),
            "http://127.0.0.1:8061/",
        ])
        .stdout(Stdio::piped());
    let wrk = wrk.spawn().expect("wrk runs");
    terminal.wait_for(" WHY");
    sleep(Duration::from_secs(3));
    let before = rss_kib(pid);
    let mut most = before;
    let answers = Answers::of(
        &terminal,
        length.saturating_sub(Duration::from_secs(6)),
        || {
            most = most.max(rss_kib(pid));
        },
    );
    let output = wrk.wait_with_output().expect("wrk ends");
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let requests = output
        .lines()
        .find(|line| line.contains(" requests in "))
        .and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
        .unwrap_or_else(|| panic!("no count of requests: {output}"));
    // Both ends of each are here; what is not was lost, and stands beside it.
    let counted = |screen: &str| super::replay::ends(screen) + lost(screen);
    let screen = terminal.wait_until("all ends", |screen| counted(screen) >= 2 * requests);
    let (ends, lost) = (super::replay::ends(&screen), lost(&screen));
    println!(
        "note: {requests} requests in {seconds} s, {ends} ends, {lost} lost; key to screen {:?}, at most {:?}; \
         {before} KiB, at most {most}",
        answers.median(),
        answers.longest()
    );
    assert!(answers.median() < FROZEN, "{:?}", answers.0);
    assert!(most - before < GROWTH_KIB, "{before} KiB, at most {most}");
    terminal.press("q");
    assert_eq!(terminal.end(), Some(0));
}

fn lost(screen: &str) -> u64 {
    let words: Vec<_> = screen.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "LOST");
    // The second line of heads has the word too.
    at.and_then(|at| words[at.checked_sub(1)?].parse().ok())
        .unwrap_or(0)
}
