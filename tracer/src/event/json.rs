//! JSON by hand: a record's line is encoded some fifty thousand times a second, in a fixed order
//! and from values that never fail to encode.

use std::sync::Arc;

use serde_json::{Value, json};

/// A value that knows its JSON and the schema of it.
pub trait Json {
    /// Appends the value.
    fn write(&self, out: &mut Vec<u8>);
    /// Its JSON Schema.
    fn schema() -> Value;

    /// Whether a line may lack the key.
    const OMITTABLE: bool = false;

    /// Whether this line lacks it.
    fn is_omitted(&self) -> bool {
        false
    }

    /// Whether it is written as `null`: a key and its null are written in one go.
    fn is_null(&self) -> bool {
        false
    }
}

macro_rules! integers {
    ($($ty:ty),*) => {$(
        impl Json for $ty {
            fn write(&self, out: &mut Vec<u8>) {
                integer(u64::from(*self), out);
            }

            fn schema() -> Value {
                json!({"type": "integer", "minimum": 0})
            }
        }
    )*};
}
integers!(u16, u32);

/// Up to [`MAX_INTEGER`], which has 16 digits.
#[inline]
fn integer(mut value: u64, out: &mut Vec<u8>) {
    // Most counts are 0.
    if value < 10 {
        out.push(b'0' + value as u8);
        return;
    }
    let (mut digits, mut length) = (0u128, 0);
    while value > 0 {
        digits = digits << 8 | u128::from(b'0' + (value % 10) as u8);
        value /= 10;
        length += 1;
    }
    first(&digits.to_le_bytes(), length, out);
}

/// Appends the first `length` bytes. To copy all of them, and to forget the others, takes less than to have the C library
/// copy as many as it is told.
#[inline]
pub fn first<const N: usize>(bytes: &[u8; N], length: usize, out: &mut Vec<u8>) {
    let end = out.len() + length.min(N);
    out.extend_from_slice(bytes);
    out.truncate(end);
}

/// A name in quotes, and its length with them.
pub type Quoted = ([u8; 32], usize);

pub const fn quoted(name: &str) -> Quoted {
    let mut text = [b'"'; 32];
    let mut at = 0;
    while at < name.len() {
        text[at + 1] = name.as_bytes()[at];
        at += 1;
    }
    (text, name.len() + 2)
}

/// JSON numbers are exact up to here.
pub const MAX_INTEGER: u64 = 1 << 53;

impl Json for u64 {
    /// What cannot be exact is the largest that is.
    fn write(&self, out: &mut Vec<u8>) {
        integer((*self).min(MAX_INTEGER), out);
    }

    fn schema() -> Value {
        json!({"type": "integer", "minimum": 0, "maximum": MAX_INTEGER})
    }
}

impl Json for i64 {
    fn write(&self, out: &mut Vec<u8>) {
        let mut digits = itoa::Buffer::new();
        out.extend_from_slice(digits.format(*self).as_bytes());
    }

    fn schema() -> Value {
        json!({"type": "integer"})
    }
}

impl Json for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if *self { b"true" } else { b"false" });
    }

    fn schema() -> Value {
        json!({"type": "boolean"})
    }
}

impl<T: Json> Json for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Some(value) => value.write(out),
            None => out.extend_from_slice(b"null"),
        }
    }

    fn schema() -> Value {
        let inner = T::schema();
        json!({"anyOf": [inner, {"type": "null"}]})
    }

    fn is_null(&self) -> bool {
        self.is_none()
    }
}

/// A value that few lines have: the key is left out of the others, which saves them its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IfKnown<T>(pub Option<T>);

impl<T> Default for IfKnown<T> {
    fn default() -> Self {
        IfKnown(None)
    }
}

impl<T> From<Option<T>> for IfKnown<T> {
    fn from(value: Option<T>) -> Self {
        IfKnown(value)
    }
}

impl<T: Json> Json for IfKnown<T> {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn schema() -> Value {
        T::schema()
    }

    const OMITTABLE: bool = true;

    fn is_omitted(&self) -> bool {
        self.0.is_none()
    }
}

impl Json for str {
    fn write(&self, out: &mut Vec<u8>) {
        string(self.as_bytes(), out);
    }

    fn schema() -> Value {
        json!({"type": "string"})
    }
}

impl Json for Arc<str> {
    fn write(&self, out: &mut Vec<u8>) {
        string(self.as_bytes(), out);
    }

    fn schema() -> Value {
        str::schema()
    }
}

/// Appends bytes from outside as a JSON string: invalid UTF-8 becomes U+FFFD, control characters
/// (C1 and DEL too, which terminals obey) are escaped.
pub fn string(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    if is_plain(bytes) {
        out.extend_from_slice(bytes);
    } else {
        for chunk in bytes.utf8_chunks() {
            chunk.valid().chars().for_each(|c| escaped(c, out));
            if !chunk.invalid().is_empty() {
                escaped(char::REPLACEMENT_CHARACTER, out);
            }
        }
    }
    out.push(b'"');
}

/// Whether it is written as it is. Looks at every byte, whatever came before: so many at a time.
fn is_plain(bytes: &[u8]) -> bool {
    let plain = |byte: u8| matches!(byte, 0x20..=0x7e) & (byte != b'"') & (byte != b'\\');
    bytes.iter().fold(true, |all, byte| all & plain(*byte))
}

fn escaped(c: char, out: &mut Vec<u8>) {
    match c {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        c if c.is_control() => {
            out.extend_from_slice(b"\\u00");
            hex(u64::from(c), 2, out);
        }
        c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Appends the low `digits` hex digits of `value`, 16 at most.
pub fn hex(value: u64, digits: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&hex16(value)[16 - digits as usize..]);
}

/// All hex digits.
pub fn hex16(value: u64) -> [u8; 16] {
    let mut text = [0; 16];
    for (two, byte) in text.chunks_exact_mut(2).zip(value.to_be_bytes()) {
        two.copy_from_slice(&HEX[usize::from(byte)]);
    }
    text
}

const HEX: [[u8; 2]; 256] = {
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        let digits = b"0123456789abcdef";
        table[byte] = [digits[byte >> 4], digits[byte & 0xf]];
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &(impl Json + ?Sized)) -> String {
        let mut out = Vec::new();
        value.write(&mut out);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    #[test]
    fn hostile_strings_survive_a_json_parser() {
        let hostile: &[&[u8]] = &[
            b"plain",
            b"quo\"te\\back",
            b"new\nline\ttab\x00nul",
            b"\x1b[2J\x1b]0;owned\x07",
            b"\xff\xfe invalid \xc3\x28",
            "caf\u{e9} \u{9b}31m \u{7f}".as_bytes(),
        ];
        for bytes in hostile {
            let mut out = Vec::new();
            string(bytes, &mut out);
            assert!(
                !out.iter().any(|byte| *byte < 0x20 || *byte == 0x7f),
                "raw control character in {out:?}"
            );
            let back: String = serde_json::from_slice(&out).expect("valid JSON");
            assert_eq!(back, String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn hex_digits_are_the_last_ones() {
        let mut out = Vec::new();
        hex(0x0123_4567_89ab_cdef, 16, &mut out);
        hex(0xfff1b, 2, &mut out);
        assert_eq!(out, b"0123456789abcdef1b");
    }

    #[test]
    fn integers_stay_exact_in_a_double() {
        assert_eq!(text(&u64::MAX), (1u64 << 53).to_string());
        assert_eq!(text(&Some(-5i64)), "-5");
        assert_eq!(text(&None::<u64>), "null");
    }
}
