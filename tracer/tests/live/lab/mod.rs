//! The laboratory: hosts and links (`netns`, `link`), processes that hold sockets (`agent`), real servers and
//! clients (`program`), the tracer under test (`tracer`), what its lines must look like (`schema`) and what they must say (`expect`).

pub mod agent;
pub mod blind_spot;
pub mod debs;
pub mod dist;
pub mod docker;
pub mod expect;
pub mod folder;
pub mod kernel;
pub mod kernel_log;
pub mod link;
pub mod memory;
pub mod needs;
pub mod netns;
pub mod program;
pub mod schema;
pub mod systemd;
pub mod tracefs;
pub mod tracer;
pub mod turn;
pub mod unit;

/// What a panic said.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without words".to_owned())
}
