//! Which connections of one process belong together: a proxy receives from its client, and in the
//! same breath connects or sends to its backend. A thread's last receive is noted; a connect or
//! send of that thread soon after it makes the link, on both entries. One turn of an event loop may
//! receive from many clients before it connects for the first: those wait in a queue, and what is
//! connected or sent goes with the oldest. The daemon decides from order and time whether the end of
//! one brought about the end of the other.
//!
//! Only a passive socket is linked with an active one: threads of a server that serve many clients
//! in turn must not link those with each other.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use tracer_common::conn::{
    Conn, LastRx, RX_PROCESSES, RX_QUEUE, RX_THREADS, Received, exchange, flag,
};

use crate::{
    conns,
    globals::link_jiffies,
    maps::LAST_RX,
    sock::{Sock, jiffies},
};

/// In the queue a request grows old later than outside: it leaves when it is answered.
const QUEUE_TURNS: u64 = 8;

const ENDED: u32 = flag::LOCAL_FIN | flag::PEER_FIN | flag::CLOSED;

#[inline(always)]
fn has(conn: &Conn, bit: u8) -> bool {
    conn.exchange & bit != 0
}

#[inline(always)]
fn thread_slot(pid_tgid: u64) -> u32 {
    pid_tgid as u32 % RX_THREADS
}

#[inline(always)]
fn process_slot(tgid: u32) -> u32 {
    RX_THREADS + tgid % RX_PROCESSES
}

#[inline(always)]
fn note(slot: u32, who: u64, tid: u32, sk: u64, cookie: u64) -> Option<&'static mut LastRx> {
    let last = LAST_RX.get_ptr_mut(slot)?;
    // SAFETY: a slot of an array map. Threads that share it may tear it: `who` and the cookie of
    // the entry behind `sk` are checked when it is read.
    let last = unsafe { &mut *last };
    if last.who != who {
        take_over(last, who);
    }
    last.sk = sk;
    last.cookie = cookie;
    last.jiffies = jiffies();
    last.tid = tid as u64;
    Some(last)
}

#[inline(always)]
fn take_over(last: &mut LastRx, who: u64) {
    last.who = who;
    last.cookie = 0;
    last.eof_cookie = 0;
    last.first = last.end;
}

/// A request waits to be answered or passed on.
#[inline(always)]
fn enqueue(last: &mut LastRx, sk: Sock, conn: &mut Conn) {
    if last.end.wrapping_sub(last.first) >= RX_QUEUE {
        // One that is lost would give its place to another: rather none of them.
        last.first = last.end;
        return;
    }
    conn.exchange |= exchange::QUEUED;
    last.queue[(last.end % RX_QUEUE) as usize] = Received {
        sk: sk.key(),
        cookie: conn.cookie,
        jiffies: jiffies(),
    };
    last.end = last.end.wrapping_add(1);
}

/// The oldest request that waits.
#[inline(always)]
fn dequeue(last: &mut LastRx) -> Option<Received> {
    for _ in 0..RX_QUEUE {
        if last.first == last.end {
            return None;
        }
        let oldest = last.queue[(last.first % RX_QUEUE) as usize];
        last.first = last.first.wrapping_add(1);
        let age = jiffies().wrapping_sub(oldest.jiffies);
        if oldest.cookie == 0 || age > QUEUE_TURNS * link_jiffies() {
            continue;
        }
        let Some(conn) = conns::get_key(oldest.sk) else {
            continue;
        };
        if conn.cookie == oldest.cookie && !conn.has(ENDED) {
            return Some(oldest);
        }
    }
    None
}

/// A request was answered without anybody's help.
#[inline(always)]
fn leave_queue(conn: &mut Conn) {
    conn.exchange &= !exchange::QUEUED;
    let pid_tgid = bpf_get_current_pid_tgid();
    let Some(last) = LAST_RX.get_ptr_mut(thread_slot(pid_tgid)) else {
        return;
    };
    // SAFETY: as in `note`.
    let last = unsafe { &mut *last };
    if last.who != pid_tgid || last.first == last.end {
        return;
    }
    // Mostly it is the newest: what is answered is answered at once.
    let newest = last.end.wrapping_sub(1);
    if last.queue[(newest % RX_QUEUE) as usize].cookie == conn.cookie {
        last.end = newest;
        return;
    }
    for place in 0..RX_QUEUE {
        let waiting = &mut last.queue[place as usize];
        if waiting.cookie == conn.cookie {
            waiting.cookie = 0;
        }
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
            take_over(last, pid_tgid);
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
        if conn.link_cookie != 0 && !has(conn, exchange::ANSWERED) {
            conn.exchange |= exchange::ANSWERED;
        }
        return;
    }
    let pid_tgid = bpf_get_current_pid_tgid();
    let tid = pid_tgid as u32;
    let last = note(thread_slot(pid_tgid), pid_tgid, tid, sk.key(), conn.cookie);
    // The rest of a request that waits or was passed on is not another one.
    let is_new = conn.link_cookie == 0 || has(conn, exchange::ANSWERED);
    if is_new
        && !has(conn, exchange::QUEUED)
        && let Some(last) = last
    {
        enqueue(last, sk, conn);
    }
}

/// A process accepted a socket. What it connects next may be for that one, also from another
/// thread, before any payload was seen: a proxy that splices shows none.
#[inline(always)]
pub fn accepted(sk: u64, conn: &Conn) {
    let pid_tgid = bpf_get_current_pid_tgid();
    let tid = pid_tgid as u32;
    note(thread_slot(pid_tgid), pid_tgid, tid, sk, conn.cookie);
    let tgid = (pid_tgid >> 32) as u32;
    let process = (tgid as u64) << 32;
    note(process_slot(tgid), process, tid, sk, conn.cookie);
}

/// A process connects.
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
    if conn.has(flag::PASSIVE) {
        if conn.link_cookie != 0 && !has(conn, exchange::ANSWERED) {
            conn.exchange |= exchange::ANSWERED;
        }
        if has(conn, exchange::QUEUED) {
            leave_queue(conn);
        }
        return;
    }
    if conn.has(ENDED) || (conn.link_cookie != 0 && !has(conn, exchange::ANSWERED)) {
        return;
    }
    let pid_tgid = bpf_get_current_pid_tgid();
    if !link(sk, conn, thread_slot(pid_tgid), pid_tgid) {
        conn.link_cookie = 0;
    }
}

/// Links with the oldest request that waits in the slot, or with what the slot had last, if that is
/// `who`'s, fresh, and still open.
#[inline(always)]
fn link(sk: Sock, conn: &mut Conn, slot: u32, who: u64) -> bool {
    let Some(last) = LAST_RX.get_ptr_mut(slot) else {
        return false;
    };
    // SAFETY: as in `note`.
    let last = unsafe { &mut *last };
    if last.who != who {
        return false;
    }
    if let Some(waiting) = dequeue(last) {
        last.sk = waiting.sk;
        last.cookie = waiting.cookie;
        last.jiffies = jiffies();
    }
    if last.cookie == 0
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
    conn.exchange &= !exchange::ANSWERED;
    other.link_sk = sk.key();
    other.link_cookie = conn.cookie;
    other.link_tid = last.tid as u32;
    other.exchange = 0;
    true
}
