//! For work on the lab: with `LIVE_KERNEL_LOG=FILE` every test appends what the kernel's own tracepoints saw.
//!
//! This is how the endings were checked to end the way their names say, without any tracer.

use std::{fs, io::Write, path::PathBuf};

use super::tracefs::Instance;

pub struct KernelLog {
    instance: Instance,
    file: PathBuf,
    title: String,
}

/// Starts logging, if asked to.
pub fn start(title: &str) -> Option<KernelLog> {
    let file = PathBuf::from(std::env::var_os("LIVE_KERNEL_LOG")?);
    Some(KernelLog {
        instance: Instance::start(16384, None).expect("tracefs"),
        file,
        title: title.to_owned(),
    })
}

impl Drop for KernelLog {
    fn drop(&mut self) {
        let trace = self.instance.read();
        let file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.file);
        if let Ok(mut file) = file {
            let _ = writeln!(file, "=== {}\n{trace}", self.title);
        }
    }
}
