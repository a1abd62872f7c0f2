//! Facts of this boot and machine that do not change while tracing.

use std::fs;

use anyhow::{Context, Result, ensure};
use nix::time::{ClockId, clock_getres};

/// Who and what wrote a recording.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `NODE_NAME` if set (Kubernetes), else the host name.
    pub node: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// `uname -r`.
    pub kernel: String,
    /// Length of a jiffy.
    pub jiffy_ns: u64,
}

impl Facts {
    pub fn read() -> Result<Self> {
        let path = "/proc/sys/kernel/random/boot_id";
        let boot_id = fs::read_to_string(path)
            .with_context(|| format!("cannot read {path}; is /proc mounted?"))?;
        let uname = nix::sys::utsname::uname().context("uname failed")?;
        let node = std::env::var("NODE_NAME")
            .ok()
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| uname.nodename().to_string_lossy().into_owned());
        Ok(Facts {
            node,
            boot_id: boot_id.trim().to_owned(),
            kernel: uname.release().to_string_lossy().into_owned(),
            jiffy_ns: jiffy_ns()?,
        })
    }
}

/// The coarse clocks move once a tick, and say so (`posix_get_coarse_res`): 1/CONFIG_HZ without
/// looking for the kernel's configuration.
fn jiffy_ns() -> Result<u64> {
    let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)
        .context("clock_getres(CLOCK_MONOTONIC_COARSE) failed")?;
    let ns = tick.tv_nsec() as u64;
    ensure!(
        tick.tv_sec() == 0 && (100_000..=20_000_000).contains(&ns),
        "the resolution of CLOCK_MONOTONIC_COARSE, {ns} ns, is no jiffy"
    );
    Ok(ns)
}
