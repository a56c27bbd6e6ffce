//! One attempt to order a history: which rows count, and by what their places are measured.
//!
//! Owns the steps from rows to one order with certain assumptions. Which assumptions to make, and what it means when they fail,
//! is for [`super::explain`] to say.

use history::solver::{Beginning, Limits, Rules, Windows};

use super::counting;
use super::events::Input;
use super::exact;
use super::merge::{MergeError, Merged, merge};
use super::solve::{LEFT_OUT, Solution, unsolved, unwindowed};
use super::times;
use super::units::{UnitRow, Units};
use crate::trace::chain::Hashing;
use crate::trace::op::Op;
use crate::trace::{History, Trace};
use crate::verdict::{Contradiction, Kind};

/// What is asked of an order, and how hard it is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// When a search gives up.
    pub limits: Limits,
    /// Whether times count, where traces have them.
    pub times: bool,
    /// Whether no key existed before the traces began, although they do not say so.
    pub empty: bool,
    /// On histories of so many rows or fewer nothing is said that is not proved, if the search of all keys can prove it.
    pub proved_up_to: usize,
}

/// A history of so many rows is searched within a second or so, or not at all.
const PROVED_UP_TO: usize = 1000;

impl Default for Question {
    /// Times count; the beginning is what the traces say; small histories are proved.
    fn default() -> Self {
        Question { limits: Limits::default(), times: true, empty: false, proved_up_to: PROVED_UP_TO }
    }
}

/// What places in an order are measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// By sequence numbers.
    Numbers,
    /// By sequence numbers, which are held against the times.
    NumbersInTime,
    /// By times.
    Times,
    /// By nothing: there are no numbers and no times.
    Nothing,
}

impl Measure {
    /// The measure of a history: numbers, unless it has none.
    ///
    /// A history has no numbers if every line shows the same one although two processes or more changed the database: then
    /// nobody counts. Traces of a service's clients have the number 0 and times.
    pub fn of(history: &History, times: bool) -> Measure {
        if !history.traces.iter().all(|trace| shows_only(trace, first_number(history))) {
            return Measure::Numbers;
        }
        let timed = times && history.traces.iter().all(is_timed);
        if timed && first_number(history) == 0 {
            return Measure::Times;
        }
        let changers = history.traces.iter().filter(|trace| changes(trace)).count();
        if changers < 2 { Measure::Numbers } else { Measure::Nothing }
    }

    /// Whether numbers count.
    pub fn has_numbers(self) -> bool {
        matches!(self, Measure::Numbers | Measure::NumbersInTime)
    }
}

fn first_number(history: &History) -> u32 {
    history.traces.first().map_or(0, |trace| trace.opened.seq)
}

/// Whether no line of a trace shows another number, or an exact one.
fn shows_only(trace: &Trace, number: u32) -> bool {
    trace.opened.seq == number
        && (0..trace.rows.len()).all(|row| trace.rows.seq(row) == number)
        && (0..trace.rows.len()).all(|row| trace.rows.version(row).is_none())
}

/// Whether every line has times.
fn is_timed(trace: &Trace) -> bool {
    let finished = trace.rows.len() - usize::from(trace.unfinished);
    (0..finished).all(|row| trace.rows.stamp(row).is_some())
}

/// Whether a trace certainly changes something.
fn changes(trace: &Trace) -> bool {
    let finished = trace.rows.len() - usize::from(trace.unfinished);
    (0..finished).any(|row| {
        let row = trace.rows.row(row);
        let certain = row.op != Op::Storev || !matches!(row.store_flag(), 2 | 3);
        row.op == Op::WipeAll || (certain && crate::stat::keys::changes(row))
    })
}

/// `TDB_CLEAR_IF_FIRST` and `TDB_INTERNAL` of tdb.h.
const CLEAR_IF_FIRST: u32 = 1;
const INTERNAL: u32 = 2;
/// `O_TRUNC` of fcntl.h, as the traces' systems have it.
const O_TRUNC: u32 = 0o1000;

