//! The edge to the kernel: what it is, what it has, and the programs that are loaded into it.

pub mod attach;
pub mod btf;
pub mod clock;
mod confine;
pub mod facts;
pub mod hooks;
pub mod layout;
pub mod losses;
pub mod memory;
mod open_files;
pub mod pipe;
pub mod priority;
pub mod privilege;
mod scan;
pub mod surroundings;
mod tracefs;
mod walk;
