//! Which traversals cannot be held open.
//!
//! Owns the open traversals of the merge. In a callback the engine holds a lock on the record that it shows, and a
//! commit, a wipe or the lock of all chains needs every record. A callback that waits for another trace while one of
//! those of another trace stands between the traversal's start and end could wait forever, so such a traversal is
//! split: it is run to its end first, and what its callbacks did is done afterwards.
//!
//! A commit that belongs before the traversal may still be under way when the traversal starts: nothing else keeps the two
//! apart. So a traversal whose callbacks wait comes after the last commit before it, and with that after all of them.

use super::clock::Mark;

/// An open traversal.
struct Open {
    group: u32,
    /// The row that the engine's traversal starts at: the first after the start line. A wait there is over before.
    first_step: u32,
    /// Rows of other traces that need every record, before it started.
    blockers: u64,
    /// The last commit before it and its trace, until it waits for that one.
    commit: Option<(u16, Mark)>,
    waited: bool,
}

/// A traversal that waits in its callbacks.
pub struct Waiting {
    /// The row that the engine's traversal starts at.
    pub first_step: u32,
    /// The commit that must have finished before that row, and its trace.
    pub commit: Option<(u16, Mark)>,
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

    /// `trace` started a traversal at `row`; `commit` is the last one before, and its trace. The mark is to be kept until
    /// [`Traversals::waits`] or [`Traversals::ended`] gives it back.
    pub fn started(&mut self, trace: usize, group: u32, row: u32, commit: Option<(u16, Mark)>) {
        let blockers = self.total - self.blockers[trace];
        self.open[trace].push(Open { group, first_step: row + 1, blockers, commit, waited: false });
    }

    /// `trace` will wait before `row`: the first open traversal, outer ones first, in whose callback that is and which has not
    /// waited in one before. To be asked until there is none.
    pub fn waits(&mut self, trace: usize, row: u32) -> Option<Waiting> {
        let open = self.open[trace].iter_mut().find(|open| row > open.first_step && !open.waited)?;
        open.waited = true;
        Some(Waiting { first_step: open.first_step, commit: open.commit.take() })
    }

    /// `trace` did something that needs every record.
    pub fn blocked_by(&mut self, trace: usize) {
        self.blockers[trace] += 1;
        self.total += 1;
    }

    /// A traversal of `trace` ended: whether it must be split, and the mark that was kept for it.
    pub fn ended(&mut self, trace: usize, group: u32) -> (bool, Option<Mark>) {
        let now = self.total - self.blockers[trace];
        let open = &mut self.open[trace];
        let Some(at) = open.iter().rposition(|open| open.group == group) else {
            return (false, None);
        };
        let ended = open.remove(at);
        (ended.waited && ended.blockers < now, ended.commit.map(|(_, mark)| mark))
    }
}
