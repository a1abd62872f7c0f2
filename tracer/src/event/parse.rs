//! A line of NDJSON back into its event. Keys are expected where this version writes them, which
//! costs a comparison each; a line with other keys or in another order, as a later version or a
//! tool in between makes it, is indexed first. Keys that are not known are passed over.

use std::{borrow::Cow, fmt};

use super::{
    Body, Called, End, Event, Head, Heartbeat, Ids, IoError, Keys, Lost, Reset, SCHEMA_VERSION,
    Stall, Start, Stop,
    read::{Cursor, Read},
    values::Kind,
};

/// Why a line is no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    NotJson,
    /// Its schema version.
    Newer(u32),
    /// An event that this version does not know.
    UnknownEvent(String),
    /// This key's value is of another type, or a name that this version does not know.
    Value(&'static str),
    Missing(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NotJson => f.write_str("not a JSON object"),
            Fault::Newer(version) => write!(
                f,
                "of schema version {version}, and this tracer knows only {SCHEMA_VERSION}: use a newer one"
            ),
            Fault::UnknownEvent(name) => {
                write!(f, "the event {name:?} is not known to this version")
            }
            Fault::Value(key) => write!(f, "the value of {key:?} is not understood"),
            Fault::Missing(key) => write!(f, "{key:?} is missing"),
        }
    }
}

impl std::error::Error for Fault {}

impl Event {
    /// Reads a line, with or without its newline.
    pub fn parse(line: &[u8]) -> Result<Event, Fault> {
        let text = str::from_utf8(line).map_err(|_| Fault::NotJson)?;
        let mut fields = Fields::new(text.trim_ascii_end());
        let version: u32 = fields.get("v", ",\"v\":")?;
        if version > SCHEMA_VERSION {
            return Err(Fault::Newer(version));
        }
        let kind = fields.kind()?;
        fields.cursor.at = 0;
        let head = Head::read(&mut fields)?;
        let mut body = match kind {
            Kind::TcpClose | Kind::TcpConnectFailed => Body::End {
                ids: Ids::read(&mut fields)?,
                end: End::read(&mut fields)?,
            },
            Kind::TcpReset => Body::Reset {
                ids: Ids::read(&mut fields)?,
                reset: Reset::read(&mut fields)?,
            },
            Kind::TcpIoError => Body::IoError {
                ids: Ids::read(&mut fields)?,
                io: IoError::read(&mut fields)?,
            },
            Kind::TcpStall | Kind::TcpStallEnd => Body::Stall {
                ids: Ids::read(&mut fields)?,
                stall: Stall::read(&mut fields)?,
            },
            Kind::Start => Body::Start(Start::read(&mut fields)?),
            Kind::Lost => Body::Lost(Lost::read(&mut fields)?),
            Kind::Heartbeat => Body::Heartbeat(Heartbeat::read(&mut fields)?),
            Kind::Stop => Body::Stop(Stop::read(&mut fields)?),
        };
        if let Some(ids) = body.ids_mut() {
            ids.called = Called::read(&mut fields)?;
        }
        fields.finish()?;
        Ok(Event { head, body })
    }
}

/// The keys of a line.
pub struct Fields<'a> {
    text: &'a str,
    /// After the last value that was read.
    cursor: Cursor<'a>,
    /// Every key and where its value begins, once a key was not where it was expected.
    index: Option<Vec<(Cow<'a, str>, usize)>>,
}

impl<'a> Fields<'a> {
    fn new(text: &'a str) -> Self {
        Fields {
            text,
            cursor: Cursor::new(text),
            index: None,
        }
    }

    /// The value of a key; `lead` is how this version writes the key after another.
    pub fn get<T: Read>(&mut self, name: &'static str, lead: &'static str) -> Result<T, Fault> {
        if self.is_next(lead)
            && let Some(value) = T::read(&mut self.cursor)
        {
            return Ok(value);
        }
        if T::OMITTABLE && self.index.is_none() && self.cursor.at > 0 {
            // Everything so far was where this version writes it, so this is not in the line.
            return T::absent().ok_or(Fault::Missing(name));
        }
        let Some(at) = self.find(name)? else {
            return T::absent().ok_or(Fault::Missing(name));
        };
        self.cursor.at = at;
        T::read(&mut self.cursor).ok_or(Fault::Value(name))
    }

    fn is_next(&mut self, lead: &'static str) -> bool {
        if self.cursor.at > 0 {
            return self.cursor.pass(lead);
        }
        let key = lead.get(1..).unwrap_or_default();
        self.cursor.pass("{") && self.cursor.pass(key)
    }

    /// The kind, named in the message when it is unknown.
    fn kind(&mut self) -> Result<Kind, Fault> {
        let before = self.cursor;
        match self.get::<Kind>("event", ",\"event\":") {
            Err(Fault::Value(key)) => {
                self.cursor = before;
                let name = self.find(key)?.and_then(|at| {
                    let mut value = self.cursor;
                    value.at = at;
                    value.string()
                });
                Err(name.map_or(Fault::Value(key), |name| {
                    Fault::UnknownEvent(name.chars().take(40).collect())
                }))
            }
            other => other,
        }
    }

    fn find(&mut self, name: &str) -> Result<Option<usize>, Fault> {
        let index = match &mut self.index {
            Some(index) => index,
            empty => empty.insert(index(self.text).ok_or(Fault::NotJson)?),
        };
        let found = index.iter().find(|(key, _)| key == name);
        Ok(found.map(|(_, at)| *at))
    }

    /// Nothing that is not JSON may follow.
    fn finish(&mut self) -> Result<(), Fault> {
        if self.index.is_none() && self.cursor.pass("}") && self.cursor.at_end() {
            return Ok(());
        }
        // It is the object that was indexed, or has keys at its end that are not known.
        self.find("").map(drop)
    }
}

/// The keys of an object that fills the text, and where their values begin.
fn index(text: &str) -> Option<Vec<(Cow<'_, str>, usize)>> {
    let mut keys = Vec::with_capacity(96);
    let mut cursor = Cursor::new(text);
    cursor.object(|key, value| {
        keys.push((key, value.at));
        value.skip()
    })?;
    cursor.at_end().then_some(keys)
}

#[cfg(test)]
mod tests;
