//! Plants one violation in a true history.
//!
//! Owns the sites: places where changing one result contradicts the history whatever the order, the sequence
//! numbers and the state before the history. They exist only where the value concerned is written once.

use super::{History, Kind, Operation, Random};
use crate::register::ValueId;
use std::collections::{HashMap, HashSet};

/// The kinds of violations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Violation {
    /// Two appends both extended the same value: one of them is gone.
    LostUpdate,
    /// A process read what it had already seen replaced.
    StaleRead,
    /// A process read what a cancelled transaction had written.
    DirtyRead,
    /// A process read a value to which one append was applied twice.
    DuplicatedAppend,
    /// A process read a value that nobody wrote.
    FromNowhere,
}

impl Violation {
    /// All kinds.
    pub const ALL: [Violation; 5] = [
        Violation::LostUpdate,
        Violation::StaleRead,
        Violation::DirtyRead,
        Violation::DuplicatedAppend,
        Violation::FromNowhere,
    ];
}

/// A violation that was planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planted {
    /// Which kind.
    pub violation: Violation,
    /// The operation whose result was changed.
    pub operation: usize,
    /// Its key.
    pub key: u32,
}

/// Plants a violation at a random site; none if the history has no site for it.
///
/// What is planted is a violation under any order of the operations that keeps each process's own, also if the key
/// may have held anything before the history.
pub fn plant(history: &mut History, violation: Violation, random: &mut Random) -> Option<Planted> {
    let writers = count_writers(history);
    let sites = match violation {
        Violation::LostUpdate => lost_updates(history, &writers),
        Violation::StaleRead => stale_reads(history, &writers),
        Violation::DirtyRead => dirty_reads(history),
        Violation::DuplicatedAppend => duplicated_appends(history),
        Violation::FromNowhere => later_fetches(history),
    };
    if sites.is_empty() {
        return None;
    }
    let (operation, value) = sites[random.below(sites.len() as u32) as usize];
    let value = match violation {
        Violation::FromNowhere => history.new_value(ValueId::ABSENT),
        Violation::DuplicatedAppend => twice(history, value),
        _ => value,
    };
    if violation == Violation::LostUpdate {
        let written = history.operations[operation].written;
        history.values[written.0 as usize].0 = value;
    }
    history.operations[operation].found = value;
    Some(Planted { violation, operation, key: history.operations[operation].key })
}

/// The value that results from doing an append twice.
fn twice(history: &mut History, appended: ValueId) -> ValueId {
    let piece = history.values[appended.0 as usize].1;
    let value = history.new_value(appended);
    history.values[value.0 as usize].1 = piece;
    value
}

/// How often each value is written to its key.
fn count_writers(history: &History) -> Vec<u32> {
    let mut writers = vec![0; history.values.len()];
    for operation in history.operations.iter().filter(|operation| operation.modifies()) {
        writers[operation.written.0 as usize] += 1;
    }
    writers
}

/// What an operation shows the register to be when it is done, if it shows that.
fn shows(operation: &Operation) -> Option<ValueId> {
    match operation.kind {
        _ if operation.modifies() => Some(operation.written),
        Kind::Fetch => Some(operation.found),
        _ => None,
    }
}

/// Appends whose predecessor on the key is an append, with the value that the predecessor extended.
///
/// Both processes have written to the key before, so that neither append can have found that value as the one that
/// was there before the history.
fn lost_updates(history: &History, writers: &[u32]) -> Vec<(usize, ValueId)> {
    let mut last: HashMap<u32, (&Operation, bool)> = HashMap::new();
    let mut wrote: HashSet<(u32, u32)> = HashSet::new();
    let mut sites = vec![];
    for (index, operation) in history.operations.iter().enumerate() {
        if !operation.modifies() {
            continue;
        }
        let later = !wrote.insert((operation.process, operation.key));
        if let Some((before, true)) = last.insert(operation.key, (operation, later))
            && before.kind == Kind::Append
            && operation.kind == Kind::Append
            && later
            && writers[before.found.0 as usize] == 1
            && before.found != ValueId::ABSENT
        {
            sites.push((index, before.found));
        }
    }
    sites
}

/// Fetches of a process that wrote a value and then saw another, with the first.
fn stale_reads(history: &History, writers: &[u32]) -> Vec<(usize, ValueId)> {
    // Per process and key: a value written, and whether another was seen after it.
    let mut written: HashMap<(u32, u32), (ValueId, bool)> = HashMap::new();
    let mut sites = vec![];
    for (index, operation) in history.operations.iter().enumerate() {
        let Some(shown) = shows(operation) else { continue };
        let place = (operation.process, operation.key);
        if operation.kind == Kind::Fetch
            && let Some(&(value, true)) = written.get(&place)
        {
            sites.push((index, value));
        }
        match written.get_mut(&place) {
            Some((value, replaced)) => *replaced |= *value != shown,
            None if operation.modifies() && writers[shown.0 as usize] == 1 && shown != ValueId::ABSENT => {
                written.insert(place, (shown, false));
            }
            None => {}
        }
    }
    sites
}

/// Fetches of processes that have seen another value on the key before: what they read now cannot be the key's
/// first value.
fn later_fetches(history: &History) -> Vec<(usize, ValueId)> {
    let mut seen: HashMap<(u32, u32), ValueId> = HashMap::new();
    let mut sites = vec![];
    for (index, operation) in history.operations.iter().enumerate() {
        let Some(shown) = shows(operation) else { continue };
        let before = seen.insert((operation.process, operation.key), shown);
        if let (Kind::Fetch, Some(before)) = (operation.kind, before) {
            sites.push((index, before));
        }
    }
    sites
}

/// Later fetches, with the value that a cancelled transaction wrote to the key before.
fn dirty_reads(history: &History) -> Vec<(usize, ValueId)> {
    let mut cancelled: HashMap<u32, ValueId> = HashMap::new();
    let mut fetches = later_fetches(history).into_iter().peekable();
    let mut sites = vec![];
    for (index, operation) in history.operations.iter().enumerate() {
        if operation.kind == Kind::CancelledStore {
            cancelled.insert(operation.key, operation.written);
        }
        if fetches.next_if(|site| site.0 == index).is_some()
            && let Some(&value) = cancelled.get(&operation.key)
        {
            sites.push((index, value));
        }
    }
    sites
}

/// Later fetches, with a value that an append wrote to the key before.
fn duplicated_appends(history: &History) -> Vec<(usize, ValueId)> {
    let mut appended: HashMap<u32, ValueId> = HashMap::new();
    let mut fetches = later_fetches(history).into_iter().peekable();
    let mut sites = vec![];
    for (index, operation) in history.operations.iter().enumerate() {
        if operation.kind == Kind::Append {
            appended.insert(operation.key, operation.written);
        }
        if fetches.next_if(|site| site.0 == index).is_some()
            && let Some(&value) = appended.get(&operation.key)
        {
            sites.push((index, value));
        }
    }
    sites
}
