//! Which records are told. Only what concerns the record's own line, its owner and its ports: what
//! is known of a connection, and what explains another one, does not depend on it.

use core::ptr;

use tracer_common::config::{ALTERNATIVES, AnyOf};

use crate::globals::CONFIG;

/// Whether a record of this process may be written. When none is known, the daemon decides: it may
/// remember one.
#[inline(always)]
pub fn wants_owner(tgid: u32) -> bool {
    tgid == 0 || matches(&raw const CONFIG.pids, tgid, tgid)
}

/// Whether a record with these ports may be written.
#[inline(always)]
pub fn wants_ports(sport: u16, dport: u16) -> bool {
    let (sport, dport) = (u32::from(sport), u32::from(dport));
    matches(&raw const CONFIG.ports, sport, dport)
        && matches(&raw const CONFIG.local_ports, sport, sport)
}

/// Volatile: the list at build time is not the list at load time.
#[inline(always)]
fn matches(list: *const AnyOf, a: u32, b: u32) -> bool {
    // SAFETY: a static of plain integers.
    let count = unsafe { ptr::read_volatile(&raw const (*list).count) } as usize;
    if count == 0 {
        return true;
    }
    for index in 0..ALTERNATIVES {
        if index >= count {
            break;
        }
        // SAFETY: within the list.
        let value =
            unsafe { ptr::read_volatile((&raw const (*list).values).cast::<u32>().add(index)) };
        if value == a || value == b {
            return true;
        }
    }
    false
}
