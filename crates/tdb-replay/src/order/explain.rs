//! From a history to its order, or to the reason why it has none.
//!
//! Owns the verdict. The quick way ([`super::guess`]) gives an order or a contradiction, of a history of any size. On a small history
//! neither counts until it is proved: the order by going through it step by step, and the contradiction by the search of all keys
//! ([`super::joint`]), which also has the word where the quick way is in doubt. What was assumed is in [`Explained::notes`].

use history::solver::Limits;

use super::attempt::{Attempt, Measure, Question, Task};
use super::exclusion;
use super::found;
use super::guess::{Doubt, Finding, Guess, guess};
use super::joint::steps::Steps;
use super::joint::{self, Believed, Demands, Order, Outcome, follow};
use super::merge::{MergeError, Merged};
use super::solve::Effort;
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
    /// What this order does not explain: lines whose plain numbers had to be set aside, and searches for a better one that were given up.
    pub disbelieved: Vec<Contradiction>,
    /// What solving took.
    pub effort: Effort,
    /// The order keeps the times of the traces.
    pub timed: bool,
    /// What was assumed.
    pub notes: Vec<String>,
}

impl Explained {
    /// Explained, with or without all numbers; or that this was not settled.
    pub fn verdict(&self) -> Verdict {
        match self.disbelieved.iter().any(|found| found.gave_up.is_some()) {
            true => Verdict::GaveUp,
            false if self.disbelieved.is_empty() => Verdict::Explained,
            false => Verdict::NumbersDisbelieved,
        }
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
    /// Impossible if anything was shown to be, whatever is unknown of the rest; otherwise it was given up. Only where an order that
    /// disbelieves numbers has no replay it is numbers that are disbelieved.
    pub fn verdict(&self) -> Verdict {
        let verdicts = self.contradictions.iter().map(Contradiction::verdict);
        verdicts.fold(Verdict::Explained, Verdict::worst)
    }
}

/// Finds the order of `history` for a database that hashes as `target` says.
pub fn explain(history: &History, target: Hashing, question: Question) -> Result<Explained, Unexplained> {
    let task = Task { history, target, question };
    let rows = history.traces.iter().map(|trace| trace.rows.len()).sum::<usize>();
    let is_small = rows <= question.proved_up_to;
    let asked = question.limits.states;
    let is_asked_for_more = asked > Limits::default().states;
    let patience = if is_small || is_asked_for_more { asked } else { asked.min(PER_ROW * rows as u64) };
    let broken = if question.times { exclusion::broken(history) } else { None };
    if !is_small && let Some(broken) = broken {
        return Err(Unexplained { contradictions: vec![broken] });
    }
    let mut guess = guess(task);
    if let Some(broken) = broken {
        guess.finding = Finding::None(vec![broken]);
    }
    let judged = Judge { task, is_small, rows, patience }.judge(guess);
    match history.lives_guessed {
        true => as_guessed(judged),
        false => judged,
    }
}

/// What a history comes to whose lives were guessed: another guess might have explained it.
fn as_guessed(judged: Result<Explained, Unexplained>) -> Result<Explained, Unexplained> {
    let found = match judged {
        Ok(explained) if explained.verdict() == Verdict::Explained => return Ok(explained),
        Ok(Explained { disbelieved, .. }) => disbelieved,
        Err(Unexplained { contradictions }) => contradictions,
    };
    let rows = found.first().into_iter().flat_map(|found| &found.lines).map(|line| (line.trace, line.row));
    Err(Unexplained { contradictions: vec![Contradiction::of_rows(Kind::Lives, rows)] })
}

/// States a row that the search of all keys may visit in a large history, unless more than usual was asked for. One that goes wrong early is not repaired by more.
const PER_ROW: u64 = 4;

struct Judge<'a> {
    task: Task<'a>,
    is_small: bool,
    rows: usize,
    /// States that the search of all keys may visit.
    patience: u64,
}

/// What is known of the order of a guess.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// Everything can happen in this order, as it says.
    Whole,
    /// It can, but perhaps some changes that may have been refused go another way.
    Verdict,
    /// It cannot, or that is not known.
    None,
}

