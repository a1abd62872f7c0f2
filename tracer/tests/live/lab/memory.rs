//! A cgroup with little memory, where this machine lets root make one (v1 or v2).

use std::{
    fs,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread::sleep,
    time::Duration,
};

const V1: &str = "/sys/fs/cgroup/memory";
const V2: &str = "/sys/fs/cgroup";

pub struct MemoryLimit(PathBuf);

/// Where such a cgroup can be made, and the file that limits it.
fn place() -> Option<(&'static str, &'static str)> {
    let has_memory =
        |controllers: String| controllers.split_whitespace().any(|name| name == "memory");
    if Path::new(V1).join("memory.limit_in_bytes").exists() {
        return Some((V1, "memory.limit_in_bytes"));
    }
    let given = fs::read_to_string(Path::new(V2).join("cgroup.subtree_control"));
    given.is_ok_and(has_memory).then_some((V2, "memory.max"))
}

pub fn can_be_limited() -> bool {
    place().is_some()
}

impl MemoryLimit {
    pub fn new(bytes: u64) -> MemoryLimit {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let (top, limit) = place().expect("a need");
        let number = NUMBER.fetch_add(1, Relaxed);
        let name = format!("tracer-lab-memory-{}-{number}", std::process::id());
        let cgroup = Path::new(top).join(name);
        fs::create_dir(&cgroup).expect("root may");
        fs::write(cgroup.join(limit), bytes.to_string()).expect("root may");
        MemoryLimit(cgroup)
    }

    /// What this command starts will be in it.
    pub fn take_in(&self, command: &mut Command) {
        let procs = self.0.join("cgroup.procs");
        let file = fs::OpenOptions::new().write(true).open(procs);
        let file = file.expect("root may");
        // SAFETY: one write between fork and exec; 0 is who writes.
        unsafe {
            command.pre_exec(move || (&file).write_all(b"0"));
        }
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        // What was in it takes a moment to be gone.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
    }
}
