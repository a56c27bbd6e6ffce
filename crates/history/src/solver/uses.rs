//! Who needs and who writes each value, and what follows from it before any search.
//!
//! Owns the lists by value, sorted by deadline, that tell whether a value may be overwritten now: some later writer
//! must still be able to serve whoever needs it. Where a value has a single writer, everyone who needs it comes
//! after that writer, which tightens windows.

use super::chains::Chains;
use super::step::{NONE, Step, even_out};
use crate::action::{KEEP, UNKNOWN_PRESENT};

/// One step that needs or writes a value.
#[derive(Clone, Copy, Debug, Default)]
struct Use {
    /// For a need: its deadline. For a write: the last cell in which it can be entered.
    upto: u64,
    /// The first cell in which it can be entered.
    opens: u64,
    /// For a write: the least `opens` of it and all writes after it in the list.
    least: u64,
    process: u32,
    step: u32,
}

/// So many needs are looked at to see until when a value must stay; more would change little.
const MOST_UNSERVED: usize = 8;

/// A list of uses for each value.
#[derive(Default)]
struct Lists {
    first: Vec<u32>,
    uses: Vec<Use>,
}

impl Lists {
    fn of(&self, value: u32) -> &[Use] {
        &self.uses[self.first[value as usize] as usize..self.first[value as usize + 1] as usize]
    }
}

/// The uses of all values of one problem.
#[derive(Default)]
pub(super) struct Uses {
    needs: Lists,
    writes: Lists,
    /// The needs of steps that replace the value they need.
    takers: Lists,
    /// The last step of each process that needs or writes a value; used where windows do not count.
    last_needs: Lists,
    last_writes: Lists,
    /// The single writer of each value, if there is one and the value was not there at the beginning.
    writer: Vec<u32>,
    /// How far the value of a single writer must last once it is written.
    lasts: Vec<u64>,
    pub chains: Chains,
    by_deadline: Vec<u32>,
    process_of: Vec<u32>,
    seen: Vec<u32>,
    orphans: Vec<u32>,
}

/// Whether the present value may be overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// By any step.
    Free,
    /// Only by this step, the last that needs the value.
    OnlyBy(u32),
    /// Only by steps that need it: there are as many as there are chances.
    OnlyByTakers,
    /// By none: more than one step needs it and no later writer serves them.
    Closed,
}

impl Guard {
    /// Whether `step`, which needs just this value or not, may overwrite it.
    pub fn allows(self, step: u32, takes: bool) -> bool {
        match self {
            Guard::Free => true,
            Guard::OnlyBy(only) => only == step,
            Guard::OnlyByTakers => takes,
            Guard::Closed => false,
        }
    }

    fn and(self, step: u32) -> Guard {
        match self {
            Guard::Free => Guard::OnlyBy(step),
            Guard::OnlyBy(other) if other == step => self,
            _ => Guard::Closed,
        }
    }
}

impl Uses {
    /// Lists the uses and tightens the steps' windows by them.
    pub fn compile(
        &mut self,
        steps: &mut [Step],
        alternatives: &[Step],
        processes: &[u32],
        values: usize,
        start: u32,
        obeys: bool,
    ) {
        self.note_processes(processes);
        self.find_writers(steps, alternatives, values, start);
        self.chains.compile(steps, processes, &self.writer);
        if obeys {
            self.by_deadline.clear();
            self.by_deadline.extend(0..steps.len() as u32);
            self.by_deadline.sort_by_key(|&step| steps[step as usize].deadline);
            self.tighten_deadlines(steps);
            self.by_deadline.sort_by_key(|&step| steps[step as usize].deadline);
            self.tighten_openings(steps);
            self.follow_chains(steps);
            self.by_deadline.sort_by_key(|&step| steps[step as usize].deadline);
        } else {
            self.by_deadline.clear();
            self.by_deadline.extend((0..steps.len() as u32).rev());
        }
        self.list(steps, alternatives, values, obeys);
    }

    /// Values that are needed and never written.
    pub fn orphans(&self) -> &[u32] {
        &self.orphans
    }

