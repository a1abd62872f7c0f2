//! The accept tracepoints are found through tracefs, which is not mounted everywhere.

use std::fs;

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

const TRACEFS: &str = "/sys/kernel/tracing";

/// Makes tracefs visible to this process alone: in a mount namespace of its own if the node has not
/// mounted it. Must run before any thread is started. Failing is no fault here: the hooks that need
/// it say so.
pub fn make_visible() {
    if is_mounted() {
        return;
    }
    if let Err(error) = mount_privately() {
        tracing::debug!(%error, "tracefs cannot be mounted");
    }
}

fn is_mounted() -> bool {
    [TRACEFS, "/sys/kernel/debug/tracing"]
        .iter()
        .any(|path| fs::exists(format!("{path}/events/syscalls")).unwrap_or(false))
}

fn mount_privately() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    // Mounts of the node keep arriving here; ours stays here.
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_SLAVE,
        None::<&str>,
    )?;
    mount(
        Some("tracefs"),
        TRACEFS,
        Some("tracefs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        None::<&str>,
    )
}
