//! CLOCK_MONOTONIC, which the kernel side stamps with, against wall time.

use nix::time::{ClockId, clock_gettime};

fn read_ns(clock: ClockId) -> u64 {
    // Both clocks exist on every Linux; a failure would be a broken kernel.
    clock_gettime(clock).map_or(0, |now| {
        now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
    })
}

/// CLOCK_MONOTONIC now, ns.
pub fn monotonic_ns() -> u64 {
    read_ns(ClockId::CLOCK_MONOTONIC)
}

/// What to add to a monotonic time for the wall clock's: sampled anew every few seconds, so that a
/// stepped clock is followed.
pub fn wall_offset_ns() -> i64 {
    let before = monotonic_ns();
    let wall = read_ns(ClockId::CLOCK_REALTIME);
    let after = monotonic_ns();
    let middle = before + (after - before) / 2;
    wall as i64 - middle as i64
}
