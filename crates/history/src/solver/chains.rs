//! Values that follow each other without a break.
//!
//! Owns the chains: where a value has one writer, whoever needs it comes between that writer and the value's end; where
//! one who needs it replaces it by a value that again has one writer, nothing can come between the two values' readers
//! but themselves. So a chain is done in one go, and whatever stands before one of its steps in a process and
//! cannot be done within it, a *blocker*, must be done before the chain begins.

use super::step::{NONE, Step};
use crate::action::KEEP;

/// A step of a process that must be done before a chain begins.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Blocker {
    pub process: u32,
    pub step: u32,
}

/// The chains of one problem. A chain is named by one of its values.
#[derive(Default)]
pub(super) struct Chains {
    of: Vec<u32>,
    /// The single writer of each value.
    writer: Vec<u32>,
    /// The step that begins each chain.
    begin: Vec<u32>,
    found: Vec<(u32, Blocker)>,
    first: Vec<u32>,
    blockers: Vec<Blocker>,
}

impl Chains {
    /// Finds the chains; `writer` has the single writer of each value, or none.
    pub fn compile(&mut self, steps: &[Step], processes: &[u32], writer: &[u32]) {
        self.writer.clear();
        self.writer.extend_from_slice(writer);
        self.of.clear();
        self.of.extend(0..writer.len() as u32);
        for at in 0..steps.len() as u32 {
            if let Some((before, after)) = self.link(steps, at) {
                let (before, after) = (root(&mut self.of, before), root(&mut self.of, after));
                self.of[after as usize] = before;
            }
        }
        for value in 0..self.of.len() as u32 {
            self.of[value as usize] = root(&mut self.of, value);
        }
        self.begin.clear();
        self.begin.resize(writer.len(), NONE);
        for (value, &step) in writer.iter().enumerate() {
            if step != NONE && self.link(steps, step).is_none() {
                self.begin[self.of[value] as usize] = step;
            }
        }
        self.find_blockers(steps, processes);
    }

    /// The chain that a need belongs to.
    pub fn of_need(&self, need: u32) -> Option<u32> {
        (need < KEEP && self.writer[need as usize] != NONE).then(|| self.of[need as usize])
    }

    /// Whether a step that needs `need` belongs to what goes on from `value` without a break.
    pub fn is_same(&self, need: u32, value: u32) -> bool {
        need < KEEP && value < KEEP && self.of[need as usize] == self.of[value as usize]
    }

    /// The chain that a step begins.
    pub fn begun_by(&self, at: u32, step: &Step) -> Option<u32> {
        let chain = *self.of.get(step.effect as usize)?;
        (self.begin[chain as usize] == at).then_some(chain)
    }

    /// The step that begins a chain.
    pub fn beginning(&self, chain: u32) -> Option<u32> {
        let step = self.begin[chain as usize];
        (step != NONE).then_some(step)
    }

    /// What must be done before a chain begins.
    pub fn blockers(&self, chain: u32) -> &[Blocker] {
        &self.blockers[self.first[chain as usize] as usize..self.first[chain as usize + 1] as usize]
    }

    /// A blocker of the chain that is still to be done.
    pub fn blocker(&self, chain: u32, heads: &[u32]) -> Option<Blocker> {
        let remains = |blocker: &&Blocker| heads[blocker.process as usize] <= blocker.step;
        self.blockers(chain).iter().find(remains).copied()
    }

    /// The two values that a step links, if it replaces a value of one writer by another such value.
    fn link(&self, steps: &[Step], at: u32) -> Option<(u32, u32)> {
        let step = &steps[at as usize];
        let writes = step.effect < KEEP && self.writer[step.effect as usize] == at;
        let needs = step.need < KEEP && step.alternative == NONE && self.writer[step.need as usize] != NONE;
        (writes && needs && self.writer[step.need as usize] != at).then_some((step.need, step.effect))
    }

    /// The chain that a step belongs to.
    fn chain_of(&self, steps: &[Step], at: u32) -> Option<u32> {
        let step = &steps[at as usize];
        let written = || {
            let value = (step.effect < KEEP).then_some(step.effect as usize)?;
            (self.writer[value] == at).then(|| self.of[value])
        };
        self.of_need(step.need).or_else(written)
    }

    fn find_blockers(&mut self, steps: &[Step], processes: &[u32]) {
        self.found.clear();
        for (process, bounds) in processes.windows(2).enumerate() {
            // The last step that cannot be done within any chain but its own.
            let mut last: Option<(u32, Option<u32>)> = None;
            for at in bounds[0]..bounds[1] {
                let step = &steps[at as usize];
                if step.alternative != NONE || step.effect == KEEP && step.need >= KEEP {
                    continue;
                }
                let chain = self.chain_of(steps, at);
                if let (Some(chain), Some((before, other))) = (chain, last)
                    && other != Some(chain)
                {
                    self.found.push((chain, Blocker { process: process as u32, step: before }));
                }
                last = Some((at, chain));
            }
        }
        self.sort_blockers();
    }

    /// Puts the blockers chain by chain.
    fn sort_blockers(&mut self) {
        let chains = self.of.len();
        self.first.clear();
        self.first.resize(chains + 2, 0);
        for (chain, _) in &self.found {
            self.first[*chain as usize + 2] += 1;
        }
        for chain in 0..=chains {
            self.first[chain + 1] += self.first[chain];
        }
        self.blockers.clear();
        self.blockers.resize(self.found.len(), Blocker::default());
        for (chain, blocker) in &self.found {
            let next = &mut self.first[*chain as usize + 1];
            self.blockers[*next as usize] = *blocker;
            *next += 1;
        }
    }
}

/// The value that stands for all of a chain. What contradicts itself may be a ring, so this joins sets and follows
/// no order.
fn root(chain: &mut [u32], mut value: u32) -> u32 {
    while chain[value as usize] != value {
        chain[value as usize] = chain[chain[value as usize] as usize];
        value = chain[value as usize];
    }
    value
}
