//! Counting: every change takes a number of its own.
//!
//! Owns what follows from that beyond the windows of single operations. A change takes one number of its window, a transaction that
//! changed something all numbers from its start to its end. [`set_apart`] narrows windows by numbers that are certainly taken;
//! [`sweep`] finds a number for every change or the changes that are more than their numbers. It gives the next number to
//! the change that is due first, which finds an assignment if there is one. If windows are consistent with orders of keys (of
//! two changes of a key the later one begins and is due later) the assignment keeps these orders, too.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::solve::{LEFT_OUT, Solution};
use super::units::{UnitRow, Units};
use crate::trace::dialect::Dialect;
use crate::trace::op::Op;
use crate::trace::structure::Group;
use crate::trace::{History, Trace};
use crate::verdict::{Contradiction, Kind, Line};

/// The numbers of one change.
#[derive(Clone, Copy)]
struct Job {
    row: u32,
    /// It takes numbers above this one,
    low: u32,
    /// up to this one.
    high: u32,
    /// How many.
    width: u32,
    firm: bool,
}

/// The numbers that one step may have.
#[derive(Clone, Copy, Debug)]
pub struct Numbered {
    /// It happens at this number or later,
    pub low: u64,
    /// and must be over at this one.
    pub high: u64,
    /// How many numbers it takes.
    pub width: u64,
}

impl Numbered {
    /// Nothing is known.
    pub const ANYWHERE: Numbered = Numbered { low: 0, high: u64::MAX, width: 0 };

    /// The number after it, if it comes when `reached` is the number; none if it is too late.
    pub fn after(self, reached: u32) -> Option<u32> {
        let after = self.low.max(reached.into()) + self.width;
        (after <= self.high).then(|| u32::try_from(after).unwrap_or(u32::MAX))
    }
}

/// The numbers of the step that `unit` is, or is a part of.
pub fn numbered(history: &History, trace: &Trace, unit: &UnitRow) -> Numbered {
    let (low, mut high) = (u64::from(unit.low), u64::from(unit.high));
    if !counts(trace, unit, counts_wipes(history)) {
        return Numbered { low, high, width: 0 };
    }
    let at = trace.groups.partition_point(|group| group.start < unit.row);
    let mut starting = trace.groups[at..].iter().take_while(|group| group.start == unit.row);
    let width = starting.find(|group| group.is_transaction()).map_or(1, |group| taken_by(trace, group));
    high = high.max(low + u64::from(width) * u64::from(width > 1));
    Numbered { low, high, width: width.into() }
}

/// Contradictions that are named; more say nothing new.
const NAMED: usize = 10;

/// Gives every change a number within the windows of `window`, by unit. What cannot be given one is named.
pub fn sweep(history: &History, units: &Units, window: impl Fn(usize) -> (u32, u32)) -> Vec<Contradiction> {
    sweep_some(history, units, window, |_| true)
}

/// The same for changes with exact numbers alone.
pub fn sweep_exact(history: &History, units: &Units) -> Vec<Contradiction> {
    let window = |unit: usize| (units.rows[unit].low, units.rows[unit].high);
    sweep_some(history, units, window, UnitRow::is_firm)
}

fn sweep_some(
    history: &History,
    units: &Units,
    window: impl Fn(usize) -> (u32, u32),
    takes_part: impl Fn(&UnitRow) -> bool,
) -> Vec<Contradiction> {
    let mut changes: Vec<Changes> =
        (0..history.traces.len()).map(|trace| Changes::of(history, units, trace)).collect();
    let mut waiting = BinaryHeap::new();
    let mut ready = BinaryHeap::new();
    let mut jobs: Vec<Option<Job>> =
        changes.iter_mut().map(|changes| changes.next(&window, &takes_part)).collect();
    waiting.extend((0..).zip(&jobs).filter_map(|(trace, job)| Some(Reverse((job.as_ref()?.low, trace)))));
    let (mut reached, mut block, mut found) = (0u64, Vec::new(), Vec::new());
    loop {
        while let Some(&Reverse((low, trace))) = waiting.peek()
            && u64::from(low) <= reached
        {
            waiting.pop();
            let high = jobs[trace as usize].map_or(0, |job| job.high);
            ready.push(Reverse((high, trace)));
        }
        let Some(Reverse((_, trace))) = ready.pop() else {
            let Some(&Reverse((low, _))) = waiting.peek() else { return found };
            reached = low.into();
            block.clear();
            continue;
        };
        let Some(job) = jobs[trace as usize] else { continue };
        if reached + u64::from(job.width) > u64::from(job.high) {
            if found.len() < NAMED {
                found.push(too_many(history, job, trace, &block));
            }
        } else {
            if block.len() >= 2 * REMEMBERED {
                block.drain(..REMEMBERED);
            }
            block.push((trace, job, reached));
            reached += u64::from(job.width);
        }
        jobs[trace as usize] = changes[trace as usize].next(&window, &takes_part);
        waiting.extend(jobs[trace as usize].map(|job| Reverse((job.low, trace))));
    }
}

