//! What a step makes of a state.
//!
//! Owns the rules of one moment: whether a step can be taken where the traces, keys, locks and the number are, and what they are
//! afterwards.

use history::action::{ANYTHING, Action, KEEP, NEVER, PRESENT, both};
use smallvec::SmallVec;

use super::locks::{self, Held, Locks};
use super::steps::{Act, Step, Steps};
use super::transactions::{Transaction, Way};
use super::{Believed, Demands};
use crate::trace::columns::{ABSENT, EMPTY};

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// In its way with this number.
    Done(u16),
    /// It did not happen.
    Skipped,
}

/// In a key's state: its value is known, since something wrote it. Without it the value is a need: what is known of the
/// beginning.
const WRITTEN: u64 = 1 << 32;
/// The state of a key that was deleted.
const DELETED: u64 = WRITTEN | ABSENT as u64;

/// A moment.
#[derive(Clone)]
pub struct State {
    /// How many steps each trace has taken.
    pub heads: SmallVec<[u32; 4]>,
    keys: SmallVec<[u64; 8]>,
    locks: Locks,
    /// The number reached.
    pub reached: u32,
}

impl State {
    /// All but the number, as words.
    pub fn write_to(&self, out: &mut Vec<u64>) {
        out.extend(self.heads.iter().map(|&head| u64::from(head)));
        out.extend(&self.keys);
        self.locks.iter().for_each(|held| held.write_to(out));
    }
}

/// The steps, and which of the things that they say count.
pub struct World<'a> {
    /// The steps.
    pub steps: &'a Steps,
    believed: Believed,
    empty: bool,
}

impl<'a> World<'a> {
    pub(super) fn new(steps: &'a Steps, demands: Demands) -> World<'a> {
        World { steps, believed: demands.believed, empty: demands.empty }
    }

    /// The words of a state.
    pub fn words(&self) -> usize {
        let start = self.start();
        let mut words = Vec::new();
        start.write_to(&mut words);
        words.len().max(1)
    }

    /// The state before the first step.
    pub fn start(&self) -> State {
        let (traces, slots) = (self.steps.lanes.len(), self.steps.slots);
        State {
            heads: SmallVec::from_elem(0, traces),
            keys: SmallVec::from_elem(self.first(), self.steps.keys),
            locks: if self.steps.locks {
                (0..traces).map(|_| Held::nothing(slots)).collect()
            } else {
                SmallVec::new()
            },
            reached: 0,
        }
    }

    fn first(&self) -> u64 {
        if self.empty { DELETED } else { u64::from(ANYTHING) }
    }

    /// Every key, as it is before anything is known.
    pub fn unknown(&self) -> Known {
        Known(vec![self.first(); self.steps.keys])
    }

    /// The next step of a trace.
    pub fn step(&self, state: &State, trace: usize) -> Option<&'a Step> {
        self.steps.lanes[trace].steps.get(state.heads[trace] as usize)
    }

    /// Whether nothing is left.
    pub fn is_done(&self, state: &State) -> bool {
        (0..self.steps.lanes.len()).all(|trace| self.step(state, trace).is_none())
    }

    /// Whether nothing that is left was over before this step of a trace was called.
    pub fn may_start(&self, state: &State, step: &Step) -> bool {
        step.called == 0
            || self
                .steps
                .lanes
                .iter()
                .zip(&state.heads)
                .all(|(lane, &head)| lane.over.get(head as usize).is_none_or(|&over| over >= step.called))
    }

    /// When a step must be over, by what counts.
    pub fn highest(&self, step: &Step) -> u64 {
        if self.believes_all() { step.high.into() } else { u64::MAX }
    }

    /// When a step must be over, by its version, too.
    pub fn due(&self, step: &Step) -> u64 {
        self.version(step).map_or(u64::MAX, u64::from).min(self.highest(step))
    }

    /// The number once a step was taken, at least, as far as that does not depend on what it changes.
    pub fn reaches(&self, state: &State, step: &Step) -> u32 {
        let keeps = match step.act {
            Act::Read { .. } => true,
            Act::Touch { action, .. } => action.keeps(),
            _ => false,
        };
        let version = self.version(step).filter(|_| keeps);
        self.number_at(state, step).max(version.unwrap_or(0))
    }

    fn version(&self, step: &Step) -> Option<u32> {
        let version = match step.act {
            Act::Read { version, .. } => Some(version),
            _ => step.version,
        };
        version.filter(|_| self.believed != Believed::None)
    }

    /// Whether plain numbers count.
    fn believes_all(&self) -> bool {
        self.believed == Believed::All
    }

    /// The number when a step of a trace is taken.
    fn number_at(&self, state: &State, step: &Step) -> u32 {
        if self.believes_all() { state.reached.max(step.low) } else { state.reached }
    }

