//! A key's units compiled for the search.
//!
//! Owns how units become steps: every atomic group becomes one step with one need and one effect, values get small local
//! numbers, and windows become entry limits tightened along each process. A compiled problem is read only.

use super::step::{NONE, Step, even_out};
use super::uses::Uses;
use crate::action::{ANYTHING, Action, KEEP, UNKNOWN_PRESENT};
use crate::register::{Effect, Need, Unit, ValueId};

/// Whether windows count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WindowUse {
    Obey,
    /// They count, and every advancing unit takes an odd cell of its own.
    Apart,
    Ignore,
}

/// The compiled units of one key.
#[derive(Default)]
pub(super) struct Problem {
    pub steps: Vec<Step>,
    alternatives: Vec<Step>,
    /// Where each process's steps begin; one more at the end.
    pub processes: Vec<u32>,
    /// Local value to the caller's.
    values: Vec<u32>,
    /// The caller's values to local ones.
    index: Index,
    orphans: Vec<ValueId>,
    pub uses: Uses,
    /// Whether windows count.
    pub obeys: bool,
    /// Whether every advancing unit takes an odd cell of its own.
    pub apart: bool,
}

impl Problem {
    /// Compiles `units` (process by process) for a search that begins in state `start`.
    pub fn compile(&mut self, units: &[Unit], start: u32, windows: WindowUse) {
        self.apart = windows == WindowUse::Apart;
        self.number_values(units, start);
        self.steps.clear();
        self.alternatives.clear();
        self.processes.clear();
        let mut at = 0;
        while at < units.len() {
            if at == 0 || units[at].process != units[at - 1].process {
                self.processes.push(self.steps.len() as u32);
            }
            at = self.add_step(units, at, windows);
        }
        self.processes.push(self.steps.len() as u32);
        self.obeys = windows != WindowUse::Ignore;
        self.tighten(windows);
        let start = if start == UNKNOWN_PRESENT { start } else { self.known(ValueId(start)) };
        self.uses.compile(
            &mut self.steps,
            &self.alternatives,
            &self.processes,
            self.values.len(),
            start,
            self.obeys,
        );
        self.orphans.clear();
        self.orphans.extend(self.uses.orphans().iter().map(|&local| ValueId(self.values[local as usize])));
    }

    /// Values that are needed, never written, and not there at the beginning.
    pub fn orphans(&self) -> &[ValueId] {
        &self.orphans
    }

    /// The other form of a step, in which its uncertain units did not happen.
    pub fn alternative(&self, step: &Step) -> Option<&Step> {
        (step.alternative != NONE).then(|| &self.alternatives[step.alternative as usize])
    }

    /// Whether the step can be left out as a whole.
    pub fn droppable(&self, step: &Step) -> bool {
        self.alternative(step).is_some_and(|other| other.first == other.end)
    }

    /// The local code of the state that the problem was compiled for.
    pub fn start(&self, start: u32) -> u32 {
        if start == UNKNOWN_PRESENT { start } else { self.known(ValueId(start)) }
    }

    /// How many processes there are.
    pub fn process_count(&self) -> usize {
        self.processes.len() - 1
    }

    /// Gives the values that occur small numbers in ascending order; absent and empty keep 0 and 1.
    fn number_values(&mut self, units: &[Unit], start: u32) {
        self.values.clear();
        self.values.extend([ValueId::ABSENT.0, ValueId::EMPTY.0]);
        self.values.extend((start != UNKNOWN_PRESENT).then_some(start));
        for unit in units {
            if let Need::Exactly(value) = unit.need {
                self.values.push(value.0);
            }
            if let Effect::Put(value) = unit.effect {
                self.values.push(value.0);
            }
        }
        self.values.sort_unstable();
        self.values.dedup();
        self.index.fill(&self.values);
        let largest = self.values.last().copied().unwrap_or_default();
        assert!(largest <= ValueId::LARGEST.0, "value id {largest} is reserved");
    }

    /// What a unit needs and leaves, in local values.
    fn local(&self, unit: &Unit) -> Action {
        let mut action = Action::new(unit.need, unit.effect);
        if let Need::Exactly(value) = unit.need {
            action.need = self.known(value);
        }
        if let Effect::Put(value) = unit.effect {
            action.effect = self.known(value);
        }
        action
    }

    fn known(&self, value: ValueId) -> u32 {
        self.index.place(&self.values, value.0).expect("number_values saw this unit")
    }

    /// Compiles the group of units that begins at `first`; returns where the next begins.
    fn add_step(&mut self, units: &[Unit], first: usize, windows: WindowUse) -> usize {
        let mut end = first + 1;
        while units[end - 1].joined && end < units.len() && units[end].process == units[first].process {
            end += 1;
        }
        let range = first..end;
        let mut step = self.compose(units, range.clone(), windows, |_| true);
        if units[range.clone()].iter().any(|unit| unit.uncertain) {
            step.alternative = self.alternatives.len() as u32;
            let all = units[range.clone()].iter().all(|unit| unit.uncertain);
            let mut other = self.compose(units, range, windows, |unit| !unit.uncertain);
            if all {
                other.end = other.first;
            }
            self.alternatives.push(other);
        }
        self.steps.push(step);
        end
    }

