//! Histories for other checkers.

use std::fmt::Write;

use serde_json::{Value as Json, json};

use crate::Form;
use crate::events::{Event, events};
use crate::numbers::is_decimal;
use crate::operation::{Action, History, Operation, Outcome, Value};

/// Why a history cannot be written as events.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line}: several clients return and call again at {time}, on one register; events stand in one order, which would say \
     more than these times do. Use a finer clock, or write it as JSON lines"
)]
pub struct WriteError {
    /// The line of one of the calls.
    pub line: u32,
    /// The time.
    pub time: u64,
}

/// Writes `history` in `form`. In Jepsen's two forms values become pairs of key and value if it names any keys.
///
/// Values keep their spelling, which is JSON's or EDN's as it was read; a value that the other language spells
/// otherwise (a text with escapes, say) becomes a text.
///
/// # Errors
/// In Jepsen's two forms: its times have no one order.
pub fn write(history: &History, form: Form) -> Result<String, WriteError> {
    let mut out = String::new();
    if form == Form::Lines {
        for operation in &history.operations {
            let _ = writeln!(out, "{}", plain(history, operation));
        }
        return Ok(out);
    }
    let keyed = (0..history.keys()).any(|key| !history.key_text(key).is_empty());
    for event in events(history)? {
        let line = match form {
            Form::Edn => edn(history, event, keyed),
            _ => json_event(history, event, keyed),
        };
        let _ = writeln!(out, "{line}");
    }
    Ok(out)
}

fn plain(history: &History, operation: &Operation) -> Json {
    let value = |value| json_value(history, value);
    let (op, value) = match operation.action {
        Action::Read(found) => ("read", value(found)),
        Action::Write(new) => ("write", value(new)),
        Action::Cas(old, new) => ("cas", json!([value(old), value(new)])),
    };
    let mut line = json!({
        "client": history.client_text(operation.client), "op": op, "value": value, "call": operation.call,
        "outcome": match operation.outcome { Outcome::Ok => "ok", Outcome::Failed => "fail", Outcome::Unknown => "unknown" },
    });
    if !history.key_text(operation.key).is_empty() {
        line["key"] = json!(history.key_text(operation.key));
    }
    if let Some(end) = operation.end {
        line["return"] = json!(end);
    }
    line
}

fn function(action: Action) -> &'static str {
    match action {
        Action::Read(_) => "read",
        Action::Write(_) => "write",
        Action::Cas(..) => "cas",
    }
}

/// Whether an event says its value: a read knows it at its end only.
fn says_value(operation: &Operation, kind: &str) -> bool {
    !matches!(operation.action, Action::Read(_)) || kind == "ok"
}

fn edn(history: &History, event: Event, keyed: bool) -> String {
    let operation = &history.operations[event.operation as usize];
    let text = |value: Value| history.value_text(value).map_or_else(|| "nil".to_owned(), edn_value);
    let value = match operation.action {
        _ if !says_value(operation, event.kind) => "nil".to_owned(),
        Action::Read(value) | Action::Write(value) => text(value),
        Action::Cas(old, new) => format!("[{} {}]", text(old), text(new)),
    };
    let value = match history.key_text(operation.key) {
        _ if !keyed => value,
        "" => format!("[nil {value}]"),
        key => format!("[{} {value}]", edn_value(key)),
    };
    let Event { kind, process, .. } = event;
    format!("{{:type :{kind}, :process {process}, :f :{}, :value {value}}}", function(operation.action))
}

fn json_event(history: &History, event: Event, keyed: bool) -> String {
    let operation = &history.operations[event.operation as usize];
    let value = match operation.action {
        _ if !says_value(operation, event.kind) => Json::Null,
        Action::Read(value) | Action::Write(value) => json_value(history, value),
        Action::Cas(old, new) => json!([json_value(history, old), json_value(history, new)]),
    };
    let value = match history.key_text(operation.key) {
        _ if !keyed => value,
        "" => json!([null, value]),
        key => json!([key, value]),
    };
    json!({"type": event.kind, "process": event.process, "f": function(operation.action), "value": value})
        .to_string()
}

/// A number, keyword or plain text as it is; anything else as a text.
fn edn_value(text: &str) -> String {
    let plain = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    let is_quoted = plain.len() != text.len() && !plain.contains(['"', '\\']);
    let is_keyword = text.strip_prefix(':').is_some_and(|name| {
        !name.is_empty() && name.chars().all(|letter| letter.is_alphanumeric() || "-_./".contains(letter))
    });
    if is_decimal(text) {
        return edn_number(text);
    }
    match is_quoted || is_keyword || matches!(text, "true" | "false") {
        true => text.to_owned(),
        // EDN has JSON's escapes for quotes and backslashes.
        false => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

/// A number that other readers do not round either: with the letter that says so, where it needs one.
fn edn_number(text: &str) -> String {
    let is_float = text.contains(['.', 'e', 'E']);
    let is_exact = match (is_float, text.parse::<f64>()) {
        (false, _) => text.parse::<i64>().is_ok(),
        (true, float) => float.is_ok_and(|float| format!("{float:?}") == text),
    };
    match text {
        _ if is_exact || text.ends_with('M') => text.to_owned(),
        _ if is_float => format!("{text}M"),
        _ => format!("{text}N"),
    }
}

fn json_value(history: &History, value: Value) -> Json {
    match history.value_text(value) {
        None => Json::Null,
        Some(text) => serde_json::from_str(text).unwrap_or_else(|_| Json::String(text.to_owned())),
    }
}
