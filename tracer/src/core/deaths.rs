//! Who told a process to end: the signals that it was sent, kept until its connections have ended
//! with it. Bounded: most signals are followed by the end at once.

use rustc_hash::FxHashMap;
use tracer_common::{
    record::{Signalled, sender},
    task::{PF_EXITING, Task},
};

use super::renames::Renames;
use crate::event::{text::Comm, values::Signal};

/// Processes of one generation; two are kept.
const GENERATION: usize = 4_096;

/// A signal explains an exit for this long: orderly shutdowns take their time.
const RECENT_NS: u64 = 120_000_000_000;

/// SIGINT, SIGQUIT, SIGABRT, SIGTERM: they ask for the end also where they are caught. SIGHUP mostly
/// asks a daemon to read its configuration again.
const ASKS: [u8; 4] = [2, 3, SIGABRT.0, 15];
const SIGABRT: Signal = Signal(6);
const SIGKILL: Signal = Signal(9);

/// What a process that was asked to end closes within this, it closes for that. An interpreter that
/// unwinds closes its sockets before it exits.
const PROMPT_NS: u64 = 1_000_000_000;

/// The low seven bits of an exit code are the signal (wait(2)).
const SIGNAL_MASK: u32 = 0x7f;

#[derive(Clone, Copy, Debug)]
struct Sent {
    signal: Signal,
    at_ns: u64,
    from: Task,
    sender: u64,
    oom: bool,
}

/// How a process ended, or what made it end its connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// `None`: it exited by itself, with `status`, or has not exited yet.
    pub signal: Option<Signal>,
    pub status: Option<u32>,
    pub told: Option<Told>,
    pub oom: bool,
}

/// A signal that it was sent before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub signal: Signal,
    /// How long before the end of the connection.
    pub before_ms: u64,
    /// Pid and name; `None`: the kernel.
    pub by: Option<(u32, Comm)>,
}

/// Signals of a process: a master may send the next one while the first still does its work.
#[derive(Clone, Copy, Debug)]
struct Signals {
    start_ns: u64,
    last: Sent,
    before: Option<Sent>,
}

/// tgid → its last signals.
#[derive(Debug, Default)]
pub struct Deaths {
    young: FxHashMap<u32, Signals>,
    old: FxHashMap<u32, Signals>,
}