    /// Whether a step can be taken and keeps nothing from anybody: it does not get better by waiting.
    pub fn is_free(&self, state: &State, trace: usize) -> bool {
        let Some(step) = self.step(state, trace) else { return false };
        let late = u64::from(state.reached) > self.highest(step);
        if step.perhaps || late || self.number_at(state, step) != state.reached {
            return false;
        }
        let free = match &step.act {
            // Nobody gains by waiting with what gives locks back.
            Act::Nothing | Act::UnlockChain { .. } | Act::UnlockAll | Act::EndWalk { .. } | Act::End => true,
            &Act::Read { version, .. } => self.believed == Believed::None || state.reached == version,
            &Act::Touch { key, chain, slot, action, other: None, write } => {
                let version = step.version.filter(|_| self.believed != Believed::None);
                action.keeps()
                    && version.is_none_or(|version| version == state.reached)
                    && act(state.keys[key as usize], action) == Some(state.keys[key as usize])
                    && !self.is_kept(state, trace, Some(chain))
                    && self.touches_freely(state, trace, slot, write)
            }
            _ => false,
        };
        free && self.may_start(state, step)
    }

    fn touches_freely(&self, state: &State, trace: usize, slot: u32, write: bool) -> bool {
        if state.locks.is_empty() || !self.steps.lanes[trace].locks {
            return true;
        }
        let mut after = state.locks.clone();
        locks::touch(&mut after, trace, slot, write) && after[trace] == state.locks[trace]
    }

    /// Takes a free step.
    pub fn take_free(&self, state: &mut State, trace: usize) {
        let Some(step) = self.step(state, trace) else { return };
        state.heads[trace] += 1;
        if !state.locks.is_empty() {
            release(&mut state.locks, trace, &step.act);
        }
    }

    /// The states after the next step of a trace, in every way in which it can go.
    pub fn choices(&self, state: &State, trace: usize, out: &mut Vec<(Choice, State)>) {
        let Some(step) = self.step(state, trace) else { return };
        let mut new = state.clone();
        new.heads[trace] += 1;
        // Nobody need have seen what was under way on one key; what its line shows has happened, if nothing tells otherwise.
        let first = step.perhaps && matches!(step.act, Act::Touch { .. });
        if first {
            out.push((Choice::Skipped, new.clone()));
        }
        self.take(state, &new, trace, step, out);
        if step.perhaps && !first {
            out.push((Choice::Skipped, new));
        }
    }

    fn take(&self, state: &State, new: &State, trace: usize, step: &Step, out: &mut Vec<(Choice, State)>) {
        let mut new = new.clone();
        new.reached = self.number_at(state, step);
        if u64::from(new.reached) > self.highest(step) {
            return;
        }
        match &step.act {
            Act::Touch { .. } => self.touch(new, trace, step, out),
            &Act::Read { version, .. } => {
                let highest = self.highest(step);
                if self.believed == Believed::None {
                    out.push((Choice::Done(0), new));
                } else if new.reached <= version && u64::from(version) <= highest {
                    new.reached = version;
                    out.push((Choice::Done(0), new));
                }
            }
            &Act::Wipe { exact } => {
                let free = !self.locks_count(state, trace) || locks::may_wipe(&new.locks, trace);
                if free && !self.is_kept(state, trace, None) {
                    self.wipe(new, step, exact, out);
                }
            }
            Act::Transaction(transaction) => {
                if !self.is_kept(state, trace, None) {
                    self.transaction(&new, trace, transaction, out);
                }
            }
            act => {
                let kept = match *act {
                    Act::LockChain { chain, .. } => self.is_kept(state, trace, Some(chain)),
                    Act::LockAll { .. } => self.is_kept(state, trace, None),
                    _ => false,
                };
                let counts = self.locks_count(state, trace);
                if !counts || (!kept && lock(&mut new.locks, trace, act)) {
                    out.push((Choice::Done(0), new));
                }
            }
        }
    }

    fn locks_count(&self, state: &State, trace: usize) -> bool {
        !state.locks.is_empty() && self.steps.lanes[trace].locks
    }

    /// Whether another trace's change still holds the lock under which its version is read: that of a chain, or any.
    fn is_kept(&self, state: &State, trace: usize, chain: Option<u32>) -> bool {
        (0..self.steps.lanes.len()).filter(|&other| other != trace).any(|other| {
            match self.step(state, other).map(|step| &step.act) {
                Some(&Act::Read { chain: kept, .. }) => chain.is_none_or(|chain| chain == kept),
                _ => false,
            }
        })
    }

    fn touch(&self, mut new: State, trace: usize, step: &Step, out: &mut Vec<(Choice, State)>) {
        let Act::Touch { key, chain, slot, action, other, write } = step.act else { return };
        if self.is_kept(&new, trace, Some(chain))
            || (self.locks_count(&new, trace) && !locks::touch(&mut new.locks, trace, slot, write))
        {
            return;
        }
        let version = step.version.filter(|_| self.believed != Believed::None);
        for (way, action) in (0..).zip([Some(action), other].into_iter().flatten()) {
            let Some(cell) = act(new.keys[key as usize], action) else { continue };
            let mut after = new.clone();
            after.keys[key as usize] = cell;
            let counts = !action.keeps() && !step.perhaps && (self.believes_all() || version.is_some());
            after.reached = after.reached.saturating_add(counts.into());
            let highest = self.highest(step);
            if u64::from(after.reached) > highest {
                continue;
            }
            match version {
                Some(version) if after.reached > version || u64::from(version) > highest => continue,
                Some(version) if action.keeps() => after.reached = version,
                _ => {}
            }
            out.push((Choice::Done(way), after));
        }
    }

