//! Which of the locks that a trace speaks of were certainly held.
//!
//! Owns the rules by which a call for a lock fails. libtdb writes `tdb_lockall` before it asks for the lock, and
//! `tdb_chainlock` whether it got the lock or not, so a line alone proves nothing. What proves that the lock was held is
//! the line that releases it, the result of a form that does not wait, or a recorder that writes successes only (ours,
//! which shows in what it adds). Against that stand the rules of the library, under which a call must have failed
//! whatever the program did afterwards: docs/ordering.md, "Locks that were not taken", lists them.
//!
//! A lock that may not have been held is not a constraint for anybody. Nothing is lost by that: every order that obeys
//! it also explains the history without it.

use tdb_trace::{Op, Opened};

use super::chain::Spread;
use super::columns::Columns;
use super::structure::{Group, GroupKind};

/// `TDB_INTERNAL` and `TDB_NOLOCK` of tdb.h.
const WITHOUT_LOCKS: u32 = 2 | 4;

/// Whether a process that opened the database like this takes locks; one that only reads does not.
pub fn takes_locks(opened: &Opened) -> bool {
    opened.tdb_flags & WITHOUT_LOCKS == 0 && opened.open_flags & 3 != 0
}

/// How sure it is that a lock was held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Holding {
    /// The call failed, or changed nothing because another lock of its process covers it.
    Nothing,
    Possible,
    Certain,
}

/// One trace, as the rules look at it.
pub(super) struct Told<'a> {
    /// Its rows.
    pub rows: &'a Columns,
    /// How its process opened the database.
    pub opened: &'a Opened,
    /// Which chains its keys are on.
    pub spread: Spread<'a>,
    /// Its recorder writes nothing of locks that were not taken.
    pub only_successes: bool,
}

impl Told<'_> {
    /// Decides which groups, sorted by start, are [`Group::taken`].
    pub fn settle(&self, groups: &mut [Group]) {
        let transactions: Vec<(u32, u32)> = groups
            .iter()
            .filter(|group| group.is_transaction())
            .map(|group| (group.start, group.end))
            .collect();
        let mut open: Vec<(Group, Holding)> = Vec::new();
        for group in groups.iter_mut().filter(|group| !group.is_transaction()) {
            open.retain(|(other, _)| other.end > group.start);
            let holding = match takes_locks(self.opened) {
                true => self.holding(group, &open, &transactions),
                false => Holding::Nothing,
            };
            group.taken = holding == Holding::Certain;
            if holding != Holding::Nothing {
                open.push((*group, holding));
            }
        }
    }

    fn holding(&self, group: &Group, open: &[(Group, Holding)], transactions: &[(u32, u32)]) -> Holding {
        if matches!(group.kind, GroupKind::Traverse { .. }) {
            return Holding::Certain;
        }
        if goes_with_no_lock(group, transactions) || self.is_belied(group) {
            return Holding::Nothing;
        }
        let is_counted =
            matches!(group.kind, GroupKind::Chain { key, write } if self.is_nested(key, write, open));
        let proven = match group.open && !is_counted && !self.succeeded(group.start as usize) {
            true => Holding::Possible,
            false => Holding::Certain,
        };
        let limit = |(other, holding): &(Group, Holding)| match group.kind {
            GroupKind::AllRecord { write } => all_beside(write, other, *holding),
            GroupKind::Chain { write: true, .. } if !is_counted => chain_beside(true, other, *holding),
            GroupKind::Chain { .. } => chain_beside(false, other, *holding),
            _ => Holding::Certain,
        };
        open.iter().map(limit).fold(proven, Holding::min)
    }

    /// Whether the line itself says that the lock was taken.
    fn succeeded(&self, row: usize) -> bool {
        let says = matches!(
            self.rows.op(row),
            Op::LockallNonblock | Op::LockallReadNonblock | Op::ChainlockNonblock | Op::ChainlockReadNonblock
        );
        says || self.only_successes
    }

    /// Whether something got a chain for writing that all records locked for reading would have kept from it. (In a
    /// traversal for reading a store writes its line without asking for a lock, and a delete does so always.)
    fn is_belied(&self, group: &Group) -> bool {
        if group.kind != (GroupKind::AllRecord { write: false }) {
            return false;
        }
        let mut reading = 0_u32;
        (group.start + 1..group.end).any(|row| {
            let row = self.rows.row(row as usize);
            match row.op {
                Op::TraverseReadStart => reading += 1,
                Op::TraverseEnd => reading = reading.saturating_sub(1),
                _ => {}
            }
            match row.op {
                Op::Store | Op::Storev => reading == 0,
                Op::Append | Op::WipeAll => true,
                Op::Delete => !row.failed(),
                _ => false,
            }
        })
    }

    /// Whether the chain of `key` is held already in a way that suffices, so that another lock of it is only counted, and cannot fail.
    fn is_nested(&self, key: u32, write: bool, open: &[(Group, Holding)]) -> bool {
        open.iter().any(|(other, holding)| match other.kind {
            GroupKind::Chain { key: held, write: held_to_write } if held_to_write || !write => {
                *holding == Holding::Certain && self.spread.chain(held) == self.spread.chain(key)
            }
            _ => false,
        })
    }
}

/// A transaction is not started under a lock of its own process, and inside it every lock is only counted: neither goes
/// with a lock that is held for itself.
fn goes_with_no_lock(group: &Group, transactions: &[(u32, u32)]) -> bool {
    let after = transactions.partition_point(|&(start, _)| start < group.start);
    let inside = after > 0 && transactions[after - 1].1 > group.start;
    let around = transactions.get(after).is_some_and(|&(start, _)| start < group.end);
    inside || around
}

/// What a lock of all records is at most, when its process has `other` already.
fn all_beside(write: bool, other: &Group, holding: Holding) -> Holding {
    match (other.kind, holding) {
        (GroupKind::AllRecord { write: held }, _) if held == write => Holding::Certain,
        (_, Holding::Certain) => Holding::Nothing,
        _ => Holding::Possible,
    }
}

/// What a lock of a chain is at most, when its process has `other` already; `write` if the chain is not held for
/// writing yet and is to be.
fn chain_beside(write: bool, other: &Group, holding: Holding) -> Holding {
    match (other.kind, holding) {
        (GroupKind::Traverse { write: false }, _) if write => Holding::Nothing,
        (GroupKind::AllRecord { .. }, Holding::Certain) => Holding::Nothing,
        // If all was locked, it still is when the chain is released, which comes to the same.
        (GroupKind::AllRecord { write: held }, _) if other.open && (held || !write) => Holding::Certain,
        (GroupKind::AllRecord { .. }, _) => Holding::Possible,
        _ => Holding::Certain,
    }
}
