//! Each key's order.
//!
//! Owns the division of units by key and what the solver found: for every unit its place among the key's units, the
//! cell where it happened, and for every key the state before the traces began. Keys do not depend on each other: every
//! core takes some.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use history::register::{Effect, Initial, Unit, ValueId};
use history::solver::{Failure, Method, Order, Refusal, Rules, Solver, Windows};

use super::units::Units;
use crate::prefetch;
use crate::trace::columns::{ABSENT, EMPTY};
use crate::verdict::{Contradiction, Kind, Line};

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

impl Effort {
    fn add(&mut self, other: Effort) {
        self.keys += other.keys;
        self.no_choice += other.no_choice;
        self.greedy += other.greedy;
        self.searched += other.searched;
        self.without_windows += other.without_windows;
        self.states += other.states;
    }
}

/// A key whose order does not obey the sequence numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwindowed {
    /// The key.
    pub key: u32,
    /// Whether another order obeys them was not settled within the bound.
    pub gave_up: bool,
}

/// A key for which no order was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsolved {
    /// The key.
    pub key: u32,
    /// Whether there is none, or that is not known.
    pub refusal: Refusal,
}

/// In a turn's place: the unit takes no part.
pub const LEFT_OUT: u32 = u32::MAX;

/// The orders of all keys.
pub struct Solution {
    /// Units by key: `by_key[starts[k]..starts[k + 1]]`, each key's in its order.
    pub by_key: Vec<u32>,
    /// See [`Solution::by_key`].
    pub starts: Vec<u32>,
    /// Where each unit happened, as a cell. Meaningless for units left out.
    pub cells: Vec<u64>,
    /// For each unit how many of its key's units come before it at least: for a write all before it in the key's
    /// order, for a read all up to the last write before it. [`LEFT_OUT`] for one that did not take effect (its result
    /// was not recorded and it cannot have).
    pub turns: Vec<u32>,
    /// The value that each key had before the traces began.
    pub initial: Vec<u32>,
    /// Keys without an order, in ascending order; the others' orders stand.
    pub unsolved: Vec<Unsolved>,
    /// Keys whose order does not obey the sequence numbers, in ascending order.
    pub unwindowed: Vec<Unwindowed>,
    /// Keys whose windows left a choice, in ascending order.
    pub chosen: Vec<u32>,
    /// Cells are places in one order of everything, not numbers.
    pub ranked: bool,
    /// What it took.
    pub effort: Effort,
}

impl Solution {
    /// Orders every key's units.
    pub fn of(units: &Units, key_count: usize, rules: Rules) -> Solution {
        let (mut by_key, starts) = divide(units, key_count);
        let mut initial = vec![ABSENT; key_count];
        // Units of a key are spread over all traces, so the workers write here side by side, each its own units.
        let places = Places {
            cells: units.rows.iter().map(|_| AtomicU64::new(0)).collect(),
            turns: units.rows.iter().map(|_| AtomicU32::new(LEFT_OUT)).collect(),
        };
        let parts = parts(&starts, &mut by_key, &mut initial);
        let cores = thread::available_parallelism().map_or(1, usize::from).min(parts.len());
        let left = Mutex::new(parts.into_iter());
        let work = || Work::new(units, &starts, &places, rules).run(&left);
        let done: Vec<Done> = match cores {
            0 | 1 => vec![work()],
            _ => thread::scope(|scope| {
                let workers: Vec<_> = (1..cores).map(|_| scope.spawn(work)).collect();
                let own = work();
                let joined = workers.into_iter().map(|worker| match worker.join() {
                    Ok(done) => done,
                    Err(panic) => std::panic::resume_unwind(panic),
                });
                joined.chain([own]).collect()
            }),
        };
        let mut effort = Effort::default();
        let (mut unsolved, mut unwindowed, mut chosen) = (Vec::new(), Vec::new(), Vec::new());
        for one in done {
            effort.add(one.effort);
            unsolved.extend(one.unsolved);
            unwindowed.extend(one.unwindowed);
            chosen.extend(one.chosen);
        }
        unsolved.sort_unstable_by_key(|unsolved: &Unsolved| unsolved.key);
        unwindowed.sort_unstable_by_key(|unwindowed: &Unwindowed| unwindowed.key);
        chosen.sort_unstable();
        let cells = places.cells.into_iter().map(AtomicU64::into_inner).collect();
        let turns = places.turns.into_iter().map(AtomicU32::into_inner).collect();
        Solution {
            by_key,
            starts,
            cells,
            turns,
            initial,
            unsolved,
            unwindowed,
            chosen,
            ranked: false,
            effort,
        }
    }

