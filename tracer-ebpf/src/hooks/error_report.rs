//! hook: tp_btf inet_sk_error_report (sk)
//! kernels: 5.14 and later
//! context: softirq, or process when the backlog is worked off
//! fields: sk_protocol, skc_family, sk_err, sk_err_soft
//!
//! ICMP errors that did not end the connection at once: with IP_RECVERR, or while a process held
//! the socket. The error may be consumed by SO_ERROR before the socket is closed, so it is noted
//! when it is reported. Also called with no error at all (the error queue, tcp_disconnect).

use core::ffi::c_void;

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tracer_common::conn::flag;

use crate::{conns, sock::Sock};

#[btf_tracepoint(function = "inet_sk_error_report")]
pub fn error_report(ctx: BtfTracePointContext) -> i32 {
    let sk: *const c_void = ctx.arg(0);
    let sk = Sock::new(sk);
    if !sk.is_inet() || !sk.is_tcp() {
        return 0;
    }
    let err = match sk.err() {
        0 => sk.err_soft(),
        err => err,
    };
    if err != 0
        && let Some(conn) = conns::get(sk)
        && !conn.has(flag::CLOSED | flag::RST_RECEIVED)
    {
        conn.icmp_errno = err as u16;
    }
    0
}
