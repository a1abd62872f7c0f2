//! What /proc says of a process.

use std::{
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::cgroup::{self, View};
use crate::{
    core::names::{Named, PATH_MAX_BYTES, Place},
    event::text::Label,
};

/// /proc counts start times in USER_HZ, which is 100 on every architecture that has BPF.
const TICK_NS: u64 = 10_000_000;

/// What the kernel appends to the path of an executable that was replaced or removed. It is left out, so that an
/// upgrade of the package does not make another program of it.
const DELETED: &[u8] = b" (deleted)";

/// A process, as exactly as /proc tells it: pids are used again, hardly ever within the same tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub pid: u32,
    start_ticks: u64,
}

impl Key {
    /// `start_ns`: the leader's `start_boottime`.
    pub fn new(pid: u32, start_ns: u64) -> Self {
        Key {
            pid,
            start_ticks: start_ns / TICK_NS,
        }
    }

    /// The process that has this pid now.
    pub fn now(proc: &Path, pid: u32) -> Option<Self> {
        let stat = fs::read(proc.join(pid.to_string()).join("stat")).ok()?;
        Some(Key {
            pid,
            start_ticks: start_ticks(&stat)?,
        })
    }
}

/// The folder of the kernel's first thread after init. It is in the initial namespaces, and in the root of every cgroup
/// hierarchy.
pub fn kthreadd(proc: &Path) -> PathBuf {
    proc.join("2")
}

/// `PF_KTHREAD` of `linux/sched.h`: no process can have it.
const PF_KTHREAD: u64 = 0x20_0000;

/// Whether this is the /proc of the initial pid namespace, whose pids records tell. Elsewhere somebody else may have the
/// same pid.
pub fn shows_the_node(proc: &Path) -> bool {
    let stat = fs::read(kthreadd(proc).join("stat"));
    let flags = stat.ok().and_then(|stat| field(&stat, 9));
    flags.is_some_and(|flags| flags & PF_KTHREAD != 0)
}

/// From where this /proc tells cgroups.
pub fn view(proc: &Path) -> View {
    let of_kthreadd = fs::read_to_string(kthreadd(proc).join("cgroup"));
    View::new(of_kthreadd.unwrap_or_default())
}

fn start_ticks(stat: &[u8]) -> Option<u64> {
    field(stat, 22)
}

/// A field of /proc/PID/stat, counted from 1, after the second, a name in parentheses that may contain anything.
fn field(stat: &[u8], number: usize) -> Option<u64> {
    let name_end = memchr::memrchr(b')', stat)?;
    let rest = std::str::from_utf8(&stat[name_end + 1..]).ok()?;
    let after_name = number.checked_sub(3)?;
    rest.split_ascii_whitespace().nth(after_name)?.parse().ok()
}

/// What could be read of a process.
pub struct Read {
    pub named: Named,
    /// Its place in the v2 hierarchy.
    pub v2_place: Option<Place>,
}

/// `None`: it is gone.
pub fn read(proc: &Path, view: &View, key: Key) -> Option<Read> {
    let folder = proc.join(key.pid.to_string());
    let (exe, ended) = match fs::read_link(folder.join("exe")) {
        Ok(target) => (Some(exe(target.as_os_str().as_bytes())), false),
        // A zombie has no executable any more.
        Err(error) => (None, error.kind() == io::ErrorKind::NotFound),
    };
    let content = fs::read(folder.join("cgroup")).ok()?;
    // Last, so that it vouches for what was read before: whoever has the pid now has had it all along.
    if Key::now(proc, key.pid)? != key {
        return None;
    }
    let content = String::from_utf8_lossy(&content);
    let v2_place = view.v2_place(&content);
    let place = if ended {
        // In v1 a zombie is shown in the root, wherever it was.
        v2_place.clone()
    } else {
        cgroup::of_process(&content, view)
    };
    let (exe, exe_cut) = exe.unzip();
    Some(Read {
        named: Named {
            exe,
            exe_cut: exe_cut.unwrap_or(false),
            place: place.map(Arc::new),
            called: None,
        },
        v2_place,
    })
}

/// The path, and whether it had to be cut.
fn exe(target: &[u8]) -> (Label, bool) {
    let target = target.strip_suffix(DELETED).unwrap_or(target);
    let mut label = Label::from(&*String::from_utf8_lossy(target));
    let whole = label.as_str().len();
    label.cut(PATH_MAX_BYTES);
    (label, whole > PATH_MAX_BYTES)
}

/// The pids that there are.
pub fn pids(proc: &Path) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded with `cat /proc/PID/stat` of a `sleep` whose file had been given this name.
    const STAT: &[u8] = b"29749 (a) R 1 ((b) S 29746 29746 22153 0 -1 4194304 138 0 0 0 0 0 0 0 20 0 1 0 \
        760168 2990080 421 18446744073709551615 94910214975488 94910214993417 140725003932256 0 0 0 0 6 0 \
        1 0 0 17 1 0 0 0 0 0 94910215007504 94910215008768 94910738563072 140725003934181 140725003934213 \
        140725003934213 140725003935707 0\n";

    #[test]
    fn start_time_whatever_the_name() {
        assert_eq!(start_ticks(STAT), Some(760_168));
        assert_eq!(start_ticks(b"1 (x) S 1 2"), None);
        assert_eq!(start_ticks(b"1 x S"), None);
        assert_eq!(start_ticks(b""), None);
    }

    #[test]
    fn executable() {
        let plain = exe(b"/usr/sbin/nginx");
        assert_eq!(plain, ("/usr/sbin/nginx".into(), false));
        assert_eq!(exe(b"/usr/sbin/nginx (deleted)"), plain);
        assert_eq!(exe(b"/a\xff").0.as_str(), "/a\u{fffd}");
        let (long, cut) = exe("/é".repeat(400).as_bytes());
        assert!(cut && long.as_str().len() <= PATH_MAX_BYTES);
    }

    #[test]
    fn this_process_and_nobody_with_its_pid() {
        let proc = Path::new("/proc");
        let key = Key::now(proc, std::process::id()).expect("this process");
        let read_now = read(proc, &view(proc), key).expect("this process");
        let own = std::env::current_exe().expect("this program");
        let exe = read_now.named.exe.expect("this program");
        assert_eq!(exe.as_str(), own.to_str().expect("a path of ours"));
        let earlier = Key {
            start_ticks: key.start_ticks - 1,
            ..key
        };
        assert!(read(proc, &view(proc), earlier).is_none());
        assert!(pids(proc).any(|pid| pid == std::process::id()));
    }
}
