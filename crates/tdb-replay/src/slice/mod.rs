//! Parts of a history that are histories themselves.
//!
//! Owns the choice of rows ([`Selection`]) and what must come along so that a part still parses: the ends of its
//! groups, all of a transaction's shape, the line that shows the dialect. Whether a part still has an order follows
//! from the kind of choice: leaving out keys, or operations that change nothing, takes nothing away that others need;
//! leaving out times does.
//!
//! * [`files`]: the chosen lines, copied as they stand.
//! * [`reduce`]: a small part that still has no order.
//! * [`atoms`]: what goes or stays as one. [`support`]: what is to be believed once something was left out.

mod atoms;
pub mod files;
pub mod reduce;
mod support;

use std::ops::RangeInclusive;

use crate::stat::keys::{changes, key_of};
use crate::trace::columns::Row;
use crate::trace::dialect::Dialect;
use crate::trace::op::Op;
use crate::trace::structure::Group;
use crate::trace::{History, Trace};

/// Which rows of a history are chosen: by trace, then row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// True for a row that is chosen.
    pub keep: Vec<Vec<bool>>,
}

impl Selection {
    /// Everything.
    pub fn all(history: &History) -> Selection {
        Selection { keep: history.traces.iter().map(|trace| vec![true; trace.rows.len()]).collect() }
    }

    /// How many rows are chosen.
    pub fn len(&self) -> usize {
        self.keep.iter().flatten().filter(|&&kept| kept).count()
    }

    /// Whether nothing is chosen.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Leaves out operations on other keys than those in `wanted` (by key's number), and what touches no key at all
    /// but a wipe. Groups stay while anything in them does.
    pub fn narrow_to_keys(&mut self, history: &History, wanted: &[bool]) {
        self.retain(history, |_, row| match key_of(row) {
            Some(key) => wanted[key as usize],
            None => row.op == Op::WipeAll,
        });
    }

    /// Leaves out what the traces not in `wanted` do, except, unless `alone`, their changes of keys that the wanted
    /// ones touch: without those the wanted ones would read values from nowhere.
    pub fn narrow_to_traces(&mut self, history: &History, wanted: &[bool], alone: bool) {
        let mut touched = vec![false; history.records.keys.len()];
        for (trace, _) in history.traces.iter().zip(wanted).filter(|(_, wanted)| **wanted) {
            let keys = (0..trace.rows.len()).filter_map(|index| key_of(trace.rows.row(index)));
            keys.for_each(|key| touched[key as usize] = true);
        }
        self.retain(history, |place, row| {
            let needed = key_of(row).is_some_and(|key| touched[key as usize] && changes(row));
            wanted[place.0] || (!alone && (needed || row.op == Op::WipeAll))
        });
    }

    /// Leaves out lines whose sequence number is not in `range`. Transactions stay whole: their first line counts.
    pub fn narrow_to_sequence(&mut self, history: &History, range: &RangeInclusive<u32>) {
        let before = self.clone();
        self.retain(history, |_, row| range.contains(&row.seq));
        self.keep_transactions_whole(history, &before);
    }

    /// Leaves out lines that were answered before `range_ns` or called after it, and lines without times. Transactions
    /// stay whole: their first line counts.
    pub fn narrow_to_times(&mut self, history: &History, range_ns: &RangeInclusive<u64>) {
        let before = self.clone();
        self.retain(history, |(trace, index), _| {
            let stamp = history.traces[trace].rows.stamp(index);
            stamp
                .is_some_and(|stamp| stamp.end_ns() >= *range_ns.start() && stamp.start_ns <= *range_ns.end())
        });
        self.keep_transactions_whole(history, &before);
    }

    fn keep_transactions_whole(&mut self, history: &History, before: &Selection) {
        for ((trace, keep), before) in history.traces.iter().zip(&mut self.keep).zip(&before.keep) {
            for group in trace.groups.iter().filter(|group| group.is_transaction()) {
                let starts = keep[group.start as usize];
                for index in group.start as usize..=group.end as usize {
                    keep[index] = starts && before[index];
                }
            }
        }
    }

    fn retain(&mut self, history: &History, fits: impl Fn((usize, usize), Row) -> bool) {
        for (number, (trace, keep)) in history.traces.iter().zip(&mut self.keep).enumerate() {
            for (index, keep) in keep.iter_mut().enumerate() {
                *keep = *keep && fits((number, index), trace.rows.row(index));
            }
        }
    }

