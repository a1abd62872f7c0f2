//! What the core asks the edge about a process: its executable and where it runs.

use std::sync::Arc;

use tracer_common::task::Task;

use crate::event::{Called, Ids, text::Label};

/// Longest executable or cgroup path that an event carries, bytes.
pub const PATH_MAX_BYTES: usize = 512;

/// A cgroup, and what its path says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub cgroup: Label,
    /// The path begins at the hierarchy's root. In a container it may begin at what the other cgroup and our own have in
    /// common, which is then not told for a path.
    pub whole: bool,
    pub container_id: Option<Label>,
    pub runtime: Option<Label>,
    pub pod_uid: Option<Label>,
    pub unit: Option<Label>,
    /// The path was longer than [`PATH_MAX_BYTES`].
    pub cut: bool,
}

impl Place {
    /// The root cgroup says nothing of who runs in it.
    pub fn is_root(&self) -> bool {
        self.whole && self.cgroup.as_str() == "/"
    }

    /// Whether its path ends as the other's, of which only the end can be seen.
    pub fn completes(&self, other: &Place) -> bool {
        let end = other.cgroup.as_str().trim_end_matches('/');
        self.whole && self.cgroup.as_str().ends_with(end)
    }
}

/// What is known of a process beyond its `comm`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    pub exe: Option<Label>,
    /// The executable's path was longer than [`PATH_MAX_BYTES`].
    pub exe_cut: bool,
    pub place: Option<Arc<Place>>,
    pub called: Option<Arc<Called>>,
}

/// Knows processes. An answer must take no longer than a table look-up, but for the first one.
pub trait Names {
    /// `cgroup_id`: of the socket in question (v2), for when the process is gone; 0 for none.
    fn name(&mut self, task: &Task, cgroup_id: u64) -> Named;
}

/// Puts an owner's names into the keys of an event. Returns whether one of them was cut.
pub fn fill(ids: &mut Ids, named: Named) -> bool {
    let place = named.place.as_deref();
    ids.exe = named.exe;
    ids.cgroup = place
        .filter(|place| place.whole)
        .map(|place| place.cgroup.clone());
    ids.container_id = place.and_then(|place| place.container_id.clone());
    ids.runtime = place.and_then(|place| place.runtime.clone());
    ids.pod_uid = place.and_then(|place| place.pod_uid.clone());
    ids.unit = place.and_then(|place| place.unit.clone());
    ids.called = named.called.as_deref().cloned().unwrap_or_default();
    named.exe_cut || place.is_some_and(|place| place.cut)
}
