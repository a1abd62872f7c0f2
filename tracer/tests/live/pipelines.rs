//! What becomes of the lines: rsyslog and syslog-ng with the configurations of deploy/ read a file while tracer writes
//! it, and logrotate takes it away; nothing is split, lost or changed.

use std::{
    fs,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{
    Test,
    lab::{
        blind_spot::BlindSpot,
        debs,
        folder::Folder,
        needs::Need,
        netns::{Netns, run},
        program::Program,
        schema::LONGEST,
        tracer::{binary, command},
        unit::deploy,
    },
};

/// They conflict with each other as installed packages.
const RSYSLOG: &[&str] = &["rsyslog", "libestr0", "libfastjson4", "liblognorm5"];
const SYSLOG_NG: &[&str] = &[
    "syslog-ng-core",
    "libglib2.0-0",
    "libivykis0",
    "libjson-c5",
    "libnet1",
    "libpcre3",
    "libwrap0",
];

/// Debian's, since its libraries are found by that name.
const PYTHON: &str = "/usr/bin/python3";

pub fn tests() -> Vec<Test> {
    let python = Need::File(PYTHON);
    vec![
        Test::new(
            "pipelines::rsyslog",
            &[Need::Debs(RSYSLOG), python, Need::Program("ip")],
            rsyslog,
        ),
        Test::new(
            "pipelines::syslog_ng",
            &[Need::Debs(SYSLOG_NG), python, Need::Program("ip")],
            syslog_ng,
        ),
        Test::new(
            "pipelines::logrotate",
            &[
                Need::Program("logrotate"),
                Need::Program("gzip"),
                python,
                Need::Program("ip"),
            ],
            logrotate,
        ),
        Test::new(
            "pipelines::journald",
            &[
                Need::File(JOURNALD),
                Need::File("/etc/machine-id"),
                Need::Program("systemd-cat"),
                python,
                Need::Program("ip"),
            ],
            journald,
        ),
        Test::new("pipelines::ecs", &[Need::Program("jq")], ecs),
        Test::new("pipelines::otel", &[Need::Program("jq")], otel),
        Test::new(
            "pipelines::well_formed",
            &[
                Need::File("/usr/lib/python3/dist-packages/yaml/__init__.py"),
                python,
            ],
            well_formed,
        ),
    ]
}

const PATIENCE: Duration = Duration::from_secs(60);

/// A tracer that appends to a file.
struct ToFile {
    tracer: Child,
    file: PathBuf,
}

impl ToFile {
    fn start(folder: &Path) -> ToFile {
        let file = folder.join("events.ndjson");
        let tracer = command(&["-o", "json", "--comm", COMM, "--output-file"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the tracer");
        let tracer = ToFile { tracer, file };
        wait_for("`start`", || !lines_of(&tracer.file).is_empty());
        tracer
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.tracer.id() as i32), signal).expect("it runs");
    }

    fn end(&mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.tracer.wait().expect("a child");
        assert_eq!(status.code(), Some(0));
    }
}

impl Drop for ToFile {
    fn drop(&mut self) {
        let _ = self.tracer.kill();
        let _ = self.tracer.wait();
    }
}

/// What the processes are called: others on this machine are not waited for.
const COMM: &str = "lab-pipelines";

/// Connections of each process, two ends each.
const EACH: usize = 40;

/// Control characters in the paths of the processes' programs, which take six bytes each in a line: some lines become
/// nearly as long as a line may be, some would be longer and are shortened.
const HOSTILE: [usize; 10] = [0, 360, 400, 410, 420, 425, 430, 435, 440, 480];

const ENDS: usize = 2 * EACH * HOSTILE.len();

const CONNECT: &str = "
import socket
server = socket.create_server(('127.0.0.1', 0))
for _ in range(EACH):
    client = socket.create_connection(server.getsockname())
    accepted, _ = server.accept()
    client.close()
    accepted.recv(1)
    accepted.close()
";

/// Connections in a namespace of their own, by programs with strange names.
struct Burst {
    netns: Netns,
    folder: Folder,
    blind_spot: Option<BlindSpot>,
}

impl Burst {
    fn new() -> Burst {
        let netns = Netns::new();
        netns.run("ip link set lo up");
        Burst {
            netns,
            folder: Folder::new(),
            blind_spot: BlindSpot::watch(),
        }
    }

    /// What lies at the end of that path is Python.
    fn python(&self, hostile: usize) -> PathBuf {
        let mut path = self.folder.path().to_owned();
        let mut left = hostile;
        while left > 0 {
            // A file's name has at most 255 bytes.
            let part = left.min(200);
            path.push("\x01".repeat(part));
            left -= part;
        }
        fs::create_dir_all(&path).expect("the folder is ours");
        let program = path.join(COMM);
        fs::copy(PYTHON, &program).expect("Python");
        let all = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&program, all).expect("it is ours");
        program
    }

    fn run(&self) {
        let script = CONNECT.replace("EACH", &EACH.to_string());
        for hostile in HOSTILE {
            let program = self.python(hostile);
            let program = std::str::from_utf8(program.as_os_str().as_bytes()).expect("UTF-8");
            let mut python = self.netns.command(program);
            python.args(["-S", "-c", &script]).env("PYTHONHOME", "/usr");
            run(&mut python, "");
        }
    }

    /// Every end but those that this machine is known to have hidden, both ends of a connection.
    fn assert_told(&self, own: usize) {
        let seen = self.blind_spot.as_ref().map(BlindSpot::seen);
        let hidden = 2 * seen.map_or(0, |seen| seen.len());
        assert!(own <= ENDS && own + hidden >= ENDS, "{own} of {ENDS}");
    }

    fn is_own(&self, line: &Value) -> bool {
        line["netns"] == self.netns.inode() && line["event"] == "tcp_close"
    }
}

