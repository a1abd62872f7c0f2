//! JSON back into values: a cursor over one line, and what each type makes of it. Nothing here
//! panics or recurses without bound, whatever the line holds.

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use super::{
    json::IfKnown,
    names,
    text::{Addr, Comm, Label},
    time::Timestamp,
    values::{
        Cluster, CommunityId, ConnId, Counts, Errno, Hex16, HookState, List, Moment, Pattern,
        Signal, State, What,
    },
};

/// Deepest nesting of a value that is passed over.
const DEPTH: usize = 32;

/// A value that can be read from its JSON.
pub trait Read: Sized {
    /// Reads one value; `None` if it is not of this type, or not JSON.
    fn read(from: &mut Cursor<'_>) -> Option<Self>;

    /// What it is in a line without the key, which an earlier tracer wrote; `None` if the line
    /// means nothing without it.
    fn absent() -> Option<Self> {
        None
    }

    /// Whether most lines lack the key.
    const OMITTABLE: bool = false;
}

/// A place in a line.
#[derive(Clone, Copy)]
pub struct Cursor<'a> {
    text: &'a str,
    pub at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Self {
        Cursor { text, at: 0 }
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// Passes `word` if it is next.
    pub fn pass(&mut self, word: &str) -> bool {
        let next = self.rest().starts_with(word.as_bytes());
        if next {
            self.at += word.len();
        }
        next
    }

    pub fn space(&mut self) {
        while let [b' ' | b'\t' | b'\r' | b'\n', ..] = self.rest() {
            self.at += 1;
        }
    }

    /// The next byte that is no space, not passed.
    pub fn peek(&mut self) -> Option<u8> {
        self.space();
        self.rest().first().copied()
    }

    /// Passes this byte, after space.
    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Whether only space is left.
    pub fn at_end(&mut self) -> bool {
        self.peek().is_none()
    }

    /// A string, its escapes resolved.
    pub fn string(&mut self) -> Option<Cow<'a, str>> {
        self.expect(b'"')?;
        let rest = self.rest();
        let plain = plain_bytes(rest);
        let start = self.at;
        if *rest.get(plain)? == b'"' {
            self.at += plain + 1;
            return self.text.get(start..start + plain).map(Cow::Borrowed);
        }
        let mut text = String::new();
        loop {
            let rest = self.rest();
            let plain = plain_bytes(rest);
            text.push_str(self.text.get(self.at..self.at + plain)?);
            self.at += plain + 1;
            match *rest.get(plain)? {
                b'"' => return Some(Cow::Owned(text)),
                b'\\' => text.push(self.escape()?),
                _ => return None,
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Option<char> {
        let byte = *self.rest().first()?;
        self.at += 1;
        Some(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\x08',
            b'f' => '\x0c',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.code_unit()?;
                if !(0xd800..0xe000).contains(&unit) {
                    return char::from_u32(unit);
                }
                // Half of a character, or what is none at all.
                let mut ahead = *self;
                let low = ahead.pass("\\u").then(|| ahead.code_unit()).flatten();
                match low {
                    Some(low) if unit < 0xdc00 && (0xdc00..0xe000).contains(&low) => {
                        *self = ahead;
                        char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00))?
                    }
                    _ => char::REPLACEMENT_CHARACTER,
                }
            }
            _ => return None,
        })
    }

    fn code_unit(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).ok()
    }

    /// An integer without a sign.
    fn integer(&mut self) -> Option<u64> {
        self.space();
        let rest = self.rest();
        let mut value = 0u64;
        let mut digits = 0;
        while let Some(digit @ b'0'..=b'9') = rest.get(digits) {
            value = value
                .checked_mul(10)?
                .checked_add(u64::from(digit - b'0'))?;
            digits += 1;
        }
        let leading_zero = digits > 1 && rest.first() == Some(&b'0');
        let fraction = matches!(rest.get(digits), Some(b'.' | b'e' | b'E'));
        if digits == 0 || leading_zero || fraction {
            return None;
        }
        self.at += digits;
        Some(value)
    }

    /// An array, item by item.
    pub fn array(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.expect(b'[')?;
        if self.peek()? == b']' {
            self.at += 1;
            return Some(());
        }
        loop {
            item(self)?;
            match self.peek()? {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    /// An object, value by value; `value` has to pass it.
    pub fn object(
        &mut self,
        mut value: impl FnMut(Cow<'a, str>, &mut Self) -> Option<()>,
    ) -> Option<()> {
        self.expect(b'{')?;
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            let key = self.string()?;
            self.expect(b':')?;
            value(key, self)?;
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    /// Passes any value.
    pub fn skip(&mut self) -> Option<()> {
        self.skip_within(DEPTH)
    }

    fn skip_within(&mut self, depth: usize) -> Option<()> {
        let deeper = depth.checked_sub(1)?;
        match self.peek()? {
            b'"' => self.string().map(drop),
            b'[' => self.array(|item| item.skip_within(deeper)),
            b'{' => self.object(|_, value| value.skip_within(deeper)),
            b't' => self.pass("true").then_some(()),
            b'f' => self.pass("false").then_some(()),
            b'n' => self.pass("null").then_some(()),
            _ => {
                let number =
                    |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                let length = self.rest().iter().take_while(|byte| number(byte)).count();
                let text = self.text.get(self.at..self.at + length)?;
                text.parse::<f64>().ok()?;
                self.at += length;
                Some(())
            }
        }
    }
}

/// Bytes before the end of the string, an escape, or what may not stand in a string.
fn plain_bytes(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .position(|byte| matches!(byte, b'"' | b'\\' | ..0x20))
        .unwrap_or(bytes.len())
}

impl Read for u64 {
    fn read(from: &mut Cursor<'_>) -> Option<Self> {
        from.integer()
    }
}

macro_rules! integers {
    ($($ty:ty),*) => {$(
        impl Read for $ty {
            fn read(from: &mut Cursor<'_>) -> Option<Self> {
                from.integer()?.try_into().ok()
            }
        }
    )*};
}
integers!(u16, u32);

impl Read for i64 {
    fn read(from: &mut Cursor<'_>) -> Option<Self> {
        from.space();
        let negative = from.pass("-");
        let value = i64::try_from(from.integer()?).ok()?;
        Some(if negative { -value } else { value })
    }
}

impl Read for bool {
    fn read(from: &mut Cursor<'_>) -> Option<Self> {
        from.space();
        if from.pass("true") {
            return Some(true);
        }
        from.pass("false").then_some(false)
    }

    fn absent() -> Option<Self> {
        Some(false)
    }
}

impl<T: Read> Read for Option<T> {
    fn read(from: &mut Cursor<'_>) -> Option<Self> {
        from.space();
        if from.pass("null") {
            return Some(None);
        }
        T::read(from).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Read> Read for IfKnown<T> {
    fn read(from: &mut Cursor<'_>) -> Option<Self> {
        Option::read(from).map(IfKnown)
    }

    fn absent() -> Option<Self> {
        Some(IfKnown(None))
    }

    const OMITTABLE: bool = true;
}

impl<T: Read> Read for List<T> {
    fn read(from: &mut Cursor<'_>) -> Option<Self> {
        let mut items = Vec::new();
        from.array(|item| {
            items.push(T::read(item)?);
            Some(())
        })?;
        Some(List(items))
    }

    fn absent() -> Option<Self> {
        Some(List(Vec::new()))
    }
}

impl Read for Label {
    fn read(from: &mut Cursor<'_>) -> Option<Self> {
        Some(Label(Arc::from(&*from.string()?)))
    }
}

impl Read for Comm {
    /// What was written as U+FFFD becomes a byte that is written so again.
    fn read(from: &mut Cursor<'_>) -> Option<Self> {
        let text = from.string()?;
        let mut bytes = [0; 16];
        let mut length = 0;
        for c in text.chars() {
            let mut buffer = [0; 4];
            let encoded = match c {
                char::REPLACEMENT_CHARACTER => &[0xff][..],
                c => c.encode_utf8(&mut buffer).as_bytes(),
            };
            let Some(room) = bytes.get_mut(length..length + encoded.len()) else {
                break;
            };
            room.copy_from_slice(encoded);
            length += encoded.len();
        }
        Some(Comm(bytes))
    }
}

impl Read for Addr {
    fn read(from: &mut Cursor<'_>) -> Option<Self> {
        let addr: IpAddr = from.string()?.parse().ok()?;
        Some(Addr(addr.to_canonical()))
    }
}

impl Read for Timestamp {
    fn read(from: &mut Cursor<'_>) -> Option<Self> {
        Timestamp::parse(&from.string()?)
    }
}

impl Read for Errno {
    fn read(from: &mut Cursor<'_>) -> Option<Self> {
        let text = from.string()?;
        let number = || text.strip_prefix('E')?.parse().ok();
        names::errno_value(&text).or_else(number).map(Errno)
    }
}

impl Read for Signal {
    fn read(from: &mut Cursor<'_>) -> Option<Self> {
        let text = from.string()?;
        let number = || text.strip_prefix("SIG")?.parse().ok();
        names::signal_value(&text).or_else(number).map(Signal)
    }
}

impl Read for State {
    /// A state of a newer kernel is unknown to this version.
    fn read(from: &mut Cursor<'_>) -> Option<Self> {
        let text = from.string()?;
        let known = (1..=12).find(|state| names::state(*state) == Some(&*text));
        Some(State(known.unwrap_or(u8::MAX)))
    }
}

fn hex(digits: &str) -> Option<u64> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    (digits.len() == 16 && plain)
        .then(|| u64::from_str_radix(digits, 16).ok())
        .flatten()
}

impl Read for Hex16 {
    fn read(from: &mut Cursor<'_>) -> Option<Self> {
        hex(&from.string()?).map(Hex16)
    }
}

impl Read for ConnId {
    fn read(from: &mut Cursor<'_>) -> Option<Self> {
        let text = from.string()?;
        let (boot, cookie) = text.split_once('-')?;
        let boot: [u8; 8] = boot.as_bytes().try_into().ok()?;
        boot.iter()
            .all(u8::is_ascii_alphanumeric)
            .then_some(ConnId {
                boot,
                cookie: hex(cookie)?,
            })
    }
}

impl Read for CommunityId {
    fn read(from: &mut Cursor<'_>) -> Option<Self> {
        let text = from.string()?;
        let bytes: [u8; 30] = text.as_bytes().try_into().ok()?;
        let base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b":+/=".contains(byte);
        bytes.iter().all(base64).then_some(CommunityId(bytes))
    }
}

impl Read for Moment {
    fn read(from: &mut Cursor<'_>) -> Option<Self> {
        let (mut ms, mut what) = (None, None);
        let (mut bytes, mut errno) = (None, None);
        from.object(|key, value| {
            match &*key {
                "ms" => ms = Some(i64::read(value)?),
                "what" => what = Some(What::read(value)?),
                "bytes" => bytes = Some(u64::read(value)?),
                "errno" => errno = Some(Errno::read(value)?),
                _ => value.skip()?,
            }
            Some(())
        })?;
        Some(Moment {
            ms: ms?,
            what: what?,
            bytes,
            errno,
        })
    }
}

impl Read for Cluster {
    fn read(from: &mut Cursor<'_>) -> Option<Self> {
        let (mut process, mut peer, mut pattern) = (None, None, None);
        let (mut clock_ms, mut count, mut of) = (None, None, None);
        from.object(|key, value| {
            match &*key {
                "process" => process = Option::<Label>::read(value)?,
                "peer" => peer = Some(Label::read(value)?),
                "pattern" => pattern = Some(Pattern::read(value)?),
                "clock_ms" => clock_ms = Some(u64::read(value)?),
                "count" => count = Some(u64::read(value)?),
                "of" => of = Some(u64::read(value)?),
                _ => value.skip()?,
            }
            Some(())
        })?;
        Some(Cluster {
            process,
            peer: peer?,
            pattern: pattern?,
            clock_ms: clock_ms?,
            count: count?,
            of: of?,
        })
    }
}

impl Read for HookState {
    fn read(from: &mut Cursor<'_>) -> Option<Self> {
        let (mut signal, mut hook, mut error, mut instead_of) = (None, None, None, None);
        from.object(|key, value| {
            match &*key {
                "signal" => signal = Some(Label::read(value)?),
                "hook" => hook = Some(Label::read(value)?),
                "error" => error = Option::<Label>::read(value)?,
                "instead_of" => instead_of = Some(Label::read(value)?),
                _ => value.skip()?,
            }
            Some(())
        })?;
        Some(HookState {
            signal: signal?,
            hook: hook?,
            error,
            instead_of,
        })
    }
}

impl Read for Counts {
    fn read(from: &mut Cursor<'_>) -> Option<Self> {
        let mut counts = Vec::new();
        from.object(|key, value| {
            counts.push((Cow::Owned(key.into_owned()), u64::read(value)?));
            Some(())
        })?;
        Some(Counts(counts))
    }

    fn absent() -> Option<Self> {
        Some(Counts::default())
    }
}
