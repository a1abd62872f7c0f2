//! tracer: who hung up on this TCP connection, when and why.

pub mod core;
pub mod event;
pub mod kernel;
