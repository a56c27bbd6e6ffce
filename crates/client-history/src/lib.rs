//! Histories of clients of any store: registers that are read, written and compared-and-set.
//!
//! A history is read from text in one of three forms ([`Form`]), checked for linearizability ([`check()`]), and written
//! for other checkers ([`write()`](fn@write)), so that nobody has to believe this one. Nothing here opens a file or knows the time.
//!
//! * [`Datum`]: a value or a name, in whichever form it was written (`numbers`: in which spelling)
//! * [`operation`]: what a client did, and what came of it
//! * [`plain`]: JSON lines, an operation each
//! * `jepsen`: events of invocation and completion; `edn` (with `tokens`), `json`: their two spellings
//! * [`check`](mod@check): the verdict, and the lines that contradict each other
//! * [`longest_explained`]: how far an impossible history can be explained
//! * [`write`](mod@write): for Knossos and Elle (EDN) and for Porcupine (JSON lines); `events`: in which order
#![forbid(unsafe_code)]

pub mod check;
mod datum;
mod edn;
mod events;
mod jepsen;
mod json;
mod numbers;
pub mod operation;
pub mod plain;
mod prefix;
mod tokens;
pub mod write;

pub use check::{Checked, Finding, Hint, Verdict, check, hints};
pub use datum::Datum;
pub use operation::{Action, History, Lines, Operation, Outcome};
pub use prefix::{Prefix, longest_explained};
pub use write::{WriteError, is_keyed, write};

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
pub enum ReadError {
    /// A line of it is not what it should be.
    #[error("line {line}: {what}")]
    Line {
        /// The line, from 1.
        line: u32,
        /// What was expected, and what was found.
        what: String,
    },
    /// [`Options::initial`] is not a value.
    #[error(
        "the initial value {text:?} is not a value of the history's language: {what}; a text is written in quotes: '\"{text}\"'"
    )]
    Initial {
        /// The value.
        text: String,
        /// What is wrong with it.
        what: String,
    },
}

impl ReadError {
    fn new(line: u32, what: impl Into<String>) -> ReadError {
        ReadError::Line { line, what: what.into() }
    }

    /// The text ends in `line`, before what began in line `from` is closed.
    fn unclosed(line: u32, close: char, from: u32) -> ReadError {
        let what = format!(
            "expected another event or the {close} of what begins in line {from}, found the end: the file is cut off"
        );
        ReadError::new(line, what)
    }

    /// What begins in `line` is not `expected`, says the reader of JSON.
    fn json(expected: &str, error: &serde_json::Error, line: u32) -> ReadError {
        let below = u32::try_from(error.line().saturating_sub(1)).unwrap_or(0);
        ReadError::new(line + below, format!("not {expected}: {}", in_words(error)))
    }
}

/// What the reader of JSON says, without its place.
fn in_words(error: &serde_json::Error) -> String {
    let said = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let said = said.strip_suffix(&place).unwrap_or(&said);
    if error.is_eof() { format!("{said}; it is cut off") } else { said.to_owned() }
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
/// The text does not have this form, its events do not fit together, or it has no operation; the initial value is none.
pub fn read(text: &str, form: Form, options: &Options) -> Result<History, ReadError> {
    // A mark of byte order at the beginning says that this is UTF-8, and nothing else.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut history = match form {
        Form::Edn => jepsen::pair(edn::events(text)?, options.keyed)?,
        Form::Json => jepsen::pair(json::events(text)?, options.keyed)?,
        Form::Lines => plain::read(text)?,
    };
    if history.operations.is_empty() {
        return Err(ReadError::new(
            1,
            if text.trim().is_empty() {
                "the file is empty"
            } else {
                "expected an operation of a client, found none in the whole file"
            },
        ));
    }
    if let Some(text) = &options.initial {
        let value = initial(text, form).map_err(|what| ReadError::Initial { text: text.clone(), what })?;
        history.initial = Some(history.value(value));
    }
    Ok(history)
}

/// A value spelled as a history of this form spells it.
fn initial(text: &str, form: Form) -> Result<Datum, String> {
    let json = || serde_json::from_str::<serde_json::Value>(text).map_err(|error| in_words(&error));
    match form {
        Form::Edn => edn::value(text),
        Form::Json | Form::Lines => Ok(json()?.into()),
    }
}

/// The number of the line in which the byte `at` of `text` is, counted on from `last`, an earlier such place.
fn line_at(text: &str, last: &mut (usize, u32), at: usize) -> u32 {
    last.1 += text.as_bytes()[last.0..at].iter().filter(|byte| **byte == b'\n').count() as u32;
    last.0 = at;
    last.1
}

/// The README's example is compiled and run with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
