//! The life of a `CONNS` entry: made at a birth, joined with the other end (pairs.rs), given
//! an owner when a process shows itself, removed at tcp_destroy_sock.

use core::{mem::MaybeUninit, ptr};

use aya_ebpf::{bindings::BPF_ANY, helpers::bpf_ktime_get_ns};
use tracer_common::{
    conn::{Conn, Listener, ListenerKey, attribution, flag},
    counters, state,
    task::{PF_EXITING, Task},
};

use crate::{
    globals::{has_socket_cookie, offset, sets},
    links,
    maps::{CONN_KEYS, CONNS, GONE, LISTENERS, MPTCP_OWNERS, SCRATCH, count},
    pairs,
    read::copy,
    sock::{Sock, Tcp},
    table::{Table, add_u32},
};

#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
fn table() -> Table<'static> {
    Table {
        keys: &CONN_KEYS,
        sets: sets(),
    }
}

#[inline(never)]
fn slot_of(key: u64) -> u32 {
    table().find(key)
}

#[inline(never)]
fn claim(key: u64) -> u32 {
    table().claim(key)
}

/// The entry in a slot of the table.
#[inline(always)]
pub fn at(slot: u32) -> Option<&'static mut Conn> {
    let conn = CONNS.get_ptr_mut(slot)?;
    // SAFETY: a value of an array map.
    Some(unsafe { &mut *conn })
}

/// The entry of `sk`. Entries are written by the socket's own events, which its lock orders; a
/// process's accept or I/O beside them touches owner, link and `exchange` alone, and adds to `flags`.
#[inline(always)]
pub fn get(sk: Sock) -> Option<&'static mut Conn> {
    get_key(sk.key())
}

#[inline(always)]
pub fn get_key(key: u64) -> Option<&'static mut Conn> {
    at(slot_of(key))
}

static ZERO: Conn = Conn::ZERO;

/// Makes the place an empty entry.
#[inline(always)]
pub fn empty(place: &mut MaybeUninit<Conn>) -> &mut Conn {
    copy(place.as_mut_ptr(), &raw const ZERO);
    // SAFETY: every word was written.
    unsafe { place.assume_init_mut() }
}

/// An empty entry for a socket that has none, off the stack. `slot` is one of [`scratch`]: a program
/// is not entered twice on one CPU, so each has its slot to itself.
#[inline(always)]
pub fn stand_in(slot: u32) -> Option<&'static mut Conn> {
    let place = SCRATCH.get_ptr_mut(slot)?;
    // SAFETY: a per-CPU map value lives until the program ends.
    Some(empty(unsafe { &mut *place.cast::<MaybeUninit<Conn>>() }))
}

/// Makes a fresh entry, over whatever socket had this address before. Counts those for which there is no
/// room.
#[inline(always)]
pub fn insert(sk: Sock, flags: u32, owner: Task, how: u8) -> Option<&'static mut Conn> {
    let conn = try_insert(sk, flags, owner, how);
    if conn.is_none() {
        count(counters::MAP_CONN);
    }
    conn
}

/// The same for what has been counted before, if there was no room.
#[inline(always)]
pub fn try_insert(sk: Sock, flags: u32, owner: Task, how: u8) -> Option<&'static mut Conn> {
    let key = sk.key();
    let conn = match get_key(key) {
        Some(conn) => conn,
        None => enter(key)?,
    };
    copy(conn, &raw const ZERO);
    if flags & flag::ACTIVE != 0 {
        conn.birth_ns = now();
    }
    conn.flags = flags;
    if owner.is_known() {
        copy(&raw mut conn.owner, &raw const owner);
        conn.attribution = how;
    }
    // Last: who looks for another connection goes by it.
    conn.cookie = sk.cookie();
    if flags & flag::ACTIVE != 0 {
        links::connecting(sk, conn);
    }
    Some(conn)
}

/// A new entry; what is in it is an old one's, but for the cookie.
#[inline(always)]
fn enter(key: u64) -> Option<&'static mut Conn> {
    let entry = at(claim(key))?;
    count(counters::CONN_INSERTED);
    Some(entry)
}

/// An empty entry for what a scan has found, if no event has made one.
#[inline(always)]
pub fn find(key: u64) -> Option<&'static mut Conn> {
    if get_key(key).is_some() {
        return None;
    }
    let Some(conn) = enter(key) else {
        count(counters::MAP_CONN);
        return None;
    };
    copy(conn, &raw const ZERO);
    Some(conn)
}

