//! Executable, container and unit: cgroups made by hand as container runtimes and systemd make them, and a real
//! container where Docker is installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    thread::sleep,
    time::Duration,
};

use nix::sys::signal::Signal;

use crate::{
    Test,
    endings::after_close::write_to_orphan_in_fin_wait1,
    lab::{
        agent::{Agent, Sock},
        docker::{self, Docker},
        expect::{End, is, judge, null},
        link::{Link, Net},
        needs::{Need, find},
        tracer::{Line, Recording, Tracer},
    },
};

pub fn tests() -> Vec<Test> {
    let ip = Need::Program("ip");
    let v1 = Need::File(V1);
    vec![
        Test::new("names::container_v2", &[ip], || container(&[v2()])),
        Test::new("names::container_v1", &[ip, v1], || {
            container(&[V1.into()]);
        }),
        Test::new("names::container_hybrid", &[ip, v1], || {
            container(&[V1.into(), v2()]);
        }),
        Test::new("names::filters", &[ip], filters),
        Test::new("names::fork_killed", &[ip], fork_killed),
        Test::new("names::exec", &[ip, Need::Program("curl")], exec),
        Test::new("names::docker", &docker::NEEDS, docker_container),
    ]
}

/// A v1 hierarchy that every container runtime uses.
const V1: &str = "/sys/fs/cgroup/memory";

/// The v2 hierarchy, alone or beside v1.
pub fn v2() -> PathBuf {
    let unified = Path::new("/sys/fs/cgroup/unified");
    let beside = unified.join("cgroup.procs").exists();
    let mount = if beside {
        unified
    } else {
        Path::new("/sys/fs/cgroup")
    };
    mount.to_owned()
}

/// A cgroup, gone with the test.
pub struct Cgroup {
    folders: Vec<PathBuf>,
    /// Those that were not there before, outer ones first.
    made: Vec<PathBuf>,
}

impl Cgroup {
    fn new(mounts: &[PathBuf], path: &str) -> Cgroup {
        Cgroup::at(mounts, Path::new(path))
    }

    /// Also where it is no text.
    pub fn at(mounts: &[PathBuf], path: &Path) -> Cgroup {
        let mut made = Vec::new();
        for mount in mounts {
            let mut folder = mount.clone();
            for part in path {
                folder.push(part);
                if !folder.exists() {
                    fs::create_dir(&folder).expect("cgroups need root");
                    made.push(folder.clone());
                }
            }
        }
        let folders = mounts.iter().map(|mount| mount.join(path)).collect();
        Cgroup { folders, made }
    }

    /// In the first hierarchy.
    pub fn folder(&self) -> &Path {
        &self.folders[0]
    }

    fn take(&self, agent: &Agent) {
        for folder in &self.folders {
            fs::write(folder.join("cgroup.procs"), agent.pid.to_string()).expect("a cgroup");
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for folder in self.made.iter().rev() {
            // The agents are gone, but perhaps not yet counted out.
            for _ in 0..100 {
                if fs::remove_dir(folder).is_ok() {
                    break;
                }
                sleep(Duration::from_millis(10));
            }
        }
    }
}

/// Container ids that no other test has.
pub fn id(digit: char) -> String {
    format!("{:08x}{}", std::process::id(), digit.to_string().repeat(56))
}

fn is_of(end: &End, agent: &Agent) -> bool {
    end.due("pid").and_then(|pid| pid.as_i64()) == Some(agent.pid.into())
}

fn lines_of<'a>(recording: &'a Recording, agent: &Agent) -> Vec<&'a Line> {
    let pid = i64::from(agent.pid);
    let of_agent = |line: &&Line| line.int("pid") == Some(pid);
    recording.lines.iter().filter(of_agent).collect()
}

/// Broken pipes between two containers: every line says whose it is.
fn container(mounts: &[PathBuf]) {
    let (client_id, server_id) = (id('a'), id('b'));
    let client = Cgroup::new(mounts, &format!("docker/{client_id}"));
    let server = Cgroup::new(mounts, &format!("system.slice/docker-{server_id}.scope"));
    let net = Net::new(Link::LoV4);
    client.take(&net.client);
    server.take(&net.server);
    let tracer = Tracer::start();
    let ends = write_to_orphan_in_fin_wait1(&net, 5);
    net.wait_until_gone();
    let recording = tracer.finish();
    let exe = fs::read_link("/proc/self/exe").expect("this program");
    let named = |end: End| {
        let (own, other, path) = if is_of(&end, &net.client) {
            (&client_id, &server_id, format!("/docker/{client_id}"))
        } else {
            let path = format!("/system.slice/docker-{server_id}.scope");
            (&server_id, &client_id, path)
        };
        end.want("exe", is(exe.to_str().expect("a path of ours")))
            .want("cgroup", is(path))
            .want("container_id", is(own.as_str()))
            .want("runtime", is("docker"))
            .want("pod_uid", null())
            .want("unit", null())
            .want("peer_container_id", is(other.as_str()))
    };
    let ends: Vec<End> = ends.into_iter().map(named).collect();
    judge(&recording, &net.inodes(), &ends);
    for (agent, id) in [(&net.client, &client_id), (&net.server, &server_id)] {
        let lines = lines_of(&recording, agent);
        for event in ["tcp_close", "tcp_reset", "tcp_io_error"] {
            assert!(lines.iter().any(|line| line.event() == event), "{event}");
        }
        for line in lines {
            assert_eq!(line.str("container_id"), Some(id.as_str()), "{}", line.text);
            assert_eq!(line.str("exe"), exe.to_str(), "{}", line.text);
        }
    }
}

