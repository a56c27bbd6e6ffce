//! Traversals: the engine's n-th callback does what the recorded n-th callback did.
//!
//! The replay's database shows its records in another order, and perhaps more or fewer of them than the recorded one
//! had at that moment, since other traces change it meanwhile. Rows that are left when the engine's traversal is over
//! are run after it, before its end is announced; what it must exclude stays excluded by the schedule.

use std::ops::ControlFlow;

use super::worker::{Halt, Worker};
use crate::engine::Session;
use crate::trace::op::Op;

/// Traversals nested deeper than this are run to their end first: each level is a level of the engine's own calls.
const DEEPEST: u32 = 16;

impl Worker<'_> {
    /// Runs a traversal from its start row to `end`, inclusive.
    pub(super) fn traversal(&mut self, session: &mut dyn Session, write: bool, end: u32) -> Result<(), Halt> {
        let start = self.row;
        let works = (start + 1..end).any(|row| !is_step(self.trace.rows.op(row as usize)));
        let split = self.is_split() || self.nested >= DEEPEST || !works;
        let recorded = self.recorded(start, end);
        // In a traversal for writing whose lock is given up nobody may wait, and for reading none is taken.
        let locked = write && !self.plan.skip.contains(&start);
        self.reading += u32::from(!write);
        let began = self.began.take();
        self.finish_row();
        // The engine takes chain locks from its first step on: what that must come after comes before it.
        if self.row <= end {
            self.wait()?;
        }
        if self.plan.unwalked.contains(&start) {
            self.tally.not_run += 1;
        } else {
            let shown = match split {
                true => self.show_only(session, locked, &recorded)?,
                false => self.interleave(session, write, end, &recorded)?,
            };
            self.tally.other_length += u64::from(shown != recorded.steps);
        }
        self.rows_after(session, end)?;
        self.reading -= u32::from(!write);
        if let Some((from, _)) = began {
            // Mismatches are those of the rows in it.
            self.note(start, (from, self.tally.mismatches));
        }
        Ok(())
    }

    /// How many callbacks the recorded traversal had, nested ones aside, and whether it stopped there by itself.
    fn recorded(&self, start: u32, end: u32) -> Recorded {
        let mut steps = 0;
        let mut depth = 0u32;
        for row in start + 1..=end {
            let row = self.trace.rows.row(row as usize);
            match row.op {
                Op::Traversefn if depth == 0 => steps += u64::from(row.a),
                Op::Traverse if depth == 0 => steps += 1,
                Op::TraverseStart | Op::TraverseReadStart => depth += 1,
                Op::TraverseEnd => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        let last = self.trace.rows.row(end as usize);
        Recorded { steps, stopped: last.op != Op::TraverseEnd || last.b == 1 }
    }

    /// The engine's traversal, without anything in its callbacks.
    fn show_only(
        &mut self,
        session: &mut dyn Session,
        write: bool,
        recorded: &Recorded,
    ) -> Result<u64, Halt> {
        let mut shown = 0;
        let visit = &mut |_: &mut dyn Session, _: &[u8], _: &[u8]| {
            shown += 1;
            self.at.shows();
            recorded.after(shown)
        };
        let answer = session.traverse(write, visit);
        self.answered(answer)
    }

    /// The engine's traversal, each callback doing what the recorded one did.
    fn interleave(
        &mut self,
        session: &mut dyn Session,
        write: bool,
        end: u32,
        recorded: &Recorded,
    ) -> Result<u64, Halt> {
        let mut halt = None;
        let mut shown = 0;
        // Callbacks left in the run of this row.
        let mut left = 0;
        self.nested += 1;
        let at = self.at;
        let visit = &mut |session: &mut dyn Session, _: &[u8], _: &[u8]| match self
            .callback(session, end, &mut left)
        {
            Ok(()) => {
                shown += 1;
                at.shows();
                recorded.after(shown)
            }
            Err(error) => {
                halt = Some(error);
                ControlFlow::Break(())
            }
        };
        let answer = session.traverse(write, visit);
        self.nested -= 1;
        if let Some(halt) = halt {
            return Err(halt);
        }
        // A run that the engine's traversal did not use up is over.
        if left > 0 {
            self.finish_row();
        }
        self.answered(answer)
    }

    /// One callback. The row is a step; at the end of a run of steps the work up to the next step is done.
    fn callback(&mut self, session: &mut dyn Session, end: u32, left: &mut u32) -> Result<(), Halt> {
        if self.row >= end {
            return Ok(());
        }
        let row = self.trace.rows.row(self.row as usize);
        debug_assert!(is_step(row.op));
        if *left == 0 {
            *left = if row.op == Op::Traversefn { row.a } else { 1 };
        }
        *left -= 1;
        if *left > 0 {
            return Ok(());
        }
        self.step(session)?;
        // Row by row: a nested traversal has steps of its own, and ends beyond them.
        while self.row < end && !self.at_step() {
            self.rows(session, self.row + 1)?;
        }
        if self.row < end {
            self.wait()?;
        }
        Ok(())
    }

    /// A step: if the line says what was shown, that record must be there.
    fn step(&mut self, session: &mut dyn Session) -> Result<(), Halt> {
        let row = self.trace.rows.row(self.row as usize);
        if row.op == Op::Traverse && self.options.check {
            let key = self.key(row.key);
            let mut value = std::mem::take(&mut self.scratch);
            let found = session.fetch(key, &mut value);
            let found = self.answered(found)?;
            self.compare_value(row.a, found.then_some(value.as_slice()));
            self.scratch = value;
        }
        self.finish_row();
        Ok(())
    }

    /// The rows that no callback was left for, and the end.
    fn rows_after(&mut self, session: &mut dyn Session, end: u32) -> Result<(), Halt> {
        while self.row < end {
            self.wait()?;
            if self.at_step() {
                self.step(session)?;
            } else {
                self.rows(session, self.row + 1)?;
            }
        }
        if self.row == end {
            self.wait()?;
            self.finish_row();
        }
        Ok(())
    }

    fn at_step(&self) -> bool {
        is_step(self.trace.rows.op(self.row as usize))
    }
}

/// What a recorded traversal did.
struct Recorded {
    steps: u64,
    /// Its callback ended it, or it failed there.
    stopped: bool,
}

impl Recorded {
    /// What to answer to the callback that was the `shown`-th.
    fn after(&self, shown: u64) -> ControlFlow<()> {
        if self.stopped && shown >= self.steps { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

fn is_step(op: Op) -> bool {
    matches!(op, Op::Traverse | Op::Traversefn)
}
