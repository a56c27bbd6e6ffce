//! The one order of a whole history: a dry run.
//!
//! Owns the walk over all traces at once. The trace whose next event belongs earliest goes first; an event runs when
//! its keys' own orders allow it and the locks that it needs are free, otherwise its trace waits for the key or for
//! any release. What runs is numbered, and what it had to come after becomes a wait, unless the waits before it imply
//! that already. Nothing here touches a database.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use hashbrown::HashMap;

use super::clock::{Clocks, Mark};
use super::conflicts::{Conflicts, Needs};
use super::events::{Active, Alone, Event, Input, Priority, Walker};
use super::keys::Keys;
use super::locks::{Locks, Momentary, Scope};
use super::traversals::{Traversals, Waiting};
use crate::trace::structure::GroupKind;

/// Before its row `row`, a trace waits until `rows` rows of trace `on` have finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The row that waits.
    pub row: u32,
    /// How many rows of the other trace must have finished.
    pub rows: u32,
    /// The other trace.
    pub on: u16,
}

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

/// Keys of a trace's next event that are fetched ahead: a transaction can have very many.
const SOON: usize = 16;

/// Merges all traces.
pub fn merge(input: Input<'_>) -> Result<Merged, MergeError> {
    let mut merge = Merge::new(input);
    loop {
        match merge.heap.pop() {
            Some(Reverse((_, trace))) => merge.turn(trace as usize)?,
            None if merge.finished() => return Ok(merge.into_result()),
            None => merge.force()?,
        }
    }
}

