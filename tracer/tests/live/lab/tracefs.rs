//! The kernel's own tracepoints of TCP ends, through an instance of tracefs: the same moments that the tracer hooks, told
//! by somebody else.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use nix::mount::{MsFlags, mount};

const TRACEFS: &str = "/sys/kernel/tracing";

const EVENTS: &[&str] = &[
    "sock/inet_sock_set_state",
    "sock/inet_sk_error_report",
    "tcp/tcp_send_reset",
    "tcp/tcp_receive_reset",
    "tcp/tcp_destroy_sock",
];

static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// A trace buffer of our own, until dropped.
pub struct Instance {
    path: PathBuf,
}

impl Instance {
    /// `None` where the kernel has no tracefs or lacks the events.
    pub fn start(buffer_kib: u32, filter: Option<&str>) -> Option<Instance> {
        let root = Path::new(TRACEFS);
        if !root.join("events").exists() {
            let none: Option<&str> = None;
            mount(
                Some("tracefs"),
                root,
                Some("tracefs"),
                MsFlags::empty(),
                none,
            )
            .ok()?;
        }
        let number = NUMBER.fetch_add(1, Relaxed);
        let path = root.join(format!("instances/lab-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).ok()?;
        let instance = Instance { path };
        instance.set("buffer_size_kb", &buffer_kib.to_string())?;
        for event in EVENTS {
            if let Some(filter) = filter {
                instance.set(&format!("events/{event}/filter"), filter)?;
            }
            instance.set(&format!("events/{event}/enable"), "1")?;
        }
        Some(instance)
    }

    fn set(&self, file: &str, value: &str) -> Option<()> {
        fs::write(self.path.join(file), value).ok()
    }

    pub fn read(&self) -> String {
        fs::read_to_string(self.path.join("trace")).unwrap_or_default()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        for event in EVENTS {
            let _ = self.set(&format!("events/{event}/enable"), "0");
        }
        let _ = fs::remove_dir(&self.path);
    }
}
