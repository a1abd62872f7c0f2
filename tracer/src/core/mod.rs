//! The pure core, in the order of the data's way: bytes of the kernel → record → joined end →
//! verdict and numbers → event. No I/O, no clock, no async.

pub mod assemble;
pub mod chain;
pub mod classify;
pub mod clean;
pub mod clusters;
pub mod community_id;
pub mod deaths;
pub mod decode;
pub mod explain;
pub mod facts;
pub mod filter;
pub mod give_up;
pub mod hints;
pub mod join;
pub mod names;
pub mod numbers;
pub mod pattern;
pub mod renames;
#[cfg(test)]
pub mod sample;
pub mod stall;
pub mod timeline;
pub mod timeouts;
