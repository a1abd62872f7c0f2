//! Names that whoever may start a process, make a cgroup or run a container gives: they are told, and command nobody.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    Test,
    lab::{
        folder::Folder,
        link::{Link, Net},
        needs::{Need, find},
        tracer::{Line, Tracer, binary, command},
    },
    names::{Cgroup, id, v2},
};

pub fn tests() -> Vec<Test> {
    let needs = [Need::Program("ip"), Need::Program("bash")];
    vec![
        Test::new("hostile::names", &needs, names),
        Test::new("hostile::types", &[Need::Program("unshare")], types),
    ]
}

/// A kernel whose types are cut short, no types at all, or lack what no record can do without: said at once.
fn types() {
    const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
    let whole = fs::read(VMLINUX).expect("types");
    let renamed = {
        let field = b"\0bytes_acked\0";
        let at = memchr::memmem::find(&whole, field).expect("a field of TCP's");
        let mut renamed = whole.clone();
        renamed[at + 1] = b'B';
        renamed
    };
    let folder = Folder::new();
    let script = "mount -t tmpfs none /sys/kernel/btf && cp \"$1\" /sys/kernel/btf/vmlinux && exec \"$0\" -o json";
    for (types, said) in [
        (&whole[..whole.len() / 2], "is cut short"),
        (&whole[..10], "is cut short"),
        (b"\x7fELF".as_slice(), "no BTF"),
        (&renamed, "BTF lacks tcp_sock.bytes_acked"),
    ] {
        let file = folder.file("types");
        fs::write(&file, types).expect("the folder is ours");
        let output = Command::new("unshare")
            .args(["-m", "sh", "-c", script])
            .args([&binary(), &file])
            .output()
            .expect("unshare");
        assert_eq!(output.status.code(), Some(1), "{said}: {output:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            stderr.contains(said) && !stderr.contains("panicked"),
            "{stderr}"
        );
        assert!(output.stdout.is_empty(), "{output:?}");
    }
}

/// A title, a colour, a clipboard, a bell, C1 codes, an override of direction, quotes, and what is no UTF-8.
const TRICKS: &[u8] =
    b"\"'\\\x1b]0;own\x07\x1b[31m\n\r\t\x1b]52;c;b3du\x07\xc2\x9b31m\xe2\x80\xae\xff\xfe{}$(id)`id`";

/// How TRICKS begin, which is all that a comm has room for.
const COMM: &str = "\"'\\\u{1b}]0;own\u{7}\u{1b}[31";

/// Docker's own folder, in which containers have files of their names.
const CONTAINERS: &str = "/var/lib/docker/containers";

/// A file of a container that Docker does not know; gone with the test.
struct Container(PathBuf);

