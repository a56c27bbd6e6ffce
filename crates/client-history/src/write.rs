//! Histories for other checkers.

use std::fmt::Write;

use serde_json::{Value as Json, json};

use crate::Form;
use crate::operation::{Action, History, Operation, Outcome, Value};

/// Writes `history` in `form`. In Jepsen's two forms values become pairs of key and value if it names any keys.
///
/// Values keep their spelling, which is JSON's or EDN's as it was read; a value that the other language spells
/// otherwise (a text with escapes, say) becomes a text.
pub fn write(history: &History, form: Form) -> String {
    let mut out = String::new();
    match form {
        Form::Lines => {
            for operation in &history.operations {
                let _ = writeln!(out, "{}", plain(history, operation));
            }
        }
        Form::Edn | Form::Json => {
            for (operation, kind) in events(history) {
                let line = if form == Form::Edn {
                    edn(history, operation, kind)
                } else {
                    json_event(history, operation, kind)
                };
                let _ = writeln!(out, "{line}");
            }
        }
    }
    out
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

/// Calls and returns in the order of time; at equal times calls first, since such operations are concurrent.
fn events(history: &History) -> Vec<(&Operation, &'static str)> {
    let mut events = Vec::new();
    for operation in &history.operations {
        events.push((operation.call, 0, operation, "invoke"));
        if let Some(end) = operation.end {
            let kind = match operation.outcome {
                Outcome::Ok => "ok",
                Outcome::Failed => "fail",
                Outcome::Unknown => "info",
            };
            events.push((end, 1, operation, kind));
        }
    }
    events.sort_by_key(|(time, nth, operation, _)| (*time, *nth, operation.lines.call));
    events.into_iter().map(|(_, _, operation, kind)| (operation, kind)).collect()
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

fn edn(history: &History, operation: &Operation, kind: &str) -> String {
    let text = |value: Value| history.value_text(value).map_or_else(|| "nil".to_owned(), edn_value);
    let value = match operation.action {
        _ if !says_value(operation, kind) => "nil".to_owned(),
        Action::Read(value) | Action::Write(value) => text(value),
        Action::Cas(old, new) => format!("[{} {}]", text(old), text(new)),
    };
    let value = match history.key_text(operation.key) {
        "" => value,
        key => format!("[{} {value}]", edn_value(key)),
    };
    let (process, function) = (operation.client, function(operation.action));
    format!("{{:type :{kind}, :process {process}, :f :{function}, :value {value}}}")
}

fn json_event(history: &History, operation: &Operation, kind: &str) -> String {
    let value = match operation.action {
        _ if !says_value(operation, kind) => Json::Null,
        Action::Read(value) | Action::Write(value) => json_value(history, value),
        Action::Cas(old, new) => json!([json_value(history, old), json_value(history, new)]),
    };
    let value = match history.key_text(operation.key) {
        "" => value,
        key => json!([key, value]),
    };
    json!({"type": kind, "process": operation.client, "f": function(operation.action), "value": value})
        .to_string()
}

/// A number, keyword or plain text as it is; anything else as a text.
fn edn_value(text: &str) -> String {
    let plain = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    let is_number = text.parse::<i64>().is_ok();
    let is_quoted = plain.len() != text.len() && !plain.contains(['"', '\\']);
    let is_keyword = text.strip_prefix(':').is_some_and(|name| {
        !name.is_empty() && name.chars().all(|letter| letter.is_alphanumeric() || "-_./".contains(letter))
    });
    match is_number || is_quoted || is_keyword || matches!(text, "true" | "false") {
        true => text.to_owned(),
        // EDN has JSON's escapes for quotes and backslashes.
        false => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

fn json_value(history: &History, value: Value) -> Json {
    match history.value_text(value) {
        None => Json::Null,
        Some(text) => serde_json::from_str(text).unwrap_or_else(|_| Json::String(text.to_owned())),
    }
}
