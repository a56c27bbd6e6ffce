//! Each key's order.
//!
//! Owns the division of units by key and what the solver found: for every unit its place among the key's units, the
//! cell where it happened, and for every key the state before the traces began.

use history::register::{Initial, Unit, ValueId};
use history::solver::{Failure, Limits, Method, Rules, Solver};

use super::units::Units;
use crate::trace::columns::{ABSENT, EMPTY};

/// Why a key's units have no order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhyNot {
    /// These units, with what each needs, exclude each other.
    Impossible(Vec<(u32, String)>),
    /// The search reached its bound before the answer was known.
    GaveUp {
        /// The bound, in states.
        bound: u64,
    },
}

/// A key without an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsolved {
    /// The key.
    pub key: u32,
    /// Why.
    pub why: WhyNot,
}

/// How the keys were solved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Effort {
    /// Keys with units.
    pub keys: u32,
    /// Keys whose windows left no choice.
    pub no_choice: u32,
    /// Keys where choices were made and none taken back.
    pub greedy: u32,
    /// Keys where choices were taken back.
    pub searched: u32,
    /// Of all these, keys that were solved only without regard to sequence numbers.
    pub without_windows: u32,
    /// States that all searches visited.
    pub states: u64,
}

/// The orders of all keys.
pub struct Solution {
    /// Units by key: `by_key[starts[k]..starts[k + 1]]`, each key's in its order.
    pub by_key: Vec<u32>,
    /// See [`Solution::by_key`].
    pub starts: Vec<u32>,
    /// Where each unit happened, as a cell. Meaningless for units left out.
    pub cells: Vec<u64>,
    /// Units that did not take effect (their results were not recorded and they cannot have).
    pub left_out: Vec<u32>,
    /// The value that each key had before the traces began.
    pub initial: Vec<u32>,
    /// Keys without an order; the others' orders stand.
    pub unsolved: Vec<Unsolved>,
    /// What it took.
    pub effort: Effort,
}

impl Solution {
    /// Orders every key's units.
    pub fn of(units: &Units, key_count: usize, limits: Limits) -> Solution {
        let (by_key, starts) = divide(units, key_count);
        let mut work = Work {
            units,
            solver: Solver::new(),
            rules: Rules { limits, ..Rules::default() },
            problem: Vec::new(),
            solution: Solution {
                cells: vec![0; units.rows.len()],
                left_out: Vec::new(),
                initial: vec![ABSENT; key_count],
                unsolved: Vec::new(),
                effort: Effort::default(),
                by_key,
                starts,
            },
        };
        let mut order = Vec::new();
        for key in 0..key_count as u32 {
            work.key(key, &mut order);
        }
        work.solution
    }

    /// The units of a key, in order.
    pub fn of_key(&self, key: u32) -> &[u32] {
        &self.by_key[self.starts[key as usize] as usize..self.starts[key as usize + 1] as usize]
    }

    /// Keys that existed before the traces began, with their values.
    pub fn planted(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        (0..).zip(&self.initial).filter(|&(_, &value)| value != ABSENT).map(|(key, &value)| (key, value))
    }
}

/// Sorts units by key, keeping the order of traces and rows: a counting sort.
pub(crate) fn divide(units: &Units, key_count: usize) -> (Vec<u32>, Vec<u32>) {
    let mut starts = vec![0u32; key_count + 1];
    for unit in &units.rows {
        starts[unit.key as usize + 1] += 1;
    }
    for key in 0..key_count {
        starts[key + 1] += starts[key];
    }
    let mut next = starts.clone();
    let mut by_key = vec![0u32; units.rows.len()];
    for (index, unit) in (0..).zip(&units.rows) {
        let place = &mut next[unit.key as usize];
        by_key[*place as usize] = index;
        *place += 1;
    }
    (by_key, starts)
}

struct Work<'a> {
    units: &'a Units,
    solver: Solver,
    rules: Rules,
    problem: Vec<Unit>,
    solution: Solution,
}

impl Work<'_> {
    fn key(&mut self, key: u32, order: &mut Vec<u32>) {
        let start = self.solution.starts[key as usize] as usize;
        let end = self.solution.starts[key as usize + 1] as usize;
        if start == end {
            return;
        }
        let ids = &self.solution.by_key[start..end];
        self.problem.clear();
        for (index, &id) in ids.iter().enumerate() {
            let row = &self.units.rows[id as usize];
            let joined = ids.get(index + 1).is_some_and(|&next| row.joins(&self.units.rows[next as usize]));
            self.problem.push(row.unit(id, joined));
        }
        let effort = &mut self.solution.effort;
        effort.keys += 1;
        let found = match self.solver.solve(&self.problem, &self.rules) {
            Ok(found) => found,
            Err(failure) => {
                let why = why_not(failure, &self.problem);
                self.solution.unsolved.push(Unsolved { key, why });
                return;
            }
        };
        effort.states += found.effort.states;
        effort.without_windows += u32::from(!found.windows_obeyed);
        match found.effort.method {
            Method::Forced => effort.no_choice += 1,
            Method::Greedy => effort.greedy += 1,
            Method::Search => effort.searched += 1,
        }
        self.solution.initial[key as usize] = match found.initial {
            Initial::Absent => ABSENT,
            Initial::Planted(ValueId(value)) => value,
            // Nothing ever looked at the value, so any will do.
            Initial::Present => EMPTY,
        };
        order.clear();
        for (&index, &cell) in found.sequence.iter().zip(found.cells) {
            let id = self.problem[index as usize].id;
            self.solution.cells[id as usize] = cell;
            order.push(id);
        }
        self.lay_out(start, end, order);
    }

    /// Puts the key's units in order; those that did not take effect go last.
    fn lay_out(&mut self, start: usize, end: usize, order: &[u32]) {
        if order.len() < end - start {
            let mut taken = order.to_vec();
            taken.sort_unstable();
            let missing =
                self.problem.iter().map(|unit| unit.id).filter(|id| taken.binary_search(id).is_err());
            self.solution.left_out.extend(missing);
        }
        let left_out = self.solution.left_out.len() - (end - start - order.len());
        let place = &mut self.solution.by_key[start..end];
        place[..order.len()].copy_from_slice(order);
        place[order.len()..].copy_from_slice(&self.solution.left_out[left_out..]);
    }
}

pub(crate) fn why_not(failure: Failure, problem: &[Unit]) -> WhyNot {
    let contradiction = match failure {
        Failure::GaveUp { bound } => return WhyNot::GaveUp { bound },
        Failure::Impossible(contradiction) => contradiction,
    };
    let ids: Vec<u32> =
        contradiction.conflicts.iter().map(|conflict| problem[conflict.unit as usize].id).collect();
    let whys = contradiction.conflicts.into_iter().map(|conflict| numbered(&conflict.why, &ids));
    WhyNot::Impossible(ids.iter().copied().zip(whys).collect())
}

/// The text with each `#ID` replaced by `#N`, its place in `ids` counted from 1: ids mean nothing to people.
fn numbered(why: &str, ids: &[u32]) -> String {
    let mut parts = why.split('#');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let id = part[..digits].parse().ok();
        match ids.iter().position(|&other| Some(other) == id) {
            Some(place) => text.push_str(&format!("#{}{}", place + 1, &part[digits..])),
            None => text.push_str(&format!("#{part}")),
        }
    }
    text
}
