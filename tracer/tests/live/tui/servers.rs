//! nginx gives up a Go server that is slow, 23 times, and somebody looks at it: found, filtered, opened, exported.

use std::{fs, path::PathBuf, process::Command, thread::sleep, time::Duration};

use serde_json::Value;

use super::{PATIENCE, Terminal};
use crate::{
    Test,
    lab::{
        folder::Folder,
        needs::Need,
        program::{Program, build_go},
        tracer::binary,
    },
    stories::{SERVER, host, nginx_config, nginx_worker},
};

const TIMES: usize = 23;

/// How long the server works; nginx waits for 2 s.
const WORK: &str = "3s";

pub fn tests() -> Vec<Test> {
    let needs = &[
        Need::Program("tmux"),
        Need::Program("ip"),
        Need::Program("go"),
        Need::Program("curl"),
        Need::Program("nginx"),
    ];
    vec![Test::new(
        "tui::nginx_gives_up_a_go_server",
        needs,
        gives_up,
    )]
}

fn gives_up() {
    let folder = Folder::new();
    let program = build_go(&folder, "go-server", SERVER);
    let netns = host();
    let mut server = netns.command(&program.to_string_lossy());
    let server = Program::start(server.args(["127.0.0.1:8080", "8061", WORK]));
    server.says("listening", PATIENCE);
    let config = folder.file("nginx.conf");
    let text = nginx_config(&folder.path().to_string_lossy(), "127.0.0.1:8080");
    fs::write(&config, text).expect("the folder is ours");
    let mut nginx = netns.command("nginx");
    let nginx = Program::start(nginx.arg("-p").arg(folder.path()).arg("-c").arg(&config));
    let worker = nginx_worker(nginx.pid());
    let (worker, server) = (
        format!("nginx[{worker}]"),
        format!("go-server[{}]", server.pid()),
    );
    let pid = server
        .trim_end_matches(']')
        .rsplit('[')
        .next()
        .expect("a pid");

    let terminal = Terminal::new();
    terminal.start("--port 8000,8080");
    terminal.wait_for("watched");
    let clients: Vec<_> = (0..TIMES)
        .map(|_| {
            let mut curl = netns.command("curl");
            let url = "http://127.0.0.1:8000/";
            Program::start(curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}\n", url]))
        })
        .collect();
    for client in &clients {
        client.says("504", PATIENCE);
    }

    // Filtered: among all ends those of the server.
    terminal.wait_for("fin_peer_rst");
    terminal.type_text(&format!("/pid={pid} reason=fin_peer_"));
    terminal.keys(&["Tab", "Enter"]);
    terminal.wait_for(&format!("filter: pid={pid} reason=fin_peer_rst"));
    let rows = |screen: &str| {
        let of_server = |line: &&str| line.contains(&server) && line.contains("fin_peer_rst");
        screen.lines().filter(of_server).count()
    };
    let until = std::time::Instant::now() + PATIENCE;
    while rows(&terminal.screen()) < TIMES {
        assert!(std::time::Instant::now() < until, "{}", terminal.screen());
        sleep(Duration::from_millis(50));
    }
    assert_eq!(rows(&terminal.screen()), TIMES);

    // Found, and opened: who, after what time, and the way it took.
    terminal.keys(&["f"]);
    terminal.type_text("hung up on");
    terminal.keys(&["Enter", "Enter"]);
    let screen = terminal.wait_for("Timeline, to scale");
    let story = screen.split_whitespace().collect::<Vec<_>>().join(" ");
    let due = format!("{worker} hung up on {server} after waiting 2.0 s for a response");
    assert!(story.contains(&due), "{due}: {screen}");
    assert!(screen.contains("THE OTHER END"), "{screen}");
    terminal.keys(&["o"]);
    terminal.wait_for(&format!("fin_local {worker}"));
    terminal.keys(&["Escape"]);
    terminal.wait_for(" WHY");

    // Grouped, still by the filter.
    terminal.keys(&["2"]);
    let screen = terminal.wait_for("ABNORMAL");
    let group = screen.lines().find(|line| line.contains("go-server"));
    let count = group.and_then(|line| line.split_whitespace().nth(1));
    assert_eq!(count, Some("23"), "{screen}");

    // Exported, and read again.
    terminal.keys(&["1", "w"]);
    terminal.wait_for(&format!("{TIMES} events written to tracer-"));
    let written: PathBuf = fs::read_dir(terminal.folder.path())
        .expect("the folder")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|end| end == "ndjson"))
        .expect("the file that was written");
    let lines = fs::read_to_string(&written).expect("the file");
    for line in lines.lines() {
        let event: Value = serde_json::from_str(line).expect("a line of JSON");
        assert_eq!(event["reason"], "fin_peer_rst", "{line}");
        assert_eq!(event["pattern"], "peer_gave_up_waiting", "{line}");
        assert_eq!(event["comm"], "go-server", "{line}");
        assert_eq!(event["peer_comm"], "nginx", "{line}");
    }
    let again = Command::new(binary())
        .args(["replay", "-o", "json"])
        .arg(&written)
        .output()
        .expect("tracer runs");
    assert_eq!(String::from_utf8_lossy(&again.stdout), lines);
    terminal.keys(&["q"]);
    terminal.assert_restored();
}
