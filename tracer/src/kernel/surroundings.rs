//! What stands between this process and the kernel, looked at before anything is tried: the same
//! words for a run that cannot begin and for `tracer doctor`.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use anyhow::{Result, bail};
use aya::{
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported},
};

use super::{layout::VMLINUX, open_files, privilege};

/// Below it sysfs has what the kernel says of itself.
const SYSFS: &str = "/sys/kernel";
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";

/// `PID_NS_INIT_INO` of `linux/nsfs.h`: the namespace of the node.
const INITIAL_PIDS: u64 = 0xefff_fffc;
const OWN_PIDS: &str = "/proc/self/ns/pid";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// Capabilities that tracing needs and this process does not have.
    pub missing_capabilities: Vec<&'static str>,
    /// Files that it may have open.
    pub open_files: u64,
    pub has_sysfs: bool,
    /// The kernel's types.
    pub has_btf: bool,
    pub lockdown: Lockdown,
    /// Programs may read what their types do not reach; lockdown=confidentiality forbids it.
    pub may_probe: bool,
    /// The kernel shows this process those of the whole node, not of a container.
    pub has_node_pids: bool,
}

/// What the kernel keeps from root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lockdown {
    None,
    Integrity,
    Confidentiality,
    /// The kernel has none, or securityfs is not mounted.
    Unknown,
}

/// Why tracing is impossible, and the one thing to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    pub what: String,
    pub fix: String,
}

impl Surroundings {
    pub fn look() -> Self {
        let missing_capabilities = privilege::missing();
        Surroundings {
            may_probe: !missing_capabilities.is_empty() || may_probe(),
            missing_capabilities,
            open_files: open_files::allow(),
            has_sysfs: Path::new(SYSFS).is_dir(),
            has_btf: Path::new(VMLINUX).exists(),
            lockdown: fs::read_to_string(LOCKDOWN)
                .map_or(Lockdown::Unknown, |text| Lockdown::parse(&text)),
            has_node_pids: fs::metadata(OWN_PIDS).is_ok_and(|pids| pids.ino() == INITIAL_PIDS),
        }
    }

    /// What cannot be seen, whatever is attached.
    pub fn blind(&self) -> Option<&'static str> {
        (!self.has_node_pids).then_some(
            "owners of connections that are open at the start and idle since, and executables unless --host-proc \
             names the node's /proc: this container has pids of its own (docker: --pid=host, Kubernetes: hostPID)",
        )
    }

    /// The first thing that has to be mended.
    pub fn obstacle(&self) -> Option<Obstacle> {
        let obstacle = |what: String, fix: &str| {
            Some(Obstacle {
                what,
                fix: fix.to_owned(),
            })
        };
        if !self.missing_capabilities.is_empty() {
            return obstacle(
                format!(
                    "tracing needs {}, which this process does not have",
                    self.missing_capabilities.join(" and ")
                ),
                "run it as root, for example `sudo tracer` or `cargo xtask run`; in a container, with --privileged or these capabilities",
            );
        }
        if self.open_files < open_files::NEEDED {
            return obstacle(
                format!(
                    "tracing needs {} open files, and this process may have {}",
                    open_files::NEEDED,
                    self.open_files
                ),
                "raise the limit (`ulimit -n 1024`; LimitNOFILE= of a systemd unit; docker: --ulimit nofile=1024)",
            );
        }
        if !self.has_sysfs {
            return obstacle(
                format!("{SYSFS} is not there, where the kernel describes its types"),
                "mount sysfs (`mount -t sysfs sysfs /sys`); in a container, bring the host's /sys (docker: -v /sys:/sys:ro)",
            );
        }
        if !self.has_btf {
            return obstacle(
                format!("{VMLINUX} is not there: this kernel does not describe its types"),
                "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y; the kernels of Debian 11, Ubuntu 20.10, Fedora 31, RHEL 8.2 and later are; in a container, leave /sys as it is or bring the host's (docker: -v /sys:/sys:ro)",
            );
        }
        None
    }

    /// Fails with what is in the way and what to do about it.
    pub fn check(&self) -> Result<()> {
        match self.obstacle() {
            None => Ok(()),
            Some(Obstacle { what, fix }) => bail!("{what}; {fix}"),
        }
    }
}

/// Asks the kernel: where securityfs is not mounted, nothing else says it.
fn may_probe() -> bool {
    let helper = BpfHelper::BPF_FUNC_probe_read_kernel;
    is_helper_supported(ProgramType::RawTracePoint, helper).unwrap_or(true)
}

impl Lockdown {
    /// `none [integrity] confidentiality`.
    fn parse(text: &str) -> Self {
        let chosen = text
            .split_once('[')
            .and_then(|(_, rest)| rest.split_once(']'))
            .map(|(chosen, _)| chosen);
        match chosen {
            Some("none") => Lockdown::None,
            Some("integrity") => Lockdown::Integrity,
            Some("confidentiality") => Lockdown::Confidentiality,
            _ => Lockdown::Unknown,
        }
    }

    /// As the kernel writes it; `None` when it is not known.
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Lockdown::None => Some("none"),
            Lockdown::Integrity => Some("integrity"),
            Lockdown::Confidentiality => Some("confidentiality"),
            Lockdown::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Surroundings {
        Surroundings {
            missing_capabilities: Vec::new(),
            open_files: 1_024,
            has_sysfs: true,
            has_btf: true,
            lockdown: Lockdown::None,
            may_probe: true,
            has_node_pids: true,
        }
    }

    #[test]
    fn every_obstacle_has_words_and_a_cure_of_its_own() {
        assert_eq!(good().obstacle(), None);
        let cases = [
            (
                Surroundings {
                    missing_capabilities: vec!["CAP_BPF", "CAP_PERFMON"],
                    has_btf: false,
                    ..good()
                },
                "CAP_BPF and CAP_PERFMON",
                "root",
            ),
            (
                Surroundings {
                    open_files: 20,
                    has_btf: false,
                    ..good()
                },
                "128 open files, and this process may have 20",
                "ulimit",
            ),
            (
                Surroundings {
                    has_sysfs: false,
                    has_btf: false,
                    ..good()
                },
                "/sys/kernel is not there",
                "mount",
            ),
            (
                Surroundings {
                    has_btf: false,
                    ..good()
                },
                "does not describe its types",
                "CONFIG_DEBUG_INFO_BTF",
            ),
        ];
        for (surroundings, what, fix) in cases {
            let obstacle = surroundings.obstacle().expect("in the way");
            assert!(obstacle.what.contains(what), "{obstacle:?}");
            assert!(obstacle.fix.contains(fix), "{obstacle:?}");
        }
    }

    #[test]
    fn a_container_without_the_pids_of_the_node_is_told_so() {
        assert_eq!(good().blind(), None);
        let contained = Surroundings {
            has_node_pids: false,
            ..good()
        };
        assert_eq!(contained.obstacle(), None);
        assert!(contained.blind().expect("blind").contains("--pid=host"));
    }

    #[test]
    fn lockdown_is_read_from_its_brackets() {
        let modes = [
            ("[none] integrity confidentiality\n", Some("none")),
            ("none [integrity] confidentiality\n", Some("integrity")),
            (
                "none integrity [confidentiality]\n",
                Some("confidentiality"),
            ),
            ("", None),
        ];
        for (text, mode) in modes {
            assert_eq!(Lockdown::parse(text).as_str(), mode);
        }
    }
}
