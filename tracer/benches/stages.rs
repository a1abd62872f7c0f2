//! What one event costs in each stage of the pure core, on one thread: `cargo bench -p tracer`. An event here is the end of
//! an ordinary connection, or one that a peer reset; a line is one of a recording.

use std::{hint::black_box, time::Duration};

use divan::{Bencher, counter::ItemsCount};
use tracer::{
    core::{
        assemble::{Assembler, Run},
        chain::Others,
        classify::{Evidence, classify},
        clean::clean,
        decode::{Told, decode},
        filter::Filter,
        join::{Finished, Joined, Joiner},
        names::{Named, Names},
        numbers,
        timeouts::BUILT_IN,
    },
    event::{Event, names::RstReasons, text::Label},
};
use tracer_common::{
    conn::{Conn, attribution, flag},
    record::{Head, Record, kind},
    sock::{SockSnap, sock_bit, sock_flag},
    state,
    task::Task,
};

fn main() {
    divan::main();
}

/// Events of a round: about what a busy node gives in one turn of the loop.
const EVENTS: u64 = 1_000;

const ECONNRESET: i32 = 104;

/// The end of an ordinary connection of nginx, closed by it after one answer.
fn closed(number: u64) -> Record {
    let begun_ns = 1_000_000_000 + number * 20_000;
    let owner = Task {
        start_ns: 7_000_000,
        tgid: 812,
        tid: 812,
        comm: [u64::from_ne_bytes(*b"nginx\0\0\0"), 0],
        ..Task::NONE
    };
    let mut addr = [0; 16];
    addr[10..].copy_from_slice(&[0xff, 0xff, 10, 0, 0, 1]);
    Record {
        head: Head {
            ts_ns: begun_ns + 400_000,
            sk: 0xffff_8880_0000_0000 + number * 0x1000,
            cookie: 1 + number,
            kind: kind::CLOSE,
            code: 0,
        },
        conn: Conn {
            cookie: 1 + number,
            birth_ns: begun_ns,
            established_ns: begun_ns + 30_000,
            local_fin_ns: begun_ns + 300_000,
            peer_fin_ns: begun_ns + 390_000,
            owner,
            closer: owner,
            iss: 1_000,
            irs: 9_000,
            flags: flag::PASSIVE
                | flag::LOCAL_FIN
                | flag::PEER_FIN
                | flag::ORPHAN
                | flag::RX_BEFORE_FIN
                | flag::TX_BEFORE_FIN,
            attribution: attribution::ACCEPT,
            ..Conn::ZERO
        },
        sock: SockSnap {
            saddr: addr,
            daddr: addr,
            bytes_acked: 251,
            bytes_received: 81,
            bytes_sent: 250,
            snd_una: 1_251,
            snd_nxt: 1_251,
            write_seq: 1_251,
            rcv_nxt: 9_081,
            copied_seq: 9_080,
            srtt_us8: 800,
            jiffies: 10_000,
            lrcvtime: 10_000,
            lsndtime: 10_000,
            netns: 4_026_531_840,
            sk_flags: sock_flag::DEAD | sock_flag::DONE,
            sport: 80,
            dport: 40_000 + (number % 20_000) as u16,
            family: 2,
            state: state::FIN_WAIT2,
            shutdown: 3,
            bits: sock_bit::FULL,
            ..SockSnap::ZERO
        },
        actor: Task::NONE,
        extra: 0,
    }
}

/// The same, but a peer that has not read all reset it.
fn reset(number: u64) -> Record {
    let mut record = closed(number);
    let conn = &mut record.conn;
    conn.flags = flag::PASSIVE | flag::RST_RECEIVED | flag::RX_BEFORE_FIN | flag::TX_BEFORE_FIN;
    (conn.local_fin_ns, conn.peer_fin_ns) = (0, 0);
    record.sock.sk_flags = sock_flag::DEAD;
    record.sock.state = state::ESTABLISHED;
    record.sock.sk_err = ECONNRESET;
    record.sock.snd_una = 1_101;
    record
}

/// Makes the end of that number.
type Make = fn(u64) -> Record;

const KINDS: [(&str, Make); 2] = [("closed", closed), ("reset", reset)];

fn names() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|(name, _)| *name)
}

fn records(name: &str) -> Vec<Record> {
    let (_, make) = KINDS
        .iter()
        .find(|(kind, _)| *kind == name)
        .expect("a kind");
    (0..EVENTS).map(make).collect()
}

fn finished(record: Record) -> Box<Finished> {
    let mut joiner = Joiner::new(RstReasons::default());
    joiner.take(&record);
    let mut ends = Vec::new();
    joiner.expire(u64::MAX, |_| None, |joined| ends.push(joined));
    match ends.pop() {
        Some(Joined::End(finished)) => finished,
        other => panic!("an end was due: {other:?}"),
    }
}

