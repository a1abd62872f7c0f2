//! What tracing needs to be allowed, said before anything is tried; and what it gives up once all is attached.

use std::{fs, sync::OnceLock};

use caps::{CapSet, Capability, CapsHashSet};

use super::confine::{self, Files};

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

/// What is needed to the end.
static KEPT: OnceLock<CapsHashSet> = OnceLock::new();

/// From here on every thread may give up what is not needed to the end. `release`: `uname -r`.
/// `writes_files`: in whatever folder the user has named.
pub fn decide(release: &str, writes_files: bool) {
    // There is one run to a process.
    let _ = KEPT.set(needed(release, writes_files));
}

fn needed(release: &str, writes_files: bool) -> CapsHashSet {
    let mut needed = CapsHashSet::from([
        // /proc/PID/exe of others.
        Capability::CAP_SYS_PTRACE,
        // The folders of container runtimes.
        Capability::CAP_DAC_READ_SEARCH,
    ]);
    if writes_files {
        // A file is opened again on SIGHUP, and sudo's user has folders that are not root's.
        needed.insert(Capability::CAP_DAC_OVERRIDE);
    }
    if !reads_maps_freely(release) {
        needed.insert(Capability::CAP_BPF);
    }
    needed
}

/// Since c8644cd0efe7 (6.0) whoever holds a map's descriptor may read it, whatever
/// kernel.unprivileged_bpf_disabled says.
fn reads_maps_freely(release: &str) -> bool {
    let major = release
        .split('.')
        .next()
        .and_then(|major| major.parse().ok());
    major.is_some_and(|major: u32| major >= 6)
}

/// Gives up, for the calling thread and those that it starts, all that is not needed to the end.
/// Nothing before [`decide`].
pub fn give_up() {
    give_up_all(Files::Read);
}

/// The same, for a thread that opens files to write to.
pub fn give_up_but_files() {
    give_up_all(Files::Written);
}

fn give_up_all(files: Files) {
    let Some(kept) = KEPT.get() else { return };
    if let Err(error) = reduce(kept) {
        tracing::debug!(%error, "capabilities stay as they are");
    }
    if let Err(error) = confine::confine(files) {
        tracing::debug!(%error, "system calls stay as they are");
    }
}

fn reduce(kept: &CapsHashSet) -> Result<(), caps::errors::CapsError> {
    // Only with CAP_SETPCAP. Nothing is executed, so that it matters little.
    for capability in caps::read(None, CapSet::Bounding)?.difference(kept) {
        let _ = caps::drop(None, CapSet::Bounding, *capability);
    }
    let had = caps::read(None, CapSet::Permitted)?;
    let kept: CapsHashSet = had.intersection(kept).copied().collect();
    caps::set(None, CapSet::Inheritable, &CapsHashSet::new())?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)
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

    #[test]
    fn little_is_needed_to_the_end() {
        let has = |release, files, capability| needed(release, files).contains(&capability);
        for (release, bpf) in [
            ("5.10.0-46-amd64", true),
            ("5.19", true),
            ("6.0", false),
            ("7.3.4", false),
            ("?", true),
        ] {
            assert_eq!(has(release, false, Capability::CAP_BPF), bpf, "{release}");
            assert!(!has(release, false, Capability::CAP_SYS_ADMIN));
            assert!(!has(release, false, Capability::CAP_DAC_OVERRIDE));
        }
        assert!(has("6.1", true, Capability::CAP_DAC_OVERRIDE));
    }
}
