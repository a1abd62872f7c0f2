//! The cgroup v2 hierarchy by id. A socket knows its cgroup also when its process is gone and in softirq; the id is
//! the inode number of the cgroup's folder.

use std::{
    fs,
    os::unix::fs::{DirEntryExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustc_hash::FxHashMap;

use super::cgroup;
use crate::core::names::Place;

/// Where the hierarchy is mounted: alone, or beside v1.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

/// Inode number of the hierarchy's root. A mount with another one shows a part, whose paths are not those of /proc.
const ROOT_ID: u64 = 1;

/// Cgroups that are remembered, also after their removal.
const KNOWN_MAX: usize = 16_384;

/// Folders that one walk visits: about 50 ms.
const WALK_MAX: usize = 4_096;

/// Between two walks.
const WALK_EVERY: Duration = Duration::from_secs(1);

/// Ids to places.
pub struct Tree {
    mount: Option<PathBuf>,
    known: FxHashMap<u64, Arc<Place>>,
    next_walk_ns: u64,
}

impl Tree {
    pub fn new() -> Self {
        let mount = MOUNTS.into_iter().map(PathBuf::from).find(|mount| {
            mount.join("cgroup.controllers").exists()
                && fs::metadata(mount).is_ok_and(|root| root.ino() == ROOT_ID)
        });
        let mut tree = Tree {
            mount,
            known: FxHashMap::default(),
            next_walk_ns: 0,
        };
        tree.add(ROOT_ID, "/");
        tree
    }

    /// The place of a cgroup. Looks for it if it is new, at most once a second.
    pub fn place(&mut self, id: u64, now_ns: u64) -> Option<Arc<Place>> {
        if id != 0 && !self.known.contains_key(&id) && now_ns >= self.next_walk_ns {
            self.walk();
            self.next_walk_ns = now_ns + WALK_EVERY.as_nanos() as u64;
        }
        self.known.get(&id).cloned()
    }

    /// Remembers the cgroup of a process that lives, for when it and its cgroup are gone. `path`: from the root.
    pub fn learn(&mut self, path: &str) {
        let Some(mount) = &self.mount else { return };
        let folder = mount.join(path.trim_start_matches('/'));
        if let Ok(folder) = fs::metadata(folder) {
            self.add(folder.ino(), path);
        }
    }

    fn add(&mut self, id: u64, path: &str) {
        if self.known.contains_key(&id) {
            return;
        }
        if self.known.len() >= KNOWN_MAX {
            // Most of them are gone; who is there is found again.
            self.known.clear();
        }
        self.known.insert(id, Arc::new(cgroup::place(path, 0)));
    }

    /// Breadth first: containers are not deep.
    fn walk(&mut self) {
        let Some(mount) = self.mount.clone() else {
            return;
        };
        let mut folders = std::collections::VecDeque::from([mount.clone()]);
        let mut left = WALK_MAX;
        while let Some(folder) = folders.pop_front() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                if left == 0 {
                    return;
                }
                left -= 1;
                self.add(entry.ino(), &below(&mount, &entry.path()));
                folders.push_back(entry.path());
            }
        }
    }
}

/// A folder as a path within the hierarchy.
fn below(mount: &Path, folder: &Path) -> String {
    let inside = folder.strip_prefix(mount).unwrap_or(folder);
    format!("/{}", inside.to_string_lossy())
}