/// A burst, read by another program from tracer's file while tracer writes it, and what that program wrote.
fn consumed(folder: &Folder, consume: impl FnOnce(&Path) -> Program, parsed: &str) -> Vec<Value> {
    let burst = Burst::new();
    let mut tracer = ToFile::start(folder.path());
    let _consumer = consume(&tracer.file);
    burst.run();
    let parsed = folder.file(parsed);
    tracer.end();
    let written = lines_of(&tracer.file);
    wait_for("every line at the other end", || {
        lines_of(&parsed).len() >= written.len()
    });

    let lengths: Vec<usize> = written.iter().map(String::len).collect();
    let longest = lengths.iter().max().expect("lines");
    assert!((3950..=LONGEST).contains(longest), "{longest}");
    let events = values(&written);
    let own: Vec<_> = events.iter().filter(|line| burst.is_own(line)).collect();
    burst.assert_told(own.len());
    let shortened = own.iter().filter(|line| line["truncated"] == true).count();
    assert!((1..ENDS).contains(&shortened), "{shortened} are truncated");
    let arrived = values(&lines_of(&parsed));
    assert!(arrived == events, "what arrived is not what was written");
    events
}

fn rsyslog() {
    let folder = Folder::new();
    let place = folder.path().display().to_string();
    let consume = |_: &Path| {
        let main = format!(
            "global(workDirectory=\"{place}\")\n{}",
            moved("rsyslog/tracer.conf", &folder)
        );
        let file = folder.file("rsyslog.conf");
        fs::write(&file, main).expect("the folder is ours");
        let modules = debs::folder(RSYSLOG).join("usr/lib");
        let triple = format!("{}-linux-gnu/rsyslog", std::env::consts::ARCH);
        let mut rsyslogd = debs::command(RSYSLOG, "usr/sbin/rsyslogd");
        rsyslogd
            .args(["-n", "-f"])
            .arg(&file)
            .arg("-i")
            .arg(folder.file("pid"))
            .arg("-M")
            .arg(modules.join(triple));
        Program::start(&mut rsyslogd)
    };
    consumed(&folder, consume, "parsed.ndjson");
    assert!(!folder.file("unparsed.log").exists(), "all was parsed");
}

