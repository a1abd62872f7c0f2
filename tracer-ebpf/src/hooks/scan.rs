//! hook: iter/task_file (meta, task, fd, file), read once at start
//! kernels: 5.8 and later
//! context: process (the daemon, reading)
//! fields: file.f_inode.i_mode, file.private_data → socket.sk, sock_common, sk_protocol
//!
//! The owners of the sockets that are open already, in every network namespace. Runs after the
//! hooks are attached and never overwrites what they have seen. Written as a plain function because
//! aya-ebpf-macros 0.2 has no `iter` attribute.

use core::ffi::c_void;

use aya_ebpf::bindings::BPF_NOEXIST;
use tracer_common::{
    conn::{ListenerKey, attribution, flag},
    proto::{AF_INET, AF_INET6, IPPROTO_MPTCP, IPPROTO_TCP},
    state,
    task::Task,
};

use crate::{
    conns,
    globals::offset,
    maps::MPTCP_OWNERS,
    read::{copy, probe, probe_at},
    task,
};

const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
pub extern "C" fn scan_task_file(ctx: *mut c_void) -> i32 {
    let _ = visit(ctx);
    0
}

#[inline(always)]
fn visit(ctx: *const c_void) -> Option<()> {
    // SAFETY: struct bpf_iter__task_file: meta, task, fd, file; the verifier checks the loads.
    let (task, file) = unsafe {
        let words = ctx.cast::<*const c_void>();
        (words.add(1).read_volatile(), words.add(3).read_volatile())
    };
    if task.is_null() || file.is_null() {
        return None;
    }
    let inode = probe::<u64>(file, offset!(file_inode))? as *const c_void;
    if probe::<u16>(inode, offset!(inode_mode))? & S_IFMT != S_IFSOCK {
        return None;
    }
    let socket = probe::<u64>(file, offset!(file_private_data))? as *const c_void;
    let sk = probe::<u64>(socket, offset!(socket_sk))? as *const c_void;
    if !matches!(probe(sk, offset!(skc_family))?, AF_INET | AF_INET6) {
        return None;
    }
    let owner = task::of(task)?;
    match probe::<u16>(sk, offset!(sk_protocol))? {
        IPPROTO_TCP => found(sk, owner),
        IPPROTO_MPTCP => {
            let _ = MPTCP_OWNERS.insert(sk as u64, owner, BPF_NOEXIST as u64);
            Some(())
        }
        _ => None,
    }
}

#[inline(always)]
fn found(sk: *const c_void, owner: Task) -> Option<()> {
    let ends = match probe::<u8>(sk, offset!(skc_state))? {
        state::LISTEN => {
            let key = ListenerKey {
                net: probe_at(sk, offset!(skc_net) as usize)?,
                port: probe::<u16>(sk, offset!(skc_num))? as u32,
                reserved: 0,
            };
            conns::register_listener(key, sk as u64, owner);
            return Some(());
        }
        state::CLOSE => return None,
        state::SYN_SENT => flag::ACTIVE,
        state::CLOSE_WAIT => flag::PEER_FIN,
        state::FIN_WAIT1 | state::FIN_WAIT2 => flag::LOCAL_FIN,
        state::CLOSING | state::LAST_ACK => flag::LOCAL_FIN | flag::PEER_FIN,
        _ => 0,
    };
    let cookie = probe(sk, offset!(skc_cookie))?;
    let conn = conns::find(sk as u64)?;
    conn.birth_ns = conns::now();
    conn.flags = flag::PREEXISTING | ends;
    copy(&raw mut conn.owner, &raw const owner);
    conn.attribution = attribution::SCAN;
    conn.cookie = cookie;
    Some(())
}
