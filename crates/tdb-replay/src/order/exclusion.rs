//! Locks that two processes cannot have held, by the times of their lines.
//!
//! Owns the question whether a history breaks what a lock promises. A lock was held at least from the end of the call that took it
//! to the start of the call that released it. If another process had a lock meanwhile that excludes this one, or did
//! something from beginning to end that needs one, no order explains it. Only locks that were certainly held count
//! ([`crate::trace::held`]), of processes that take locks; times are those of one clock (docs/trace-extended.md).
//! A transaction holds the transaction lock, and all chains for reading, from the end of its start to the start of its end.

use super::locks::Access;
use crate::trace::chain::{Hashing, Spread};
use crate::trace::columns::NONE;
use crate::trace::held::takes_locks;
use crate::trace::op::Op;
use crate::trace::structure::{Group, GroupKind};
use crate::trace::{History, Trace};
use crate::verdict::{Contradiction, Kind, Line};

/// Which locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Chain(u32),
    All,
    Transaction,
}

/// A lock in a process's hand.
#[derive(Clone, Copy, Debug)]
struct Hold {
    trace: u16,
    /// The row that took it, or made it one for writing.
    row: u32,
    of: Of,
    access: Access,
    /// It was held between these times at least, in nanoseconds.
    from: u64,
    to: u64,
}

/// Something that needs a lock at some moment between two times.
struct Need {
    row: u32,
    of: Of,
    access: Access,
    start: u64,
    end: u64,
}

impl Of {
    /// Whether the two can have a lock in common, and one of them wants it for writing.
    fn excludes(self, access: Access, other: Of, others: Access) -> bool {
        let meet = match (self, other) {
            (Of::Chain(one), Of::Chain(other)) => one == other,
            (Of::Transaction, Of::Transaction) => true,
            (Of::Transaction, _) | (_, Of::Transaction) => false,
            _ => true,
        };
        meet && (access == Access::Write || others == Access::Write)
    }
}

/// The first two lines found that break a lock, if any do.
pub fn broken(history: &History) -> Option<Contradiction> {
    let mut holds = Vec::new();
    let locking = |trace: &Trace| trace.rows.is_timed() && takes_locks(&trace.opened);
    let spread = Spread { hashing: Hashing::recorded(history), keys: &history.records.keys };
    for (number, trace) in (0u16..).zip(&history.traces).filter(|(_, trace)| locking(trace)) {
        for group in trace.groups.iter().filter(|group| group.taken) {
            holds_of(number, trace, group, spread, &mut holds);
        }
    }
    if holds.is_empty() {
        return None;
    }
    holds.sort_unstable_by_key(|hold| (hold.from, hold.trace, hold.row));
    overlap(&holds).or_else(|| {
        let traces = (0u16..).zip(&history.traces).filter(|(_, trace)| locking(trace) && !is_marked(trace));
        traces.into_iter().find_map(|(number, trace)| within(&holds, number, &needs(trace, spread)))
    })
}

/// Whether its process acts under locks that another one holds for it.
fn is_marked(trace: &Trace) -> bool {
    (0..trace.rows.len()).any(|row| matches!(trace.rows.op(row), Op::LockallMark | Op::ChainlockMark))
}

/// What a group holds, and for how long at least.
fn holds_of(number: u16, trace: &Trace, group: &Group, spread: Spread<'_>, holds: &mut Vec<Hold>) {
    let Some(released) = trace.rows.stamp(group.end as usize) else { return };
    let mut hold = |row: u32, of: Of, access: Access| {
        if let Some(taken) = trace.rows.stamp(row as usize)
            && taken.end_ns() < released.start_ns
        {
            let (from, to) = (taken.end_ns(), released.start_ns);
            holds.push(Hold { trace: number, row, of, access, from, to });
        }
    };
    match group.kind {
        GroupKind::Transaction { .. } if group.open => {}
        GroupKind::Transaction { .. } => {
            hold(group.start, Of::Transaction, Access::Write);
            hold(group.start, Of::All, Access::Read);
        }
        GroupKind::Traverse { write: true } => hold(group.start, Of::Transaction, Access::Write),
        GroupKind::Traverse { write: false } => {}
        GroupKind::AllRecord { write } => hold(group.start, Of::All, Access::of(write)),
        GroupKind::Chain { key, write } => {
            let chain = spread.chain(key);
            hold(group.start, Of::Chain(chain), Access::of(write));
            if !write && let Some(row) = upgraded_at(trace, group, chain, spread) {
                hold(row, Of::Chain(chain), Access::Write);
            }
        }
    }
}

