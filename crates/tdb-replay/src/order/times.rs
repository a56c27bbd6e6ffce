//! What times say of the order: whoever was answered before another was called came first.
//!
//! Owns the times of a row and what follows from them: windows of times alone ([`take`]), windows of numbers that no order
//! against the times is left in ([`narrow`]), and whether one order keeps them ([`violation`]).
//!
//! [`narrow`] makes one order of numbers and times out of two. A number that somebody was shown was reached by the end of that call,
//! so whatever was called later happened at this number or a later one. If `b` ended before `a` was called, then `a`'s
//! window begins where `b`'s ends, and any order by positions has `b` before `a`.

use super::merge::Merged;
use super::solve::{LEFT_OUT, Solution};
use super::units::Units;
use crate::trace::held::takes_locks;
use crate::trace::op::Op;
use crate::trace::structure::GroupKind;
use crate::trace::{History, Trace};
use crate::verdict::{Contradiction, Kind, Line};

/// When the operation of a row, or the transaction that starts there, was called and answered, in nanoseconds. Nobody sees what a
/// transaction changed before its commit is called, and nobody changes what it saw until then: it happens at its commit.
pub fn of(trace: &Trace, row: usize) -> Option<(u64, u64)> {
    let first = trace.rows.stamp(row)?;
    let (mut earliest, mut latest) = (first.start_ns, first.end_ns());
    let at = trace.groups.partition_point(|group| (group.start as usize) < row);
    let starting = trace.groups[at..].iter().take_while(|group| group.start as usize == row);
    for group in starting.filter(|group| group.is_transaction()) {
        // One that its process left open ended with the process.
        latest = if group.open { u64::MAX } else { trace.rows.stamp(group.end as usize)?.end_ns() };
        if group.kind == (GroupKind::Transaction { committed: true }) && takes_locks(&trace.opened) {
            earliest = trace.rows.stamp(group.end as usize)?.start_ns;
        }
    }
    Some((earliest, latest))
}

/// Whether any line of a history has times.
pub fn has_any(history: &History) -> bool {
    history.traces.iter().any(|trace| trace.rows.is_timed())
}

/// Gives every unit the window from its call to its answer, as places among all these times. The windows of one trace
/// follow one another as those of numbers do, and so the orders of the keys fit together. What was under way when its
/// process died may happen at any time after the line before it.
pub fn take(history: &History, units: &mut Units) {
    let window = |trace: &Trace, row: usize| of(trace, row);
    let all = || {
        let rows =
            |trace: &'_ Trace| (0..trace.rows.len()).filter_map(|row| window(trace, row)).collect::<Vec<_>>();
        history.traces.iter().flat_map(rows)
    };
    let mut times: Vec<u64> = all().flat_map(|(start, end)| [start, end]).collect();
    times.sort_unstable();
    times.dedup();
    let place = |time: u64| times.partition_point(|&other| other < time) as u32;
    for unit in &mut units.rows {
        let trace = &history.traces[usize::from(unit.trace)];
        let row = unit.row as usize;
        unit.make_timed();
        (unit.low, unit.high) = match window(trace, row) {
            Some((start, end)) => (place(start), place(end).max(place(start) + 1)),
            None => {
                let before = row.checked_sub(1).and_then(|row| trace.rows.stamp(row));
                (before.map_or(0, |stamp| place(stamp.end_ns())), u32::MAX)
            }
        };
    }
}

/// Numbers that were reached by certain times: the largest one for each time.
struct Reached(Vec<(u64, u32)>);

impl Reached {
    fn of(mut shown: Vec<(u64, u32)>) -> Reached {
        shown.sort_unstable();
        let mut most = 0;
        for (_, number) in &mut shown {
            most = most.max(*number);
            *number = most;
        }
        Reached(shown)
    }

    /// The number that had been reached before `time`.
    fn before(&self, time: u64) -> u32 {
        let at = self.0.partition_point(|&(end, _)| end < time);
        at.checked_sub(1).map_or(0, |last| self.0[last].1)
    }
}

