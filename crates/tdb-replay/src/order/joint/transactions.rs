//! How a transaction can have gone.
//!
//! Owns its ways: what it found and left, key by key, and how many changes it made. There are several where its lines leave something
//! open: whether a conditional `tdb_storev` took effect, and whether the commit at its end succeeded.

use history::action::{Action, KEEP};
use smallvec::{SmallVec, smallvec};

use crate::order::meaning::{Meaning, inner_miscount, meaning, refusal};
use crate::order::touched::WIPED;
use crate::trace::dialect::Dialect;
use crate::trace::op::Op;
use crate::trace::structure::{Group, GroupKind, number_after};
use crate::trace::{History, Trace};

/// One way in which a transaction can have gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// What it needed and left, by key; of no key twice.
    pub actions: SmallVec<[(u32, Action); 4]>,
    /// It leaves no other key, either.
    pub wiped: bool,
    /// Changes, each of which counts.
    pub changes: u32,
}

/// A transaction as one step.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Its ways, the likely ones first; none if its own results exclude each other.
    pub ways: Vec<Way>,
    /// The number at which it began.
    pub number: u32,
    /// The number that it shows last.
    pub until: u32,
    /// Its numbers do not count its changes.
    pub miscounts: bool,
}

/// More ways than these are not looked at.
pub const MOST_WAYS: usize = 64;

/// What became of a transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Committed,
    Cancelled,
    /// The line of its commit is there, which is written before the work, and perhaps it failed.
    Either,
}

/// Reads the transaction of `group`; none if there are too many ways.
pub fn read(history: &History, trace: &Trace, group: &Group) -> Option<Transaction> {
    let mut ways = vec![Way { actions: smallvec![], wiped: false, changes: 0 }];
    let mut reading = 0u32;
    for index in group.start + 1..=group.end {
        let row = trace.rows.row(index as usize);
        match row.op {
            Op::WipeAll => ways.iter_mut().for_each(Way::wipe),
            Op::TraverseReadStart => reading += 1,
            Op::TraverseEnd => reading = reading.saturating_sub(1),
            _ => {}
        }
        let Some(meaning) = meaning(row, reading > 0) else { continue };
        ways = ways.iter().flat_map(|way| way.after(&meaning)).collect();
        ways.dedup();
        if ways.len() > MOST_WAYS {
            return None;
        }
    }
    let cancelled = || ways.iter().map(Way::cancelled);
    let mut all: Vec<Way> = match end(trace, group) {
        End::Committed => ways,
        End::Cancelled => cancelled().collect(),
        // As the trace says first: a replay and the end that it expects are made of that.
        End::Either if is_committed(group) => ways.iter().cloned().chain(cancelled()).collect(),
        End::Either => cancelled().chain(ways.iter().cloned()).collect(),
    };
    all.dedup();
    let last = group.end as usize - usize::from(is_under_way(trace, group) && group.end > group.start);
    let (number, until) = (trace.rows.seq(group.start as usize), trace.rows.seq(last));
    let miscounts = history.dialect == Dialect::Today
        && inner_miscount(trace, group.start as usize, group.end as usize).is_some();
    Some(Transaction { ways: all, number, until, miscounts })
}

/// Whether its last line was under way when its process died.
fn is_under_way(trace: &Trace, group: &Group) -> bool {
    trace.unfinished && group.end as usize + 1 == trace.rows.len()
}

fn is_committed(group: &Group) -> bool {
    group.kind == GroupKind::Transaction { committed: true }
}

fn end(trace: &Trace, group: &Group) -> End {
    let last = group.end as usize;
    let rows = &trace.rows;
    let committed = is_committed(group);
    let is_last = last + 1 == rows.len();
    // A number that goes back takes the commit back, if numbers are believed.
    let goes_back = !trace.is_recorded()
        && rows.op(last) == Op::TransactionCommit
        && number_after(rows, last).is_some_and(|number| number < rows.seq(last));
    let no_cancel = || (group.start as usize..last).all(|row| rows.op(row) != Op::TransactionCancel);
    let unseen = is_last && !trace.is_recorded() && rows.op(last) == Op::TransactionCommit;
    match committed {
        true if goes_back || unseen || is_under_way(trace, group) => End::Either,
        true => End::Committed,
        false if goes_back && !group.open && no_cancel() => End::Either,
        false => End::Cancelled,
    }
}

impl Way {
    /// The ways after one more line.
    fn after(&self, meaning: &Meaning) -> SmallVec<[Way; 2]> {
        let mut ways = SmallVec::new();
        ways.extend(self.acted(meaning.key, meaning.action, 1));
        if meaning.is_uncertain() {
            ways.extend(self.acted(meaning.key, refusal(meaning.action), 0));
        }
        ways
    }

    fn acted(&self, key: u32, action: Action, counts: u32) -> Option<Way> {
        let mut way = self.clone();
        let before = if self.wiped { WIPED } else { Action::NOTHING };
        let at = way.actions.iter().position(|&(other, _)| other == key).unwrap_or_else(|| {
            way.actions.push((key, before));
            way.actions.len() - 1
        });
        let of_key = &mut way.actions[at].1;
        *of_key = of_key.then(action);
        way.changes += if action.keeps() { 0 } else { counts };
        (!way.actions[at].1.is_contradiction()).then_some(way)
    }

    fn wipe(&mut self) {
        self.actions.iter_mut().for_each(|(_, action)| *action = action.then(WIPED));
        self.wiped = true;
        self.changes += 1;
    }

    /// The same without effect.
    fn cancelled(&self) -> Way {
        let kept = |&(key, action): &(u32, Action)| (key, Action { effect: KEEP, ..action });
        Way { actions: self.actions.iter().map(kept).collect(), wiped: false, changes: 0 }
    }
}