/// The row that makes a lock for reading one for writing: a change of the chain, which succeeded.
fn upgraded_at(trace: &Trace, group: &Group, chain: u32, spread: Spread<'_>) -> Option<u32> {
    (group.start + 1..group.end).find(|&row| {
        let row = trace.rows.row(row as usize);
        let changes = matches!(row.op, Op::Store | Op::Append | Op::Delete) && !row.failed();
        changes && spread.chain(row.key) == chain
    })
}

/// Two holds that exclude each other and overlap.
fn overlap(holds: &[Hold]) -> Option<Contradiction> {
    let mut open: Vec<&Hold> = Vec::new();
    for hold in holds {
        open.retain(|other| other.to > hold.from);
        let clash = open
            .iter()
            .find(|other| other.trace != hold.trace && other.of.excludes(other.access, hold.of, hold.access));
        if let Some(other) = clash {
            return Some(contradiction(other, (hold.trace, hold.row), "it is held here too"));
        }
        open.push(hold);
    }
    None
}

/// What a trace's rows need for a moment; inside a transaction nothing asks for a lock.
fn needs(trace: &Trace, spread: Spread<'_>) -> Vec<Need> {
    let mut transactions = trace.groups.iter().filter(|group| group.is_transaction()).peekable();
    let mut needs = Vec::new();
    for index in 0..trace.rows.len() {
        while transactions.next_if(|group| (group.end as usize) < index).is_some() {}
        let inside = transactions.peek().is_some_and(|group| group.start as usize <= index);
        let row = trace.rows.row(index);
        let access = match row.op {
            Op::Fetch | Op::Exists | Op::ParseRecord => Access::Read,
            // One that was refused need not have asked for a lock.
            Op::Store | Op::Append | Op::Delete if !row.failed() => Access::Write,
            _ => continue,
        };
        let unfinished = trace.unfinished && index + 1 == trace.rows.len();
        if inside || unfinished || row.key == NONE {
            continue;
        }
        if let Some(stamp) = trace.rows.stamp(index) {
            let of = Of::Chain(spread.chain(row.key));
            needs.push(Need { row: index as u32, of, access, start: stamp.start_ns, end: stamp.end_ns() });
        }
    }
    needs
}

/// A need of a trace that lies within a hold of another one.
fn within(holds: &[Hold], number: u16, needs: &[Need]) -> Option<Contradiction> {
    for hold in holds.iter().filter(|hold| hold.trace != number && hold.of != Of::Transaction) {
        let first = needs.partition_point(|need| need.start <= hold.from);
        let inside = needs[first..].iter().take_while(|need| need.start < hold.to);
        let mut clashes =
            inside.filter(|need| need.end < hold.to && hold.of.excludes(hold.access, need.of, need.access));
        if let Some(need) = clashes.next() {
            return Some(contradiction(hold, (number, need.row), "it would be needed here"));
        }
    }
    None
}

fn contradiction(hold: &Hold, (trace, row): (u16, u32), why: &str) -> Contradiction {
    let line = |trace, row, why: &str| Line { trace, row, why: why.into() };
    let lines = vec![line(hold.trace, hold.row, "holds its lock"), line(trace, row, why)];
    Contradiction { lines, minimal: true, ..Contradiction::of_rows(Kind::Locks, []) }
}
