//! Locks, transactions and traversals, in numbers.

use serde::Serialize;

use super::sizes::{Distribution, Sizes};
use crate::trace::op::Op;
use crate::trace::structure::{Group, GroupKind};
use crate::trace::{History, Trace};

/// How long locks of one kind were held.
#[derive(Clone, Debug, Serialize)]
pub struct LockHold {
    /// Which locks.
    pub kind: &'static str,
    /// How long each was held, in sequence numbers: changes by anybody meanwhile.
    pub held_seq: Sizes,
    /// How long each was held, in nanoseconds, where times were recorded.
    pub held_ns: Option<Sizes>,
    /// How long each was waited for, in nanoseconds, where times were recorded.
    pub waited_ns: Option<Sizes>,
}

/// Transactions of a history.
#[derive(Clone, Debug, Serialize)]
pub struct Transactions {
    /// Committed ones.
    pub committed: u64,
    /// Cancelled ones.
    pub cancelled: u64,
    /// Of the cancelled, those that their process left open.
    pub left_open: u64,
    /// Operations on keys in each.
    pub operations: Sizes,
}

/// Traversals of a history.
#[derive(Clone, Debug, Serialize)]
pub struct Traversals {
    /// Started for reading.
    pub read: u64,
    /// Started for writing.
    pub write: u64,
    /// Without an end: they failed, or the process died.
    pub without_end: u64,
    /// Records that each visited.
    pub visited: Sizes,
}

#[derive(Clone, Default)]
struct Held {
    seq: Distribution,
    held: Distribution,
    waited: Distribution,
}

const KINDS: [&str; 7] = [
    "chain lock, write",
    "chain lock, read",
    "all-record lock, write",
    "all-record lock, read",
    "transaction",
    "traversal, write",
    "traversal, read",
];

fn kind(group: &Group) -> usize {
    match group.kind {
        GroupKind::Chain { write, .. } => usize::from(!write),
        GroupKind::AllRecord { write } => 2 + usize::from(!write),
        GroupKind::Transaction { .. } => 4,
        GroupKind::Traverse { write } => 5 + usize::from(!write),
    }
}

/// How long locks were held, by kind.
pub(super) fn locks(history: &History) -> Vec<LockHold> {
    let mut held = vec![Held::default(); KINDS.len()];
    for trace in &history.traces {
        for group in trace.groups.iter().filter(|group| group.taken) {
            held[kind(group)].add(trace, group);
        }
    }
    let times = |times: &Distribution| (!times.is_empty()).then(|| times.sizes());
    let holds = KINDS.iter().zip(&held).filter(|(_, held)| !held.seq.is_empty());
    holds
        .map(|(kind, Held { seq, held, waited })| LockHold {
            kind,
            held_seq: seq.sizes(),
            held_ns: times(held),
            waited_ns: times(waited),
        })
        .collect()
}

impl Held {
    fn add(&mut self, trace: &Trace, group: &Group) {
        let (start, end) = (group.start as usize, group.end as usize);
        // A cancelled transaction ends with the number that it began with or less.
        let changes = trace.rows.seq(end).saturating_sub(trace.rows.seq(start));
        self.seq.add(u64::from(changes));
        if let (Some(taken), Some(released)) = (trace.rows.stamp(start), trace.rows.stamp(end)) {
            self.waited.add(taken.duration_ns);
            self.held.add(released.start_ns.saturating_sub(taken.end_ns()));
        }
    }
}

impl Transactions {
    pub(super) fn of(history: &History) -> Transactions {
        let mut sizes = Distribution::default();
        let mut transactions = Transactions {
            committed: 0,
            cancelled: 0,
            left_open: 0,
            operations: Distribution::default().sizes(),
        };
        for trace in &history.traces {
            for group in trace.groups.iter().filter(|group| group.is_transaction()) {
                match group.kind {
                    GroupKind::Transaction { committed: true } => transactions.committed += 1,
                    _ => transactions.cancelled += 1,
                }
                transactions.left_open += u64::from(group.open);
                let rows = group.start as usize..=group.end as usize;
                let on_keys = rows.filter(|&index| super::keys::key_of(trace.rows.row(index)).is_some());
                sizes.add(on_keys.count() as u64);
            }
        }
        transactions.operations = sizes.sizes();
        transactions
    }
}

impl Traversals {
    pub(super) fn of(history: &History) -> Traversals {
        let mut sizes = Distribution::default();
        let mut traversals = Traversals { read: 0, write: 0, without_end: 0, visited: sizes.sizes() };
        for trace in &history.traces {
            for group in &trace.groups {
                let GroupKind::Traverse { write } = group.kind else {
                    continue;
                };
                traversals.write += u64::from(write);
                traversals.read += u64::from(!write);
                traversals.without_end += u64::from(group.open);
                sizes.add(visited(trace, group));
            }
        }
        traversals.visited = sizes.sizes();
        traversals
    }
}

/// Records that a traversal itself visited: traversals inside it visit for themselves.
fn visited(trace: &Trace, group: &Group) -> u64 {
    let mut depth = 0u32;
    let mut visited = 0;
    for index in group.start as usize + 1..=group.end as usize {
        let row = trace.rows.row(index);
        match row.op {
            Op::TraverseStart | Op::TraverseReadStart => depth += 1,
            Op::TraverseEnd => depth = depth.saturating_sub(1),
            Op::Traverse if depth == 0 => visited += 1,
            Op::Traversefn if depth == 0 => visited += u64::from(row.a),
            _ => {}
        }
    }
    visited
}
