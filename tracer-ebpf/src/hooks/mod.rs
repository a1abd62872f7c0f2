//! One file per hook family.

mod accept;
mod accept_calls;
mod destroy;
mod error_report;
mod io;
mod io_calls;
mod oom;
mod rename;
mod reset;
mod reset_calls;
mod scan;
mod set_state;
mod signal;
mod stall;
