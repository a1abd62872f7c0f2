//! What people call a container, and its pod: from the files that Docker, kubelet, containerd, CRI-O and Podman keep on
//! this node. Nobody is asked over a socket. Ids come from cgroup paths; what the files say is text from outside.

#[cfg(test)]
mod tests;

use std::{
    fs::{self, OpenOptions},
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustc_hash::FxHashMap;
use serde::Deserialize;

use crate::{
    core::names::Place,
    event::{Called, text::Label},
};

/// Containers that are remembered, also after their end.
const KNOWN_MAX: usize = 4_096;

/// A name that was not found may be there later: files are written while the container starts.
const AGAIN: Duration = Duration::from_millis(250);

/// Containers that are looked up in one second: about 0.2 ms each.
const PER_SECOND: u32 = 32;

/// Largest file that is read.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// Entries of a folder that are looked at: kubelet allows 110 pods on a node by default.
const FOLDER_MAX: usize = 4_096;

/// Kubernetes allows 253 bytes for a name.
const NAME_MAX_BYTES: usize = 256;

/// The storages of Podman and CRI-O.
const STORAGES: [&str; 4] = [
    "var/lib/containers/storage/overlay-containers",
    "var/lib/containers/storage/vfs-containers",
    "run/containers/storage/overlay-containers",
    "run/containers/storage/vfs-containers",
];

/// The tasks of containerd, by namespace.
const TASKS: &str = "run/containerd/io.containerd.runtime.v2.task";
const TASK_NAMESPACES: [&str; 3] = ["k8s.io", "default", "moby"];

struct Entry {
    called: Option<Arc<Called>>,
    /// When to look again; never, once it is known.
    again_ns: u64,
}

pub struct Containers {
    root: PathBuf,
    proc: Option<PathBuf>,
    known: FxHashMap<Label, Entry>,
    /// Second, and look-ups in it.
    looked_up: (u64, u32),
}

impl Containers {
    /// `root`: of the node's files. `proc`: its /proc, where it can be seen.
    pub fn new(root: PathBuf, proc: Option<PathBuf>) -> Self {
        Containers {
            root,
            proc,
            known: FxHashMap::default(),
            looked_up: (0, 0),
        }
    }

    /// What a place's container is called. `pid`: one of its processes, if one is known; it may be gone.
    pub fn called(&mut self, place: &Place, pid: Option<u32>, now_ns: u64) -> Option<Arc<Called>> {
        let id = place.container_id.as_ref()?;
        if let Some(entry) = self.known.get(id)
            && now_ns < entry.again_ns
        {
            return entry.called.clone();
        }
        // A path is made of it.
        if id.as_str().len() != 64 || !id.as_str().bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let second = now_ns / 1_000_000_000;
        if self.looked_up.0 != second {
            self.looked_up = (second, 0);
        }
        self.looked_up.1 += 1;
        if self.looked_up.1 > PER_SECOND {
            return None;
        }
        let pod_uid = place.pod_uid.as_ref().map(Label::as_str);
        let process = pid.and_then(|pid| Some(self.proc.as_ref()?.join(pid.to_string())));
        let called = look_up(&self.root, id.as_str(), pod_uid, process.as_deref()).map(Arc::new);
        let again_ns = match &called {
            Some(_) => u64::MAX,
            None => now_ns + AGAIN.as_nanos() as u64,
        };
        if self.known.len() >= KNOWN_MAX {
            // Those that live are found again.
            self.known.clear();
        }
        let entry = Entry {
            called: called.clone(),
            again_ns,
        };
        self.known.insert(id.clone(), entry);
        called
    }
}

/// The first file that knows the container; kubelet's know the pod of every runtime.
fn look_up(root: &Path, id: &str, pod_uid: Option<&str>, process: Option<&Path>) -> Option<Called> {
    kubelet_container(root, id)
        .or_else(|| docker(root, id, process))
        .or_else(|| containerd(root, id))
        .or_else(|| storage(root, id))
        .or_else(|| kubelet_pod(root, pod_uid?))
}

fn name(text: &str) -> Option<Label> {
    let mut label = Label::from(text);
    label.cut(NAME_MAX_BYTES);
    (!text.is_empty()).then_some(label)
}

/// /var/log/containers/POD_NAMESPACE_CONTAINER-ID.log. None of the three may hold an underscore.
fn kubelet_container(root: &Path, id: &str) -> Option<Called> {
    let end = format!("-{id}.log");
    let (pod, rest) = find(&root.join("var/log/containers"), |file| {
        Some(file.strip_suffix(&end)?.split_once('_').map(owned))
    })??;
    let (namespace, container) = rest.split_once('_')?;
    Some(Called {
        container_name: name(container).into(),
        pod: name(&pod).into(),
        pod_namespace: name(namespace).into(),
    })
}

/// /var/log/pods/NAMESPACE_POD_UID.
fn kubelet_pod(root: &Path, pod_uid: &str) -> Option<Called> {
    let end = format!("_{pod_uid}");
    let (namespace, pod) = find(&root.join("var/log/pods"), |folder| {
        Some(folder.strip_suffix(&end)?.split_once('_').map(owned))
    })??;
    Some(Called {
        container_name: None.into(),
        pod: name(&pod).into(),
        pod_namespace: name(&namespace).into(),
    })
}

fn owned((a, b): (&str, &str)) -> (String, String) {
    (a.to_owned(), b.to_owned())
}

/// What `wanted` makes of the first entry of a folder that it wants.
fn find<T>(folder: &Path, wanted: impl Fn(&str) -> Option<T>) -> Option<T> {
    let entries = fs::read_dir(folder).ok()?.flatten().take(FOLDER_MAX);
    entries
        .into_iter()
        .find_map(|entry| wanted(entry.file_name().to_str()?))
}

/// Docker's config.v2.json, as far as we need it.
#[derive(Deserialize)]
struct DockerConfig {
    #[serde(rename = "Name", default)]
    name: String,
    #[serde(rename = "Config", default)]
    config: DockerInner,
}

#[derive(Default, Deserialize)]
struct DockerInner {
    #[serde(rename = "Labels", default)]
    labels: Option<FxHashMap<String, String>>,
}

fn docker(root: &Path, id: &str, process: Option<&Path>) -> Option<Called> {
    let usual = root.join("var/lib/docker/containers").join(id);
    let config: DockerConfig = read(&usual.join("config.v2.json")).or_else(|| {
        let folder = docker_folder(root, id, process?)?;
        read(&folder.join("config.v2.json"))
    })?;
    let labels = config.config.labels.unwrap_or_default();
    let label = |key: &str| labels.get(key).and_then(|value| name(value));
    Some(Called {
        container_name: label("io.kubernetes.container.name")
            .or_else(|| name(config.name.trim_start_matches('/')))
            .into(),
        pod: label("io.kubernetes.pod.name").into(),
        pod_namespace: label("io.kubernetes.pod.namespace").into(),
    })
}

/// Docker's data may be elsewhere: it mounts /etc/hostname from there. Whoever mounts such a file himself names his own
/// container at most.
fn docker_folder(root: &Path, id: &str, process: &Path) -> Option<PathBuf> {
    let mounts = text(&process.join("mountinfo"))?;
    let end = format!("/containers/{id}/hostname");
    let file = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(3))
        .find(|mounted| mounted.ends_with(&end))?;
    let folder = Path::new(file).parent()?;
    Some(root.join(folder.strip_prefix("/").ok()?))
}

