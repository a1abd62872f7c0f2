//! Settings injected into the kernel side before load. Read-only there, so that the verifier
//! removes the branches that a setting turns off.

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Bit of `tcp_sock.repair` within its byte.
    pub repair_mask: u32,
    /// 1: tcp_send_reset has a reason as third argument (6.10).
    pub has_rst_reason: u32,
}

impl Config {
    pub const DEFAULT: Config = Config {
        repair_mask: 0,
        has_rst_reason: 0,
    };
}

#[cfg(feature = "user")]
// SAFETY: repr(C), two u32, no padding.
unsafe impl aya::Pod for Config {}
