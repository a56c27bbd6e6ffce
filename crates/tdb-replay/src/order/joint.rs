//! All keys at once: results, numbers, times and locks in one search.
//!
//! Owns the last resort. Keys are solved one by one, which is quick and enough as long as windows keep the keys' orders together.
//! Where that leaves a doubt (numbers that say nothing, more changes than numbers under the orders chosen, times against
//! numbers), this search tries orders of everything, depth first, with what was seen before remembered. It is
//! complete: "impossible" is a proof. It visits a bounded number of states, fewer the larger they are, so it settles small
//! histories and gives up on large ones.
//!
//! A state is how far each trace has come, what is known of each key and the number reached. Of two states that differ only
//! in the number the smaller one is as good: whatever is possible after the other is possible after it.

use hashbrown::HashMap;
use history::action::{ANYTHING, Action, KEEP, NEVER, PRESENT, both};

use super::counting::{Numbered, numbered};
use super::times;
use super::units::{UnitRow, Units};
use crate::trace::History;
use crate::trace::columns::{ABSENT, EMPTY};

/// Which numbers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Believed {
    /// All of them.
    All,
    /// Those that are exact.
    Exact,
}

/// What one order has to satisfy besides results and locks.
#[derive(Clone, Copy, Debug)]
pub struct Demands {
    /// The numbers.
    pub believed: Believed,
    /// Numbers mean something at all.
    pub numbers: bool,
    /// The times.
    pub times: bool,
    /// No key existed before.
    pub empty: bool,
    /// States that may be visited at most.
    pub states: u64,
}

/// What the search came to.
pub enum Outcome {
    /// An order: the units in it, and what each key was before.
    Found {
        /// Numbers of units; those that did not take effect are not in it.
        order: Vec<u32>,
        /// By key.
        initial: Vec<u32>,
    },
    /// There is none.
    Impossible,
    /// The bound was reached.
    GaveUp {
        /// The bound, in states.
        bound: u64,
    },
}

/// Words that all remembered states may take together.
const MOST_WORDS: u64 = 1 << 25;

/// Looks for one order of all units.
pub fn search(history: &History, units: &Units, keys: usize, demands: Demands) -> Outcome {
    let traces: Vec<Lane> =
        (0..history.traces.len()).map(|trace| Lane::of(history, units, trace, &demands)).collect();
    let bound = demands.states.min(MOST_WORDS / (traces.len() + keys + 1) as u64);
    let steps: usize = traces.iter().map(|lane| lane.steps.len()).sum();
    if steps as u64 > bound {
        return Outcome::GaveUp { bound };
    }
    let start = if demands.empty { WRITTEN | u64::from(ABSENT) } else { u64::from(ANYTHING) };
    let state = State { heads: vec![0; traces.len()], keys: vec![start; keys], reached: 0, node: NONE };
    Joint { units, traces, nodes: Vec::new(), seen: HashMap::new() }.run(state, bound, start)
}

/// In a key's state: its value is known, since something wrote it. Without it the value is a need: what is known of the
/// beginning.
const WRITTEN: u64 = 1 << 32;
/// In a key's state, from this bit on: the trace, plus one, that keeps others from it.
const HOLDER: u32 = 33;
const NONE: u32 = u32::MAX;

/// What a trace does at one moment.
#[derive(Clone, Copy)]
struct Step {
    first: u32,
    end: u32,
    starts: u64,
    /// When it and everything after it in its trace was over: the earliest of these times.
    over: u64,
    numbers: Numbered,
    uncertain: bool,
}

/// The steps of one trace.
struct Lane {
    steps: Vec<Step>,
}

