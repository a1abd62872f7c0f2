//! The kernel's own tracepoints, for working on the lab: with `LIVE_KERNEL_LOG=FILE` every test appends what
//! inet_sock_set_state, tcp_send_reset, tcp_receive_reset, tcp_destroy_sock and inet_sk_error_report saw.
//!
//! This is how the endings were checked to end the way their names say, without any tracer.

use std::{fs, io::Write, path::PathBuf};

use nix::mount::{MsFlags, mount};

const TRACEFS: &str = "/sys/kernel/tracing";

const EVENTS: &[&str] = &[
    "sock/inet_sock_set_state",
    "sock/inet_sk_error_report",
    "tcp/tcp_send_reset",
    "tcp/tcp_receive_reset",
    "tcp/tcp_destroy_sock",
];

pub struct KernelLog {
    instance: PathBuf,
    file: PathBuf,
    title: String,
}

/// Starts logging, if asked to.
pub fn start(title: &str) -> Option<KernelLog> {
    let file = PathBuf::from(std::env::var_os("LIVE_KERNEL_LOG")?);
    if !PathBuf::from(TRACEFS).join("events").exists() {
        let none: Option<&str> = None;
        mount(
            Some("tracefs"),
            TRACEFS,
            Some("tracefs"),
            MsFlags::empty(),
            none,
        )
        .expect("mounting tracefs");
    }
    let instance = PathBuf::from(TRACEFS).join(format!("instances/lab-{}", std::process::id()));
    fs::create_dir_all(&instance).expect("a tracefs instance");
    fs::write(instance.join("buffer_size_kb"), "16384").expect("a larger buffer");
    for event in EVENTS {
        fs::write(instance.join("events").join(event).join("enable"), "1").expect("a tracepoint");
    }
    Some(KernelLog {
        instance,
        file,
        title: title.to_owned(),
    })
}

impl Drop for KernelLog {
    fn drop(&mut self) {
        for event in EVENTS {
            let _ = fs::write(self.instance.join("events").join(event).join("enable"), "0");
        }
        let trace = fs::read_to_string(self.instance.join("trace")).unwrap_or_default();
        let file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.file);
        if let Ok(mut file) = file {
            let _ = writeln!(file, "=== {}\n{trace}", self.title);
        }
        let _ = fs::remove_dir(&self.instance);
    }
}
