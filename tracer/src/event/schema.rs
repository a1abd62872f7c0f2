//! `tracer schema`: the JSON Schema of the events, from the same lists of keys that encode them.

use serde_json::{Map, Value, json};

use super::{
    Called, End, Head, Heartbeat, Ids, IoError, Keys, Lost, Reset, Shortened, Stall, Start, Stop,
    keys::Key, values::Kind,
};

/// The groups of keys of an event, in order after [`Head`].
pub fn groups(kind: Kind) -> &'static [&'static [Key]] {
    match kind {
        Kind::Start => &[Start::KEYS, Shortened::KEYS],
        Kind::TcpClose | Kind::TcpConnectFailed => &[Ids::KEYS, End::KEYS, Called::KEYS],
        Kind::TcpReset => &[Ids::KEYS, Reset::KEYS, Called::KEYS, Shortened::KEYS],
        Kind::TcpIoError => &[Ids::KEYS, IoError::KEYS, Called::KEYS, Shortened::KEYS],
        Kind::TcpStall | Kind::TcpStallEnd => {
            &[Ids::KEYS, Stall::KEYS, Called::KEYS, Shortened::KEYS]
        }
        Kind::Lost => &[Lost::KEYS, Shortened::KEYS],
        Kind::Heartbeat => &[Heartbeat::KEYS, Shortened::KEYS],
        Kind::Stop => &[Stop::KEYS, Shortened::KEYS],
    }
}

/// JSON Schema, draft 2020-12. Keys may be added within a version, so others are allowed.
pub fn document() -> Value {
    let events: Vec<Value> = Kind::ALL
        .iter()
        .map(|kind| event(*kind, groups(*kind)))
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An event of tracer, one line of NDJSON",
        "description": "Keys come in this order; those that are required are always there, and `null` is unknown.",
        "oneOf": events,
    })
}

fn event(kind: Kind, groups: &[&[Key]]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for key in Head::KEYS.iter().chain(groups.iter().copied().flatten()) {
        let mut schema = match key.name {
            "v" => json!({"const": super::SCHEMA_VERSION}),
            "event" => json!({"const": kind.as_str()}),
            _ => (key.schema)(),
        };
        if let Some(schema) = schema.as_object_mut()
            && !key.doc.is_empty()
        {
            schema.insert("description".into(), key.doc.into());
        }
        properties.insert(key.name.into(), schema);
        if !key.omittable {
            required.push(Value::from(key.name));
        }
    }
    json!({
        "title": kind.as_str(),
        "description": kind.meaning(),
        "type": "object",
        "properties": properties,
        "required": required,
    })
}