/// Changes without a gap between their numbers that are remembered, so that they can be named.
const REMEMBERED: usize = 64;

/// `job` found no number: names it with those that took the numbers it could have had.
fn too_many(history: &History, job: Job, trace: u16, block: &[(u16, Job, u64)]) -> Contradiction {
    let line = |trace: u16, job: Job| line(&history.traces[usize::from(trace)], trace, job);
    let mut least = job.low;
    let mut firm = job.firm;
    let mut lines = Vec::new();
    for &(trace, other, at) in block.iter().rev() {
        if at < u64::from(least) {
            break;
        }
        least = least.min(other.low);
        firm &= other.firm;
        lines.push(line(trace, other));
    }
    lines.reverse();
    lines.push(line(trace, job));
    let kind = if firm { Kind::ExactNumbers } else { Kind::Numbers };
    Contradiction { kind, key: None, gave_up: None, minimal: lines.len() <= 2, lines }
}

fn line(of: &Trace, trace: u16, job: Job) -> Line {
    let what = match job.width {
        1 => "a number".to_owned(),
        width => format!("{width} numbers"),
    };
    let why = format!("takes {what} above {} up to {}", of.written(job.low), of.written(job.high));
    Line { trace, row: job.row, why }
}

/// The changes of one trace.
struct Changes<'a> {
    trace: &'a Trace,
    units: &'a [UnitRow],
    first: usize,
    at: usize,
    group: usize,
    wipes_count: bool,
}

impl<'a> Changes<'a> {
    fn of(history: &'a History, units: &'a Units, trace: usize) -> Changes<'a> {
        let first = units.starts[trace] as usize;
        Changes {
            trace: &history.traces[trace],
            units: &units.rows[first..units.starts[trace + 1] as usize],
            first,
            at: 0,
            group: 0,
            wipes_count: counts_wipes(history),
        }
    }

    fn next(
        &mut self,
        window: impl Fn(usize) -> (u32, u32),
        takes_part: impl Fn(&UnitRow) -> bool,
    ) -> Option<Job> {
        loop {
            let unit = self.units.get(self.at)?;
            let (row, at) = (unit.row, self.at);
            self.at += 1;
            if !counts(self.trace, unit, self.wipes_count) || !takes_part(unit) {
                continue;
            }
            let (low, mut high) = window(self.first + at);
            let mut width = 1;
            if self.trace.rows.op(row as usize) == Op::TransactionStart {
                width = self.transaction(row).map_or(1, |group| taken_by(self.trace, group));
                high = high.max(unit.low.saturating_add(width));
            }
            // A wipe or a transaction has a unit for each key.
            while self.units.get(self.at).is_some_and(|next| next.row == row) {
                self.at += 1;
            }
            return Some(Job { row, low, high, width, firm: unit.is_firm() });
        }
    }

    fn transaction(&mut self, row: u32) -> Option<&'a Group> {
        let groups = &self.trace.groups;
        while groups.get(self.group).is_some_and(|group| group.start < row || !group.is_transaction()) {
            self.group += 1;
        }
        groups.get(self.group)
    }
}

/// How many numbers a committed transaction took at least. The tracer of 2009 shows none of them.
fn taken_by(trace: &Trace, group: &Group) -> u32 {
    let number = |row: u32| trace.rows.seq(row as usize);
    number(group.end).saturating_sub(number(group.start)).max(1)
}

/// The library of 2009 does not count wipes.
fn counts_wipes(history: &History) -> bool {
    history.dialect == Dialect::Today
}

fn counts(trace: &Trace, unit: &UnitRow, wipes_count: bool) -> bool {
    unit.advances()
        && !unit.is_uncertain()
        && (wipes_count || trace.rows.op(unit.row as usize) != Op::WipeAll)
}

/// Whether in the order of `key` not every change finds a number after those of the changes before it.
pub fn is_short_of_numbers(units: &Units, solution: &Solution, key: u32) -> bool {
    let ids = solution.of_key(key).iter();
    let mut reached = 0;
    ids.filter(|&&id| solution.turns[id as usize] != LEFT_OUT).any(|&id| {
        let unit = &units.rows[id as usize];
        reached = reached.max(unit.low).saturating_add(u32::from(unit.advances()));
        reached > unit.high
    })
}

