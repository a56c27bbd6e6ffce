//! Which rows and waits of a run are noted one by one, and what is noted of a row.
//!
//! Owns the bound on it: up to so many rows and waits all are noted, beyond that an even part of them. Which ones follows from
//! their numbers alone, so a worker knows without asking that the row which it finishes is the one that a noted wait of
//! another worker is for.

use crate::schedule::Schedule;

/// Rows of a run that are noted at most, but for those that noted waits are for.
pub const MOST_ROWS: u64 = 500_000;
/// About how many waits are noted at most.
pub const MOST_WAITS: u64 = 100_000;

/// One row that was run, in nanoseconds since the run began. That of a traversal's start lasts until the traversal's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Execution {
    /// The row.
    pub row: u32,
    /// Whether its result was not the recorded one.
    pub differs: bool,
    /// When it began, all its waits being over.
    pub from: u64,
    /// When it was done.
    pub to: u64,
}

/// Of each so many one is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noting {
    rows: u64,
    waits: u64,
}

impl Noting {
    /// What keeps a run of this schedule within the bounds.
    pub fn of(schedule: &Schedule) -> Noting {
        let rows: u64 = schedule.traces.iter().map(|plan| u64::from(plan.end)).sum();
        let waits: usize = schedule.traces.iter().map(|plan| plan.waits.len()).sum();
        Noting::within(rows, waits as u64)
    }

    fn within(rows: u64, waits: u64) -> Noting {
        Noting::one_of(rows.div_ceil(MOST_ROWS).max(1), waits.div_ceil(MOST_WAITS).max(1))
    }

    /// One of so many rows and of so many waits, neither of which is 0.
    pub const fn one_of(rows: u64, waits: u64) -> Noting {
        Noting { rows, waits }
    }

    /// Whether everything is noted.
    pub fn is_whole(self) -> bool {
        self == Noting { rows: 1, waits: 1 }
    }

    /// Whether `row` of `trace` is noted for its own sake: one of each stretch of rows, and not always the same in each, since
    /// programs repeat themselves.
    pub(super) fn notes_row(self, trace: usize, row: u32) -> bool {
        let (stretch, place) = (u64::from(row) / self.rows, u64::from(row) % self.rows);
        mix(stretch ^ (trace as u64) << 32) % self.rows == place
    }

    /// Whether waits for the first `rows` rows of trace `on` are noted.
    pub fn notes_wait(self, on: usize, rows: u32) -> bool {
        mix(u64::from(rows) ^ (on as u64) << 32).is_multiple_of(self.waits)
    }
}

/// A number that looks like chance (the finalizer of SplitMix64).
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R40: up to the bound every row and wait is noted, beyond it one of each stretch, whatever repeats in the trace.
    #[test]
    fn what_is_noted_is_bounded_and_even() {
        assert!(Noting::within(MOST_ROWS, MOST_WAITS).is_whole());
        let noting = Noting::within(10 * MOST_ROWS, 7 * MOST_WAITS);
        let rows: Vec<u32> = (0..10 * MOST_ROWS as u32).filter(|&row| noting.notes_row(3, row)).collect();
        assert_eq!(rows.len() as u64, MOST_ROWS);
        assert!(rows.windows(2).all(|pair| pair[1] - pair[0] < 20));
        let last_digits: std::collections::BTreeSet<u32> = rows.iter().map(|row| row % 10).collect();
        assert_eq!(last_digits.len(), 10);
        let waits = (0..7 * MOST_WAITS as u32).filter(|&rows| noting.notes_wait(5, rows)).count() as u64;
        assert!(waits.abs_diff(MOST_WAITS) < MOST_WAITS / 50, "{waits}");
    }
}
