//! Ring buffer records: reserve, fill, submit, and count what found no room.

use core::ptr;

use tracer_common::{
    conn::Conn,
    record::{Destroyed, Head, Record},
    sock::SockSnap,
    task::Task,
};

use crate::{
    conns::now,
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

/// Reserves a record and zeroes it; `fill` writes the body.
#[inline(always)]
pub fn record(event: Event, sk: u64, cookie: u64, fill: impl FnOnce(&mut Record)) -> bool {
    let Some(mut entry) = EVENTS.reserve::<Record>(0) else {
        count(event.lost);
        return false;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: the reservation is a Record, 8-byte aligned; every field is written here or by fill.
    unsafe {
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
        copy(&raw mut (*record).sock, &raw const ZERO_SOCK);
        copy(&raw mut (*record).actor, &raw const ZERO_TASK);
        (*record).extra = event.extra;
        fill(&mut *record);
    }
    entry.submit(0);
    true
}

/// A record of a full socket: its entry and its fields.
#[inline(always)]
pub fn full(event: Event, sk: Sock, tcp: Tcp, conn: &Conn, actor: Option<Task>) -> bool {
    record(event, sk.key(), conn.cookie, |record| {
        copy(&raw mut record.conn, ptr::from_ref(conn));
        sk.snap(tcp, &mut record.sock);
        if let Some(actor) = actor {
            copy(&raw mut record.actor, &raw const actor);
        }
    })
}

/// A record of what is no full socket: an empty entry.
#[inline(always)]
pub fn bare(event: Event, sk: u64, cookie: u64, fill: impl FnOnce(&mut SockSnap)) {
    record(event, sk, cookie, |record| {
        copy(&raw mut record.conn, &raw const ZERO_CONN);
        fill(&mut record.sock);
    });
}

#[inline(always)]
pub fn destroyed(body: Destroyed, lost: u32) {
    let Some(mut entry) = EVENTS.reserve::<Destroyed>(0) else {
        count(lost);
        return;
    };
    entry.write(body);
    entry.submit(0);
}

static ZERO_SOCK: SockSnap = SockSnap::ZERO;
static ZERO_TASK: Task = Task::NONE;
static ZERO_CONN: Conn = Conn::ZERO;
