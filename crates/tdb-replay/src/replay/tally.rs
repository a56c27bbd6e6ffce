//! What one worker saw: counts, mismatches, times.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::timeline::Lane;
use crate::trace::op::Op;

/// Mismatches that are kept with their texts; the rest are only counted.
const KEPT: usize = 100;
/// An operation that took longer counts as this: one hour, in nanoseconds.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// A result that was not the recorded one.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Mismatch {
    /// The trace file.
    pub file: String,
    /// The line; 0 for the database's state after the replay.
    pub line: u32,
    /// What the line says.
    pub expected: String,
    /// What the engine answered.
    pub got: String,
}

/// One worker's notes.
pub struct Tally {
    /// Lines run, by operation.
    pub operations: [u64; Op::COUNT],
    /// Results compared with recorded ones.
    pub compared: u64,
    /// Mismatches, in all.
    pub mismatches: u64,
    /// The first ones.
    pub kept: Vec<Mismatch>,
    /// Waits that were not satisfied when they were reached.
    pub waits: u64,
    /// Of these, those that put the worker to sleep.
    pub parked: u64,
    /// Time spent in waits that were not satisfied.
    pub waited: Duration,
    /// Rows that the engine was not asked about: recorded failures of locks that do not wait, changes inside read
    /// traversals, everything after a database died.
    pub not_run: u64,
    /// Traversals that showed another number of records than the recorded one.
    pub other_length: u64,
    /// Time an operation took, by operation.
    pub latency: [Option<Box<Histogram<u32>>>; Op::COUNT],
    /// When it waited, if that is noted.
    pub lane: Lane,
}

impl Default for Tally {
    fn default() -> Self {
        Tally {
            operations: [0; Op::COUNT],
            compared: 0,
            mismatches: 0,
            kept: Vec::new(),
            waits: 0,
            parked: 0,
            waited: Duration::ZERO,
            not_run: 0,
            other_length: 0,
            latency: [const { None }; Op::COUNT],
            lane: Lane::default(),
        }
    }
}

impl Tally {
    /// Notes a mismatch.
    pub fn mismatch(&mut self, make: impl FnOnce() -> Mismatch) {
        self.mismatches += 1;
        if self.kept.len() < KEPT {
            self.kept.push(make());
        }
    }

    /// Notes the time that an operation took.
    pub fn took(&mut self, op: Op, time: Duration) {
        self.took_often(op, time.as_nanos() as u64, 1);
    }

    /// Notes a time that so many operations took.
    pub(super) fn took_often(&mut self, op: Op, nanos: u64, count: u64) {
        let histogram = self.latency[op as usize].get_or_insert_with(|| {
            Box::new(Histogram::new_with_max(LONGEST_NS, 2).expect("two digits, and more than 2 ns"))
        });
        histogram.saturating_record_n(nanos, count as u32);
    }

    /// Adds what another worker saw.
    pub fn add(&mut self, other: Tally) {
        for (mine, theirs) in self.operations.iter_mut().zip(other.operations) {
            *mine += theirs;
        }
        self.compared += other.compared;
        self.mismatches += other.mismatches;
        self.kept.extend(other.kept);
        self.kept.truncate(KEPT);
        self.waits += other.waits;
        self.parked += other.parked;
        self.waited += other.waited;
        self.not_run += other.not_run;
        self.other_length += other.other_length;
        for (mine, theirs) in self.latency.iter_mut().zip(other.latency) {
            match (mine, theirs) {
                (_, None) => {}
                (Some(mine), Some(theirs)) => {
                    mine.add(&*theirs).expect("both grow as needed, so everything fits");
                }
                (empty @ None, theirs) => *empty = theirs,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R23: a latency is reported as it was, from nanoseconds to minutes.
    #[test]
    fn latencies_of_any_length_are_kept() {
        let mut tally = Tally::default();
        for time in [Duration::from_nanos(90), Duration::from_millis(5), Duration::from_secs(120)] {
            tally.took(Op::Fetch, time);
        }
        let histogram = tally.latency[Op::Fetch as usize].as_ref().expect("fetches were noted");
        let within = |value: u64, nanos: u64| value.abs_diff(nanos) <= nanos / 50;
        assert!(within(histogram.value_at_quantile(0.5), 5_000_000));
        assert!(within(histogram.max(), 120_000_000_000));
        assert!(within(histogram.min(), 90));
    }
}
