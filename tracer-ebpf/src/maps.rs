//! Every map. Sizes are set by the daemon before load.

use aya_ebpf::{
    macros::map,
    maps::{Array, LruHashMap, PerCpuArray, RingBuf},
};
use tracer_common::{
    conn::{
        BUCKETS_PER_SET, Conn, LastRx, Listener, ListenerKey, RX_PROCESSES, RX_THREADS, SEATS,
        Waiting,
    },
    counters,
    table::{Keys, WAYS, sets},
    task::Task,
};

/// sk → what is known of it, as a [`Table`]. Removed at tcp_destroy_sock. Not the kernel's hash map, whose
/// locks cost more than all else here, nor LRU, which evicts live sockets before it is full.
#[map]
pub static CONN_KEYS: Array<Keys> = Array::with_max_entries(sets(131_072), 0);
#[map]
pub static CONNS: Array<Conn> = Array::with_max_entries(sets(131_072) * WAYS, 0);

/// Buckets of ends that wait for the other end of their connection (pairs.rs).
#[map]
pub static PAIRS: Array<[Waiting; SEATS as usize]> =
    Array::with_max_entries(sets(131_072) * BUCKETS_PER_SET, 0);

/// Namespace and port → who listens. Kept after the listener's end, for its orphaned children.
#[map]
pub static LISTENERS: LruHashMap<ListenerKey, Listener> = LruHashMap::with_max_entries(16_384, 0);

/// What a thread received last, by tid, and what a process accepted last, by tgid: direct-mapped, so
/// that a receive costs a store and no look-up.
#[map]
pub static LAST_RX: Array<LastRx> = Array::with_max_entries(RX_THREADS + RX_PROCESSES, 0);

/// msk → its user: subflows are driven by kernel threads.
#[map]
pub static MPTCP_OWNERS: LruHashMap<u64, Task> = LruHashMap::with_max_entries(8_192, 0);

/// pid_tgid → when a SIGPIPE was generated for it. LRU: a thread that gets one seldom lives on.
#[map]
pub static SIGPIPES: LruHashMap<u64, u64> = LruHashMap::with_max_entries(4_096, 0);

/// sk → the number of a connection whose socket is gone, where the kernel has no cookies for us: a
/// RST may come after it. LRU: it comes at once.
#[map]
pub static GONE: LruHashMap<u64, u64> = LruHashMap::with_max_entries(4_096, 0);

/// pid_tgid → the socket of the send or receive that a kprobe saw begin, for its kretprobe. LRU: of some
/// calls the return is missed.
#[map]
pub static CALLS: LruHashMap<u64, u64> = LruHashMap::with_max_entries(16_384, 0);

/// The socket that tcp_check_oom was called for.
#[map]
pub static CHECKED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Slots of `SCRATCH`, one for each program that may need an entry for a socket without one.
pub mod scratch {
    pub const SET_STATE: u32 = 0;
    pub const SEND_RESET: u32 = 1;
    pub const RECEIVE_RESET: u32 = 2;
    pub const SLOTS: u32 = 3;
}

#[map]
pub static SCRATCH: PerCpuArray<Conn> = PerCpuArray::with_max_entries(scratch::SLOTS, 0);

#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(16 << 20, 0);

#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counters::COUNT, 0);

/// Adds one to a counter of [`counters`].
#[inline(always)]
pub fn count(counter: u32) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter) {
        // SAFETY: a per-CPU slot; a nested program on this CPU may cost a count, never memory.
        unsafe { *value += 1 };
    }
}
