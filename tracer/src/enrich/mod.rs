//! Names that records do not carry: a process's executable, and the container, pod or unit that it runs in.

pub mod cgroup;
mod containers;
pub mod process;
pub mod procfs;
mod tree;
