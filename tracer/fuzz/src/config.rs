//! The configuration file and the file of fingerprints: settings, or one message that names file and line.

use std::{cell::RefCell, ffi::OsString, fs, path::PathBuf};

use tracer::cli::{self, Command};

thread_local! {
    /// Files are made of it, in memory where there is such a folder.
    static FILE: RefCell<Option<Scratch>> = const { RefCell::new(None) };
}

/// A file of this thread's own, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let memory = PathBuf::from("/dev/shm");
        let folder = if memory.is_dir() {
            memory
        } else {
            std::env::temp_dir()
        };
        let name = format!(
            "tracer-fuzz-{}-{:?}.toml",
            std::process::id(),
            std::thread::current().id()
        );
        Scratch(folder.join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

pub fn run(bytes: &[u8]) {
    FILE.with_borrow_mut(|file| {
        let path = &file.get_or_insert_with(Scratch::new).0;
        fs::write(path, bytes).expect("a file of our own");
        for option in ["--config", "--fingerprints"] {
            let args = [
                "tracer".into(),
                option.into(),
                path.clone().into_os_string(),
            ];
            match cli::parse(args, |_: &str| None::<OsString>) {
                Ok(command) => assert!(matches!(command, Command::Live(_)), "{command:?}"),
                Err(usage) => assert!(usage.0.contains(&path.display().to_string()), "{usage}"),
            }
        }
    });
}
