//! deploy/systemd/tracer.service without systemd: what the unit takes from a process is taken from it by the same
//! system calls, where systemd itself cannot be had.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    io::{self, Error},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::tracer::binary;

/// What the system calls of this architecture are called (linux-libc-dev).
pub const SYSCALLS: &str = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h";

const CAPABILITIES: &str = "/usr/include/linux/capability.h";

/// A file of deploy/.
pub fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(name)
}

pub struct Unit {
    settings: Vec<(String, String)>,
}

impl Unit {
    pub fn read() -> Unit {
        let text = fs::read_to_string(deploy("systemd/tracer.service")).expect("the unit");
        let settings = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        Unit { settings }
    }

    pub fn get(&self, key: &str) -> &str {
        let mut found = self.settings.iter().filter(|(name, _)| name == key);
        let (_, value) = found.next().unwrap_or_else(|| panic!("the unit has {key}"));
        assert!(found.next().is_none(), "{key} once");
        value
    }

    /// ExecStart with other files than those of an installed package.
    pub fn command(&self, files: &[(&str, &Path)]) -> Command {
        let mut words = self.get("ExecStart").split_whitespace().map(|word| {
            match files.iter().find(|(name, _)| *name == word) {
                Some((_, file)) => file.to_path_buf(),
                None => PathBuf::from(word),
            }
        });
        assert_eq!(words.next(), Some(PathBuf::from("/usr/bin/tracer")));
        let mut command = Command::new(binary());
        command.args(words);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TRACER_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// Takes from what `command` starts all capabilities, system calls and files that the unit takes.
    /// Only `writable` can still be written to.
    pub fn confine(&self, command: &mut Command, writable: &Path) {
        for key in ["NoNewPrivileges", "ProtectKernelTunables"] {
            assert_eq!(self.get(key), "yes", "{key}");
        }
        assert_eq!(self.get("ProtectSystem"), "strict");
        let lost = self.lost_capabilities();
        let filter = self.filter();
        let folders = ["/", "/proc/sys", "/sys"].map(|path| c_string(Path::new(path)));
        let writable = c_string(writable);
        // SAFETY: between fork and exec only system calls, with what was made before.
        unsafe {
            command.pre_exec(move || {
                check(libc::unshare(libc::CLONE_NEWNS))?;
                mount(&folders[0], libc::MS_REC | libc::MS_PRIVATE)?;
                for folder in folders[1..].iter().chain([&writable]) {
                    mount(folder, libc::MS_BIND | libc::MS_REC)?;
                }
                for folder in &folders[1..] {
                    mount(folder, libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY)?;
                }
                // The root is not bound over itself: it would hide the others.
                mount(
                    &folders[0],
                    libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY,
                )?;
                for capability in &lost {
                    check(libc::prctl(libc::PR_CAPBSET_DROP, *capability, 0, 0, 0))?;
                }
                check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
                let program = libc::sock_fprog {
                    len: filter.len() as u16,
                    filter: filter.as_ptr().cast_mut(),
                };
                check(libc::prctl(
                    libc::PR_SET_SECCOMP,
                    libc::SECCOMP_MODE_FILTER,
                    &raw const program,
                ))
            });
        }
    }

    fn lost_capabilities(&self) -> Vec<libc::c_ulong> {
        let numbers = defined(CAPABILITIES, "CAP_");
        let kept: BTreeSet<u32> = self
            .get("CapabilityBoundingSet")
            .split_whitespace()
            .map(|name| numbers[name.strip_prefix("CAP_").expect("a capability")])
            .collect();
        let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap").expect("since 3.2");
        let last: u32 = last.trim().parse().expect("a number");
        (0..=last)
            .filter(|capability| !kept.contains(capability))
            .map(libc::c_ulong::from)
            .collect()
    }

    /// Allows what SystemCallFilter= names, its groups as systemd has them; everything else fails with EPERM.
    fn filter(&self) -> Vec<libc::sock_filter> {
        assert_eq!(self.get("SystemCallErrorNumber"), "EPERM");
        let numbers = defined(SYSCALLS, "__NR_");
        let mut names = BTreeSet::new();
        for word in self.get("SystemCallFilter").split_whitespace() {
            match word.starts_with('@') {
                true => group(word, &mut names),
                false => drop(names.insert(word.to_owned())),
            }
        }
        // execve is how we begin, as systemd does too.
        let allowed: Vec<u32> = names
            .iter()
            .filter_map(|name| numbers.get(name.as_str()).copied())
            .collect();
        assert!(allowed.len() > 100, "{names:?}");
        let statement = |code: u32, k: u32, jt: u8| libc::sock_filter {
            code: code as u16,
            jt,
            jf: 0,
            k,
        };
        // The number of the call is the first word of what the filter is given.
        let mut filter = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
        for number in allowed {
            let equal = libc::sock_filter {
                jf: 1,
                ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, number, 0)
            };
            filter.push(equal);
            let allow = statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0);
            filter.push(allow);
        }
        let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
        filter.push(statement(libc::BPF_RET | libc::BPF_K, refuse, 0));
        filter
    }
}

/// The system calls of one of systemd's groups, and of the groups in it.
fn group(name: &str, names: &mut BTreeSet<String>) {
    let output = Command::new("systemd-analyze")
        .args(["syscall-filter", "--no-pager", name])
        .output()
        .expect("a need");
    assert!(output.status.success(), "{output:?}");
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        match line.trim() {
            inner if inner.starts_with('@') && inner != name => group(inner, names),
            call if line.starts_with(' ') && !call.starts_with('#') => {
                names.insert(call.to_owned());
            }
            _ => (),
        }
    }
}

/// `#define PREFIXname number` of a header.
fn defined(header: &str, prefix: &str) -> HashMap<String, u32> {
    let text = fs::read_to_string(header).unwrap_or_else(|error| panic!("{header}: {error}"));
    text.lines()
        .filter_map(|line| {
            let mut words = line.strip_prefix("#define ")?.split_whitespace();
            let name = words.next()?.strip_prefix(prefix)?.to_owned();
            Some((name, words.next()?.parse().ok()?))
        })
        .collect()
}

fn c_string(path: &Path) -> std::ffi::CString {
    std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).expect("no NUL")
}

fn check(status: i32) -> io::Result<()> {
    match status {
        0 => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

fn mount(folder: &std::ffi::CStr, flags: libc::c_ulong) -> io::Result<()> {
    let (path, none) = (folder.as_ptr(), std::ptr::null());
    // SAFETY: strings that live, and no data.
    check(unsafe { libc::mount(path, path, none, flags, none.cast()) })
}