/// The entry of a socket that goes.
#[inline(always)]
pub fn leaving(sk: Sock) -> Option<Leaving> {
    let slot = slot_of(sk.key());
    Some(Leaving {
        slot,
        conn: at(slot)?,
    })
}

/// See [`leaving`].
pub struct Leaving {
    slot: u32,
    pub conn: &'static mut Conn,
}

impl Leaving {
    #[inline(always)]
    pub fn remove(self, sk: Sock) {
        if !has_socket_cookie() {
            let _ = GONE.insert(sk.key(), self.conn.cookie, BPF_ANY as u64);
        }
        self.conn.cookie = 0;
        table().release(self.slot);
        count(counters::CONN_REMOVED);
    }
}

/// The number of a connection that [`remove`] has forgotten.
#[inline(always)]
pub fn gone(sk: Sock) -> u64 {
    if has_socket_cookie() {
        return sk.stored_cookie();
    }
    // SAFETY: copied out at once.
    unsafe { GONE.get(sk.key()) }.copied().unwrap_or(0)
}

/// ESTABLISHED: meets the other end if it is on this node.
#[inline(always)]
pub fn establish(sk: Sock, conn: &mut Conn, tcp: Tcp) {
    conn.established_ns = tcp.segment_ns();
    if conn.has(flag::PASSIVE) {
        conn.birth_ns = conn.established_ns;
        if has_socket_cookie() {
            // inet_csk_clone_lock gives a child its request's cookie, none, after its birth was told; before
            // 6.18 over the one that it had by then.
            conn.cookie = sk.cookie();
        }
    }
    meet(sk, conn, tcp);
}

/// Whatever an end does once it is established makes good that no run saw it become so: the kernel skips a
/// program that it would enter twice on one CPU.
#[inline(always)]
pub fn catch_up(sk: Sock, conn: &mut Conn) {
    let is_behind = conn.established_ns == 0 && conn.has(flag::ACTIVE | flag::PASSIVE);
    if is_behind
        && !matches!(sk.state(), state::SYN_SENT | state::SYN_RECV | state::CLOSE)
        && let Some(tcp) = sk.tcp()
    {
        establish_late(sk, conn, tcp);
    }
}

/// An active end had it within a handshake of its birth, a passive one by now.
#[inline(always)]
pub fn establish_late(sk: Sock, conn: &mut Conn, tcp: Tcp) {
    establish(sk, conn, tcp);
    if conn.has(flag::ACTIVE) {
        conn.established_ns = conn.birth_ns;
    }
}

/// An entry for a socket that is accepted and has none. It is older than tracing, or no run saw its birth: which of the
/// two cannot be told.
#[inline(always)]
pub fn accepting(sk: Sock) -> Option<&'static mut Conn> {
    insert(
        sk,
        flag::PASSIVE | flag::PREEXISTING,
        Task::NONE,
        attribution::NONE,
    )
}

/// A process accepted a socket. A child of fast open answers from SYN_RECV: its peer may have taken
/// the answer and be gone before the child is ESTABLISHED, so it meets its peer here.
#[inline(always)]
pub fn accepted(sk: Sock, conn: &mut Conn, owner: Task) {
    copy(&raw mut conn.owner, &raw const owner);
    conn.attribution = attribution::ACCEPT;
    if conn.established_ns != 0 || sk.state() != state::SYN_RECV {
        return;
    }
    let Some(tcp) = sk.tcp() else { return };
    if has_socket_cookie() {
        // Another is made at ESTABLISHED where the one of its birth did not last (below 6.18).
        if sk.stored_cookie() != conn.cookie {
            return;
        }
    }
    meet(sk, conn, tcp);
}

/// Takes the initial sequence numbers, and meets the other end.
#[inline(always)]
fn meet(sk: Sock, conn: &mut Conn, tcp: Tcp) {
    // With fast open there is payload by now, and of two ends that have different amounts of it.
    let snd_una = tcp.u32(offset!(snd_una));
    let acked = tcp.u64(offset!(bytes_acked)) as u32;
    if conn.established_ns == 0 && acked != 0 {
        // The acknowledgement that makes it ESTABLISHED is being taken in beside us.
        return;
    }
    let own_syn = conn.has(flag::ACTIVE) as u32;
    conn.iss = snd_una.wrapping_sub(acked).wrapping_add(own_syn);
    conn.irs = tcp
        .u32(offset!(rcv_nxt))
        .wrapping_sub(tcp.u64(offset!(bytes_received)) as u32);
    if conn.peer_sk == 0 {
        pairs::meet(sk, conn);
    }
}

