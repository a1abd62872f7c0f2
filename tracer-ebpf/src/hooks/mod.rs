//! One file per hook family.

mod accept;
mod destroy;
mod error_report;
mod io;
mod rename;
mod reset;
mod scan;
mod set_state;
mod signal;
mod stall;
