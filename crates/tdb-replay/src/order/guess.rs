//! The quick way to an order: keys one by one, and one merge.
//!
//! Owns the attempts: as the traces say; then, if that explains nothing, without the tails of traces whose database died under them; then
//! with times beside numbers or in their place. What comes of it is a [`Guess`]: on most histories right, and on every size quick. What
//! it is worth is for [`super::explain`] to say.

use super::attempt::{Attempt, Counted, Measure, Task};
use super::dead;
use super::merge::Merged;
use super::times;
use super::unfinished;
use crate::trace::History;
use crate::verdict::{Contradiction, Kind};

/// What the quick way came to.
pub struct Guess {
    /// What was tried last.
    pub attempt: Attempt,
    /// Whether there is an order.
    pub finding: Finding,
    /// Lines whose plain numbers were set aside.
    pub disbelieved: Vec<Contradiction>,
    /// What was assumed.
    pub notes: Vec<String>,
}

/// Whether the quick way found an order.
pub enum Finding {
    /// This one, and nothing that was looked at stands against it.
    Order(Merged),
    /// The orders of the keys do not fit together.
    Doubt(Doubt),
    /// There is none; at least one contradiction, or a search that was given up.
    None(Vec<Contradiction>),
}

/// Why one order of everything does not follow from the orders of the keys.
pub enum Doubt {
    /// These rows wait for each other.
    Cycle(Vec<(u16, u32)>),
    /// These operations are against their times.
    Times(Contradiction),
    /// There may be more changes than numbers in this order.
    Numbers(Merged),
}

/// Looks for an order the quick way.
pub fn guess(task: Task<'_>) -> Guess {
    let history = task.history;
    let measure = Measure::of(history, task.question.times);
    let (first, mut notes) = (settle_unfinished(task, measure), Vec::new());
    if measure == Measure::Nothing {
        notes.push("no line shows another sequence number than the others: the numbers say nothing".into());
    }
    let tails: Vec<u32> = dead::tails(history).into_iter().zip(&first.dead).map(|(a, b)| a.min(*b)).collect();
    if first.is_good() || tails == first.dead {
        return settle(task, first, notes);
    }
    let second = Attempt::new(task, tails, measure);
    if second.trouble() >= first.trouble() {
        return settle(task, first, notes);
    }
    notes.extend(note_tails(history, &second.dead));
    settle(task, second, notes)
}

/// The first attempt, with all that was under way when its process died decided.
fn settle_unfinished(task: Task<'_>, measure: Measure) -> Attempt {
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
    best.without_undone(task)
}

/// What an attempt comes to: its order, if that holds; otherwise that of another one, or why there is none.
fn settle(task: Task<'_>, mut attempt: Attempt, notes: Vec<String>) -> Guess {
    let history = task.history;
    let none = |attempt, found, disbelieved, notes| Guess {
        attempt,
        finding: Finding::None(found),
        disbelieved,
        notes,
    };
    let contradictions = attempt.contradictions(task);
    if !contradictions.is_empty() {
        return none(attempt, contradictions, Vec::new(), notes);
    }
    let mut disbelieved = attempt.disbelieved(task);
    let (counted, merged) = match disbelieved.is_empty() && attempt.has_numbers() {
        true => attempt.count_and_merge(task),
        false => (Counted::Each, attempt.merge(history)),
    };
    let is_counted = matches!(counted, Counted::Each);
    if let Counted::NotEach(found) = counted {
        disbelieved = found;
    }
    let of_exact = disbelieved.iter().any(|found| found.kind == Kind::ExactNumbers);
    if of_exact {
        return none(attempt, disbelieved, Vec::new(), notes);
    }
    if !disbelieved.is_empty() {
        let found = attempt.exact_miscounts(history);
        if !found.is_empty() {
            return none(attempt, found, disbelieved, notes);
        }
    }
    let finding = match merged {
        Err(error) => Finding::Doubt(Doubt::Cycle(error.rows())),
        Ok(merged) => match against_times(task, &attempt, &merged) {
            Some(found) if attempt.measure == Measure::Numbers => {
                return in_time(task, attempt.dead, found, notes);
            }
            Some(found) => Finding::Doubt(Doubt::Times(found)),
            None if !is_counted && disbelieved.is_empty() => Finding::Doubt(Doubt::Numbers(merged)),
            None => Finding::Order(merged),
        },
    };
    Guess { attempt, finding, disbelieved, notes }
}

fn against_times(task: Task<'_>, attempt: &Attempt, merged: &Merged) -> Option<Contradiction> {
    let looks = || times::violation(task.history, &attempt.units, &attempt.solution, merged);
    if task.is_timed() { looks() } else { None }
}

/// Numbers and times together, or times alone where that is impossible.
fn in_time(task: Task<'_>, dead: Vec<u32>, against: Contradiction, notes: Vec<String>) -> Guess {
    let both = Attempt::new(task, dead.clone(), Measure::NumbersInTime).without_undone(task);
    if both.is_good() {
        return settle(task, both, notes);
    }
    let alone = Attempt::new(task, dead, Measure::Times).without_undone(task);
    let contradictions = alone.contradictions(task);
    if !contradictions.is_empty() {
        let finding = Finding::None(contradictions);
        return Guess { attempt: alone, finding, disbelieved: Vec::new(), notes };
    }
    let mut disbelieved = both.disbelieved(task);
    disbelieved.extend(both.contradictions(task));
    if both.has_exact_numbers() {
        let finding = Finding::Doubt(Doubt::Times(against));
        return Guess { attempt: both, finding, disbelieved, notes };
    }
    let finding = match alone.merge(task.history) {
        Ok(merged) => Finding::Order(merged),
        Err(error) => Finding::Doubt(Doubt::Cycle(error.rows())),
    };
    Guess { attempt: alone, finding, disbelieved, notes }
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
