//! The one order of a whole history: a dry run.
//!
//! Owns the walk over all traces at once. The trace whose next event belongs earliest goes first; an event runs when
//! its keys' own orders allow it and the locks that it needs are free, otherwise its trace waits for the key or for
//! any release. What runs is numbered, and what it had to come after becomes a wait, unless the waits before it imply
//! that already. Nothing here touches a database.

use smallvec::SmallVec;

use super::conflicts::Conflicts;
use super::events::{Active, Alone, Event, Input, Walker};
use super::held::{Held, Illegal};
use super::keys::Keys;
use super::locks::{Access, Momentary, Scope};
use super::queue::Queue;
use super::traversals::Traversals;
use super::waits::{Wait, Waits};
use crate::trace::structure::GroupKind;

/// A group of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupOf {
    /// The trace.
    pub trace: u16,
    /// The number of the group among the trace's.
    pub group: u32,
}

/// A row of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RowOf {
    /// The trace.
    pub trace: u16,
    /// The row.
    pub row: u32,
}

/// The order found.
#[derive(Default)]
pub struct Merged {
    /// For each trace and row its rank in the one order; the rows of a transaction share one.
    pub ranks: Vec<Vec<u32>>,
    /// For each trace its waits, by row.
    pub waits: Vec<Vec<Wait>>,
    /// Traversals that cannot be held open as recorded.
    pub splits: Vec<GroupOf>,
    /// Walks that are not run: traversals by their start, steps of walks by keys.
    pub unwalked: Vec<RowOf>,
    /// Locks that cannot be held as recorded, and are not taken.
    pub given_up: Vec<GroupOf>,
    /// Transactions that took effect, though the number after their commit went back.
    pub turned: Vec<GroupOf>,
    /// The value of each key at the end.
    pub last_values: Vec<u32>,
    /// Dependencies named, before any was found to be implied by others.
    pub dependencies: u64,
    /// Events on the longest chain of dependencies.
    pub critical_path: u32,
    /// Events in all.
    pub events: u32,
}

/// Why there is no one order.
#[derive(Debug, PartialEq, Eq)]
pub enum MergeError {
    /// The keys' orders exclude each other: each of these rows (trace, row) waits for another.
    Cycle(Vec<(u16, u32)>),
    /// This row (trace, row) does not find what it needs: the keys' orders are wrong.
    Inconsistent(u16, u32),
}

impl MergeError {
    /// The rows that it names.
    pub fn rows(self) -> Vec<(u16, u32)> {
        match self {
            MergeError::Cycle(rows) => rows,
            MergeError::Inconsistent(trace, row) => vec![(trace, row)],
        }
    }
}

/// Keys of a trace's next event that are fetched ahead: a transaction can have very many.
const SOON: usize = 16;

/// Merges all traces.
pub fn merge(input: Input<'_>) -> Result<Merged, MergeError> {
    let mut merge = Merge::new(input);
    loop {
        match merge.queue.pop() {
            Some(trace) => merge.turn(trace as usize)?,
            None if merge.finished() => return Ok(merge.into_result()),
            None => merge.force()?,
        }
    }
}

struct Merge<'a> {
    walkers: Vec<Walker<'a>>,
    keys: Keys<'a>,
    queue: Queue,
    /// The locks that are held.
    held: Held,
    /// Who had which lock last.
    conflicts: Conflicts,
    traversals: Traversals,
    waits: Waits,
    lone_steps: bool,
    rank: u32,
    result: Merged,
}

