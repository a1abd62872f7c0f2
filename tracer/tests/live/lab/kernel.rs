//! What the running kernel can tell, from its own types: what a test may demand of the tracer.

use std::sync::OnceLock;

/// From 6.10 a RST has a reason.
pub fn gives_rst_reasons() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        const ENUM: &[u8] = b"\0sk_rst_reason\0";
        let types = std::fs::read("/sys/kernel/btf/vmlinux").unwrap_or_default();
        types.windows(ENUM.len()).any(|name| name == ENUM)
    })
}
