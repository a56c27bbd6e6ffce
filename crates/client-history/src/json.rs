//! Events from JSON.

use serde::Deserialize;
use serde_json::Value as Json;

use crate::datum::Datum;
use crate::jepsen::{Event, Kind};
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

/// Where in an array a text is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// After its bracket.
    First,
    /// After an event.
    After,
    /// After a comma.
    Next,
}

/// All events of `text`: objects, one after the other or in an array.
pub fn events(text: &str) -> Result<Vec<Event>, ReadError> {
    let mut events = Vec::new();
    let mut counted = (0, 1);
    let mut rest = text;
    // The array that events are read from: where in it, and the line where it begins.
    let mut array: Option<(Place, u32)> = None;
    loop {
        rest = rest.trim_start();
        let line = line_at(text, &mut counted, text.len() - rest.len());
        match (rest.chars().next(), array) {
            (None, None) => return Ok(events),
            (None, Some((_, from))) => return Err(ReadError::unclosed(line, ']', from)),
            (Some('['), None) => array = Some((Place::First, line)),
            (Some(']'), Some((Place::First | Place::After, _))) => array = None,
            (Some(','), Some((Place::After, from))) => array = Some((Place::Next, from)),
            (Some(found), Some((Place::After, _))) => {
                let what = format!("expected a comma or the ] of the array, found {found:?}");
                return Err(ReadError::new(line, what));
            }
            (Some('{'), _) => {
                let (event, length) = one(rest, line)?;
                events.extend(event);
                array = array.map(|(_, from)| (Place::After, from));
                rest = &rest[length..];
                continue;
            }
            (Some(found), _) => {
                let what = format!(
                    "expected an event such as {{\"type\": \"invoke\", \"process\": 0, \"f\": \"read\"}}, found {found:?}"
                );
                return Err(ReadError::new(line, what));
            }
        }
        rest = &rest[1..];
    }
}

/// The event at the beginning of `text`, which is at `line`, and its length. Those of one array are read apart, so that each
/// has its line.
fn one(text: &str, line: u32) -> Result<(Option<Event>, usize), ReadError> {
    let mut objects = serde_json::Deserializer::from_str(text).into_iter::<Object>();
    let event = match objects.next() {
        Some(object) => event(object.map_err(|error| ReadError::json("an event", &error, line))?, line)?,
        None => None,
    };
    Ok((event, objects.byte_offset()))
}

fn event(object: Object, line: u32) -> Result<Option<Event>, ReadError> {
    let process = match object.process {
        Json::String(name) if name == "nemesis" => return Ok(None),
        process @ (Json::String(_) | Json::Number(_)) => Datum::from(process),
        _ => return Err(ReadError::new(line, "expected a process: a number or a name")),
    };
    let kind = match object.kind {
        Type::Invoke => Kind::Invoke,
        Type::Ok => Kind::Ok,
        Type::Fail => Kind::Fail,
        Type::Info => Kind::Info,
    };
    let function = object.f.ok_or_else(|| ReadError::new(line, "expected an f"))?;
    Ok(Some(Event { line, kind, process, function, value: object.value.into() }))
}