fn syslog_ng() {
    let folder = Folder::new();
    let keys = folder.file("keys.txt");
    let consume = |_: &Path| {
        // What of the keys it has understood is written by a log path of our own.
        let main = format!(
            "@version: 3.38\n{}\ndestination d_keys {{ file(\"{}\" \
             template(\"${{.tracer.seq}} ${{.tracer.event}} ${{.tracer.conn}}\\n\")); }};\n\
             log {{ source(s_tracer); parser(p_tracer); destination(d_keys); }};\n",
            moved("syslog-ng/tracer.conf", &folder),
            keys.display()
        );
        let file = folder.file("syslog-ng.conf");
        fs::write(&file, main).expect("the folder is ours");
        let modules = debs::folder(SYSLOG_NG).join("usr/lib/syslog-ng/3.38");
        let mut syslog_ng = debs::command(SYSLOG_NG, "usr/sbin/syslog-ng");
        syslog_ng.args(["--foreground", "--no-caps", "--module-path"]);
        syslog_ng.arg(modules).arg("--cfgfile").arg(&file);
        for (option, name) in [
            ("--persist-file", "persist"),
            ("--pidfile", "pid"),
            ("--control", "control"),
        ] {
            syslog_ng.arg(option).arg(folder.file(name));
        }
        Program::start(&mut syslog_ng)
    };
    let events = consumed(&folder, consume, "parsed.ndjson");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let due: Vec<_> = events
        .iter()
        .map(|line| {
            format!(
                "{} {} {}",
                line["seq"],
                text(&line["event"]),
                text(&line["conn"])
            )
        })
        .collect();
    assert!(lines_of(&keys) == due, "every key was understood");
}

const JOURNALD: &str = "/lib/systemd/systemd-journald";

/// A journal of the test's own, in a mount namespace: a run of tracer, and one that fails.
const JOURNAL: &str = r#"
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/log/journal /run/systemd/journald.conf.d
cat > /run/systemd/journald.conf.d/lab.conf <<END
[Journal]
Storage=volatile
ReadKMsg=no
Audit=no
ForwardToSyslog=no
RateLimitIntervalSec=0
END
# Nothing outlives this script, however it ends.
setpriv --pdeathsig KILL /lib/systemd/systemd-journald &
journald=$!
trap 'kill $journald' EXIT
until [ -S /run/systemd/journal/stdout ]; do sleep .05; done
# What systemd sets for its services, and systemd-cat of this version does not.
as_service='export JOURNAL_STREAM=$(stat -L -c %d:%i /dev/stderr); exec "$@"'
systemd-cat -t tracer -- setpriv --pdeathsig KILL sh -c "$as_service" sh "$TRACER" -o json --comm "$COMM" &
tracer=$!
until [ -e done ]; do
    journalctl --directory /run/log/journal -t tracer -o cat | grep -q '"event":"start"' && touch started
    sleep .1
done
kill -TERM $tracer
wait $tracer
! systemd-cat -t tracer -- sh -c "$as_service" sh "$TRACER" --output-file /no/such/folder/file
! systemd-cat -t tracer -- sh -c "$as_service" sh "$TRACER" --port x
journalctl --sync
journalctl --directory /run/log/journal -t tracer -p info -o cat > all
journalctl --directory /run/log/journal -t tracer -p err -o cat > errors
"#;

