//! Readers and files that fail: full disks, small pipes, readers that are slow or stand still, files that are gone.

use std::{
    fs::{self, File, OpenOptions},
    io::{PipeReader, Read, pipe},
    os::{fd::AsRawFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, sleep},
    time::{Duration, Instant},
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::signal::Signal,
};

use super::{Running, Traffic, lines_of, lost_in, tracer_of, wait_for};
use crate::{
    Test,
    lab::{folder::Folder, needs::Need, tracer::command},
};

pub fn tests() -> Vec<Test> {
    let ip = Need::Program("ip");
    vec![
        Test::new("faults::full_disk", &[ip], full_disk),
        Test::new("faults::pipe_of_one_page", &[ip], pipe_of_one_page),
        Test::new("faults::slow_reader_at_the_end", &[ip], slow_at_the_end),
        Test::new(
            "faults::stopped_reader_at_the_end",
            &[ip],
            stopped_at_the_end,
        ),
        Test::new(
            "faults::reader_stopped_for_30_s",
            &[ip, Need::Asked("LIVE_LONG")],
            stopped_for_30_s,
        ),
        Test::new("faults::memory_after_floods", &[ip], memory_after_floods),
        Test::new("faults::file_removed", &[ip], file_removed),
        Test::new(
            "faults::file_may_grow_no_more",
            &[ip],
            file_may_grow_no_more,
        ),
        Test::new("faults::read_only_folder", &[], read_only_folder),
        Test::new("faults::one_file_for_two", &[ip], one_file_for_two),
        Test::new("faults::killed_while_writing", &[ip], killed_while_writing),
    ]
}

/// Mounted for as long as it lives.
struct Mount(PathBuf);

impl Mount {
    fn tmpfs(place: PathBuf, options: &str) -> Mount {
        fs::create_dir(&place).expect("the folder is ours");
        let tmpfs = Some("tmpfs");
        mount(tmpfs, &place, tmpfs, MsFlags::empty(), Some(options)).expect("a tmpfs");
        Mount(place)
    }