    /// How far `value`, just written, must last; 0 if others write it, too.
    pub fn lasts(&self, value: u32) -> u64 {
        self.lasts[value as usize]
    }

    /// Whether `value`, which the register holds at `cell`, may be overwritten.
    ///
    /// The second part is the cell until which it must not be overwritten.
    pub fn guard(&self, value: u32, cell: u64, heads: &[u32], obeys: bool) -> (Guard, u64) {
        if value >= KEEP {
            return (Guard::Free, 0);
        }
        if obeys { self.guard_in_windows(value, cell, heads) } else { (self.guard_by_order(value, heads), 0) }
    }

    fn guard_in_windows(&self, value: u32, cell: u64, heads: &[u32]) -> (Guard, u64) {
        let needs = self.needs.of(value);
        let mut guard = Guard::Free;
        let mut until = self.lasts[value as usize];
        // Needs with an earlier deadline were met, or the search would not have come here.
        let from = needs.partition_point(|need| need.upto < cell);
        let remaining = |need: &&Use| need.step >= heads[need.process as usize];
        for need in needs[from..].iter().filter(remaining).take(MOST_UNSERVED) {
            if self.is_served_later(value, need, cell, heads) {
                // Whoever has a later deadline is served by the same writer.
                break;
            }
            guard = guard.and(need.step);
            until = until.max(need.opens);
        }
        if guard == Guard::Free && self.are_takers_short(value, cell, heads) {
            guard = Guard::OnlyByTakers;
        }
        (guard, until)
    }

    /// Whether the steps that take `value` (need it and replace it) need the present chance: each takes one, and
    /// before the deadline of the n-th fewer than n writers can provide another.
    fn are_takers_short(&self, value: u32, cell: u64, heads: &[u32]) -> bool {
        let (takers, writes) = (self.takers.of(value), self.writes.of(value));
        let remaining = |at: &&Use| at.step >= heads[at.process as usize];
        let from = takers.partition_point(|taker| taker.upto < cell);
        let writes = &writes[writes.partition_point(|write| write.upto < cell)..];
        for (nth, taker) in takers[from..].iter().filter(remaining).take(MOST_UNSERVED).enumerate() {
            let in_time = writes.iter().take_while(|write| write.least <= taker.upto);
            let chances = in_time.filter(remaining).filter(|write| write.opens <= taker.upto);
            let chances = chances.take(MOST_UNSERVED).count();
            if chances <= nth {
                return true;
            }
            if chances == MOST_UNSERVED {
                return false;
            }
        }
        false
    }

    fn is_served_later(&self, value: u32, need: &Use, cell: u64, heads: &[u32]) -> bool {
        let writes = self.writes.of(value);
        let from = writes.partition_point(|write| write.upto < cell);
        for write in &writes[from..] {
            if write.least > need.upto {
                return false;
            }
            let remains = write.step >= heads[write.process as usize];
            let before = write.process != need.process || write.step < need.step;
            if remains && before && write.opens <= need.upto {
                return true;
            }
        }
        false
    }

    fn guard_by_order(&self, value: u32, heads: &[u32]) -> Guard {
        let remains = |last: &&Use| last.step >= heads[last.process as usize];
        let mut needs = self.last_needs.of(value).iter().filter(remains);
        let Some(need) = needs.next() else {
            return Guard::Free;
        };
        if self.last_writes.of(value).iter().any(|write| remains(&write)) {
            return Guard::Free;
        }
        let only = needs.next().is_none() && need.step == heads[need.process as usize];
        if only { Guard::OnlyBy(need.step) } else { Guard::Closed }
    }

    /// The process of a step.
    pub fn process_of(&self, step: u32) -> usize {
        self.process_of[step as usize] as usize
    }

    fn note_processes(&mut self, processes: &[u32]) {
        self.process_of.clear();
        for (process, bounds) in processes.windows(2).enumerate() {
            self.process_of.resize(bounds[1] as usize, process as u32);
        }
    }

