//! The pure core: no I/O, no clock, no async.

pub mod names;
