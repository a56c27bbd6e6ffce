//! From one order of everything, as the search of all keys found it, to the orders of the keys.
//!
//! Owns what that order says beyond places: what was under way when a process died and did not happen, and which of its ways a
//! transaction went.

use history::action::Action;

use super::attempt::Attempt;
use super::joint::state::Choice;
use super::joint::steps::{Act, Steps};
use super::joint::transactions::Way;
use super::joint::{Order, Taken};
use super::meaning::refusal;
use super::merge::GroupOf;
use super::solve::Solution;
use super::touched::WIPED;
use super::units::{UnitRow, Units};
use crate::trace::History;
use crate::trace::structure::GroupKind;

/// The attempt that `order` is, in place of `attempt`, and its [`Merged::turned`](super::merge::Merged::turned).
pub fn attempt_of(
    history: &History,
    attempt: &Attempt,
    steps: &Steps,
    order: Order,
) -> (Attempt, Vec<GroupOf>) {
    let turned = order.taken.iter().filter_map(|taken| turned(history, steps, taken)).collect();
    let dead = ends(history, attempt, steps, &order);
    let mut units = attempt.units_with(history, &dead);
    let mut ids = Vec::with_capacity(units.rows.len());
    let mut placed = vec![false; units.rows.len()];
    for taken in &order.taken {
        let of_row = units_of(&units, usize::from(taken.trace), taken.row);
        // What was refused looked at nothing; a line's other moments are not its units'.
        let says_something = |unit: &UnitRow| unit.asks() || !unit.keeps();
        if of_row.is_empty() || placed[of_row.start] {
            continue;
        }
        if taken.aside && units.rows[of_row.clone()].iter().any(says_something) {
            continue;
        }
        let Choice::Done(number) = taken.choice else { continue };
        match way_of(steps, taken.trace, taken.row, number) {
            Some(way) => units.rows[of_row.clone()]
                .iter_mut()
                .for_each(|unit| unit.set_action(action_of(way, unit.key))),
            // A change that was refused after all: it looked.
            None if number > 0 => {
                units.rows[of_row.clone()].iter_mut().for_each(|unit| unit.set_action(refusal(unit.action())))
            }
            None => {}
        }
        placed[of_row.start] = true;
        ids.extend(of_row.map(|id| id as u32));
    }
    let solution = Solution::of_order(&units, &ids, order.initial);
    (Attempt { measure: attempt.measure, units, solution, chains: attempt.chains.clone(), dead }, turned)
}

/// The transaction of a step, if it changed something and the trace says that it did not.
fn turned(history: &History, steps: &Steps, taken: &Taken) -> Option<GroupOf> {
    let Choice::Done(number) = taken.choice else { return None };
    // A line's other moments go no way.
    if taken.aside {
        return None;
    }
    way_of(steps, taken.trace, taken.row, number).filter(|way| way.changes > 0)?;
    let groups = &history.traces[usize::from(taken.trace)].groups;
    let first = groups.partition_point(|group| group.start < taken.row);
    let starting = groups[first..].iter().take_while(|group| group.start == taken.row);
    let group = (first as u32..)
        .zip(starting)
        .find(|(_, group)| group.kind == GroupKind::Transaction { committed: false })?
        .0;
    Some(GroupOf { trace: taken.trace, group })
}

fn action_of(way: &Way, key: u32) -> Action {
    let found = way.actions.iter().find(|&&(touched, _)| touched == key);
    found.map_or(if way.wiped { WIPED } else { Action::NOTHING }, |&(_, action)| action)
}

/// The way of a transaction.
fn way_of(steps: &Steps, trace: u16, row: u32, number: u16) -> Option<&Way> {
    let of_row = &steps.lanes[usize::from(trace)].steps;
    let first = of_row.partition_point(|step| step.row < row);
    of_row[first..].iter().take_while(|step| step.row == row).find_map(|step| match &step.act {
        Act::Transaction(transaction) => Some(&transaction.ways[usize::from(number)]),
        _ => None,
    })
}

fn units_of(units: &Units, trace: usize, row: u32) -> std::ops::Range<usize> {
    let (start, end) = (units.starts[trace] as usize, units.starts[trace + 1] as usize);
    let of_trace = &units.rows[start..end];
    let first = of_trace.partition_point(|unit| unit.row < row);
    let after = of_trace.partition_point(|unit| unit.row <= row);
    start + first..start + after
}

/// The row from which each trace says nothing: its last one, if that was under way and did not happen.
fn ends(history: &History, attempt: &Attempt, steps: &Steps, order: &Order) -> Vec<u32> {
    let mut ends = attempt.possible_ends(history);
    for taken in &order.taken {
        let number = usize::from(taken.trace);
        let trace = &history.traces[number];
        let rows = trace.rows.len() as u32;
        let undone = match taken.choice {
            Choice::Skipped => taken.row + 1 == rows,
            Choice::Done(way) => {
                let at = trace.groups.partition_point(|group| group.start < taken.row);
                let mut starting = trace.groups[at..].iter().take_while(|group| group.start == taken.row);
                let reaches = starting.any(|group| group.is_transaction() && group.end + 1 == rows);
                let may_be_undone = !trace.closed && (trace.unfinished || !trace.is_recorded());
                reaches && may_be_undone && is_undone(steps, taken.trace, taken.row, way)
            }
        };
        if undone {
            ends[number] = rows - 1;
        }
    }
    ends
}

/// Whether a transaction that may have changed something did not.
fn is_undone(steps: &Steps, trace: u16, row: u32, way: u16) -> bool {
    let changed = |way: u16| way_of(steps, trace, row, way).is_some_and(|way| way.changes > 0);
    !changed(way) && changed(0)
}
