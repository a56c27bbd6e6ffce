//! No voter promises two servers at once.

use super::Found;
use crate::event::NodeId;

/// A voter that said yes to one server says no to every other for the length of its promise, through crashes.
#[derive(Debug)]
pub struct PromisesKept {
    /// To whom, and when in real time.
    given: Vec<Option<(NodeId, u64)>>,
    promise: u64,
}

impl PromisesKept {
    pub(super) fn new(nodes: usize, promise: u64) -> Self {
        // The voter's clock may run fast by a hundredth.
        PromisesKept { given: vec![None; nodes], promise: promise - promise / 90 }
    }

    /// `voter` sends `host` the yes that it gave at real time `now`.
    ///
    /// # Errors
    /// If it has promised another.
    pub fn yes(&mut self, now: u64, voter: NodeId, host: NodeId) -> Found {
        if let Some((other, at)) = self.given[voter]
            && other != host
            && now.abs_diff(at) < self.promise
        {
            let ago = now.abs_diff(at) / 1000;
            return Err(format!("server {voter} says yes to {host}, {ago} ms after it did to {other}"));
        }
        self.given[voter] = Some((host, now));
        Ok(())
    }
}
