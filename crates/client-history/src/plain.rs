//! The plain form: JSON lines, an operation each, in any order.
//!
//! ```json
//! {"client": "a", "op": "write", "key": "x", "value": 1, "call": 100, "return": 250}
//! {"client": "b", "op": "read", "key": "x", "value": 1, "call": 120, "return": 180}
//! {"client": "b", "op": "cas", "key": "x", "value": [1, 2], "call": 200, "return": 900, "outcome": "unknown"}
//! ```
//!
//! * `client`: a number or a text; `1` and `"1"` are two. A client does one thing after the other; what it does after an unknown outcome is
//!   independent of that.
//! * `op`: `read`, `write` or `cas`. `key`: a number or a text, `1` and `"1"` being two; a history with one register may leave it out.
//! * `value`: any JSON; of a read what was found, of a cas the old and the new one. `null` is a register without value.
//! * `call`, `return`: whole numbers on one clock, in any unit. `return` may be left out.
//! * `outcome`: `ok`, `fail` (it did not happen) or `unknown` (it may have happened, or may yet). Left out, it is `ok` if
//!   there is a `return`, and `unknown` if not.

use serde::Deserialize;
use serde_json::Value as Json;

use crate::ReadError;
use crate::datum::Datum;
use crate::operation::{Action, History, Lines, Operation, Outcome};

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Op {
    Read,
    Write,
    Cas,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Ended {
    Ok,
    Fail,
    Unknown,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Object {
    client: Json,
    op: Op,
    #[serde(default)]
    key: Json,
    #[serde(default)]
    value: Json,
    call: u64,
    #[serde(rename = "return")]
    end: Option<u64>,
    outcome: Option<Ended>,
}

/// Reads the plain form; blank lines count for nothing.
///
/// # Errors
/// A line is not an operation, returns before it is called, or overlaps an earlier one of its client.
pub fn read(text: &str) -> Result<History, ReadError> {
    let mut history = History::default();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        if let Some(found) = line.trim_start().chars().next().filter(|first| *first != '{') {
            let what = format!("not an operation: expected an object, which begins with {{, found {found:?}");
            return Err(ReadError::new(number, what));
        }
        let object: Object =
            serde_json::from_str(line).map_err(|error| ReadError::json("an operation", &error, number))?;
        let operation = operation(&mut history, object, number)?;
        history.operations.push(operation);
    }
    refuse_overlaps(&history)?;
    Ok(history)
}

fn operation(history: &mut History, object: Object, line: u32) -> Result<Operation, ReadError> {
    if object.end.is_some_and(|end| end < object.call) {
        return Err(ReadError::new(line, "it returns before it is called"));
    }
    if object.call.max(object.end.unwrap_or(0)) > LATEST {
        return Err(ReadError::new(line, format!("times are at most {LATEST}")));
    }
    let outcome = match (object.outcome, object.end) {
        (Some(Ended::Fail), _) => Outcome::Failed,
        (Some(Ended::Unknown), _) | (None, None) => Outcome::Unknown,
        (Some(Ended::Ok), None) => {
            return Err(ReadError::new(line, "an outcome of \"ok\" needs a \"return\""));
        }
        (Some(Ended::Ok) | None, Some(_)) => Outcome::Ok,
    };
    let action = match (object.op, object.value) {
        (Op::Read, value) => Action::Read(history.value(value.into())),
        (Op::Write, value) => Action::Write(history.value(value.into())),
        (Op::Cas, Json::Array(parts)) if parts.len() == 2 => {
            let old = history.value(parts[0].clone().into());
            Action::Cas(old, history.value(parts[1].clone().into()))
        }
        (Op::Cas, _) => return Err(ReadError::new(line, "expected a cas of two values: [old, new]")),
    };
    Ok(Operation {
        client: history.client(Datum::from(object.client)),
        key: history.key(Datum::from(object.key)),
        action,
        outcome,
        call: object.call,
        end: object.end,
        lines: Lines { call: line, end: None },
    })
}

/// The latest time that the search can represent.
pub const LATEST: u64 = u64::MAX / 4;

/// A client does one thing after the other.
fn refuse_overlaps(history: &History) -> Result<(), ReadError> {
    let mut order: Vec<&Operation> = history.operations.iter().collect();
    order.sort_by_key(|operation| (operation.client, operation.call));
    for pair in order.windows(2) {
        let [first, second] = [pair[0], pair[1]];
        let answered = first.outcome != Outcome::Unknown && first.end.is_some_and(|end| end > second.call);
        if first.client == second.client && answered {
            let client = history.client_text(first.client);
            let what = format!(
                "client {client} calls this before its operation of line {} returns",
                first.lines.call
            );
            return Err(ReadError::new(second.lines.call, what));
        }
    }
    Ok(())
}