/// The config.json of an OCI bundle.
#[derive(Deserialize)]
struct Bundle {
    #[serde(default)]
    annotations: FxHashMap<String, String>,
}

fn containerd(root: &Path, id: &str) -> Option<Called> {
    let tasks = root.join(TASKS);
    TASK_NAMESPACES
        .iter()
        .find_map(|namespace| bundle(&tasks.join(namespace).join(id)))
}

/// CRI-O annotates its bundles; Podman has its containers in one list, which CRI-O shares.
fn storage(root: &Path, id: &str) -> Option<Called> {
    STORAGES
        .iter()
        .find_map(|storage| bundle(&root.join(storage).join(id).join("userdata")))
        .or_else(|| {
            STORAGES
                .iter()
                .find_map(|storage| listed(&root.join(storage).join("containers.json"), id))
        })
}

fn bundle(folder: &Path) -> Option<Called> {
    let bundle: Bundle = read(&folder.join("config.json"))?;
    let any = |keys: [&str; 3]| {
        keys.iter()
            .find_map(|key| name(bundle.annotations.get(*key)?))
    };
    let called = Called {
        container_name: any([
            "io.kubernetes.cri.container-name",
            "io.kubernetes.container.name",
            "nerdctl/name",
        ])
        .into(),
        pod: any([
            "io.kubernetes.cri.sandbox-name",
            "io.kubernetes.pod.name",
            "",
        ])
        .into(),
        pod_namespace: any([
            "io.kubernetes.cri.sandbox-namespace",
            "io.kubernetes.pod.namespace",
            "",
        ])
        .into(),
    };
    (called.container_name.0.is_some() || called.pod.0.is_some()).then_some(called)
}

/// An entry of containers.json.
#[derive(Deserialize)]
struct Listed {
    id: String,
    #[serde(default)]
    names: Vec<String>,
}

fn listed(file: &Path, id: &str) -> Option<Called> {
    let list: Vec<Listed> = read(file)?;
    let found = list.iter().find(|entry| entry.id == id)?;
    Some(Called {
        container_name: name(found.names.first()?).into(),
        pod: None.into(),
        pod_namespace: None.into(),
    })
}

fn read<T: for<'a> Deserialize<'a>>(file: &Path) -> Option<T> {
    serde_json::from_str(&text(file)?).ok()
}

/// A file that is no more than we expect: nothing to wait for, and not too large.
fn text(path: &Path) -> Option<String> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    file.take(FILE_MAX_BYTES + 1)
        .read_to_string(&mut text)
        .ok()?;
    (text.len() as u64 <= FILE_MAX_BYTES).then_some(text)
}
