//! What the kernel programs and the daemon share: the record that crosses the ring buffer,
//! the field offsets and settings that are injected before load, and the ids of the counters.
//!
//! ABI rule: `repr(C)`, no implicit padding, no `bool`, every size asserted. Both sides are built
//! from this one crate, so there is no version to negotiate; the asserts catch a layout that the
//! two targets would see differently.
#![no_std]

pub mod config;
pub mod conn;
pub mod counters;
pub mod offsets;
pub mod record;
pub mod sock;
pub mod table;
pub mod task;

/// Kernel `TCP_*` states (`include/net/tcp_states.h`), as `sk_state` holds them.
pub mod state {
    pub const ESTABLISHED: u8 = 1;
    pub const SYN_SENT: u8 = 2;
    pub const SYN_RECV: u8 = 3;
    pub const FIN_WAIT1: u8 = 4;
    pub const FIN_WAIT2: u8 = 5;
    pub const TIME_WAIT: u8 = 6;
    pub const CLOSE: u8 = 7;
    pub const CLOSE_WAIT: u8 = 8;
    pub const LAST_ACK: u8 = 9;
    pub const LISTEN: u8 = 10;
    pub const CLOSING: u8 = 11;
    pub const NEW_SYN_RECV: u8 = 12;
}

/// `AF_*` and `IPPROTO_*` values that decide what a socket is.
pub mod proto {
    pub const AF_INET: u16 = 2;
    pub const AF_INET6: u16 = 10;
    pub const IPPROTO_TCP: u16 = 6;
    pub const IPPROTO_MPTCP: u16 = 262;
}

/// Asserts that a shared struct has no implicit padding: its size is the sum of its fields.
#[macro_export]
macro_rules! assert_size {
    ($t:ty, $bytes:expr) => {
        const _: () = assert!(core::mem::size_of::<$t>() == $bytes);
        const _: () = assert!(core::mem::align_of::<$t>() == 8);
        #[cfg(feature = "user")]
        // SAFETY: repr(C), integers only, no padding (asserted above): every bit pattern is valid.
        unsafe impl aya::Pod for $t {}
    };
}
