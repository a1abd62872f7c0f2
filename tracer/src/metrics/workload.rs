//! Whose connection it was, in a word that stays when a process, a container or a pod is replaced by the next
//! of its kind, and few enough of these words: the first ones get a place, the rest share one.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::event::{Ids, text::visible, values::Role};

/// For those that found no place.
pub const OTHER: &str = "_other";
/// For those whose owner is not known.
pub const UNKNOWN: &str = "_unknown";
/// Both of them.
const RESERVED: usize = 2;

/// What became of it, as coarse as an alert needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReasonClass {
    Ok,
    Reset,
    Timeout,
    Refused,
    Other,
}

impl ReasonClass {
    pub const ALL: &[ReasonClass] = &[
        ReasonClass::Ok,
        ReasonClass::Reset,
        ReasonClass::Timeout,
        ReasonClass::Refused,
        ReasonClass::Other,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            ReasonClass::Ok => "ok",
            ReasonClass::Reset => "reset",
            ReasonClass::Timeout => "timeout",
            ReasonClass::Refused => "refused",
            ReasonClass::Other => "other",
        }
    }
}

/// Ends of a workload.
#[derive(Clone, Debug)]
pub struct Row {
    pub name: Arc<str>,
    pub ends: [[u64; Role::ALL.len()]; ReasonClass::ALL.len()],
}

impl Row {
    fn new(name: Arc<str>) -> Self {
        Row {
            name,
            ends: Default::default(),
        }
    }
}

/// Those that have a place.
#[derive(Clone, Debug)]
pub struct Workloads {
    rows: Vec<Row>,
    places: FxHashMap<Arc<str>, usize>,
    max: usize,
    /// Where names are put together: its memory is kept.
    name: String,
}

impl Workloads {
    /// `max`: of those that are not reserved.
    pub fn new(max: usize) -> Self {
        let mut workloads = Workloads {
            rows: Vec::new(),
            places: FxHashMap::default(),
            max,
            name: String::new(),
        };
        for name in [OTHER, UNKNOWN] {
            workloads.admit(name.into());
        }
        workloads
    }

    pub fn count(&mut self, ids: &Ids, class: ReasonClass, role: Role) {
        self.name.clear();
        put_name(ids, &mut self.name);
        let place = match self.places.get(self.name.as_str()) {
            Some(place) => *place,
            None if self.admitted() < self.max => {
                let name = Arc::from(self.name.as_str());
                self.admit(name)
            }
            None => 0,
        };
        if let Some(row) = self.rows.get_mut(place) {
            row.ends[class as usize][role as usize] += 1;
        }
    }

    fn admit(&mut self, name: Arc<str>) -> usize {
        let place = self.rows.len();
        self.places.insert(Arc::clone(&name), place);
        self.rows.push(Row::new(name));
        place
    }

    /// How many have a place, the reserved ones left out.
    pub fn admitted(&self) -> usize {
        self.rows.len() - RESERVED
    }

    pub fn max(&self) -> usize {
        self.max
    }

    pub fn rows(&self) -> &[Row] {
        &self.rows
    }
}

fn put_name(ids: &Ids, name: &mut String) {
    let called = &ids.called;
    if let (Some(namespace), Some(pod)) = (&called.pod_namespace.0, &called.pod.0) {
        put_visible(namespace.as_str(), name);
        name.push('/');
        put_visible(workload_of_pod(pod.as_str()), name);
    } else if let Some(container) = &called.container_name.0 {
        put_visible(container.as_str(), name);
    } else if let Some(service) = ids.unit.as_ref().and_then(|unit| lasting(unit.as_str())) {
        put_visible(service, name);
    } else if let Some(comm) = &ids.comm {
        put_visible(&comm.text(), name);
    } else {
        name.push_str(UNKNOWN);
    }
}

/// What is shown is what is told apart: two names of which a page would show the same would be one series twice,
/// which makes Prometheus refuse the page.
fn put_visible(text: &str, name: &mut String) {
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        name.push_str(text);
    } else {
        // Writing to a String cannot fail.
        let _ = visible(text, name);
    }
}

/// A service. A scope is a login or a process that somebody started, a transient service has a number: each is
/// there but once.
fn lasting(unit: &str) -> Option<&str> {
    let transient = unit.starts_with("run-");
    (unit.ends_with(".service") && !transient).then_some(unit)
}

