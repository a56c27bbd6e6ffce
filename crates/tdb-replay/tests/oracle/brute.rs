//! Every order of a history's steps, tried one by one: the verdict that the tool must give.
//!
//! An order is an interleaving of the traces' steps in which each finds what it needs, at a moment that its numbers and times
//! allow, with the locks it needs. The state is: how far each trace is, what each key holds, the counter, the locks. The
//! counter is kept as low as it can be: it may be raised at any moment (not everything that counts is traced), and a lower
//! one allows whatever a higher one does. What was there before is bound once, by the first who looks.
//!
//! The verdict is *explained* if there is an order that believes all numbers, and each change counts at least one. If there is
//! none, but one that believes exact numbers, times and locks alone (a change without an exact number need not have counted, then), it is
//! *explained only by disbelieving numbers*. Otherwise it is *impossible*.

use hashbrown::HashMap;

use tdb_replay::verdict::Verdict;

use crate::history::{History, KEYS};
use crate::model::{self, Cell, Held, Locks};
use crate::steps::{Act, End, Part, Step, Transaction, steps};

/// The verdict on `history`.
pub fn verdict(history: &History) -> Verdict {
    let Ok(steps) = steps(history) else { return Verdict::Unreadable };
    if history.has_no_numbers() {
        let found = Search::new(history, &steps, false).run(&|_| true);
        return if found { Verdict::Explained } else { Verdict::Impossible };
    }
    if Search::new(history, &steps, true).run(&|_| true) {
        Verdict::Explained
    } else if Search::new(history, &steps, false).run(&|_| true) {
        Verdict::NumbersDisbelieved
    } else {
        Verdict::Impossible
    }
}

/// Whether an order that believes the numbers leaves these values.
pub fn can_end_with(history: &History, values: &[Option<Vec<u8>>; KEYS]) -> bool {
    let Ok(steps) = steps(history) else { return false };
    Search::new(history, &steps, !history.has_no_numbers())
        .run(&|cells| cells.iter().zip(values).all(|(cell, value)| cell.allows(value.as_deref())))
}

/// The first line (of a trace) that cannot have the lock it needs if lines happen in the order of their `ranks`, by trace and line. The
/// trace's process has every lock for certain that a line of it releases or that its tracer writes after it was taken.
pub fn first_locked_out(history: &History, ranks: &[Vec<u32>]) -> Option<(usize, usize)> {
    let steps = steps(history).ok()?;
    let mut order: Vec<(u32, usize, usize)> = Vec::new();
    for (trace, of_trace) in steps.iter().enumerate() {
        let rank = |step: &Step| ranks[trace].get(step.line).or(ranks[trace].last()).copied();
        order.extend(of_trace.iter().enumerate().map(|(nth, step)| (rank(step).unwrap_or(0), trace, nth)));
    }
    order.sort_unstable();
    let mut locks = [Held::default(); 4];
    for (_, me, nth) in order {
        let step = &steps[me][nth];
        let held = |surely: bool| surely || is_released(&steps[me][nth..]);
        let free = match step.act {
            Act::Touch { key, write, .. } => {
                step.perhaps || model::touch(&mut locks, me, history.chain(key), write)
            }
            Act::LockChain { chain, write, surely } => {
                !held(surely) || model::lock_chain(&mut locks, me, chain, write)
            }
            Act::LockAll { write, surely } => !held(surely) || model::lock_all(&mut locks, me, write),
            Act::BeginWalk { write } => model::begin_walk(&mut locks, me, write),
            Act::Wipe { .. } => step.perhaps || model::may_wipe(&locks, me),
            Act::Transaction(_) => model::may_transact(&locks, me, false),
            _ => {
                release(&mut locks, me, &step.act);
                true
            }
        };
        if !free {
            return Some((me, step.line));
        }
    }
    None
}

/// Whether a later step releases what the first of these locks, rather than what was locked after it. One that nothing releases may never
/// have been held.
fn is_released(steps: &[Step]) -> bool {
    let of = |act: &Act| match *act {
        Act::LockChain { chain, .. } | Act::UnlockChain { chain } => Some(Some(chain)),
        Act::LockAll { .. } | Act::UnlockAll => Some(None),
        _ => None,
    };
    let Some(first) = steps.first().and_then(|step| of(&step.act)) else { return false };
    let mut depth = 0;
    for step in steps.iter().filter(|step| of(&step.act) == Some(first)) {
        match step.act {
            Act::LockChain { .. } | Act::LockAll { .. } => depth += 1,
            _ => depth -= 1,
        }
        if depth == 0 {
            return true;
        }
    }
    false
}

fn release(locks: &mut Locks, me: usize, act: &Act) {
    match *act {
        Act::UnlockChain { chain } => drop(model::unlock_chain(locks, me, chain)),
        Act::UnlockAll => drop(model::unlock_all(locks, me)),
        Act::EndWalk { write } => model::end_walk(locks, me, write),
        Act::Mark { chain, set } => model::mark(locks, me, chain, set),
        Act::End => locks[me] = Held::default(),
        _ => {}
    }
}

