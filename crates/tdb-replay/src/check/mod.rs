//! Whether a history can be explained.
//!
//! Owns the question as `quorate check` asks it: is there one order of all operations that keeps each trace's own order and
//! makes every result true, that agrees with the sequence numbers and, where the traces have times, has whatever was
//! answered before something else was called before it? [`crate::order::explain`] answers it.
//!
//! * [`report`]: the verdict in words and as JSON.
//! * [`hints`]: what else would explain a contradiction.

pub mod hints;
pub mod report;

use crate::order::attempt::Question;
use crate::order::explain::{Explained, Unexplained, explain};
use crate::slice::reduce::{Judged, keys_of};
use crate::trace::History;
use crate::trace::chain::Hashing;
use crate::verdict::{Contradiction, Verdict};

/// What was found.
pub struct Checked {
    /// The order, or why there is none.
    pub answer: Result<Explained, Unexplained>,
}

/// Checks `history`.
pub fn check(history: &History, question: Question) -> Checked {
    Checked { answer: explain(history, Hashing::recorded(history), question) }
}

impl Checked {
    /// The verdict.
    pub fn verdict(&self) -> Verdict {
        match &self.answer {
            Ok(explained) => explained.verdict(),
            Err(unexplained) => unexplained.verdict(),
        }
    }

    /// What contradicts itself, or could not be settled.
    pub fn contradictions(&self) -> &[Contradiction] {
        match &self.answer {
            Ok(explained) => &explained.disbelieved,
            Err(unexplained) => &unexplained.contradictions,
        }
    }

    /// The verdict for [`crate::slice::reduce`]: only what is impossible fails.
    pub fn judged(&self, history: &History) -> Judged {
        if self.verdict() != Verdict::Impossible {
            return Judged::Fine;
        }
        let mut keys = Vec::new();
        let impossible = self.contradictions().iter().filter(|found| found.verdict() == Verdict::Impossible);
        for contradiction in impossible {
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