    fn find_writers(&mut self, steps: &[Step], alternatives: &[Step], values: usize, start: u32) {
        const MANY: u32 = NONE - 1;
        self.writer.clear();
        self.writer.resize(values, NONE);
        if start < KEEP {
            self.writer[start as usize] = MANY;
        }
        for (at, step) in steps.iter().enumerate() {
            each_effect(step, alternatives, |value| {
                let writer = &mut self.writer[value as usize];
                *writer = if *writer == NONE || *writer == at as u32 { at as u32 } else { MANY };
            });
        }
        self.orphans.clear();
        self.seen.clear();
        self.seen.resize(values, 0);
        for step in steps {
            if let Some(value) = certain_need(step)
                && self.writer[value as usize] == NONE
                && std::mem::replace(&mut self.seen[value as usize], 1) == 0
            {
                self.orphans.push(value);
            }
        }
        // What was there at the beginning may have served anyone, if nothing is known about it.
        let unknown = start == UNKNOWN_PRESENT;
        for writer in &mut self.writer {
            if unknown || *writer == MANY {
                *writer = NONE;
            }
        }
    }

    fn writer_for(&self, steps: &[Step], at: u32) -> Option<u32> {
        let value = certain_need(&steps[at as usize])?;
        let writer = self.writer[value as usize];
        (writer != NONE && writer != at).then_some(writer)
    }

    /// Whoever is needed, by the next step of the process or as the only writer of a value, must be done by then.
    fn tighten_deadlines(&mut self, steps: &mut [Step]) {
        for nth in (0..self.by_deadline.len()).rev() {
            let at = self.by_deadline[nth];
            let deadline = steps[at as usize].deadline;
            let hint = steps[at as usize].hint;
            let follows = at > 0 && self.process_of[at as usize - 1] == self.process_of[at as usize];
            let before = [follows.then(|| at - 1), self.writer_for(steps, at)];
            for before in before.into_iter().flatten() {
                let step = &mut steps[before as usize];
                if step.alternative == NONE {
                    step.deadline = step.deadline.min(even_out(deadline, step.advances));
                    step.patience = step.patience.min(step.deadline);
                    step.hint = step.hint.min(hint);
                }
            }
        }
    }

    /// Whoever follows, in the process or as a need of the only writer, cannot come before.
    fn tighten_openings(&mut self, steps: &mut [Step]) {
        // Increasing deadlines are nearly increasing openings, which is all that one pass needs.
        for nth in 0..self.by_deadline.len() {
            let at = self.by_deadline[nth];
            let mut opens = steps[at as usize].opens;
            if at > 0 && self.process_of[at as usize - 1] == self.process_of[at as usize] {
                let before = &steps[at as usize - 1];
                opens = opens.max(if before.alternative == NONE { before.earliest } else { 0 });
            }
            if let Some(writer) = self.writer_for(steps, at) {
                let writer = &steps[writer as usize];
                opens = opens.max(if writer.alternative == NONE { writer.earliest } else { writer.opens });
            }
            let step = &mut steps[at as usize];
            if step.alternative == NONE {
                step.opens = opens;
                step.earliest = step.after(opens);
            }
        }
    }

    /// How far each value of a single writer must last: until the last step that needs it opens. Where that step
    /// changes the value nothing can come between, so that the value that it leaves counts as the same, a chain.
    fn follow_chains(&mut self, steps: &[Step]) {
        self.lasts.clear();
        self.lasts.resize(self.writer.len(), 0);
        for nth in (0..self.by_deadline.len()).rev() {
            let at = self.by_deadline[nth];
            if self.writer_for(steps, at).is_some() {
                let step = &steps[at as usize];
                let goes_on = step.effect < KEEP && self.writer[step.effect as usize] == at;
                let until = if goes_on { self.lasts[step.effect as usize] } else { 0 };
                let lasts = &mut self.lasts[step.need as usize];
                *lasts = (*lasts).max(step.opens).max(until);
            }
        }
    }

