//! Ring buffer bytes to records. Total: whatever the bytes are, the answer is a record or an error.

use tracer_common::record::{Destroyed, Head, Record, Renamed, Signalled, Stall, kind};
use zerocopy::FromBytes;

/// What the kernel side told.
#[derive(Clone, Copy, Debug)]
pub enum Told {
    /// [`kind::CLOSE`], a RST or a failed call.
    Record(Record),
    /// [`kind::DESTROYED`].
    Destroyed(Destroyed),
    /// [`kind::RENAMED`].
    Renamed(Renamed),
    /// [`kind::SIGNALLED`].
    Signalled(Signalled),
    /// [`kind::STALL`].
    Stall(Stall),
}

impl Told {
    /// When, CLOCK_MONOTONIC.
    pub fn ts_ns(&self) -> u64 {
        match self {
            Told::Record(record) => record.head.ts_ns,
            Told::Destroyed(body) => body.head.ts_ns,
            Told::Renamed(body) => body.head.ts_ns,
            Told::Signalled(body) => body.head.ts_ns,
            Told::Stall(body) => body.head.ts_ns,
        }
    }
}

/// Bytes that are no record: the two sides were not built together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    pub bytes: usize,
    /// The kind they claim to be, if they are long enough to claim one.
    pub kind: Option<u32>,
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            Some(kind) => write!(f, "a record of kind {kind} with {} bytes", self.bytes),
            None => write!(f, "a record of only {} bytes", self.bytes),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Reads one ring buffer entry.
#[inline]
pub fn decode(bytes: &[u8]) -> Result<Told, DecodeError> {
    let head = Head::read_from_prefix(bytes).map_err(|_| DecodeError {
        bytes: bytes.len(),
        kind: None,
    })?;
    let kind = head.0.kind;
    let error = DecodeError {
        bytes: bytes.len(),
        kind: Some(kind),
    };
    match kind {
        kind::CLOSE | kind::RST_SENT | kind::RST_RECEIVED | kind::SEND_ERROR | kind::RECV_ERROR => {
            Record::read_from_bytes(bytes)
                .map(Told::Record)
                .map_err(|_| error)
        }
        kind::DESTROYED => Destroyed::read_from_bytes(bytes)
            .map(Told::Destroyed)
            .map_err(|_| error),
        kind::RENAMED => Renamed::read_from_bytes(bytes)
            .map(Told::Renamed)
            .map_err(|_| error),
        kind::SIGNALLED => Signalled::read_from_bytes(bytes)
            .map(Told::Signalled)
            .map_err(|_| error),
        kind::STALL => Stall::read_from_bytes(bytes)
            .map(Told::Stall)
            .map_err(|_| error),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_and_kind_has_an_answer() {
        for kind in 0..16u32 {
            // An interpreter has no time for lengths that are none of a record.
            for length in (0..1024).step_by(if cfg!(miri) { 8 } else { 1 }) {
                let mut bytes = vec![0xa5; length];
                if length >= 32 {
                    bytes[24..28].copy_from_slice(&kind.to_ne_bytes());
                }
                let answer = decode(&bytes);
                let is_record = (1..=5).contains(&kind) && length == size_of::<Record>();
                let is_destroyed = kind == 6 && length == size_of::<Destroyed>();
                let is_renamed = kind == 7 && length == size_of::<Renamed>();
                let is_signalled = kind == 8 && length == size_of::<Signalled>();
                let is_stall = kind == 9 && length == size_of::<Stall>();
                let expected = is_record || is_destroyed || is_renamed || is_signalled || is_stall;
                assert_eq!(answer.is_ok(), expected, "{kind} {length}");
            }
        }
    }
}
