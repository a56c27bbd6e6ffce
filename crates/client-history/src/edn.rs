//! Events from EDN.

use clojure_reader::edn::{self, Edn};

use crate::jepsen::{Event, Kind, Written};
use crate::{ReadError, line_at};

/// How deep brackets may nest: the reader recurses.
const DEEPEST: usize = 64;

/// All events of `text`: maps, one after the other or in a vector or list.
pub fn events(text: &str) -> Result<Vec<Event>, ReadError> {
    refuse_deep_nesting(text)?;
    let mut events = Vec::new();
    let mut place = (0, 1);
    let mut rest = text;
    loop {
        let skipped = blanks(rest);
        rest = &rest[skipped..];
        if rest.is_empty() {
            return Ok(events);
        }
        // Those of one vector are read apart, so that each has its line.
        if let Some(inside) = rest.strip_prefix(['[', '(', ']', ')']) {
            rest = inside;
            continue;
        }
        let line = line_at(text, &mut place, text.len() - rest.len());
        let (value, after) = edn::read(rest).map_err(|error| ReadError::new(line, error.to_string()))?;
        events.extend(event(&value, line)?);
        rest = after;
    }
}

/// The length of what separates values: blanks, commas, comments.
fn blanks(text: &str) -> usize {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|letter: char| letter.is_whitespace() || letter == ',');
        match rest.strip_prefix(';') {
            Some(comment) => rest = comment.split_once('\n').map_or("", |(_, after)| after),
            None => return text.len() - rest.len(),
        }
    }
}

fn refuse_deep_nesting(text: &str) -> Result<(), ReadError> {
    let (mut depth, mut tags, mut line) = (0usize, 0usize, 1);
    let (mut quoted, mut comment) = (false, false);
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\n' => {
                line += 1;
                comment = false;
            }
            _ if comment => {}
            b'\\' => drop(bytes.next()),
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b';' => comment = true,
            // A tag nests what comes after it; so do tags one after the other.
            b'#' => tags += 1,
            b'[' | b'(' | b'{' => (depth, tags) = (depth + 1, 0),
            b']' | b')' | b'}' => (depth, tags) = (depth.saturating_sub(1), 0),
            _ => {}
        }
        if depth + tags > DEEPEST {
            return Err(ReadError::new(line, format!("values nest deeper than {DEEPEST} levels")));
        }
    }
    Ok(())
}

fn event(value: &Edn<'_>, line: u32) -> Result<Option<Event>, ReadError> {
    let fields = match value {
        Edn::Map(fields) => fields,
        // #jepsen.history.Op{...}
        Edn::Tagged(_, inside) => match inside.as_ref() {
            Edn::Map(fields) => fields,
            _ => return Err(ReadError::new(line, "expected a map")),
        },
        _ => {
            return Err(ReadError::new(line, "expected a map such as {:type :invoke, :process 0, :f :read}"));
        }
    };
    let field =
        |name: &str| fields.iter().find(|(key, _)| keyword(key) == Some(name)).map(|(_, value)| value);
    let kind = match field("type").and_then(keyword) {
        Some("invoke") => Kind::Invoke,
        Some("ok") => Kind::Ok,
        Some("fail") => Kind::Fail,
        Some("info") => Kind::Info,
        _ => return Err(ReadError::new(line, "expected a :type of :invoke, :ok, :fail or :info")),
    };
    let process = match field("process") {
        Some(Edn::Key(name)) => name.trim_start_matches(':').to_owned(),
        Some(Edn::Int(number)) => number.to_string(),
        _ => return Err(ReadError::new(line, "expected a :process")),
    };
    if process == "nemesis" {
        return Ok(None);
    }
    let function = field("f").and_then(keyword).ok_or_else(|| ReadError::new(line, "expected an :f"))?;
    let value = field("value").map_or(Written::Nil, written);
    Ok(Some(Event { line, kind, process, function: function.to_owned(), value }))
}

fn keyword<'a>(value: &'a Edn<'_>) -> Option<&'a str> {
    match value {
        Edn::Key(name) => Some(name.trim_start_matches(':')),
        _ => None,
    }
}

fn written(value: &Edn<'_>) -> Written {
    match value {
        Edn::Nil => Written::Nil,
        Edn::Vector(parts) | Edn::List(parts) => Written::Many(parts.iter().map(written).collect()),
        // #jepsen.history.MapEntry[...] and other tagged pairs.
        Edn::Tagged(_, inside) => written(inside),
        other => Written::One(other.to_string()),
    }
}