struct Merge<'a> {
    walkers: Vec<Walker<'a>>,
    keys: Keys<'a>,
    locks: Locks,
    conflicts: Conflicts,
    clocks: Clocks,
    traversals: Traversals,
    needs: Needs,
    /// The traces that may run, by priority.
    heap: BinaryHeap<Reverse<(Priority, u16)>>,
    waiting_for_key: HashMap<u32, Vec<u16>>,
    waiting_for_lock: Vec<u16>,
    lone_steps: bool,
    /// Length of the longest chain that ends with each trace's last row.
    depths: Vec<u32>,
    scratch: Vec<(u16, Mark)>,
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
        let first =
            (0..).zip(&walkers).filter_map(|(trace, walker)| Some(Reverse((walker.event?.priority, trace))));
        let rows = || input.history.traces.iter().map(|trace| vec![0; trace.rows.len()]).collect();
        Merge {
            heap: first.collect(),
            keys: Keys::new(input.units, input.solution),
            locks: Locks::new(traces),
            conflicts,
            clocks: Clocks::new(traces),
            traversals: Traversals::new(traces),
            needs: Needs::new(traces),
            waiting_for_key: HashMap::new(),
            waiting_for_lock: Vec::new(),
            lone_steps: input.lone_steps,
            depths: vec![0; traces],
            scratch: Vec::new(),
            rank: 0,
            result: Merged { ranks: rows(), waits: vec![Vec::new(); traces], ..Merged::default() },
            walkers,
        }
    }

    fn finished(&self) -> bool {
        self.walkers.iter().all(|walker| walker.event.is_none())
    }

    /// Runs the next event of `trace`, or parks it. The trace goes back to the heap after every event: going on with
    /// the same one would let it overtake a trace that it has just woken.
    fn turn(&mut self, trace: usize) -> Result<(), MergeError> {
        if let Some(&Reverse((_, next))) = self.heap.peek()
            && let Some(unit) = self.walkers[next as usize].event.and_then(|event| event.units().next())
        {
            self.keys.approach_readers(unit, &self.clocks);
        }
        let mut event = self.walkers[trace].event.expect("only traces with a next event are in the heap");
        if let Some(key) = event.units().find_map(|unit| self.keys.waits_for(unit)) {
            self.keys.await_turn(key);
            self.waiting_for_key.entry(key).or_default().push(trace as u16);
            return Ok(());
        }
        let free = event.scope.is_none_or(|scope| self.locks.scope_free(trace, scope))
            && event.moment.is_none_or(|moment| self.locks.moment_free(trace, moment));
        if !free && let Some(alone) = self.left_alone(trace) {
            event = alone;
        } else if !free {
            self.waiting_for_lock.push(trace as u16);
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
        if needs.is_some_and(|moment| !self.locks.moment_free(trace, moment)) {
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
        let known = self.clocks.known(trace);
        for unit in event.units() {
            self.keys.before(unit, &mut self.needs, known);
        }
        if let Some(scope) = event.scope {
            self.conflicts.before_scope(trace, scope, &mut self.needs, known);
        }
        if let Some(moment) = event.moment {
            self.conflicts.before_moment(trace, moment, &mut self.needs, known);
        }
        self.needs.take(&mut self.scratch);
        self.open_traversals_wait(trace, event.row);
        // What was known before is no deeper than the trace's own rows.
        let mut depth = self.depths[trace];
        // Latest first: what the latest has seen makes earlier ones superfluous.
        self.scratch.sort_unstable_by_key(|&(_, mark)| Reverse(mark.rank));
        let mut waited = false;
        for &(on, mark) in &self.scratch {
            depth = depth.max(mark.depth);
            if self.clocks.known(trace)[on as usize] >= mark.finished {
                continue;
            }
            self.clocks.learn(trace, on as usize, mark);
            self.result.waits[trace].push(Wait { row: event.row, rows: mark.finished, on });
            waited = true;
        }
        if waited {
            self.clocks.keep(trace);
        }
        self.depths[trace] = depth + 1;
        self.result.critical_path = self.result.critical_path.max(depth + 1);
    }

    /// If `trace` will wait before `row` for what is in `scratch`, then its traversals in whose callbacks that is come after
    /// the commits before them.
    fn open_traversals_wait(&mut self, trace: usize, row: u32) {
        let known = self.clocks.known(trace);
        if self.scratch.iter().all(|&(on, mark)| known[on as usize] >= mark.finished) {
            return;
        }
        while let Some(Waiting { first_step, commit }) = self.traversals.waits(trace, row) {
            let Some((on, commit)) = commit else { continue };
            if self.clocks.known(trace)[on as usize] < commit.finished {
                // Since that step it has not waited, so what it waits for there stands last.
                let waits = &mut self.result.waits[trace];
                let there = waits.split_off(waits.partition_point(|wait| wait.row < first_step));
                let implied =
                    |wait: &Wait| wait.on == on || self.clocks.implies(commit, wait.on as usize, wait.rows);
                waits.extend(there.into_iter().filter(|wait| !implied(wait)));
                waits.push(Wait { row: first_step, rows: commit.finished, on });
                self.clocks.learn(trace, on as usize, commit);
                self.clocks.keep(trace);
                self.depths[trace] = self.depths[trace].max(commit.depth + 1);
            }
            self.clocks.let_go(commit);
        }
    }

    fn run(&mut self, trace: usize, event: &Event) -> Result<(), MergeError> {
        self.result.ranks[trace][event.row as usize..=event.end as usize].fill(self.rank);
        let mark = self.mark(trace, event.end);
        for unit in event.units() {
            if !self.keys.run(unit, mark, &mut self.clocks) {
                return Err(MergeError::Inconsistent(trace as u16, event.row));
            }
        }
        if let Some(scope) = event.scope {
            self.locks.take(trace, scope);
        }
        if let Some(moment) = event.moment {
            self.conflicts.after_moment(trace, moment, mark, &mut self.clocks);
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

    /// The event of `trace` that runs now and ends at row `end`, as those see it who come after.
    fn mark(&self, trace: usize, end: u32) -> Mark {
        self.clocks.mark(trace, end + 1, self.rank, self.depths[trace])
    }

    fn wake_for_keys(&mut self, event: &Event) {
        for unit in event.units() {
            let waiting = self.keys.take_awaited(unit).and_then(|key| self.waiting_for_key.remove(&key));
            for trace in waiting.into_iter().flatten() {
                self.push(trace);
            }
        }
    }

    fn push(&mut self, trace: u16) {
        if let Some(event) = self.walkers[trace as usize].event {
            self.heap.push(Reverse((event.priority, trace)));
        }
    }

    /// Goes on behind row `end`, where an event of `trace` ended.
    fn advance(&mut self, trace: usize, end: u32) {
        let walker = &mut self.walkers[trace];
        if let (Some(event), Some(starting)) = (walker.event, walker.starting())
            && matches!(starting.kind, GroupKind::Traverse { .. })
        {
            let known = self.clocks.known(trace);
            let commit =
                self.conflicts.last_commit().filter(|(on, mark)| known[*on as usize] < mark.finished);
            let commit = commit.map(|(on, mark)| (on, self.clocks.hold(mark)));
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
        if let Some(scope) = active.scope {
            self.locks.release(trace, scope);
            let mark = self.mark(trace, active.end.min(end));
            self.conflicts.after_scope(trace, scope, mark, &mut self.clocks);
        }
        if matches!(active.kind, GroupKind::Traverse { .. }) {
            let (split, commit) = self.traversals.ended(trace, active.group);
            commit.into_iter().for_each(|mark| self.clocks.let_go(mark));
            if split && !self.walkers[trace].is_lone(active.group) {
                self.result.splits.push(GroupOf { trace: trace as u16, group: active.group });
            }
        }
    }

    fn wake_for_locks(&mut self) {
        for trace in std::mem::take(&mut self.waiting_for_lock) {
            self.push(trace);
        }
    }

    /// Nobody can run. If only keys are in the way the keys' orders exclude each other. Otherwise locks overlap in a
    /// way that the target does not allow: every lock that is held while somebody waits for locks is given up, of the
    /// fewest traces: those that keep the earliest waiter out.
    fn force(&mut self) -> Result<(), MergeError> {
        let priority = |&trace: &u16| self.walkers[trace as usize].event.map(|event| event.priority);
        let Some(earliest) = self.waiting_for_lock.iter().copied().min_by_key(priority) else {
            return Err(self.stuck());
        };
        let mut given_up = 0;
        for trace in 0..self.walkers.len() {
            if trace == earliest as usize {
                continue;
            }
            for active in &mut self.walkers[trace].active {
                let Some(scope) = active.scope.take() else {
                    continue;
                };
                self.locks.release(trace, scope);
                self.result.given_up.push(GroupOf { trace: trace as u16, group: active.group });
                given_up += 1;
            }
        }
        if given_up == 0 {
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
        self.result.dependencies = self.needs.named;
        self.result.events = self.rank;
        self.result
    }
}
