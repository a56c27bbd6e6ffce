//! From Jepsen's events to operations.
//!
//! Owns the pairing: an `:invoke` of a process, then its `:ok`, `:fail` or `:info`; what has none of them at the end is
//! unknown. The order of the events is the clock, as it is for Jepsen's own checkers. Events of `:nemesis`, and those
//! without a function of a register, are passed over.

use hashbrown::HashMap;

use crate::ReadError;
use crate::operation::{Action, History, Lines, Operation, Outcome};

/// The type of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A process asks.
    Invoke,
    /// It is told that it happened.
    Ok,
    /// It is told that it did not happen.
    Fail,
    /// It is told nothing that helps.
    Info,
}

/// A value as it is written: a single one, or several in a vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// `nil`.
    Nil,
    /// One, in its own spelling.
    One(String),
    /// Several.
    Many(Vec<Written>),
}

impl Written {
    /// Its text, if it is a single value.
    fn single(&self) -> Option<Option<&str>> {
        match self {
            Written::Nil => Some(None),
            Written::One(text) => Some(Some(text)),
            Written::Many(_) => None,
        }
    }

    /// The value as an identity: several are spelled as one.
    pub fn text(&self) -> Option<String> {
        match self {
            Written::Nil => None,
            Written::One(text) => Some(text.clone()),
            Written::Many(parts) => {
                let parts: Vec<String> =
                    parts.iter().map(|part| part.text().unwrap_or_else(|| "nil".into())).collect();
                Some(format!("[{}]", parts.join(" ")))
            }
        }
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The line where it begins.
    pub line: u32,
    /// Its type.
    pub kind: Kind,
    /// The process, as written.
    pub process: String,
    /// The function.
    pub function: String,
    /// The value.
    pub value: Written,
}

/// Puts invocations and completions together.
pub fn pair(events: Vec<Event>, keyed: bool) -> Result<History, ReadError> {
    let mut history = History::default();
    // By process: the operation that it waits for, and its function.
    let mut open: HashMap<String, (usize, String)> = HashMap::new();
    for (time, event) in (0u64..).zip(events) {
        if event.process == "nemesis" {
            continue;
        }
        if event.kind == Kind::Invoke {
            if open.contains_key(&event.process) {
                let what =
                    format!("process {} invokes while it waits for an earlier operation", event.process);
                return Err(ReadError::new(event.line, what));
            }
            let operation = invoked(&mut history, &event, time, keyed)?;
            open.insert(event.process, (history.operations.len(), event.function));
            history.operations.push(operation);
        } else {
            let (waiting, function) = open.remove(&event.process).ok_or_else(|| {
                let what = format!("process {} completes an operation that it did not invoke", event.process);
                ReadError::new(event.line, what)
            })?;
            if event.function != function {
                let (process, found) = (&event.process, &event.function);
                let line = history.operations[waiting].lines.call;
                let what = format!(
                    "process {process} completes {found:?}, but it waits for the {function:?} of line {line}; a \
                     completion has the function of its invocation"
                );
                return Err(ReadError::new(event.line, what));
            }
            complete(&mut history, waiting, &event, time, keyed)?;
        }
    }
    Ok(history)
}

fn invoked(history: &mut History, event: &Event, time: u64, keyed: bool) -> Result<Operation, ReadError> {
    let (key, value) = split(event, keyed)?;
    let action = action(history, event, value)?;
    Ok(Operation {
        client: history.client(&event.process),
        key: history.key(&key),
        action,
        outcome: Outcome::Unknown,
        call: time,
        end: None,
        lines: Lines { call: event.line, end: None },
    })
}

fn complete(
    history: &mut History,
    at: usize,
    event: &Event,
    time: u64,
    keyed: bool,
) -> Result<(), ReadError> {
    let outcome = match event.kind {
        Kind::Ok => Outcome::Ok,
        Kind::Fail => Outcome::Failed,
        _ => Outcome::Unknown,
    };
    // A read says at its completion what it found; the rest said everything at its invocation.
    let read = matches!(history.operations[at].action, Action::Read(_)) && outcome == Outcome::Ok;
    if read {
        let (key, value) = split(event, keyed)?;
        let invoked = &history.operations[at];
        if key != history.key_text(invoked.key) {
            let what =
                format!("expected the key of the invocation in line {}, found {key}", invoked.lines.call);
            return Err(ReadError::new(event.line, what));
        }
        history.operations[at].action = action(history, event, value)?;
    }
    let operation = &mut history.operations[at];
    operation.outcome = outcome;
    operation.end = Some(time);
    operation.lines.end = Some(event.line);
    Ok(())
}

/// The key and the value of an event.
fn split(event: &Event, keyed: bool) -> Result<(String, &Written), ReadError> {
    match (&event.value, keyed) {
        (value, false) => Ok((String::new(), value)),
        (Written::Many(parts), true) if parts.len() == 2 => {
            Ok((parts[0].text().unwrap_or_else(|| "nil".into()), &parts[1]))
        }
        (_, true) => {
            Err(ReadError::new(event.line, "expected a value of the form [key value], as --keyed says"))
        }
    }
}

fn action(history: &mut History, event: &Event, value: &Written) -> Result<Action, ReadError> {
    match event.function.as_str() {
        "read" | "r" => Ok(Action::Read(history.value(value.text().as_deref()))),
        "write" | "w" => Ok(Action::Write(history.value(value.text().as_deref()))),
        "cas" => match value {
            Written::Many(parts) if parts.len() == 2 => match (parts[0].single(), parts[1].single()) {
                (Some(old), Some(new)) => {
                    let old = history.value(old);
                    Ok(Action::Cas(old, history.value(new)))
                }
                _ => Err(ReadError::new(event.line, "expected a cas of two single values: [old new]")),
            },
            _ => Err(ReadError::new(event.line, "expected a cas of two values: [old new]")),
        },
        other => {
            let what = format!("unknown function {other:?}; registers know read, write and cas");
            Err(ReadError::new(event.line, what))
        }
    }
}