impl Deaths {
    /// A process was sent a signal that ends it by default.
    pub fn note(&mut self, body: &Signalled) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        let oom = body.sender == sender::OOM;
        if oom
            && let Some(signals) = self.young.get_mut(&body.target_tgid)
            && signals.last.signal == SIGKILL
        {
            // The out-of-memory killer sends SIGKILL to its victim, then marks it.
            signals.last.oom = true;
            return;
        }
        let before = self.young.get(&body.target_tgid);
        let same = before
            .filter(|signals| signals.start_ns == body.target_start_ns && signals.start_ns != 0);
        if same.is_some_and(|signals| signals.last.signal == SIGKILL) {
            // The first one did it.
            return;
        }
        let before = same.map(|signals| signals.last);
        let known_oom = self
            .young
            .get(&body.target_tgid)
            .is_some_and(|signals| signals.last.oom);
        let sent = Sent {
            signal: Signal(body.head.code as u8),
            at_ns: body.head.ts_ns,
            from: body.from,
            sender: body.sender,
            oom: oom || (known_oom && body.sender == sender::KERNEL),
        };
        let signals = Signals {
            start_ns: body.target_start_ns,
            last: sent,
            before,
        };
        self.young.insert(body.target_tgid, signals);
    }

    /// How `task` ended, which closed a connection at `at_ns`; `None` if it neither exited nor had
    /// just been asked to.
    pub fn of(&self, task: &Task, at_ns: u64, renames: &Renames) -> Option<Death> {
        let exits = task.flags & PF_EXITING != 0;
        if !exits && self.young.is_empty() {
            return None;
        }
        let signal =
            Some(Signal((task.exit_code & SIGNAL_MASK) as u8)).filter(|s| exits && s.0 != 0);
        let recent_ns = if exits { RECENT_NS } else { PROMPT_NS };
        let sent = self
            .last_before(task, at_ns)
            .filter(|sent| at_ns.saturating_sub(sent.at_ns) < recent_ns)
            .filter(|sent| match signal {
                Some(signal) => signal == sent.signal,
                None => ASKS.contains(&sent.signal.0),
            });
        if !exits && sent.is_none() {
            return None;
        }
        Some(Death {
            signal,
            status: (exits && signal.is_none()).then_some(task.exit_code >> 8 & 0xff),
            told: sent.map(|sent| Told {
                signal: sent.signal,
                before_ms: at_ns.saturating_sub(sent.at_ns) / 1_000_000,
                by: (sent.sender == sender::PROCESS && sent.from.is_known())
                    .then(|| (sent.from.tgid, renames.name(&sent.from))),
            }),
            oom: sent.is_some_and(|sent| sent.oom),
        })
    }

    /// Whether `task` had just been told to abort when it closed a connection at `at_ns`: nobody
    /// ends in good order for that.
    pub fn aborts(&self, task: &Task, at_ns: u64) -> bool {
        self.last_before(task, at_ns).is_some_and(|sent| {
            at_ns.saturating_sub(sent.at_ns) < PROMPT_NS && sent.signal == SIGABRT
        })
    }

    /// The last signal that it had been sent at `at_ns`.
    fn last_before(&self, task: &Task, at_ns: u64) -> Option<&Sent> {
        self.young
            .get(&task.tgid)
            .or_else(|| self.old.get(&task.tgid))
            // Before 6.8 the victim's start is not told.
            .filter(|signals| signals.start_ns == task.start_ns || signals.start_ns == 0)
            .into_iter()
            .flat_map(|signals| [Some(&signals.last), signals.before.as_ref()])
            .flatten()
            .find(|sent| sent.at_ns <= at_ns)
    }
}

#[cfg(test)]
mod tests {
    use tracer_common::record::{Head, kind};

    use super::*;

    const KILL: u32 = 9;
    const SIGTERM: u32 = 15;

    fn task(tgid: u32, start_ns: u64, exit_code: u32) -> Task {
        Task {
            tgid,
            start_ns,
            exit_code,
            flags: PF_EXITING,
            ..Task::NONE
        }
    }

    fn sent(signal: u32, target: &Task, at_ms: u64, by: Option<u32>, sender: u64) -> Signalled {
        Signalled {
            head: Head {
                ts_ns: at_ms * 1_000_000,
                sk: 0,
                cookie: 0,
                kind: kind::SIGNALLED,
                code: signal,
            },
            target_start_ns: target.start_ns,
            target_tgid: target.tgid,
            reserved: 0,
            from: by.map_or(Task::NONE, |tgid| Task { tgid, ..Task::NONE }),
            sender,
        }
    }

    fn of(deaths: &Deaths, task: &Task, at_ms: u64) -> Death {
        deaths
            .of(task, at_ms * 1_000_000, &Renames::default())
            .expect("it exits")
    }

    #[test]
    fn the_killer_is_the_one_whose_signal_it_died_of() {
        let victim = task(7, 100, KILL);
        let mut deaths = Deaths::default();
        deaths.note(&sent(SIGTERM, &victim, 10, Some(1), sender::PROCESS));
        assert_eq!(of(&deaths, &victim, 12).told, None, "it died of another");
        deaths.note(&sent(KILL, &victim, 20, Some(2), sender::PROCESS));
        let death = of(&deaths, &victim, 21);
        assert_eq!(death.signal, Some(Signal(9)));
        let told = death.told.expect("a killer");
        assert_eq!(told.by.expect("a process").0, 2);
        assert_eq!(told.before_ms, 1);
    }