impl<'a> Merge<'a> {
    fn new(mut input: Input<'a>) -> Merge<'a> {
        let traces = input.history.traces.len();
        let groups = input.history.traces.iter().flat_map(|trace| &trace.groups);
        let locked = groups.filter(|group| group.taken).filter_map(|group| match group.kind {
            GroupKind::Chain { key, .. } => Some(input.chains[key as usize]),
            _ => None,
        });
        let conflicts = Conflicts::new(traces, locked);
        if !conflicts.know_chains() {
            input.chains = &[];
        }
        let walkers: Vec<_> = (0..traces).map(|trace| Walker::new(input, trace)).collect();
        let first = (0..).zip(&walkers).filter_map(|(trace, walker)| Some((walker.event?.priority, trace)));
        let ranks = input.history.traces.iter().map(|trace| vec![0; trace.rows.len()]).collect();
        Merge {
            queue: Queue::new(first),
            keys: Keys::new(input.units, input.solution),
            held: Held::new(traces),
            conflicts,
            traversals: Traversals::new(traces),
            waits: Waits::new(traces),
            lone_steps: input.lone_steps,
            rank: 0,
            result: Merged { ranks, ..Merged::default() },
            walkers,
        }
    }

    fn finished(&self) -> bool {
        self.walkers.iter().all(|walker| walker.event.is_none())
    }

    /// Runs the next event of `trace`, or parks it. The trace goes back to the queue after every event: going on with
    /// the same one would let it overtake a trace that it has just woken.
    fn turn(&mut self, trace: usize) -> Result<(), MergeError> {
        if let Some(next) = self.queue.next()
            && let Some(unit) = self.walkers[next as usize].event.and_then(|event| event.units().next())
        {
            self.keys.approach_readers(unit, &self.waits.clocks);
        }
        let mut event = self.walkers[trace].event.expect("only traces with a next event are in the queue");
        if let Some(key) = event.units().find_map(|unit| self.keys.waits_for(unit)) {
            self.keys.await_turn(key);
            self.queue.wait_for_key(key, trace as u16);
            return Ok(());
        }
        let free = event.scope.is_none_or(|scope| self.held.scope_free(trace, scope))
            && event.moment.is_none_or(|moment| self.held.moment_free(trace, moment));
        if !free && let Some(alone) = self.left_alone(trace) {
            event = alone;
        } else if !free {
            self.queue.wait_for_lock(trace as u16);
            return Ok(());
        }
        self.depend(trace, &event);
        self.run(trace, &event)?;
        self.advance(trace, event.end);
        self.rank += 1;
        Ok(())
    }

    /// The current event of `trace`, a step that is kept out by the lock of some chain: what the recorded walk met was the
    /// chain of the record that it showed. If that is free, the step is taken out of its walk.
    fn left_alone(&mut self, trace: usize) -> Option<Event> {
        let needs = self.walkers[trace].needs_alone().filter(|_| self.lone_steps)?;
        if needs.is_some_and(|moment| !self.held.moment_free(trace, moment)) {
            return None;
        }
        let walker = &mut self.walkers[trace];
        match walker.leave_alone()? {
            Alone::Split(group) => self.result.splits.push(GroupOf { trace: trace as u16, group }),
            Alone::Unwalked(row) => self.result.unwalked.push(RowOf { trace: trace as u16, row }),
        }
        walker.event
    }

    /// Turns what `event` comes after into waits.
    fn depend(&mut self, trace: usize, event: &Event) {
        let Waits { needs, clocks, .. } = &mut self.waits;
        let known = clocks.known(trace);
        for unit in event.units() {
            self.keys.before(unit, needs, known);
        }
        if let Some(scope) = event.scope {
            self.conflicts.before_scope(trace, self.held.counted(trace, scope), needs, known);
        }
        if let Some(moment) = event.moment {
            self.conflicts.before_moment(trace, moment, needs, known);
            let conflicts = &self.conflicts;
            self.held.upgrades(trace, moment, |chain| {
                let scope = Scope::Chain { chain, access: Access::Write };
                conflicts.before_scope(trace, scope, needs, known);
            });
        }
        self.waits.settle(trace, event.row, &mut self.traversals);
    }

    fn run(&mut self, trace: usize, event: &Event) -> Result<(), MergeError> {
        self.result.ranks[trace][event.row as usize..=event.end as usize].fill(self.rank);
        let mark = self.waits.mark(trace, event.end, self.rank);
        for unit in event.units() {
            if !self.keys.run(unit, mark, &mut self.waits.clocks) {
                return Err(MergeError::Inconsistent(trace as u16, event.row));
            }
        }
        if let (Some(scope), Some(starting)) = (event.scope, self.walkers[trace].starting()) {
            legal(self.held.take(trace, starting.group, scope));
        }
        if let Some(moment) = event.moment {
            self.upgrade(trace, moment);
            self.conflicts.after_moment(trace, moment, mark, &mut self.waits.clocks);
        }
        let needs_all_records =
            matches!(event.moment, Some(Momentary::Wipe | Momentary::Transaction { changes: true }))
                || event.scope == Some(Scope::All { write: true });
        if needs_all_records {
            self.traversals.blocked_by(trace);
        }
        self.wake_for_keys(event);
        Ok(())
    }

    /// What `trace` has locked for reading and now changes is locked for writing.
    fn upgrade(&mut self, trace: usize, moment: Momentary) {
        let mut chains = SmallVec::<[u32; 4]>::new();
        self.held.upgrades(trace, moment, |chain| chains.push(chain));
        for chain in chains {
            legal(self.held.upgrade(trace, chain));
        }
    }

    fn wake_for_keys(&mut self, event: &Event) {
        for unit in event.units() {
            if let Some(key) = self.keys.take_awaited(unit) {
                self.queue.wake_for_key(key).into_iter().for_each(|trace| self.push(trace));
            }
        }
    }

    fn push(&mut self, trace: u16) {
        if let Some(event) = self.walkers[trace as usize].event {
            self.queue.push(event.priority, trace);
        }
    }

    /// Goes on behind row `end`, where an event of `trace` ended.
    fn advance(&mut self, trace: usize, end: u32) {
        let walker = &mut self.walkers[trace];
        if let (Some(event), Some(starting)) = (walker.event, walker.starting())
            && matches!(starting.kind, GroupKind::Traverse { .. })
        {
            let clocks = &mut self.waits.clocks;
            let known = clocks.known(trace);
            let commit =
                self.conflicts.last_commit().filter(|(on, mark)| known[*on as usize] < mark.finished);
            let commit = commit.map(|(on, mark)| (on, clocks.hold(mark)));
            self.traversals.started(trace, starting.group, event.row, commit);
        }
        let mut released: Vec<Active> = Vec::new();
        walker.advance(|active| released.push(active));
        let any = !released.is_empty();
        for active in released {
            self.release(trace, active, end);
        }
        if any {
            self.wake_for_locks();
        }
        if let Some(next) = self.walkers[trace].event {
            next.units().take(SOON).for_each(|unit| self.keys.approach(unit));
        }
        self.push(trace as u16);
    }

    /// A group ended with the event that ends at row `end`: there, or, if it has no end, with its trace.
    fn release(&mut self, trace: usize, active: Active, end: u32) {
        if active.scope.is_some()
            && let Some(scope) = legal(self.held.release(trace, active.group))
        {
            let mark = self.waits.mark(trace, active.end.min(end), self.rank);
            self.conflicts.after_scope(trace, scope, mark, &mut self.waits.clocks);
        }
        if matches!(active.kind, GroupKind::Traverse { .. }) {
            let (split, commit) = self.traversals.ended(trace, active.group);
            commit.into_iter().for_each(|mark| self.waits.clocks.let_go(mark));
            if split && !self.walkers[trace].is_lone(active.group) {
                self.result.splits.push(GroupOf { trace: trace as u16, group: active.group });
            }
        }
    }

    fn wake_for_locks(&mut self) {
        for trace in self.queue.wake_for_locks() {
            self.push(trace);
        }
    }

    /// Nobody can run. If only keys are in the way the keys' orders exclude each other. Otherwise locks overlap in a
    /// way that the target does not allow: every lock that is held while somebody waits for locks is given up, of the
    /// fewest traces: those that keep the earliest waiter out.
    fn force(&mut self) -> Result<(), MergeError> {
        let priority = |&trace: &u16| self.walkers[trace as usize].event.map(|event| event.priority);
        let Some(earliest) = self.queue.waiting_for_locks().iter().copied().min_by_key(priority) else {
            return Err(self.stuck());
        };
        let before = self.result.given_up.len();
        for trace in (0..self.walkers.len()).filter(|&trace| trace != earliest as usize) {
            let given_up = &mut self.result.given_up;
            self.held.give_up(trace, |group| given_up.push(GroupOf { trace: trace as u16, group }));
        }
        if self.result.given_up.len() == before {
            return Err(self.stuck());
        }
        self.wake_for_locks();
        Ok(())
    }

    /// Every trace with something left waits for another one.
    fn stuck(&self) -> MergeError {
        let rows =
            self.walkers.iter().zip(0..).filter_map(|(walker, trace)| Some((trace, walker.event?.row)));
        MergeError::Cycle(rows.collect())
    }

    fn into_result(mut self) -> Merged {
        self.result.last_values = self.keys.values().collect();
        self.result.events = self.rank;
        let (waits, dependencies, critical_path) = self.waits.into_parts();
        Merged { waits, dependencies, critical_path, ..self.result }
    }
}

/// Every transition of the merge is one that a trace makes: it asked first whether the lock is free.
fn legal<T>(transition: Result<T, Illegal>) -> T {
    transition.unwrap_or_else(|illegal| panic!("{illegal}; this is a bug in quorate"))
}