type Cells = [Cell; KEYS];
type Places = [u8; 4];

#[derive(Clone, Copy, Debug)]
struct State {
    at: Places,
    cells: Cells,
    locks: Locks,
    counter: u32,
}

struct Search<'a> {
    history: &'a History,
    steps: &'a [Vec<Step>],
    /// Plain numbers are believed.
    numbers: bool,
    /// By trace and step: how far each other trace must be, since its steps were answered before this one was called.
    after: Vec<Vec<Places>>,
    /// The lowest counter with which a state was visited.
    visited: HashMap<(Places, Cells, Locks), u32>,
}

impl<'a> Search<'a> {
    fn new(history: &'a History, steps: &'a [Vec<Step>], numbers: bool) -> Self {
        assert!(steps.len() <= 4, "histories have at most four traces");
        let after = steps.iter().map(|of| of.iter().map(|step| places(steps, step)).collect()).collect();
        Search { history, steps, numbers, after, visited: HashMap::new() }
    }

    /// Whether an order ends in a state that is wanted.
    fn run(mut self, wanted: &dyn Fn(&Cells) -> bool) -> bool {
        let first = if self.history.is_empty_at_first() { Cell::Absent } else { Cell::Unknown };
        let start = State { at: [0; 4], cells: [first; KEYS], locks: [Held::default(); 4], counter: 0 };
        let mut open = vec![start];
        let mut next = Vec::new();
        while let Some(state) = open.pop() {
            let done = (0..self.steps.len()).all(|me| usize::from(state.at[me]) == self.steps[me].len());
            if done && wanted(&state.cells) {
                return true;
            }
            for me in 0..self.steps.len() {
                self.step(&state, me, &mut next);
            }
            for state in next.drain(..) {
                let lowest = self.visited.entry((state.at, state.cells, state.locks)).or_insert(u32::MAX);
                if state.counter < *lowest {
                    *lowest = state.counter;
                    open.push(state);
                }
            }
        }
        false
    }

    /// The states after the next step of `me`.
    fn step(&self, state: &State, me: usize, next: &mut Vec<State>) {
        let at = usize::from(state.at[me]);
        let Some(step) = self.steps[me].get(at) else { return };
        let after = &self.after[me][at];
        // What was answered before comes before, in the same trace, too.
        if (0..self.steps.len()).any(|other| state.at[other] < after[other]) {
            return;
        }
        let mut new = *state;
        new.at[me] += 1;
        if step.perhaps {
            next.push(new);
        }
        if self.numbers {
            new.counter = new.counter.max(step.lo);
        }
        match &step.act {
            Act::Touch { .. } => self.touch(new, step, me, next),
            // The line's number is read later.
            Act::Read { version, .. } if new.counter > *version || *version > self.highest(step) => {}
            Act::Read { version, .. } => next.push(State { counter: *version, ..new }),
            Act::Transaction(transaction) => self.transaction(new, transaction, me, next),
            &Act::Wipe { exact } => {
                if !self.kept_by_others(state, me, None) && model::may_wipe(&new.locks, me) {
                    self.wipe(new, step, exact, next);
                }
            }
            _ if new.counter > self.highest(step) => {}
            act => {
                let before = next.len();
                self.lock(new, act, me, next);
                if let Act::LockChain { .. } | Act::LockAll { .. } = act
                    && self.kept_by_others(state, me, self.key_of(act))
                {
                    next.truncate(before);
                    if matches!(
                        act,
                        Act::LockAll { surely: false, .. } | Act::LockChain { surely: false, .. }
                    ) {
                        next.push(new);
                    }
                }
            }
        }
    }

    fn highest(&self, step: &Step) -> u32 {
        if self.numbers { step.hi } else { u32::MAX }
    }

    fn key_of(&self, act: &Act) -> Option<usize> {
        match act {
            // Of the keys of this chain, the first.
            Act::LockChain { chain, .. } => Some(*chain),
            _ => None,
        }
    }

    /// Whether another trace's change still holds the lock under which its version is read: that of `key`'s chain, or any.
    fn kept_by_others(&self, state: &State, me: usize, key: Option<usize>) -> bool {
        (0..self.steps.len()).any(|other| {
            let next = self.steps[other].get(usize::from(state.at[other]));
            let kept = next.and_then(|step| match step.act {
                Act::Read { key, .. } => Some(key),
                _ => None,
            });
            let chain = |key| self.history.chain(key);
            other != me && kept.is_some_and(|kept| key.is_none_or(|key| chain(key) == chain(kept)))
        })
    }

