//! An independent answer for small histories: every order is tried.
//!
//! Owns no cleverness: no pruning but the needs and the windows themselves, no shared code with the solver.

#![allow(dead_code, reason = "each test program uses a part")]

use history::register::{Effect, Need, Unit, ValueId, Window};
use history::solver::{Beginning, Rules, Windows};

/// Whether an order exists under the rules.
pub fn is_possible(units: &[Unit], rules: &Rules) -> bool {
    match rules.windows {
        Windows::Require => any_beginning(units, rules.beginning, InWindows::Yes),
        Windows::Ignore => any_beginning(units, rules.beginning, InWindows::No),
        Windows::Prefer => {
            // Inside all windows or inside those that are firm: the first is the second, and more.
            let firm = |unit: &Unit| match unit.firm {
                true => *unit,
                false => Unit { window: Window::ANYWHERE, advances: false, ..*unit },
            };
            let units: Vec<Unit> = units.iter().map(firm).collect();
            any_beginning(&units, rules.beginning, InWindows::Yes)
        }
    }
}

/// Whether an order inside the windows exists.
pub fn is_possible_in_windows(units: &[Unit], beginning: Beginning) -> bool {
    any_beginning(units, beginning, InWindows::Yes)
}

/// Whether an order inside the windows exists in which no two units that advance share a cell.
pub fn is_possible_apart(units: &[Unit], beginning: Beginning) -> bool {
    any_beginning(units, beginning, InWindows::Apart)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum InWindows {
    Yes,
    Apart,
    No,
}

fn any_beginning(units: &[Unit], beginning: Beginning, windows: InWindows) -> bool {
    let mut starts = vec![];
    match beginning {
        Beginning::Absent => starts.push(0),
        Beginning::Value(value) => starts.push(value.0),
        Beginning::Unknown => {
            // Every value named anywhere, and one that is named nowhere.
            starts.extend([0, 1, 999_999]);
            for unit in units {
                if let Need::Exactly(value) = unit.need {
                    starts.push(value.0);
                }
            }
        }
    }
    starts.iter().any(|&start| {
        let groups = groups_by_process(units);
        let mut at = vec![0; groups.len()];
        from_here(&groups, &mut at, start, 0, windows)
    })
}

/// Processes, each a list of atomic groups.
fn groups_by_process(units: &[Unit]) -> Vec<Vec<Vec<Unit>>> {
    let mut processes: Vec<Vec<Vec<Unit>>> = vec![];
    let mut joined = false;
    for (index, unit) in units.iter().enumerate() {
        let same = index > 0 && units[index - 1].process == unit.process;
        if !same {
            processes.push(vec![]);
        }
        let process = processes.last_mut().expect("a process was pushed");
        if same && joined {
            process.last_mut().expect("a process was pushed").push(*unit);
        } else {
            process.push(vec![*unit]);
        }
        joined = unit.joined;
    }
    processes
}

fn from_here(groups: &[Vec<Vec<Unit>>], at: &mut [usize], value: u32, cell: u64, windows: InWindows) -> bool {
    if (0..groups.len()).all(|p| at[p] == groups[p].len()) {
        return true;
    }
    for p in 0..groups.len() {
        let Some(group) = groups[p].get(at[p]) else {
            continue;
        };
        at[p] += 1;
        let with_all = group.to_vec();
        let certain: Vec<Unit> = group.iter().filter(|unit| !unit.uncertain).copied().collect();
        let drops = certain.len() < group.len();
        let mut forms = vec![with_all];
        if drops {
            forms.push(certain);
        }
        for form in forms {
            if let Some((value, cell)) = perform(&form, value, cell, windows)
                && from_here(groups, at, value, cell, windows)
            {
                at[p] -= 1;
                return true;
            }
        }
        at[p] -= 1;
    }
    false
}

fn perform(form: &[Unit], mut value: u32, mut cell: u64, windows: InWindows) -> Option<(u32, u64)> {
    for unit in form {
        let met = match unit.need {
            Need::Anything => true,
            Need::Present => value != 0,
            Need::AbsentOrEmpty => value < 2,
            Need::Exactly(ValueId(wanted)) => wanted == value,
            Need::Never => false,
        };
        if !met {
            return None;
        }
        if windows != InWindows::No {
            cell = cell.max(unit.window.earliest);
            if unit.advances && cell.is_multiple_of(2) {
                cell += 1;
            }
            if cell > unit.window.latest {
                return None;
            }
            cell += u64::from(windows == InWindows::Apart && unit.advances);
        }
        if let Effect::Put(ValueId(written)) = unit.effect {
            value = written;
        }
    }
    Some((value, cell))
}

/// Checks an order that the solver gave, from nothing but the units. Panics with what is wrong.
pub fn check_order(units: &[Unit], order: &history::solver::Order<'_>) {
    use history::register::Initial;
    assert_eq!(order.sequence.len(), order.cells.len());
    let mut value = match order.initial {
        Initial::Absent => 0,
        Initial::Planted(value) => value.0,
        Initial::Present => 999_999,
    };
    let mut done = vec![false; units.len()];
    let mut last_of = std::collections::HashMap::new();
    let mut before = 0;
    for (&index, &cell) in order.sequence.iter().zip(order.cells) {
        let unit = &units[index as usize];
        assert!(!std::mem::replace(&mut done[index as usize], true), "unit {index} twice");
        if let Some(last) = last_of.insert(unit.process, index) {
            assert!(last < index, "process {} out of order", unit.process);
        }
        assert!(unit.need.is_met_by(ValueId(value)), "need of unit {index} not met");
        if let Effect::Put(written) = unit.effect {
            value = written.0;
        }
        assert!(cell >= before, "cells go backwards");
        before = cell;
        if order.windows_obeyed {
            assert!(unit.window.earliest <= cell && cell <= unit.window.latest, "unit {index} at {cell}");
            assert!(!unit.advances || cell % 2 == 1, "unit {index} advances at an even cell");
        }
    }
    check_groups(units, order.sequence, &done);
}

/// Groups are contiguous; only uncertain units are missing, and those of one group all or none.
fn check_groups(units: &[Unit], sequence: &[u32], done: &[bool]) {
    let mut place = vec![usize::MAX; units.len()];
    for (at, &index) in sequence.iter().enumerate() {
        place[index as usize] = at;
    }
    let mut index = 0;
    while index < units.len() {
        let mut end = index + 1;
        while units[end - 1].joined && end < units.len() && units[end].process == units[index].process {
            end += 1;
        }
        let present: Vec<usize> = (index..end).filter(|&at| done[at]).collect();
        assert!(present.windows(2).all(|pair| place[pair[1]] == place[pair[0]] + 1), "group torn apart");
        let uncertain: Vec<bool> =
            (index..end).filter(|&at| units[at].uncertain).map(|at| done[at]).collect();
        assert!(uncertain.windows(2).all(|pair| pair[0] == pair[1]), "half of a group's uncertain units");
        assert!((index..end).all(|at| done[at] || units[at].uncertain), "a certain unit is missing");
        index = end;
    }
}

/// Whether the kept units have an order if the others are forgotten, in the sense that the `contradiction` module
/// states: a need that a forgotten writer meets is always met.
pub fn is_possible_when_forgetting(units: &[Unit], kept: &[u32], rules: &Rules) -> bool {
    let others = |index: &usize| !kept.contains(&(*index as u32));
    let mut background: Vec<u32> = vec![];
    for index in (0..units.len()).filter(others) {
        if let Effect::Put(value) = units[index].effect {
            background.push(value.0);
        }
    }
    let mut left: Vec<Unit> = vec![];
    for (nth, &index) in kept.iter().enumerate() {
        let mut unit = units[index as usize];
        // Joined to the next kept unit if all between them, itself included, were joined.
        unit.joined = kept.get(nth + 1).is_some_and(|&next| {
            (index..next).all(|at| units[at as usize].joined)
                && (index..=next).all(|at| units[at as usize].process == unit.process)
        });
        let met_outside = match unit.need {
            Need::Exactly(value) => background.contains(&value.0),
            Need::Present => background.iter().any(|&value| value != 0),
            Need::AbsentOrEmpty => background.iter().any(|&value| value < 2),
            Need::Anything | Need::Never => false,
        };
        if met_outside {
            if let (Need::Exactly(value), Effect::Keep) = (unit.need, unit.effect) {
                unit.effect = Effect::Put(value);
            }
            unit.need = Need::Anything;
        }
        left.push(unit);
    }
    is_possible(&left, rules)
}
