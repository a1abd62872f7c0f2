//! The middle of a live run: ring buffer bytes in, encoded lines out, or events for the live view. No
//! waiting in here: run.rs decides when.

use tracer_common::conn::Conn;

use crate::{
    core::{
        assemble::Assembler,
        chain::Others,
        clean::clean,
        decode::{DecodeError, Told, decode},
        filter::Filter,
        join::{Finished, Joined, Joiner},
    },
    enrich::process::Processes,
    event::{
        Body, Event,
        values::{Counts, Kind},
    },
    metrics::tally::Tally,
    sink::{Batch, Room, Shape, lines::Unwritten},
};

/// Counts of a run.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Lines given to the output, by kind.
    pub written: Counts,
    /// Of these, what it could not write.
    pub unwritten: Counts,
    /// Of these, `tcp_*`.
    pub written_tcp: u64,
    /// Ends written, by reason.
    pub reasons: Counts,
    /// Events lost since the last `lost` line because the output was too slow or failed.
    pub output_lost: Counts,
    /// Records that were taken.
    pub records: u64,
    /// Records that could not be decoded.
    pub undecodable: u64,
}

impl Totals {
    /// Lines that did go out.
    pub fn went_out(&self) -> Counts {
        let mut went_out = self.written.clone();
        went_out.remove(&self.unwritten);
        went_out
    }
}

/// Decode → join → assemble (and name) → filter → encode.
pub struct Pipeline {
    joiner: Joiner,
    pub assembler: Assembler,
    names: Processes,
    /// Peers that fell silent or answered again in this round.
    stalls: Vec<Event>,
    filter: Filter,
    /// Stop writing `tcp_*` lines after this many.
    count: Option<u64>,
    seq: u64,
    pub totals: Totals,
    /// For metrics: what the filter passes, also when the output has no room for it.
    pub tally: Option<Tally>,
    self_pid: u32,
    newest_ns: u64,
    /// What this round gave.
    batch: Batch,
}

impl Pipeline {
    pub fn new(
        joiner: Joiner,
        assembler: Assembler,
        names: Processes,
        filter: Filter,
        shape: Shape,
        count: Option<u64>,
    ) -> Self {
        Pipeline {
            joiner,
            assembler,
            names,
            stalls: Vec::new(),
            filter,
            count,
            seq: 0,
            totals: Totals::default(),
            tally: None,
            self_pid: std::process::id(),
            newest_ns: 0,
            batch: Batch::new(shape),
        }
    }

    /// Takes one ring buffer entry.
    pub fn take(&mut self, bytes: &[u8]) {
        self.totals.records += 1;
        match decode(bytes) {
            Ok(told) => {
                self.newest_ns = self.newest_ns.max(told.ts_ns());
                match &told {
                    Told::Record(record) => {
                        let ts_ns = record.head.ts_ns;
                        self.names.seen(&record.conn.owner, ts_ns);
                        self.names.seen(&record.actor, ts_ns);
                        self.joiner.take(record);
                    }
                    Told::Destroyed(body) => self.joiner.destroyed(body),
                    Told::Renamed(body) => {
                        self.assembler.renames.note(&body.task);
                        self.names.renamed(&body.task, body.head.ts_ns);
                    }
                    Told::Signalled(body) => {
                        self.names.seen(&body.from, body.head.ts_ns);
                        self.assembler.deaths.note(body);
                    }
                    Told::Stall(body) => {
                        self.names.seen(&body.conn.owner, body.head.ts_ns);
                        self.stalls
                            .extend(self.assembler.stall(body, &mut self.names));
                    }
                }
            }
            Err(error) => self.undecodable(error),
        }
    }

    fn undecodable(&mut self, error: DecodeError) {
        self.totals.undecodable += 1;
        if self.totals.undecodable == 1 {
            tracing::error!("cannot decode {error}: the kernel side is of another build");
        }
    }

    /// Gives back the room that a flood has taken.
    pub fn shrink(&mut self) {
        self.joiner.shrink();
        self.assembler.shrink();
    }

