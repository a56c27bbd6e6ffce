//! Whether a history can be explained.
//!
//! Owns the verdict. Two questions are asked. Is there an order of all operations that keeps each trace's own order
//! and makes every result true? And, where the traces have times: is there for each key one that also keeps "this was
//! answered before that was called" (linearizability)? The second is asked of each key alone; it says nothing of
//! transactions over several keys beyond what each key shows of them.
//!
//! * [`timed`]: the second question.
//! * [`report`]: the verdict in words and as JSON.

pub mod report;
pub mod timed;

use history::solver::Limits;

use crate::order::explain::{Explained, KeyConflict, Unexplained, explain};
use crate::slice::reduce::{Judged, keys_of};
use crate::trace::History;
use crate::trace::chain::Hashing;
use timed::Timed;

/// What was found.
pub struct Verdict {
    /// The order, or why there is none.
    pub sequential: Result<Explained, Unexplained>,
    /// What the times say; none if no line has any, or there is no order anyway.
    pub timed: Option<Timed>,
}

/// The verdict in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// There is an order.
    Explained,
    /// There is none.
    Impossible,
    /// The search was given up before the answer was known.
    GaveUp,
}

/// Checks `history`. `times` asks the second question too, where there are any.
pub fn check(history: &History, limits: Limits, times: bool) -> Verdict {
    let sequential = explain(history, Hashing::recorded(history), limits);
    let timed = match &sequential {
        Ok(explained) if times && history.traces.iter().any(|trace| trace.rows.is_timed()) => {
            Some(Timed::of(history, &explained.dead, limits))
        }
        _ => None,
    };
    Verdict { sequential, timed }
}

impl Verdict {
    /// The verdict in one word. One impossible key makes the history impossible, whatever is unknown of the others.
    pub fn answer(&self) -> Answer {
        match &self.sequential {
            Ok(_) => of_keys(self.timed.as_ref().map_or(&[], |timed| &timed.conflicts)),
            Err(Unexplained::Keys(conflicts)) => of_keys(conflicts),
            Err(_) => Answer::Impossible,
        }
    }

    /// Keys without an order.
    pub fn conflicts(&self) -> &[KeyConflict] {
        match &self.sequential {
            Ok(_) => self.timed.as_ref().map_or(&[], |timed| &timed.conflicts),
            Err(Unexplained::Keys(conflicts)) => conflicts,
            Err(_) => &[],
        }
    }

    /// The verdict for [`crate::slice::reduce`]: only what is impossible fails.
    pub fn judged(&self, history: &History) -> Judged {
        if self.answer() != Answer::Impossible {
            return Judged::Fine;
        }
        let place = |(trace, row): (u16, u32)| (usize::from(trace), row as usize);
        let keys = match &self.sequential {
            Err(Unexplained::Transaction(trace, row)) => keys_of(history, &[place((*trace, *row))]),
            Err(Unexplained::Cycle(rows)) => {
                let rows: Vec<_> = rows.iter().copied().map(place).collect();
                keys_of(history, &rows)
            }
            _ => {
                let impossible = self.conflicts().iter().filter(|conflict| conflict.gave_up.is_none());
                impossible.map(|conflict| conflict.key).collect()
            }
        };
        Judged::Fails { keys }
    }
}

fn of_keys(conflicts: &[KeyConflict]) -> Answer {
    if conflicts.iter().any(|conflict| conflict.gave_up.is_none()) {
        Answer::Impossible
    } else if conflicts.is_empty() {
        Answer::Explained
    } else {
        Answer::GaveUp
    }
}
