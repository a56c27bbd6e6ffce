//! Which lines belong together: traversals, transactions, locks.
//!
//! Owns the pairing of starts and ends within one trace. Three things make it more than counting brackets. A nested
//! transaction's start may be missing (today's tracer does not write it), so a transaction reaches to the last commit
//! before the next start. A traversal that failed has no end. And a lock may be released in any order, by a line of
//! the other kind, or of another key of its chain: a database counts how often a chain is locked, not by what.
//!
//! Whether a lock was held at all is another question: [`super::held`].

use tdb_trace::BadLine;
use tdb_trace::op::{Op, Ops};

use super::chain::Spread;
use super::columns::Columns;

/// What a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupKind {
    /// From the first start to the last commit or cancel; nested ones are inside and of no effect of their own.
    Transaction {
        /// Its changes became visible.
        committed: bool,
    },
    /// A traversal.
    Traverse {
        /// It was started for writing.
        write: bool,
    },
    /// The lock of all chains.
    AllRecord {
        /// It was taken for writing.
        write: bool,
    },
    /// The lock of the chain of a key.
    Chain {
        /// The key.
        key: u32,
        /// It was taken for writing.
        write: bool,
    },
}

/// Rows of one trace that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// What it is.
    pub kind: GroupKind,
    /// The row that starts it.
    pub start: u32,
    /// The row that ends it, or the last row in it when its end is missing.
    pub end: u32,
    /// Its end is missing.
    pub open: bool,
    /// What it stands for was certainly held, from its first row to its last. A line can speak of a lock that the call
    /// did not get ([`super::held`]); what is not certain is not held against anybody.
    pub taken: bool,
}

impl Group {
    /// Whether this is a transaction.
    pub fn is_transaction(&self) -> bool {
        matches!(self.kind, GroupKind::Transaction { .. })
    }
}

/// Finds all groups of a trace, sorted by start, or the row that misses its partner. What they stand for is taken to
/// have been held.
/// `only_successes` says that the trace shows nothing that failed.
pub fn groups(
    rows: &Columns,
    spread: Spread<'_>,
    only_successes: bool,
) -> Result<Vec<Group>, (usize, BadLine)> {
    let mut groups = transactions(rows, only_successes)?;
    let mut pairs = Pairs { rows, spread, open: Vec::new(), done: Vec::new() };
    for (index, _) in rows.ops().iter().enumerate().filter(|&(_, &op)| PAIRED.has_number(op)) {
        pairs.row(index)?;
    }
    pairs.finish();
    groups.append(&mut pairs.done);
    groups.sort_unstable_by_key(|group| group.start);
    Ok(groups)
}

/// What may begin, end or be a step of a group that is not a transaction.
const PAIRED: Ops = Ops::of(&[
    Op::TraverseStart,
    Op::TraverseReadStart,
    Op::Traverse,
    Op::Traversefn,
    Op::TraverseEnd,
    Op::Lockall,
    Op::LockallRead,
    Op::LockallNonblock,
    Op::LockallReadNonblock,
    Op::Unlockall,
    Op::UnlockallRead,
    Op::Chainlock,
    Op::ChainlockRead,
    Op::ChainlockNonblock,
    Op::ChainlockReadNonblock,
    Op::Chainunlock,
    Op::ChainunlockRead,
]);

/// What begins or ends a transaction.
const TRANSACTIONAL: Ops = Ops::of(&[
    Op::TransactionStart,
    Op::TransactionCommit,
    Op::TransactionCancel,
    Op::TransactionPrepareCommit,
]);

fn missing<T>(row: usize, start: &str, found: Op) -> Result<T, (usize, BadLine)> {
    Err((
        row,
        BadLine {
            expected: format!("{start} before it"),
            found: format!("\"{}\" without one", found.name()),
        },
    ))
}