    /// The orders that one order of everything comes to; `order` has no units that did not take effect.
    pub fn of_order(units: &Units, order: &[u32], initial: Vec<u32>) -> Solution {
        let (mut by_key, starts) = divide(units, initial.len());
        let mut rank = vec![u32::MAX; units.rows.len()];
        (0u32..).zip(order).for_each(|(at, &unit)| rank[unit as usize] = at);
        let mut turns = vec![LEFT_OUT; units.rows.len()];
        for bounds in starts.windows(2) {
            let ids = &mut by_key[bounds[0] as usize..bounds[1] as usize];
            ids.sort_unstable_by_key(|&id| rank[id as usize]);
            let mut written = 0;
            for (turn, &id) in (0..).zip(ids.iter()).filter(|(_, id)| rank[**id as usize] != u32::MAX) {
                let keeps = units.rows[id as usize].keeps();
                turns[id as usize] = if keeps { written } else { turn };
                written = if keeps { written } else { turn + 1 };
            }
        }
        let keys = starts.windows(2).filter(|bounds| bounds[0] < bounds[1]).count() as u32;
        let cells = rank.into_iter().map(u64::from).collect();
        let effort = Effort { keys, searched: keys, ..Effort::default() };
        let (unsolved, unwindowed, chosen) = Default::default();
        Solution { by_key, starts, cells, turns, initial, unsolved, unwindowed, chosen, ranked: true, effort }
    }

    /// Looks for an order of a key in which every change takes a number of its own, and keeps it if there is one.
    pub fn set_apart(&mut self, units: &Units, key: u32, rules: Rules) {
        let range = self.starts[key as usize] as usize..self.starts[key as usize + 1] as usize;
        if range.len() >= APART.end {
            return;
        }
        let mut ids = self.by_key[range.clone()].to_vec();
        ids.sort_unstable();
        let (mut solver, mut problem) = (Solver::new(), Vec::new());
        problem_of(units, &ids, &mut problem);
        let Some(found) = solver.order_apart(&problem, &rules) else { return };
        ids.iter().for_each(|&id| self.turns[id as usize] = LEFT_OUT);
        self.initial[key as usize] = value_before(found.initial);
        self.effort.states += found.effort.states;
        place(&found, &problem, &mut ids, |id, cell, turn| {
            (self.cells[id], self.turns[id]) = (cell, turn);
        });
        self.by_key[range].copy_from_slice(&ids);
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

/// Where and when each unit happened, while it is found out.
struct Places {
    cells: Vec<AtomicU64>,
    turns: Vec<AtomicU32>,
}

/// Some keys, and what is to be said of them.
struct Part<'a> {
    first_key: u32,
    by_key: &'a mut [u32],
    initial: &'a mut [u32],
}

/// Units of a part at least: enough that sharing parts out costs nothing.
const PART: usize = 1 << 14;

/// Divides the keys.
fn parts<'a>(starts: &[u32], mut by_key: &'a mut [u32], mut initial: &'a mut [u32]) -> Vec<Part<'a>> {
    let mut parts = Vec::new();
    let (mut first, mut begin) = (0, 0);
    for (key, &end) in (1u32..).zip(starts.iter().skip(1)) {
        let size = (end - begin) as usize;
        if size < PART && (key as usize) < starts.len() - 1 {
            continue;
        }
        let (units, keys);
        (units, by_key) = by_key.split_at_mut(size);
        (keys, initial) = initial.split_at_mut((key - first) as usize);
        parts.push(Part { first_key: first, by_key: units, initial: keys });
        (first, begin) = (key, end);
    }
    parts
}

/// What one worker found, beside orders.
struct Done {
    effort: Effort,
    unsolved: Vec<Unsolved>,
    unwindowed: Vec<Unwindowed>,
    chosen: Vec<u32>,
}

struct Work<'a> {
    units: &'a Units,
    starts: &'a [u32],
    places: &'a Places,
    solver: Solver,
    rules: Rules,
    problem: Vec<Unit>,
    done: Done,
}

