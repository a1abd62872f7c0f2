//! The events that can still be looked at: a bounded number, of which clean closes are dropped
//! first, oldest first; then the oldest of the others.

use std::collections::VecDeque;

use crate::{core::clean::clean, event::Event};

/// Counts up with every event, so that it also orders them.
pub type Id = u64;

#[derive(Debug)]
pub struct Entry {
    pub id: Id,
    pub event: Event,
}

#[derive(Debug)]
pub struct History {
    limit: usize,
    next: Id,
    clean: VecDeque<Entry>,
    other: VecDeque<Entry>,
    /// Events that were dropped.
    pub dropped: u64,
}

impl History {
    pub fn new(limit: usize) -> Self {
        History {
            limit: limit.max(1),
            next: 1,
            clean: VecDeque::new(),
            other: VecDeque::new(),
            dropped: 0,
        }
    }

    pub fn push(&mut self, event: Event) {
        let entry = Entry {
            id: self.next,
            event,
        };
        self.next += 1;
        if clean(&entry.event) {
            self.clean.push_back(entry);
        } else {
            self.other.push_back(entry);
        }
        if self.len() > self.limit {
            self.dropped += 1;
            if self.clean.pop_front().is_none() {
                self.other.pop_front();
            }
        }
    }

    pub fn len(&self) -> usize {
        self.clean.len() + self.other.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The newest one's, 0 before there is one.
    pub fn newest(&self) -> Id {
        self.next - 1
    }

    /// Newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        let mut clean = self.clean.iter().rev().peekable();
        let mut other = self.other.iter().rev().peekable();
        std::iter::from_fn(move || match (clean.peek(), other.peek()) {
            (Some(a), Some(b)) if a.id > b.id => clean.next(),
            (_, Some(_)) => other.next(),
            (_, None) => clean.next(),
        })
    }

    pub fn get(&self, id: Id) -> Option<&Entry> {
        [&self.clean, &self.other].into_iter().find_map(|entries| {
            let index = entries.binary_search_by_key(&id, |entry| entry.id).ok()?;
            entries.get(index)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::sample;

    #[test]
    fn clean_closes_go_first_and_the_order_stays() {
        let mut history = History::new(4);
        let faulty = || sample::reset(sample::ids());
        let clean = || sample::close(sample::ids(), sample::end());
        for event in [clean(), faulty(), clean(), faulty(), faulty(), clean()] {
            history.push(event);
        }
        let ids = |history: &History| history.iter().map(|entry| entry.id).collect::<Vec<_>>();
        assert_eq!(ids(&history), [6, 5, 4, 2]);
        history.push(faulty());
        history.push(faulty());
        assert_eq!(ids(&history), [8, 7, 5, 4]);
        assert_eq!(history.dropped, 4);
        assert!(history.get(5).is_some_and(|entry| entry.id == 5));
        assert!(history.get(2).is_none());
    }
}
