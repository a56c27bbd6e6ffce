//! From a history to its order, or to the reason why it has none.
//!
//! Owns the attempts: as the traces say; then, if that explains nothing, without the tails of traces whose database
//! died under them. What was assumed is in [`Explained::notes`].

use super::attempt::{Attempt, Measure, Question, Task};
use super::dead;
use super::exclusion;
use super::joint::{Believed, Outcome};
use super::merge::Merged;
use super::solve::Effort;
use super::times;
use super::unfinished;
use super::units::UnitRow;
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
    /// The order keeps the times of the traces.
    pub timed: bool,
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
pub fn explain(history: &History, target: Hashing, question: Question) -> Result<Explained, Unexplained> {
    if question.times
        && let Some(broken) = exclusion::broken(history)
    {
        return Err(Unexplained::of(broken));
    }
    let task = Task { history, target, question };
    let measure = Measure::of(history, question.times);
    let (first, mut notes) = settle_unfinished(task, measure);
    if measure == Measure::Nothing {
        notes.push("no line shows another sequence number than the others: the numbers say nothing".into());
    }
    let tails: Vec<u32> = dead::tails(history).into_iter().zip(&first.dead).map(|(a, b)| a.min(*b)).collect();
    if first.is_good() || tails == first.dead {
        return Settle { task, notes }.attempt(first);
    }
    let second = Attempt::new(task, tails, measure);
    if second.trouble() >= first.trouble() {
        return Settle { task, notes }.attempt(first);
    }
    notes.extend(note_tails(history, &second.dead));
    Settle { task, notes }.attempt(second)
}

/// The first attempt, with all that was under way when its process died decided.
fn settle_unfinished(task: Task<'_>, measure: Measure) -> (Attempt, Vec<String>) {
    let history = task.history;
    let all = dead::none(history);
    let mut dead = all.clone();
    let mut open = Vec::new();
    for number in unfinished::of_many_keys(history) {
        match unfinished::is_refuted(history, number) {
            true => dead[number] -= 1,
            false => open.push(number),
        }
    }
    let mut best = Attempt::new(task, dead, measure);
    loop {
        let before = best.trouble();
        for &number in &open {
            if best.is_good() {
                break;
            }
            let mut dead = best.dead.clone();
            dead[number] = if dead[number] == all[number] { all[number] - 1 } else { all[number] };
            let other = Attempt::new(task, dead, measure);
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
        best = Attempt::new(task, dead, measure);
    }
    let cut = (0..all.len()).filter(|&number| best.dead[number] < all[number]);
    let place = |number: usize| history.place(number, best.dead[number] as usize);
    let notes = cut.map(|number| format!("{}: this did not happen any more", place(number))).collect();
    (best, notes)
}

/// What an attempt comes to.
struct Settle<'a> {
    task: Task<'a>,
    notes: Vec<String>,
}

/// Why one order of everything does not follow from the orders of the keys.
enum Doubt {
    /// These rows wait for each other.
    Cycle(Vec<(u16, u32)>),
    /// These operations are against their times.
    Times(Contradiction),
    /// There may be more changes than numbers.
    Numbers,
}

