use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::*;

const ID: &str = "4f5b62c1d7a0e93b8a1cc02f6d3f8c4e7a9b0d1e2f3a4b5c6d7e8f9a0b1c2d3e";
const UID: &str = "1a2b3c4d-0000-4e5f-8a9b-c0d1e2f3a4b5";

/// A node's files, in a folder that goes with the test.
struct Node(PathBuf);

impl Node {
    fn new() -> Node {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let name = format!("tracer-containers-{}-{number}", std::process::id());
        Node(std::env::temp_dir().join(name))
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder of ours");
        fs::write(path, text).expect("a folder of ours");
    }

    fn called(&self) -> Option<[Option<String>; 3]> {
        let mut containers = Containers::new(self.0.clone(), Some(self.0.join("proc")));
        let called = containers.called(&place(), Some(7), 1)?;
        let text = |label: &Option<Label>| label.as_ref().map(|label| label.as_str().to_owned());
        let Called {
            container_name,
            pod,
            pod_namespace,
        } = &*called;
        Some([&container_name.0, &pod.0, &pod_namespace.0].map(text))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn place() -> Place {
    Place {
        cgroup: "/".into(),
        whole: true,
        container_id: Some(ID.into()),
        runtime: None,
        pod_uid: Some(UID.into()),
        unit: None,
        cut: false,
    }
}

fn names(container: &str, pod: &str, namespace: &str) -> Option<[Option<String>; 3]> {
    Some([container, pod, namespace].map(|name| (!name.is_empty()).then(|| name.to_owned())))
}

#[test]
fn nobody_knows_it() {
    assert_eq!(Node::new().called(), None);
}

#[test]
fn docker_by_itself_and_under_kubernetes() {
    let node = Node::new();
    let file = format!("var/lib/docker/containers/{ID}/config.v2.json");
    node.file(&file, r#"{"Name":"/web","Config":{"Labels":null}}"#);
    assert_eq!(node.called(), names("web", "", ""));
    node.file(
        &file,
        r#"{"ID":"x","Name":"/k8s_app_shop-1_prod_uid_0","Config":{"Labels":{"io.kubernetes.container.name":"app",
        "io.kubernetes.pod.name":"shop-1","io.kubernetes.pod.namespace":"prod"}}}"#,
    );
    assert_eq!(node.called(), names("app", "shop-1", "prod"));
}

#[test]
fn docker_with_its_data_elsewhere() {
    let node = Node::new();
    node.file(
        &format!("data/docker/containers/{ID}/config.v2.json"),
        r#"{"Name":"/web"}"#,
    );
    node.file(
        "proc/7/mountinfo",
        &format!(
            "600 500 0:50 / /proc rw - proc proc rw\n\
             601 500 254:0 /data/docker/containers/{ID}/hostname /etc/hostname rw - ext4 /dev/vda rw\n"
        ),
    );
    assert_eq!(node.called(), names("web", "", ""));
}

#[test]
fn kubelet_knows_container_or_at_least_pod() {
    let node = Node::new();
    node.file(&format!("var/log/pods/prod_shop-1_{UID}/app/0.log"), "");
    node.file("var/log/pods/prod_other_1a2b3c4d/app/0.log", "");
    assert_eq!(node.called(), names("", "shop-1", "prod"));
    node.file(&format!("var/log/containers/shop-1_prod_app-{ID}.log"), "x");
    assert_eq!(node.called(), names("app", "shop-1", "prod"));
}

#[test]
fn containerd_and_crio_by_their_annotations() {
    let node = Node::new();
    node.file(
        &format!("run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}/config.json"),
        r#"{"ociVersion":"1.1.0","annotations":{"io.kubernetes.cri.container-name":"app",
        "io.kubernetes.cri.sandbox-name":"shop-1","io.kubernetes.cri.sandbox-namespace":"prod"}}"#,
    );
    assert_eq!(node.called(), names("app", "shop-1", "prod"));
    let node = Node::new();
    node.file(
        &format!("run/containers/storage/overlay-containers/{ID}/userdata/config.json"),
        r#"{"annotations":{"io.kubernetes.container.name":"app","io.kubernetes.pod.name":"shop-1",
        "io.kubernetes.pod.namespace":"prod"}}"#,
    );
    assert_eq!(node.called(), names("app", "shop-1", "prod"));
}

