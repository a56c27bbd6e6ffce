//! From Jepsen's events to operations.
//!
//! Owns the pairing: an `:invoke` of a process, then its `:ok`, `:fail` or `:info`; what has none of them at the end is
//! unknown. The order of the events is the clock, as it is for Jepsen's own checkers. Events of `:nemesis`, and those
//! without a function of a register, are passed over.

use hashbrown::HashMap;

use crate::ReadError;
use crate::datum::Datum;
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

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The line where it begins.
    pub line: u32,
    /// Its type.
    pub kind: Kind,
    /// The process.
    pub process: Datum,
    /// The function.
    pub function: String,
    /// The value.
    pub value: Datum,
}

/// Puts invocations and completions together.
pub fn pair(events: Vec<Event>, keyed: bool) -> Result<History, ReadError> {
    let mut history = History::default();
    // By process: the operation that it waits for, and its function.
    let mut open: HashMap<Datum, (usize, String)> = HashMap::new();
    history.looks_keyed = !keyed && look_keyed(&events);
    for (time, event) in (0u64..).zip(events) {
        if event.kind == Kind::Invoke {
            if open.contains_key(&event.process) {
                let process = event.process.name();
                let what = format!("process {process} invokes while it waits for an earlier operation");
                return Err(ReadError::new(event.line, what));
            }
            let operation = invoked(&mut history, &event, time, keyed)?;
            open.insert(event.process, (history.operations.len(), event.function));
            history.operations.push(operation);
        } else {
            let (waiting, function) = open.remove(&event.process).ok_or_else(|| {
                let process = event.process.name();
                let what = format!("process {process} completes an operation that it did not invoke");
                ReadError::new(event.line, what)
            })?;
            if event.function != function {
                let (process, found) = (event.process.name(), &event.function);
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
    let action = action(history, event, value, keyed)?;
    Ok(Operation {
        client: history.client(event.process.clone()),
        key: history.key(key.clone()),
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
        if key != history.key_datum(invoked.key) {
            let what =
                format!("expected the key of the invocation in line {}, found {key}", invoked.lines.call);
            return Err(ReadError::new(event.line, what));
        }
        history.operations[at].action = action(history, event, value, keyed)?;
    }
    let operation = &mut history.operations[at];
    operation.outcome = outcome;
    operation.end = Some(time);
    operation.lines.end = Some(event.line);
    Ok(())
}

/// Whether the value of each invocation is a pair, as in a history of several registers. The invocation of a read has no value
/// otherwise, and a cas is a pair in any case.
fn look_keyed(events: &[Event]) -> bool {
    let mut invocations = events.iter().filter(|event| event.kind == Kind::Invoke);
    let is_pair = |event: &Event| matches!(&event.value, Datum::Seq(parts) if parts.len() == 2);
    invocations.clone().all(is_pair) && invocations.any(|event| event.function != "cas")
}

/// The key and the value of an event.
fn split(event: &Event, keyed: bool) -> Result<(&Datum, &Datum), ReadError> {
    match &event.value {
        value if !keyed => Ok((&Datum::Nil, value)),
        Datum::Seq(parts) if parts.len() == 2 => Ok((&parts[0], &parts[1])),
        _ => Err(ReadError::new(event.line, "expected a value of the form [key value], as --keyed says")),
    }
}

fn action(history: &mut History, event: &Event, value: &Datum, keyed: bool) -> Result<Action, ReadError> {
    match event.function.as_str() {
        "read" | "r" => Ok(Action::Read(history.value(value.clone()))),
        "write" | "w" => Ok(Action::Write(history.value(value.clone()))),
        "cas" => match value {
            Datum::Seq(parts) if parts.len() == 2 => {
                if !keyed && parts.iter().any(|part| matches!(part, Datum::Seq(_))) {
                    let what = "expected a cas of two single values: [old new]; where each value is a pair of a key \
                                and a value, add --keyed";
                    return Err(ReadError::new(event.line, what));
                }
                let old = history.value(parts[0].clone());
                Ok(Action::Cas(old, history.value(parts[1].clone())))
            }
            _ => Err(ReadError::new(event.line, "expected a cas of two values: [old new]")),
        },
        other => {
            let what = format!("unknown function {other:?}; registers know read, write and cas");
            Err(ReadError::new(event.line, what))
        }
    }
}
