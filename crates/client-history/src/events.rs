//! From operations to Jepsen's events: calls and returns in one order, each with its process.
//!
//! Owns that this order says what the times say and no more: what returned before another call, and that each client does one
//! thing after the other. At equal times operations on one register are concurrent, so calls come before returns there, but for
//! a client's own. Where a client has an outcome that it never learnt it goes on as another process, as in Jepsen.

use std::collections::BTreeMap;

use hashbrown::{HashMap, HashSet};

use crate::operation::{Action, History, Operation, Outcome};
use crate::write::WriteError;

/// An event of the operation with this index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub operation: u32,
    /// `invoke`, `ok`, `fail` or `info`.
    pub kind: &'static str,
    pub process: u32,
}

/// All events of `history`.
pub fn events(history: &History) -> Result<Vec<Event>, WriteError> {
    let chains = Chains::of(history);
    // What happens at each time: calls, then returns, then the moments at which clients gave up.
    let mut moments: BTreeMap<u64, [Vec<u32>; 3]> = BTreeMap::new();
    for (index, operation) in (0u32..).zip(&history.operations) {
        moments.entry(operation.call).or_default()[0].push(index);
        let (end, kind) = match operation.outcome {
            Outcome::Unknown => (operation.end.unwrap_or(u64::MAX), 2),
            // What failed says nothing; without a return its client knew at once.
            _ => (operation.end.unwrap_or(operation.call), 1),
        };
        moments.entry(end).or_default()[kind].push(index);
    }
    let mut events = Vec::with_capacity(2 * history.operations.len());
    for (time, [calls, returns, given_up]) in moments {
        let moment = Moment { history, chains: &chains, time, events: &mut events };
        moment.order(calls, returns)?;
        events.extend(given_up.into_iter().map(|operation| event(history, &chains, operation, false)));
    }
    Ok(events)
}

fn event(history: &History, chains: &Chains, operation: u32, is_call: bool) -> Event {
    let kind = match (is_call, history.operations[operation as usize].outcome) {
        (true, _) => "invoke",
        (_, Outcome::Ok) => "ok",
        (_, Outcome::Failed) => "fail",
        (_, Outcome::Unknown) => "info",
    };
    Event { operation, kind, process: chains.process[operation as usize] }
}

/// Of each operation: its process, and what its client was told last before it called it.
struct Chains {
    process: Vec<u32>,
    before: Vec<Option<u32>>,
}

impl Chains {
    fn of(history: &History) -> Chains {
        let operations = &history.operations;
        let mut order: Vec<u32> = (0..operations.len() as u32).collect();
        order.sort_by_key(|&index| (operations[index as usize].client, operations[index as usize].call));
        let mut next = operations.iter().map(|operation| operation.client + 1).max().unwrap_or(0);
        let mut fresh = || (next, next += 1).0;
        let mut chains = Chains { process: vec![0; operations.len()], before: vec![None; operations.len()] };
        for same in order.chunk_by(|&a, &b| operations[a as usize].client == operations[b as usize].client) {
            let mut process = operations[same[0] as usize].client;
            let mut told: Option<u32> = None;
            // When the process was last told something.
            let mut since: Option<u64> = None;
            for &index in same {
                let operation = &operations[index as usize];
                let at = index as usize;
                chains.before[at] = told.filter(|_| operation.outcome != Outcome::Unknown);
                chains.process[at] = process;
                if operation.outcome != Outcome::Unknown {
                    (told, since) = (Some(index), operation.end.or(Some(operation.call)));
                } else if since.is_some_and(|since| since >= operation.call) {
                    // It is concurrent with what was told at that time.
                    chains.process[at] = fresh();
                } else {
                    (process, since) = (fresh(), None);
                }
            }
        }
        chains
    }
}

/// What is called and returns at one time.
struct Moment<'a> {
    history: &'a History,
    chains: &'a Chains,
    time: u64,
    events: &'a mut Vec<Event>,
}

impl Moment<'_> {
    fn order(self, mut calls: Vec<u32>, mut returns: Vec<u32>) -> Result<(), WriteError> {
        let mut waiting = Waiting::default();
        calls.iter().for_each(|&call| waiting.add(self.operation(call), 1));
        let mut uncalled: HashSet<u32> = calls.iter().copied().collect();
        let mut open: HashSet<u32> = returns.iter().copied().collect();
        loop {
            let left = calls.len() + returns.len();
            calls.retain(|&call| {
                let is_ready = self.chains.before[call as usize].is_none_or(|before| !open.contains(&before));
                if is_ready {
                    uncalled.remove(&call);
                    waiting.add(self.operation(call), -1);
                    self.events.push(event(self.history, self.chains, call, true));
                }
                !is_ready
            });
            returns.retain(|&end| {
                let is_ready = !uncalled.contains(&end) && waiting.is_none_for(self.operation(end));
                if is_ready {
                    open.remove(&end);
                    self.events.push(event(self.history, self.chains, end, false));
                }
                !is_ready
            });
            match (calls.first(), calls.len() + returns.len()) {
                (_, 0) => return Ok(()),
                (Some(&call), now) if now == left => {
                    return Err(WriteError::Times { line: self.operation(call).lines.call, time: self.time });
                }
                _ => {}
            }
        }
    }

    fn operation(&self, index: u32) -> &Operation {
        &self.history.operations[index as usize]
    }
}

/// Calls of one time that are still to come: on each register, and of each client on it.
#[derive(Default)]
struct Waiting {
    on: HashMap<u32, i64>,
    of: HashMap<(u32, u32), i64>,
}

impl Waiting {
    fn add(&mut self, operation: &Operation, count: i64) {
        let is_mute = match operation.outcome {
            Outcome::Ok => false,
            Outcome::Failed => true,
            Outcome::Unknown => matches!(operation.action, Action::Read(_)),
        };
        if is_mute {
            return;
        }
        *self.on.entry(operation.key).or_default() += count;
        if operation.outcome == Outcome::Ok {
            *self.of.entry((operation.key, operation.client)).or_default() += count;
        }
    }

    /// No call is to come that is concurrent with `returned`. A client's own calls come after it.
    fn is_none_for(&self, returned: &Operation) -> bool {
        let on = self.on.get(&returned.key).copied().unwrap_or(0);
        let own = self.of.get(&(returned.key, returned.client)).copied().unwrap_or(0);
        returned.outcome != Outcome::Ok || on == own
    }
}