impl Lane {
    fn of(history: &History, units: &Units, number: usize, demands: &Demands) -> Lane {
        let trace = &history.traces[number];
        let (mut at, end) = (units.starts[number] as usize, units.starts[number + 1] as usize);
        let mut steps = Vec::new();
        while at < end {
            let row = units.rows[at].row;
            let mut after = at + 1;
            while after < end && units.rows[after].row == row {
                after += 1;
            }
            let unit = &units.rows[at];
            let counts = demands.numbers && (demands.believed == Believed::All || unit.is_firm());
            let numbers = if counts { numbered(history, trace, unit) } else { Numbered::ANYWHERE };
            let times = if demands.times { times::of(trace, row as usize) } else { None };
            let (starts, over) = times.unwrap_or((0, u64::MAX));
            let uncertain = units.rows[at..after].iter().any(UnitRow::is_uncertain);
            steps.push(Step { first: at as u32, end: after as u32, starts, over, numbers, uncertain });
            at = after;
        }
        let mut least = u64::MAX;
        for step in steps.iter_mut().rev() {
            least = least.min(step.over);
            step.over = least;
        }
        Lane { steps }
    }
}

#[derive(Clone)]
struct State {
    heads: Vec<u32>,
    keys: Vec<u64>,
    reached: u32,
    node: u32,
}

/// A step taken, and the one before it.
struct Node {
    before: u32,
    trace: u16,
    /// Its uncertain units were left out.
    without: bool,
}

struct Joint<'a> {
    units: &'a Units,
    traces: Vec<Lane>,
    nodes: Vec<Node>,
    /// The least number with which each state was visited.
    seen: HashMap<Box<[u64]>, u32>,
}

