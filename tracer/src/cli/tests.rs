use std::{path::PathBuf, time::Duration};

use clap::CommandFactory;

use super::{settings::Hooks, *};
use crate::{
    core::{filter::Filter, timeouts::BUILT_IN},
    event::values::Kind,
};

/// A command line in an environment.
fn parse_in(args: &[&str], env: &[(&str, &str)]) -> Result<Command, Usage> {
    let args = std::iter::once(&"tracer").chain(args).map(OsString::from);
    parse(args, |name| {
        let (_, value) = env.iter().find(|(variable, _)| *variable == name)?;
        Some(value.into())
    })
}

fn live_in(args: &[&str], env: &[(&str, &str)]) -> Settings {
    match parse_in(args, env) {
        Ok(Command::Live(settings)) => *settings,
        other => panic!("{args:?}: {other:?}"),
    }
}

fn live(args: &[&str]) -> Settings {
    live_in(args, &[])
}

fn wrong(args: &[&str], env: &[(&str, &str)]) -> String {
    match parse_in(args, env) {
        Err(Usage(message)) => message,
        other => panic!("{args:?}: {other:?}"),
    }
}

fn printed(args: &[&str]) -> String {
    match parse_in(args, &[]) {
        Ok(Command::Print(text)) => text,
        other => panic!("{args:?}: {other:?}"),
    }
}

