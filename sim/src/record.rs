//! What the clients saw, kept to be judged at the end by the history checker.
//!
//! Versions are not looked at here: only what was asked, what came back, and when. A register of the database is a key;
//! a write transaction reads its register first, so it needs what it found and leaves what it wrote.

use history::linearizability::{Answer, Call, Check, check};
use history::register::{Effect, Need, ValueId};

use crate::invariants::Found;

/// A span of real time in microseconds: when a client called, and when it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When it called.
    pub called: u64,
    /// When it was answered; none if it never was.
    pub answered: Option<u64>,
}

/// The operations of one run.
#[derive(Debug, Default)]
pub struct Record {
    calls: Vec<Call>,
    /// Unanswered operations: each has a process of its own, since it may take effect after its client went on.
    unanswered: u32,
}

/// Process numbers from here on are those of unanswered operations.
const UNANSWERED: u32 = 1 << 16;

impl Record {
    /// A client read `value` in `register`.
    pub fn read(&mut self, client: usize, register: u32, value: u64, span: Span) {
        self.push(client, register, Need::Exactly(id(value)), Effect::Keep, span);
    }

    /// A client found `found` in `register` and wrote `value`.
    pub fn wrote(&mut self, client: usize, register: u32, found: u64, value: u64, span: Span) {
        self.push(client, register, Need::Exactly(id(found)), Effect::Put(id(value)), span);
    }

    fn push(&mut self, client: usize, key: u32, need: Need, effect: Effect, span: Span) {
        let mut process = client as u32;
        if span.answered.is_none() {
            process = UNANSWERED + self.unanswered;
            self.unanswered += 1;
        }
        self.calls.push(Call {
            process,
            key,
            need,
            effect,
            invoked_at: span.called,
            returned_at: span.answered,
        });
    }

    /// Looks for an order in which every operation took effect between its call and its answer.
    ///
    /// # Errors
    /// If there is none.
    pub fn check(&self) -> Result<u64, String> {
        let mut found: Found = Ok(());
        check(&self.calls, &Check::default(), |register, answer| match answer {
            Answer::Witness(_) => {}
            Answer::Contradicted(contradiction) => {
                let units = contradiction.conflicts.iter().map(|conflict| {
                    let call = &self.calls[conflict.unit as usize];
                    format!(
                        "{:?} -> {:?} from {} to {:?}",
                        call.need, call.effect, call.invoked_at, call.returned_at
                    )
                });
                let units: Vec<String> = units.collect();
                found = Err(format!(
                    "register {register}: no order explains what clients saw: {}",
                    units.join("; ")
                ));
            }
            Answer::GaveUp { bound } => {
                found = Err(format!("register {register}: no order was found in {bound} states"));
            }
        });
        found.map(|()| self.calls.len() as u64)
    }
}

/// The name of a value for the checker: nothing was ever written where zero is found.
fn id(value: u64) -> ValueId {
    match u32::try_from(value) {
        Ok(0) => ValueId::ABSENT,
        Ok(value) => ValueId(value.saturating_add(1).min(ValueId::LARGEST.0)),
        // No client writes such a value; what is read here is garbage and matches no write.
        Err(_) => ValueId::LARGEST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(called: u64, answered: u64) -> Span {
        Span { called, answered: Some(answered) }
    }

    /// U34, U35: a stale read, a lost write and a value nobody wrote are contradictions; an unanswered write is free.
    #[test]
    fn what_cannot_have_happened_is_found() {
        let begin = || {
            let mut record = Record::default();
            record.wrote(0, 0, 0, 7, span(0, 10));
            record
        };
        let mut fine = begin();
        fine.wrote(1, 0, 7, 8, Span { called: 11, answered: None });
        fine.read(0, 0, 7, span(20, 30));
        fine.read(0, 0, 8, span(31, 40));
        assert_eq!(fine.check(), Ok(4));
        let mut stale = begin();
        stale.read(1, 0, 0, span(11, 12));
        let mut back = begin();
        back.wrote(1, 0, 0, 8, span(11, 12));
        let mut garbage = begin();
        garbage.read(1, 0, 99, span(11, 12));
        for wrong in [stale, back, garbage] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}
