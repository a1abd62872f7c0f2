//! Settings injected into the kernel side before load. Read-only there, so that the verifier
//! removes the branches that a setting turns off.

/// Alternatives of one filter that the kernel side takes; with more, user space filters alone.
pub const ALTERNATIVES: usize = 8;

/// A list of alternatives; empty: everything passes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct AnyOf {
    pub count: u32,
    pub values: [u32; ALTERNATIVES],
}

impl AnyOf {
    pub const EVERYTHING: AnyOf = AnyOf {
        count: 0,
        values: [0; ALTERNATIVES],
    };

    /// Everything passes when there are more alternatives than fit.
    pub fn new(alternatives: impl ExactSizeIterator<Item = u32>) -> Self {
        let mut list = AnyOf::EVERYTHING;
        if alternatives.len() > ALTERNATIVES {
            return list;
        }
        for (slot, value) in list.values.iter_mut().zip(alternatives) {
            *slot = value;
            list.count += 1;
        }
        list
    }
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Bit of `tcp_sock.repair` within its byte.
    pub repair_mask: u32,
    /// 1: tcp_send_reset has a reason as third argument (6.10).
    pub has_rst_reason: u32,
    /// 1: bpf_get_current_task_btf exists (5.11).
    pub has_task_btf: u32,
    /// 1: programs may call bpf_probe_read_kernel (lockdown in confidentiality forbids it).
    pub may_probe: u32,
    /// 1: tracing programs may call bpf_get_socket_cookie (5.12).
    pub has_socket_cookie: u32,
    /// A receive this many jiffies ago may still be what a send or connect of its thread is for.
    pub link_jiffies: u32,
    /// 1: the first argument of mark_victim is the task (6.8), not its pid.
    pub has_victim_task: u32,
    /// Bit of `tcp_sock.tcp_usec_ts` within its byte (6.7); 0: none.
    pub usec_ts_mask: u32,
    /// What of four bytes is the sysctl: it is a byte since 5.13, an int before.
    pub retries2_mask: u32,
    pub keepalive_probes_mask: u32,
    /// Sets of the table of connections; `PAIRS` has its buckets in proportion.
    pub sets: u32,
    /// Filters on what is told. What is known does not depend on them.
    pub pids: AnyOf,
    /// Of either end.
    pub ports: AnyOf,
    pub local_ports: AnyOf,
}

impl Config {
    pub const DEFAULT: Config = Config {
        repair_mask: 0,
        has_rst_reason: 0,
        has_task_btf: 0,
        may_probe: 1,
        has_socket_cookie: 0,
        link_jiffies: 1,
        has_victim_task: 0,
        usec_ts_mask: 0,
        retries2_mask: 0,
        keepalive_probes_mask: 0,
        sets: 1,
        pids: AnyOf::EVERYTHING,
        ports: AnyOf::EVERYTHING,
        local_ports: AnyOf::EVERYTHING,
    };
}

#[cfg(feature = "user")]
// SAFETY: repr(C), u32 only, no padding.
unsafe impl aya::Pod for Config {}