    fn touch(&self, mut new: State, step: &Step, me: usize, next: &mut Vec<State>) {
        let &Act::Touch { key, ways, write } = &step.act else { return };
        if self.kept_by_others(&new, me, Some(key))
            || !model::touch(&mut new.locks, me, self.history.chain(key), write)
        {
            return;
        }
        for way in ways.each() {
            let Some(found) = new.cells[key].meet(way.need) else { continue };
            let mut after = new;
            after.cells[key] = way.leaves.unwrap_or(found);
            let counts = way.leaves.is_some() && !step.perhaps && (self.numbers || step.version.is_some());
            after.counter += u32::from(counts);
            if after.counter > self.highest(step) {
                continue;
            }
            match step.version {
                Some(version) if after.counter > version || version > self.highest(step) => continue,
                Some(version) if way.leaves.is_none() => after.counter = version,
                _ => {}
            }
            next.push(after);
        }
    }

    fn wipe(&self, mut new: State, step: &Step, exact: bool, next: &mut Vec<State>) {
        if self.numbers && exact && new.counter != step.lo {
            return;
        }
        new.counter += u32::from(self.numbers);
        new.cells = [Cell::Absent; KEYS];
        next.push(new);
    }

    fn lock(&self, mut new: State, act: &Act, me: usize, next: &mut Vec<State>) {
        let unlocked = new;
        let locks = &mut new.locks;
        let taken = match *act {
            Act::LockChain { chain, write, surely } => {
                // What it has already cannot be refused.
                let fails = !surely && !model::has_chain(locks, me, chain, write);
                next.extend(fails.then_some(unlocked));
                model::lock_chain(locks, me, chain, write)
            }
            Act::UnlockChain { chain } => model::unlock_chain(locks, me, chain),
            Act::LockAll { write, surely } => {
                next.extend((!surely).then_some(unlocked));
                model::lock_all(locks, me, write)
            }
            Act::UnlockAll => model::unlock_all(locks, me),
            Act::BeginWalk { write } => model::begin_walk(locks, me, write),
            Act::EndWalk { write } => {
                model::end_walk(locks, me, write);
                true
            }
            Act::Mark { chain, set } => {
                model::mark(locks, me, chain, set);
                true
            }
            Act::End => {
                locks[me] = Held::default();
                true
            }
            _ => true,
        };
        if taken {
            next.push(new);
        }
    }

    fn transaction(&self, new: State, transaction: &Transaction, me: usize, next: &mut Vec<State>) {
        if self.kept_by_others(&new, me, None)
            || (self.numbers && (new.counter != transaction.number || transaction.miscounts))
        {
            return;
        }
        let mut inside =
            vec![Overlay { cells: new.cells, outside: new.cells, changed: [false; KEYS], changes: 0 }];
        for part in &transaction.parts {
            inside = inside.iter().flat_map(|overlay| overlay.after(*part)).collect();
        }
        for overlay in inside {
            let changes = overlay.changes > 0;
            if transaction.end != End::Cancelled && model::may_transact(&new.locks, me, changes) {
                let counted = (transaction.number + overlay.changes).max(transaction.until);
                let counter = if self.numbers && changes { counted } else { new.counter };
                next.push(State { cells: overlay.cells, counter, ..new });
            }
            if transaction.end != End::Committed && model::may_transact(&new.locks, me, false) {
                next.push(State { cells: overlay.outside, ..new });
            }
        }
    }
}

/// What a transaction sees, and what it leaves if it is cancelled.
#[derive(Clone, Copy)]
struct Overlay {
    cells: Cells,
    /// What is known of the keys outside, from what it found before it changed them.
    outside: Cells,
    changed: [bool; KEYS],
    changes: u32,
}

impl Overlay {
    /// The view after one more line.
    fn after(&self, part: Part) -> Vec<Overlay> {
        match part {
            Part::Nothing => vec![*self],
            Part::Wipe => vec![Overlay {
                cells: [Cell::Absent; KEYS],
                changed: [true; KEYS],
                changes: self.changes + 1,
                ..*self
            }],
            Part::Touch { key, ways } => {
                let way = |way: model::Way| {
                    let found = self.cells[key].meet(way.need)?;
                    let mut after = *self;
                    if !self.changed[key] {
                        after.outside[key] = found;
                    }
                    after.cells[key] = way.leaves.unwrap_or(found);
                    after.changed[key] |= way.leaves.is_some();
                    after.changes += u32::from(way.leaves.is_some());
                    Some(after)
                };
                ways.each().filter_map(way).collect()
            }
        }
    }
}

/// How far each trace must be before `step`.
fn places(steps: &[Vec<Step>], step: &Step) -> Places {
    let mut places = [0; 4];
    for (place, of) in places.iter_mut().zip(steps) {
        let last = of.iter().rposition(|other| other.answer < step.call);
        *place = last.map_or(0, |last| last as u8 + 1);
    }
    places
}
