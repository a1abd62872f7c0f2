//! The patterns are those that coroot's unit tests collect, and more of the same forms; recorded files say how.

use super::*;

const ID: &str = "c74b0f5062f0bc726cae1e9369ad4a95deed6b298d247f0407475adb23fa3190";
const POD: &str = "2942c55e-c9cb-428a-93f4-eaf89c1f3ce0";
const POD_: &str = "2942c55e_c9cb_428a_93f4_eaf89c1f3ce0";
const STATIC_POD: &str = "f8b6c8a4c4d5e6f708192a3b4c5d6e7f";

type Text = Option<&'static str>;

/// Path → container, runtime, pod, unit. `ID`, `POD`, `POD_` and `STATIC` stand for the constants.
#[rustfmt::skip]
const PATHS: &[(&str, Text, Text, Text, Text)] = &[
    ("/", None, None, None, None),
    // Docker, both drivers, and nested: the innermost.
    ("/docker/ID", Some("ID"), Some("docker"), None, None),
    ("/system.slice/docker-ID.scope", Some("ID"), Some("docker"), None, None),
    ("/docker/ID/system.slice/nginx.service", Some("ID"), Some("docker"), None, None),
    ("/docker/0000000000000000000000000000000000000000000000000000000000000000/kubelet/kubepods/podPOD/ID", Some("ID"), None, Some("POD"), None),
    ("/custom-parent/ID", Some("ID"), None, None, None),
    // Kubernetes, cgroupfs driver.
    ("/kubepods/burstable/podPOD/ID", Some("ID"), None, Some("POD"), None),
    ("/kubepods/besteffort/podPOD/ID", Some("ID"), None, Some("POD"), None),
    ("/kubepods/podPOD/ID", Some("ID"), None, Some("POD"), None),
    ("/kubepods/burstable/podSTATIC/ID", Some("ID"), None, Some("STATIC"), None),
    ("/kubepods/burstable/podPOD", None, None, Some("POD"), None),
    ("/kubepods/burstable/podPOD/crio-ID", Some("ID"), Some("crio"), Some("POD"), None),
    // Kubernetes, systemd driver.
    ("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podPOD_.slice/docker-ID.scope", Some("ID"), Some("docker"), Some("POD"), None),
    ("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podPOD_.slice/cri-containerd-ID.scope", Some("ID"), Some("containerd"), Some("POD"), None),
    ("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podPOD_.slice/crio-ID.scope", Some("ID"), Some("crio"), Some("POD"), None),
    ("/kubepods.slice/kubepods-podPOD_.slice/libpod-ID.scope", Some("ID"), Some("podman"), Some("POD"), None),
    ("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podPOD_.slice/crio-ID.scope/container", Some("ID"), Some("crio"), Some("POD"), None),
    ("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podSTATIC.slice/crio-ID.scope", Some("ID"), Some("crio"), Some("STATIC"), None),
    ("/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable-podPOD_.slice/cri-containerd-ID.scope", Some("ID"), Some("containerd"), Some("POD"), None),
    // containerd told to use the systemd driver where the kubelet uses cgroupfs.
    ("/system.slice/containerd.service/kubepods-burstable-podPOD_.slice:cri-containerd:ID", Some("ID"), Some("containerd"), Some("POD"), None),
    ("/system.slice/containerd.service/kubepods-podPOD_.slice:cri-containerd:ID", Some("ID"), Some("containerd"), Some("POD"), None),
    // Podman, and its monitor, which is outside of the container.
    ("/machine.slice/libpod-ID.scope", Some("ID"), Some("podman"), None, None),
    ("/machine.slice/libpod-ID.scope/container", Some("ID"), Some("podman"), None, None),
    ("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container", Some("ID"), Some("podman"), None, None),
    ("/libpod_parent/libpod-ID", Some("ID"), Some("podman"), None, None),
    ("/machine.slice/libpod-conmon-ID.scope", None, None, None, Some("libpod-conmon-ID.scope")),
    ("/kubepods.slice/kubepods-podPOD_.slice/crio-conmon-ID.scope", None, None, Some("POD"), Some("crio-conmon-ID.scope")),
    // Others that have the id alone, and what a container makes within.
    ("/ecs/0f1e2d3c4b5a69788796a5b4c3d2e1f0/ID", Some("ID"), None, None, None),
    ("/system.slice/docker-ID.scope/init", Some("ID"), Some("docker"), None, None),
    ("/kubepods.slice/kubepods-podPOD_.slice/cri-containerd-ID.scope/system.slice/nginx.service", Some("ID"), Some("containerd"), Some("POD"), None),
    // LXC names its containers.
    ("/lxc/web", Some("web"), Some("lxc"), None, None),
    ("/lxc.payload.web", Some("web"), Some("lxc"), None, None),
    ("/lxc.payload.web/system.slice/nginx.service", Some("web"), Some("lxc"), None, None),
    ("/lxc.monitor.web", None, None, None, None),
    // systemd.
    ("/system.slice/nginx.service", None, None, None, Some("nginx.service")),
    ("/system.slice/nginx.service/workers", None, None, None, Some("nginx.service")),
    ("/user.slice/user-1000.slice/user@1000.service/app.slice/web.service", None, None, None, Some("web.service")),
    ("/user.slice/user-1000.slice/session-3.scope", None, None, None, Some("session-3.scope")),
    ("/init.scope", None, None, None, Some("init.scope")),
    ("/system.slice/system-postgresql.slice/postgresql@9.4-main.service", None, None, None, Some("postgresql@9.4-main.service")),
    (r"/system.slice/system-serial\x2dgetty.slice/serial-getty@ttyS0.service", None, None, None, Some("serial-getty@ttyS0.service")),
    (r"/system.slice/my\x2dapp\xzz\x.service", None, None, None, Some(r"my-app\xzz\x.service")),
    ("/system.slice/_cpu.service", None, None, None, Some("cpu.service")),
    ("/machine.slice/systemd-nspawn@web.service/payload", None, None, None, Some("systemd-nspawn@web.service")),
    ("/runtime.slice/kubelet.service", None, None, None, Some("kubelet.service")),
    ("/reserved.slice/kubelet.service", None, None, None, Some("kubelet.service")),
    ("/kube.slice/kubelet.service", None, None, None, Some("kubelet.service")),
    ("/azure.slice/walinuxagent.service", None, None, None, Some("walinuxagent.service")),
    ("/podruntime.slice/containerd.service", None, None, None, Some("containerd.service")),
    ("/system.slice", None, None, None, None),
    // What only looks like it.
    ("/docker/ID0", None, None, None, None),
    ("/aID", None, None, None, None),
    ("/docker/é0000000000000000000000000000000000000000000000000000000000000000", None, None, None, None),
    ("/docker/C74B0F5062F0BC726CAE1E9369AD4A95DEED6B298D247F0407475ADB23FA3190", None, None, None, None),
    ("/podium/podgorica/pod", None, None, None, None),
    ("/kubepods/pod2942c55e-c9cb-428a-93f4-eaf89c1f3cez", None, None, None, None),
];

