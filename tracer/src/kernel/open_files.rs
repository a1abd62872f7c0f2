//! How many files this process may have open: maps, programs and links take some sixty descriptors.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// With every family of hooks, and some scrapers of the metrics.
pub const NEEDED: u64 = 128;

/// Raises the limit to what is needed where that is allowed, and returns it.
pub fn allow() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return u64::MAX;
    };
    if soft >= NEEDED {
        return soft;
    }
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}
