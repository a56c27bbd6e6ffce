//! Whose turn it is in the merge.
//!
//! Owns the traces that may run, by priority, and those that wait: for the turn of a key, or for any lock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use hashbrown::HashMap;

use super::events::Priority;

/// The queue.
pub struct Queue {
    heap: BinaryHeap<Reverse<(Priority, u16)>>,
    for_key: HashMap<u32, Vec<u16>>,
    for_lock: Vec<u16>,
}

impl Queue {
    /// These traces may run.
    pub fn new(first: impl Iterator<Item = (Priority, u16)>) -> Queue {
        Queue { heap: first.map(Reverse).collect(), for_key: HashMap::new(), for_lock: Vec::new() }
    }

    /// `trace` may run.
    pub fn push(&mut self, priority: Priority, trace: u16) {
        self.heap.push(Reverse((priority, trace)));
    }

    /// The trace that goes first, which is to run or to wait.
    pub fn pop(&mut self) -> Option<u16> {
        self.heap.pop().map(|Reverse((_, trace))| trace)
    }

    /// The trace that would go first now.
    pub fn next(&self) -> Option<u16> {
        self.heap.peek().map(|&Reverse((_, trace))| trace)
    }

    /// `trace` waits for the turn of `key`.
    pub fn wait_for_key(&mut self, key: u32, trace: u16) {
        self.for_key.entry(key).or_default().push(trace);
    }

    /// Who waited for `key`, and is to be pushed.
    pub fn wake_for_key(&mut self, key: u32) -> Vec<u16> {
        self.for_key.remove(&key).unwrap_or_default()
    }

    /// `trace` waits for a release.
    pub fn wait_for_lock(&mut self, trace: u16) {
        self.for_lock.push(trace);
    }

    /// Who waited for a release, and is to be pushed.
    pub fn wake_for_locks(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.for_lock)
    }

    /// Who waits for a release.
    pub fn waiting_for_locks(&self) -> &[u16] {
        &self.for_lock
    }
}