fn text(template: &str) -> String {
    template
        .replace("POD_", POD_)
        .replace("POD", POD)
        .replace("STATIC", STATIC_POD)
        .replace("ID", ID)
}

fn label(template: Option<&str>) -> Option<Label> {
    template.map(|template| text(template).into())
}

#[test]
fn paths() {
    for (path, container_id, runtime, pod_uid, unit) in PATHS {
        let path = text(path);
        let expected = Place {
            cgroup: path.as_str().into(),
            whole: true,
            container_id: label(*container_id),
            runtime: label(*runtime),
            pod_uid: label(*pod_uid),
            unit: label(*unit),
            cut: false,
        };
        assert_eq!(place(&path, 0), expected, "{path}");
    }
}

/// Depth of our own namespace, path that it shows → what is known of the path, whether that is all, container.
#[rustfmt::skip]
const VIEWS: &[(usize, &str, &str, bool, Text)] = &[
    // From /docker/OTHER.
    (2, "/../..", "/", true, None),
    (2, "/../ID", "/ID", false, Some("ID")),
    (2, "/../../system.slice/docker-ID.scope", "/system.slice/docker-ID.scope", true, Some("ID")),
    (2, "/", "/", false, None),
    (2, "/nested", "/nested", false, None),
    // From a pod.
    (4, "/../../kubepods-burstable-podPOD_.slice/crio-ID.scope", "/kubepods-burstable-podPOD_.slice/crio-ID.scope", false, Some("ID")),
    (4, "/../../../../init.scope", "/init.scope", true, None),
    // From the root.
    (0, "/..hidden/ID", "/..hidden/ID", true, Some("ID")),
];

