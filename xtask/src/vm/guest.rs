//! Boots a kernel and listens to it until it is done, or dead.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{
    kernel::Kernel,
    verdict::{Listener, Verdict},
};
use crate::command::{say, shown};

/// What is tried.
pub struct Programs {
    pub tracer: PathBuf,
    pub live: PathBuf,
}

/// How the guest's instructions are run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    Kvm,
    /// By translation, at a tenth of the speed.
    Tcg,
}

impl Accel {
    /// KVM where it may be used; whether it works is seen when it is used.
    pub fn to_try() -> Self {
        let usable = File::options().read(true).write(true).open("/dev/kvm");
        if usable.is_ok() { Self::Kvm } else { Self::Tcg }
    }

    fn args(self) -> &'static [&'static str] {
        match self {
            Self::Kvm => &["-accel", "kvm", "-cpu", "host", "-smp", "2"],
            // A nanosecond an instruction, and none for waiting: however slow the host, the tests
            // find the time in which they expect things. It takes a single processor. Where that copies and clears
            // memory byte by byte, as `rep movsb` translated does, a third of the time goes into it.
            Self::Tcg => &[
                "-accel",
                "tcg",
                "-cpu",
                "max,-erms,-fsrm",
                "-smp",
                "1",
                "-icount",
                "shift=0,sleep=off",
            ],
        }
    }

    /// For the first word of the guest's init.
    fn boots_within(self) -> Duration {
        match self {
            // A nested KVM may stop for ever at an instruction that it does not know.
            Self::Kvm => Duration::from_secs(60),
            Self::Tcg => Duration::from_secs(5 * 60),
        }
    }
}

/// Longer than init lets any test take, of the time for which the guest has a processor.
const SILENCE: Duration = Duration::from_secs(12 * 60);

const TICK: Duration = Duration::from_millis(200);

/// An oops ends the guest as a panic does, and either ends QEMU.
const COMMAND_LINE: &str = "console=ttyS0 quiet oops=panic panic=-1";
const LOCKDOWN: &str = " lsm=lockdown lockdown=confidentiality";

/// Runs init to its end. `accel` falls back to translation for good when a guest does not start otherwise.
pub fn boot(
    kernel: &Kernel,
    initramfs: &Path,
    place: &Path,
    lockdown: bool,
    accel: &Mutex<Accel>,
) -> Result<Verdict> {
    let first = *accel.lock().expect("setting it cannot panic");
    let verdict = try_boot(kernel, initramfs, place, lockdown, first)?;
    if verdict.release.is_some() || first == Accel::Tcg {
        return Ok(verdict);
    }
    say("KVM does not run the guest: translating its instructions instead");
    *accel.lock().expect("setting it cannot panic") = Accel::Tcg;
    try_boot(kernel, initramfs, place, lockdown, Accel::Tcg)
}

fn try_boot(
    kernel: &Kernel,
    initramfs: &Path,
    place: &Path,
    lockdown: bool,
    accel: Accel,
) -> Result<Verdict> {
    let console = place.join("console.log");
    let mut words = COMMAND_LINE.to_owned();
    if lockdown {
        words += LOCKDOWN;
    }
    let mut command = qemu(kernel, initramfs, &console, &words, accel);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .with_context(|| format!("cannot start {}", shown(&command)))?;
    let heard = listen(&mut child, &place.join("tests.log"), &kernel.name, accel);
    // It has ended by itself, unless it hangs.
    let _ = child.kill();
    let _ = child.wait();
    let console = fs::read(&console).unwrap_or_default();
    Ok(heard?.finish(&String::from_utf8_lossy(&console), place))
}

/// The guest's second serial line is QEMU's stdout.
fn listen(child: &mut Child, log: &Path, name: &str, accel: Accel) -> Result<Listener> {
    let stdout = child.stdout.take().context("its stdout was not piped")?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let mut file = File::create(log).with_context(|| format!("cannot make {}", log.display()))?;
    let mut listener = Listener::default();
    let mut last = Instant::now();
    let mut starved = starved(child.id());
    loop {
        let patience = if listener.has_begun() {
            SILENCE
        } else {
            accel.boots_within()
        };
        match receiver.recv_timeout(TICK) {
            Ok(line) => {
                last = Instant::now();
                starved = self::starved(child.id());
                writeln!(file, "{line}")
                    .with_context(|| format!("cannot write {}", log.display()))?;
                if let Some(news) = listener.hear(&line) {
                    say(format!("{name}: {news}"));
                }
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(listener),
            Err(RecvTimeoutError::Timeout) => {
                let without = self::starved(child.id()).saturating_sub(starved);
                if last.elapsed() > patience + without {
                    listener.hang(patience);
                    return Ok(listener);
                }
            }
        }
    }
}

/// How long its threads have waited for a processor, all together: where others have the machine, a guest without a
/// word may yet be at work.
fn starved(process: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{process}/task"));
    let nanoseconds = threads
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|thread| {
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split(' ').nth(1)?.parse::<u64>().ok()
        });
    Duration::from_nanos(nanoseconds.sum())
}

fn qemu(kernel: &Kernel, initramfs: &Path, console: &Path, words: &str, accel: Accel) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(accel.args())
        .args(["-m", "2048", "-no-reboot"])
        .args(["-nodefaults", "-display", "none"])
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .args(["-serial", "stdio"])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", words]);
    command
}