fn journald() {
    let folder = Folder::new();
    let burst = Burst::new();
    let mut journal = Command::new("unshare");
    journal
        .args(["--mount", "bash", "-c", JOURNAL])
        .env("TRACER", binary())
        .env("COMM", COMM)
        .current_dir(folder.path());
    let mut journal = Program::start(&mut journal);
    wait_for("`start` in the journal", || folder.file("started").exists());
    burst.run();
    fs::write(folder.file("done"), "").expect("the folder is ours");
    assert!(journal.wait(), "{:?}", journal.said());

    let errors = lines_of(&folder.file("errors"));
    assert!(
        matches!(&errors[..], [failure, usage]
            if failure.starts_with("tracer: cannot open the output file /no/such")
                && usage.starts_with("error: --port")),
        "{errors:?}"
    );
    let mut lines = lines_of(&folder.file("all"));
    lines.retain(|line| !errors.contains(line));
    let events = values(&lines);
    for (number, line) in events.iter().enumerate() {
        assert_eq!(line["seq"], number + 1, "{}", lines[number]);
    }
    assert_eq!(events[events.len() - 1]["event"], "stop");
    let longest = lines.iter().map(String::len).max().expect("lines");
    assert!((3950..=LONGEST).contains(&longest), "{longest}");
    let own = events.iter().filter(|line| burst.is_own(line));
    burst.assert_told(own.count());
}

/// Rotated again and again while lines come.
fn logrotate() {
    const ROTATIONS: usize = 5;
    let folder = Folder::new();
    let burst = Burst::new();
    let mut tracer = ToFile::start(folder.path());
    let hangup = format!("kill -HUP {}", tracer.tracer.id());
    let text = moved("logrotate.d/tracer", &folder);
    let (before, rest) = text.split_once("systemctl kill").expect("as it is there");
    let (_, after) = rest.split_once('\n').expect("a line");
    let config = folder.file("logrotate.conf");
    fs::write(&config, format!("{before}{hangup}\n{after}")).expect("the folder is ours");
    std::thread::scope(|scope| {
        let connecting = scope.spawn(|| burst.run());
        for rotation in 1..=ROTATIONS {
            let lines = 50 * rotation;
            wait_for("lines to rotate", || {
                lines_of(&tracer.file).len() >= lines.min(100) || connecting.is_finished()
            });
            let mut logrotate = Command::new("logrotate");
            logrotate.args(["--force", "--state"]);
            logrotate.arg(folder.file("state")).arg(&config);
            run(&mut logrotate, "");
            wait_for("the new file", || tracer.file.exists());
        }
        connecting.join().expect("connections");
    });
    tracer.end();
    let numbers = (0..=ROTATIONS).rev();
    let lines: Vec<_> = numbers
        .flat_map(|number| rotated(&tracer.file, number))
        .collect();
    let events = values(&lines);
    for (number, line) in events.iter().enumerate() {
        assert_eq!(line["seq"], number + 1, "{}", lines[number]);
    }
    let own = events.iter().filter(|line| burst.is_own(line)).count();
    burst.assert_told(own);
    assert_eq!(events[events.len() - 1]["event"], "stop");
    let mode = fs::metadata(&tracer.file)
        .expect("it is there")
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o640);
}

/// The lines of a rotated file: the newest are not compressed yet.
fn rotated(file: &Path, number: usize) -> Vec<String> {
    let with = |end: String| PathBuf::from(format!("{}{end}", file.display()));
    let packed = with(format!(".{number}.gz"));
    match number {
        0 => lines_of(file),
        _ if packed.exists() => {
            let output = Command::new("gzip").arg("-dc").arg(&packed).output();
            let text = output.expect("a need").stdout;
            let text = String::from_utf8(text).expect("UTF-8");
            text.lines().map(str::to_owned).collect()
        }
        _ => lines_of(&with(format!(".{number}"))),
    }
}