impl<'a> Work<'a> {
    fn new(units: &'a Units, starts: &'a [u32], places: &'a Places, rules: Rules) -> Work<'a> {
        Work {
            units,
            starts,
            places,
            solver: Solver::new(),
            rules,
            problem: Vec::new(),
            done: Done {
                effort: Effort::default(),
                unsolved: Vec::new(),
                unwindowed: Vec::new(),
                chosen: Vec::new(),
            },
        }
    }

    /// Takes parts until none is left.
    fn run<'p>(mut self, left: &Mutex<impl Iterator<Item = Part<'p>>>) -> Done {
        loop {
            // Held for a step of a list only, which no panic leaves half done.
            let part = left.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(Part { first_key, mut by_key, initial }) = part else {
                return self.done;
            };
            for (key, initial) in (first_key..).zip(initial) {
                let size = self.starts[key as usize + 1] - self.starts[key as usize];
                let (ids, rest) = by_key.split_at_mut(size as usize);
                rest.iter().take(SOON).for_each(|&id| prefetch::element(&self.units.rows, id as usize));
                if let Some(value) = self.key(key, ids) {
                    *initial = value;
                }
                by_key = rest;
            }
        }
    }

    /// Puts the units of a key, at least one, in order; gives the value that it had before the traces began.
    fn key(&mut self, key: u32, ids: &mut [u32]) -> Option<u32> {
        if ids.is_empty() {
            return None;
        }
        problem_of(self.units, ids, &mut self.problem);
        let effort = &mut self.done.effort;
        effort.keys += 1;
        let apart = match is_dense(&self.problem) && self.rules.windows != Windows::Ignore {
            true => self.solver.order_apart(&self.problem, &self.rules),
            false => None,
        };
        let found = match apart {
            Some(found) => found,
            None => match self.solver.decide(&self.problem, &self.rules) {
                Ok(found) => found,
                Err(refusal) => {
                    self.done.unsolved.push(Unsolved { key, refusal });
                    return None;
                }
            },
        };
        effort.states += found.effort.states;
        effort.without_windows += u32::from(!found.windows_obeyed);
        let unwindowed = Unwindowed { key, gave_up: found.windows_gave_up };
        self.done.unwindowed.extend((!found.windows_obeyed).then_some(unwindowed));
        self.done.chosen.extend((found.effort.method != Method::Forced).then_some(key));
        match found.effort.method {
            Method::Forced => effort.no_choice += 1,
            Method::Greedy => effort.greedy += 1,
            Method::Search => effort.searched += 1,
        }
        let initial = value_before(found.initial);
        let places = self.places;
        place(&found, &self.problem, ids, |id, cell, turn| {
            places.cells[id].store(cell, Ordering::Relaxed);
            places.turns[id].store(turn, Ordering::Relaxed);
        });
        Some(initial)
    }
}

/// Puts the units of a key in the order found, those that did not take effect last, and gives `put` the cell and the turn of each.
fn place(found: &Order<'_>, problem: &[Unit], ids: &mut [u32], mut put: impl FnMut(usize, u64, u32)) {
    let mut written = 0;
    for ((turn, &index), &cell) in (0..).zip(found.sequence).zip(found.cells) {
        let Unit { id, effect, .. } = problem[index as usize];
        let keeps = effect == Effect::Keep;
        put(id as usize, cell, if keeps { written } else { turn });
        if !keeps {
            written = turn + 1;
        }
    }
    let happened = found.sequence.iter().map(|&index| problem[index as usize].id);
    if found.sequence.len() < ids.len() {
        let mut taken: Vec<u32> = happened.clone().collect();
        taken.sort_unstable();
        let left_out: Vec<u32> = ids.iter().copied().filter(|id| taken.binary_search(id).is_err()).collect();
        ids[taken.len()..].copy_from_slice(&left_out);
    }
    ids.iter_mut().zip(happened).for_each(|(place, id)| *place = id);
}

/// The value of a key before the traces began.
fn value_before(initial: Initial) -> u32 {
    match initial {
        Initial::Absent => ABSENT,
        Initial::Planted(ValueId(value)) => value,
        // Nothing ever looked at the value, so any will do.
        Initial::Present => EMPTY,
    }
}

/// Units of the next key that are fetched ahead.
const SOON: usize = 32;