/// Nothing is known of any process: what is asked here is what the core itself takes.
struct Nobody;

impl Names for Nobody {
    fn name(&mut self, _: &Task, _: u64) -> Named {
        Named::default()
    }
}

impl Others for Nobody {
    fn pending(&self, _: u64) -> Option<&Finished> {
        None
    }

    fn live(&mut self, _: u64) -> Option<Conn> {
        None
    }
}

fn assembler() -> Assembler {
    Assembler::new(Run {
        run_id: Label::from("9f3c1b2a"),
        node: Label::from("web-1"),
        boot_id: Label::from("4b2d0c7e-5f0e-4a3c-9d5e-0a1b2c3d4e5f"),
        jiffy_ns: 4_000_000,
        reasons: RstReasons::default(),
        stories_for_all: false,
        sends_seen: true,
        timeouts: BUILT_IN.clone(),
    })
}

fn events(name: &str) -> Vec<Event> {
    let mut assembler = assembler();
    let events: Vec<_> = records(name)
        .into_iter()
        .filter_map(|record| {
            assembler.assemble(&Joined::End(finished(record)), &mut Nobody, &mut Nobody)
        })
        .collect();
    assert_eq!(clean(&events[0]), name == "closed", "{:?}", events[0]);
    events
}

#[divan::bench(args = names())]
fn decoded(bencher: Bencher, name: &str) {
    let raw: Vec<Vec<u8>> = records(name)
        .iter()
        .map(|record| {
            // SAFETY: a plain value without padding (its size is asserted), as the kernel side writes it.
            unsafe { std::slice::from_raw_parts((&raw const *record).cast(), size_of::<Record>()) }
                .to_vec()
        })
        .collect();
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| {
        for bytes in &raw {
            let Ok(Told::Record(_)) = black_box(decode(black_box(bytes))) else {
                panic!("a record was due");
            };
        }
    });
}

#[divan::bench(args = names())]
fn joined(bencher: Bencher, name: &str) {
    let records = records(name);
    let mut told = Vec::new();
    bencher
        .counter(ItemsCount::new(EVENTS))
        .with_inputs(|| Joiner::new(RstReasons::default()))
        .bench_local_values(|mut joiner| {
            for record in &records {
                joiner.take(record);
                joiner.expire(
                    record.head.ts_ns,
                    |_| None,
                    |joined| told.push(black_box(joined)),
                );
                told.drain(..).for_each(|joined| joiner.told(joined));
            }
            joiner
        });
}

#[divan::bench(args = names())]
fn classified(bencher: Bencher, name: &str) {
    let ends: Vec<_> = records(name).into_iter().map(finished).collect();
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| {
        for end in &ends {
            let Record { conn, sock, .. } = black_box(&end.close);
            let bytes = numbers::bytes(conn, sock);
            black_box(classify(&Evidence {
                conn,
                sock,
                bytes: &bytes,
                sent: end.sent,
                rst_received: end.rst_received,
            }));
        }
    });
}

/// Classified, numbered, explained: a whole event.
#[divan::bench(args = names())]
fn assembled(bencher: Bencher, name: &str) {
    let ends: Vec<_> = records(name).into_iter().map(finished).collect();
    let mut assembler = assembler();
    let ends: Vec<_> = ends.into_iter().map(Joined::End).collect();
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| {
        for end in &ends {
            black_box(assembler.assemble(end, &mut Nobody, &mut Nobody));
        }
    });
}

#[divan::bench(args = names())]
fn filtered(bencher: Bencher, name: &str) {
    let events = events(name);
    let filter = Filter {
        abnormal: true,
        ports: vec![443, 80],
        ..Filter::default()
    };
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| {
        for event in &events {
            black_box(filter.matches(black_box(event)));
        }
    });
}

#[divan::bench(args = names())]
fn encoded(bencher: Bencher, name: &str) {
    let events = events(name);
    let mut out = Vec::new();
    bencher.counter(ItemsCount::new(EVENTS)).bench_local(|| {
        out.clear();
        for event in &events {
            event.write_line(&mut out);
        }
        black_box(out.len())
    });
}

/// A recorded line, read and written again.
#[divan::bench(max_time = Duration::from_secs(3))]
fn replayed(bencher: Bencher) {
    let recording = include_bytes!("../tests/recordings/shop.ndjson");
    let lines: Vec<&[u8]> = recording.split_inclusive(|byte| *byte == b'\n').collect();
    let mut out = Vec::new();
    bencher
        .counter(ItemsCount::new(lines.len()))
        .bench_local(|| {
            out.clear();
            for line in &lines {
                let line = line.strip_suffix(b"\n").unwrap_or(line);
                let event = Event::parse(black_box(line)).expect("a line of the recording");
                event.write_line(&mut out);
            }
            black_box(out.len())
        });
}
