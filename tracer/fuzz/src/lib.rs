//! What tracer reads from outside, one module each: `run` takes any bytes, and must neither panic nor answer wrongly.
//! libFuzzer calls it in `fuzz_targets/`, and `tests/hostile.rs` of tracer for a moment in every run of the tests.

pub mod btf;
pub mod cgroup;
pub mod config;
pub mod decode;
pub mod filter;
pub mod replay;