    /// Time of the newest record that was taken.
    pub fn newest_ns(&self) -> u64 {
        self.newest_ns
    }

    /// When the next event is due, CLOCK_MONOTONIC.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.joiner.next_deadline_ns()
    }

    /// Encodes what is due. `room` says what the output still takes.
    pub fn expire(
        &mut self,
        now_ns: u64,
        mut look_up: impl FnMut(u64) -> Option<Conn>,
        room: impl Fn(usize) -> Room,
    ) {
        for mut event in std::mem::take(&mut self.stalls) {
            self.tell(&mut event, &room);
        }
        let mut due = Vec::new();
        self.joiner
            .expire(now_ns, &mut look_up, |joined| due.push(joined));
        for joined in &due {
            self.assembler.foresee(joined);
        }
        for joined in due {
            if let Joined::End(finished) = &joined
                && let Some(mut event) = self.assembler.stall_closed(finished, &mut self.names)
            {
                self.tell(&mut event, &room);
            }
            let mut others = Rest {
                joiner: &self.joiner,
                look_up: &mut look_up,
            };
            let mut event = self
                .assembler
                .assemble(&joined, &mut self.names, &mut others);
            if let Some(event) = &mut event {
                self.tell(event, &room);
            }
            self.joiner.told(joined);
        }
    }

    fn tell(&mut self, event: &mut Event, room: &impl Fn(usize) -> Room) {
        let own = event
            .ids()
            .is_some_and(|ids| ids.pid == Some(self.self_pid));
        if own || self.done() || !self.filter.matches(event) {
            return;
        }
        if let Some(tally) = &mut self.tally {
            tally.count(event);
        }
        let fits = match room(self.batch.len()) {
            Room::Ample => true,
            Room::Scarce => !clean(event),
            Room::None => false,
        };
        if fits {
            self.write(event);
        } else {
            self.totals.output_lost.add(event.head.event.as_str(), 1);
        }
    }

    /// Encodes an event now: the tool's own lines come here directly.
    pub fn write(&mut self, event: &mut Event) {
        self.seq += 1;
        event.head.seq = self.seq;
        let kind = event.head.event;
        self.totals.written.add(kind.as_str(), 1);
        if event.ids().is_some() {
            self.totals.written_tcp += 1;
        }
        if let Body::End { end, .. } = &event.body {
            self.totals.reasons.add(end.reason.as_str(), 1);
        }
        self.batch.push(event);
    }

    /// Of what was written here this did not reach its reader.
    pub fn unwritten(&mut self, unwritten: &Unwritten) {
        let totals = &mut self.totals;
        totals.output_lost.merge(&unwritten.kinds);
        totals.unwritten.merge(&unwritten.kinds);
        let said = unwritten.unsaid.len() as u64;
        totals.unwritten.add(Kind::Lost.as_str(), said);
        totals.reasons.remove(&unwritten.reasons);
    }

    /// An event of the tool's own at `ts_ns`.
    pub fn own_event(&self, kind: Kind, ts_ns: u64, body: Body) -> Event {
        Event {
            head: self.assembler.head(kind, ts_ns),
            body,
        }
    }

    /// Whether `--count` is reached.
    pub fn done(&self) -> bool {
        self.count
            .is_some_and(|count| self.totals.written_tcp >= count)
    }

    /// What this round gave.
    pub fn take_batch(&mut self) -> Option<Batch> {
        (!self.batch.is_empty()).then(|| self.batch.take())
    }
}

/// Ends that wait in the joiner, and connections that are still in the kernel's map.
struct Rest<'a, F> {
    joiner: &'a Joiner,
    look_up: &'a mut F,
}

impl<F: FnMut(u64) -> Option<Conn>> Others for Rest<'_, F> {
    fn pending(&self, cookie: u64) -> Option<&Finished> {
        self.joiner.pending(cookie)
    }

    fn live(&mut self, sk: u64) -> Option<Conn> {
        (self.look_up)(sk)
    }
}
