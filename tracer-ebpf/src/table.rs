//! Tables that need no lock and no look-up by the kernel: the keys of `*_KEYS`, in the sets of
//! [`tracer_common::table`], and the slot that each gives. The kernel's hash map takes a spinlock
//! and a copy for each birth and end, and a look-up, which is part of every run, costs more there.
//!
//! A slot is claimed by adding the key to its 0. If two claim it at once, each reads a sum that is not
//! its key and takes its own back. Programs may do no more than add before 5.12, and this needs none.

use core::{arch::asm, ptr};

use aya_ebpf::maps::Array;
use tracer_common::table::{Keys, WAYS, sets_of};

/// No place in a map of values, so that a look-up of it finds nothing.
pub const NO_SLOT: u32 = u32::MAX;

/// A slot that another takes first: so many are tried.
const TRIES: u32 = 4;

/// Keys, in [`sets`](tracer_common::table::sets).
pub struct Table<'a> {
    pub keys: &'a Array<Keys>,
    pub sets: u32,
}

impl Table<'_> {
    /// The slot of `key`; [`NO_SLOT`] if it has none.
    #[inline(always)]
    pub fn find(&self, key: u64) -> u32 {
        let [first, second] = sets_of(key, self.sets);
        let slot = self.find_in(first, key);
        if slot != NO_SLOT {
            return slot;
        }
        self.find_in(second, key)
    }

    #[inline(always)]
    fn find_in(&self, set: u32, key: u64) -> u32 {
        let Some(keys) = self.keys.get_ptr_mut(set) else {
            return NO_SLOT;
        };
        let (mut differing, mut at) = (0, 0);
        for way in 0..WAYS as u64 {
            let differs = differs(read(place(keys, way as u32)), key);
            differing += differs;
            // The last, should a scan and a birth both have claimed one.
            at += (differs ^ 1) * (way - at);
        }
        if differing == WAYS as u64 {
            return NO_SLOT;
        }
        set * WAYS + at as u32
    }

    /// A slot for `key`; [`NO_SLOT`] if there is no room.
    #[inline(always)]
    pub fn claim(&self, key: u64) -> u32 {
        self.try_claim(key).unwrap_or(NO_SLOT)
    }

    #[inline(always)]
    fn try_claim(&self, key: u64) -> Option<u32> {
        let [first, second] = sets_of(key, self.sets);
        for _ in 0..TRIES {
            let (mut set, (mut free, mut way)) = (first, self.free(first)?);
            // Mostly the first, so that it is seldom looked for in the second.
            if free <= WAYS / 2 {
                let (more, other) = self.free(second)?;
                if more > free {
                    (set, free, way) = (second, more, other);
                }
            }
            if free == 0 {
                return None;
            }
            let place = place(self.keys.get_ptr_mut(set)?, way);
            add(place, key);
            if read(place) == key {
                return Some(set * WAYS + way);
            }
            add(place, key.wrapping_neg());
        }
        None
    }

    /// How many slots of a set are free, and the last of them.
    #[inline(always)]
    fn free(&self, set: u32) -> Option<(u32, u32)> {
        let keys = self.keys.get_ptr_mut(set)?;
        let (mut free, mut last) = (0, 0);
        for way in 0..WAYS as u64 {
            let is_free = differs(read(place(keys, way as u32)), 0) ^ 1;
            free += is_free;
            last += is_free * (way - last);
        }
        Some((free as u32, last as u32))
    }

    /// Gives a slot back.
    #[inline(always)]
    pub fn release(&self, slot: u32) {
        if let Some(keys) = self.keys.get_ptr_mut(slot / WAYS) {
            // SAFETY: within the value.
            unsafe { place(keys, slot).write_volatile(0) };
        }
    }
}

#[inline(always)]
fn place(keys: *mut Keys, way: u32) -> *mut u64 {
    // The verifier sees that it is within the value.
    keys.cast::<u64>().wrapping_add((way & (WAYS - 1)) as usize)
}

/// 1 or 0. Without a branch, of which the verifier would follow both ways: for each slot of a set all that
/// comes after it.
#[inline(always)]
pub fn differs(a: u64, b: u64) -> u64 {
    let mut bits = a ^ b;
    // SAFETY: registers only. In assembly because the compiler would make a comparison of it.
    unsafe {
        asm!(
            "{negative} = {bits}",
            "{negative} = -{negative}",
            "{bits} |= {negative}",
            "{bits} >>= 63",
            bits = inout(reg) bits,
            negative = out(reg) _,
            options(pure, nomem, nostack),
        );
    }
    bits
}

#[inline(always)]
fn read(place: *const u64) -> u64 {
    // SAFETY: within a map's value; others write it.
    unsafe { ptr::read_volatile(place) }
}

/// Atomic, and on x86 a barrier. core has no atomics for a target without compare-and-swap.
#[inline(always)]
fn add(place: *mut u64, value: u64) {
    // SAFETY: within a map's value.
    unsafe {
        asm!(
            "lock *(u64 *)({place} + 0) += {value}",
            place = in(reg) place,
            value = in(reg) value,
        );
    }
}

/// The same of four bytes.
#[inline(always)]
pub fn add_u32(place: *mut u32, value: u32) {
    // SAFETY: within a map's value.
    unsafe {
        asm!(
            "lock *(u32 *)({place} + 0) += {value}",
            place = in(reg) place,
            value = in(reg) value,
        );
    }
}
