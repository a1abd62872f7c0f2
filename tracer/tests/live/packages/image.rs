//! The image: tracers in containers of several kinds, all at once, and a broken pipe in yet another container.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use super::{INSTALL, VERSION, kubernetes, tarball};
use crate::lab::{
    dist,
    docker::{self, Docker},
    folder::Folder,
    netns::run,
    program::Program,
    tracer::Line,
    unit::deploy,
};

/// Where the tests mount the node's /proc.
const HOST_PROC: [&str; 2] = ["--host-proc", "/host/proc"];

/// The server writes twice after the client was killed, which had nothing unread.
fn broken_pipe(port: u16) -> String {
    format!(
        "nc -l -p {port} -e /bin/sh -c 'sleep 0.8; echo a; sleep 0.3; echo b' & \
         sleep 0.3; nc 127.0.0.1 {port} </dev/null & sleep 0.5; kill -9 $!; sleep 1.5"
    )
}

/// Of this run's own: the tracers see the whole machine.
fn port() -> u16 {
    20_000 + (std::process::id() % 10_000) as u16
}

/// How a tracer is run, and what it can then know of a process in another container.
struct Case {
    name: &'static str,
    docker: Vec<String>,
    tracer: &'static [&'static str],
    exe: bool,
    container: bool,
    /// The path of its cgroup, from the root.
    cgroup: bool,
    /// What its container is called.
    called: bool,
}

fn cases() -> Vec<Case> {
    let case = |name, args: &[&str]| Case {
        name,
        docker: words(&[BASE, args].concat()),
        tracer: &HOST_PROC,
        exe: false,
        container: true,
        cgroup: true,
        called: false,
    };
    vec![
        Case {
            docker: documented(),
            tracer: &[],
            exe: true,
            called: true,
            ..case("as-documented", &[])
        },
        Case {
            exe: true,
            ..case(
                "proc-of-the-node",
                &["--cgroupns=host", PROC, "--cap-add=SYS_PTRACE"],
            )
        },
        // Other cgroups are then seen from within its own.
        Case {
            cgroup: false,
            ..case("cgroups-of-its-own", &["--cgroupns=private", PROC])
        },
        case(
            "cgroups-of-the-node",
            &["--cgroupns=private", PROC, CGROUPS],
        ),
        // Its /proc has other processes with the same pids.
        Case {
            tracer: &[],
            container: false,
            cgroup: false,
            ..case("pids-of-its-own", &["--cgroupns=private"])
        },
    ]
}

const BASE: &[&str] = &[
    "--network=none",
    "--read-only",
    "--cap-drop=ALL",
    "--cap-add=BPF",
    "--cap-add=PERFMON",
    "--security-opt=no-new-privileges",
    "--volume=/sys/kernel/tracing:/sys/kernel/tracing:ro",
];
const PROC: &str = "--volume=/proc:/host/proc:ro";
const CGROUPS: &str = "--volume=/sys/fs/cgroup:/sys/fs/cgroup:ro";

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The options of docs/install.md.
fn documented() -> Vec<String> {
    let (_, command) = INSTALL.split_once("docker run --rm ").expect("the command");
    let end = format!("tracer:{VERSION} --output json\n");
    let (options, _) = command.split_once(&end).expect("its end");
    let options = options.split_whitespace().filter(|word| *word != "\\");
    options.map(str::to_owned).collect()
}

/// As this daemon takes them: its containers are elsewhere, and Docker before 23 knows neither of the two capabilities.
fn fit(options: &[String], docker: &Docker, is_old: bool) -> Vec<String> {
    let containers = docker.containers().display().to_string();
    let fit = |option: &String| match option.as_str() {
        "--cap-add=BPF" if is_old => "--cap-add=SYS_ADMIN".to_owned(),
        "--cap-add=PERFMON" if is_old => "--cap-add=SYS_ADMIN".to_owned(),
        other => other.replace("/var/lib/docker/containers", &containers),
    };
    options.iter().map(fit).collect()
}

/// What containerd gives to a container by itself.
const USUAL_CAPABILITIES: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

const PATIENCE: Duration = Duration::from_secs(60);