/// The Deployment, DaemonSet, CronJob or StatefulSet of a pod, by the way in which Kubernetes names pods:
/// `web-7d4b9c6f5-x2x9z`, `agent-x2x9z`, `report-29394850-x2x9z`, `db-0`.
fn workload_of_pod(pod: &str) -> &str {
    // What Kubernetes makes random names of.
    const RANDOM: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    const SUFFIX_CHARS: usize = 5;
    let is_random = |part: &str| part.bytes().all(|byte| RANDOM.contains(&byte));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let Some((rest, last)) = pod.rsplit_once('-') else {
        return pod;
    };
    if last.len() == SUFFIX_CHARS && is_random(last) {
        return match rest.rsplit_once('-') {
            // The hash of a ReplicaSet's template.
            Some((name, hash)) if (6..=10).contains(&hash.len()) && is_random(hash) => name,
            // The minute for which a CronJob made a job.
            Some((name, minute)) if minute.len() >= 8 && is_number(minute) => name,
            _ => rest,
        };
    }
    if is_number(last) { rest } else { pod }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::sample,
        event::{Called, text::Label},
    };

    fn name(change: impl FnOnce(&mut Ids)) -> String {
        let mut ids = sample::ids();
        change(&mut ids);
        let mut name = String::new();
        put_name(&ids, &mut name);
        name
    }

    fn comm(bytes: &[u8]) -> Ids {
        Ids {
            comm: Some(sample::comm(bytes)),
            ..sample::ids()
        }
    }

    #[test]
    fn the_name_that_lasts_longest_is_taken() {
        assert_eq!(name(|_| ()), "go-server");
        assert_eq!(name(|ids| ids.comm = None), UNKNOWN);
        assert_eq!(
            name(|ids| ids.unit = Some(Label::from("nginx.service"))),
            "nginx.service"
        );
        for unit in ["session-12.scope", "run-u33.service", "a.socket"] {
            assert_eq!(name(|ids| ids.unit = Some(Label::from(unit))), "go-server");
        }
        let called = Called {
            container_name: Some(Label::from("shop-web-1")).into(),
            ..Called::default()
        };
        assert_eq!(name(|ids| ids.called = called), "shop-web-1");
        let called = Called {
            container_name: Some(Label::from("web")).into(),
            pod: Some(Label::from("web-7d4b9c6f5-x2x9z")).into(),
            pod_namespace: Some(Label::from("shop")).into(),
        };
        assert_eq!(name(|ids| ids.called = called), "shop/web");
        let id = |ids: &mut Ids| ids.container_id = Some(Label::from("c74b0f5062f0"));
        assert_eq!(name(id), "go-server", "an id is no name");
    }

    #[test]
    fn pods_of_one_workload_have_one_name() {
        for (pod, workload) in [
            ("web-7d4b9c6f5-x2x9z", "web"),
            ("shop-web-6f7d9c5b44-zz8kq", "shop-web"),
            ("node-agent-x2x9z", "node-agent"),
            ("db-0", "db"),
            ("db-primary-11", "db-primary"),
            ("etcd-control-plane", "etcd-control-plane"),
            ("report-29394850-9xk4c", "report"),
            ("import-9xk4c", "import"),
            ("single", "single"),
            ("a-", "a-"),
        ] {
            assert_eq!(workload_of_pod(pod), workload, "{pod}");
        }
    }

    #[test]
    fn the_first_get_a_place_and_the_rest_share_one() {
        let mut workloads = Workloads::new(2);
        for comm_bytes in [&b"a"[..], b"b", b"c", b"a", b"d", b"_other"] {
            workloads.count(&comm(comm_bytes), ReasonClass::Ok, Role::Client);
        }
        let mut nobody = sample::ids();
        nobody.comm = None;
        workloads.count(&nobody, ReasonClass::Reset, Role::Unknown);
        let told: Vec<_> = workloads
            .rows()
            .iter()
            .map(|row| (&*row.name, row.ends.iter().flatten().sum::<u64>()))
            .collect();
        assert_eq!(told, [(OTHER, 3), (UNKNOWN, 1), ("a", 2), ("b", 1)]);
        assert_eq!(workloads.admitted(), 2);
    }

    #[test]
    fn names_that_look_alike_are_one() {
        let mut workloads = Workloads::new(10);
        for comm_bytes in [
            &b"a\x01"[..],
            b"a^A",
            b"b\xff",
            b"b\xfe",
            "b\u{fffd}".as_bytes(),
        ] {
            workloads.count(&comm(comm_bytes), ReasonClass::Ok, Role::Client);
        }
        let names: Vec<_> = workloads.rows()[RESERVED..]
            .iter()
            .map(|row| &*row.name)
            .collect();
        assert_eq!(names, ["a^A", "b\u{fffd}"]);
    }
}
