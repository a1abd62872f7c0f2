//! Metrics for `--metrics-listen`: what was told, counted by closed lists of names, and the tracer's own
//! numbers, served as OpenMetrics or as Prometheus text. Counting is plain arithmetic on the thread that reads
//! the ring buffer; another thread asks it for a copy now and then, and does all the rest.

pub mod families;
pub mod histogram;
pub mod page;
pub mod process;
pub mod request;
pub mod server;
pub mod snapshot;
pub mod tally;
pub mod text;
pub mod workload;
