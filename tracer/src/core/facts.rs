//! What is worked out of an end before it is put into keys.

use super::{
    classify::Verdict,
    numbers::{Bytes, Idle},
    stall::Silent,
};

/// What was worked out of an end.
pub struct Facts {
    pub verdict: Verdict,
    pub connect_failed: bool,
    pub end_age_ms: Option<u64>,
    pub age_ms: Option<u64>,
    pub half_close_ms: Option<u64>,
    /// `None`: before tracing began.
    pub first_end_ns: Option<u64>,
    pub idle: Idle,
    pub bytes: Bytes,
    /// The peer had fallen silent, and a walk over the connections had seen it.
    pub silent: Option<Silent>,
    /// The process that ended it, at whichever end, had just been told to abort.
    pub aborts: bool,
}