    fn wipe(&self, mut new: State, step: &Step, exact: bool, out: &mut Vec<(Choice, State)>) {
        if self.believes_all() {
            if exact && new.reached != step.low {
                return;
            }
            new.reached = new.reached.saturating_add(self.steps.wipes_count.into());
        }
        new.keys.iter_mut().for_each(|key| *key = DELETED);
        out.push((Choice::Done(0), new));
    }

    fn transaction(
        &self,
        new: &State,
        trace: usize,
        transaction: &Transaction,
        out: &mut Vec<(Choice, State)>,
    ) {
        let believed = self.believes_all();
        if believed && (new.reached != transaction.number || transaction.miscounts) {
            return;
        }
        for (number, way) in (0..).zip(&transaction.ways) {
            let changes = way.changes > 0;
            if self.locks_count(new, trace) && !locks::may_transact(&new.locks, trace, changes) {
                continue;
            }
            let mut after = new.clone();
            if !apply(&mut after.keys, way) {
                continue;
            }
            if believed && changes {
                after.reached = transaction.number.saturating_add(way.changes).max(transaction.until);
            }
            out.push((Choice::Done(number), after));
        }
    }
}

/// What a transaction makes of all keys; false if they do not allow it.
fn apply(keys: &mut [u64], way: &Way) -> bool {
    let found = |keys: &[u64], key: u32, action| act(keys[key as usize], action);
    for &(key, action) in &way.actions {
        let Some(cell) = found(keys, key, action) else { return false };
        keys[key as usize] = cell;
    }
    if way.wiped {
        for (key, cell) in (0..).zip(keys) {
            if way.actions.iter().all(|&(touched, _)| touched != key) {
                *cell = DELETED;
            }
        }
    }
    true
}

/// Takes or gives back a lock; whether it can be had.
fn lock(held: &mut Locks, me: usize, act: &Act) -> bool {
    match *act {
        Act::LockChain { slot, write, .. } => locks::lock_chain(held, me, slot, write),
        Act::LockAll { write } => locks::lock_all(held, me, write),
        Act::BeginWalk { write } => locks::begin_walk(held, me, write),
        Act::Mark { slot, set } => {
            locks::mark(held, me, slot, set);
            true
        }
        _ => {
            release(held, me, act);
            true
        }
    }
}

fn release(held: &mut Locks, me: usize, act: &Act) {
    match *act {
        Act::UnlockChain { slot } => locks::unlock_chain(held, me, slot),
        Act::UnlockAll => locks::unlock_all(held, me),
        Act::EndWalk { write } => locks::end_walk(held, me, write),
        Act::End => held[me].clear(),
        _ => {}
    }
}

/// A key's state after an action; none if the state does not allow it.
fn act(state: u64, action: Action) -> Option<u64> {
    let code = state as u32;
    if state & WRITTEN != 0 {
        return action.on(code).map(|after| u64::from(after) | WRITTEN);
    }
    match both(code, action.need) {
        NEVER => None,
        need if action.keeps() => Some(need.into()),
        _ => Some(u64::from(action.effect) | WRITTEN),
    }
}

/// What is known of every key's beginning.
pub struct Known(Vec<u64>);

impl Known {
    /// A step found what it needed.
    pub fn note(&mut self, step: &Act, choice: Choice) {
        let Choice::Done(number) = choice else { return };
        match step {
            &Act::Touch { key, action, other, .. } => {
                self.add(key, if number == 0 { action } else { other.unwrap_or(action) });
            }
            Act::Transaction(transaction) => {
                let way = &transaction.ways[usize::from(number)];
                way.actions.iter().for_each(|&(key, action)| self.add(key, action));
                if way.wiped {
                    self.0.iter_mut().for_each(|key| *key |= WRITTEN);
                }
            }
            Act::Wipe { .. } => self.0.iter_mut().for_each(|key| *key |= WRITTEN),
            _ => {}
        }
    }

    /// Only what was needed of the beginning is kept.
    fn add(&mut self, key: u32, action: Action) {
        let known = &mut self.0[key as usize];
        if *known & WRITTEN == 0 {
            let written = if action.keeps() { 0 } else { WRITTEN };
            *known = u64::from(both(*known as u32, action.need)) | written;
        }
    }

    /// The values that these needs come to.
    pub fn beginning(self) -> Vec<u32> {
        let value = |known: u64| match known as u32 {
            PRESENT => EMPTY,
            value if value < KEEP => value,
            _ => ABSENT,
        };
        self.0.into_iter().map(value).collect()
    }
}
