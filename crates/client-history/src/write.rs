//! Histories for other checkers.
//!
//! Owns that what is written says the same as what was read: different values stay different, or nothing is written.

use std::fmt::Write;

use hashbrown::HashMap;

use crate::Form;
use crate::datum::Datum;
use crate::events::{Event, events};
use crate::operation::{Action, History, Operation, Outcome, Value};

/// Why a history cannot be written in a form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Its times have no one order.
    #[error(
        "line {line}: several clients return and call again at {time}, on one register; events stand in one order, which would say \
         more than these times do. Use a finer clock, or write it as JSON lines"
    )]
    Times {
        /// The line of one of the calls.
        line: u32,
        /// The time.
        time: u64,
    },
    /// Two things would become one.
    #[error(
        "line {line}: the {what} {one} and the {what} {other} of line {other_line} are two, and this form would spell both {spelled}; \
         write it in another form"
    )]
    Alike {
        /// The line of the first operation that names one.
        line: u32,
        /// `value`, `key` or `client`.
        what: &'static str,
        /// One.
        one: Datum,
        /// The other.
        other: Datum,
        /// The line of the first operation that names the other.
        other_line: u32,
        /// How both would be spelled.
        spelled: String,
    },
    /// A cas of sequences looks like a key with a cas.
    #[error(
        "line {line}: a cas of arrays would look like a pair of a key and a cas; write it as JSON lines, or name the register \
         (\"key\")"
    )]
    Cas {
        /// The line of its call.
        line: u32,
    },
}

/// Whether the values of `history`, written in `form`, are pairs of a key and a value: if it names any keys. Who reads it has
/// to know ([`Options::keyed`](crate::Options::keyed)).
pub fn is_keyed(history: &History, form: Form) -> bool {
    form != Form::Lines && (0..history.keys()).any(|key| *history.key_datum(key) != Datum::Nil)
}

/// Writes `history` in `form`. In Jepsen's two forms values become pairs of key and value if it [names any
/// keys](is_keyed). In JSON what only EDN has (keywords, sets) becomes a text.
///
/// # Errors
/// Two values, keys or clients would become one. In Jepsen's two forms: its times have no one order, or a cas without a key
/// compares sequences.
pub fn write(history: &History, form: Form) -> Result<String, WriteError> {
    let written = Written::of(history, form)?;
    let mut out = String::new();
    if form == Form::Lines {
        for operation in &history.operations {
            let _ = writeln!(out, "{}", written.plain(operation));
        }
        return Ok(out);
    }
    let keyed = is_keyed(history, form);
    if !keyed {
        refuse_cas_of_sequences(history)?;
    }
    for event in events(history)? {
        let _ =
            writeln!(out, "{}", written.event(&history.operations[event.operation as usize], event, keyed));
    }
    Ok(out)
}

fn refuse_cas_of_sequences(history: &History) -> Result<(), WriteError> {
    let is_sequence = |value| matches!(history.value_datum(value), Datum::Seq(_));
    let compares = |operation: &&Operation| match operation.action {
        Action::Cas(old, new) => is_sequence(old) || is_sequence(new),
        _ => false,
    };
    match history.operations.iter().find(compares) {
        Some(operation) => Err(WriteError::Cas { line: operation.lines.call }),
        None => Ok(()),
    }
}

/// All that a history names as one form spells it.
struct Written {
    form: Form,
    nil: &'static str,
    values: Vec<String>,
    keys: Vec<String>,
    clients: Vec<String>,
}

impl Written {
    fn of(history: &History, form: Form) -> Result<Written, WriteError> {
        let [values, keys, clients] = history.data();
        let spelled = |what, data: &[Datum]| {
            let spelled: Vec<String> = data.iter().map(|datum| spelled(datum, form)).collect();
            refuse_alike(history, what, data, &spelled).map(|()| spelled)
        };
        Ok(Written {
            form,
            nil: if form == Form::Edn { "nil" } else { "null" },
            values: spelled("value", values)?,
            keys: spelled("key", keys)?,
            // Events number their processes.
            clients: if form == Form::Lines { spelled("client", clients)? } else { Vec::new() },
        })
    }

