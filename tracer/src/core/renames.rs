//! Names that processes took after the kernel side had noted them. Bounded: most who call exec soon
//! end, and those who are forgotten are the ones that changed their name the longest ago.

use rustc_hash::FxHashMap;
use tracer_common::task::Task;

use crate::event::text::Comm;

/// Names of one generation; two are kept.
const GENERATION: usize = 16_384;

/// Process (pid, start) → its name now.
#[derive(Debug, Default)]
pub struct Renames {
    young: FxHashMap<(u32, u64), Comm>,
    old: FxHashMap<(u32, u64), Comm>,
}

impl Renames {
    /// A process has another name from now on.
    pub fn note(&mut self, task: &Task) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young
            .insert((task.tgid, task.start_ns), Comm(task.comm_bytes()));
    }

    /// The name of a process.
    pub fn name(&self, task: &Task) -> Comm {
        let process = (task.tgid, task.start_ns);
        let newer = self.young.get(&process).or_else(|| self.old.get(&process));
        newer.copied().unwrap_or(Comm(task.comm_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(tgid: u32, start_ns: u64, name: &[u8; 8]) -> Task {
        Task {
            tgid,
            start_ns,
            comm: [u64::from_ne_bytes(*name), 0],
            ..Task::NONE
        }
    }

    #[test]
    fn a_name_belongs_to_a_process_not_to_a_pid() {
        let mut renames = Renames::default();
        renames.note(&task(7, 100, b"after\0\0\0"));
        let name = |task| renames.name(&task).text().into_owned();
        assert_eq!(name(task(7, 100, b"before\0\0")), "after");
        assert_eq!(name(task(7, 200, b"other\0\0\0")), "other");
    }

    #[test]
    #[cfg_attr(miri, ignore = "too many rounds for an interpreter")]
    fn a_storm_of_execs_forgets_the_oldest_first() {
        let mut renames = Renames::default();
        renames.note(&task(1, 1, b"first\0\0\0"));
        for tgid in 0..GENERATION as u32 {
            renames.note(&task(tgid + 2, 1, b"storm\0\0\0"));
        }
        let first = task(1, 1, b"before\0\0");
        assert_eq!(renames.name(&first).text(), "first");
        for tgid in 0..2 * GENERATION as u32 {
            renames.note(&task(tgid + 2, 2, b"storm\0\0\0"));
        }
        assert_eq!(renames.name(&first).text(), "before");
        assert!(renames.young.len() + renames.old.len() <= 2 * GENERATION);
    }
}
