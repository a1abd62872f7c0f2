//! hook: tp_btf or raw_tp inet_sk_error_report (sk); before 5.14 fentry or kprobe sock_def_error_report
//!       (sk)
//! kernels: 5.14 and later by the tracepoint, before by what it was put into
//! context: softirq, or process when the backlog is worked off
//! fields: sk_protocol, skc_family, skc_state, sk_err, sk_err_soft
//!
//! ICMP errors that did not end the connection at once: with IP_RECVERR, or while a process held
//! the socket. The error may be consumed by SO_ERROR before the socket is closed, so it is noted
//! when it is reported. Called with no error at all by tcp_disconnect, and for whatever joins the
//! error queue; in SYN_SENT that is an ICMP error (tcp_v4_err reports it before it sets
//! sk_err_soft).

use aya_ebpf::{
    macros::{btf_tracepoint, fentry, kprobe, raw_tracepoint},
    programs::{BtfTracePointContext, FEntryContext, ProbeContext, RawTracePointContext},
};
use tracer_common::{conn::flag, state};

use crate::{conns, read::Pointer, sock::Sock};

#[btf_tracepoint(function = "inet_sk_error_report")]
pub fn error_report(ctx: BtfTracePointContext) -> i32 {
    on_error(Pointer::typed(ctx.arg(0)))
}

#[fentry(function = "sock_def_error_report")]
pub fn error_report_call(ctx: FEntryContext) -> i32 {
    on_error(Pointer::typed(ctx.arg(0)))
}

#[raw_tracepoint(tracepoint = "inet_sk_error_report")]
pub fn raw_error_report(ctx: RawTracePointContext) -> i32 {
    on_error(Pointer::untyped(ctx.arg(0)))
}

#[kprobe]
pub fn probe_error_report(ctx: ProbeContext) -> i32 {
    ctx.arg(0).map_or(0, |sk| on_error(Pointer::untyped(sk)))
}

#[inline(always)]
fn on_error(sk: Pointer) -> i32 {
    let sk = Sock::new(sk);
    if !sk.is_inet() || !sk.is_tcp() {
        return 0;
    }
    if (sk.err() != 0 || sk.err_soft() != 0 || sk.state() == state::SYN_SENT)
        && let Some(conn) = conns::get(sk)
        && !conn.has(flag::CLOSED | flag::RST_RECEIVED)
    {
        conn.flags |= flag::ICMP_ERROR;
    }
    0
}
