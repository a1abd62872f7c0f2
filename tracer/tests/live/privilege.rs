//! With how little it starts, what it leaves to itself, and what it trusts in folders that everybody may write to.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, chown, lchown, symlink},
        process::CommandExt,
    },
    path::Path,
    process::{Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::{
        signal::{Signal, kill},
        stat::Mode,
    },
    unistd::{Pid, mkfifo},
};

use crate::{
    Test,
    cli::NOBODY,
    endings::after_close::write_to_orphan_in_fin_wait1,
    lab::{
        expect::judge,
        folder::Folder,
        kernel::{by_kretprobes, charges_memlock},
        link::{Link, Net},
        needs::Need,
        tracer::{Tracer, binary, command},
    },
};

pub fn tests() -> Vec<Test> {
    let setpriv = &[Need::Program("setpriv"), Need::Program("ip")];
    vec![
        Test::new("privilege::the_least", setpriv, the_least),
        Test::new(
            "privilege::nothing_for_everybody",
            &[],
            nothing_for_everybody,
        ),
        Test::new("privilege::links_of_others", &[], links_of_others),
    ]
}

/// By number: older programs do not know the names.
const BPF: u32 = 39;
const PERFMON: u32 = 38;
const SYS_PTRACE: u32 = 19;
const DAC_READ_SEARCH: u32 = 2;
/// Where maps count against RLIMIT_MEMLOCK, to raise it.
const SYS_RESOURCE: u32 = 24;

/// Where kprobes, which are perf events, are for nobody else; it has the rights of the first two.
const SYS_ADMIN: u32 = 21;

fn kprobes_need_admin() -> bool {
    let paranoid = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid");
    let level = paranoid.ok().and_then(|level| level.trim().parse().ok());
    by_kretprobes() && level.is_some_and(|level: i32| level >= 3)
}

/// Somebody who is not root and has these capabilities, no others, and no way to more.
fn somebody(program: &Path, capabilities: &[u32]) -> Command {
    let memlock = charges_memlock().then_some(&SYS_RESOURCE);
    let admin = kprobes_need_admin().then_some(&SYS_ADMIN);
    let capabilities = capabilities.iter().chain(memlock).chain(admin);
    let list: String = capabilities
        .map(|number| format!(",+cap_{number}"))
        .collect();
    let mut setpriv = Command::new("setpriv");
    setpriv
        .args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")])
        .args(["--clear-groups", "--no-new-privs"])
        .args(
            ["--inh-caps", "--ambient-caps", "--bounding-set"]
                .map(|set| format!("{set}=-all{list}")),
        )
        .arg(program);
    setpriv
}

/// docs/install.md's table, by who is not even root: with all four nothing is missing, without one what is said there.
fn the_least() {
    let folder = Folder::new();
    let copy = folder.file("tracer");
    fs::copy(binary(), &copy).expect("the folder is ours");
    let all = [BPF, PERFMON, SYS_PTRACE, DAC_READ_SEARCH];
    // Without CAP_DAC_READ_SEARCH tracefs is closed, and accept is not seen.
    let kinds = [
        &all[..],
        &[BPF, PERFMON, DAC_READ_SEARCH],
        &[BPF, PERFMON, SYS_PTRACE],
    ];
    let net = Net::new(Link::LoV4);
    let tracers = kinds.map(|capabilities| {
        Tracer::start_as(|command| {
            let mut by = somebody(&copy, capabilities);
            by.args(command.get_args());
            *command = by;
        })
    });
    let ends = write_to_orphan_in_fin_wait1(&net, 5);
    net.wait_until_gone();
    let [whole, no_ptrace, no_search] = tracers.map(Tracer::finish);
    judge(&whole, &net.inodes(), &ends);
    judge(&no_ptrace, &net.inodes(), &ends);
    let exe = fs::read_link("/proc/self/exe").expect("this program");
    for (recording, told) in [
        (&whole, exe.to_str()),
        (&no_ptrace, None),
        (&no_search, exe.to_str()),
    ] {
        let netns = net.inodes().map(|inode| Some(inode as i64));
        let ours: Vec<_> = recording
            .ends()
            .filter(|line| netns.contains(&line.int("netns")))
            .collect();
        assert_eq!(ours.len(), 10);
        for line in ours {
            assert_eq!(line.str("exe"), told, "{}", line.text);
            assert!(line.int("pid").is_some(), "{}", line.text);
        }
    }
    assert!(whole.stderr.is_empty(), "{}", whole.stderr);

    if kprobes_need_admin() {
        return;
    }
    for (lacking, name) in [(BPF, "CAP_BPF"), (PERFMON, "CAP_PERFMON")] {
        let others: Vec<u32> = all
            .into_iter()
            .filter(|number| *number != lacking)
            .collect();
        let output = somebody(&copy, &others)
            .args(["-o", "json"])
            .output()
            .expect("setpriv");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            stderr.contains(&format!("tracing needs {name}, which")),
            "{stderr}"
        );
    }
}

