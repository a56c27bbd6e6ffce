//! From a history to its order, or to the reason why it has none.
//!
//! Owns the attempts: as the traces say; then, if that explains nothing, without the tails of traces whose database
//! died under them. What was assumed is in [`Explained::notes`].

use history::solver::Limits;

use super::dead;
use super::events::Input;
use super::exact;
use super::merge::{MergeError, Merged, merge};
use super::solve::{Effort, LEFT_OUT, Solution, unwindowed};
use super::unfinished;
use super::units::Units;
use crate::trace::History;
use crate::trace::chain::Hashing;
use crate::verdict::{Contradiction, Kind, Verdict};

/// A history with its order.
pub struct Explained {
    /// The order, and who waits for whom.
    pub merged: Merged,
    /// Keys that existed before.
    pub planted: Vec<Planted>,
    /// For each trace the row from which it says nothing.
    pub dead: Vec<u32>,
    /// Lines whose plain numbers had to be set aside: the order explains the results, and not these numbers.
    pub disbelieved: Vec<Contradiction>,
    /// What solving took.
    pub effort: Effort,
    /// What was assumed.
    pub notes: Vec<String>,
}

impl Explained {
    /// Explained, with or without all numbers.
    pub fn verdict(&self) -> Verdict {
        self.disbelieved.iter().map(Contradiction::verdict).fold(Verdict::Explained, Verdict::worst)
    }
}

/// A record that must have been there before the traces began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planted {
    /// The key.
    pub key: u32,
    /// Its value.
    pub value: u32,
    /// The trace that found it.
    pub trace: u16,
    /// The row that did.
    pub row: u32,
}

/// Why no order of a history was found.
#[derive(Debug)]
pub struct Unexplained {
    /// The lines that exclude each other, and the searches that were given up; at least one.
    pub contradictions: Vec<Contradiction>,
}

impl Unexplained {
    /// Impossible if anything was shown to be, whatever is unknown of the rest; otherwise it was given up.
    pub fn verdict(&self) -> Verdict {
        let verdicts = self.contradictions.iter().map(Contradiction::verdict);
        verdicts.fold(Verdict::GaveUp, Verdict::worst)
    }

    fn of(contradiction: Contradiction) -> Unexplained {
        Unexplained { contradictions: vec![contradiction] }
    }
}

/// Finds the order of `history` for a database that hashes as `target` says.
pub fn explain(history: &History, target: Hashing, limits: Limits) -> Result<Explained, Unexplained> {
    let everything = dead::none(history);
    let (first, mut notes) = settle_unfinished(history, target, limits, everything);
    if first.is_good() {
        return first.finish(history, limits, notes);
    }
    let tails: Vec<u32> = dead::tails(history).into_iter().zip(&first.dead).map(|(a, b)| a.min(*b)).collect();
    if tails == first.dead {
        return first.finish(history, limits, notes);
    }
    let second = Attempt::new(history, target, tails, limits);
    if second.trouble() >= first.trouble() {
        return first.finish(history, limits, notes);
    }
    notes.extend(note_tails(history, &second.dead));
    second.finish(history, limits, notes)
}

/// The first attempt, with all that was under way when its process died decided.
fn settle_unfinished(
    history: &History,
    target: Hashing,
    limits: Limits,
    mut dead: Vec<u32>,
) -> (Attempt, Vec<String>) {
    let all = dead.clone();
    let mut open = Vec::new();
    for number in unfinished::of_many_keys(history) {
        match unfinished::is_refuted(history, number) {
            true => dead[number] -= 1,
            false => open.push(number),
        }
    }
    let mut best = Attempt::new(history, target, dead, limits);
    loop {
        let before = best.trouble();
        for &number in &open {
            if best.is_good() {
                break;
            }
            let mut dead = best.dead.clone();
            dead[number] = if dead[number] == all[number] { all[number] - 1 } else { all[number] };
            let other = Attempt::new(history, target, dead, limits);
            if other.trouble() < best.trouble() {
                best = other;
            }
        }
        if best.trouble() == before {
            break;
        }
    }
    let undone = best.undone(history);
    if !undone.is_empty() {
        let mut dead = best.dead.clone();
        undone.into_iter().for_each(|number| dead[number] -= 1);
        best = Attempt::new(history, target, dead, limits);
    }
    let cut = (0..all.len()).filter(|&number| best.dead[number] < all[number]);
    let place = |number: usize| history.place(number, best.dead[number] as usize);
    let notes = cut.map(|number| format!("{}: this did not happen any more", place(number))).collect();
    (best, notes)
}