/// This end closes first: lets the other end know when there is more behind it.
#[inline(always)]
pub fn tell_peer(conn: &Conn) {
    if conn.peer_sk == 0 || (conn.link_cookie == 0 && conn.closer.flags & PF_EXITING == 0) {
        return;
    }
    if let Some(peer) = peer_of(conn) {
        // Its own events write these too, and must not lose what they write.
        if !peer.has(flag::PEER_TELLS) {
            add_u32(&raw mut peer.flags, flag::PEER_TELLS);
        }
    }
}

/// The other end's entry. Its socket may have another connection by now, under the same cookie.
#[inline(always)]
fn peer_of(conn: &Conn) -> Option<&'static mut Conn> {
    get_key(conn.peer_sk)
        .filter(|peer| peer.cookie == conn.peer_cookie && peer.peer_cookie == conn.cookie)
}

/// Tells the other end who we were, and learns who it is.
#[inline(always)]
pub fn part(conn: &mut Conn) {
    if conn.peer_sk == 0 {
        return;
    }
    let Some(peer) = peer_of(conn) else {
        return;
    };
    copy(&raw mut peer.peer_owner, &raw const conn.owner);
    if !conn.peer_owner.is_known() {
        copy(&raw mut conn.peer_owner, &raw const peer.owner);
    }
}

/// The owner of a socket that no process has touched yet: for a child that was never accepted, the
/// process that listens; for a subflow, the user of its msk; else the process that closed it.
#[inline(always)]
pub fn resolve_owner(sk: Sock, tcp: Tcp, conn: &mut Conn, sport: u16) {
    if tcp.is_mptcp() {
        // SAFETY: copied out at once.
        if let Some(owner) = unsafe { MPTCP_OWNERS.get(tcp.msk()) } {
            copy(&raw mut conn.owner, ptr::from_ref(owner));
            conn.attribution = attribution::IO;
            return;
        }
    }
    if conn.owner.is_known() {
        return;
    }
    if conn.has(flag::PASSIVE) && !sk.has_socket() {
        let key = listener_key(sk, sport);
        // SAFETY: copied out at once.
        if let Some(listener) = unsafe { LISTENERS.get(key) }
            && listener.ambiguous == 0
        {
            copy(&raw mut conn.owner, &raw const listener.owner);
            conn.attribution = attribution::LISTENER;
            return;
        }
    }
    if conn.closer.is_known() {
        copy(&raw mut conn.owner, &raw const conn.closer);
        conn.attribution = attribution::SYSCALL;
    }
}

#[inline(always)]
fn listener_key(sk: Sock, port: u16) -> ListenerKey {
    ListenerKey {
        net: sk.net().to() as u64,
        port: port as u32,
        reserved: 0,
    }
}

/// A socket of `owner` listens.
#[inline(always)]
pub fn listen(sk: Sock, owner: Task) {
    register_listener(listener_key(sk, sk.num()), sk.key(), owner);
}

#[inline(always)]
pub fn register_listener(key: ListenerKey, sk: u64, owner: Task) {
    let mut listener = Listener {
        sk,
        owner,
        sockets: 1,
        ambiguous: 0,
    };
    if let Some(known) = LISTENERS.get_ptr_mut(key) {
        // SAFETY: a map value lives until the program ends (RCU).
        let known = unsafe { &mut *known };
        if known.sockets > 0 {
            if known.sk == sk {
                return;
            }
            listener.sockets = known.sockets + 1;
            listener.ambiguous = known.ambiguous | (known.owner.tgid != owner.tgid) as u32;
        }
    }
    if LISTENERS.insert(key, listener, BPF_ANY as u64).is_err() {
        count(counters::MAP_LISTENER);
    }
}

/// A listener is gone; its entry stays for the children that are closed after it.
#[inline(always)]
pub fn unlisten(sk: Sock, port: u16) {
    if let Some(known) = LISTENERS.get_ptr_mut(listener_key(sk, port)) {
        // SAFETY: a map value lives until the program ends (RCU).
        let known = unsafe { &mut *known };
        known.sockets = known.sockets.saturating_sub(1);
    }
}