fn transactions(rows: &Columns, only_successes: bool) -> Result<Vec<Group>, (usize, BadLine)> {
    let mut found = Vec::new();
    let mut index = 0;
    while let Some(next) = rows.ops()[index..].iter().position(|&op| TRANSACTIONAL.has_number(op)) {
        index += next;
        match rows.op(index) {
            Op::TransactionStart => {
                let group = transaction(rows, index, only_successes);
                index = group.end as usize;
                found.push(group);
            }
            op @ (Op::TransactionCommit | Op::TransactionCancel | Op::TransactionPrepareCommit) => {
                return missing(index, "a tdb_transaction_start", op);
            }
            _ => {}
        }
        index += 1;
    }
    Ok(found)
}

fn transaction(rows: &Columns, start: usize, only_successes: bool) -> Group {
    let mut depth = 1u32;
    let mut end = None;
    let mut committed = true;
    for index in start + 1..rows.len() {
        match rows.op(index) {
            Op::TransactionStart if end.is_some() => break,
            Op::TransactionStart => depth += 1,
            Op::TransactionCommit => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    end = Some(index);
                }
            }
            // The start of a nested transaction is not written, so this line shows that one was open still.
            Op::TransactionPrepareCommit if end.is_some() => end = Some(index),
            Op::TransactionCancel if end.is_none() => {
                committed = false;
                depth -= 1;
                if depth == 0 {
                    end = Some(index);
                }
            }
            // A stray cancel does nothing; one that takes changes back shows in the sequence number.
            Op::TransactionCancel if index + 1 < rows.len() && rows.seq(index + 1) < rows.seq(index) => {
                committed = false;
                end = Some(index);
            }
            Op::TransactionCancel => end = Some(index),
            _ => {}
        }
    }
    let last = rows.len() - 1 - usize::from(rows.op(rows.len() - 1) == Op::Close);
    let open = end.is_none();
    let end = end.unwrap_or(last);
    Group {
        kind: GroupKind::Transaction {
            committed: committed && !open && (only_successes || !is_taken_back(rows, start, end)),
        },
        start: start as u32,
        end: end as u32,
        open,
        taken: true,
    }
}

/// Whether a commit failed: its line is written before it acts, and then the numbers go back to where they were. (Numbers
/// that begin again do not stop at the transaction's start.)
fn is_taken_back(rows: &Columns, start: usize, end: usize) -> bool {
    rows.op(end) == Op::TransactionCommit
        && number_after(rows, end).is_some_and(|number| (rows.seq(start)..rows.seq(end)).contains(&number))
}

/// The number that was there after row `end`, at most, as the next row shows it: before its own change, if that is one.
pub fn number_after(rows: &Columns, end: usize) -> Option<u32> {
    let next = end + 1;
    if next >= rows.len() {
        return None;
    }
    let row = rows.row(next);
    let moved = matches!(row.op, Op::Store | Op::Delete) && !row.failed() || row.op == Op::Append;
    Some(row.seq.saturating_sub(u32::from(moved)))
}

struct OpenGroup {
    kind: GroupKind,
    start: u32,
    last_step: u32,
}

/// Pairs starts and ends of everything but transactions.
struct Pairs<'a> {
    rows: &'a Columns,
    spread: Spread<'a>,
    open: Vec<OpenGroup>,
    done: Vec<Group>,
}