#[test]
fn podman_in_its_list() {
    let node = Node::new();
    node.file(
        "var/lib/containers/storage/overlay-containers/containers.json",
        &format!(r#"[{{"id":"0","names":["no"]}},{{"id":"{ID}","names":["web"],"image":"i"}}]"#),
    );
    // Podman's bundles say nothing of names.
    node.file(
        &format!("var/lib/containers/storage/overlay-containers/{ID}/userdata/config.json"),
        r#"{"annotations":{"io.container.manager":"libpod"}}"#,
    );
    assert_eq!(node.called(), names("web", "", ""));
}

#[test]
fn hostile_files_harm_nobody() {
    let file = format!("var/lib/docker/containers/{ID}/config.v2.json");
    for text in [
        "",
        "{",
        "[]",
        "\u{0}",
        r#"{"Name":7}"#,
        r#"{"Name":"/"}"#,
        &"[".repeat(100_000),
        &format!(r#"{{"Name":"{}"}}"#, "x".repeat(2 << 20)),
    ] {
        let node = Node::new();
        node.file(&file, text);
        let none = [None, None, None];
        assert!(node.called().is_none_or(|called| called == none));
    }
    let node = Node::new();
    node.file(&file, &format!(r#"{{"Name":"/{}"}}"#, "é".repeat(5_000)));
    let [container, ..] = node.called().expect("a name");
    assert!(container.is_some_and(|name| name.len() <= NAME_MAX_BYTES));
    // A pipe is not waited for.
    let node = Node::new();
    node.file(&file, "");
    let pipe = node.0.join(&file);
    fs::remove_file(&pipe).expect("ours");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    assert_eq!(node.called(), None);
}

#[test]
fn an_id_that_is_none_makes_no_path() {
    let node = Node::new();
    node.file(
        "var/lib/docker/containers/web/config.v2.json",
        r#"{"Name":"/web"}"#,
    );
    for id in ["web", "..", "../containers/web"] {
        let mut place = place();
        place.container_id = Some(id.into());
        let mut containers = Containers::new(node.0.clone(), None);
        assert_eq!(containers.called(&place, None, 1), None, "{id}");
    }
}

#[test]
fn it_is_remembered_looked_for_again_and_not_too_often() {
    let node = Node::new();
    let mut containers = Containers::new(node.0.clone(), None);
    assert_eq!(containers.called(&place(), None, 1), None);
    let file = format!("var/lib/docker/containers/{ID}/config.v2.json");
    node.file(&file, r#"{"Name":"/web"}"#);
    assert_eq!(containers.called(&place(), None, 2), None, "too soon");
    let later_ns = 1 + AGAIN.as_nanos() as u64;
    assert!(containers.called(&place(), None, later_ns).is_some());
    fs::remove_dir_all(&node.0).expect("ours");
    assert!(containers.called(&place(), None, u64::MAX - 1).is_some());

    let other = |number: u32| Place {
        container_id: Some(format!("{number:064x}").as_str().into()),
        ..place()
    };
    for number in 0..2 * KNOWN_MAX as u32 {
        containers.called(
            &other(number),
            None,
            later_ns + u64::from(number) * 100_000_000,
        );
    }
    assert!(containers.known.len() <= KNOWN_MAX);
    let before = containers.known.len();
    for number in 0..100 {
        containers.called(&other(1 << 20 | number), None, u64::MAX / 2);
    }
    assert_eq!(containers.known.len() - before, PER_SECOND as usize);
}