/// A configuration file that is gone after the test.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> File {
        let name = format!("tracer-test-{}-{name}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("a file in the temporary folder");
        File(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn without_options_everything_has_its_default() {
    assert_eq!(
        live(&[]),
        Settings {
            output: Output::Auto,
            output_file: None,
            wide: false,
            stories: Stories::Abnormal,
            timeouts: BUILT_IN.clone(),
            duration: None,
            count: None,
            heartbeat: settings::HEARTBEAT,
            filter: Filter::default(),
            hooks: Hooks::Auto,
            ring_bytes: settings::RING_BYTES,
            max_connections: settings::MAX_CONNECTIONS,
            host_proc: settings::HOST_PROC.into(),
            metrics_listen: None,
            metrics_max_workloads: settings::MAX_WORKLOADS,
            view: View {
                history: settings::HISTORY,
                theme: None,
                ascii: false,
            },
            log: Log {
                verbosity: 0,
                format: LogFormat::Text,
            },
        }
    );
}

#[test]
fn every_option_arrives() {
    let settings = live(&[
        "-o",
        "text",
        "--output-file",
        "/tmp/a b",
        "-w",
        "--stories=all",
        "--for",
        "1500ms",
        "--count",
        "23",
        "--heartbeat",
        "5s",
        "--abnormal",
        "--events",
        "tcp_close,tcp_reset",
        "--pid",
        "812, 813",
        "--pid=814",
        "--comm",
        "nginx",
        "--port",
        "80",
        "--port",
        "443,80",
        "--local-port",
        "8080",
        "--peer",
        "10.2.0.7/16,::1",
        "--container",
        "C74B0F",
        "--unit",
        "nginx.service",
        "--hint",
        "nginx.proxy_read_timeout",
        "--reason",
        "rst_peer",
        "--hooks",
        "tp_btf",
        "--ring-size",
        "3M",
        "--max-connections",
        "1000",
        "--metrics-listen",
        "9435",
        "--metrics-max-workloads",
        "12",
        "-vv",
        "--log-format",
        "json",
    ]);
    assert_eq!(settings.output, Output::Text);
    assert_eq!(settings.output_file, Some(PathBuf::from("/tmp/a b")));
    assert!(settings.wide);
    assert_eq!(settings.stories, Stories::All);
    assert_eq!(settings.duration, Some(Duration::from_millis(1500)));
    assert_eq!(settings.count, Some(23));
    assert_eq!(settings.heartbeat, Duration::from_secs(5));
    assert_eq!(settings.filter.events, [Kind::TcpClose, Kind::TcpReset]);
    assert_eq!(
        settings.filter.describe(),
        [
            "--abnormal",
            "--events tcp_close,tcp_reset",
            "--pid 812,813,814",
            "--comm nginx",
            "--port 80,443",
            "--local-port 8080",
            "--peer 10.2.0.0/16,::1/128",
            "--container C74B0F",
            "--unit nginx.service",
            "--hint nginx.proxy_read_timeout",
            "--reason rst_peer",
        ]
    );
    assert_eq!(settings.hooks, Hooks::TpBtf);
    assert_eq!(settings.ring_bytes, 4 << 20);
    assert_eq!(settings.max_connections, 1000);
    let listen = settings.metrics_listen.map(|addr| addr.to_string());
    assert_eq!(listen.as_deref(), Some("127.0.0.1:9435"));
    assert_eq!(settings.metrics_max_workloads, 12);
    assert_eq!(settings.log.verbosity, 2);
    assert_eq!(settings.log.format, LogFormat::Json);
}

#[test]
fn an_option_wins_over_the_environment_and_that_over_the_file() {
    let file = File::new(
        "layers",
        "port = [1, 2]\ncount = 1\nring_size = 65536\nabnormal = true\n",
    );
    let env = [
        ("TRACER_CONFIG", file.path()),
        ("TRACER_PORT", "3,4"),
        ("TRACER_COUNT", "2"),
        ("TRACER_RING_SIZE", ""),
    ];
    let settings = live_in(&["--port", "5"], &env);
    assert_eq!(settings.filter.ports, [5], "replaced, not added up");
    assert_eq!(settings.count, Some(2));
    assert_eq!(settings.ring_bytes, 65536, "an empty variable is unset");
    assert!(settings.filter.abnormal);
    let env = [("TRACER_ABNORMAL", "0")];
    let settings = live_in(&["--config", file.path()], &env);
    assert!(!settings.filter.abnormal);
    assert_eq!(settings.filter.ports, [1, 2]);
    let elsewhere = [("TRACER_CONFIG", "/nowhere/at/all")];
    assert_eq!(
        live_in(&["--config", file.path()], &elsewhere).count,
        Some(1)
    );
}

/// A container's own has a second process, too, but no thread of the kernel.
#[test]
fn the_proc_of_the_node_is_known_by_the_threads_of_its_kernel() {
    let proc = std::env::temp_dir().join(format!("tracer-test-{}-proc", std::process::id()));
    std::fs::create_dir_all(proc.join("2")).expect("a folder in the temporary one");
    let name = proc.to_str().expect("UTF-8");
    for (stat, accepted) in [
        ("2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0\n", true),
        ("2 (kthreadd) S 0 0 0 0 -1 4194304 0 0 0 0\n", false),
        ("2 (x) S\n", false),
    ] {
        std::fs::write(proc.join("2/stat"), stat).expect("the folder is ours");
        match parse_in(&["--host-proc", name], &[]) {
            Ok(Command::Live(settings)) => {
                assert!(accepted, "{stat}");
                assert_eq!(settings.host_proc, proc);
            }
            Err(Usage(message)) => assert!(!accepted, "{stat}: {message}"),
            other => panic!("{other:?}"),
        }
    }
    std::fs::remove_dir_all(&proc).expect("the folder is ours");
}

#[test]
fn the_last_of_several_options_counts() {
    let settings = live(&["-o", "json", "--count", "1", "-o", "text", "--count=2"]);
    assert_eq!((settings.output, settings.count), (Output::Text, Some(2)));
}

#[test]
fn a_wrong_value_is_told_with_its_place_and_the_accepted_form() {
    for (args, message) in [
        (
            &["-o", "xml"][..],
            r#"--output "xml": expected auto, tui, json or text"#,
        ),
        (
            &["--host-proc", "/proc/self"],
            r#"--host-proc "/proc/self": does not show the node's processes; mount the node's /proc there (docker: -v /proc:/host/proc:ro, Kubernetes: a hostPath volume of /proc)"#,
        ),
        (
            &["--hooks", "uprobe"],
            r#"--hooks "uprobe": expected auto, tp_btf, fentry or kprobe"#,
        ),
        (
            &["--peer", "10.0.0.0/8,10.0.0.0/33"],
            r#"--peer "10.0.0.0/33": expected an address or a network, such as 10.2.0.7, 10.2.0.0/16 or 2001:db8::/32"#,
        ),
        (
            &["--for", "5"],
            r#"--for "5": expected a number and a unit, such as 1500ms, 30s, 2m or 1h30m, at most 365d"#,
        ),
        (
            &["--port", "http"],
            r#"--port "http": expected ports, 1 to 65535"#,
        ),
        (
            &["--port", "80,"],
            r#"--port "": expected ports, 1 to 65535"#,
        ),
        (
            &["--local-port", "0"],
            r#"--local-port "0": expected ports, 1 to 65535"#,
        ),
        (
            &["--metrics-listen", "example.org:9435"],
            r#"--metrics-listen "example.org:9435": expected an address and a port, such as 127.0.0.1:9435 or [::1]:9435, or a port of 127.0.0.1 alone"#,
        ),
        (
            &["--count=-1"],
            r#"--count "-1": expected a number of events, 1 or more"#,
        ),
    ] {
        assert_eq!(wrong(args, &[]), message);
    }
}

#[test]
fn a_wrong_variable_is_told_by_its_name() {
    let message = wrong(&[], &[("TRACER_RING_SIZE", "big")]);
    assert_eq!(
        message,
        r#"TRACER_RING_SIZE "big": expected a size, such as 65536, 512K or 64M, at most 1G"#
    );
    let message = wrong(&[], &[("TRACER_WIDE", "yes")]);
    assert_eq!(
        message,
        r#"TRACER_WIDE "yes": expected true or false (or 1 or 0)"#
    );
}

#[test]
fn a_fault_of_the_file_is_told_by_file_line_and_key() {
    for (name, text, message) in [
        (
            "value",
            "\nport = [80,\n 'x']\n",
            r#":2: port "x": expected ports, 1 to 65535"#,
        ),
        (
            "empty",
            "output_file = ''\n",
            r#":1: output_file "": expected the name of a file"#,
        ),
        (
            "many",
            "output = ['json', 'text']\n",
            ":1: output: expected one value, not 2",
        ),
        (
            "float",
            "for = 1.5\n",
            ":1: for: expected a string, an integer",
        ),
        ("toml", "a = 1\nport: 80\n", ":2: not TOML: "),
        (
            "key",
            "\n\nprot = 80\n",
            r#":3: "prot" is not a setting; these are: output, "#,
        ),
        (
            "unused",
            "config = 'a'\n",
            r#":1: "config" is not a setting"#,
        ),
    ] {
        let file = File::new(name, text);
        let told = wrong(&["--config", file.path()], &[]);
        let rest = told.strip_prefix(file.path()).unwrap_or(&told);
        assert!(rest.starts_with(message), "{told}");
        assert!(!told.contains('\n'), "{told}");
    }
    let told = wrong(&["--config", "/nowhere/at/all"], &[]);
    assert!(
        told.starts_with("cannot read the configuration file /nowhere/at/all: "),
        "{told}"
    );
}

#[test]
fn what_clap_refuses_is_one_message_too() {
    for args in [
        &["--colour"][..],
        &["--port"],
        &["trace"],
        &["schema", "extra"],
        &["--port", "80", "schema"],
        &["gen"],
        &["gen", "completions", "cmd"],
        &["explain"],
    ] {
        let message = wrong(args, &[]);
        assert!(
            !message.is_empty() && !message.starts_with("error"),
            "{message}"
        );
    }
    let shown = Usage(wrong(&["--colour"], &[])).to_string();
    assert!(
        shown.starts_with("error: unexpected argument '--colour'"),
        "{shown}"
    );
}

#[test]
fn commands() {
    assert_eq!(
        parse_in(&["demo", "-v"], &[("TRACER_CONFIG", "/nowhere/at/all")]),
        Ok(Command::Demo(Log {
            verbosity: 1,
            format: LogFormat::Text,
        }))
    );
    let log = Log {
        verbosity: 0,
        format: LogFormat::Text,
    };
    assert_eq!(
        parse_in(&["doctor", "--json"], &[]),
        Ok(Command::Doctor(true, Hooks::Auto, log.clone()))
    );
    assert_eq!(
        parse_in(&["doctor", "--hooks", "kprobe"], &[]),
        Ok(Command::Doctor(false, Hooks::Kprobe, log))
    );
    assert!(printed(&["explain", "fin_peer_rst"]).starts_with("# fin_peer_rst\n"));
    assert!(wrong(&["explain", "x"], &[]).contains("or a reason or a pattern"));
    let schema: serde_json::Value = serde_json::from_str(&printed(&["schema"])).expect("JSON");
    assert!(schema["oneOf"].is_array());
    assert_eq!(
        printed(&["-V"]),
        format!("tracer {}\n", env!("CARGO_PKG_VERSION"))
    );
    // Nothing of the environment keeps these from working.
    let env = [("TRACER_PORT", "x")];
    assert!(parse_in(&["schema"], &env).is_ok());
}

#[test]
fn replay_takes_files_filters_and_the_environment() {
    let args = [
        "replay", "a.ndjson", "-", "--speed", "10", "--port", "80,443",
    ];
    let env = [("TRACER_ABNORMAL", "true"), ("TRACER_CONFIG", "/nowhere")];
    let Ok(Command::Replay(settings)) = parse_in(&args, &env) else {
        panic!("{args:?}");
    };
    assert_eq!(settings.files, [PathBuf::from("a.ndjson"), "-".into()]);
    assert_eq!(settings.speed, Some(Speed::Times(10)));
    assert_eq!(settings.filter.ports, [80, 443]);
    assert!(settings.filter.abnormal);
    assert!(wrong(&["replay"], &[]).contains("<FILE>"));
    assert!(wrong(&["replay", "-", "-"], &[]).contains("more than once"));
    assert!(wrong(&["replay", "a", "--speed", "2"], &[]).contains("expected 1, 10 or max"));
    assert!(wrong(&["replay", "a", "--reason", "rst"], &[]).contains("rst_peer"));
}

#[test]
fn fingerprints_come_from_a_file_and_faults_name_it() {
    let good = File::new("fingerprints", "checkout-lb = \"45s\"\n");
    let variable = [("TRACER_FINGERPRINTS", good.path())];
    for settings in [
        live(&["--fingerprints", good.path()]),
        live_in(&[], &variable),
    ] {
        assert!(settings.timeouts.get("checkout-lb").is_some());
        assert!(settings.timeouts.get("nginx.proxy_read_timeout").is_some());
    }
    let bad = File::new("bad-fingerprints", "\n[lb]\nvalue = \"5 apples\"\n");
    let message = wrong(&["--fingerprints", bad.path()], &[]);
    let place = format!("{}:2: lb: value \"5 apples\": expected", bad.path());
    assert!(message.starts_with(&place), "{message}");
    let message = wrong(&["--fingerprints", "/nowhere/at/all"], &[]);
    assert!(message.contains("/nowhere/at/all"), "{message}");
}

#[test]
fn help_fits_a_hundred_columns_and_explains_every_option() {
    for args in [
        &["--help"][..],
        &["-h"],
        &["demo", "--help"],
        &["explain", "--help"],
        &["gen", "--help"],
        &["gen", "completions", "--help"],
        &["schema", "--help"],
    ] {
        for line in printed(args).lines() {
            assert!(line.chars().count() <= 100, "{args:?}: {line}");
        }
    }
    let help = printed(&["--help"]);
    for part in [
        "Examples:",
        "Exit status:",
        "TRACER_RING_SIZE",
        "DURATION",
        "tracer [OPTIONS]",
    ] {
        assert!(help.contains(part), "{part}");
    }
    for arg in Cli::command().get_arguments() {
        assert!(arg.get_help().is_some(), "{}", arg.get_id());
    }
    Cli::command().debug_assert();
}

/// The configuration file with every setting in force.
fn uncommented() -> String {
    let sample = printed(&["gen", "config"]);
    let lines = sample.lines().map(|line| {
        let setting = line.strip_prefix('#').filter(|rest| {
            rest.split(" = ").next().is_some_and(|key| {
                key.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            }) && rest.contains(" = ")
        });
        setting.unwrap_or(line)
    });
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_configuration_file_is_read_back() {
    let sample = File::new("sample", &printed(&["gen", "config"]));
    assert_eq!(
        live(&["--config", sample.path()]),
        live(&[]),
        "all is commented out"
    );
    let fingerprints = File::new("sample-fingerprints", "lb = \"45s\"");
    let full = uncommented().replace("/etc/tracer/fingerprints.toml", fingerprints.path());
    let full = File::new("full", &full);
    let settings = live(&["--config", full.path()]);
    assert_eq!(settings.filter.ports, [80, 443]);
    assert_eq!(settings.filter.local_ports, [8080]);
    assert_eq!(settings.duration, Some(Duration::from_secs(600)));
    // Where the file shows a default, it is the one in force.
    let defaults = live(&[]);
    assert_eq!(settings.ring_bytes, defaults.ring_bytes);
    assert_eq!(settings.max_connections, defaults.max_connections);
    assert_eq!(
        settings.metrics_max_workloads,
        defaults.metrics_max_workloads
    );
    assert_eq!(settings.stories, defaults.stories);
    assert_eq!(settings.heartbeat, defaults.heartbeat);
}

#[test]
fn the_configuration_file_has_every_option() {
    let text = uncommented();
    for arg in Cli::command().get_arguments() {
        let key = arg.get_long().unwrap_or_default().replace('-', "_");
        if ["config", "help", "version"].contains(&key.as_str()) {
            continue;
        }
        let setting = format!("\n{key} = ");
        assert!(text.contains(&setting), "{key}");
    }
}

#[test]
fn man_page_and_completions_know_the_options() {
    let man = printed(&["gen", "man"]);
    assert!(man.contains(".TH tracer 8"), "{man:.200}");
    assert!(man.contains(r"\-\-metrics\-listen"));
    for (shell, values) in [
        ("bash", true),
        ("zsh", true),
        ("fish", true),
        ("elvish", false),
        ("powershell", false),
    ] {
        let script = printed(&["gen", "completions", shell]);
        assert!(script.contains("ring-size"), "{shell}");
        assert!(script.contains("metrics-listen"), "{shell}");
        for value in ["tcp_io_error", "fin_peer_rst"] {
            assert!(!values || script.contains(value), "{shell}: {value}");
        }
    }
}