impl Pairs<'_> {
    fn row(&mut self, index: usize) -> Result<(), (usize, BadLine)> {
        let row = self.rows.row(index);
        match row.op {
            Op::TraverseStart => self.start(index, GroupKind::Traverse { write: true }),
            Op::TraverseReadStart => self.start(index, GroupKind::Traverse { write: false }),
            Op::Lockall => self.start(index, GroupKind::AllRecord { write: true }),
            Op::LockallRead => self.start(index, GroupKind::AllRecord { write: false }),
            Op::LockallNonblock if !row.failed() => self.start(index, GroupKind::AllRecord { write: true }),
            Op::LockallReadNonblock if !row.failed() => {
                self.start(index, GroupKind::AllRecord { write: false })
            }
            Op::Chainlock => self.start(index, GroupKind::Chain { key: row.key, write: true }),
            Op::ChainlockRead => self.start(index, GroupKind::Chain { key: row.key, write: false }),
            Op::ChainlockNonblock if !row.failed() => {
                self.start(index, GroupKind::Chain { key: row.key, write: true })
            }
            Op::ChainlockReadNonblock if !row.failed() => {
                self.start(index, GroupKind::Chain { key: row.key, write: false });
            }
            Op::Traverse | Op::Traversefn => self.step(index)?,
            Op::TraverseEnd => {
                self.end(index, "a tdb_traverse_start or tdb_traverse_read_start", traversal)?
            }
            Op::Unlockall => {
                self.end(index, "a tdb_lockall", |kind| kind == GroupKind::AllRecord { write: true })?;
            }
            Op::UnlockallRead => {
                self.end(index, "a tdb_lockall_read", |kind| kind == GroupKind::AllRecord { write: false })?;
            }
            Op::Chainunlock => self.end_chain(index, row.key, true)?,
            Op::ChainunlockRead => self.end_chain(index, row.key, false)?,
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, index: usize, kind: GroupKind) {
        self.open.push(OpenGroup { kind, start: index as u32, last_step: index as u32 });
    }

    /// A callback belongs to the innermost traversal.
    fn step(&mut self, index: usize) -> Result<(), (usize, BadLine)> {
        match self.open.iter_mut().rfind(|group| traversal(group.kind)) {
            Some(group) => group.last_step = index as u32,
            None => {
                return missing(
                    index,
                    "a tdb_traverse_start or tdb_traverse_read_start",
                    self.rows.op(index),
                );
            }
        }
        Ok(())
    }

    fn end(
        &mut self,
        index: usize,
        start: &str,
        fits: impl Fn(GroupKind) -> bool,
    ) -> Result<(), (usize, BadLine)> {
        let at = self.innermost(fits);
        self.end_at(index, start, at)
    }

    fn innermost(&self, fits: impl Fn(GroupKind) -> bool) -> Option<usize> {
        self.open.iter().rposition(|group| fits(group.kind))
    }

    fn end_at(&mut self, index: usize, start: &str, at: Option<usize>) -> Result<(), (usize, BadLine)> {
        let Some(at) = at else {
            return missing(index, start, self.rows.op(index));
        };
        let OpenGroup { kind, start, .. } = self.open.remove(at);
        self.done.push(Group { kind, start, end: index as u32, open: false, taken: true });
        Ok(())
    }

    /// What was locked with the same key and in the same way goes first.
    fn end_chain(&mut self, index: usize, key: u32, write: bool) -> Result<(), (usize, BadLine)> {
        let exact = GroupKind::Chain { key, write };
        let mut at = self.innermost(|kind| kind == exact);
        if at.is_none() {
            let chain = self.spread.chain(key);
            let of_chain = |kind, any: bool| match kind {
                GroupKind::Chain { key, write: held } => {
                    (any || held == write) && self.spread.chain(key) == chain
                }
                _ => false,
            };
            at = self
                .innermost(|kind| of_chain(kind, false))
                .or_else(|| self.innermost(|kind| of_chain(kind, true)));
        }
        let start = if write { "a tdb_chainlock of its chain" } else { "a tdb_chainlock_read of its chain" };
        self.end_at(index, start, at)
    }

    /// Closing the database releases every lock; a traversal without an end ended after its last callback.
    fn finish(&mut self) {
        let last = (self.rows.len().max(1) - 1) as u32;
        for OpenGroup { kind, start, last_step } in self.open.drain(..) {
            let end = if traversal(kind) { last_step } else { last };
            self.done.push(Group { kind, start, end, open: true, taken: true });
        }
    }
}

fn traversal(kind: GroupKind) -> bool {
    matches!(kind, GroupKind::Traverse { .. })
}
