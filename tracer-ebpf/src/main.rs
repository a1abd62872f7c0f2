//! The kernel side of tracer: hooks that keep one entry per TCP socket and tell the daemon of its
//! end, of RSTs and of failed calls.
#![no_std]
#![no_main]
// table.rs adds atomically.
#![feature(asm_experimental_arch)]

mod conns;
mod emit;
mod filter;
mod globals;
mod hooks;
mod links;
mod maps;
mod pairs;
mod read;
mod sock;
mod table;
mod task;

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

// The tracing helpers are gpl_only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
