//! Numbers that may have been taken back.
//!
//! Owns what is believed of a number where a process died in a commit, before the database put its old state back.

use crate::trace::structure::Group;
use crate::trace::{History, Trace};

/// Whether a process may have died in a commit: the numbers that it had written are taken back, after others may have seen them.
pub(super) fn died_in_a_commit(history: &History) -> bool {
    let died = |trace: &Trace| {
        let last = trace.rows.len().wrapping_sub(1) as u32;
        let ends_in = |group: &Group| group.is_transaction() && (group.open || group.end == last);
        !trace.closed
            && trace.groups.iter().any(ends_in)
            && (trace.unfinished || !trace.is_recorded() || trace.groups.iter().any(|group| group.open))
    };
    history.traces.iter().any(died)
}

/// The numbers that certainly were there, where a process died in a commit: libtdb's tracer reads them without a lock, so one that is
/// followed by smaller ones was taken back. Our recorder shows none of these.
pub(super) struct Lowest(Vec<u32>);

impl Lowest {
    /// Those of a trace.
    pub(super) fn of(history: &History, trace: &Trace) -> Lowest {
        if trace.is_recorded() || !died_in_a_commit(history) {
            return Lowest(Vec::new());
        }
        let mut least = u32::MAX;
        let mut lowest: Vec<u32> = (0..trace.rows.len())
            .rev()
            .map(|row| {
                least = least.min(trace.rows.seq(row));
                least
            })
            .collect();
        lowest.reverse();
        Lowest(lowest)
    }

    /// That of a row which shows `number`.
    pub(super) fn of_row(&self, row: usize, number: u32) -> u32 {
        self.0.get(row).map_or(number, |&least| least)
    }
}