    /// Composes the units of a range that `counts` into one step.
    fn compose(
        &self,
        units: &[Unit],
        range: std::ops::Range<usize>,
        windows: WindowUse,
        counts: impl Fn(&Unit) -> bool,
    ) -> Step {
        let mut step = Step {
            opens: 0,
            earliest: 0,
            limit: u64::MAX,
            deadline: u64::MAX,
            patience: u64::MAX,
            need: ANYTHING,
            effect: KEEP,
            hint: units[range.end - 1].window.latest,
            first: range.start as u32,
            end: range.end as u32,
            alternative: NONE,
            advances: false,
            beyond: 0,
        };
        for unit in units[range].iter().filter(|unit| counts(unit)) {
            let joined = Action { need: step.need, effect: step.effect }.then(self.local(unit));
            (step.need, step.effect) = (joined.need, joined.effect);
            if windows != WindowUse::Ignore {
                step.pass(unit, self.apart);
            }
        }
        step
    }

    /// Carries deadlines back along each process: who is late for a later step is late now.
    fn tighten(&mut self, windows: WindowUse) {
        let useless = windows == WindowUse::Ignore && self.hints_are_flat();
        for process in 0..self.processes.len() - 1 {
            let (begin, end) = (self.processes[process] as usize, self.processes[process + 1] as usize);
            let (mut deadline, mut patience, mut hint) = (u64::MAX, u64::MAX, u64::MAX);
            for at in (begin..end).rev() {
                let step = &self.steps[at];
                let mut limit = step.limit;
                let mut patient = limit;
                let mut must_advance = step.advances;
                if let Some(other) = self.alternative(step) {
                    limit = limit.max(other.limit);
                    patient = patient.min(other.limit);
                    must_advance &= other.advances;
                }
                // Limits are for entering; the next step is entered where this one ends.
                let beyond = if step.alternative == NONE { step.beyond } else { 0 };
                deadline = even_out(deadline.saturating_sub(beyond), must_advance).min(limit);
                patience = even_out(patience, step.advances).min(patient).min(deadline);
                hint = if useless { spread(at - begin, end - begin) } else { hint.min(step.hint) };
                let step = &mut self.steps[at];
                (step.deadline, step.patience, step.hint) = (deadline, patience, hint);
            }
        }
    }

    /// Whether windows say nothing about when a step should be done.
    fn hints_are_flat(&self) -> bool {
        let first = self.steps.first().map(|step| step.hint);
        self.steps.iter().all(|step| Some(step.hint) == first)
    }
}

/// Where to look in a sorted list: it is cut into as many pieces of equal spans as it has numbers, so that most pieces
/// hold few.
#[derive(Default)]
struct Index {
    starts: Vec<u32>,
    /// Numbers are this far apart from piece to piece: two to this power.
    shift: u32,
}

impl Index {
    fn fill(&mut self, sorted: &[u32]) {
        self.starts.clear();
        if sorted.len() < INDEX_FROM {
            return;
        }
        let largest = u64::from(sorted.last().copied().unwrap_or_default());
        self.shift = (largest / sorted.len() as u64).checked_ilog2().map_or(0, |bits| bits + 1);
        for (at, &number) in (0..).zip(sorted) {
            self.starts.resize((number >> self.shift) as usize + 1, at);
        }
        self.starts.push(sorted.len() as u32);
    }

    fn place(&self, sorted: &[u32], number: u32) -> Option<u32> {
        if self.starts.is_empty() {
            return sorted.binary_search(&number).ok().map(|at| at as u32);
        }
        let piece = (number >> self.shift) as usize;
        let (begin, end) = (*self.starts.get(piece)?, *self.starts.get(piece + 1)?);
        sorted[begin as usize..end as usize].binary_search(&number).ok().map(|at| begin + at as u32)
    }
}

/// Shorter lists are searched as they are.
const INDEX_FROM: usize = 64;

/// The place of a step in its process as a share of the whole, where nothing else says when it should be done.
fn spread(at: usize, count: usize) -> u64 {
    (((at as u64 + 1) << 32) / count as u64).min(u64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R29: the index of a long list finds what a search of the whole list finds, whatever the gaps are.
    #[test]
    fn an_index_finds_each_number_where_it_is() {
        let mut index = Index::default();
        let wide: Vec<u32> = (0..5000).map(|nth: u32| nth * nth * 150 + nth).collect();
        let crowded: Vec<u32> = (0..100).chain([ValueId::LARGEST.0]).collect();
        for list in [wide, crowded, (0..64).collect(), vec![7]] {
            index.fill(&list);
            for &number in &list {
                for asked in [number.saturating_sub(1), number, number.saturating_add(1)] {
                    let expected = list.binary_search(&asked).ok().map(|at| at as u32);
                    assert_eq!(index.place(&list, asked), expected, "{asked}");
                }
            }
        }
    }
}
