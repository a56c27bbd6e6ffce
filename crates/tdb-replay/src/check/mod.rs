//! Whether a history can be explained.
//!
//! Owns the questions. Is there an order of all operations that keeps each trace's own order and makes every result
//! true? And, where the traces have times: is there for each key one that also keeps "this was answered before that was
//! called" (linearizability)? The second is asked of each key alone; it says nothing of transactions over several keys
//! beyond what each key shows of them.
//!
//! * [`timed`]: the second question.
//! * [`report`]: the verdict in words and as JSON.

pub mod report;
pub mod timed;

use history::solver::Limits;

use crate::order::explain::{Explained, Unexplained, explain};
use crate::slice::reduce::{Judged, keys_of};
use crate::trace::History;
use crate::trace::chain::Hashing;
use crate::verdict::{Contradiction, Verdict};
use timed::Timed;

/// What was found.
pub struct Checked {
    /// The order, or why there is none.
    pub sequential: Result<Explained, Unexplained>,
    /// What the times say; none if no line has any, or there is no order anyway.
    pub timed: Option<Timed>,
}

/// Checks `history`. `times` asks the second question too, where there are any.
pub fn check(history: &History, limits: Limits, times: bool) -> Checked {
    let sequential = explain(history, Hashing::recorded(history), limits);
    let timed = match &sequential {
        Ok(explained) if times && history.traces.iter().any(|trace| trace.rows.is_timed()) => {
            Some(Timed::of(history, &explained.dead, limits))
        }
        _ => None,
    };
    Checked { sequential, timed }
}

impl Checked {
    /// The verdict: the worst of the answers to all questions.
    pub fn verdict(&self) -> Verdict {
        let first = match &self.sequential {
            Ok(explained) => explained.verdict(),
            Err(unexplained) => unexplained.verdict(),
        };
        let timed = self.timed.iter().flat_map(|timed| &timed.conflicts).map(Contradiction::verdict);
        timed.fold(first, Verdict::worst)
    }

    /// What contradicts itself, or could not be settled.
    pub fn contradictions(&self) -> impl Iterator<Item = &Contradiction> {
        let first = match &self.sequential {
            Ok(explained) => &explained.disbelieved,
            Err(unexplained) => &unexplained.contradictions,
        };
        first.iter().chain(self.timed.iter().flat_map(|timed| &timed.conflicts))
    }

    /// The verdict for [`crate::slice::reduce`]: only what is impossible fails.
    pub fn judged(&self, history: &History) -> Judged {
        if self.verdict() != Verdict::Impossible {
            return Judged::Fine;
        }
        let mut keys = Vec::new();
        for contradiction in self.contradictions().filter(|found| found.verdict() == Verdict::Impossible) {
            match contradiction.key {
                Some(key) => keys.push(key),
                None => {
                    let lines = contradiction.lines.iter();
                    let rows: Vec<_> =
                        lines.map(|line| (usize::from(line.trace), line.row as usize)).collect();
                    keys.extend(keys_of(history, &rows));
                }
            }
        }
        Judged::Fails { keys }
    }
}
