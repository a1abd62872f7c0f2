//! From the text of /proc/PID/cgroup to a path, and from the path to container, pod and unit. Pure.

#[cfg(test)]
mod tests;

use crate::{
    core::names::{PATH_MAX_BYTES, Place},
    event::text::Label,
};

/// v1 hierarchies in the order in which they are believed: those that container runtimes always use first.
const V1: [&str; 5] = ["memory", "pids", "name=systemd", "cpu", "cpuset"];

/// What the kernel appends to the path of a removed v2 cgroup.
const DELETED: &str = " (deleted)";

/// Digits of a container id.
const ID_LEN: usize = 64;

/// How deep in each hierarchy our own cgroup namespace begins: /proc tells paths from there.
#[derive(Default)]
pub struct View {
    of_root: String,
}

impl View {
    /// `of_kthreadd`: its /proc/2/cgroup, which is the root of every hierarchy.
    pub fn new(of_kthreadd: String) -> Self {
        View {
            of_root: of_kthreadd,
        }
    }

    fn v2_depth(&self) -> usize {
        v2_path(&self.of_root).map_or(0, |path| within_view(path).1)
    }

    fn v1_depth(&self, controller: &str) -> usize {
        v1_path(&self.of_root, controller).map_or(0, |path| within_view(path).1)
    }

    /// The place in the v2 hierarchy.
    pub fn v2_place(&self, content: &str) -> Option<Place> {
        Some(place(v2_path(content)?, self.v2_depth()))
    }
}

/// Which place a process is in, from its /proc/PID/cgroup. On a hybrid machine hierarchies may disagree (Docker may
/// use v1 only): one that names a container or pod wins, then one that is not the root.
pub fn of_process(content: &str, view: &View) -> Option<Place> {
    let v1 = V1.iter().filter_map(|wanted| {
        let path = v1_path(content, wanted)?;
        Some(place(path, view.v1_depth(wanted)))
    });
    let places: Vec<Place> = view.v2_place(content).into_iter().chain(v1).collect();
    let is_contained = |place: &&Place| place.container_id.is_some() || place.pod_uid.is_some();
    places
        .iter()
        .find(is_contained)
        .or_else(|| places.iter().find(|place| !place.is_root()))
        .or(places.first())
        .cloned()
}

/// The path in the v2 hierarchy.
fn v2_path(content: &str) -> Option<&str> {
    let path = content.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(path.strip_suffix(DELETED).unwrap_or(path))
}

/// The path in the v1 hierarchy of a controller. Several controllers may share one.
fn v1_path<'a>(content: &'a str, wanted: &str) -> Option<&'a str> {
    content.lines().find_map(|line| {
        // A path may contain colons, too.
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next()?;
        let path = parts.next()?;
        controllers
            .split(',')
            .any(|controller| controller == wanted)
            .then_some(path)
    })
}

/// What a path says. `depth`: of what it begins at, in the hierarchy.
pub fn place(path: &str, depth: usize) -> Place {
    let (path, ups) = within_view(path);
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    // The innermost: containers nest.
    let container = (0..parts.len()).rev().find_map(|at| {
        let parent = at.checked_sub(1).map(|parent| parts[parent]);
        container(parts[at], parent)
    });
    let unit = parts.iter().rev().find_map(|part| unit(part));
    let mut cgroup = Label::from(path);
    cgroup.cut(PATH_MAX_BYTES);
    Place {
        cut: path.len() > PATH_MAX_BYTES,
        cgroup,
        whole: ups == depth,
        pod_uid: parts
            .iter()
            .rev()
            .find_map(|part| pod_uid(part))
            .map(Label::from),
        unit: unit.filter(|_| container.is_none()).map(Label::from),
        runtime: container.and_then(|(_, runtime)| runtime).map(Label::from),
        container_id: container.map(|(id, _)| id.into()),
    }
}

/// From a cgroup namespace of our own, what lies outside of it is shown as `/../…`. Returns what follows, and how many
/// levels it goes up.
fn within_view(path: &str) -> (&str, usize) {
    let mut rest = path;
    let mut ups = 0;
    while let Some(outer) = rest.strip_prefix("/..") {
        if !outer.is_empty() && !outer.starts_with('/') {
            break;
        }
        rest = outer;
        ups += 1;
    }
    (if rest.is_empty() { "/" } else { rest }, ups)
}

/// Container id and runtime that one component names.
fn container<'a>(part: &'a str, parent: Option<&str>) -> Option<(&'a str, Option<&'static str>)> {
    if let Some(name) = part.strip_prefix("lxc.payload.") {
        return Some((name, Some("lxc")));
    }
    if parent == Some("lxc") {
        return Some((part, Some("lxc")));
    }
    let part = part.strip_suffix(".scope").unwrap_or(part);
    let id = part.get(part.len().checked_sub(ID_LEN)?..)?;
    let is_id = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if !id.bytes().all(is_id) {
        return None;
    }
    let prefix = &part[..part.len() - ID_LEN];
    let runtime = match prefix.strip_suffix(['-', ':']) {
        None if prefix.is_empty() => parent.and_then(runtime_of),
        // Digits that go on: no id.
        None => return None,
        // The monitor of a container is outside of it.
        Some(prefix) if prefix.ends_with("conmon") => return None,
        // containerd with the wrong driver: `kubepods-…pod<uid>.slice:cri-containerd:<id>`.
        Some(prefix) => runtime_of(prefix.rsplit(':').next().unwrap_or(prefix)),
    };
    Some((id, runtime))
}

fn runtime_of(prefix: &str) -> Option<&'static str> {
    match prefix {
        "docker" => Some("docker"),
        "cri-containerd" | "nerdctl" => Some("containerd"),
        "crio" => Some("crio"),
        "libpod" | "libpod_parent" => Some("podman"),
        _ => None,
    }
}

/// `pod<uid>`, `kubepods-burstable-pod<uid>.slice`; the uid of a static pod is 32 digits without dashes.
fn pod_uid(part: &str) -> Option<String> {
    let part = part.split(':').next().unwrap_or(part);
    let part = part.strip_suffix(".slice").unwrap_or(part);
    let uid = match part.rfind("-pod") {
        Some(at) => &part[at + "-pod".len()..],
        None => part.strip_prefix("pod")?,
    };
    let uid = uid.replace('_', "-");
    let groups: Vec<usize> = uid.split('-').map(str::len).collect();
    let is_uid = groups == [8, 4, 4, 4, 12] || groups == [32];
    let is_hex = uid
        .bytes()
        .all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
    (is_uid && is_hex).then_some(uid)
}

/// The systemd unit that one component is.
fn unit(part: &str) -> Option<String> {
    // systemd prefixes an underscore where a name could be taken for a file of the cgroup's.
    let name = part.strip_prefix('_').unwrap_or(part);
    (name.ends_with(".service") || name.ends_with(".scope")).then(|| unescape(name))
}

/// systemd's `\x2d` → `-`.
fn unescape(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find("\\x") {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let digits = rest.get(at + 2..at + 4);
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let used = if byte.is_some() { 4 } else { 2 };
        match byte {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(b"\\x"),
        }
        rest = &rest[at + used..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}