/// `--container` by its first digits, `--unit` by its name.
fn filters() {
    let client_id = id('c');
    let client = Cgroup::new(&[v2()], &format!("docker/{client_id}"));
    let server = Cgroup::new(&[v2()], r"system.slice/tracer\x2dlab.service");
    for (flag, value, of_client) in [
        ("--container", &client_id[..12], true),
        ("--unit", "tracer-lab.service", false),
    ] {
        let net = Net::new(Link::LoV4);
        client.take(&net.client);
        server.take(&net.server);
        let tracer = Tracer::start_with(&[flag, value]);
        let ends = write_to_orphan_in_fin_wait1(&net, 5);
        net.wait_until_gone();
        let recording = tracer.finish();
        let due = ends
            .into_iter()
            .filter(|end| is_of(end, &net.client) == of_client)
            .map(|end| match of_client {
                true => end.want("unit", null()),
                false => end
                    .want("unit", is("tracer-lab.service"))
                    .want("container_id", null()),
            });
        judge(&recording, &net.inodes(), &due.collect::<Vec<_>>());
    }
}

/// A process that nobody had heard of when it was killed: its socket still knows its cgroup.
fn fork_killed() {
    let client_id = id('d');
    let cgroup = Cgroup::new(&[v2()], &format!("docker/{client_id}"));
    let net = Net::new(Link::LoV4);
    cgroup.take(&net.client);
    let tracer = Tracer::start();
    let listener = net.listen();
    let child = net.client.fork();
    let mut sock = Sock::open(&child, false);
    sock.connect(listener.addr).expect("a connection");
    let accepted = listener.accept();
    child.kill(Signal::SIGKILL);
    accepted.read_eof();
    accepted.close();
    net.wait_until_gone();
    let recording = tracer.finish();
    let lines = lines_of(&recording, &child);
    assert_eq!(lines.len(), 1);
    let line = lines[0];
    assert_eq!(
        line.str("container_id"),
        Some(client_id.as_str()),
        "{}",
        line.text
    );
}

/// A program that ends with its first connection is known by its exec.
fn exec() {
    let net = Net::new(Link::LoV4);
    let tracer = Tracer::start();
    let listener = net.listen();
    let curl = find("curl").and_then(|file| file.canonicalize().ok());
    for _ in 0..23 {
        let mut process = net
            .client_ns
            .command("curl")
            .args([
                "-s",
                "-o",
                "/dev/null",
                &format!("http://{}/", listener.addr),
            ])
            .stdin(Stdio::null())
            .spawn()
            .expect("curl");
        let sock = listener.accept();
        sleep(Duration::from_millis(100));
        sock.close();
        process.wait().expect("curl");
    }
    net.wait_until_gone();
    let recording = tracer.finish();
    let inodes = net.inodes().map(|inode| Some(inode as i64));
    let lines: Vec<&Line> = recording
        .ends()
        .filter(|line| inodes.contains(&line.int("netns")) && line.str("comm") == Some("curl"))
        .collect();
    assert_eq!(lines.len(), 23);
    for line in lines {
        let curl = curl.as_deref().and_then(Path::to_str);
        assert_eq!(line.str("exe"), curl, "{}", line.text);
    }
}

/// The server writes twice after the client was killed, which had nothing unread.
const BROKEN_PIPE: &str = "nc -l -p 9000 -e /bin/sh -c 'sleep 0.8; echo a; sleep 0.3; echo b' & \
                           sleep 0.3; nc 127.0.0.1 9000 </dev/null & sleep 0.5; kill -9 $!; sleep 1.5";

/// A broken pipe in a container, seen from outside of it.
fn docker_container() {
    let docker = Docker::start();
    docker.import_busybox();

    let tracer = Tracer::start();
    let by_name = Tracer::start_with(&["--container", "lab-web", "--events", "tcp_close"]);
    let id = docker.run(&[
        "run",
        "--detach",
        "--name=lab-web",
        "--network=none",
        docker::BUSYBOX,
        "/bin/sh",
        "-c",
        BROKEN_PIPE,
    ]);
    docker.run(&["wait", &id]);
    let recording = tracer.finish();
    let filtered = by_name.finish();
    let ours: Vec<&Line> = recording
        .lines
        .iter()
        .filter(|line| line.str("container_id") == Some(&id))
        .collect();
    let texts: Vec<&str> = ours.iter().map(|line| line.text.as_str()).collect();
    for line in &ours {
        assert_eq!(line.str("runtime"), Some("docker"), "{}", line.text);
        assert_eq!(line.str("container_name"), Some("lab-web"), "{}", line.text);
    }
    let ends = |recording: &Recording| {
        let ends = recording.of_event("tcp_close");
        ends.filter(|line| line.str("container_id") == Some(&id))
            .count()
    };
    assert_eq!(ends(&filtered), ends(&recording), "--container by its name");
    assert_eq!(filtered.ends().count(), ends(&filtered));
    let has = |event: &str, key: &str, value: &str| {
        ours.iter()
            .any(|line| line.event() == event && line.str(key) == Some(value))
    };
    assert!(has("tcp_close", "reason", "fin_peer_rst"), "{texts:#?}");
    assert!(has("tcp_io_error", "errno", "EPIPE"), "{texts:#?}");
    assert!(has("tcp_close", "exe", "/bin/busybox"), "{texts:#?}");
}