impl Joint<'_> {
    fn run(mut self, first: State, bound: u64, start: u64) -> Outcome {
        let mut stack = vec![first];
        let mut visited = 0;
        while let Some(mut state) = stack.pop() {
            visited += 1;
            if visited > bound {
                return Outcome::GaveUp { bound };
            }
            while let Some(trace) = self.free_step(&state) {
                self.take(&mut state, trace, false);
            }
            if self.is_done(&state) {
                return self.found(&state, start);
            }
            if !self.is_new(&state) {
                continue;
            }
            let mut next: Vec<(u64, usize, bool)> = Vec::new();
            for (trace, lane) in self.traces.iter().enumerate() {
                if let Some(step) = lane.steps.get(state.heads[trace] as usize) {
                    next.push((step.numbers.high, trace, false));
                    next.extend(step.uncertain.then_some((u64::MAX, trace, true)));
                }
            }
            // What is due first is tried first: it goes onto the stack last.
            next.sort_unstable_by(|a, b| b.cmp(a));
            for (_, trace, without) in next {
                let mut after = state.clone();
                if self.may_start(&state, trace) && self.take(&mut after, trace, without) {
                    stack.push(after);
                }
            }
        }
        Outcome::Impossible
    }

    fn step(&self, state: &State, trace: usize) -> Option<&Step> {
        self.traces[trace].steps.get(state.heads[trace] as usize)
    }

    fn is_done(&self, state: &State) -> bool {
        (0..self.traces.len()).all(|trace| self.step(state, trace).is_none())
    }

    fn is_new(&mut self, state: &State) -> bool {
        let heads = state.heads.iter().map(|&head| u64::from(head));
        let key: Box<[u64]> = heads.chain(state.keys.iter().copied()).collect();
        let least = self.seen.entry(key).or_insert(u32::MAX);
        let is_new = state.reached < *least;
        *least = state.reached.min(*least);
        is_new
    }

    /// Whether nothing that is left was over before this trace's next step began.
    fn may_start(&self, state: &State, trace: usize) -> bool {
        let Some(step) = self.step(state, trace) else { return false };
        (0..self.traces.len())
            .filter(|&other| other != trace)
            .filter_map(|other| self.step(state, other))
            .all(|other| other.over >= step.starts)
    }

    /// A trace whose next step can be taken without losing anything: it changes nothing and learns nothing.
    fn free_step(&self, state: &State) -> Option<usize> {
        (0..self.traces.len()).find(|&trace| {
            let Some(step) = self.step(state, trace) else { return false };
            let units = &self.units.rows[step.first as usize..step.end as usize];
            step.numbers.after(state.reached) == Some(state.reached)
                && !step.uncertain
                && self.may_start(state, trace)
                && units.iter().all(|unit| {
                    let key = state.keys[unit.key as usize];
                    // A group under a lock is entered by choice.
                    unit.keeps() && unit.lock().is_none() && act(key, unit.action(), trace) == Some(key)
                })
        })
    }

    /// Takes the next step of a trace; false if that is impossible.
    fn take(&mut self, state: &mut State, trace: usize, without: bool) -> bool {
        let Some(&step) = self.step(state, trace) else { return false };
        let Some(reached) = step.numbers.after(state.reached) else { return false };
        for id in step.first..step.end {
            let unit = &self.units.rows[id as usize];
            if without && unit.is_uncertain() {
                continue;
            }
            let key = &mut state.keys[unit.key as usize];
            let Some(after) = act(*key, unit.action(), trace) else { return false };
            *key = after & !(u64::MAX << HOLDER);
            if self.goes_on(trace, id) {
                *key |= (trace as u64 + 1) << HOLDER;
            }
        }
        if !without {
            state.reached = reached;
        }
        state.heads[trace] += 1;
        self.nodes.push(Node { before: state.node, trace: trace as u16, without });
        state.node = self.nodes.len() as u32 - 1;
        true
    }

    /// Whether the trace goes on with this unit's key under the same lock.
    fn goes_on(&self, trace: usize, id: u32) -> bool {
        let unit = &self.units.rows[id as usize];
        if unit.lock().is_none() {
            return false;
        }
        let end = self.units.starts[trace + 1] as usize;
        let later = self.units.rows[id as usize + 1..end].iter();
        let mut later = later.filter(|next| next.key == unit.key);
        later.next().is_some_and(|next| unit.joins(next))
    }

    /// The units in the order found.
    fn found(&self, state: &State, start: u64) -> Outcome {
        let mut path = Vec::new();
        let mut node = state.node;
        while node != NONE {
            path.push(node);
            node = self.nodes[node as usize].before;
        }
        let (mut order, mut heads) = (Vec::new(), vec![0; self.traces.len()]);
        let mut known = vec![start; state.keys.len()];
        for &Node { trace, without, .. } in path.iter().rev().map(|&node| &self.nodes[node as usize]) {
            let trace = usize::from(trace);
            let step = self.traces[trace].steps[heads[trace]];
            heads[trace] += 1;
            for id in step.first..step.end {
                let unit = &self.units.rows[id as usize];
                if without && unit.is_uncertain() {
                    continue;
                }
                order.push(id);
                let key = &mut known[unit.key as usize];
                if *key & WRITTEN == 0 {
                    // Only what was needed of the beginning is kept.
                    let need = both(*key as u32, unit.action().need);
                    *key = u64::from(need) | if unit.keeps() { 0 } else { WRITTEN };
                }
            }
        }
        let initial = known.iter().map(|&known| beginning(known as u32)).collect();
        Outcome::Found { order, initial }
    }
}

/// The value that a need of the beginning comes to.
fn beginning(need: u32) -> u32 {
    match need {
        PRESENT => EMPTY,
        value if value < KEEP => value,
        _ => ABSENT,
    }
}

/// A key's state after an action of a trace; none if the state does not allow it, or another trace holds the key.
fn act(state: u64, action: Action, trace: usize) -> Option<u64> {
    let holder = state >> HOLDER;
    if holder != 0 && holder != trace as u64 + 1 {
        return None;
    }
    let (code, held) = (state as u32, holder << HOLDER);
    if state & WRITTEN != 0 {
        return action.on(code).map(|after| u64::from(after) | WRITTEN | held);
    }
    let need = both(code, action.need);
    if need == NEVER {
        return None;
    }
    Some(if action.keeps() { u64::from(need) | held } else { u64::from(action.effect) | WRITTEN | held })
}
