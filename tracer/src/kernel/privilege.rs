//! What tracing needs to be allowed, said before anything is tried.

use std::fs;

/// `CAP_*` numbers of `linux/capability.h`.
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// The capabilities without which this process may not load tracing programs, as far as it lacks them.
pub fn missing() -> Vec<&'static str> {
    lacking(effective())
}

fn effective() -> u64 {
    fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| parse_effective(&status))
        // Without /proc the kernel answers, when it is asked.
        .unwrap_or(u64::MAX)
}

fn parse_effective(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn lacking(effective: u64) -> Vec<&'static str> {
    let has = |capability: u32| effective >> capability & 1 != 0;
    if has(CAP_SYS_ADMIN) {
        return Vec::new();
    }
    [(CAP_BPF, "CAP_BPF"), (CAP_PERFMON, "CAP_PERFMON")]
        .into_iter()
        .filter(|(capability, _)| !has(*capability))
        .map(|(_, name)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_missing() {
        assert_eq!(
            parse_effective("Name:\tx\nCapEff:\t000001ffffffffff\n"),
            Some(0x1ff_ffff_ffff)
        );
        assert_eq!(lacking(1 << CAP_SYS_ADMIN), Vec::<&str>::new());
        assert_eq!(lacking(1 << CAP_BPF), ["CAP_PERFMON"]);
        assert_eq!(lacking(0), ["CAP_BPF", "CAP_PERFMON"]);
    }
}