    /// Adds what the chosen rows need to be grammatical. Traces without a chosen row stay without any.
    pub fn complete(&mut self, history: &History) {
        for (trace, keep) in history.traces.iter().zip(&mut self.keep) {
            drop_loose_ends(trace, keep);
            // Groups may lie in each other, so one that gains its ends may put them into another.
            while complete_groups(trace, keep) {}
            if let Some(last) = keep.len().checked_sub(1).filter(|&last| trace.rows.op(last) == Op::Close) {
                keep[last] = keep[..last].contains(&true);
            }
        }
        self.show_dialect(history);
    }

    /// Today's dialect shows in few places; if the traces' flags do not tell, one of those lines comes along.
    fn show_dialect(&mut self, history: &History) {
        let kept = |trace: usize| self.keep[trace].contains(&true);
        let told = (0..self.keep.len()).any(|trace| kept(trace) && flags_tell(&history.traces[trace]));
        if history.dialect != Dialect::Today || told || self.is_empty() {
            return;
        }
        let witnesses = || {
            (0..self.keep.len()).flat_map(|trace| {
                let rows = &history.traces[trace].rows;
                (0..rows.len())
                    .filter(move |&index| tells(history, rows.row(index)))
                    .map(move |index| (trace, index))
            })
        };
        if witnesses().any(|(trace, index)| self.keep[trace][index]) {
            return;
        }
        // A line outside of all groups needs nothing else.
        let in_group = |(trace, index): (usize, usize)| {
            let groups = &history.traces[trace].groups;
            groups.iter().any(|group| (group.start as usize..=group.end as usize).contains(&index))
        };
        let witness = witnesses().find(|&place| !in_group(place)).or_else(|| witnesses().next());
        if let Some((number, index)) = witness {
            let (trace, keep) = (&history.traces[number], &mut self.keep[number]);
            keep[index] = true;
            while complete_groups(trace, keep) {}
            if let Some(last) = keep.len().checked_sub(1).filter(|&last| trace.rows.op(last) == Op::Close) {
                keep[last] = true;
            }
        }
    }
}

/// `TDB_INCOMPATIBLE_HASH`, which only today's libtdb knows.
fn flags_tell(trace: &Trace) -> bool {
    trace.opened.tdb_flags & crate::trace::chain::INCOMPATIBLE_HASH != 0
}

/// Whether a line of today's dialect could not stand in a classic trace.
fn tells(history: &History, row: Row) -> bool {
    let value = |id: u32| {
        if id == 0 { &[][..] } else { history.records.values.bytes(id) }
    };
    match row.op {
        Op::Storev | Op::ChainlockReadNonblock => true,
        Op::Append => {
            let (before, after) = (value(row.a), value(row.b));
            after.get(before.len()..).is_some_and(|appended| !appended.ends_with(before))
        }
        _ => false,
    }
}

/// Starts, ends and steps of groups stand or fall with what is in them; they come back with [`complete_groups`].
fn drop_loose_ends(trace: &Trace, keep: &mut [bool]) {
    for group in &trace.groups {
        let (start, end) = (group.start as usize, group.end as usize);
        let inside = (start + 1..end.max(start + 1)).any(|index| keep[index]);
        // The last row of a group without an end is in it.
        let filled = inside || (group.open && keep[end]);
        // A group chosen from end to end stays, though nothing is in it.
        let whole = keep[start] && keep[end];
        if !filled && !whole {
            keep[start] = false;
            keep[end] = false;
        }
    }
}

/// Adds the ends of groups that have chosen rows; says whether any was missing.
fn complete_groups(trace: &Trace, keep: &mut [bool]) -> bool {
    let mut added = false;
    let mut add = |keep: &mut [bool], index: usize| {
        added |= !keep[index];
        keep[index] = true;
    };
    for group in &trace.groups {
        let (start, end) = (group.start as usize, group.end as usize);
        if !keep[start..=end].contains(&true) {
            continue;
        }
        add(keep, start);
        if !group.open {
            add(keep, end);
        }
        if group.is_transaction() {
            shape_of(trace, group).for_each(|index| add(keep, index));
        }
    }
    added
}

/// The lines that make a transaction what it is: its nested starts and ends.
fn shape_of(trace: &Trace, group: &Group) -> impl Iterator<Item = usize> {
    let rows = group.start as usize..=group.end as usize;
    rows.filter(|&index| {
        matches!(
            trace.rows.op(index),
            Op::TransactionStart
                | Op::TransactionCommit
                | Op::TransactionCancel
                | Op::TransactionPrepareCommit
        )
    })
}