/// Makes the windows of changes consistent with the orders of their keys, where windows left a choice: a change begins
/// after the changes before it, and is due before those after it and before whoever sees it. No key may be
/// [short of numbers](is_short_of_numbers): then every change keeps at least one.
pub fn follow_orders(units: &mut Units, solution: &Solution) {
    for &key in &solution.chosen {
        let ids = solution.of_key(key);
        let takes_part = |id: &&u32| solution.turns[**id as usize] != LEFT_OUT;
        let mut reached = 0;
        for &id in ids.iter().filter(takes_part) {
            let unit = &mut units.rows[id as usize];
            reached = reached.max(unit.low);
            if unit.advances() {
                unit.low = reached;
                reached = reached.saturating_add(1);
            }
        }
        let mut due = u32::MAX;
        for &id in ids.iter().rev().filter(takes_part) {
            let unit = &mut units.rows[id as usize];
            due = due.min(unit.high);
            if unit.advances() {
                unit.high = due;
                due = due.saturating_sub(1);
                debug_assert!(unit.low < unit.high, "a key is short of numbers");
            }
        }
    }
}

/// Narrows the windows of changes by numbers that other changes certainly took.
pub fn set_apart(history: &History, units: &mut Units) {
    let Some(mut taken) = Taken::of(history, units) else { return };
    for unit in units.rows.iter_mut().filter(|unit| unit.advances() && !unit.is_firm()) {
        if unit.high.saturating_sub(unit.low) < 2 {
            continue;
        }
        while unit.high - unit.low > 1 && taken.has(unit.low) {
            unit.low += 1;
        }
        while unit.high - unit.low > 1 && taken.has(unit.high - 1) {
            unit.high -= 1;
        }
        if unit.high - unit.low == 1 && !unit.is_uncertain() {
            taken.take(unit.low);
        }
    }
}

/// Numbers `s` such that a known change took the number from `s` to `s + 1`.
struct Taken {
    first: u32,
    bits: Vec<u64>,
}

impl Taken {
    /// None if numbers are so far apart that there is nothing to gain.
    fn of(history: &History, units: &Units) -> Option<Taken> {
        let (mut least, mut most, mut count) = (u32::MAX, 0, 0u64);
        for unit in units.rows.iter().filter(|unit| unit.advances()) {
            (least, most, count) = (least.min(unit.low), most.max(unit.high), count + 1);
        }
        let range = u64::from(most.checked_sub(least)?);
        // A few bits for each change are enough, unless most changes are of processes without traces.
        if range > 64 * count + 4096 {
            return None;
        }
        let mut taken = Taken { first: least, bits: vec![0; range as usize / 64 + 1] };
        let wipes_count = counts_wipes(history);
        for (trace, bounds) in history.traces.iter().zip(units.starts.windows(2)) {
            let own = &units.rows[bounds[0] as usize..bounds[1] as usize];
            own.iter()
                .filter(|unit| counts(trace, unit, wipes_count) && unit.high.wrapping_sub(unit.low) == 1)
                .for_each(|unit| taken.take(unit.low));
            let groups = trace.groups.iter().filter(|group| group.is_transaction());
            for group in groups.filter(|group| is_unit_of(own, group)) {
                let start = trace.rows.seq(group.start as usize);
                let all = start..start.saturating_add(taken_by(trace, group));
                all.take(range as usize).for_each(|number| taken.take(number));
            }
        }
        Some(taken)
    }

    fn place(&self, number: u32) -> Option<(usize, u64)> {
        let at = number.checked_sub(self.first)?;
        Some((at as usize / 64, 1 << (at % 64)))
    }

    fn has(&self, number: u32) -> bool {
        self.place(number).is_some_and(|(word, bit)| self.bits.get(word).is_some_and(|bits| bits & bit != 0))
    }

    fn take(&mut self, number: u32) {
        if let Some((word, bit)) = self.place(number)
            && let Some(bits) = self.bits.get_mut(word)
        {
            *bits |= bit;
        }
    }
}

/// Whether a transaction changed something, by the units of its trace.
fn is_unit_of(units: &[UnitRow], group: &Group) -> bool {
    let at = units.partition_point(|unit| unit.row < group.start);
    units.get(at).is_some_and(|unit| unit.row == group.start && unit.advances())
}
