//! Which traversals cannot be held open.
//!
//! Owns the open traversals of the merge. In a callback the engine holds a lock on the record that it shows, and a
//! commit, a wipe or the lock of all chains needs every record. A callback that waits for another trace while one of
//! those of another trace stands between the traversal's start and end could wait for ever, so such a traversal is
//! split: it is run to its end first, and what its callbacks did is done afterwards.

/// An open traversal.
struct Open {
    group: u32,
    /// The row that the engine's traversal starts at: the first after the start line. A wait there is over before.
    first_step: u32,
    /// Rows of other traces that need every record, before it started.
    blockers: u64,
    waited: bool,
}

/// The open traversals of all traces.
pub struct Traversals {
    open: Vec<Vec<Open>>,
    blockers: Vec<u64>,
    total: u64,
}

impl Traversals {
    /// None is open.
    pub fn new(traces: usize) -> Traversals {
        Traversals { open: (0..traces).map(|_| Vec::new()).collect(), blockers: vec![0; traces], total: 0 }
    }

    /// `trace` started a traversal at `row`.
    pub fn started(&mut self, trace: usize, group: u32, row: u32) {
        let blockers = self.total - self.blockers[trace];
        self.open[trace].push(Open { group, first_step: row + 1, blockers, waited: false });
    }

    /// `trace` waits before `row`.
    pub fn waited(&mut self, trace: usize, row: u32) {
        for open in &mut self.open[trace] {
            open.waited |= row > open.first_step;
        }
    }

    /// `trace` did something that needs every record.
    pub fn blocked_by(&mut self, trace: usize) {
        self.blockers[trace] += 1;
        self.total += 1;
    }

    /// A traversal of `trace` ended; true if it must be split.
    pub fn ended(&mut self, trace: usize, group: u32) -> bool {
        let now = self.total - self.blockers[trace];
        let open = &mut self.open[trace];
        let Some(at) = open.iter().rposition(|open| open.group == group) else {
            return false;
        };
        let ended = open.remove(at);
        ended.waited && ended.blockers < now
    }
}
