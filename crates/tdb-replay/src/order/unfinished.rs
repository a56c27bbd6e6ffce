//! What was under way when its process died: did it happen?
//!
//! Owns the decision, as the row from which a trace says nothing: its last one, if that did not happen. A change of one
//! key is left to the solver, which may leave it out. A commit changes many keys, all or none, so it is decided before
//! the keys are solved: by the numbers, where somebody else has used those that it would have used; otherwise it is
//! taken to have happened if that explains as many keys as if not.

use super::meaning::meaning;
use crate::trace::columns::Columns;
use crate::trace::op::Op;
use crate::trace::structure::Group;
use crate::trace::{History, Trace};

/// The traces that end with something that changes more than one key and may be unfinished: the recorder says so, or nothing
/// follows the line, which libtdb's tracer writes before the work.
pub fn of_many_keys(history: &History) -> impl Iterator<Item = usize> + '_ {
    let many = |trace: &Trace| matches!(last_op(trace), Some(Op::TransactionCommit | Op::WipeAll));
    (0..history.traces.len()).filter(move |&number| many(&history.traces[number]))
}

fn last_op(trace: &Trace) -> Option<Op> {
    let may_be_unfinished = trace.unfinished || !trace.closed && !trace.is_recorded();
    let last = trace.rows.len().checked_sub(1).filter(|_| may_be_unfinished)?;
    Some(trace.rows.op(last))
}

/// Whether somebody else has used the numbers that trace `number`'s unfinished commit or wipe would have used. While
/// it is under way nobody else changes anything, so then it cannot have happened.
pub fn is_refuted(history: &History, number: usize) -> bool {
    let trace = &history.traces[number];
    let last = trace.rows.len() - 1;
    let (from, to) = match trace.rows.op(last) {
        Op::WipeAll => (trace.rows.seq(last), trace.rows.seq(last).saturating_add(1)),
        _ => {
            let own = |group: &&Group| group.is_transaction() && group.end as usize == last;
            let Some(group) = trace.groups.iter().rfind(own) else { return false };
            (trace.rows.seq(group.start as usize), trace.rows.seq(last))
        }
    };
    let others = (0..history.traces.len()).filter(|&other| other != number);
    from < to && others.into_iter().any(|other| uses(&history.traces[other], from, to))
}

/// Whether `trace` shows a number between `from` and `to`, or a change that led from one to the next of them.
fn uses(trace: &Trace, from: u32, to: u32) -> bool {
    let Trace { rows, groups, .. } = trace;
    let mut next_group = 0;
    let (mut row, mut last) = (0, trace.opened.seq);
    while row < rows.len() {
        while groups
            .get(next_group)
            .is_some_and(|group| (group.start as usize) < row || !group.is_transaction())
        {
            next_group += 1;
        }
        if let Some(group) = groups.get(next_group).filter(|group| group.start as usize == row) {
            let (start, end) = (rows.seq(row), rows.seq(group.end as usize));
            let finished = !(trace.unfinished && group.end as usize + 1 == rows.len());
            let changed = finished && rows.op(group.end as usize) == Op::TransactionCommit && end > start;
            if (from < start && start < to) || (changed && start == from) {
                return true;
            }
            row = group.end as usize + 1;
            last = if changed { end } else { start };
            continue;
        }
        if shows(rows, row, from, to)
            || (from <= last && last < rows.seq(row) && rows.seq(row) <= to && changes(rows, row))
        {
            return true;
        }
        last = rows.seq(row);
        row += 1;
    }
    false
}

/// Whether a row says that it changed something.
fn changes(rows: &Columns, row: usize) -> bool {
    meaning(rows.row(row), false).is_some_and(|meaning| !meaning.action.keeps() && !meaning.is_uncertain())
}

fn shows(rows: &Columns, index: usize, from: u32, to: u32) -> bool {
    let row = rows.row(index);
    if row.op == Op::WipeAll {
        return (from..to).contains(&row.seq);
    }
    let Some(version) = rows.version(index) else {
        return false;
    };
    let changes = meaning(row, false).is_some_and(|meaning| !meaning.action.keeps());
    from < version && (version < to || (changes && version == to))
}
