//! Keys whose windows leave no choice.
//!
//! Owns the cheapest answer: if every writer's window is disjoint from all windows before and after it, only reads
//! overlap each other, their mutual order changes nothing, and sorting by first cell is the only order that matters.

use crate::action::Action;
use crate::register::{Effect, Unit};

/// Puts into `order` the order that the windows force; false if they leave a choice.
pub(super) fn order(units: &[Unit], order: &mut Vec<u32>) -> bool {
    order.clear();
    if units.iter().any(|unit| unit.joined || unit.uncertain) {
        return false;
    }
    order.extend(0..units.len() as u32);
    if units.len() > 4 * PROBE {
        // Where windows leave a choice they mostly do from the start, and sorting everything would be for nothing.
        order.select_nth_unstable_by_key(PROBE, |&index| (first_cell(&units[index as usize]), index));
        order[..PROBE].sort_unstable_by_key(|&index| (first_cell(&units[index as usize]), index));
        if !are_apart(units, &order[..PROBE]) {
            return false;
        }
        order.clear();
        order.extend(0..units.len() as u32);
    }
    // Equal first cells keep the order of the input, and with it each process's own.
    order.sort_by_key(|&index| first_cell(&units[index as usize]));
    are_apart(units, order) && follows_processes(units, order)
}

/// Units at the beginning that are looked at first.
const PROBE: usize = 64;

/// Whether, along `order`, no writer's window meets one before it.
fn are_apart(units: &[Unit], order: &[u32]) -> bool {
    let mut reached = None;
    let mut written = None;
    for &index in order {
        let unit = &units[index as usize];
        let first = first_cell(unit);
        let last = last_cell(unit);
        if first > last {
            return false;
        }
        let changes = unit.effect != Effect::Keep || unit.advances;
        let behind = if changes { reached } else { written };
        if behind.is_some_and(|cell| cell >= first) {
            return false;
        }
        reached = reached.max(Some(last));
        if changes {
            written = written.max(Some(last));
        }
    }
    true
}

/// The first unit along `order` whose need does not hold, from `start` (a value or "unknown but present").
pub(super) fn first_unmet(units: &[Unit], order: &[u32], start: u32) -> Option<u32> {
    let mut value = start;
    for &index in order {
        let unit = &units[index as usize];
        match Action::new(unit.need, unit.effect).on(value) {
            Some(after) => value = after,
            None => return Some(index),
        }
    }
    None
}

/// Whether a process's units stand in `order` in their own order: windows of one process that go backwards
/// (they should not) make the sorted order useless.
fn follows_processes(units: &[Unit], order: &[u32]) -> bool {
    let backwards =
        |pair: &[Unit]| pair[0].process == pair[1].process && first_cell(&pair[1]) < first_cell(&pair[0]);
    debug_assert_eq!(units.len(), order.len());
    !units.windows(2).any(backwards)
}

fn first_cell(unit: &Unit) -> u64 {
    unit.window.earliest | u64::from(unit.advances)
}

/// The last cell that the unit can take: an advancing one takes an odd cell.
fn last_cell(unit: &Unit) -> u64 {
    if unit.advances && unit.window.latest.is_multiple_of(2) {
        unit.window.latest.saturating_sub(1)
    } else {
        unit.window.latest
    }
}
