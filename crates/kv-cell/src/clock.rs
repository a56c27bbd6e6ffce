//! The cell's clock, as this server has it: what expiry is counted on.
//!
//! The sync site's runs at the rate of its machine's monotonic clock, and each of its commits tells it. Everybody else goes on
//! from what was told, and a successor from what it has then. What one sync site tells is never ahead of time, so that the
//! highest of it holds. What another tells holds at once, also where that means going back: a server that ran on by itself
//! while nothing was committed, or before it first heard of the cell, may be ahead of it by any time, and would end keys
//! early when its turn comes. So, at every server and for every key that it has seen: no more time has passed on its clock
//! than has passed since the key was written. Wall clocks have no part in it (S17).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kv::Clocks;
use kv::keyspace::Totals;
use ubik::driver::SystemClock;
use ubik::server_state::Clock;
use ubik_proto::time::Moment;
use ubik_proto::version::Version;

/// This server's clock of the cell.
#[derive(Debug)]
pub struct CellClock(Mutex<State>);

#[derive(Clone, Copy, Debug)]
struct State {
    /// What it said, in milliseconds.
    cell: u64,
    /// When.
    at: Moment,
    /// The newest totals that were seen, and the epoch of their version.
    seen: (u32, Totals),
    /// The epoch whose sync site is sure to have told what this goes on from.
    told_in: Option<u32>,
    /// The epoch that this server commits in, if it is sync site: its own commits tell it nothing.
    own: Option<u32>,
}

impl State {
    fn at(self, now: Moment) -> Duration {
        Duration::from_millis(self.cell) + now.since(self.at)
    }
}

impl CellClock {
    /// A clock that begins at 0.
    pub fn new() -> CellClock {
        CellClock::beginning(SystemClock.now().moment)
    }

    fn beginning(at: Moment) -> CellClock {
        CellClock(Mutex::new(State { cell: 0, at, seen: (0, Totals::default()), told_in: None, own: None }))
    }

    /// The totals of the newest version that is committed here.
    pub fn observe(&self, version: Version, totals: Totals) {
        self.observe_at(version, totals, SystemClock.now().moment);
    }

    fn observe_at(&self, version: Version, totals: Totals, now: Moment) {
        let mut state = self.state();
        let (last_epoch, last_totals) = state.seen;
        state.seen = (version.epoch, totals);
        // A version with the same totals is of the same commit, or of one without keys.
        if totals == last_totals || state.own == Some(version.epoch) {
            return;
        }
        let runs_on =
            state.told_in == Some(version.epoch) && state.at(now) > Duration::from_millis(totals.clock);
        if !runs_on {
            (state.cell, state.at) = (totals.clock, now);
        }
        // After another epoch it may still be what the last sync site told, under the new one's version.
        state.told_in = (last_epoch == version.epoch).then_some(version.epoch);
    }

    /// This server has committed `version` as sync site.
    pub fn committed(&self, version: Version) {
        self.state().own = Some(version.epoch);
    }

    /// What it says now, and what the machine takes for the date.
    pub fn now(&self) -> Clocks {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Clocks::new(self.state().at(SystemClock.now().moment), wall)
    }

    #[cfg(test)]
    fn cell_at(&self, now: Moment) -> u64 {
        self.state().at(now).as_millis() as u64
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(revision: u64, clock: u64) -> Totals {
        Totals { keys: 1, revision, clock }
    }

    fn clock(start: Moment) -> (CellClock, impl Fn(u64) -> Moment) {
        (CellClock::beginning(start), move |millis| start + Duration::from_millis(millis))
    }

    /// S17: a follower's clock goes on from what a commit told, also if it had run ahead of that by itself.
    #[test]
    fn a_follower_goes_on_from_what_was_told() {
        let (follower, after) = clock(SystemClock.now().moment);
        follower.observe_at(Version::new(7, 2), told(1, 5_000), after(100));
        assert_eq!(follower.cell_at(after(350)), 5_250, "it runs on");
        follower.observe_at(Version::new(8, 1), told(1, 5_000), after(400));
        assert_eq!(follower.cell_at(after(400)), 5_300, "a new epoch tells nothing by itself");
        follower.observe_at(Version::new(8, 2), told(2, 60), after(3_600_000));
        assert_eq!(follower.cell_at(after(3_600_001)), 61, "a sync site that has just been started");
    }

    /// S17: what one sync site tells is believed at its highest: a commit that is seen late takes no time away.
    #[test]
    fn a_commit_that_is_seen_late_takes_no_time_away() {
        let (follower, after) = clock(SystemClock.now().moment);
        follower.observe_at(Version::new(7, 2), told(1, 1_000), after(0));
        follower.observe_at(Version::new(7, 3), told(2, 1_100), after(100));
        follower.observe_at(Version::new(7, 4), told(3, 1_200), after(6_200));
        assert_eq!(follower.cell_at(after(6_200)), 7_200);
        follower.observe_at(Version::new(7, 5), told(4, 9_000), after(6_300));
        assert_eq!(follower.cell_at(after(6_300)), 9_000);
    }

    /// S17: what is first seen in an epoch may be told by the sync site before; nothing is concluded from it about this one's.
    #[test]
    fn what_the_last_sync_site_told_is_not_held_against_the_next() {
        let (follower, after) = clock(SystemClock.now().moment);
        follower.observe_at(Version::new(7, 2), told(1, 1_000), after(0));
        follower.observe_at(Version::new(8, 1), told(2, 1_500), after(500));
        follower.observe_at(Version::new(8, 2), told(3, 200), after(900));
        assert_eq!(follower.cell_at(after(900)), 200);
    }

    /// S17: the time that a commit takes is not lost to the sync site's clock, but its time in office is over with its epoch.
    #[test]
    fn a_sync_site_does_not_follow_itself() {
        let (clock, after) = clock(SystemClock.now().moment);
        clock.committed(Version::new(7, 2));
        clock.observe_at(Version::new(7, 3), told(1, 100), after(150));
        assert_eq!(clock.cell_at(after(150)), 150);
        clock.observe_at(Version::new(9, 2), told(2, 120), after(160));
        assert_eq!(clock.cell_at(after(160)), 120);
    }
}
