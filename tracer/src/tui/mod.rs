//! The live view: one model, messages, a pure update, and views without I/O or clock. Only
//! `session`, `terminal` and `log` touch the world.

pub mod columns;
pub mod history;
pub mod keymap;
pub mod layout;
pub mod log;
pub mod model;
pub mod playback;
pub mod query;
pub mod session;
pub mod stalls;
mod terminal;
pub mod totals;
pub mod update;
pub mod view;

#[cfg(test)]
mod tests;