impl Judge<'_> {
    fn judge(&self, guess: Guess) -> Result<Explained, Unexplained> {
        let recorded = Hashing::recorded(self.task.history);
        let in_doubt = match &guess.finding {
            Finding::Order(merged) => self.task.target == recorded && !merged.given_up.is_empty(),
            Finding::Doubt(_) => true,
            Finding::None(_) => false,
        };
        if !self.is_small && !in_doubt {
            return self.take(guess);
        }
        let chains = recorded.chains(self.task.history);
        let proof = if self.is_small { self.proof(&guess, &chains) } else { Proof::None };
        if proof == Proof::Whole {
            return self.take(guess);
        }
        if (self.rows as u64) > self.patience {
            // It takes a state for each row at least.
            return self.unsettled(guess, self.patience, proof);
        }
        let ends = guess.attempt.possible_ends(self.task.history);
        match Steps::read(self.task.history, &chains, &ends, self.task.question.times) {
            Some(steps) => self.search(guess, &steps, proof),
            None => self.unsettled(guess, self.patience, proof),
        }
    }

    /// Whether everything can happen in the order of a guess.
    fn proof(&self, guess: &Guess, chains: &[u32]) -> Proof {
        let Finding::Order(merged) = &guess.finding else { return Proof::None };
        let attempt = &guess.attempt;
        let ends = attempt.possible_ends(self.task.history);
        if !guess.disbelieved.is_empty() || !merged.given_up.is_empty() || ends != attempt.dead {
            return Proof::None;
        }
        let steps = Steps::read(self.task.history, chains, &attempt.dead, self.task.question.times);
        let holds = |steps: Steps| follow::holds(&steps, self.demands(), &attempt.units, &attempt.solution);
        match steps.is_some_and(holds) {
            true if attempt.units.rows.iter().any(UnitRow::is_uncertain) => Proof::Verdict,
            true => Proof::Whole,
            false => Proof::None,
        }
    }

    fn demands(&self) -> Demands {
        let has_numbers = Measure::of(self.task.history, self.task.question.times).has_numbers();
        let believed = if has_numbers { Believed::All } else { Believed::None };
        Demands { believed, empty: self.task.begins_empty(), states: self.patience }
    }

    /// Searches all keys at once, first with all numbers, then with the exact ones.
    fn search(&self, mut guess: Guess, steps: &Steps, proof: Proof) -> Result<Explained, Unexplained> {
        let demands = self.demands();
        let stuck = match joint::search(steps, demands) {
            Outcome::Found(order) => {
                guess.disbelieved.clear();
                return self.in_order(guess, steps, order);
            }
            Outcome::GaveUp { bound } => return self.unsettled(guess, bound, proof),
            Outcome::Impossible { stuck } if demands.believed == Believed::None => {
                return Err(impossible(guess, Kind::Stuck, stuck));
            }
            Outcome::Impossible { stuck } => stuck,
        };
        if guess.disbelieved.is_empty() {
            guess.disbelieved.push(self.named(&guess, Kind::Numbers, stuck));
        }
        match joint::search(steps, Demands { believed: Believed::Exact, ..demands }) {
            Outcome::Found(order) => self.in_order(guess, steps, order),
            Outcome::GaveUp { bound } => self.unsettled(guess, bound, proof),
            Outcome::Impossible { stuck } => {
                // Without any numbers it may be possible.
                let without = joint::search(steps, Demands { believed: Believed::None, ..demands });
                let exact = matches!(without, Outcome::Found(_));
                Err(impossible(guess, if exact { Kind::ExactNumbers } else { Kind::Stuck }, stuck))
            }
        }
    }

    /// What is said of plain numbers that no order obeys.
    fn named(&self, guess: &Guess, kind: Kind, stuck: Vec<(u16, u32)>) -> Contradiction {
        match &guess.finding {
            Finding::Doubt(Doubt::Cycle(rows)) => Contradiction::of_rows(kind, rows.iter().copied()),
            Finding::Doubt(Doubt::Times(found)) => Contradiction { kind, ..found.clone() },
            _ => Contradiction::of_rows(kind, stuck),
        }
    }

    /// What a guess says, without a proof of its own.
    fn take(&self, guess: Guess) -> Result<Explained, Unexplained> {
        match guess.finding {
            Finding::Order(merged) => {
                Ok(self.explained(guess.attempt, merged, guess.disbelieved, guess.notes))
            }
            Finding::None(contradictions) => Err(Unexplained { contradictions }),
            Finding::Doubt(_) => self.unsettled(guess, self.patience, Proof::None),
        }
    }

    /// What a guess is worth if the search has given up.
    fn unsettled(&self, mut guess: Guess, bound: u64, proof: Proof) -> Result<Explained, Unexplained> {
        let gave_up = |found| Contradiction { gave_up: Some(bound), ..found };
        let unexplained = |found| Err(Unexplained { contradictions: vec![gave_up(found)] });
        let (merged, unproved) = match guess.finding {
            Finding::Doubt(Doubt::Cycle(rows)) => {
                return unexplained(Contradiction::of_rows(Kind::Cycle, rows));
            }
            Finding::Doubt(Doubt::Times(found)) => return unexplained(found),
            Finding::None(_) => return self.take(guess),
            // An order obeys all windows, and there are numbers enough; only both together are not proved.
            Finding::Doubt(Doubt::Numbers(merged)) => (
                merged,
                Some(
                    "in this order not every change finds a number of its own; whether another order gives it one",
                ),
            ),
            Finding::Order(merged)
                if self.is_small && proof == Proof::None && guess.disbelieved.is_empty() =>
            {
                (
                    merged,
                    Some(
                        "this order keeps results, numbers, times and locks, each for itself; whether one keeps all of them",
                    ),
                )
            }
            Finding::Order(merged) => (merged, None),
        };
        let as_recorded = self.task.target == Hashing::recorded(self.task.history);
        if as_recorded && !merged.given_up.is_empty() {
            let locks = merged.given_up.iter().map(|of| {
                let group = &self.task.history.traces[usize::from(of.trace)].groups[of.group as usize];
                (of.trace, group.start)
            });
            guess.disbelieved.push(gave_up(Contradiction::of_rows(Kind::Locks, locks)));
        }
        let note = |what: &str| format!("{what} was not settled within {bound} states");
        guess.notes.extend(unproved.map(note));
        Ok(self.explained(guess.attempt, merged, guess.disbelieved, guess.notes))
    }

    /// The order of everything that a search found.
    fn in_order(&self, guess: Guess, steps: &Steps, order: Order) -> Result<Explained, Unexplained> {
        let history = self.task.history;
        let (attempt, turned) = found::attempt_of(history, &guess.attempt, steps, order);
        let notes = guess.notes;
        let merged = match (attempt.merge(history), guess.finding) {
            // The order of a guess is as good for a replay, if it gives up fewer locks.
            (merged, Finding::Order(own) | Finding::Doubt(Doubt::Numbers(own)))
                if merged.as_ref().is_ok_and(|merged| own.given_up.len() < merged.given_up.len())
                    && !guess.attempt.units.rows.iter().any(UnitRow::is_uncertain) =>
            {
                return Ok(self.explained(guess.attempt, own, guess.disbelieved, notes));
            }
            (merged, _) => merged,
        };
        match merged {
            Ok(merged) => {
                let merged = Merged { turned, ..merged };
                Ok(self.explained(attempt, merged, guess.disbelieved, notes))
            }
            // By numbers that are not believed a commit failed, and a replay would undo it, but by the results it was made.
            Err(MergeError::Inconsistent(..)) if !guess.disbelieved.is_empty() => {
                Err(Unexplained { contradictions: guess.disbelieved })
            }
            // Only locks can be in the way now: those of the target, or of a trace with itself.
            Err(error) => {
                let gave_up = Some(self.patience);
                let found = Contradiction { gave_up, ..Contradiction::of_rows(Kind::Locks, error.rows()) };
                Err(Unexplained { contradictions: vec![found] })
            }
        }
    }

    fn explained(
        &self,
        attempt: Attempt,
        merged: Merged,
        disbelieved: Vec<Contradiction>,
        mut notes: Vec<String>,
    ) -> Explained {
        notes.extend(note_undone(self.task.history, &attempt.dead));
        notes.extend(note_unwalked(self.task.history, &merged));
        let planted = attempt.solution.planted().map(|(key, value)| planted(&attempt, key, value)).collect();
        let effort = attempt.solution.effort;
        let timed = self.task.is_timed();
        Explained { merged, planted, effort, disbelieved, timed, dead: attempt.dead, notes }
    }
}