pub fn attributes_from_a_container() {
    let docker = Docker::start();
    docker.import_busybox();
    let image = dist::file("-image.tar");
    docker.run(&["load", "--input", image.to_str().expect("a path of ours")]);
    let image = format!("tracer:{VERSION}");
    builds_the_same(&docker, &image);
    let is_old = is_old(&docker, &image);
    says_what_is_missing(&docker, &image, is_old);

    let cases = cases();
    let only = port().to_string();
    let contained = Contained::start(&docker);
    for case in &cases {
        let options = fit(&case.docker, &docker, is_old);
        let name = format!("--name={}", case.name);
        let mut args = vec!["run", "--detach", &name];
        args.extend(options.iter().map(String::as_str));
        args.extend([&*image, "--output", "json", "--port", &only]);
        args.extend(case.tracer);
        docker.run(&args);
    }
    for case in &cases {
        wait_until(case.name, || {
            docker.run(&["logs", case.name]).contains("\"start\"")
        });
    }
    contained.program.says("\"start\"", PATIENCE);

    let id = docker.run(&[
        "run",
        "--detach",
        "--name=lab-web",
        "--network=none",
        docker::BUSYBOX,
        "/bin/sh",
        "-c",
        &broken_pipe(port()),
    ]);
    docker.run(&["wait", &id]);
    for case in &cases {
        let lines = || lines(&docker.run(&["logs", case.name]));
        wait_until(case.name, || failed_write(&lines(), &id, case).is_some());
        docker.run(&["kill", "--signal=INT", case.name]);
        assert_eq!(docker.run(&["wait", case.name]), "0", "{}", case.name);
        judge(&lines(), &id, case);
    }
    // As in Kubernetes without hostPID.
    let case = &cases[1];
    wait_until("containerd", || {
        failed_write(&contained.lines(), &id, case).is_some()
    });
    judge(&contained.lines(), &id, case);
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        sleep(Duration::from_millis(50));
    }
}

fn lines(text: &str) -> Vec<Line> {
    text.lines()
        .map(|line| Line::new(line.to_owned()))
        .collect()
}

/// The write that failed for the broken pipe: of that container, as far as the tracer can know containers.
fn failed_write<'a>(lines: &'a [Line], id: &str, case: &Case) -> Option<&'a Line> {
    lines.iter().find(|line| {
        let container = line.str("container_id");
        line.event() == "tcp_io_error"
            && line.str("errno") == Some("EPIPE")
            && line.int("local_port") == Some(port().into())
            && (container == Some(id) || (container.is_none() && !case.container))
    })
}

fn judge(lines: &[Line], id: &str, case: &Case) {
    let write = failed_write(lines, id, case).expect("it was waited for");
    let conn = write.str("conn").expect("a connection");
    let end = lines
        .iter()
        .find(|line| line.event() == "tcp_close" && line.str("conn") == Some(conn))
        .unwrap_or_else(|| panic!("{}: no end of {conn}", case.name));
    for line in [write, end] {
        let text = format!("{}: {}", case.name, line.text);
        assert_eq!(line.str("reason"), Some("fin_peer_rst"), "{text}");
        assert_eq!(line.str("closed_by"), Some("peer"), "{text}");
        assert_eq!(line.str("comm"), Some("sh"), "{text}");
        assert_eq!(line.str("peer_comm"), Some("nc"), "{text}");
        assert_eq!(
            line.str("exe"),
            case.exe.then_some("/bin/busybox"),
            "{text}"
        );
        assert_eq!(
            line.str("container_id"),
            case.container.then_some(id),
            "{text}"
        );
        assert_eq!(
            line.str("peer_container_id"),
            case.container.then_some(id),
            "{text}"
        );
        assert_eq!(
            line.str("container_name"),
            case.called.then_some("lab-web"),
            "{text}"
        );
        let cgroup = line.str("cgroup");
        assert_eq!(cgroup.is_some(), case.cgroup, "{text}");
        assert!(
            cgroup.is_none_or(|path| path.contains("docker") && path.contains(id)),
            "{text}"
        );
    }
    let start = &lines.first().expect("start").text;
    let sees_pids = case.docker.iter().any(|option| option == "--pid=host");
    assert_eq!(
        start.contains("--pid=host"),
        !sees_pids,
        "{}: {start}",
        case.name
    );
}

/// Whether it knows the two capabilities that are enough.
fn is_old(docker: &Docker, image: &str) -> bool {
    let args = [
        "run",
        "--rm",
        "--cap-add=BPF",
        "--cap-add=PERFMON",
        image,
        "--version",
    ];
    let (known, said) = docker.try_run(&args);
    assert!(known || said.contains("unknown capability"), "{said}");
    !known
}

fn says_what_is_missing(docker: &Docker, image: &str, is_old: bool) {
    let allowed = fit(&words(BASE), docker, is_old);
    let no_btf = [&allowed[..], &words(&["--tmpfs=/sys/kernel/btf"])].concat();
    for (options, of_tracer, message) in [
        (
            words(&["--cap-drop=ALL"]),
            &[][..],
            "needs CAP_BPF and CAP_PERFMON",
        ),
        (no_btf, &[], "/sys/kernel/btf/vmlinux is not there"),
        (
            allowed,
            &["--host-proc", "/proc"],
            "does not show the node's processes",
        ),
    ] {
        let mut args = vec!["run", "--rm"];
        args.extend(options.iter().map(String::as_str));
        args.extend([image, "--output", "json"]);
        args.extend(of_tracer);
        let (good, said) = docker.try_run(&args);
        assert!(!good && said.contains(message), "{message}: {said}");
    }
}

