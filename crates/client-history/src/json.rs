//! Events from JSON.

use serde::Deserialize;
use serde_json::Value as Json;

use crate::jepsen::{Event, Kind, Written};
use crate::{ReadError, line_at};

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Type {
    Invoke,
    Ok,
    Fail,
    Info,
}

/// An event; other fields (time, index, error) say nothing that matters here.
#[derive(Deserialize)]
struct Object {
    #[serde(rename = "type")]
    kind: Type,
    process: Json,
    f: Option<String>,
    #[serde(default)]
    value: Json,
}

/// All events of `text`: objects, one after the other or in an array.
pub fn events(text: &str) -> Result<Vec<Event>, ReadError> {
    let mut events = Vec::new();
    let mut place = (0, 1);
    let mut rest = text;
    loop {
        // Those of one array are read apart, so that each has its line.
        rest = rest.trim_start_matches(|letter: char| letter.is_whitespace() || "[],".contains(letter));
        if rest.is_empty() {
            return Ok(events);
        }
        let at = text.len() - rest.len();
        let line = line_at(text, &mut place, at);
        let mut objects = serde_json::Deserializer::from_str(rest).into_iter::<Object>();
        let object = match objects.next() {
            Some(Ok(object)) => object,
            Some(Err(error)) => return Err(ReadError::new(line, format!("not an event: {error}"))),
            None => return Ok(events),
        };
        rest = &rest[objects.byte_offset()..];
        events.extend(event(object, line)?);
    }
}

fn event(object: Object, line: u32) -> Result<Option<Event>, ReadError> {
    let process = match object.process {
        Json::String(name) => name,
        Json::Number(number) => number.to_string(),
        _ => return Err(ReadError::new(line, "expected a process: a number or a name")),
    };
    if process == "nemesis" {
        return Ok(None);
    }
    let kind = match object.kind {
        Type::Invoke => Kind::Invoke,
        Type::Ok => Kind::Ok,
        Type::Fail => Kind::Fail,
        Type::Info => Kind::Info,
    };
    let function = object.f.ok_or_else(|| ReadError::new(line, "expected an f"))?;
    Ok(Some(Event { line, kind, process, function, value: written(object.value) }))
}

fn written(value: Json) -> Written {
    match value {
        Json::Null => Written::Nil,
        Json::Array(parts) => Written::Many(parts.into_iter().map(written).collect()),
        other => Written::One(other.to_string()),
    }
}