/// Whether the traces say that no key existed before: the database was truncated or private to its process, or whoever
/// found it at number 0 clears it if it is the first to open it.
pub fn begins_empty(history: &History) -> bool {
    let makes_new =
        |trace: &Trace| trace.opened.tdb_flags & INTERNAL != 0 || trace.opened.open_flags & O_TRUNC != 0;
    let clears = |trace: &Trace| trace.opened.tdb_flags & CLEAR_IF_FIRST != 0 || makes_new(trace);
    let mut first = history.traces.iter().filter(|trace| trace.opened.seq == 0).peekable();
    history.traces.iter().any(makes_new) || first.peek().is_some() && first.all(clears)
}

/// The history and what is asked of it.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    /// The history.
    pub history: &'a History,
    /// How the database that the order is for spreads its keys.
    pub target: Hashing,
    /// What is asked.
    pub question: Question,
}

impl Task<'_> {
    /// Whether no key existed before.
    pub fn begins_empty(&self) -> bool {
        self.question.empty || begins_empty(self.history)
    }

    /// Whether times count, and there are any.
    pub fn is_timed(&self) -> bool {
        self.question.times && times::has_any(self.history)
    }

    /// The solver's rules.
    pub fn rules(&self, measure: Measure) -> Rules {
        Rules {
            beginning: if self.begins_empty() { Beginning::Absent } else { Beginning::Unknown },
            windows: if measure == Measure::Nothing { Windows::Ignore } else { Windows::Prefer },
            limits: self.question.limits,
        }
    }
}

/// An attempt: units and the orders of their keys.
pub struct Attempt {
    /// What was measured by.
    pub measure: Measure,
    /// The units.
    pub units: Units,
    /// The orders of the keys.
    pub solution: Solution,
    /// The chain of each key in the target.
    pub chains: Vec<u32>,
    /// The row from which each trace says nothing.
    pub dead: Vec<u32>,
}

/// Whether every change has a number of its own.
pub enum Counted {
    /// Under the orders of the keys each has one.
    Each,
    /// Under these orders a change finds none; these changes find none under any orders, which may be no change at all.
    NotEach(Vec<Contradiction>),
}

impl Attempt {
    /// Solves every key.
    pub fn new(task: Task<'_>, dead: Vec<u32>, measure: Measure) -> Attempt {
        let recorded = Hashing::recorded(task.history);
        let mut chains = recorded.chains(task.history);
        let units = placed(task.history, &chains, &dead, measure);
        let solution = Solution::of(&units, chains.len(), task.rules(measure));
        if task.target != recorded {
            chains = task.target.chains(task.history);
        }
        Attempt { measure, units, solution, chains, dead }
    }

    /// How many keys have no order that obeys the measure.
    pub fn trouble(&self) -> usize {
        let unwindowed = if self.has_numbers() { self.solution.unwindowed.len() } else { 0 };
        self.solution.unsolved.len() + unwindowed + self.units.violations.len()
    }

    /// Whether nothing stands against the order.
    pub fn is_good(&self) -> bool {
        self.trouble() == 0
    }

    /// Whether places are measured by numbers.
    pub fn has_numbers(&self) -> bool {
        self.measure.has_numbers()
    }

