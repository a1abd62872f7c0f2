//! Per-CPU counters of the kernel side: what could not be kept or told, and what was only counted.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $id:literal,)*) => {
        $($(#[$doc])* pub const $name: u32 = $id;)*
        /// Number of counters.
        pub const COUNT: u32 = [$($id),*].len() as u32;
    };
}

counters! {
    /// Ring buffer full: a TCP_CLOSE record was lost.
    RING_CLOSE = 0,
    /// Ring buffer full: a RST record was lost.
    RING_RST = 1,
    /// Ring buffer full: a send or receive error was lost.
    RING_IO = 2,
    /// Ring buffer full: a tcp_destroy_sock record was lost.
    RING_DESTROYED = 3,
    /// `CONNS` full or busy: a connection is not tracked before its end.
    MAP_CONN = 4,
    /// `LISTENERS` full.
    MAP_LISTENER = 5,
    /// Passive sockets that never left SYN_RECV.
    SYN_RECV_ENDED = 6,
    /// TCP_CLOSE was not seen (a missed run) and made good at tcp_destroy_sock.
    RECOVERED = 7,
    /// `CONNS` entries made: sockets seen, by birth or scan.
    CONN_INSERTED = 8,
    /// `CONNS` entries removed.
    CONN_REMOVED = 9,
    /// Ring buffer full: a new name of a process was lost.
    RING_RENAMED = 10,
    /// Ring buffer full: a signal to a process was lost.
    RING_SIGNALLED = 11,
    /// Ring buffer full: a silent peer was told of a second later.
    RING_STALL = 12,
    /// kretprobe: the return of a send or receive was not seen.
    RETURNS_MISSED = 13,
    /// State changes of which the first program's run was skipped, and which the second made good.
    MADE_GOOD = 14,
}
