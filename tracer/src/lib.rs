//! tracer: who hung up on this TCP connection, when and why.

pub mod cli;
pub mod core;
pub mod demo;
pub mod doctor;
pub mod enrich;
pub mod event;
pub mod kernel;
pub mod log;
pub mod metrics;
pub mod panics;
pub mod pipeline;
pub mod replay;
pub mod run;
pub mod service;
pub mod sink;
pub mod tui;
