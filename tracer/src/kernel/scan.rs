//! The sockets that are open when tracing begins: a BPF iterator over all open files finds them, some microseconds each.
//! A node with a hundred thousand of them need not be waited for: meanwhile what ends is read and told.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    sync::mpsc::channel,
    thread,
    time::Duration,
};

use super::privilege;
use crate::panics;

/// How long the start waits for it.
const PATIENCE: Duration = Duration::from_millis(100);

/// Runs the iterator behind this file, and returns when it is through, or when it takes long.
pub fn run(file: File) -> io::Result<()> {
    let (tell, told) = channel();
    thread::Builder::new()
        .name("scan".to_owned())
        .spawn(move || {
            let _watched = panics::watch();
            privilege::give_up();
            let through = run_through(file);
            if let Err(unheard) = tell.send(through)
                && let Err(error) = unheard.0
            {
                tracing::warn!(
                    %error, "cannot look through all open files: not every connection that was open already has its owner"
                );
            }
        })?;
    told.recv_timeout(PATIENCE).unwrap_or(Ok(()))
}

/// It writes nothing to its file: reading to the end is what runs it.
pub fn run_through(mut file: File) -> io::Result<()> {
    loop {
        match file.read(&mut [0; 8]) {
            Ok(0) => return Ok(()),
            // The kernel lets others have the CPU after a million entries.
            Ok(_) => (),
            Err(error) if error.kind() == ErrorKind::WouldBlock => (),
            Err(error) if error.kind() == ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
}
