//! Which two sockets of this node are the ends of one connection. Both hold the same pair of initial
//! sequence numbers, crossed, also through NAT. The end that is established first waits in `PAIRS` for
//! the other, in a seat of the pair's bucket: a cache line, and the only cold memory that this takes. The
//! other comes within a round trip or never: it is elsewhere. So whoever finds no seat free takes one.

use core::ptr;

use tracer_common::{
    conn::{BUCKETS_PER_SET, Conn, SEATS, Waiting},
    table::sets_of,
};

use crate::{conns::get_key, globals::sets, maps::PAIRS, sock::Sock, table::differs};

/// The end `conn`, whose initial sequence numbers are known, looks for the other, and waits for it if it
/// is not there.
#[inline(always)]
pub fn meet(sk: Sock, conn: &mut Conn) {
    let (key, own) = (pair_key(conn), sk.key());
    let Some(bucket) = bucket(key) else { return };
    let seats = Seats::of(bucket, key, own);
    if seats.is_other {
        let other = seat(bucket, seats.other);
        // SAFETY: within a map's value.
        let peer_sk = unsafe { (&raw const (*other).sk).read_volatile() };
        // SAFETY: the same.
        unsafe { (&raw mut (*other).key).write_volatile(0) };
        if let Some(peer) = get_key(peer_sk)
            && (peer.iss, peer.irs) == (conn.irs, conn.iss)
        {
            peer.peer_sk = own;
            peer.peer_cookie = conn.cookie;
            conn.peer_sk = peer_sk;
            conn.peer_cookie = peer.cookie;
            if seats.is_own {
                // SAFETY: within a map's value.
                unsafe { (&raw mut (*seat(bucket, seats.own)).key).write_volatile(0) };
            }
            return;
        }
    }
    if !seats.is_own {
        let free = if seats.is_free {
            seats.free
        } else {
            key as u32
        };
        let free = seat(bucket, free);
        // SAFETY: within a map's value. Who reads it meanwhile has the wrong socket, whose sequence numbers
        // are others.
        unsafe {
            (&raw mut (*free).key).write_volatile(0);
            (&raw mut (*free).sk).write_volatile(own);
            (&raw mut (*free).key).write_volatile(key);
        }
    }
}

/// The end of a connection whose other end never came.
#[inline(always)]
pub fn stop_waiting(sk: Sock, conn: &Conn) {
    let has_met = conn.iss | conn.irs != 0;
    if !has_met || conn.peer_sk != 0 {
        return;
    }
    let key = pair_key(conn);
    let Some(bucket) = bucket(key) else { return };
    let seats = Seats::of(bucket, key, sk.key());
    if seats.is_own {
        // SAFETY: within a map's value.
        unsafe { (&raw mut (*seat(bucket, seats.own)).key).write_volatile(0) };
    }
}

type Bucket = [Waiting; SEATS as usize];

#[inline(always)]
fn bucket(key: u64) -> Option<*mut Bucket> {
    let [index, _] = sets_of(key, sets() * BUCKETS_PER_SET);
    PAIRS.get_ptr_mut(index)
}

/// The verifier sees that it is within the bucket.
#[inline(always)]
fn seat(bucket: *mut Bucket, seat: u32) -> *mut Waiting {
    bucket
        .cast::<Waiting>()
        .wrapping_add((seat & (SEATS - 1)) as usize)
}

/// What is in a bucket for a key: seats, and whether they are there.
struct Seats {
    own: u32,
    is_own: bool,
    other: u32,
    is_other: bool,
    free: u32,
    is_free: bool,
}

impl Seats {
    #[inline(always)]
    fn of(bucket: *mut Bucket, key: u64, own_sk: u64) -> Self {
        let (mut own, mut owns, mut other, mut others, mut free, mut frees) = (0, 0, 0, 0, 0, 0);
        for way in 0..SEATS as u64 {
            let seat = seat(bucket, way as u32);
            // SAFETY: within a map's value; others write it.
            let (its_key, its_sk) = unsafe {
                (
                    ptr::read_volatile(&raw const (*seat).key),
                    ptr::read_volatile(&raw const (*seat).sk),
                )
            };
            let is_free = differs(its_key, 0) ^ 1;
            let is_ours = differs(its_key, key) ^ 1;
            let is_other = is_ours & differs(its_sk, own_sk);
            let is_own = is_ours ^ is_other;
            // The last one: of each kind there is one at most, but for the free.
            own += is_own * (way - own);
            other += is_other * (way - other);
            free += is_free * (way - free);
            owns |= is_own;
            others |= is_other;
            frees |= is_free;
        }
        Seats {
            own: own as u32,
            is_own: owns != 0,
            other: other as u32,
            is_other: others != 0,
            free: free as u32,
            is_free: frees != 0,
        }
    }
}

#[inline(always)]
fn pair_key(conn: &Conn) -> u64 {
    let (low, high) = if conn.iss < conn.irs {
        (conn.iss, conn.irs)
    } else {
        (conn.irs, conn.iss)
    };
    (low as u64) << 32 | high as u64
}
