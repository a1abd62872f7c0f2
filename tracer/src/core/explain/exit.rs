//! Clauses about the process that ended a connection by ending itself.

use super::Span;
use crate::event::{End, Ids, values::Pattern};

/// SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS: what a process did wrong.
const CRASHES: [u8; 6] = [4, 6, 7, 8, 11, 31];

/// ` when it was killed by SIGKILL, which gunicorn[70] had sent it`; empty if it did not exit.
pub fn clause(ids: &Ids, end: &End) -> String {
    if end.pattern != Some(Pattern::ProcessExit) {
        return String::new();
    }
    if end.oom_killed.0 == Some(true) {
        return " when the kernel killed it for want of memory".to_owned();
    }
    let by = match (&end.killer_comm.0, end.killer_pid.0) {
        (Some(comm), Some(pid)) => Some(format!("{comm}[{pid}]")),
        _ => None,
    };
    if let Some(signal) = end.exit_signal.0 {
        let itself = end.killer_pid.0.is_some() && end.killer_pid.0 == ids.pid;
        return match (by, end.killer_signal.0) {
            (Some(_), _) if itself => format!(" when it ended itself with {signal}"),
            (Some(by), _) => format!(" when it was killed by {signal}, which {by} had sent it"),
            (None, Some(_)) if CRASHES.contains(&signal.0) => {
                format!(" when it crashed with {signal}")
            }
            (None, Some(_)) => format!(" when the kernel ended it with {signal}"),
            (None, None) => format!(" when it was killed by {signal}"),
        };
    }
    let exited = match end.exit_status.0 {
        None => String::new(),
        Some(0) => " when it exited,".to_owned(),
        Some(status) => format!(" when it exited with status {status},"),
    };
    match (end.killer_signal.0, end.killer_signal_ms.0) {
        (Some(signal), Some(ms)) => {
            let by = by.unwrap_or_else(|| "the kernel".to_owned());
            format!("{exited} {} after {by} had sent it {signal}", Span(ms))
        }
        _ => exited.trim_end_matches(',').to_owned(),
    }
}