    /// The same without the unfinished operations that the orders of the keys leave out: a replay must not run them.
    pub fn without_undone(self, task: Task<'_>) -> Attempt {
        let undone = self.undone(task.history);
        if undone.is_empty() {
            return self;
        }
        let mut dead = self.dead;
        undone.into_iter().for_each(|number| dead[number] -= 1);
        Attempt::new(task, dead, self.measure)
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
        let solved = |key: u32| unsolved.binary_search_by_key(&key, |unsolved| unsolved.key).is_err();
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

    /// Merges the traces. Where locks would have to be given up they are merged again with steps that do not wait for any
    /// chain: a walk passes one chain after the other, and its n-th step need not meet the chain that it met when it was
    /// recorded, so steps wait for all, which can let others go first who belong later.
    pub fn merge(&self, history: &History) -> Result<Merged, MergeError> {
        let Attempt { units, solution, chains, dead, .. } = self;
        let input = Input { history, units, solution, chains, dead, lone_steps: false };
        let first = merge(input)?;
        if first.given_up.is_empty() {
            return Ok(first);
        }
        match merge(Input { lone_steps: true, ..input }) {
            Ok(second) if second.given_up.len() < first.given_up.len() => Ok(second),
            _ => Ok(first),
        }
    }

    /// Results of transactions that exclude each other, or else why keys have no order.
    pub fn contradictions(&self, task: Task<'_>) -> Vec<Contradiction> {
        if !self.units.violations.is_empty() {
            return self.units.violations.clone();
        }
        let mut contradictions = unsolved(&self.units, &self.solution, task.rules(self.measure));
        if self.measure == Measure::Times {
            contradictions.iter_mut().for_each(|found| found.kind = Kind::Times);
        }
        contradictions
    }

    /// Whether any line has an exact number.
    pub fn has_exact_numbers(&self) -> bool {
        self.units.rows.iter().any(UnitRow::is_firm)
    }

    /// Lines whose numbers do not agree with those before them, or with the results of a key.
    pub fn disbelieved(&self, task: Task<'_>) -> Vec<Contradiction> {
        if !self.has_numbers() {
            return Vec::new();
        }
        let of_keys = unwindowed(&self.units, &self.solution, task.rules(self.measure));
        self.units.miscounts.iter().cloned().chain(of_keys).collect()
    }

    /// Looks for a number for every change under the orders of the keys, and merges the traces.
    pub fn count_and_merge(&mut self, task: Task<'_>) -> (Counted, Result<Merged, MergeError>) {
        let history = task.history;
        let fits = self.fit_orders_to_numbers(task);
        if fits {
            counting::follow_orders(&mut self.units, &self.solution);
        }
        let this = &*self;
        let (found, merged) = std::thread::scope(|scope| {
            let sweep = scope.spawn(|| this.sweep(history));
            let merged = this.merge(history);
            match sweep.join() {
                Ok(found) => (found, merged),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        });
        let counted = match (fits, found.is_empty()) {
            (true, true) => Counted::Each,
            // The orders chosen may be to blame, or the numbers alone.
            (true, false) => {
                self.units = self.units_with(history, &self.dead);
                Counted::NotEach(self.miscounts(history))
            }
            (false, _) => Counted::NotEach(found),
        };
        (counted, merged)
    }

    /// Looks for other orders of keys that leave a change no number. Whether every key then has a number for each.
    fn fit_orders_to_numbers(&mut self, task: Task<'_>) -> bool {
        let short =
            |this: &Attempt, key: u32| counting::is_short_of_numbers(&this.units, &this.solution, key);
        let keys: Vec<u32> = self.solution.chosen.iter().copied().filter(|&key| short(self, key)).collect();
        for &key in &keys {
            self.solution.set_apart(&self.units, key, task.rules(self.measure));
        }
        !keys.into_iter().any(|key| short(self, key))
    }

    fn sweep(&self, history: &History) -> Vec<Contradiction> {
        counting::sweep(history, &self.units, |unit| (self.units.rows[unit].low, self.units.rows[unit].high))
    }

    /// The units if the traces say nothing from these rows on.
    pub fn units_with(&self, history: &History, dead: &[u32]) -> Units {
        let chains = Hashing::recorded(history).chains(history);
        placed(history, &chains, dead, self.measure)
    }

    /// The row from which each trace says nothing, with what was under way at its end.
    pub fn possible_ends(&self, history: &History) -> Vec<u32> {
        let rows = history.traces.iter().map(|trace| trace.rows.len() as u32);
        rows.zip(&self.dead).map(|(rows, &dead)| if dead + 1 >= rows { rows } else { dead }).collect()
    }

    /// Numbers that are contradicted by others, whatever the results are.
    pub fn miscounts(&self, history: &History) -> Vec<Contradiction> {
        if !self.has_numbers() {
            return Vec::new();
        }
        match self.units.miscounts.is_empty() {
            true => self.sweep(history),
            false => self.units.miscounts.clone(),
        }
    }

    /// Exact numbers that contradict each other, whatever the results are.
    pub fn exact_miscounts(&self, history: &History) -> Vec<Contradiction> {
        match self.has_exact_numbers() {
            true => counting::sweep_exact(history, &self.units),
            false => Vec::new(),
        }
    }
}

fn placed(history: &History, chains: &[u32], dead: &[u32], measure: Measure) -> Units {
    let mut units = Units::build(history, chains, dead);
    match measure {
        Measure::Numbers | Measure::NumbersInTime => {
            exact::narrow(history, &mut units);
            if measure == Measure::NumbersInTime {
                times::narrow(history, &mut units);
            }
            counting::set_apart(history, &mut units);
        }
        Measure::Times => times::take(history, &mut units),
        Measure::Nothing => {}
    }
    units
}
