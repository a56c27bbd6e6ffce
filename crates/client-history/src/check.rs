//! Whether a history of registers is linearizable.
//!
//! Owns the translation to `history`'s terms: an operation that failed never happened and says nothing; a read whose
//! outcome is unknown says nothing either; any other unknown operation happened once at some time after its call, or
//! never. Registers are independent of each other, so each is checked alone.

use hashbrown::HashSet;
use history::linearizability::{self, Answer, Call, Promise};
use history::register::{Effect, Need, ValueId};
use history::solver::{Beginning, Limits};
use serde::Serialize;

use crate::operation::{Action, History, Operation, Outcome, Value};

/// What a history turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Each operation can have happened at one moment between its call and its return.
    Explained,
    /// A search reached its bound; the answer is not known.
    GaveUp,
    /// It is proved that this cannot be.
    Impossible,
}

/// What would explain that there is no order, if it is not the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Every value is a pair of a key and a value, it seems, and they were taken for values of one register.
    Keyed,
    /// This operation (index) found a value that no operation writes: a client's history may be missing.
    Unwritten(u32),
    /// Each client's own order can be kept on every register, the times of all cannot: clocks may differ.
    Clocks,
}

/// What would explain the findings of `checked`, if anything: what each register's first operation of that kind found.
pub fn hints(history: &History, checked: &Checked, limits: Limits) -> Vec<Hint> {
    if checked.verdict() != Verdict::Impossible {
        return Vec::new();
    }
    if history.looks_keyed {
        return vec![Hint::Keyed];
    }
    let wrote = |operation: &Operation| match operation.action {
        Action::Write(value) | Action::Cas(_, value) => Some((operation.key, value)),
        Action::Read(_) => None,
    };
    let written: HashSet<(u32, Value)> = history.operations.iter().filter_map(wrote).collect();
    let initial = history.initial.unwrap_or(Value::ABSENT);
    let is_unwritten = |&&index: &&u32| {
        let operation = &history.operations[index as usize];
        let found = match operation.action {
            Action::Read(value) | Action::Cas(value, _) => value,
            Action::Write(_) => return false,
        };
        operation.outcome == Outcome::Ok && found != initial && !written.contains(&(operation.key, found))
    };
    let unwritten =
        checked.findings.iter().filter_map(|finding| finding.operations.iter().find(is_unwritten));
    let hints: Vec<Hint> = unwritten.map(|&index| Hint::Unwritten(index)).collect();
    if !hints.is_empty() {
        return hints;
    }
    match check_for(history, limits, Promise::SequentialPerKey).verdict() {
        Verdict::Explained => vec![Hint::Clocks],
        _ => Vec::new(),
    }
}

/// What was found about one register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The register.
    pub key: u32,
    /// The operations (indexes) that have no order together; none if the search gave up.
    pub operations: Vec<u32>,
    /// None of them can be forgotten: if one counted only as something that may have written what it writes, at any time, the
    /// rest would have an order.
    pub minimal: bool,
    /// The bound at which the search gave up, in states.
    pub gave_up: Option<u64>,
}

/// The answer for a whole history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Registers that are not explained.
    pub findings: Vec<Finding>,
    /// For each register that is: its operations (indexes) in an order that explains them, with the time of each.
    pub witness: Vec<(u32, Vec<(u32, u64)>)>,
}

impl Checked {
    /// The worst of all registers.
    pub fn verdict(&self) -> Verdict {
        let of = |finding: &Finding| match finding.gave_up {
            Some(_) => Verdict::GaveUp,
            None => Verdict::Impossible,
        };
        self.findings.iter().map(of).max().unwrap_or(Verdict::Explained)
    }
}

/// Checks every register of `history`.
pub fn check(history: &History, limits: Limits) -> Checked {
    check_for(history, limits, Promise::Linearizable)
}

fn check_for(history: &History, limits: Limits, promise: Promise) -> Checked {
    let mut calls = Vec::new();
    let mut sources = Vec::new();
    let clients =
        history.operations.iter().map(|operation| operation.client).max().map_or(0, |last| last + 1);
    for (index, operation) in (0u32..).zip(&history.operations) {
        // What a client does after an unknown outcome does not wait for it.
        let process = if operation.outcome == Outcome::Unknown { clients + index } else { operation.client };
        if let Some(call) = call(operation, process) {
            calls.push(call);
            sources.push(index);
        }
    }
    let beginning = match history.initial {
        None | Some(Value::ABSENT) => Beginning::Absent,
        Some(value) => Beginning::Value(id(value)),
    };
    let check = linearizability::Check { promise, beginning, limits };
    let mut checked = Checked::default();
    linearizability::check(&calls, &check, |key, answer| match answer {
        Answer::Witness(order) => {
            let order = order.into_iter().map(|(call, time)| (sources[call as usize], time)).collect();
            checked.witness.push((key, order));
        }
        Answer::Contradicted(contradiction) => {
            let operations = contradiction.conflicts.iter().map(|conflict| sources[conflict.unit as usize]);
            let operations = operations.collect();
            checked.findings.push(Finding { key, operations, minimal: contradiction.minimal, gave_up: None });
        }
        Answer::GaveUp { bound } => {
            checked.findings.push(Finding {
                key,
                operations: Vec::new(),
                minimal: false,
                gave_up: Some(bound),
            });
        }
    });
    checked
}

fn call(operation: &Operation, process: u32) -> Option<Call> {
    let (need, effect) = match (operation.action, operation.outcome) {
        (_, Outcome::Failed) | (Action::Read(_), Outcome::Unknown) => return None,
        (Action::Read(value), Outcome::Ok) => (Need::Exactly(id(value)), Effect::Keep),
        (Action::Write(value), _) => (Need::Anything, Effect::Put(id(value))),
        (Action::Cas(old, new), _) => (Need::Exactly(id(old)), Effect::Put(id(new))),
    };
    let returned_at = operation.end.filter(|_| operation.outcome == Outcome::Ok);
    Some(Call { process, key: operation.key, need, effect, invoked_at: operation.call, returned_at })
}

/// The value in the search's terms, where 1 means "present and empty", which registers do not know.
fn id(value: Value) -> ValueId {
    if value == Value::ABSENT { ValueId::ABSENT } else { ValueId(value.0 + 1) }
}
