//! The planted faults, and within how many seeds each must be found.
//!
//! A property that no fault breaks proves little; so each rule that the argument in `docs/ubik-protocol.md` leans on is left
//! out once, and some run must notice.

use ubik_proto::plant::{Fault, plant};

use crate::scenario::{Course, Scenario, Wish};
use crate::world::{Violation, World};

/// A fault, the runs that are to find it, and how soon.
#[derive(Clone, Copy, Debug)]
pub struct Planted {
    /// Which.
    pub fault: Fault,
    /// What the runs are about; any if none.
    pub course: Option<Course>,
    /// Found within so many seeds, counted from 0.
    pub within: u64,
}

const fn any(fault: Fault, within: u64) -> Planted {
    Planted { fault, course: None, within }
}

const fn in_course(fault: Fault, course: Course, within: u64) -> Planted {
    Planted { fault, course: Some(course), within }
}

/// The faults that the simulator finds.
pub const ALL: [Planted; 28] = [
    any(Fault::PromiseIgnored, 20),
    any(Fault::PromiseForgotten, 300),
    any(Fault::VersionsOfTheUnbound, 300),
    any(Fault::MandateTooLong, 20),
    any(Fault::EpochFromWallClock, 400),
    any(Fault::LeasesNotAwaited, 20),
    any(Fault::OlderLeasesIgnored, 400),
    any(Fault::LeaseFromReceipt, 2000),
    any(Fault::ShownBeforeQuorum, 20),
    any(Fault::FollowerShowsPending, 20),
    any(Fault::NoRelabel, 300),
    any(Fault::OwnCopyOnly, 20),
    in_course(Fault::EmptyCopyCounts, Course::LostDisk, 20),
    in_course(Fault::NoFence, Course::WildClocks, 2000),
    any(Fault::FailedTakerKept, 20),
    any(Fault::UndecidedCalledFailed, 300),
    any(Fault::OlderDatabaseTaken, 200),
    any(Fault::LogNotSynced, 20),
    any(Fault::RenewalsBindNobody, 20),
    any(Fault::PromiseNotSaved, 1000),
    any(Fault::RenewalNotAwaited, 1000),
    any(Fault::GrantsForgotten, 20),
    any(Fault::TakersOutOfStep, 100),
    any(Fault::OldDatabaseDropped, 2000),
    any(Fault::OwnPromiseFreed, 60),
    any(Fault::EpochsUnbounded, 300),
    any(Fault::DependentsKept, 300),
    any(Fault::OwnLogAssumed, 300),
];

/// Faults that thousands of runs did not find, most since other rules stand behind the one left out. Each has a test of its own:
/// `vote.rs::an_epoch_is_agreed_to_with_one_server_only`, `server_state.rs::a_remote_lock_keeps_no_reader`, `cells.rs::a_follower_that_is_behind_what_a_beacon_named_begins_nothing`,
/// `election.rs::a_sync_site_without_votes_stops_and_stays_bound`.
/// `server_state.rs::who_asks_for_the_version_hears_of_work_under_way`, `database.rs::one_database_is_received_at_a_time`,
/// `cells.rs::a_follower_that_starts_again_at_once_reads_nothing_old`.
pub const BACKED: [Fault; 7] = [
    Fault::OldEpochAccepted,
    Fault::ReadsBehind,
    Fault::BegunBehind,
    Fault::OwnPromiseShort,
    Fault::VersionToldEarly,
    Fault::TransfersMixed,
    Fault::RepeatedYesCounts,
];

impl Planted {
    /// Plants it in this thread and looks for it; takes it out again.
    pub fn find(&self) -> Option<(u64, Violation)> {
        plant(Some(self.fault));
        let wish = Wish { course: self.course, ..Wish::default() };
        let found = (0..self.within).find_map(|seed| {
            let violation = World::new(Scenario::drawn(seed, wish), seed).run()?;
            Some((seed, violation))
        });
        plant(None);
        found
    }
}