/// A file of deploy/ with this folder in the place of tracer's.
fn moved(name: &str, folder: &Folder) -> String {
    let text = fs::read_to_string(deploy(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(text.contains("/var/log/tracer/"), "{name}");
    text.replace("/var/log/tracer", &folder.path().display().to_string())
}

fn lines_of(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    // The last may still be being written.
    let whole = text.rfind('\n').map_or(0, |at| at + 1);
    text[..whole].lines().map(str::to_owned).collect()
}

fn values(lines: &[String]) -> Vec<Value> {
    lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        sleep(Duration::from_millis(50));
    }
}

/// The recordings of version 1 after a program of deploy/jq: what went in, and what came out of it.
fn translated(name: &str) -> Vec<(Value, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/v1");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("recordings")
        .map(|entry| entry.expect("an entry").path())
        .filter(|file| file.extension().is_some_and(|end| end == "ndjson"))
        .collect();
    files.sort();
    let output = Command::new("jq")
        .args(["-c", "-f"])
        .arg(deploy(&format!("jq/{name}.jq")))
        .args(&files)
        .output()
        .expect("a need");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let out: Vec<_> = text.lines().map(str::to_owned).collect();
    let events: Vec<_> = files
        .iter()
        .flat_map(|file| values(&lines_of(file)))
        .filter(|event| event["conn"] != Value::Null || event["local_addr"] != Value::Null)
        .collect();
    assert_eq!(
        out.len(),
        events.len(),
        "one for each event of a connection"
    );
    events.into_iter().zip(values(&out)).collect()
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.iter().any(has_null),
        Value::Object(map) => map.values().any(has_null),
        _ => false,
    }
}

fn ecs() {
    let mut roles = [0, 0, 0];
    for (event, doc) in translated("ecs") {
        assert!(!has_null(&doc), "{doc}");
        let (here, there) = match event["role"].as_str() {
            Some("server") => ("destination", "source"),
            _ => ("source", "destination"),
        };
        let index = ["client", "server"]
            .iter()
            .position(|role| event["role"] == *role);
        roles[index.unwrap_or(2)] += 1;
        for (side, addr, port, bytes) in [
            (here, "local_addr", "local_port", "tx_bytes"),
            (there, "peer_addr", "peer_port", "rx_bytes"),
        ] {
            assert_eq!(doc[side]["ip"], event[addr], "{doc}");
            assert_eq!(doc[side]["port"], event[port], "{doc}");
            assert_eq!(doc[side]["bytes"], event[bytes], "{doc}");
            let role = ["client", "server"][usize::from(side == "destination")];
            match index {
                Some(_) => assert_eq!(doc[role], doc[side], "{doc}"),
                None => assert_eq!(doc[role], Value::Null, "{doc}"),
            }
        }
        for (path, key) in [
            ("/@timestamp", "ts"),
            ("/message", "story"),
            ("/event/reason", "reason"),
            ("/event/sequence", "seq"),
            ("/error/code", "errno"),
            ("/network/community_id", "community_id"),
            ("/host/name", "node"),
            ("/process/pid", "pid"),
            ("/process/name", "comm"),
            ("/process/executable", "exe"),
            ("/container/id", "container_id"),
            ("/tracer/flow_id", "flow_id"),
        ] {
            let found = doc.pointer(path).unwrap_or(&Value::Null);
            assert_eq!(*found, event[key], "{path}: {doc}");
        }
        let duration = event["age_ms"].as_u64().map(|ms| ms * 1_000_000);
        assert_eq!(doc["event"]["duration"].as_u64(), duration, "{doc}");
        let action = event["event"].as_str().expect("an event").replace('_', "-");
        assert_eq!(doc["event"]["action"], action.as_str(), "{doc}");
        let failed = event["errno"] != Value::Null
            || event["how"] == "rst"
            || event["how"] == "timeout"
            || action == "tcp-connect-failed";
        let outcome = ["success", "failure"][usize::from(failed)];
        assert_eq!(doc["event"]["outcome"], outcome, "{doc}");
    }
    assert!(roles[0] > 0 && roles[1] > 0, "{roles:?}");
}

