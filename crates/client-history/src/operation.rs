//! What clients did to registers, and what came of it.

use hashbrown::HashMap;

use crate::datum::Datum;

/// A value of a register: a number that the history gave it. [`Value::ABSENT`] for a register without one.
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

/// All operations of a history and what they name.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In the order of the text.
    pub operations: Vec<Operation>,
    /// The value of every register before the first operation; absent if none.
    pub initial: Option<Value>,
    /// It was read without keys, and every value is a pair.
    pub(crate) looks_keyed: bool,
    values: Named,
    keys: Named,
    clients: Named,
}

impl History {
    /// The same registers, values and clients, and nothing that they did.
    pub(crate) fn clone_without_operations(&self) -> History {
        History {
            operations: Vec::new(),
            initial: self.initial,
            looks_keyed: self.looks_keyed,
            values: self.values.clone(),
            keys: self.keys.clone(),
            clients: self.clients.clone(),
        }
    }

    /// The number of a value.
    pub fn value(&mut self, value: Datum) -> Value {
        if value == Datum::Nil { Value::ABSENT } else { Value(self.values.number(value) + 1) }
    }

    /// The number of a register; [`Datum::Nil`] is one without a name.
    pub fn key(&mut self, name: Datum) -> u32 {
        self.keys.number(name)
    }

    /// The number of a client.
    pub fn client(&mut self, name: Datum) -> u32 {
        self.clients.number(name)
    }

    /// The value that has this number.
    pub fn value_datum(&self, value: Value) -> &Datum {
        value.0.checked_sub(1).map_or(&Datum::Nil, |number| &self.values.data[number as usize])
    }

    /// What names a register; [`Datum::Nil`] if the history has one register without a name.
    pub fn key_datum(&self, key: u32) -> &Datum {
        &self.keys.data[key as usize]
    }

    /// All values but the absent one, all registers, all clients; each by its number, that of a value being greater by 1.
    pub(crate) fn data(&self) -> [&[Datum]; 3] {
        [&self.values.data, &self.keys.data, &self.clients.data]
    }

    /// The name of a register for people; empty if the history has one register without a name.
    pub fn key_text(&self, key: u32) -> String {
        self.key_datum(key).name()
    }

    /// The name of a client for people.
    pub fn client_text(&self, client: u32) -> String {
        self.clients.data[client as usize].name()
    }

    /// How many registers it names.
    pub fn keys(&self) -> u32 {
        self.keys.data.len() as u32
    }

    /// An operation in words: `read 3`, `cas 1 -> 2`, `write nil`.
    pub fn describe(&self, operation: &Operation) -> String {
        let text = |value| self.value_datum(value);
        match operation.action {
            // What an unanswered read found nobody knows.
            Action::Read(_) if operation.outcome != Outcome::Ok => "read".into(),
            Action::Read(value) => format!("read {}", text(value)),
            Action::Write(value) => format!("write {}", text(value)),
            Action::Cas(old, new) => format!("cas {} -> {}", text(old), text(new)),
        }
    }
}

/// What is named, and its numbers.
#[derive(Clone, Debug, Default)]
struct Named {
    numbers: HashMap<Datum, u32>,
    data: Vec<Datum>,
}

impl Named {
    fn number(&mut self, datum: Datum) -> u32 {
        if let Some(number) = self.numbers.get(&datum) {
            return *number;
        }
        let number = self.data.len() as u32;
        self.numbers.insert(datum.clone(), number);
        self.data.push(datum);
        number
    }
}
