//! The running kernel's layout: field offsets, names of enums, numbers of arguments.

use anyhow::{Context, Result, ensure};
use tracer_common::{
    config::{AnyOf, Config},
    offsets::Offsets,
};

use super::btf::{Btf, Field};
use crate::{core::filter::Filter, event::names::RstReasons};

/// Where the kernel shows its own types.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// What is injected into the kernel side, and the names that only this kernel can tell.
#[derive(Clone, Debug)]
pub struct Layout {
    pub offsets: Offsets,
    pub config: Config,
    pub rst_reasons: RstReasons,
}

/// From a proxy's receive to the connect or send that it leads to: one turn of an event loop.
const LINK_NS: u64 = 8_000_000;

fn link_jiffies(jiffy_ns: u64) -> u32 {
    LINK_NS.div_ceil(jiffy_ns.max(1)).clamp(1, 1_000) as u32
}

/// Fields that a kernel may lack without harm: what they feed is null or not told apart.
const OPTIONAL: [(&str, &str); 9] = [
    ("tcp_sock", "is_mptcp"),
    ("inet_connection_sock", "icsk_ulp_data"),
    ("mptcp_subflow_context", "conn"),
    // Each kernel has its timers in one of several places.
    ("inet_connection_sock", "icsk_rto_max"),
    ("inet_connection_sock", "icsk_probes_tstamp"),
    ("inet_connection_sock", "icsk_timeout"),
    ("inet_connection_sock", "icsk_retransmit_timer.expires"),
    ("inet_connection_sock", "icsk_keepalive_timer.expires"),
    ("tcp_sock", "tcp_usec_ts"),
];

impl Layout {
    /// Reads the layout out of BTF. Fails when a field is missing that no record can do without.
    /// `jiffy_ns`: length of a jiffy.
    pub fn resolve(btf: &Btf<'_>, jiffy_ns: u64) -> Result<Self> {
        let offsets = Offsets::resolve(|strukt, path| btf.field(strukt, path)?.byte_offset());
        let missing: Vec<_> = offsets
            .missing()
            .filter(|field| !OPTIONAL.contains(field))
            .map(|(strukt, path)| format!("{strukt}.{path}"))
            .collect();
        ensure!(
            missing.is_empty(),
            "this kernel's BTF lacks {}; please report it with the kernel's version",
            missing.join(", ")
        );
        let repair = btf
            .field("tcp_sock", "repair")
            .context("this kernel's BTF lacks tcp_sock.repair")?;
        let value_mask = |path| btf.field("net", path).map_or(0, Field::value_mask);
        let config = Config {
            repair_mask: u32::from(repair.byte_mask()),
            has_rst_reason: u32::from(btf.tracepoint_args("tcp_send_reset") == Some(3)),
            has_socket_cookie: u32::from(btf.has_function("bpf_get_socket_ptr_cookie")),
            has_task_btf: u32::from(btf.has_function("bpf_get_current_task_btf")),
            has_victim_task: u32::from(btf.tracepoint_args("mark_victim") == Some(2)),
            link_jiffies: link_jiffies(jiffy_ns),
            usec_ts_mask: btf
                .field("tcp_sock", "tcp_usec_ts")
                .map_or(0, |field| u32::from(field.byte_mask())),
            retries2_mask: value_mask("ipv4.sysctl_tcp_retries2"),
            keepalive_probes_mask: value_mask("ipv4.sysctl_tcp_keepalive_probes"),
            ..Config::DEFAULT
        };
        let rst_reasons = btf
            .enum_values("sk_rst_reason")
            .map(RstReasons::from_enum)
            .unwrap_or_default();
        Ok(Layout {
            offsets,
            config,
            rst_reasons,
        })
    }

    /// Without `may_probe`, leaves out what is read beyond the kernel's types.
    pub fn reads(&mut self, may_probe: bool) {
        self.config.may_probe = u32::from(may_probe);
    }

    /// Applies in the kernel what it can of the filter; the pipeline applies all of it.
    pub fn filter(&mut self, filter: &Filter) {
        let ports = |ports: &[u16]| AnyOf::new(ports.iter().map(|port| u32::from(*port)));
        self.config.pids = AnyOf::new(filter.pids.iter().copied());
        self.config.ports = ports(&filter.ports);
        self.config.local_ports = ports(&filter.local_ports);
    }
}
