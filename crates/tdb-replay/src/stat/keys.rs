//! Which keys are used, by how many traces, and which are contended for.

use serde::Serialize;
use tdb_trace::bad_line::show;

use crate::trace::columns::{NONE, Row};
use crate::trace::op::Op;
use crate::trace::structure::GroupKind;
use crate::trace::{History, Trace};

/// How the keys of a history are used.
#[derive(Clone, Debug, Serialize)]
pub struct KeyUse {
    /// Keys that any operation names.
    pub used: usize,
    /// Of these, keys that somebody changed.
    pub changed: usize,
    /// Keys that more than one trace changed.
    pub changed_by_several: usize,
    /// Keys that one trace changed and others looked at.
    pub changed_and_read_by_others: usize,
    /// Operations that name a key.
    pub operations: u64,
    /// Operations on keys that more than one trace changed.
    pub contended_operations: u64,
    /// The keys with the most operations.
    pub hot: Vec<Key>,
    /// The keys that most traces changed; equal ones by changes.
    pub contended: Vec<Key>,
}

/// One key.
#[derive(Clone, Debug, Serialize)]
pub struct Key {
    /// Its bytes as text, quoted and escaped, cut where they get long.
    pub key: String,
    /// Operations that name it.
    pub operations: u32,
    /// Changes of it, cancelled ones not counted.
    pub changes: u32,
    /// Traces that name it.
    pub traces: u16,
    /// Traces that changed it.
    pub writers: u16,
}

#[derive(Clone, Copy, Default)]
struct Count {
    operations: u32,
    changes: u32,
    traces: u16,
    writers: u16,
    /// The last trace that was counted in `traces` and `writers`, plus one.
    seen: u16,
    wrote: u16,
}

impl KeyUse {
    pub(super) fn of(history: &History, top: usize) -> KeyUse {
        let mut counts = vec![Count::default(); history.records.keys.len()];
        for (number, trace) in (1..).zip(&history.traces) {
            count(trace, number, &mut counts);
        }
        let mut used: Vec<u32> =
            (0..).zip(&counts).filter(|(_, count)| count.operations > 0).map(|(key, _)| key).collect();
        let of = |key: &u32| counts[*key as usize];
        let sum = |fits: &dyn Fn(&Count) -> bool| counts.iter().filter(|&count| fits(count)).count();
        let name = |keys: &[u32]| keys.iter().take(top).map(|key| named(history, *key, of(key))).collect();
        used.sort_by_key(|key| std::cmp::Reverse(of(key).operations));
        let hot = name(&used);
        used.retain(|key| of(key).writers > 1);
        used.sort_by_key(|key| std::cmp::Reverse((of(key).writers, of(key).changes)));
        KeyUse {
            used: sum(&|count| count.operations > 0),
            changed: sum(&|count| count.writers > 0),
            changed_by_several: used.len(),
            changed_and_read_by_others: sum(&|count| count.writers == 1 && count.traces > 1),
            operations: counts.iter().map(|count| u64::from(count.operations)).sum(),
            contended_operations: used.iter().map(|key| u64::from(of(key).operations)).sum(),
            hot,
            contended: name(&used),
        }
    }
}

fn named(history: &History, key: u32, count: Count) -> Key {
    let Count { operations, changes, traces, writers, .. } = count;
    Key { key: name(history, key), operations, changes, traces, writers }
}

/// A key's bytes as text for people.
pub fn name(history: &History, key: u32) -> String {
    match history.records.keys.bytes(key) {
        b"" => "\"\"".into(),
        bytes => show(bytes),
    }
}

fn count(trace: &Trace, number: u16, counts: &mut [Count]) {
    let mut cancelled = trace
        .groups
        .iter()
        .filter(|group| group.kind == GroupKind::Transaction { committed: false })
        .peekable();
    for index in 0..trace.rows.len() {
        let row = trace.rows.row(index);
        while cancelled.next_if(|group| (group.end as usize) < index).is_some() {}
        let counts_not = cancelled.peek().is_some_and(|group| group.start as usize <= index);
        let Some(key) = key_of(row) else { continue };
        let count = &mut counts[key as usize];
        count.operations += 1;
        if count.seen != number {
            count.seen = number;
            count.traces += 1;
        }
        if changes(row) && !counts_not {
            count.changes += 1;
            if count.wrote != number {
                count.wrote = number;
                count.writers += 1;
            }
        }
    }
}

/// The key that a row reads or changes. Locks name a chain, not a key.
pub fn key_of(row: Row) -> Option<u32> {
    match row.op {
        Op::Fetch
        | Op::Store
        | Op::Storev
        | Op::Delete
        | Op::Append
        | Op::Exists
        | Op::ParseRecord
        | Op::Traverse => Some(row.key),
        Op::Firstkey | Op::Nextkey if row.a != NONE => Some(row.a),
        _ => None,
    }
}

/// Whether a row changes its key, its transaction's end aside.
pub fn changes(row: Row) -> bool {
    match row.op {
        Op::Store | Op::Delete => !row.failed(),
        Op::Storev | Op::Append => true,
        _ => false,
    }
}