    fn read_only(place: PathBuf) -> Mount {
        fs::create_dir(&place).expect("the folder is ours");
        let flags = MsFlags::MS_BIND;
        mount(Some(&place), &place, None::<&str>, flags, None::<&str>).expect("a bind mount");
        let bound = Mount(place);
        let flags = flags | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, &bound.0, None::<&str>, flags, None::<&str>).expect("a remount");
        bound
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

fn started(file: &Path) {
    wait_for("`start`", || {
        fs::metadata(file).is_ok_and(|file| file.len() > 0)
    });
}

/// One tracer writes to a file that it opens, another to a standard output that is one, and neither can even say on
/// standard error that the disk is full. What it has no room for is counted by kind, and told when there is room again.
fn full_disk() {
    let folder = Folder::new();
    let mut traffic = Traffic::new();
    let disks = ["file", "stdout"].map(|name| Mount::tmpfs(folder.file(name), "size=2m"));
    let mut running: Vec<(Running, PathBuf, PathBuf)> = Vec::new();
    for (disk, to_file) in disks.iter().zip([true, false]) {
        let (file, ballast) = (disk.0.join("events.ndjson"), disk.0.join("ballast"));
        fs::write(&ballast, vec![0; 512 << 10]).expect("there is room");
        let mut tracer = tracer_of(&traffic);
        match to_file {
            true => tracer.arg("--output-file").arg(&file),
            false => tracer.stdout(File::create(&file).expect("there is room")),
        };
        let nowhere = OpenOptions::new().write(true).open("/dev/full");
        tracer.stderr(nowhere.expect("a device"));
        running.push((Running::start(&mut tracer), file, ballast));
    }
    for (_, file, _) in &running {
        started(file);
    }
    traffic.run(800);
    sleep(Duration::from_secs(1));
    for (_, file, ballast) in &running {
        let bytes = fs::read(file).expect("it is there");
        assert!(bytes.len() > 400 << 10, "the disk was full");
        lines_of(&bytes);
        fs::remove_file(ballast).expect("it is ours");
    }
    // Now there is room again.
    traffic.run(40);
    sleep(Duration::from_millis(700));
    for (tracer, file, _) in &mut running {
        tracer.signal(Signal::SIGINT);
        assert!(tracer.ends(Duration::from_secs(10)).success());
        let lines = lines_of(&fs::read(file).expect("it is there"));
        let lost = lost_in(&lines, "output");
        let closes = lost.get("tcp_close").copied().unwrap_or(0);
        assert!(closes > 500, "{lost:?}");
        assert!(!lost.contains_key("lost"), "{lost:?}");
        let told = traffic.own(&lines);
        // RSTs and failed calls are told before ends and take room too.
        assert!(told.len() > 200, "{} told", told.len());
        traffic.account(told.len(), closes);

        let stop = lines.last().expect("lines");
        assert_eq!(stop.event(), "stop", "{}", stop.text);
        let sum: usize = lost.values().sum();
        assert_eq!(stop.int("lost"), Some(sum as i64), "{}", stop.text);
        for (kind, count) in stop.json["written"].as_object().expect("counts") {
            let there = lines.iter().filter(|line| line.event() == kind).count();
            assert_eq!(count.as_u64(), Some(there as u64), "{kind}: {}", stop.text);
        }
        let reasons = stop.json["reasons"].as_object().expect("counts");
        let sum: u64 = reasons.values().filter_map(|count| count.as_u64()).sum();
        let ends = lines.iter().filter(|line| line.is_end()).count();
        assert_eq!(sum, ends as u64, "{}", stop.text);
    }
}

/// A tracer that writes to a pipe that holds one page, and does not wait for room in it by itself.
fn with_small_pipe(traffic: &Traffic) -> (Running, PipeReader) {
    let (reader, writer) = pipe().expect("a pipe");
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).expect("one page");
    let flags = fcntl(&writer, FcntlArg::F_GETFL).expect("flags");
    let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
    fcntl(&writer, FcntlArg::F_SETFL(flags)).expect("a flag");
    let tracer = Running::start(tracer_of(traffic).stdout(writer).stderr(Stdio::null()));
    (tracer, reader)
}

/// The first line, and what came with it.
fn first_bytes(reader: &mut impl Read) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let count = reader.read(&mut bytes).expect("a line");
    bytes.truncate(count);
    bytes
}

fn pipe_of_one_page() {
    let mut traffic = Traffic::new();
    let (mut tracer, mut reader) = with_small_pipe(&traffic);
    let mut bytes = first_bytes(&mut reader);
    traffic.run(400);
    tracer.signal(Signal::SIGINT);
    reader.read_to_end(&mut bytes).expect("the rest");
    assert!(tracer.ends(Duration::from_secs(10)).success());
    let lines = lines_of(&bytes);
    assert_eq!(lost_in(&lines, "output").len(), 0);
    traffic.account(traffic.own(&lines).len(), 0);
    assert_eq!(lines.last().map_or("", |line| line.event()), "stop");
}

/// Who takes less than there is gets for some seconds what it takes, and then the number of the rest.
fn slow_at_the_end() {
    let mut traffic = Traffic::new();
    let (mut tracer, mut reader) = with_small_pipe(&traffic);
    let mut bytes = first_bytes(&mut reader);
    traffic.run(400);
    // Some 1.2 MiB wait for it.
    sleep(Duration::from_millis(300));
    tracer.signal(Signal::SIGTERM);
    let signalled = Instant::now();
    let mut page = [0; 4096];
    loop {
        match reader.read(&mut page).expect("bytes") {
            0 => break,
            count => bytes.extend_from_slice(&page[..count]),
        }
        // 80 KiB a second.
        sleep(Duration::from_millis(50));
    }
    assert!(tracer.ends(Duration::from_secs(1)).success());
    let took = signalled.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
    let lines = lines_of(&bytes);
    let lost = lost_in(&lines, "output");
    let stop = lines.last().expect("lines");
    assert_eq!(stop.event(), "stop", "{}", stop.text);
    let sum: usize = lost.values().sum();
    assert_eq!(stop.int("lost"), Some(sum as i64), "{}", stop.text);
    let (told, lost) = (traffic.own(&lines).len(), lost["tcp_close"]);
    assert!(told > 0 && lost > 50, "{told} {lost}");
    traffic.account(told, lost);
}

