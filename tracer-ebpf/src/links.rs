//! Which connections of one process belong together: a proxy receives from its client, and in the
//! same breath connects or sends to its backend. A thread's last receive is noted; a connect or
//! send of that thread soon after it makes the link, on both entries. The daemon decides from order
//! and time whether the end of one brought about the end of the other.
//!
//! Only a passive socket is linked with an active one: threads of a server that serve many clients
//! in turn must not link those with each other.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use tracer_common::conn::{Conn, RX_PROCESSES, RX_THREADS, flag};

use crate::{
    conns,
    globals::link_jiffies,
    maps::LAST_RX,
    sock::{Sock, jiffies},
};

const ENDED: u32 = flag::LOCAL_FIN | flag::PEER_FIN | flag::CLOSED;

#[inline(always)]
fn thread_slot(pid_tgid: u64) -> u32 {
    pid_tgid as u32 % RX_THREADS
}

#[inline(always)]
fn process_slot(tgid: u32) -> u32 {
    RX_THREADS + tgid % RX_PROCESSES
}

#[inline(always)]
fn note(slot: u32, who: u64, tid: u32, sk: u64, cookie: u64) {
    if let Some(last) = LAST_RX.get_ptr_mut(slot) {
        // SAFETY: a slot of an array map. Threads that share it may tear it: `who` and the cookie of
        // the entry behind `sk` are checked when it is read.
        let last = unsafe { &mut *last };
        if last.who != who {
            last.who = who;
            last.eof_cookie = 0;
        }
        last.sk = sk;
        last.cookie = cookie;
        last.jiffies = jiffies();
        last.tid = tid as u64;
    }
}

/// A receive of a process returned an end of file or an error.
#[inline(always)]
pub fn ended(conn: &Conn) {
    if conn.link_cookie == 0 {
        return;
    }
    let pid_tgid = bpf_get_current_pid_tgid();
    if let Some(last) = LAST_RX.get_ptr_mut(thread_slot(pid_tgid)) {
        // SAFETY: as in `note`.
        let last = unsafe { &mut *last };
        if last.who != pid_tgid {
            last.who = pid_tgid;
            last.cookie = 0;
        }
        last.eof_cookie = conn.cookie;
        last.eof_jiffies = jiffies();
    }
}

/// The current process ends a connection. When the thread has just learned of the end of the linked
/// one, it is that thread's link, whoever made it.
#[inline(always)]
pub fn ending(conn: &mut Conn) {
    if conn.link_cookie == 0 {
        return;
    }
    let pid_tgid = bpf_get_current_pid_tgid();
    if let Some(last) = LAST_RX.get(thread_slot(pid_tgid))
        && last.who == pid_tgid
        && last.eof_cookie == conn.link_cookie
        && jiffies().wrapping_sub(last.eof_jiffies) <= link_jiffies()
    {
        conn.link_tid = pid_tgid as u32;
    }
}

/// A process took payload from a socket.
#[inline(always)]
pub fn received(sk: Sock, conn: &mut Conn) {
    if conn.has(flag::ACTIVE) {
        if conn.link_cookie != 0 && !conn.has(flag::RX_SINCE_LINK) {
            conn.flags |= flag::RX_SINCE_LINK;
        }
        return;
    }
    let pid_tgid = bpf_get_current_pid_tgid();
    note(
        thread_slot(pid_tgid),
        pid_tgid,
        pid_tgid as u32,
        sk.key(),
        conn.cookie,
    );
}

/// A process accepted a socket. What it connects next may be for that one, also from another
/// thread, before any payload was seen: a proxy that splices shows none.
#[inline(always)]
pub fn accepted(sk: u64) {
    let Some(conn) = conns::get_key(sk) else {
        return;
    };
    let pid_tgid = bpf_get_current_pid_tgid();
    let tid = pid_tgid as u32;
    note(thread_slot(pid_tgid), pid_tgid, tid, sk, conn.cookie);
    let tgid = (pid_tgid >> 32) as u32;
    let process = (tgid as u64) << 32;
    note(process_slot(tgid), process, tid, sk, conn.cookie);
}

/// A process connects. `conn` is not in the map yet.
#[inline(always)]
pub fn connecting(sk: Sock, conn: &mut Conn) {
    let pid_tgid = bpf_get_current_pid_tgid();
    if !link(sk, conn, thread_slot(pid_tgid), pid_tgid) {
        let tgid = (pid_tgid >> 32) as u32;
        link(sk, conn, process_slot(tgid), (tgid as u64) << 32);
    }
}

/// A process sent payload. As long as nothing was received since the link was made, it is still the
/// same exchange.
#[inline(always)]
pub fn sent(sk: Sock, conn: &mut Conn) {
    if conn.has(flag::PASSIVE | ENDED) {
        return;
    }
    if conn.link_cookie != 0 && !conn.has(flag::RX_SINCE_LINK) {
        return;
    }
    let pid_tgid = bpf_get_current_pid_tgid();
    if !link(sk, conn, thread_slot(pid_tgid), pid_tgid) {
        conn.link_cookie = 0;
    }
}

/// Links with what the slot holds, if that is `who`'s, fresh, and still open.
#[inline(always)]
fn link(sk: Sock, conn: &mut Conn, slot: u32, who: u64) -> bool {
    let Some(last) = LAST_RX.get(slot).copied() else {
        return false;
    };
    if last.who != who
        || last.cookie == 0
        || last.sk == sk.key()
        || jiffies().wrapping_sub(last.jiffies) > link_jiffies()
    {
        return false;
    }
    let Some(other) = conns::get_key(last.sk) else {
        return false;
    };
    if other.cookie != last.cookie || (!conn.has(flag::ACTIVE) && !other.has(flag::PASSIVE)) {
        return false;
    }
    conn.link_sk = last.sk;
    conn.link_cookie = last.cookie;
    conn.link_tid = last.tid as u32;
    conn.flags &= !flag::RX_SINCE_LINK;
    other.link_sk = sk.key();
    other.link_cookie = conn.cookie;
    other.link_tid = last.tid as u32;
    true
}
