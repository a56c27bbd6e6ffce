//! Histories of clients of any store: registers that are read, written and compared-and-set.
//!
//! A history is read from text in one of three forms ([`Form`]), checked for linearizability ([`check()`]), and written
//! for other checkers ([`write()`](fn@write)), so that nobody has to believe this one. Nothing here opens a file or knows the time.
//!
//! * [`operation`]: what a client did, and what came of it
//! * [`plain`]: JSON lines, an operation each
//! * `jepsen`: events of invocation and completion; `edn`, `json`: their two spellings
//! * [`check`](mod@check): the verdict, and the lines that contradict each other
//! * [`longest_explained`]: how far an impossible history can be explained
//! * [`write`](mod@write): for Knossos and Elle (EDN) and for Porcupine (JSON lines)
#![forbid(unsafe_code)]

pub mod check;
mod edn;
mod jepsen;
mod json;
pub mod operation;
pub mod plain;
mod prefix;
pub mod write;

pub use check::{Checked, Finding, Hint, Verdict, check, hints};
pub use operation::{Action, History, Lines, Operation, Outcome};
pub use prefix::{Prefix, longest_explained};
pub use write::write;

/// How a history is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Jepsen's `history.edn`: a map for each invocation and completion, one after the other or in a vector.
    Edn,
    /// The same as JSON objects, one after the other or in an array.
    Json,
    /// [`plain`]: a JSON object for each operation, one a line.
    Lines,
}

impl Form {
    /// The form that a file of this name has by convention.
    pub fn of_name(name: &str) -> Option<Form> {
        let (_, extension) = name.rsplit_once('.')?;
        match extension {
            "edn" => Some(Form::Edn),
            "json" => Some(Form::Json),
            "jsonl" | "ndjson" => Some(Form::Lines),
            _ => None,
        }
    }
}

/// Why a text is not a history.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ReadError {
    /// The line, from 1.
    pub line: u32,
    /// What was expected, and what was found.
    pub what: String,
}

impl ReadError {
    fn new(line: u32, what: impl Into<String>) -> ReadError {
        ReadError { line, what: what.into() }
    }
}

/// What a reader is told besides the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The value of each event is a pair of a key and a value, as Jepsen's independent tests write it. Not used for
    /// [`Form::Lines`], which names keys.
    pub keyed: bool,
    /// The value of every register before the first operation; absent if none.
    pub initial: Option<String>,
}

/// Reads a history.
///
/// # Errors
/// The text does not have this form, or its events do not fit together.
pub fn read(text: &str, form: Form, options: &Options) -> Result<History, ReadError> {
    let mut history = match form {
        Form::Edn => jepsen::pair(edn::events(text)?, options.keyed)?,
        Form::Json => jepsen::pair(json::events(text)?, options.keyed)?,
        Form::Lines => plain::read(text)?,
    };
    history.initial = options.initial.as_deref().map(|value| history.value(Some(value)));
    Ok(history)
}

/// The number of the line in which the byte `at` of `text` is, counted on from `last`, an earlier such place.
fn line_at(text: &str, last: &mut (usize, u32), at: usize) -> u32 {
    last.1 += text.as_bytes()[last.0..at].iter().filter(|byte| **byte == b'\n').count() as u32;
    last.0 = at;
    last.1
}