/// What waits for a reader that stands still takes memory, and what it took is given back: as much after the third
/// time as before the first.
fn memory_after_floods() {
    const MIB: u64 = 1 << 10;
    /// What may be kept: names of processes, and what is remembered of ended connections.
    const KEPT_KIB: u64 = 24 * MIB;
    let mut traffic = Traffic::new();
    let mut tracer = Running::start(tracer_of(&traffic).stdout(Stdio::piped()));
    let mut output = tracer.0.stdout.take().expect("piped");
    first_bytes(&mut output);
    let stands_still = Arc::new(AtomicBool::new(false));
    let reader = {
        let stands_still = Arc::clone(&stands_still);
        thread::spawn(move || {
            let mut page = vec![0; 1 << 16];
            while output.read(&mut page).is_ok_and(|count| count > 0) {
                while stands_still.load(Relaxed) {
                    sleep(Duration::from_millis(10));
                }
            }
        })
    };
    let rss_kib = || {
        let status = fs::read_to_string(format!("/proc/{}/status", tracer.pid()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        number.expect("a number")
    };
    let before = rss_kib();
    let mut told = vec![before / MIB];
    for _ in 0..3 {
        stands_still.store(true, Relaxed);
        traffic.run(12_000);
        sleep(Duration::from_millis(300));
        let flooded = rss_kib();
        stands_still.store(false, Relaxed);
        assert!(
            (before + 32 * MIB..before + 128 * MIB).contains(&flooded),
            "{before} KiB, {flooded} with a flood of lines waiting"
        );
        wait_for("its memory to be given back", || {
            rss_kib() < before + KEPT_KIB
        });
        told.extend([flooded / MIB, rss_kib() / MIB]);
    }
    println!("note: before, and with and after each flood: {told:?} MiB");
    tracer.signal(Signal::SIGTERM);
    assert!(tracer.ends(Duration::from_secs(10)).success());
    reader.join().expect("a reader");
}

/// Who takes nothing gets whole lines, and keeps nobody.
fn stopped_at_the_end() {
    let mut traffic = Traffic::new();
    let (mut tracer, mut reader) = with_small_pipe(&traffic);
    let mut bytes = first_bytes(&mut reader);
    traffic.run(40);
    let signalled = Instant::now();
    tracer.signal(Signal::SIGTERM);
    // Whoever asks twice does not wait.
    sleep(Duration::from_millis(500));
    tracer.signal(Signal::SIGTERM);
    assert!(tracer.ends(Duration::from_secs(2)).success());
    let took = signalled.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    reader.read_to_end(&mut bytes).expect("the rest");
    lines_of(&bytes);
}

fn stopped_for_30_s() {
    let mut traffic = Traffic::new();
    let (mut tracer, mut reader) = with_small_pipe(&traffic);
    let mut bytes = first_bytes(&mut reader);
    for _ in 0..10 {
        traffic.run(400);
        sleep(Duration::from_secs(3));
    }
    tracer.signal(Signal::SIGINT);
    reader.read_to_end(&mut bytes).expect("the rest");
    assert!(tracer.ends(Duration::from_secs(10)).success());
    let lines = lines_of(&bytes);
    assert_eq!(lost_in(&lines, "output").len(), 0, "it fits into 64 MiB");
    traffic.account(traffic.own(&lines).len(), 0);
}

/// What is open is written to; SIGHUP makes the file anew, also where another stands in its place.
fn file_removed() {
    let folder = Folder::new();
    let place = folder.file("log");
    fs::create_dir(&place).expect("the folder is ours");
    let file = place.join("events.ndjson");
    let mut traffic = Traffic::new();
    let stderr = folder.file("stderr");
    let said = || fs::read_to_string(&stderr).expect("it is there");
    let mut tracer = tracer_of(&traffic);
    tracer
        .arg("--output-file")
        .arg(&file)
        .stderr(File::create(&stderr).expect("the folder is ours"));
    let mut tracer = Running::start(&mut tracer);
    started(&file);
    let held = File::open(&file).expect("it is there");
    fs::remove_file(&file).expect("it is ours");
    traffic.run(20);
    let old = format!("/proc/self/fd/{}", held.as_raw_fd());
    let told = |file: &Path| {
        traffic
            .own(&lines_of(&fs::read(file).unwrap_or_default()))
            .len()
    };
    let all = traffic.ends - traffic.hidden();
    wait_for("all in the file that is gone", || {
        told(Path::new(&old)) >= all
    });

    // The folder is gone too: there is nowhere to make it.
    fs::remove_dir(&place).expect("it is empty");
    tracer.signal(Signal::SIGHUP);
    wait_for("an error", || said().contains("events.ndjson"));
    assert!(said().contains("going on with the old file"), "{}", said());
    fs::create_dir(&place).expect("the folder is ours");
    tracer.signal(Signal::SIGHUP);
    wait_for("a new file", || file.exists());
    // The same again: nothing to do.
    tracer.signal(Signal::SIGHUP);
    let before = told(Path::new(&old));
    traffic.run(20);
    tracer.signal(Signal::SIGINT);
    assert!(tracer.ends(Duration::from_secs(10)).success());
    let lines = lines_of(&fs::read(&file).expect("it is there"));
    traffic.account(before + traffic.own(&lines).len(), 0);
    assert_eq!(lines.last().map_or("", |line| line.event()), "stop");
}

/// RLIMIT_FSIZE, whose signal would kill: as a full disk.
fn file_may_grow_no_more() {
    let folder = Folder::new();
    let (file, full) = (folder.file("events.ndjson"), folder.file("events.ndjson.1"));
    let mut traffic = Traffic::new();
    let mut tracer = tracer_of(&traffic);
    tracer.arg("--output-file").arg(&file).stderr(Stdio::null());
    let limit = libc::rlimit {
        rlim_cur: 256 << 10,
        rlim_max: 256 << 10,
    };
    // SAFETY: a system call alone between fork and exec.
    unsafe {
        tracer.pre_exec(move || match libc::setrlimit(libc::RLIMIT_FSIZE, &limit) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let mut tracer = Running::start(&mut tracer);
    started(&file);
    traffic.run(200);
    sleep(Duration::from_millis(700));
    fs::rename(&file, &full).expect("it is ours");
    tracer.signal(Signal::SIGHUP);
    wait_for("the new file", || file.exists());
    tracer.signal(Signal::SIGINT);
    assert!(tracer.ends(Duration::from_secs(10)).success());
    let first = lines_of(&fs::read(&full).expect("it is there"));
    let second = lines_of(&fs::read(&file).expect("it is there"));
    let lost = |lines| {
        lost_in(lines, "output")
            .get("tcp_close")
            .copied()
            .unwrap_or(0)
    };
    let told = traffic.own(&first).len() + traffic.own(&second).len();
    let lost = lost(&first) + lost(&second);
    traffic.account(told, lost);
    assert!(lost > 50, "{lost}");
    assert_eq!(second.last().map_or("", |line| line.event()), "stop");
}

fn read_only_folder() {
    let folder = Folder::new();
    let place = Mount::read_only(folder.file("log"));
    let file = place.0.join("events.ndjson");
    let output = command(&["-o", "json", "--output-file"])
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .expect("the tracer");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    let words = [file.to_str().expect("UTF-8"), "Read-only file system"];
    assert!(words.iter().all(|word| stderr.contains(word)), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

/// The second is told so, and the first does not notice.
fn one_file_for_two() {
    let folder = Folder::new();
    let file = folder.file("events.ndjson");
    let mut traffic = Traffic::new();
    let to_file = || {
        let mut tracer = tracer_of(&traffic);
        tracer.arg("--output-file").arg(&file);
        tracer
    };
    let mut first = Running::start(&mut to_file());
    started(&file);
    let second = to_file().stdin(Stdio::null()).output().expect("the tracer");
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    let stderr = String::from_utf8_lossy(&second.stderr);
    let words = [file.to_str().expect("UTF-8"), "another tracer"];
    assert!(words.iter().all(|word| stderr.contains(word)), "{stderr}");
    traffic.run(20);
    first.signal(Signal::SIGINT);
    // The one that follows takes over.
    let mut third = command(&["-o", "json", "--for", "100ms", "--output-file"]);
    let mut third = Running::start(third.arg(&file));
    assert!(third.ends(Duration::from_secs(20)).success());
    assert!(first.ends(Duration::from_secs(10)).success());
    let lines = lines_of(&fs::read(&file).expect("it is there"));
    let told: Vec<_> = lines.iter().map(|line| line.event()).collect();
    for event in ["start", "stop"] {
        let count = told.iter().filter(|told| **told == event).count();
        assert_eq!(count, 2, "{event}");
    }
    // Nobody writes to a device alone.
    let mut null = command(&["-o", "json", "--for", "100ms", "--output-file", "/dev/null"]);
    let mut both = [Running::start(&mut null), Running::start(&mut null)];
    assert!(
        both.iter_mut()
            .all(|one| one.ends(Duration::from_secs(20)).success())
    );
}

/// What stands in the file is whole, but for the end of it; the next run mends that.
fn killed_while_writing() {
    const KILLS: u32 = 5;
    let folder = Folder::new();
    let file = folder.file("events.ndjson");
    let mut traffic = Traffic::new();
    for kill in 0..KILLS {
        let mut tracer = tracer_of(&traffic);
        let before = fs::metadata(&file).map_or(0, |file| file.len());
        let mut tracer = Running::start(tracer.arg("--output-file").arg(&file));
        wait_for("`start`", || {
            fs::metadata(&file).is_ok_and(|file| file.len() > before)
        });
        thread::scope(|scope| {
            scope.spawn(|| traffic.run(400));
            wait_for("lines", || {
                fs::metadata(&file).is_ok_and(|file| file.len() > before + (64 << 10))
            });
            sleep(Duration::from_millis(7) * kill);
            tracer.signal(Signal::SIGKILL);
        });
        tracer.ends(Duration::from_secs(10));
    }
    let mut last = command(&["-o", "json", "--for", "100ms", "--output-file"]);
    let mut last = Running::start(last.arg(&file));
    assert!(last.ends(Duration::from_secs(20)).success());
    let text = fs::read_to_string(&file).expect("UTF-8");
    let lines: Vec<_> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let events = lines_of((lines.join("\n") + "\n").as_bytes());
    let starts = events.iter().filter(|line| line.event() == "start");
    assert_eq!(starts.count(), KILLS as usize + 1);
    assert_eq!(events.last().map_or("", |line| line.event()), "stop");
    let replay = command(&["replay", "-o", "json"])
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .expect("the tracer");
    assert!(
        replay.status.success() && replay.stderr.is_empty(),
        "{replay:?}"
    );
    assert_eq!(replay.stdout, (lines.join("\n") + "\n").as_bytes());
}
