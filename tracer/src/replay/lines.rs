//! Lines out of a stream of bytes, in place, with a limit to their length.

use std::{
    io::{self, ErrorKind, Read},
    ops::Range,
};

/// Longest line: sixteen times what tracer writes.
pub const MAX_LINE_BYTES: usize = 64 << 10;

/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;

/// A line of the buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// Without its newline.
    Whole(Range<usize>),
    TooLong,
}

/// What has been read and not been taken.
pub struct Lines {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// No newline is between `start` and here.
    searched: usize,
    /// Bytes that were read.
    read_bytes: u64,
    /// Within a line that is too long.
    overflowing: bool,
}

impl Default for Lines {
    fn default() -> Self {
        Lines {
            buffer: vec![0; CHUNK + MAX_LINE_BYTES],
            start: 0,
            end: 0,
            searched: 0,
            read_bytes: 0,
            overflowing: false,
        }
    }
}

impl Lines {
    /// The next line that is complete.
    pub fn take(&mut self) -> Option<Line> {
        let found = memchr::memchr(b'\n', &self.buffer[self.searched..self.end]);
        let Some(length) = found else {
            self.searched = self.end;
            if self.end - self.start > MAX_LINE_BYTES {
                self.overflowing = true;
                self.start = self.end;
            }
            return None;
        };
        let newline = self.searched + length;
        let line = self.start..newline;
        self.start = newline + 1;
        self.searched = self.start;
        Some(self.judged(line))
    }

    /// What came without its newline so far; it stays.
    pub fn rest(&self) -> Range<usize> {
        self.start..self.end
    }

    /// What is left at the end of the stream, which has no newline.
    pub fn take_rest(&mut self) -> Option<Line> {
        let rest = self.start..self.end;
        self.start = self.end;
        self.searched = self.end;
        (!rest.is_empty() || self.overflowing).then(|| self.judged(rest))
    }

    fn judged(&mut self, line: Range<usize>) -> Line {
        if std::mem::take(&mut self.overflowing) || line.len() > MAX_LINE_BYTES {
            Line::TooLong
        } else {
            Line::Whole(line)
        }
    }

    /// The bytes of a line; they stay until more is read.
    pub fn bytes(&self, line: &Range<usize>) -> &[u8] {
        &self.buffer[line.clone()]
    }

    /// Bytes of the stream that were read.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Bytes of the stream that were taken.
    pub fn taken_bytes(&self) -> u64 {
        self.read_bytes - (self.end - self.start) as u64
    }

    /// Reads more; false at the end of the stream.
    pub fn fill(&mut self, input: &mut impl Read) -> io::Result<bool> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.searched -= self.start;
        self.start = 0;
        loop {
            match input.read(&mut self.buffer[self.end..]) {
                Ok(count) => {
                    self.end += count;
                    self.read_bytes += count as u64;
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in pieces of this size.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            let (now, later) = self.0.split_at(count);
            buffer[..count].copy_from_slice(now);
            self.0 = later;
            Ok(count)
        }
    }

    /// Every line; `None` for one that is too long.
    fn all(bytes: &[u8], piece: usize) -> Vec<Option<String>> {
        let mut lines = Lines::default();
        let mut input = Pieces(bytes, piece);
        let mut found = Vec::new();
        loop {
            let more = lines.fill(&mut input).expect("no error");
            while let Some(line) = lines.take().or_else(|| (!more).then(|| lines.take_rest())?) {
                found.push(match line {
                    Line::Whole(range) => {
                        Some(String::from_utf8_lossy(lines.bytes(&range)).into_owned())
                    }
                    Line::TooLong => None,
                });
            }
            if !more {
                return found;
            }
        }
    }

    #[test]
    fn lines_come_whole_however_they_arrive() {
        for piece in [1, 2, 3, 7, 1 << 20] {
            let lines = all(b"one\n\ntwo\r\nrest", piece);
            let text: Vec<_> = lines.iter().flatten().map(String::as_str).collect();
            assert_eq!(text, ["one", "", "two\r", "rest"], "{piece}");
        }
        assert!(all(b"", 1).is_empty());
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_and_the_next_is_whole() {
        for long in [MAX_LINE_BYTES, MAX_LINE_BYTES + 1, 3 * CHUNK] {
            let bytes = [vec![b'x'; long], b"\nnext\n".to_vec()].concat();
            for piece in [1_000, 1 << 20] {
                let lines = all(&bytes, piece);
                assert_eq!(lines.len(), 2, "{long} {piece}");
                assert_eq!(lines[0].is_none(), long > MAX_LINE_BYTES, "{long} {piece}");
                assert_eq!(lines[1].as_deref(), Some("next"));
            }
        }
    }
}