    #[test]
    fn what_it_was_sent_later_explains_nothing() {
        let worker = Task {
            flags: 0,
            ..task(7, 100, 0)
        };
        let mut deaths = Deaths::default();
        deaths.note(&sent(6, &worker, 10, Some(2), sender::PROCESS));
        deaths.note(&sent(KILL, &worker, 14, Some(2), sender::PROCESS));
        let told = of(&deaths, &worker, 12).told.expect("a reason");
        assert_eq!((told.signal, told.before_ms), (SIGABRT, 2));
    }

    #[test]
    fn nobody_is_killed_twice() {
        let victim = task(7, 100, KILL);
        let mut deaths = Deaths::default();
        deaths.note(&sent(KILL, &victim, 20, Some(2), sender::PROCESS));
        deaths.note(&sent(KILL, &victim, 25, Some(3), sender::PROCESS));
        let told = of(&deaths, &victim, 22).told.expect("a killer");
        assert_eq!(told.by.expect("a process").0, 2);
        // Another process with its pid.
        let next = task(7, 900, KILL);
        deaths.note(&sent(KILL, &next, 30, Some(4), sender::PROCESS));
        let told = of(&deaths, &next, 31).told.expect("a killer");
        assert_eq!(told.by.expect("a process").0, 4);
    }

    #[test]
    fn a_signal_that_was_caught_explains_the_exit_that_follows() {
        let worker = task(7, 100, 1 << 8);
        let mut deaths = Deaths::default();
        deaths.note(&sent(6, &worker, 10, Some(2), sender::PROCESS));
        let death = of(&deaths, &worker, 30);
        assert_eq!((death.signal, death.status), (None, Some(1)));
        assert_eq!(death.told.expect("a signal").signal, Signal(6));
        let late = of(&deaths, &worker, 200_000);
        assert_eq!(late.told, None, "minutes later it has other reasons");
    }

    #[test]
    fn another_process_of_the_same_pid_was_sent_nothing() {
        let mut deaths = Deaths::default();
        deaths.note(&sent(KILL, &task(7, 100, 9), 10, Some(2), 0));
        assert_eq!(of(&deaths, &task(7, 200, 9), 11).told, None);
    }

    #[test]
    fn a_process_that_was_asked_to_end_closes_its_sockets_for_that() {
        let alive = Task {
            flags: 0,
            ..task(7, 100, 0)
        };
        let of =
            |deaths: &Deaths, at_ms: u64| deaths.of(&alive, at_ms * 1_000_000, &Renames::default());
        let mut deaths = Deaths::default();
        assert_eq!(of(&deaths, 11), None);
        deaths.note(&sent(6, &alive, 10, Some(2), sender::PROCESS));
        assert_eq!(of(&deaths, 9), None, "before it was asked");
        let death = of(&deaths, 15).expect("it was asked");
        assert_eq!((death.signal, death.status), (None, None));
        assert_eq!(of(&deaths, 1_011), None, "it lives on");
        let aborts = |deaths: &Deaths, at_ms: u64| deaths.aborts(&alive, at_ms * 1_000_000);
        assert!(aborts(&deaths, 15) && !aborts(&deaths, 9) && !aborts(&deaths, 1_011));
        deaths.note(&sent(1, &alive, 20, Some(2), sender::PROCESS));
        assert_eq!(of(&deaths, 21), None, "a reload");
    }

    #[test]
    fn want_of_memory_is_told_by_the_mark_beside_the_signal() {
        let victim = task(7, 100, KILL);
        for order in [[sender::KERNEL, sender::OOM], [sender::OOM, sender::KERNEL]] {
            let mut deaths = Deaths::default();
            for by in order {
                deaths.note(&sent(KILL, &victim, 10, None, by));
            }
            let death = of(&deaths, &victim, 11);
            assert!(death.oom, "{order:?}");
            assert_eq!(death.told.expect("a signal").by, None);
        }
    }
}