#[test]
fn from_a_cgroup_namespace_of_our_own() {
    for (depth, path, cgroup, whole, container_id) in VIEWS {
        let place = place(&text(path), *depth);
        assert_eq!(place.cgroup.as_str(), text(cgroup), "{path}");
        assert_eq!(place.whole, *whole, "{path}");
        assert_eq!(place.container_id, label(*container_id), "{path}");
    }
}

#[test]
fn each_hierarchy_is_seen_from_a_depth_of_its_own() {
    let view = View::new("3:cpu:/..\n1:name=systemd:/\n0::/../..\n".to_owned());
    for (content, whole) in [
        ("0::/../../a", true),
        ("0::/../a", false),
        ("0::/a", false),
        ("3:cpu:/../a", true),
        ("3:cpu:/a", false),
        ("1:name=systemd:/a", true),
    ] {
        let place = of_process(content, &view).expect("a place");
        assert_eq!(place.whole, whole, "{content}");
    }
}

/// Recorded with `cat /proc/PID/cgroup` of a container of dockerd 20.10, v1 and v2 side by side; only the id is replaced.
const HYBRID_DOCKER: &str = "\
9:name=systemd:/docker/ID
8:pids:/docker/ID
7:blkio:/docker/ID
6:freezer:/docker/ID
5:devices:/docker/ID
4:memory:/docker/ID
3:cpuset:/docker/ID
2:cpuacct:/docker/ID
1:cpu:/docker/ID
0::/docker/ID
";

/// In the form of the same machine, beside the container.
const HYBRID_BARE: &str = "\
9:name=systemd:/
8:pids:/
4:memory:/session/1
3:cpuset:/
1:cpu,cpuacct:/
0::/
";

/// Content of /proc/PID/cgroup → path that is told.
#[rustfmt::skip]
const FILES: &[(&str, Option<&str>)] = &[
    (HYBRID_DOCKER, Some("/docker/ID")),
    (HYBRID_BARE, Some("/session/1")),
    // v2.
    ("0::/\n", Some("/")),
    ("0::/system.slice/nginx.service\n", Some("/system.slice/nginx.service")),
    ("0::/docker/ID (deleted)\n", Some("/docker/ID")),
    ("0::/system.slice/containerd.service/kubepods-podPOD_.slice:cri-containerd:ID\n", Some("/system.slice/containerd.service/kubepods-podPOD_.slice:cri-containerd:ID")),
    // v1.
    ("4:memory:/kubepods/podPOD/ID\n1:name=systemd:/system.slice/docker.service\n", Some("/kubepods/podPOD/ID")),
    ("3:cpu,cpuacct:/\n2:memory:/\n1:name=systemd:/user.slice/user-1000.slice/session-1.scope\n", Some("/user.slice/user-1000.slice/session-1.scope")),
    ("3:cpuacct,cpu:/docker/ID\n1:name=systemd:/\n", Some("/docker/ID")),
    ("1:memory:/a:b:c\n", Some("/a:b:c")),
    // Hybrid: who names a container wins, else v2.
    ("4:memory:/docker/ID\n0::/system.slice/docker.service\n", Some("/docker/ID")),
    ("4:memory:/\n0::/system.slice/nginx.service\n", Some("/system.slice/nginx.service")),
    ("4:memory:/user.slice\n0::/user.slice/user-0.slice/session-1.scope\n", Some("/user.slice/user-0.slice/session-1.scope")),
    // Nothing that we know.
    ("", None),
    ("garbage\n::\n7\n", None),
];

#[test]
fn files_of_v1_hybrid_and_v2() {
    for (content, path) in FILES {
        let told = of_process(&text(content), &View::default()).map(|place| place.cgroup);
        assert_eq!(told, label(*path), "{content}");
    }
}

#[test]
fn a_long_path_is_cut_and_says_so_but_its_container_is_found() {
    let path = format!("/{}/docker-{ID}.scope", "a".repeat(PATH_MAX_BYTES));
    let place = place(&path, 0);
    assert!(place.cut);
    assert!(place.cgroup.as_str().len() <= PATH_MAX_BYTES);
    assert_eq!(place.container_id, label(Some("ID")));
}