/// deploy/Dockerfile, without a registry.
fn builds_the_same(docker: &Docker, image: &str) {
    let folder = Folder::new();
    let tarball = dist::file(".tar.gz");
    fs::copy(
        &tarball,
        folder.file(
            Path::new(&tarball)
                .file_name()
                .and_then(|name| name.to_str())
                .expect("a name"),
        ),
    )
    .expect("a copy");
    fs::copy(deploy("Dockerfile"), folder.file("Dockerfile")).expect("a copy");
    let version = format!("VERSION={VERSION}");
    let path = folder.path().to_str().expect("a path of ours");
    // The builder that needs no program beside docker.
    let mut command = docker.command(&[
        "build",
        "--quiet",
        "--tag=built",
        "--build-arg",
        &version,
        path,
    ]);
    run(command.env("DOCKER_BUILDKIT", "0"), "");
    let entry = |image: &str| {
        docker.run(&[
            "inspect",
            "--format={{.Config.Entrypoint}} {{.Config.Env}}",
            image,
        ])
    };
    assert_eq!(entry("built"), entry(image));
    let contents = |image: &str| {
        let container = docker.run(&["create", image]);
        let folder = Folder::new();
        let from = format!("{container}:/usr");
        docker.run(&["cp", &from, folder.path().to_str().expect("a path of ours")]);
        let mut command = Command::new("sh");
        command.args(["-c", "find . -type f | sort | xargs sha256sum"]);
        let output = command
            .current_dir(folder.path())
            .output()
            .expect("a shell");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(contents("built"), contents(image));
    let unpacked = Folder::new();
    let name = tarball::unpack(unpacked.path());
    let licences = fs::read_dir(unpacked.file(&name))
        .expect("it was unpacked")
        .flatten();
    let licences =
        licences.filter(|file| file.file_name().to_string_lossy().starts_with("LICENSE"));
    assert_eq!(contents("built").lines().count(), 1 + licences.count());
}

/// A tracer under containerd, by itself: ended with the test, also a failing one.
struct Contained {
    socket: PathBuf,
    program: Program,
}

impl Contained {
    /// From the image in OCI's form, with exactly the capabilities, mounts and arguments of deploy/kubernetes and containerd's
    /// own seccomp profile.
    fn start(docker: &Docker) -> Contained {
        let socket = docker.containerd();
        let image = dist::file("-image.tar");
        let mut command = ctr(&socket);
        command.args([
            "images",
            "import",
            "--snapshotter=native",
            "--base-name=tracer",
        ]);
        run(command.arg(image), "");
        let mut command = ctr(&socket);
        command.args([
            "run",
            "--rm",
            "--snapshotter=native",
            "--seccomp",
            "--read-only",
        ]);
        for name in USUAL_CAPABILITIES {
            command.args(["--cap-drop", &format!("CAP_{name}")]);
        }
        for name in kubernetes::capabilities() {
            command.args(["--cap-add", &format!("CAP_{name}")]);
        }
        let mut mounts = kubernetes::mounts();
        // kubelet's are not here.
        mounts.retain(|path| Path::new(path).exists());
        assert!(mounts.len() >= 2, "{mounts:?}");
        let mounts = mounts.iter().map(|path| (path.as_str(), path.as_str()));
        for (from, to) in mounts.chain([("/proc", "/host/proc")]) {
            let mount = format!("type=bind,src={from},dst={to},options=rbind:ro");
            command.args(["--mount", &mount]);
        }
        command.arg(format!("tracer:{VERSION}"));
        command.args([&contained(), "/usr/bin/tracer"]);
        command.args(kubernetes::args());
        command.args(["--port", &port().to_string()]);
        let program = Program::start(command.args(HOST_PROC));
        Contained { socket, program }
    }

    fn lines(&self) -> Vec<Line> {
        self.program.said().into_iter().map(Line::new).collect()
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        let mut command = ctr(&self.socket);
        command.args(["tasks", "kill", "--signal=SIGINT", &contained()]);
        if command.output().is_ok_and(|output| output.status.success()) {
            self.program.wait();
        }
    }
}

/// Of this run's own: runc keeps all containers of a machine in one place.
fn contained() -> String {
    format!("tracer-live-{}", std::process::id())
}

fn ctr(socket: &Path) -> Command {
    let mut command = Command::new("ctr");
    command.args(["--namespace=lab", "--address"]).arg(socket);
    command
}