fn note_tails(history: &History, dead: &[u32]) -> Vec<String> {
    let cut = (0..)
        .zip(&history.traces)
        .zip(dead)
        .filter(|((_, trace), dead)| **dead as usize + usize::from(trace.unfinished) < trace.rows.len());
    cut.map(|((number, trace), &dead)| {
        let rows = trace.rows.len() as u32 - dead;
        let place = history.place(number, dead as usize);
        format!("{place}: every call fails from here on, as if the database had died: {rows} operations say nothing")
    })
    .collect()
}

/// Merges the traces. Where locks would have to be given up they are merged again with steps that do not wait for any chain:
/// a walk passes one chain after the other, and its n-th step need not meet the chain that it met when it was
/// recorded, so steps wait for all, which can let others go first who belong later.
fn merge_all(input: Input<'_>) -> Result<Merged, MergeError> {
    let first = merge(input)?;
    if first.given_up.is_empty() {
        return Ok(first);
    }
    match merge(Input { lone_steps: true, ..input }) {
        Ok(second) if second.given_up.len() < first.given_up.len() => Ok(second),
        _ => Ok(first),
    }
}

fn note_unwalked(history: &History, merged: &Merged) -> Option<String> {
    let first = merged.unwalked.first()?;
    let place = history.place(usize::from(first.trace), first.row as usize);
    let count = merged.unwalked.len();
    Some(format!(
        "{place}: of {count} walks, this is the first, only what they showed is looked up: chains that they may \
         not have met are locked meanwhile"
    ))
}

struct Attempt {
    units: Units,
    solution: Solution,
    chains: Vec<u32>,
    dead: Vec<u32>,
}

impl Attempt {
    fn new(history: &History, target: Hashing, dead: Vec<u32>, limits: Limits) -> Attempt {
        let recorded = Hashing::recorded(history);
        let mut chains = recorded.chains(history);
        let mut units = Units::build(history, &chains, &dead);
        exact::narrow(history, &mut units);
        let solution = Solution::of(&units, chains.len(), limits);
        if target != recorded {
            chains = target.chains(history);
        }
        Attempt { units, solution, chains, dead }
    }

    /// How many keys have no order that obeys the sequence numbers.
    fn trouble(&self) -> usize {
        self.solution.unsolved.len()
            + self.solution.effort.without_windows as usize
            + self.units.violations.len()
    }

    /// Traces whose unfinished last operation, on one key, did not happen.
    fn undone(&self, history: &History) -> Vec<usize> {
        if !history.traces.iter().any(|trace| trace.unfinished) {
            return Vec::new();
        }
        let last =
            |number: usize| history.traces[number].unfinished.then(|| self.dead[number].wrapping_sub(1));
        let Solution { turns, unsolved, .. } = &self.solution;
        // Of keys without an order nothing is known.
        let solved = |key: u32| unsolved.binary_search_by_key(&Some(key), |unsolved| unsolved.key).is_err();
        let units = self.units.rows.iter().zip(turns);
        units
            .filter(|&(unit, &turn)| turn == LEFT_OUT && solved(unit.key))
            .map(|(unit, _)| (usize::from(unit.trace), unit.row))
            .filter(|&(number, row)| {
                last(number) == Some(row) && row as usize + 1 == history.traces[number].rows.len()
            })
            .map(|(number, _)| number)
            .collect()
    }

    fn is_good(&self) -> bool {
        self.trouble() == 0
    }

    fn finish(self, history: &History, limits: Limits, notes: Vec<String>) -> Result<Explained, Unexplained> {
        if !self.units.violations.is_empty() {
            return Err(Unexplained { contradictions: self.units.violations });
        }
        if !self.solution.unsolved.is_empty() {
            return Err(Unexplained { contradictions: self.solution.unsolved });
        }
        let Attempt { units, solution, chains, dead } = &self;
        let merged = match merge_all(Input { history, units, solution, chains, dead, lone_steps: false }) {
            Ok(merged) => merged,
            Err(MergeError::Cycle(rows)) => {
                return Err(Unexplained::of(Contradiction::of_rows(Kind::Cycle, rows)));
            }
            Err(MergeError::Inconsistent(trace, row)) => {
                return Err(Unexplained::of(Contradiction::of_rows(Kind::Cycle, [(trace, row)])));
            }
        };
        let mut notes = notes;
        notes.extend(note_unwalked(history, &merged));
        let planted = self.solution.planted().map(|(key, value)| self.planted(key, value)).collect();
        let disbelieved = unwindowed(units, solution, limits);
        Ok(Explained { merged, planted, effort: solution.effort, disbelieved, dead: self.dead, notes })
    }

    fn planted(&self, key: u32, value: u32) -> Planted {
        let units = || self.solution.of_key(key).iter().map(|&id| &self.units.rows[id as usize]);
        let finder = units()
            .find(|unit| unit.asks())
            .or(units().next())
            .expect("a planted key has a unit that asks for it");
        Planted { key, value, trace: finder.trace, row: finder.row }
    }
}