/// Compiles a key's units, which are given in the order of traces and rows.
pub(crate) fn problem_of(units: &Units, ids: &[u32], problem: &mut Vec<Unit>) {
    problem.clear();
    for (index, &id) in ids.iter().enumerate() {
        let row = &units.rows[id as usize];
        let joined = ids.get(index + 1).is_some_and(|&next| row.joins(&units.rows[next as usize]));
        problem.push(row.unit(id, joined));
    }
}

/// Units of keys that are searched with a number for each change from the start. Of fewer, orders without regard to that are seldom
/// wrong; of more, the search takes half as long again.
const APART: Range<usize> = 64..1 << 18;

/// Whether the changes of a key take most of the numbers between its first and its last, so that hardly an order gives each one of its own
/// by chance.
fn is_dense(problem: &[Unit]) -> bool {
    if !APART.contains(&problem.len()) {
        return false;
    }
    let changes = || problem.iter().filter(|unit| unit.advances);
    let first = changes().map(|unit| unit.window.earliest).min().unwrap_or(0);
    let last = changes().map(|unit| unit.window.latest).max().unwrap_or(0);
    // Two cells for each number.
    last.saturating_sub(first) < 4 * changes().count() as u64
}

/// Keys of which the lines that contradict each other are named.
const NAMED: usize = 10;

/// For keys without an order: the lines that contradict each other, of the first ones.
pub(crate) fn unsolved(units: &Units, solution: &Solution, rules: Rules) -> Vec<Contradiction> {
    let mut solver = Solver::new();
    let mut problem = Vec::new();
    let (mut impossible, mut given_up) = (0, 0);
    let name = |&Unsolved { key, refusal }: &Unsolved| {
        let (count, gave_up) = match refusal {
            Refusal::Impossible => (&mut impossible, None),
            Refusal::GaveUp { bound } => (&mut given_up, Some(bound)),
        };
        *count += 1;
        if *count > NAMED {
            return Contradiction { key: Some(key), gave_up, ..Contradiction::of_rows(Kind::Key, []) };
        }
        let mut ids = solution.of_key(key).to_vec();
        ids.sort_unstable();
        problem_of(units, &ids, &mut problem);
        let failure =
            solver.solve(&problem, &rules).err().unwrap_or(Failure::GaveUp { bound: rules.limits.states });
        contradiction(Kind::Key, key, failure, &problem, units)
    };
    solution.unsolved.iter().map(name).collect()
}

/// For keys whose order does not obey the sequence numbers: the lines whose numbers and results contradict each other.
pub(crate) fn unwindowed(units: &Units, solution: &Solution, rules: Rules) -> Vec<Contradiction> {
    let rules = Rules { windows: Windows::Require, ..rules };
    let mut solver = Solver::new();
    let mut problem = Vec::new();
    let name = |(nth, &Unwindowed { key, gave_up }): (usize, &Unwindowed)| {
        let mut ids = solution.of_key(key).to_vec();
        ids.sort_unstable();
        problem_of(units, &ids, &mut problem);
        let failure = match nth < NAMED {
            true => solver.solve(&problem, &rules).err(),
            false => None,
        };
        match failure {
            Some(failure) => contradiction(Kind::Numbers, key, failure, &problem, units),
            None => Contradiction {
                key: Some(key),
                gave_up: gave_up.then_some(rules.limits.states),
                ..Contradiction::of_rows(Kind::Numbers, [])
            },
        }
    };
    solution.unwindowed.iter().enumerate().map(name).collect()
}

/// A solver's failure in terms of traces and rows.
pub(crate) fn contradiction(
    kind: Kind,
    key: u32,
    failure: Failure,
    problem: &[Unit],
    units: &Units,
) -> Contradiction {
    let found = match failure {
        Failure::GaveUp { bound } => {
            let none = Contradiction::of_rows(kind, []);
            return Contradiction { key: Some(key), gave_up: Some(bound), ..none };
        }
        Failure::Impossible(found) => found,
    };
    let ids: Vec<u32> = found.conflicts.iter().map(|conflict| problem[conflict.unit as usize].id).collect();
    let line = |(conflict, &id): (history::contradiction::Conflict, &u32)| {
        let unit = &units.rows[id as usize];
        Line { trace: unit.trace, row: unit.row, why: numbered(&conflict.why, &ids) }
    };
    let lines = found.conflicts.into_iter().zip(&ids).map(line).collect();
    Contradiction { kind, key: Some(key), gave_up: None, lines, minimal: found.minimal }
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
