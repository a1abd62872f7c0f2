//! Other runs of these tests on the same machine: most tests do not mind them, but those that take the whole machine
//! wait until they are alone, and nothing else begins meanwhile.

use std::fs::{File, OpenOptions};

use nix::fcntl::{Flock, FlockArg};

use super::needs::Need;

const LOCK: &str = "/run/tracer-live.lock";

/// Held while a test runs. `None` where there is no place for the lock.
pub fn take(needs: &[Need]) -> Option<Flock<File>> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(LOCK)
        .ok()?;
    let alone = needs
        .iter()
        .any(|need| matches!(need, Need::Alone | Need::GlobalSysctl));
    let how = if alone {
        FlockArg::LockExclusive
    } else {
        FlockArg::LockShared
    };
    Flock::lock(file, how).ok()
}
