//! Clauses about the process that ended a connection by ending itself.

use super::Span;
use crate::event::{End, values::Pattern};

/// ` when it was killed by SIGKILL, which gunicorn[70] had sent it`; empty if it did not exit.
pub fn clause(end: &End) -> String {
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
        return match (by, end.killer_signal.0) {
            (Some(by), _) => format!(" when it was killed by {signal}, which {by} had sent it"),
            (None, Some(_)) => format!(" when the kernel ended it with {signal}"),
            (None, None) => format!(" when it was killed by {signal}"),
        };
    }
    let status = match end.exit_status.0 {
        Some(0) | None => String::new(),
        Some(status) => format!(" with status {status}"),
    };
    match (end.killer_signal.0, end.killer_signal_ms.0) {
        (Some(signal), Some(ms)) => {
            let by = by.unwrap_or_else(|| "the kernel".to_owned());
            format!(
                " when it exited{status}, {} after {by} had sent it {signal}",
                Span(ms)
            )
        }
        _ => format!(" when it exited{status}"),
    }
}
