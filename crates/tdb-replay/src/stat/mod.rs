//! What a history consists of, found by looking at its rows and nothing else.
//!
//! Owns the counts and distributions that `quorate stat` shows. Nothing is ordered or replayed, so a history that no
//! order explains has statistics too. Keys are counted as the traces name them; what a cancelled transaction did to a
//! key counts as an operation on it, not as a change of it.
//!
//! * [`keys`]: which keys are used, changed, and contended for.
//! * [`groups`]: locks, transactions, traversals.
//! * [`sizes`]: a distribution, in a few numbers.

pub mod groups;
pub mod keys;
pub mod sizes;

use serde::Serialize;

use crate::trace::columns::{ABSENT, Row};
use crate::trace::dialect::Dialect;
use crate::trace::op::Op;
use crate::trace::{History, Trace};
use groups::{LockHold, Transactions, Traversals};
use keys::KeyUse;
use sizes::{Distribution, Sizes};

/// What a history consists of.
#[derive(Clone, Debug, Serialize)]
pub struct Statistics {
    /// How many traces.
    pub traces: usize,
    /// Lines of all traces.
    pub lines: u64,
    /// Bytes of trace text.
    pub text_bytes: u64,
    /// Who wrote the traces.
    pub dialect: Dialect,
    /// Operations by name, most frequent first.
    pub operations: Vec<OperationCount>,
    /// How keys are used.
    pub keys: KeyUse,
    /// Bytes of the keys that operations name.
    pub key_bytes: Sizes,
    /// Bytes of the values that stores and appends left.
    pub written_bytes: Sizes,
    /// Bytes of the values that fetches and traversals found.
    pub read_bytes: Sizes,
    /// How long locks were held, by kind; kinds that were never taken are missing.
    pub locks: Vec<LockHold>,
    /// Transactions.
    pub transactions: Transactions,
    /// Traversals.
    pub traversals: Traversals,
    /// From the first call to the last answer, where every trace has times: nanoseconds.
    pub span_ns: Option<u64>,
}

/// How often one operation was done.
#[derive(Clone, Debug, Serialize)]
pub struct OperationCount {
    /// Its name in traces.
    pub name: &'static str,
    /// How often.
    pub count: u64,
    /// How often it found nothing or was refused.
    pub failed: u64,
    /// How long it took, in nanoseconds, where times were recorded.
    pub duration_ns: Option<Sizes>,
}

impl Statistics {
    /// Looks at `history`; of hot and contended keys the first `top` are named.
    pub fn of(history: &History, top: usize) -> Statistics {
        let mut bytes = RecordBytes::default();
        history.traces.iter().for_each(|trace| bytes.trace(history, trace));
        Statistics {
            traces: history.traces.len(),
            lines: history.lines(),
            text_bytes: history.text_bytes,
            dialect: history.dialect,
            operations: operations(history),
            keys: KeyUse::of(history, top),
            key_bytes: bytes.keys.sizes(),
            written_bytes: bytes.written.sizes(),
            read_bytes: bytes.read.sizes(),
            locks: groups::locks(history),
            transactions: Transactions::of(history),
            traversals: Traversals::of(history),
            span_ns: span(history),
        }
    }

    /// Operations of all kinds.
    pub fn operation_count(&self) -> u64 {
        self.operations.iter().map(|operation| operation.count).sum()
    }
}

fn operations(history: &History) -> Vec<OperationCount> {
    let mut counts = vec![(0, 0, Distribution::default()); Op::COUNT];
    counts[Op::Open as usize].0 = history.traces.len() as u64;
    for trace in &history.traces {
        for index in 0..trace.rows.len() {
            let row = trace.rows.row(index);
            let (count, failed, durations) = &mut counts[row.op as usize];
            *count += if row.op == Op::Traversefn { u64::from(row.a) } else { 1 };
            // The result of a storev is not recorded.
            *failed += u64::from(row.failed() && row.op != Op::Storev);
            if let Some(stamp) = trace.rows.stamp(index) {
                durations.add(stamp.duration_ns);
            }
        }
    }
    let mut counts: Vec<OperationCount> = Op::ALL
        .iter()
        .zip(counts)
        .filter(|(_, (count, ..))| *count > 0)
        .map(|(op, (count, failed, durations))| OperationCount {
            name: op.name(),
            count,
            failed,
            duration_ns: (!durations.is_empty()).then(|| durations.sizes()),
        })
        .collect();
    counts.sort_by_key(|operation| std::cmp::Reverse(operation.count));
    counts
}

#[derive(Default)]
struct RecordBytes {
    keys: Distribution,
    written: Distribution,
    read: Distribution,
}

impl RecordBytes {
    fn trace(&mut self, history: &History, trace: &Trace) {
        for index in 0..trace.rows.len() {
            let row = trace.rows.row(index);
            if let Some(key) = keys::key_of(row) {
                self.keys.add(history.records.keys.bytes(key).len() as u64);
            }
            let length = |value: u32| history.records.values.bytes(value).len() as u64;
            match written(row) {
                Some(value) => self.written.add(length(value)),
                None if matches!(row.op, Op::Fetch | Op::Traverse) && row.a != ABSENT => {
                    self.read.add(length(row.a))
                }
                None => {}
            }
        }
    }
}

/// The value that a row leaves in the database.
fn written(row: Row) -> Option<u32> {
    match row.op {
        Op::Store | Op::Storev if !row.failed() => Some(row.a),
        Op::Append => Some(row.b),
        _ => None,
    }
}

fn span(history: &History) -> Option<u64> {
    let mut first = u64::MAX;
    let mut last = 0;
    for trace in &history.traces {
        if !trace.rows.is_timed() {
            return None;
        }
        for stamp in (0..trace.rows.len()).filter_map(|index| trace.rows.stamp(index)) {
            first = first.min(stamp.start_ns);
            last = last.max(stamp.end_ns());
        }
    }
    last.checked_sub(first)
}
