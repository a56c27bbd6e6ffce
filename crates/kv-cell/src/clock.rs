//! The cell's clock, as this server has it: what expiry is counted on.
//!
//! It is the highest value that any commit told, and runs on from there at the rate of this machine's monotonic clock. A
//! commit is seen after it was made, so a follower's clock is behind the sync site's, never ahead; a successor goes on
//! from its own, and no key ends early. Wall clocks have no part in it (S17).

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kv::Clocks;
use ubik::driver::SystemClock;
use ubik::server_state::Clock;
use ubik_proto::time::Moment;

/// This server's clock of the cell.
#[derive(Debug)]
pub struct CellClock(Mutex<Reading>);

#[derive(Clone, Copy, Debug)]
struct Reading {
    /// What it said, in milliseconds.
    cell: u64,
    /// When.
    at: Moment,
}

impl Reading {
    fn at(self, now: Moment) -> u64 {
        self.cell + now.since(self.at).as_millis() as u64
    }
}

impl CellClock {
    /// A clock that begins at 0.
    pub fn new() -> CellClock {
        CellClock(Mutex::new(Reading { cell: 0, at: SystemClock.now().moment }))
    }

    /// A commit was seen that was made at `cell`.
    pub fn observe(&self, cell: u64) {
        self.observe_at(cell, SystemClock.now().moment);
    }

    fn observe_at(&self, cell: u64, now: Moment) {
        let mut reading = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cell > reading.at(now) {
            *reading = Reading { cell, at: now };
        }
    }

    /// What it says now, and what the machine takes for the date.
    pub fn now(&self) -> Clocks {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Clocks { cell: self.cell_at(SystemClock.now().moment), wall: wall.as_millis() as u64 }
    }

    fn cell_at(&self, now: Moment) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).at(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S17: a follower's clock goes on from the highest value it has seen, never goes back, and is never ahead of one that
    /// told it.
    #[test]
    fn a_follower_goes_on_from_the_highest_value_seen() {
        let start = SystemClock.now().moment;
        let after = |millis: u64| start + Duration::from_millis(millis);
        let follower = CellClock(Mutex::new(Reading { cell: 0, at: start }));
        follower.observe_at(5_000, after(100));
        assert_eq!(follower.cell_at(after(100)), 5_000);
        assert_eq!(follower.cell_at(after(350)), 5_250, "it runs on");
        follower.observe_at(5_100, after(400));
        assert_eq!(follower.cell_at(after(400)), 5_300, "it does not go back");
        follower.observe_at(9_000, after(400));
        assert_eq!(follower.cell_at(after(401)), 9_001);
    }
}