impl Container {
    fn new(id: &str, name: &str) -> Container {
        let folder = Path::new(CONTAINERS).join(id);
        fs::create_dir_all(&folder).expect("root");
        let config = serde_json::json!({ "Name": format!("/{name}"), "ID": id });
        fs::write(folder.join("config.v2.json"), config.to_string()).expect("root");
        Container(folder)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A shell in a file whose path is nearly as long as paths may be, in cgroups of such names, of a container called 10 kB,
/// with arguments of 10 kB.
fn names() {
    let folder = Folder::new();
    let deep = (0..10).fold(folder.path().to_owned(), |path, _| {
        path.join(OsStr::from_bytes(&long_name()))
    });
    fs::create_dir_all(&deep).expect("the folder is ours");
    let program = deep.join(OsStr::from_bytes(TRICKS));
    fs::copy(find("bash").expect("a need"), &program).expect("the folder is ours");

    let id = id('e');
    let called = String::from_utf8_lossy(TRICKS).repeat(200);
    let _container = Container::new(&id, &called);
    // A newline is the one thing that the kernel does not take.
    let mut part = TRICKS.to_vec();
    part.retain(|byte| *byte != b'\n');
    let part = OsString::from_vec(part);
    let in_container = Cgroup::at(&[v2()], &Path::new("docker").join(&id).join(&part));
    let service = [part.as_bytes(), b".service"].concat();
    let in_unit = Cgroup::at(
        &[v2()],
        &Path::new("system.slice").join(OsStr::from_bytes(&service)),
    );

    let net = Net::new(Link::LoV4);
    let tracer = Tracer::start();
    let listener = net.listen();
    let connect = |cgroup: &Cgroup| {
        let addr = listener.addr;
        let script = format!(
            "exec 3<>/dev/tcp/{}/{}; read -u3; exec 3>&-; read",
            addr.ip(),
            addr.port()
        );
        // In its cgroup before it is what it is.
        let mut shell = net.client_ns.command("bash");
        shell
            .args([
                "-c",
                "echo $$ >\"$1/cgroup.procs\" && shift && exec \"$@\"",
                "bash",
            ])
            .args([cgroup.folder(), &program])
            .args(["-c", &script, &"\x1b[31m\n\"".repeat(2_500)])
            .stdin(Stdio::piped());
        let mut shell = shell.spawn().expect("a shell");
        listener.accept().close();
        // It lives until it is told of.
        let pid = Some(i64::from(shell.id()));
        net.wait_for("its end", Duration::from_secs(20), || {
            let lines = tracer.lines();
            lines
                .iter()
                .any(|line| line.is_end() && line.int("pid") == pid)
        });
        drop(shell.stdin.take());
        shell.wait().expect("the shell");
    };
    connect(&in_container);
    connect(&in_unit);
    net.wait_until_gone();
    let recording = tracer.finish();
    let netns = Some(net.client_ns.inode() as i64);
    let of_shell = |line: &&Line| {
        line.int("netns") == netns && line.str("role") == Some("client") && line.is_end()
    };
    let ours: Vec<&Line> = recording.lines.iter().filter(of_shell).collect();
    let [contained, served] = ours[..] else {
        panic!("{} ends", ours.len());
    };
    let begin = folder.path().to_str().expect("a path of ours");
    for line in [contained, served] {
        assert_eq!(line.str("comm"), Some(COMM), "{}", line.text);
        let exe = line.str("exe").expect("it lived long enough");
        assert!(exe.starts_with(begin) && exe.len() <= 512, "{}", line.text);
        assert!(
            line.str("cgroup")
                .is_some_and(|path| path.contains("\u{1b}]0;own\u{7}")),
            "{}",
            line.text
        );
        assert_eq!(line.json["truncated"], true, "{}", line.text);
    }
    assert_eq!(
        contained.str("container_id"),
        Some(id.as_str()),
        "{}",
        contained.text
    );
    let name = contained.str("container_name").expect("it is known");
    assert!(
        name.starts_with("\"'\\\u{1b}]0;own") && name.len() <= 256,
        "{}",
        contained.text
    );
    assert!(
        served
            .str("unit")
            .is_some_and(|unit| unit.ends_with(".service")),
        "{}",
        served.text
    );
    told_to_people(&folder, &ours);
}

fn long_name() -> Vec<u8> {
    TRICKS.iter().copied().cycle().take(250).collect()
}

/// Nothing of it commands a terminal, nor the one who looks for it.
fn told_to_people(folder: &Folder, lines: &[&Line]) {
    let file = folder.file("ends.ndjson");
    let text: String = lines
        .iter()
        .map(|line| format!("{}\n", line.text))
        .collect();
    fs::write(&file, text).expect("the folder is ours");
    for wide in [&["--wide"][..], &[]] {
        let output = command(&["replay", "-o", "text"])
            .args(wide)
            .arg(&file)
            .output()
            .expect("the tracer");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(text.contains("\"'\\^[]0;own^G"), "{text}");
        let commands = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!text.contains(commands), "{text:?}");
    }
}
