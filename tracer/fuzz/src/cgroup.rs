//! /proc/PID/cgroup: a cgroup is named by whoever may make one. The first part, up to a NUL, is that of kthreadd, which
//! says where the hierarchies begin.

use tracer::{
    core::names::PATH_MAX_BYTES,
    enrich::cgroup::{View, of_process},
};

pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (root, content) = text.split_once('\0').unwrap_or(("", &text));
    let view = View::new(root.to_owned());
    for place in [of_process(content, &view), view.v2_place(content)] {
        let Some(place) = place else { continue };
        let path = place.cgroup.as_str();
        assert!(path.len() <= PATH_MAX_BYTES, "{place:?}");
        assert!(
            path.len() == PATH_MAX_BYTES || !place.cut || path.ends_with('…'),
            "{place:?}"
        );
        let id = place.container_id.as_ref().map(|id| id.as_str());
        if place
            .runtime
            .as_ref()
            .is_some_and(|runtime| runtime.as_str() != "lxc")
        {
            let digits =
                |id: &str| id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(id.is_some_and(digits), "{place:?}");
        }
        assert!(id.is_none() || place.unit.is_none(), "{place:?}");
        if let Some(uid) = &place.pod_uid {
            let is_of_uid = |byte: u8| byte == b'-' || byte.is_ascii_hexdigit();
            assert!(uid.as_str().bytes().all(is_of_uid), "{place:?}");
        }
    }
}
