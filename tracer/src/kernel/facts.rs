//! Facts of this boot and machine that do not change while tracing.

use std::fs;

use anyhow::{Context, Result, ensure};
use nix::time::{ClockId, clock_getres};

use crate::core::timeouts::Sysctls;

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
    pub sysctls: Sysctls,
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
            sysctls: sysctls(),
        })
    }
}

/// The settings of our own network namespace. One that this kernel does not have leaves what it then
/// does.
fn sysctls() -> Sysctls {
    let read = |name: &str| -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok()?;
        text.trim().parse().ok()
    };
    let default = Sysctls::default();
    Sysctls {
        keepalive_time_s: read("tcp_keepalive_time").unwrap_or(default.keepalive_time_s),
        keepalive_intvl_s: read("tcp_keepalive_intvl").unwrap_or(default.keepalive_intvl_s),
        keepalive_probes: read("tcp_keepalive_probes").unwrap_or(default.keepalive_probes),
        retries2: read("tcp_retries2").unwrap_or(default.retries2),
        orphan_retries: read("tcp_orphan_retries").unwrap_or(default.orphan_retries),
        syn_retries: read("tcp_syn_retries").unwrap_or(default.syn_retries),
        syn_linear_timeouts: read("tcp_syn_linear_timeouts").unwrap_or(0),
        fin_timeout_s: read("tcp_fin_timeout").unwrap_or(default.fin_timeout_s),
        rto_max_ms: read("tcp_rto_max_ms").unwrap_or(default.rto_max_ms),
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
