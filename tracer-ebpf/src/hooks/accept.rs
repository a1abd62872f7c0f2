//! hook: tracepoints syscalls:sys_exit_accept, sys_exit_accept4 (ret at byte 16)
//! kernels: all with CONFIG_FTRACE_SYSCALLS; the plain tracepoint, not raw sys_exit, so that only
//!          these two calls are hooked
//! context: process
//! fields: task_struct.files → fdt → fd[ret] → file.private_data → socket.sk, skc_family, sk_protocol; of a child of fast
//!         open those of conns::meet
//!
//! Where the function cannot be hooked (accept_calls.rs). The exit side, so that an accept which was waiting when tracing began counts too. io_uring's
//! accept is no call: the first send or receive tells its owner.

use core::ffi::c_void;

use aya_ebpf::{macros::tracepoint, programs::TracePointContext};

use crate::{
    conns,
    globals::offset,
    links,
    maps::MPTCP_OWNERS,
    read::{Pointer, probe, probe_at},
    sock::Sock,
    task,
};

const RET_OFFSET: usize = 16;

#[tracepoint]
pub fn exit_accept(ctx: TracePointContext) -> u32 {
    let _ = accepted(&ctx);
    0
}

#[tracepoint]
pub fn exit_accept4(ctx: TracePointContext) -> u32 {
    let _ = accepted(&ctx);
    0
}

#[inline(always)]
fn accepted(ctx: &TracePointContext) -> Option<()> {
    // SAFETY: within the tracepoint's record.
    let fd: i64 = unsafe { ctx.read_at(RET_OFFSET) }.ok()?;
    if fd < 0 {
        return None;
    }
    let fds = task::fds()?;
    let file = probe_at::<u64>(fds, fd as usize * 8)? as *const c_void;
    let socket = probe::<u64>(file, offset!(file_private_data))? as *const c_void;
    let sk = probe::<u64>(socket, offset!(socket_sk))? as *const c_void;
    let owner = task::current()?;
    let sk = Sock::new(Pointer::untyped(sk));
    let conn = match conns::get(sk) {
        Some(conn) => conn,
        None if !sk.is_inet() => return None,
        None if sk.is_tcp() => conns::accepting(sk)?,
        None => {
            if sk.is_msk() {
                let _ = MPTCP_OWNERS.insert(sk.key(), owner, 0);
            }
            return None;
        }
    };
    conns::accepted(sk, conn, owner);
    links::accepted(sk.key(), conn);
    Some(())
}
