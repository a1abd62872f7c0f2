//! Processes by pid and start time: what they run and where. Each is read once, as early as something is heard of it
//! (at the start, at its exec, at its first record), and remembered beyond its death.

use std::{
    collections::VecDeque,
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nix::sched::{CloneFlags, setns};
use rustc_hash::FxHashMap;
use tracer_common::task::Task;

use super::{
    cgroup::View,
    containers::Containers,
    procfs::{self, Key},
    tree::Tree,
};
use crate::core::names::{Named, Names, Place};

/// Processes that are remembered, those that could not be read included.
const KNOWN_MAX: usize = 16_384;

/// Processes that are read at the start: about 20 µs each.
const SCAN_MAX: usize = 4_096;

/// A process may move to another cgroup: what is older than this is read again.
const FRESH: Duration = Duration::from_secs(10);

/// Processes that are read at their exec in one second. The others are at their first record.
const EXECS_PER_SECOND: u32 = 1_000;

struct Entry {
    named: Named,
    /// Start of the process that it was read for, where a record has told it.
    start_ns: Option<u64>,
    /// When to read it again; never, once it is gone.
    expires_ns: u64,
}

/// The cache.
pub struct Processes {
    known: FxHashMap<Key, Entry>,
    /// Oldest first. A key that was forgotten and read again is in it twice, which only lets it go early.
    order: VecDeque<Key>,
    /// The /proc of the node. Without it, nobody is asked: another's pids are not those of records.
    proc: Option<PathBuf>,
    view: View,
    tree: Tree,
    containers: Containers,
    /// Time of the newest record: no clock has to be asked.
    now_ns: u64,
    /// Second, and execs that were read in it.
    execs: (u64, u32),
}

impl Processes {
    /// Reads every process that there is.
    pub fn new(now_ns: u64, proc: &Path) -> Self {
        let proc = procfs::shows_the_node(proc).then(|| proc.to_owned());
        let mut processes = Processes::empty(now_ns, proc);
        if let Some(proc) = processes.proc.clone() {
            let keys = procfs::pids(&proc).filter_map(|pid| Key::now(&proc, pid));
            for key in keys.take(SCAN_MAX) {
                processes.refresh(key);
            }
        }
        processes
    }

    fn empty(now_ns: u64, proc: Option<PathBuf>) -> Self {
        let view = proc.as_deref().map(|proc| {
            enter_initial_cgroup_namespace(proc);
            procfs::view(proc)
        });
        Processes {
            known: FxHashMap::default(),
            order: VecDeque::new(),
            view: view.unwrap_or_default(),
            tree: Tree::new(),
            containers: Containers::new("/".into(), proc.clone()),
            proc,
            now_ns,
            execs: (0, 0),
        }
    }

    /// A record of this process has come: it may not live until that is told.
    pub fn seen(&mut self, task: &Task, ts_ns: u64) {
        self.now_ns = self.now_ns.max(ts_ns);
        if task.is_known() {
            self.know(Key::new(task.tgid, task.start_ns), task);
        }
    }

    /// It has another name, so perhaps another executable.
    pub fn renamed(&mut self, task: &Task, ts_ns: u64) {
        self.now_ns = self.now_ns.max(ts_ns);
        let key = Key::new(task.tgid, task.start_ns);
        if self.is_anothers(key, task) {
            self.claim(key, task);
            return;
        }
        self.known.remove(&key);
        let second = self.now_ns / 1_000_000_000;
        if self.execs.0 != second {
            self.execs = (second, 0);
        }
        self.execs.1 += 1;
        if self.execs.1 <= EXECS_PER_SECOND {
            self.refresh(key);
            self.claim(key, task);
        }
    }

    fn entry(&mut self, task: &Task) -> Option<&Entry> {
        let key = Key::new(task.tgid, task.start_ns);
        self.know(key, task);
        self.known.get(&key)
    }

    fn know(&mut self, key: Key, task: &Task) {
        // For nearly every record it is.
        if let Some(entry) = self.known.get(&key)
            && self.now_ns < entry.expires_ns
            && entry.start_ns == Some(task.start_ns)
        {
            return;
        }
        let now_ns = self.now_ns;
        let is_fresh = |entry: &Entry| now_ns < entry.expires_ns;
        if !self.known.get(&key).is_some_and(is_fresh) {
            self.refresh(key);
        }
        self.claim(key, task);
    }

    /// Whether what is known there is known of another process: two in one tick, as clone3 can make them.
    fn is_anothers(&self, key: Key, task: &Task) -> bool {
        let start_ns = self.known.get(&key).and_then(|entry| entry.start_ns);
        start_ns.is_some_and(|start_ns| start_ns != task.start_ns)
    }

    /// What is known there is known of this process. If it was another's, nobody's: /proc does not tell which of them was read.
    fn claim(&mut self, key: Key, task: &Task) {
        let is_anothers = self.is_anothers(key, task);
        let Some(entry) = self.known.get_mut(&key) else {
            return;
        };
        entry.start_ns = Some(task.start_ns);
        if is_anothers {
            entry.named = Named::default();
            entry.expires_ns = u64::MAX;
        }
    }

    /// Reads a process. What was known of one that is gone stays.
    fn refresh(&mut self, key: Key) {
        let proc = self.proc.as_deref();
        let read = proc.and_then(|proc| procfs::read(proc, &self.view, key));
        let v2_place = read.as_ref().and_then(|read| read.v2_place.as_ref());
        if let Some(place) = v2_place.filter(|place| place.whole && !place.cut) {
            self.tree.learn(place.cgroup.as_str());
        }
        let read = read.map(|read| read.named);
        if let Some(place) = read.as_ref().and_then(|named| named.place.as_deref()) {
            // Now, while its files are there.
            self.containers.called(place, Some(key.pid), self.now_ns);
        }
        // A zombie can still be found, but not its executable.
        let expires_ns = match &read {
            Some(Named { exe: Some(_), .. }) => self.now_ns + FRESH.as_nanos() as u64,
            _ => u64::MAX,
        };
        if let Some(entry) = self.known.get_mut(&key) {
            entry.expires_ns = expires_ns;
            if let Some(named) = read.filter(|named| named.exe.is_some()) {
                entry.named = named;
            }
            return;
        }
        self.make_room();
        let named = read.unwrap_or_default();
        let entry = Entry {
            named,
            start_ns: None,
            expires_ns,
        };
        self.known.insert(key, entry);
        self.order.push_back(key);
    }

    fn make_room(&mut self) {
        while self.order.len() >= KNOWN_MAX {
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            self.known.remove(&oldest);
        }
    }
}

impl Names for Processes {
    fn name(&mut self, task: &Task, cgroup_id: u64) -> Named {
        let mut named = Named::default();
        if task.is_known() {
            named = self
                .entry(task)
                .map(|entry| entry.named.clone())
                .unwrap_or_default();
        }
        if named
            .place
            .as_deref()
            .is_none_or(|place| place.is_root() || !place.whole)
        {
            let of_socket = self.tree.place(cgroup_id, self.now_ns);
            named.place = better(named.place, of_socket);
        }
        named.called = named.place.as_deref().and_then(|place| {
            let pid = task.is_known().then_some(task.tgid);
            self.containers.called(place, pid, self.now_ns)
        });
        named
    }
}

/// The socket's place, unless the process's own is known and is another: a socket can be handed on.
fn better(of_process: Option<Arc<Place>>, of_socket: Option<Arc<Place>>) -> Option<Arc<Place>> {
    match (&of_process, &of_socket) {
        (Some(process), Some(socket)) if !process.whole && !socket.completes(process) => of_process,
        _ => of_socket.or(of_process),
    }
}

/// In a container, /proc shows cgroups as our own cgroup namespace has them, so that other containers lose part of their
/// paths. The namespace of the kernel's threads shows them whole.
fn enter_initial_cgroup_namespace(proc: &Path) {
    if let Ok(initial) = File::open(procfs::kthreadd(proc).join("ns/cgroup")) {
        // Without the privilege the parts that can be seen have to do.
        let _ = setns(initial, CloneFlags::CLONE_NEWCGROUP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(pid: u32, start_ns: u64) -> Task {
        Task {
            start_ns,
            tgid: pid,
            tid: pid,
            ..Task::NONE
        }
    }

    /// A child that waits, and its start time.
    fn child() -> (std::process::Child, Task) {
        let child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("sleep");
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).expect("a child");
        let ticks: u64 = stat
            .split(' ')
            .nth(21)
            .and_then(|ticks| ticks.parse().ok())
            .expect("22");
        let task = task(child.id(), ticks * 10_000_000);
        (child, task)
    }

    fn wait_for_exec(task: &Task) {
        let exe = format!("/proc/{}/exe", task.tgid);
        let own = std::env::current_exe().expect("this program");
        while std::fs::read_link(&exe).is_ok_and(|now| now == own) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_was_read_survives_the_process() {
        let (mut child, task) = child();
        wait_for_exec(&task);
        let mut processes = Processes::empty(0, Some("/proc".into()));
        processes.seen(&task, 1);
        child.kill().expect("a child");
        child.wait().expect("a child");
        // Also when it is looked at again.
        for now_ns in [2, 2 * FRESH.as_nanos() as u64] {
            processes.now_ns = now_ns;
            let named = processes.name(&task, 0);
            let exe = named.exe.expect("its executable");
            assert!(!exe.as_str().is_empty());
            assert!(named.place.is_some());
        }
    }

    #[test]
    fn a_dead_process_is_asked_for_once_and_nobody_answers_for_it() {
        let own = task(std::process::id(), 0);
        let mut processes = Processes::empty(0, Some("/proc".into()));
        processes.seen(&own, 1);
        assert_eq!(processes.name(&own, 0), Named::default());
        assert_eq!(processes.known.len(), 1);
        assert!(
            processes
                .known
                .values()
                .all(|entry| entry.expires_ns == u64::MAX)
        );
    }

    #[test]
    fn another_executable_replaces_the_first_and_none_is_better_than_the_wrong_one() {
        let (mut child, task) = child();
        let mut processes = Processes::empty(0, Some("/proc".into()));
        processes.seen(&task, 1);
        child.kill().expect("a child");
        child.wait().expect("a child");
        processes.renamed(&task, 2);
        assert_eq!(processes.name(&task, 0).exe, None);
    }

    #[test]
    fn of_two_with_the_same_pid_in_one_tick_neither_is_named() {
        let (mut child, task) = child();
        wait_for_exec(&task);
        let mut processes = Processes::empty(0, Some("/proc".into()));
        // Known by its exec alone.
        processes.renamed(&task, 1);
        assert_eq!(processes.known.len(), 1);
        let other = Task {
            start_ns: task.start_ns + 1,
            ..task
        };
        for task in [other, task] {
            assert_eq!(processes.name(&task, 0), Named::default());
        }
        child.kill().expect("a child");
        child.wait().expect("a child");
    }

    #[test]
    fn it_is_bounded_and_the_oldest_go_first() {
        let mut processes = Processes::empty(0, Some("/proc".into()));
        for start in 0..KNOWN_MAX as u64 + 10 {
            // No such pid: above the largest that the kernel gives.
            processes.seen(&task(1 << 30, start * 10_000_000), 1);
        }
        assert_eq!(processes.known.len(), KNOWN_MAX);
        assert_eq!(processes.order.len(), KNOWN_MAX);
        assert!(!processes.known.contains_key(&Key::new(1 << 30, 0)));
    }

    /// As in a container: its /proc has other pids, and perhaps a process with the same one.
    #[test]
    fn without_the_proc_of_the_node_nobody_is_named() {
        let (mut child, task) = child();
        for proc in ["/nowhere", "/proc/self/task"] {
            let mut processes = Processes::new(0, Path::new(proc));
            processes.seen(&task, 1);
            processes.renamed(&task, 1);
            assert_eq!(processes.name(&task, 0), Named::default(), "{proc}");
        }
        child.kill().expect("a child");
        child.wait().expect("a child");
    }

    fn place(path: &str, depth: usize) -> Option<Arc<Place>> {
        Some(Arc::new(crate::enrich::cgroup::place(path, depth)))
    }

    #[test]
    fn a_socket_completes_what_its_process_is_seen_in_and_contradicts_it_not() {
        let (part, whole, other) = (place("/../b", 2), place("/a/b", 0), place("/a/c", 0));
        assert_eq!(better(part.clone(), whole.clone()), whole);
        assert_eq!(better(part.clone(), other.clone()), part);
        assert_eq!(better(part.clone(), None), part);
        assert_eq!(better(place("/", 0), other.clone()), other);
        assert_eq!(better(None, other.clone()), other);
        assert_eq!(better(place("/", 2), other.clone()), other);
    }

    #[test]
    fn the_cgroup_of_a_socket_without_a_process() {
        let mut processes = Processes::empty(0, Some("/proc".into()));
        let named = processes.name(&Task::NONE, 1);
        assert_eq!(named.place.expect("the root").cgroup.as_str(), "/");
        assert_eq!(processes.name(&Task::NONE, 0), Named::default());
        assert_eq!(processes.name(&Task::NONE, u64::MAX), Named::default());
    }
}
