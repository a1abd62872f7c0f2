//! Ring buffer records: reserve, fill, submit, and count what found no room.

use core::ptr;

use tracer_common::{
    conn::Conn,
    record::{Head, Record},
    sock::SockSnap,
    task::Task,
};

use crate::{
    conns::now,
    filter,
    globals::offset,
    maps::{EVENTS, count},
    read::copy,
    sock::{Sock, Tcp},
};

/// What a record is about, before its body.
pub struct Event {
    pub kind: u32,
    pub code: u32,
    pub extra: u64,
    /// Counter for a full ring.
    pub lost: u32,
}

/// Reserves a record; `fill` writes `conn` and `sock`, and says whether it is wanted.
#[inline(always)]
fn record(event: Event, sk: u64, cookie: u64, fill: impl FnOnce(&mut Record) -> bool) {
    let Some(mut entry) = EVENTS.reserve::<Record>(0) else {
        count(event.lost);
        return;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: the reservation is a Record, 8-byte aligned; every field is written here or by fill.
    let wanted = unsafe {
        ptr::write(
            &raw mut (*record).head,
            Head {
                ts_ns: now(),
                sk,
                cookie,
                kind: event.kind,
                code: event.code,
            },
        );
        copy(&raw mut (*record).actor, &raw const ZERO_TASK);
        (*record).extra = event.extra;
        fill(&mut *record)
    };
    if wanted {
        entry.submit(0);
    } else {
        entry.discard(0);
    }
}

/// A record of a full socket: its entry and its fields. `actor`: who failed in a call.
#[inline(always)]
pub fn full(event: Event, sk: Sock, tcp: Tcp, conn: &Conn, actor: Option<Task>) {
    let owner = match &actor {
        Some(actor) => actor.tgid,
        None => conn.owner.tgid,
    };
    let sport = u16::from_be(tcp.u16(offset!(inet_sport)));
    if !filter::wants_owner(owner) || !filter::wants_ports(sport, sk.dport()) {
        return;
    }
    record(event, sk.key(), conn.cookie, |record| {
        copy(&raw mut record.conn, ptr::from_ref(conn));
        sk.snap(tcp, &mut record.sock);
        if let Some(actor) = actor {
            copy(&raw mut record.actor, &raw const actor);
        }
        true
    });
}

/// A record of what is no full socket: an empty entry.
#[inline(always)]
pub fn bare(event: Event, sk: u64, cookie: u64, fill: impl FnOnce(&mut SockSnap)) {
    record(event, sk, cookie, |record| {
        copy(&raw mut record.conn, &raw const ZERO_CONN);
        copy(&raw mut record.sock, &raw const ZERO_SOCK);
        fill(&mut record.sock);
        filter::wants_ports(record.sock.sport, record.sock.dport)
    });
}

/// A record that is written in place. `fill` must write every field, and says whether it is wanted.
/// Whether it was told.
#[inline(always)]
pub fn filled<T: 'static>(lost: u32, fill: impl FnOnce(*mut T) -> bool) -> bool {
    let Some(mut entry) = EVENTS.reserve::<T>(0) else {
        count(lost);
        return false;
    };
    let wanted = fill(entry.as_mut_ptr());
    if wanted {
        entry.submit(0);
    } else {
        entry.discard(0);
    }
    wanted
}

/// A small record, made by the caller. `lost`: counter for a full ring.
#[inline(always)]
pub fn whole<T: Copy + 'static>(body: T, lost: u32) {
    let Some(mut entry) = EVENTS.reserve::<T>(0) else {
        count(lost);
        return;
    };
    copy(entry.as_mut_ptr(), &raw const body);
    entry.submit(0);
}

static ZERO_SOCK: SockSnap = SockSnap::ZERO;
static ZERO_TASK: Task = Task::NONE;
static ZERO_CONN: Conn = Conn::ZERO;