fn otel() {
    for (event, doc) in translated("otel") {
        let resource = &doc["resourceLogs"][0];
        let record = &resource["scopeLogs"][0]["logRecords"][0];
        let attribute = |of: &Value, key: &str| -> Option<Value> {
            let list = of["attributes"].as_array().expect("a list");
            let mut values = list.iter().filter(|entry| entry["key"] == key);
            let value = values.next().map(|entry| entry["value"].clone());
            assert!(values.next().is_none(), "{key} twice: {doc}");
            value
        };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let string = |of: &Value, key: &str| {
            attribute(of, key).and_then(|value| text(&value["stringValue"]))
        };
        let integer = |key: &str| {
            let value = attribute(record, key)?;
            text(&value["intValue"])?.parse::<u64>().ok()
        };
        // 2026-11-20T19:15:29.675179948Z: seconds by the calendar of another program, and nine digits.
        let ts = text(&event["ts"]).expect("a time");
        let (day_and_time, digits) = ts.split_once('.').expect("a fraction");
        let output = Command::new("date")
            .args(["-u", "+%s", "-d", &day_and_time.replace('T', " ")])
            .output();
        let seconds = String::from_utf8(output.expect("coreutils or busybox").stdout);
        let ns = seconds.expect("digits").trim().to_owned() + digits.trim_end_matches('Z');
        assert_eq!(text(&record["timeUnixNano"]).as_ref(), Some(&ns), "{doc}");
        for (name, key) in [
            ("network.local.address", "local_addr"),
            ("network.peer.address", "peer_addr"),
            ("error.type", "errno"),
            ("process.executable.name", "comm"),
            ("process.executable.path", "exe"),
            ("tracer.reason", "reason"),
            ("tracer.conn", "conn"),
            ("tracer.flow_id", "flow_id"),
        ] {
            assert_eq!(string(record, name), text(&event[key]), "{name}: {doc}");
        }
        for (name, key) in [
            ("network.local.port", "local_port"),
            ("network.peer.port", "peer_port"),
            ("process.pid", "pid"),
            ("process.user.id", "uid"),
            ("tracer.seq", "seq"),
            ("tracer.rx_bytes", "rx_bytes"),
        ] {
            assert_eq!(integer(name), event[key].as_u64(), "{name}: {doc}");
        }
        let server = match event["role"].as_str() {
            Some("server") => text(&event["local_addr"]),
            Some("client") => text(&event["peer_addr"]),
            _ => None,
        };
        assert_eq!(string(record, "server.address"), server, "{doc}");
        assert_eq!(
            string(resource.get("resource").expect("one"), "host.name"),
            text(&event["node"])
        );
        let body = text(&event["story"]).or(text(&event["event"]));
        assert_eq!(text(&record["body"]["stringValue"]), body, "{doc}");
        let name = text(&event["event"])
            .expect("an event")
            .replacen('_', ".", 1);
        assert_eq!(record["eventName"], name.as_str(), "{doc}");
    }
}

/// What cannot be run here is at least of the form that it should have.
fn well_formed() {
    const CHECK: &str = "
import sys, yaml
for name, keys in zip(sys.argv[1::2], sys.argv[2::2]):
    with open(name) as file: found = sorted(yaml.safe_load(file))
    assert found == sorted(keys.split(',')), (name, found)
";
    let files = [
        ("vector/tracer.yaml", "sources,transforms,sinks"),
        ("fluent-bit/tracer.yaml", "parsers,pipeline"),
        (
            "filebeat/tracer.yml",
            "filebeat.inputs,processors,output.console",
        ),
        ("otel-collector/tracer.yaml", "receivers,exporters,service"),
    ];
    let mut python = Command::new(PYTHON);
    python.args(["-c", CHECK]);
    for (name, keys) in files {
        python.arg(deploy(name)).arg(keys);
    }
    run(&mut python, "");
}