    fn value(&self, value: Value) -> &str {
        value.0.checked_sub(1).map_or(self.nil, |number| &self.values[number as usize])
    }

    fn pair(&self, one: &str, other: &str) -> String {
        let between = if self.form == Form::Edn { " " } else { "," };
        format!("[{one}{between}{other}]")
    }

    fn action(&self, action: Action) -> String {
        match action {
            Action::Read(value) | Action::Write(value) => self.value(value).to_owned(),
            Action::Cas(old, new) => self.pair(self.value(old), self.value(new)),
        }
    }

    fn plain(&self, operation: &Operation) -> String {
        let client = &self.clients[operation.client as usize];
        let (op, value) = (function(operation.action), self.action(operation.action));
        let mut line = format!(r#"{{"client":{client},"op":"{op}","#);
        let key = &self.keys[operation.key as usize];
        if key != self.nil {
            let _ = write!(line, r#""key":{key},"#);
        }
        let _ = write!(line, r#""value":{value},"call":{}"#, operation.call);
        if let Some(end) = operation.end {
            let _ = write!(line, r#","return":{end}"#);
        }
        let outcome = match operation.outcome {
            Outcome::Ok => "ok",
            Outcome::Failed => "fail",
            Outcome::Unknown => "unknown",
        };
        line + &format!(r#","outcome":"{outcome}"}}"#)
    }

    fn event(&self, operation: &Operation, event: Event, keyed: bool) -> String {
        let Event { kind, process, .. } = event;
        // A read knows its value at its end only.
        let says_value = !matches!(operation.action, Action::Read(_)) || kind == "ok";
        let value = if says_value { self.action(operation.action) } else { self.nil.to_owned() };
        let value = if keyed { self.pair(&self.keys[operation.key as usize], &value) } else { value };
        let f = function(operation.action);
        match self.form {
            Form::Edn => format!("{{:type :{kind}, :process {process}, :f :{f}, :value {value}}}"),
            _ => format!(r#"{{"type":"{kind}","process":{process},"f":"{f}","value":{value}}}"#),
        }
    }
}

fn function(action: Action) -> &'static str {
    match action {
        Action::Read(_) => "read",
        Action::Write(_) => "write",
        Action::Cas(..) => "cas",
    }
}

/// A datum in `form`, in one line without control characters.
fn spelled(datum: &Datum, form: Form) -> String {
    if form == Form::Edn {
        return datum.for_edn().to_string();
    }
    let json = datum.for_json().to_string();
    if !json.contains(char::is_control) {
        return json;
    }
    // JSON lets some stand in texts as they are.
    let escaped = |letter: char| match letter.is_control() {
        true => format!("\\u{:04x}", letter as u32),
        false => letter.to_string(),
    };
    json.chars().map(escaped).collect()
}

/// Refuses two of `data` that are spelled as one.
fn refuse_alike(
    history: &History,
    what: &'static str,
    data: &[Datum],
    spelled: &[String],
) -> Result<(), WriteError> {
    let mut known: HashMap<&str, usize> = HashMap::with_capacity(data.len());
    for (number, text) in spelled.iter().enumerate() {
        if let Some(other) = known.insert(text, number) {
            return Err(WriteError::Alike {
                line: first_line(history, what, number as u32),
                what,
                one: data[number].clone(),
                other: data[other].clone(),
                other_line: first_line(history, what, other as u32),
                spelled: text.clone(),
            });
        }
    }
    Ok(())
}

/// The line of the first operation that names this value, key or client; 0 if only the declared beginning does.
fn first_line(history: &History, what: &str, number: u32) -> u32 {
    let value = Value(number + 1);
    let names = |operation: &&Operation| match (what, operation.action) {
        ("key", _) => operation.key == number,
        ("client", _) => operation.client == number,
        (_, Action::Read(one) | Action::Write(one)) => one == value,
        (_, Action::Cas(old, new)) => old == value || new == value,
    };
    history.operations.iter().find(names).map_or(0, |operation| operation.lines.call)
}
