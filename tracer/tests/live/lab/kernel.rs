//! What the running kernel can tell, from its own types: what a test may demand of the tracer.

use std::sync::OnceLock;

/// From 6.10 a RST has a reason.
pub fn gives_rst_reasons() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| names("sk_rst_reason"))
}

/// From 5.12 a program with the kernel's types may ask for a socket's cookie: it is the number of the connection, and
/// its TIME_WAIT keeps it, so that a RST from there has its connection.
pub fn gives_cookies() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| hooks() != "kprobe" && names("bpf_get_socket_ptr_cookie"))
}

/// Whether the tracer, as it is told to, learns from kretprobes what calls return.
pub fn by_kretprobes() -> bool {
    hooks() == "kprobe" && names("register_kretprobe")
}

/// Before 5.11 maps count against RLIMIT_MEMLOCK.
pub fn charges_memlock() -> bool {
    names("bpf_map_charge_init")
}

/// The family of hooks that the tracer is told to use; empty: the best.
fn hooks() -> String {
    std::env::var("LIVE_HOOKS").unwrap_or_default()
}

/// Whether the kernel's types know that name.
fn names(name: &str) -> bool {
    let types = std::fs::read("/sys/kernel/btf/vmlinux").unwrap_or_default();
    let word = format!("\0{name}\0");
    memchr::memmem::find(&types, word.as_bytes()).is_some()
}