/// Why a history is impossible, in the words of the guess if it found as much.
fn impossible(guess: Guess, kind: Kind, stuck: Vec<(u16, u32)>) -> Unexplained {
    let found = match guess.finding {
        Finding::None(found) => found,
        Finding::Doubt(Doubt::Times(found)) => vec![found],
        Finding::Doubt(Doubt::Cycle(rows)) => {
            let kind = if kind == Kind::Stuck { Kind::Cycle } else { kind };
            vec![Contradiction::of_rows(kind, rows)]
        }
        _ => Vec::new(),
    };
    let mut found: Vec<Contradiction> =
        found.into_iter().filter(|found| found.verdict() == Verdict::Impossible).collect();
    if found.is_empty() {
        let named = guess.disbelieved.into_iter().find(|found| !found.lines.is_empty());
        found.push(match named {
            Some(named) if kind == Kind::ExactNumbers => Contradiction { kind, ..named },
            _ => Contradiction::of_rows(kind, stuck),
        });
    }
    Unexplained { contradictions: found }
}

fn planted(attempt: &Attempt, key: u32, value: u32) -> Planted {
    let units = || attempt.solution.of_key(key).iter().map(|&id| &attempt.units.rows[id as usize]);
    let finder = units()
        .find(|unit| unit.asks())
        .or(units().next())
        .expect("a planted key has a unit that asks for it");
    Planted { key, value, trace: finder.trace, row: finder.row }
}

/// What was under way when its process died, and did not happen: the last row of a trace and no more.
fn note_undone(history: &History, dead: &[u32]) -> Vec<String> {
    let is_last = |&(number, &dead): &(usize, &u32)| dead as usize + 1 == history.traces[number].rows.len();
    let cut = dead.iter().enumerate().filter(is_last);
    let place = |number, row: u32| history.place(number, row as usize);
    cut.map(|(number, &row)| format!("{}: this did not happen any more", place(number, row))).collect()
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
