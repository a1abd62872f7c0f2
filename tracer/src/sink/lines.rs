//! Whole lines on their way out, and what each of them is: what cannot be written is counted by kind.

use super::Format;
use crate::event::{
    Body, Event, Lost,
    values::{Counts, Kind, Reason},
};

#[derive(Default)]
pub struct Lines {
    bytes: Vec<u8>,
    marks: Vec<Mark>,
}

/// An event's place in the bytes.
struct Mark {
    end: usize,
    kind: Kind,
    reason: Option<Reason>,
    /// What a `lost` line says.
    lost: Option<Box<Lost>>,
}

/// What was not written.
#[derive(Debug, Default)]
pub struct Unwritten {
    /// Events by kind, `lost` lines apart.
    pub kinds: Counts,
    /// Ends among them, by reason.
    pub reasons: Counts,
    /// What `lost` lines were to say.
    pub unsaid: Vec<Lost>,
}

impl Lines {
    pub fn push(&mut self, format: Format, event: &Event) {
        format.write(event, &mut self.bytes);
        let (reason, lost) = match &event.body {
            Body::End { end, .. } => (Some(end.reason), None),
            Body::Lost(lost) => (None, Some(Box::new(lost.clone()))),
            _ => (None, None),
        };
        self.marks.push(Mark {
            end: self.bytes.len(),
            kind: event.head.event,
            reason,
            lost,
        });
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes what there is, and keeps some room for as much again. What is taken may have to wait for its reader:
    /// it has no more room than it needs.
    pub fn take(&mut self) -> Lines {
        let room = Lines {
            bytes: Vec::with_capacity(self.bytes.len().min(1 << 20)),
            marks: Vec::with_capacity(self.marks.len().min(1 << 10)),
        };
        let mut taken = std::mem::replace(self, room);
        taken.bytes.shrink_to_fit();
        taken.marks.shrink_to_fit();
        taken
    }

    /// Where the events end that begin at `start` and have at most `limit` bytes together; at least
    /// one event's end. `None`: there is no more.
    pub fn piece(&self, start: usize, limit: usize) -> Option<usize> {
        let first = self.marks.partition_point(|mark| mark.end <= start);
        let rest = &self.marks[first..];
        let fit = rest.partition_point(|mark| mark.end - start <= limit);
        Some(rest.get(fit.max(1) - 1)?.end)
    }

    /// The end of the last whole event within the first `written` bytes.
    pub fn whole(&self, written: usize) -> usize {
        let count = self.marks.partition_point(|mark| mark.end <= written);
        count.checked_sub(1).map_or(0, |last| self.marks[last].end)
    }

    /// Counts the events that end after the first `written` bytes.
    pub fn unwritten(&self, written: usize, unwritten: &mut Unwritten) {
        let first = self.marks.partition_point(|mark| mark.end <= written);
        for mark in &self.marks[first..] {
            match &mark.lost {
                Some(lost) => unwritten.unsaid.push((**lost).clone()),
                None => unwritten.kinds.add(mark.kind.as_str(), 1),
            }
            if let Some(reason) = mark.reason {
                unwritten.reasons.add(reason.as_str(), 1);
            }
        }
    }
}

impl Unwritten {
    pub fn count(&self) -> u64 {
        self.kinds.total() + self.unsaid.len() as u64
    }

    pub fn add(&mut self, other: Unwritten) {
        self.kinds.merge(&other.kinds);
        self.reasons.merge(&other.reasons);
        self.unsaid.extend(other.unsaid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::values::Where;

    /// Three events of 10, 20 and 30 bytes.
    fn lines() -> Lines {
        let mark = |end, kind, lost: Option<Lost>| Mark {
            end,
            kind,
            reason: (kind == Kind::TcpClose).then_some(Reason::FinPeer),
            lost: lost.map(Box::new),
        };
        let mut kinds = Counts::default();
        kinds.add("tcp_close", 7);
        let lost = Lost {
            count: 7,
            r#where: Where::Ring,
            kinds,
        };
        Lines {
            bytes: vec![b'x'; 60],
            marks: vec![
                mark(10, Kind::TcpClose, None),
                mark(30, Kind::Lost, Some(lost)),
                mark(60, Kind::TcpReset, None),
            ],
        }
    }

    #[test]
    fn pieces_end_where_events_end() {
        let lines = lines();
        assert_eq!(lines.piece(0, 9), Some(10), "one at least");
        assert_eq!(lines.piece(0, 29), Some(10));
        assert_eq!(lines.piece(0, 30), Some(30));
        assert_eq!(lines.piece(10, 30), Some(30));
        assert_eq!(lines.piece(10, 1_000), Some(60));
        assert_eq!(lines.piece(60, 1_000), None);
        assert_eq!(Lines::default().piece(0, 1), None);
    }

    #[test]
    fn what_is_not_whole_is_counted_and_what_it_would_have_said_is_kept() {
        let lines = lines();
        for (written, whole, count, unsaid) in
            [(0, 0, 3, 1), (29, 10, 2, 1), (30, 30, 1, 0), (60, 60, 0, 0)]
        {
            assert_eq!(lines.whole(written), whole, "{written}");
            let mut unwritten = Unwritten::default();
            lines.unwritten(written, &mut unwritten);
            assert_eq!(unwritten.count(), count, "{written}");
            assert_eq!(unwritten.unsaid.len(), unsaid, "{written}");
            assert_eq!(unwritten.reasons.total(), u64::from(written < 10));
        }
    }
}