    fn list(&mut self, steps: &[Step], alternatives: &[Step], values: usize, obeys: bool) {
        let Uses { needs, writes, takers, last_needs, last_writes, by_deadline, process_of, lasts, .. } =
            self;
        let order = by_deadline.as_slice();
        let place = |at: u32| Use { process: process_of[at as usize], step: at, ..Use::default() };
        let needed = |at: u32, note: &mut dyn FnMut(u32, Use)| {
            let step = &steps[at as usize];
            if let Some(value) = certain_need(step) {
                note(value, Use { upto: step.deadline, ..place(at) });
            }
        };
        let written = |at: u32, note: &mut dyn FnMut(u32, Use)| {
            let step = &steps[at as usize];
            each_effect(step, alternatives, |value| {
                // The other form of a step may be entered at other cells: count it as always possible.
                let (opens, upto) =
                    if step.alternative == NONE { (step.opens, step.limit) } else { (0, u64::MAX) };
                note(value, Use { upto, opens, ..place(at) });
            });
        };
        if obeys {
            needs.fill(order, values, needed);
            takers.fill(order, values, |at, note| {
                let step = &steps[at as usize];
                if step.effect != KEEP && step.effect != step.need {
                    needed(at, note);
                }
            });
            writes.fill(order, values, written);
            writes.sort_writes();
        } else {
            lasts.clear();
            lasts.resize(values, 0);
            last_needs.fill_last(order, values, needed);
            last_writes.fill_last(order, values, written);
        }
    }
}

impl Lists {
    /// Fills the lists with what `uses` notes of the steps, in the order of the steps.
    fn fill(&mut self, order: &[u32], values: usize, uses: impl Fn(u32, &mut dyn FnMut(u32, Use))) {
        let Lists { first, uses: list } = self;
        first.clear();
        first.resize(values + 1, 0);
        for &at in order {
            uses(at, &mut |value, _| first[value as usize + 1] += 1);
        }
        for value in 0..values {
            first[value + 1] += first[value];
        }
        list.clear();
        list.resize(first[values] as usize, Use::default());
        for &at in order {
            uses(at, &mut |value, found| {
                list[first[value as usize] as usize] = found;
                first[value as usize] += 1;
            });
        }
        // Each entry has moved to the next value's begin.
        first.copy_within(0..values, 1);
        first[0] = 0;
    }

    /// Fills the lists with the first use that each process has in `order`.
    fn fill_last(&mut self, order: &[u32], values: usize, uses: impl Fn(u32, &mut dyn FnMut(u32, Use))) {
        self.fill(order, values, uses);
        // `order` goes process by process, so a process's uses of a value stand together, last one first.
        let (mut kept, mut begin) = (0, 0);
        for value in 0..values {
            let end = self.first[value + 1] as usize;
            let mut process = NONE;
            for at in begin..end {
                if self.uses[at].process != process {
                    process = self.uses[at].process;
                    self.uses[kept] = self.uses[at];
                    kept += 1;
                }
            }
            begin = end;
            self.first[value + 1] = kept as u32;
        }
        self.uses.truncate(kept);
    }

    /// Sorts each value's writes by the last cell in which they can be entered, and notes the least opening of
    /// the rest of the list.
    fn sort_writes(&mut self) {
        for value in 0..self.first.len() - 1 {
            let writes = &mut self.uses[self.first[value] as usize..self.first[value + 1] as usize];
            writes.sort_unstable_by_key(|write| (write.upto, write.step));
            let mut least = u64::MAX;
            for write in writes.iter_mut().rev() {
                least = least.min(write.opens);
                write.least = least;
            }
        }
    }
}

/// The value that a step needs, if it is one value and the step certainly happened.
fn certain_need(step: &Step) -> Option<u32> {
    (step.alternative == NONE && step.need < KEEP).then_some(step.need)
}

/// The values that a step can leave, in either form.
fn each_effect(step: &Step, alternatives: &[Step], mut note: impl FnMut(u32)) {
    if step.effect != KEEP {
        note(step.effect);
    }
    if step.alternative != NONE {
        let other = &alternatives[step.alternative as usize];
        if other.effect != KEEP && other.effect != step.effect {
            note(other.effect);
        }
    }
}