impl Settle<'_> {
    /// The order of an attempt, if it holds; otherwise that of another one, or why there is none.
    fn attempt(self, mut attempt: Attempt) -> Result<Explained, Unexplained> {
        let history = self.task.history;
        if !attempt.units.violations.is_empty() {
            return Err(Unexplained { contradictions: attempt.units.violations });
        }
        if !attempt.solution.unsolved.is_empty() {
            return Err(attempt.unsolved());
        }
        let mut disbelieved = attempt.disbelieved(self.task);
        let checks_counting = disbelieved.is_empty() && attempt.has_numbers();
        let (counted, merged) = attempt.count_and_merge(history, checks_counting);
        let mut doubt = None;
        if !counted {
            // The orders chosen may be to blame, or the numbers alone.
            attempt.units = attempt.fresh_units(history);
            disbelieved = attempt.miscounts(history);
            doubt = disbelieved.is_empty().then_some(Doubt::Numbers);
        }
        if disbelieved.iter().any(|found| found.kind == Kind::ExactNumbers) {
            return Err(Unexplained { contradictions: disbelieved });
        }
        if !disbelieved.is_empty()
            && let Some(found) = attempt.exact_contradiction(self.task, &disbelieved)
        {
            return Err(found);
        }
        let merged = match merged {
            Ok(merged) => {
                let against_times = || times::violation(history, &attempt.units, &attempt.solution, &merged);
                let against_times = if self.task.is_timed() { against_times() } else { None };
                doubt = against_times.map(Doubt::Times).or(doubt);
                Some(merged)
            }
            Err(error) => {
                doubt = Some(Doubt::Cycle(error.rows()));
                None
            }
        };
        match (doubt, merged) {
            (None, Some(merged)) => Ok(self.explained(attempt, merged, disbelieved)),
            (Some(Doubt::Times(found)), _) if attempt.measure == Measure::Numbers => {
                self.in_time(attempt.dead, found)
            }
            (doubt, merged) => self.jointly(attempt, merged, disbelieved, doubt),
        }
    }

    /// Numbers and times together, or times alone where that is impossible.
    fn in_time(self, dead: Vec<u32>, against: Contradiction) -> Result<Explained, Unexplained> {
        let both = Attempt::new(self.task, dead.clone(), Measure::NumbersInTime);
        if both.is_good() {
            return self.attempt(both);
        }
        let alone = Attempt::new(self.task, dead, Measure::Times);
        if !alone.solution.unsolved.is_empty() {
            return Err(alone.unsolved());
        }
        let mut disbelieved = both.disbelieved(self.task);
        disbelieved.extend(both.solution.unsolved.iter().cloned());
        if both.units.rows.iter().any(UnitRow::is_firm) {
            return self.jointly(both, None, disbelieved, Some(Doubt::Times(against)));
        }
        match alone.merge(self.task.history) {
            Ok(merged) => Ok(self.explained(alone, merged, disbelieved)),
            Err(error) => self.jointly(alone, None, disbelieved, Some(Doubt::Cycle(error.rows()))),
        }
    }

    /// Searches all keys at once, first with all numbers, then with the exact ones.
    fn jointly(
        mut self,
        attempt: Attempt,
        merged: Option<Merged>,
        mut disbelieved: Vec<Contradiction>,
        doubt: Option<Doubt>,
    ) -> Result<Explained, Unexplained> {
        let against = match doubt {
            Some(Doubt::Cycle(rows)) => Contradiction::of_rows(Kind::Cycle, rows),
            Some(Doubt::Times(found)) => found,
            Some(Doubt::Numbers) | None => Contradiction::of_rows(Kind::Cycle, []),
        };
        if disbelieved.is_empty() {
            // With an order at hand only the counting is in doubt, which is not worth much time.
            let share = if merged.is_some() && against.kind != Kind::Times { 10 } else { 1 };
            match attempt.search_jointly(self.task, Believed::All, share) {
                Outcome::Found { order, initial } => {
                    return self.in_order(attempt, &order, initial, disbelieved, against);
                }
                Outcome::Impossible if !attempt.has_numbers() => return Err(Unexplained::of(against)),
                Outcome::Impossible => {
                    disbelieved.push(Contradiction { kind: Kind::Numbers, ..against.clone() })
                }
                Outcome::GaveUp { bound } => {
                    let Some(merged) = merged.filter(|_| against.kind != Kind::Times) else {
                        return Err(Unexplained::of(Contradiction { gave_up: Some(bound), ..against }));
                    };
                    // An order obeys all windows, and there are numbers enough; only both together are not proved.
                    self.notes.push(format!(
                        "in this order not every change finds a number of its own; whether another order gives it one \
                         was not settled within {bound} states"
                    ));
                    return Ok(self.explained(attempt, merged, disbelieved));
                }
            }
        }
        match attempt.search_jointly(self.task, Believed::Exact, 1) {
            Outcome::Found { order, initial } => {
                self.in_order(attempt, &order, initial, disbelieved, against)
            }
            Outcome::Impossible
                if against.kind != Kind::Times && attempt.units.rows.iter().any(UnitRow::is_firm) =>
            {
                let named = disbelieved.into_iter().find(|found| !found.lines.is_empty());
                Err(Unexplained::of(Contradiction { kind: Kind::ExactNumbers, ..named.unwrap_or(against) }))
            }
            Outcome::Impossible => Err(Unexplained::of(against)),
            Outcome::GaveUp { bound } => {
                Err(Unexplained::of(Contradiction { gave_up: Some(bound), ..against }))
            }
        }
    }

    /// The order of everything that a search found.
    fn in_order(
        self,
        attempt: Attempt,
        order: &[u32],
        initial: Vec<u32>,
        disbelieved: Vec<Contradiction>,
        against: Contradiction,
    ) -> Result<Explained, Unexplained> {
        let attempt = attempt.with_order(order, initial);
        match attempt.merge(self.task.history) {
            Ok(merged) => Ok(self.explained(attempt, merged, disbelieved)),
            // Only locks can be in the way now: those of the target, or of a trace with itself.
            Err(_) => {
                let gave_up = Some(self.task.question.limits.states);
                Err(Unexplained::of(Contradiction { gave_up, ..against }))
            }
        }
    }

    fn explained(self, attempt: Attempt, merged: Merged, disbelieved: Vec<Contradiction>) -> Explained {
        let mut notes = self.notes;
        notes.extend(note_unwalked(self.task.history, &merged));
        let planted = attempt.solution.planted().map(|(key, value)| planted(&attempt, key, value)).collect();
        let effort = attempt.solution.effort;
        let timed = self.task.is_timed();
        Explained { merged, planted, effort, disbelieved, timed, dead: attempt.dead, notes }
    }
}

fn planted(attempt: &Attempt, key: u32, value: u32) -> Planted {
    let units = || attempt.solution.of_key(key).iter().map(|&id| &attempt.units.rows[id as usize]);
    let finder = units()
        .find(|unit| unit.asks())
        .or(units().next())
        .expect("a planted key has a unit that asks for it");
    Planted { key, value, trace: finder.trace, row: finder.row }
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
