//! Records of the ring buffer, from bytes to lines. Input is a series of steps: a byte that says what comes, then a
//! record; what is missing of it is zero.

use std::sync::Arc;

use tracer::{
    core::{
        assemble::{Assembler, Run},
        chain::Others,
        decode::{Told, decode},
        join::{Finished, Joined, Joiner},
        names::{Named, Names, PATH_MAX_BYTES},
        timeouts::BUILT_IN,
    },
    enrich::cgroup,
    event::{Called, Event, names::RstReasons, text::Label},
};
use tracer_common::{
    conn::Conn,
    record::{Destroyed, Record, Renamed, Signalled, Stall, kind},
    task::Task,
};

use super::replay::check;

/// Where a record has its kind.
const KIND_AT: usize = 24;

/// Of the steps: more only take longer.
const STEPS_MAX: usize = 64;

pub fn run(bytes: &[u8]) {
    // As they are; the kernel side gives no others.
    let _ = decode(bytes);
    let mut core = Core::new();
    let mut rest = bytes;
    for _ in 0..STEPS_MAX {
        let Some((step, after)) = rest.split_first() else {
            break;
        };
        rest = match size(u32::from(step % 16)) {
            Some((kind, size)) => {
                let (given, after) = after.split_at(size.min(after.len()));
                let mut record = given.to_vec();
                record.resize(size, 0);
                record[KIND_AT..KIND_AT + 4].copy_from_slice(&kind.to_ne_bytes());
                core.take(&record);
                after
            }
            None => {
                core.expire(core.newest_ns.saturating_add(u64::from(*step) << 20));
                after
            }
        };
    }
    core.expire(u64::MAX);
}

/// Kind and size of the record that a step brings; `None`: time passes.
fn size(step: u32) -> Option<(u32, usize)> {
    let size = match step {
        kind::CLOSE..=kind::RECV_ERROR => size_of::<Record>(),
        kind::DESTROYED => size_of::<Destroyed>(),
        kind::RENAMED => size_of::<Renamed>(),
        kind::SIGNALLED => size_of::<Signalled>(),
        kind::STALL => size_of::<Stall>(),
        _ => return None,
    };
    Some((step, size))
}

/// What pipeline.rs does, without its threads, filters and /proc.
struct Core {
    joiner: Joiner,
    assembler: Assembler,
    newest_ns: u64,
    /// What the kernel's map has, whichever is asked for.
    live: Option<Conn>,
}

impl Core {
    fn new() -> Self {
        let reasons = RstReasons::from_enum(vec![
            (b"SK_RST_REASON_NOT_SPECIFIED", 0),
            (b"SK_RST_REASON_TCP_ABORT_ON_DATA", 9),
        ]);
        let assembler = Assembler::new(Run {
            run_id: Label::from("9f3c1b2a"),
            node: Label::from("no\"de\n"),
            boot_id: Label::from("4b2d0c7e-5f0e-4a3c-9d5e-0a1b2c3d4e5f"),
            jiffy_ns: 4_000_000,
            reasons: reasons.clone(),
            stories_for_all: true,
            sends_seen: true,
            timeouts: BUILT_IN.clone(),
        });
        Core {
            joiner: Joiner::new(reasons),
            assembler,
            newest_ns: 0,
            live: None,
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let told = decode(bytes).expect("of its kind's size");
        self.newest_ns = self.newest_ns.max(told.ts_ns());
        match told {
            Told::Record(record) => {
                self.live = Some(record.conn);
                self.joiner.take(&record);
            }
            Told::Destroyed(body) => self.joiner.destroyed(&body),
            Told::Renamed(body) => self.assembler.renames.note(&body.task),
            Told::Signalled(body) => self.assembler.deaths.note(&body),
            Told::Stall(body) => {
                if let Some(event) = self.assembler.stall(&body, &mut Hostile) {
                    check(&event);
                }
            }
        }
    }

    fn expire(&mut self, now_ns: u64) {
        let mut due = Vec::new();
        self.joiner
            .expire(now_ns, |_| self.live, |joined| due.push(joined));
        for joined in &due {
            self.assembler.foresee(joined);
        }
        for joined in due {
            let told = match &joined {
                Joined::End(finished) => self.assembler.stall_closed(finished, &mut Hostile),
                _ => None,
            };
            let mut others = Rest {
                joiner: &self.joiner,
                live: self.live,
            };
            let event: Option<Event> = self.assembler.assemble(&joined, &mut Hostile, &mut others);
            told.iter().chain(&event).for_each(check);
            self.joiner.told(joined);
        }
    }
}

struct Rest<'a> {
    joiner: &'a Joiner,
    live: Option<Conn>,
}

impl Others for Rest<'_> {
    fn pending(&self, cookie: u64) -> Option<&Finished> {
        self.joiner.pending(cookie)
    }

    fn live(&mut self, _: u64) -> Option<Conn> {
        self.live
    }
}

/// Names that whoever starts a process or a container may give.
struct Hostile;

impl Names for Hostile {
    fn name(&mut self, task: &Task, cgroup_id: u64) -> Named {
        if !task.is_known() && cgroup_id == 0 {
            return Named::default();
        }
        let text = match task.tgid % 4 {
            0 => "/usr/bin/plain".to_owned(),
            1 => "\"\\\n\r\t\u{1b}]0;own\u{7}\u{9b}31m\u{202e}".repeat(3),
            2 => "\u{1}".repeat(PATH_MAX_BYTES),
            _ => "\u{fffd}é\u{1f980}".repeat(50),
        };
        let called = Called {
            container_name: Some(Label::from(text.as_str())).into(),
            pod: Some(Label::from(text.as_str())).into(),
            pod_namespace: None.into(),
        };
        Named {
            exe: Some(Label::from(text.as_str())),
            exe_cut: false,
            place: Some(Arc::new(cgroup::place(
                &format!("/{text}/{text}.service"),
                0,
            ))),
            called: Some(Arc::new(called)),
        }
    }
}
