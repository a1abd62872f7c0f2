//! What the daemon injects before load: field offsets of this kernel, and settings. In `.rodata`,
//! which is frozen, so the verifier takes every value for a constant.

use core::ptr;

use tracer_common::{config::Config, offsets::Offsets};

#[unsafe(no_mangle)]
pub static OFFSETS: Offsets = Offsets::ABSENT;

#[unsafe(no_mangle)]
pub static CONFIG: Config = Config::DEFAULT;

/// One offset. Volatile: the value at build time is not the value at load time.
macro_rules! offset {
    ($field:ident) => {
        // SAFETY: a static of plain integers.
        unsafe { ::core::ptr::read_volatile(&raw const $crate::globals::OFFSETS.$field) }
    };
}
pub(crate) use offset;

#[inline(always)]
pub fn has_rst_reason() -> bool {
    // SAFETY: a static of plain integers.
    unsafe { ptr::read_volatile(&raw const CONFIG.has_rst_reason) != 0 }
}

#[inline(always)]
pub fn has_task_btf() -> bool {
    // SAFETY: a static of plain integers.
    unsafe { ptr::read_volatile(&raw const CONFIG.has_task_btf) != 0 }
}

#[inline(always)]
pub fn may_probe() -> bool {
    // SAFETY: a static of plain integers.
    unsafe { ptr::read_volatile(&raw const CONFIG.may_probe) != 0 }
}

#[inline(always)]
pub fn has_socket_cookie() -> bool {
    // SAFETY: a static of plain integers.
    unsafe { ptr::read_volatile(&raw const CONFIG.has_socket_cookie) != 0 }
}

#[inline(always)]
pub fn has_victim_task() -> bool {
    // SAFETY: a static of plain integers.
    unsafe { ptr::read_volatile(&raw const CONFIG.has_victim_task) != 0 }
}

#[inline(always)]
pub fn link_jiffies() -> u64 {
    // SAFETY: a static of plain integers.
    unsafe { ptr::read_volatile(&raw const CONFIG.link_jiffies) as u64 }
}

#[inline(always)]
pub fn repair_mask() -> u8 {
    // SAFETY: a static of plain integers.
    unsafe { ptr::read_volatile(&raw const CONFIG.repair_mask) as u8 }
}

#[inline(always)]
pub fn usec_ts_mask() -> u8 {
    // SAFETY: a static of plain integers.
    unsafe { ptr::read_volatile(&raw const CONFIG.usec_ts_mask) as u8 }
}

#[inline(always)]
pub fn retries2_mask() -> u32 {
    // SAFETY: a static of plain integers.
    unsafe { ptr::read_volatile(&raw const CONFIG.retries2_mask) }
}

#[inline(always)]
pub fn keepalive_probes_mask() -> u32 {
    // SAFETY: a static of plain integers.
    unsafe { ptr::read_volatile(&raw const CONFIG.keepalive_probes_mask) }
}

#[inline(always)]
pub fn sets() -> u32 {
    // SAFETY: a static of plain integers.
    unsafe { ptr::read_volatile(&raw const CONFIG.sets) }
}
