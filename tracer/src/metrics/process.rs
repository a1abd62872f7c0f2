//! What this process uses of the machine.

use std::fs;

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};

use super::snapshot::Process;

/// `None` where /proc does not say.
pub fn read() -> Option<Process> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let cpu_ms = usage.user_time().num_milliseconds() + usage.system_time().num_milliseconds();
    let status = fs::read_to_string("/proc/self/status").ok()?;
    Some(Process {
        cpu_ms: cpu_ms.try_into().ok()?,
        resident_bytes: resident_kib(&status)? * 1024,
    })
}

fn resident_kib(status: &str) -> Option<u64> {
    let rss = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    rss.trim().strip_suffix(" kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        assert_eq!(
            resident_kib("VmHWM:\t1 kB\nVmRSS:\t   5432 kB\n"),
            Some(5432)
        );
        assert_eq!(resident_kib("VmHWM:\t1 kB\n"), None);
        let process = read().expect("/proc");
        assert!(process.resident_bytes > 100_000, "{process:?}");
    }
}
