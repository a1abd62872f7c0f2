//! Strings and addresses from outside.

use std::{fmt, net::IpAddr, sync::Arc};

use serde_json::{Value, json};

use super::json::{self, Json};

/// A `comm`: up to 15 bytes that a process chose for itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Comm(pub [u8; 16]);

impl Comm {
    /// Up to the first NUL.
    pub fn bytes(&self) -> &[u8] {
        let end = self.0.iter().position(|byte| *byte == 0);
        &self.0[..end.unwrap_or(self.0.len())]
    }

    /// As the events show it.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self.bytes())
    }
}

impl fmt::Debug for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text(), f)
    }
}

impl fmt::Display for Comm {
    /// Control characters made visible.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        visible(&self.text(), f)
    }
}

impl Json for Comm {
    fn write(&self, out: &mut Vec<u8>) {
        json::string(self.bytes(), out);
    }

    fn schema() -> Value {
        str::schema()
    }
}

/// A shared string.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Label(pub Arc<str>);

impl Label {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Shortens to at most `limit` bytes, marked by an ellipsis within them where there is room.
    pub fn cut(&mut self, limit: usize) {
        const MARK: &str = "…";
        if self.0.len() <= limit {
            return;
        }
        let mark = if limit >= MARK.len() { MARK } else { "" };
        let mut end = limit - mark.len();
        while !self.0.is_char_boundary(end) {
            end -= 1;
        }
        self.0 = format!("{}{mark}", &self.0[..end]).into();
    }
}

impl From<&str> for Label {
    fn from(text: &str) -> Self {
        Label(text.into())
    }
}

impl From<String> for Label {
    fn from(text: String) -> Self {
        Label(text.into())
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for Label {
    /// Control characters made visible.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        visible(&self.0, f)
    }
}

impl Json for Label {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn schema() -> Value {
        str::schema()
    }
}

/// Writes text for a terminal: control characters in caret notation, so that no name can move the
/// cursor or colour the screen, and bidirectional overrides, which could turn a line round, as
/// U+FFFD.
pub fn visible(text: &str, f: &mut impl fmt::Write) -> fmt::Result {
    for c in text.chars() {
        match c {
            '\0'..='\x1f' => {
                f.write_char('^')?;
                f.write_char((c as u8 ^ 0x40) as char)?;
            }
            '\x7f' => f.write_str("^?")?,
            c if c.is_control() => write!(f, "<{:02x}>", u32::from(c))?,
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                f.write_char(char::REPLACEMENT_CHARACTER)?;
            }
            c => f.write_char(c)?,
        }
    }
    Ok(())
}

/// An address, v4-mapped v6 as v4, in RFC 5952 text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Addr(pub IpAddr);

impl Addr {
    /// From sixteen bytes in network order.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Addr(IpAddr::from(bytes).to_canonical())
    }

    /// `addr:port`, v6 in brackets.
    pub fn with_port(self, port: u16) -> impl fmt::Display {
        std::net::SocketAddr::new(self.0, port)
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Json for Addr {
    fn write(&self, out: &mut Vec<u8>) {
        use std::io::Write;
        out.push(b'"');
        match self.0 {
            IpAddr::V4(addr) => {
                for (index, octet) in addr.octets().into_iter().enumerate() {
                    if index > 0 {
                        out.push(b'.');
                    }
                    u16::from(octet).write(out);
                }
            }
            // Writing to a Vec cannot fail.
            IpAddr::V6(addr) => drop(write!(out, "{addr}")),
        }
        out.push(b'"');
    }

    fn schema() -> Value {
        json!({"anyOf": [
            {"type": "string", "format": "ipv4"},
            {"type": "string", "format": "ipv6"},
        ]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_command_a_terminal() {
        let mut comm = [0; 16];
        comm[..12].copy_from_slice(b"\x1b[31mred\nx\x7f\xff");
        assert_eq!(Comm(comm).to_string(), "^[[31mred^Jx^?\u{fffd}");
        assert_eq!(
            Label::from("a\u{202e}b\u{9b}c").to_string(),
            "a\u{fffd}b<9b>c"
        );
    }

    #[test]
    fn a_cut_label_ends_at_a_character() {
        let mut label = Label::from("ééééé");
        label.cut(8);
        assert_eq!(label.as_str(), "éé…");
        label.cut(2);
        assert_eq!(label.as_str(), "é");
        label.cut(1);
        assert_eq!(label.as_str(), "");
    }

    #[test]
    fn mapped_addresses_are_v4() {
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1];
        let mut out = Vec::new();
        Addr::from_bytes(mapped).write(&mut out);
        assert_eq!(out, b"\"10.0.0.1\"");
        out.clear();
        let v6 = Addr("2001:db8:0:0:1:0:0:1".parse().expect("an address"));
        v6.write(&mut out);
        assert_eq!(out, b"\"2001:db8::1:0:0:1\"");
    }
}