/// Narrows windows of numbers by what others were shown before. Exact windows are narrowed by exact numbers only.
pub fn narrow(history: &History, units: &mut Units) {
    let (mut plain, mut exact) = (Vec::new(), Vec::new());
    for trace in &history.traces {
        plain.extend(trace.opened_stamp.map(|stamp| (stamp.end_ns(), trace.opened.seq)));
        let mut inside = trace.groups.iter().filter(|group| group.is_transaction()).peekable();
        for row in 0..trace.rows.len() {
            while inside.next_if(|group| (group.end as usize) < row).is_some() {}
            // What a transaction shows is its own, until it is committed.
            if let Some(group) = inside.peek().filter(|group| (group.start as usize) < row)
                && (group.end as usize != row || group.kind != GroupKind::Transaction { committed: true })
            {
                continue;
            }
            let Some(stamp) = trace.rows.stamp(row) else { continue };
            let number = trace.rows.seq(row);
            plain.push((stamp.end_ns(), number));
            let version = if has_exact_number(trace, row) { Some(number) } else { stamp.version };
            exact.extend(version.map(|version| (stamp.end_ns(), version)));
        }
    }
    let (plain, exact) = (Reached::of(plain), Reached::of(exact));
    for unit in &mut units.rows {
        let trace = &history.traces[usize::from(unit.trace)];
        if let Some((start, _)) = of(trace, unit.row as usize) {
            let reached = if unit.is_firm() { &exact } else { &plain };
            unit.low = unit.low.max(reached.before(start));
        }
    }
}

/// Whether a row has no version because its own number is one: it holds every lock ([`super::exact`]).
fn has_exact_number(trace: &Trace, row: usize) -> bool {
    let alone = matches!(trace.rows.op(row), Op::WipeAll | Op::TransactionStart | Op::TransactionCommit);
    alone && trace.rows.has_versions()
}

/// Two operations on keys whose positions are against their times, if there are any: the first of them was called after the
/// second was answered.
///
/// Positions count, not the places in `merged`: that keeps events waiting for every lock that they *may* meet on another
/// database, which lets later ones go first. Within an even cell are only reads, which may go in the order of their times;
/// within an odd one the merged order has the order of the key.
pub fn violation(
    history: &History,
    units: &Units,
    solution: &Solution,
    merged: &Merged,
) -> Option<Contradiction> {
    let mut timed: Vec<_> = (units.rows.iter().zip(&solution.turns).zip(&solution.cells))
        .filter(|((_, turn), _)| **turn != LEFT_OUT)
        .filter_map(|((unit, _), &cell)| {
            let (trace, row) = (usize::from(unit.trace), unit.row as usize);
            let times = of(&history.traces[trace], row)?;
            let within = if cell % 2 == 0 { times.0 } else { merged.ranks[trace][row].into() };
            Some(((cell, within), times, unit.trace, unit.row))
        })
        .collect();
    timed.sort_unstable();
    let mut latest: Option<(u64, u16, u32)> = None;
    for (_, (start, end), trace, row) in timed {
        if let Some((called, other, other_row)) = latest.filter(|&(called, ..)| end < called) {
            return Some(against(called, (other, other_row), end, (trace, row)));
        }
        if latest.is_none_or(|(called, ..)| called < start) {
            latest = Some((start, trace, row));
        }
    }
    None
}

fn against(called: u64, first: (u16, u32), answered: u64, second: (u16, u32)) -> Contradiction {
    let line = |(trace, row), why: String| Line { trace, row, why };
    let lines = vec![
        line(first, format!("was called at {called} ns and must come before #2")),
        line(second, format!("was answered at {answered} ns, before #1 was called; do the clocks differ?")),
    ];
    Contradiction { kind: Kind::Times, key: None, gave_up: None, lines, minimal: false }
}
