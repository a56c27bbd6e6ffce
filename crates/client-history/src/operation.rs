//! What clients did to registers, and what came of it.

use hashbrown::HashMap;

/// A value of a register: a number that the history gave its text. [`Value::ABSENT`] for a register without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(pub u32);

impl Value {
    /// The register holds nothing: `nil` or `null`.
    pub const ABSENT: Value = Value(0);
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read; the value is what was found.
    Read(Value),
    /// Write this value.
    Write(Value),
    /// Compare and set: write the second value if the register holds the first.
    Cas(Value, Value),
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It happened, between call and return.
    Ok,
    /// It did not happen and never will.
    Failed,
    /// Nobody knows; it may still happen at any time after its call.
    Unknown,
}

/// Where an operation stands in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lines {
    /// The line of its call.
    pub call: u32,
    /// The line of its return, if it has one of its own.
    pub end: Option<u32>,
}

/// One operation of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The client, numbered by the history.
    pub client: u32,
    /// The register, numbered by the history.
    pub key: u32,
    /// What was asked for.
    pub action: Action,
    /// What came of it.
    pub outcome: Outcome,
    /// When it was called, on one clock for all clients.
    pub call: u64,
    /// When it returned; for an unknown outcome the time at which the client gave up, if that is known.
    pub end: Option<u64>,
    /// Where it stands.
    pub lines: Lines,
}

/// All operations of a history and the texts of their parts.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In the order of the text.
    pub operations: Vec<Operation>,
    /// The value of every register before the first operation; absent if none.
    pub initial: Option<Value>,
    values: Texts,
    keys: Texts,
    clients: Texts,
}

impl History {
    /// The same registers, values and clients, and nothing that they did.
    pub(crate) fn clone_without_operations(&self) -> History {
        History {
            operations: Vec::new(),
            initial: self.initial,
            values: self.values.clone(),
            keys: self.keys.clone(),
            clients: self.clients.clone(),
        }
    }

    /// The number of a value; `None` for the absent one.
    pub fn value(&mut self, text: Option<&str>) -> Value {
        text.map_or(Value::ABSENT, |text| Value(self.values.number(text) + 1))
    }

    /// The number of a register.
    pub fn key(&mut self, text: &str) -> u32 {
        self.keys.number(text)
    }

    /// The number of a client.
    pub fn client(&mut self, text: &str) -> u32 {
        self.clients.number(text)
    }

    /// The text of a value; `None` for the absent one.
    pub fn value_text(&self, value: Value) -> Option<&str> {
        value.0.checked_sub(1).map(|number| self.values.text(number))
    }

    /// The text of a register's name; empty if the history has one register without a name.
    pub fn key_text(&self, key: u32) -> &str {
        self.keys.text(key)
    }

    /// The text of a client's name.
    pub fn client_text(&self, client: u32) -> &str {
        self.clients.text(client)
    }

    /// How many registers it names.
    pub fn keys(&self) -> u32 {
        self.keys.texts.len() as u32
    }

    /// An operation in words: `read 3`, `cas 1 -> 2`, `write nil`.
    pub fn describe(&self, operation: &Operation) -> String {
        let text = |value| self.value_text(value).unwrap_or("nil");
        match operation.action {
            // What an unanswered read found nobody knows.
            Action::Read(_) if operation.outcome != Outcome::Ok => "read".into(),
            Action::Read(value) => format!("read {}", text(value)),
            Action::Write(value) => format!("write {}", text(value)),
            Action::Cas(old, new) => format!("cas {} -> {}", text(old), text(new)),
        }
    }
}

/// Texts and their numbers.
#[derive(Clone, Debug, Default)]
struct Texts {
    numbers: HashMap<String, u32>,
    texts: Vec<String>,
}

impl Texts {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.texts.len() as u32;
        self.numbers.insert(text.to_owned(), number);
        self.texts.push(text.to_owned());
        number
    }

    fn text(&self, number: u32) -> &str {
        &self.texts[number as usize]
    }
}