/// A run that is told to write to `file`, and is over soon.
fn run(file: &Path, folder: &Path) -> Output {
    let mut command = command(&["-o", "json", "--for", "100ms", "--output-file"]);
    command.arg(file).current_dir(folder).stdin(Stdio::null());
    // SAFETY: one system call that allocates nothing.
    unsafe {
        command.pre_exec(|| {
            libc::umask(0);
            Ok(())
        });
    }
    command.output().expect("the tracer")
}

fn writes(file: &Path, folder: &Path) {
    let output = run(file, folder);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}: {output:?}",
        file.display()
    );
    assert!(
        output.stderr.is_empty() && output.stdout.is_empty(),
        "{output:?}"
    );
}

/// Also where the umask would allow it.
fn nothing_for_everybody() {
    let folder = Folder::new();
    let name = folder
        .path()
        .file_name()
        .expect("a folder in the temporary one");
    let round = Path::new("./..").join(name).join("c");
    for file in [Path::new("a"), &folder.file("b"), &round] {
        writes(file, folder.path());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(folder.path()).expect("it is there") {
        let entry = entry.expect("an entry");
        let mode = entry.metadata().expect("it is there").permissions().mode();
        assert_eq!(mode & 0o7777, 0o640, "{mode:o}");
        names.push(entry.file_name());
    }
    names.sort();
    assert_eq!(names, ["a", "b", "c"]);
}

/// As with fs.protected_symlinks=1 and fs.protected_regular=2, whatever they are here.
fn links_of_others() {
    let folder = Folder::new();
    let shared = folder.file("shared");
    let own = folder.file("own");
    for (path, mode) in [(&shared, 0o1777), (&own, 0o755)] {
        fs::create_dir(path).expect("the folder is ours");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the folder is ours");
    }
    let target = own.join("target");
    let put = |path: &Path, to: &Path, owner: u32| {
        symlink(to, path).expect("the folder is ours");
        lchown(path, Some(owner), None).expect("root");
    };
    let refused = |file: &Path, what: &str| {
        let output = run(file, folder.path());
        assert_eq!(
            output.status.code(),
            Some(1),
            "{}: {output:?}",
            file.display()
        );
        let stderr = String::from_utf8_lossy(&output.stderr);
        let said = format!("is {what} of uid {NOBODY} in a folder that others may write to");
        assert!(stderr.contains(&said), "{stderr}");
        assert!(!target.exists(), "{} was followed", file.display());
    };

    let link = shared.join("link");
    put(&link, &target, NOBODY);
    refused(&link, "a link");
    let passage = shared.join("passage");
    put(&passage, &own, NOBODY);
    refused(&passage.join("target"), "a link");
    let file = shared.join("file");
    fs::write(&file, "").expect("the folder is ours");
    chown(&file, Some(NOBODY), None).expect("root");
    refused(&file, "a file");
    assert_eq!(fs::read(&file).expect("it is there"), b"");
    // Nobody reads it: whoever opened it would wait for ever.
    let fifo = shared.join("fifo");
    mkfifo(&fifo, Mode::from_bits_truncate(0o666)).expect("the folder is ours");
    chown(&fifo, Some(NOBODY), None).expect("root");
    refused(&fifo, "a file");

    // Their own folder, or one that is not shared: whoever names it means it.
    let mine = shared.join("mine");
    put(&mine, &target, 0);
    let elsewhere = own.join("elsewhere");
    put(&elsewhere, &target, NOBODY);
    for link in [&mine, &elsewhere] {
        writes(link, folder.path());
        fs::remove_file(&target).expect("it was followed");
    }

    a_link_after_rotation(&shared.join("events"), &target);
}

/// The name was good when it was opened first.
fn a_link_after_rotation(log: &Path, target: &Path) {
    let mut child = command(&["-o", "json", "--output-file"])
        .arg(log)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tracer");
    let deadline = Instant::now() + Duration::from_secs(20);
    let size = || fs::metadata(log).map_or(0, |log| log.len());
    while size() == 0 {
        assert!(Instant::now() < deadline, "it does not start");
        sleep(Duration::from_millis(10));
    }
    let rotated = log.with_extension("1");
    fs::rename(log, &rotated).expect("the folder is ours");
    symlink(target, log).expect("the folder is ours");
    lchown(log, Some(NOBODY), None).expect("root");
    let pid = Pid::from_raw(child.id() as i32);
    kill(pid, Signal::SIGHUP).expect("it runs");
    // Signals of two kinds may overtake each other: the second comes when the first was served.
    let mut stderr = child.stderr.take().expect("piped");
    let mut said = Vec::new();
    while !said.ends_with(b"\n") {
        let mut byte = [0];
        std::io::Read::read_exact(&mut stderr, &mut byte).expect("what it says");
        said.push(byte[0]);
    }
    kill(pid, Signal::SIGINT).expect("it runs");
    assert!(child.wait().expect("the tracer").success());
    let said = String::from_utf8_lossy(&said);
    assert!(
        said.contains("is a link of uid") && said.contains("going on with the old file"),
        "{said}"
    );
    assert!(!target.exists());
    let text = fs::read_to_string(&rotated).expect("it is there");
    assert!(
        text.lines()
            .last()
            .is_some_and(|line| line.contains("\"event\":\"stop\"")),
        "{text}"
    );
}
