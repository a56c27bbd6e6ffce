//! Timing, and how peers are spoken to.
//!
//! A set of constants that breaks an inequality below could elect two sync sites or serve a stale read; it is refused
//! with the reason. `docs/ubik-protocol.md`, Timing, has the derivation.

use std::time::Duration;
use thiserror::Error;

/// The timing of one cell. Every server of a cell must use the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Time between two beacons (C: POLLTIME).
    pub beacon: Duration,
    /// How long a voter is bound by its yes (C: BIGTIME).
    pub promise: Duration,
    /// How long a yes is good for the one who asked, counted from when it asked (C: SMALLTIME).
    pub mandate: Duration,
    /// How long a follower may read after the yes that a later beacon proved to have arrived.
    pub lease: Duration,
    /// How long the sync site waits for the lease of a server that missed a commit.
    pub lease_wait: Duration,
    /// As `lease_wait`, for the claim that an OpenAFS server was given by another, or before it told its clock: it may
    /// read for 61 s of a wall clock that differs.
    pub foreign_wait: Duration,
    /// After this time without an answer a call has failed (Rx dead time).
    pub call_timeout: Duration,
    /// As `call_timeout`, for the calls of transactions and transfers; a peer that works answers Rx's pings.
    pub disk_timeout: Duration,
    /// Time between two beacons to an OpenAFS server.
    pub foreign_beacon: Duration,
    /// How far before its own clock an OpenAFS follower is told that the round began: the more, the sooner its claim to
    /// read ends after the last beacon (it lasts until 61 s after that beginning).
    pub foreign_start_shift_secs: u32,
    /// Time between two probes of a server that is down.
    pub probe: Duration,
    /// The most by which a clock's rate may differ from real time, in parts per thousand.
    pub drift_per_mille: u32,
    /// A wall-clock difference to a peer above this is reported.
    pub skew_limit: Duration,
    /// So many transactions are of one epoch; the sync site then stands again in a new one.
    pub epoch_commits: u32,
}

/// Why a profile is refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ProfileError {
    /// Two sync sites could hold a mandate at once.
    #[error(
        "I1: mandate {mandate:?} on a slow clock outlasts promise {promise:?} on a fast one; shorten the mandate"
    )]
    MandateOutlastsPromise {
        /// As configured.
        mandate: Duration,
        /// As configured.
        promise: Duration,
    },
    /// A commit could be shown while a follower still reads what was before.
    #[error(
        "I2: lease {lease:?} on a slow clock outlasts lease_wait {wait:?} on a fast one; lengthen lease_wait"
    )]
    LeaseOutlastsWait {
        /// As configured.
        lease: Duration,
        /// As configured.
        wait: Duration,
    },
    /// Followers would lose their lease between two beacons.
    #[error(
        "I3: lease {lease:?} does not span two beacons of {beacon:?} and a call of {call:?}; lengthen the lease"
    )]
    LeaseTooShort {
        /// As configured.
        lease: Duration,
        /// As configured.
        beacon: Duration,
        /// As configured.
        call: Duration,
    },
    /// The sync site would lose its mandate to one lost beacon.
    #[error("I4: mandate {mandate:?} does not span three beacons of {beacon:?}; lengthen the mandate")]
    MandateTooShort {
        /// As configured.
        mandate: Duration,
        /// As configured.
        beacon: Duration,
    },
    /// Calls of one round would still be out when the next begins.
    #[error("I5: call_timeout {call:?} is not below beacon {beacon:?}; shorten it")]
    CallOutlastsBeacon {
        /// As configured.
        call: Duration,
        /// As configured.
        beacon: Duration,
    },
    /// The wire would have no number for a transaction.
    #[error("epoch_commits = {0} is out of range; 2 to {MOST_COMMITS} are possible")]
    EpochCommits(u32),
}

/// Far enough from the last number that the wire has for the transactions that are under way.
const MOST_COMMITS: u32 = i32::MAX as u32 - 1024;

impl Profile {
    /// The timing of OpenAFS: needed whenever a C peer may be in the cell.
    ///
    /// The mandate is two seconds shorter than C's 60, for drift and for C's clock of whole seconds.
    pub fn openafs() -> Self {
        Profile {
            beacon: Duration::from_secs(15),
            promise: Duration::from_secs(75),
            mandate: Duration::from_secs(58),
            lease: Duration::from_secs(45),
            lease_wait: Duration::from_secs(47),
            foreign_wait: Duration::from_secs(62),
            call_timeout: Duration::from_secs(12),
            disk_timeout: Duration::from_secs(4),
            foreign_beacon: Duration::from_secs(1),
            foreign_start_shift_secs: 56,
            probe: Duration::from_secs(30),
            drift_per_mille: 10,
            skew_limit: Duration::from_secs(10),
            epoch_commits: 2_000_000_000,
        }
    }

    /// The stock wire at a twentieth of the time, for cells of our own servers on one network.
    pub fn brisk() -> Self {
        Profile {
            beacon: Duration::from_millis(750),
            promise: Duration::from_millis(3750),
            mandate: Duration::from_millis(3000),
            lease: Duration::from_millis(2500),
            lease_wait: Duration::from_millis(2600),
            foreign_wait: Duration::from_secs(62),
            call_timeout: Duration::from_millis(600),
            disk_timeout: Duration::from_millis(600),
            foreign_beacon: Duration::from_millis(750),
            foreign_start_shift_secs: 56,
            probe: Duration::from_millis(1000),
            drift_per_mille: 10,
            skew_limit: Duration::from_secs(10),
            epoch_commits: 2_000_000_000,
        }
    }

    /// How long an OpenAFS follower may read after it gave the vote from whose time its claim was counted.
    ///
    /// Its claim ends when its own clock, of whole seconds, is 61 s past the start that it was told.
    pub fn foreign_lease(&self) -> Duration {
        let lasts = Duration::from_secs(61_u64.saturating_sub(self.foreign_start_shift_secs.into()));
        lasts * (1000 + 2 * self.drift_per_mille) / 1000
    }

    /// Checks the inequalities I1 to I5.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn check(&self) -> Result<(), ProfileError> {
        let slow = |time: Duration| time * (1000 + self.drift_per_mille);
        let fast = |time: Duration| time * (1000 - self.drift_per_mille.min(999));
        if slow(self.mandate) > fast(self.promise) {
            return Err(ProfileError::MandateOutlastsPromise {
                mandate: self.mandate,
                promise: self.promise,
            });
        }
        if slow(self.lease) > fast(self.lease_wait) {
            return Err(ProfileError::LeaseOutlastsWait { lease: self.lease, wait: self.lease_wait });
        }
        if self.lease <= self.beacon * 2 + self.call_timeout {
            let (lease, beacon, call) = (self.lease, self.beacon, self.call_timeout);
            return Err(ProfileError::LeaseTooShort { lease, beacon, call });
        }
        if self.mandate <= self.beacon * 3 {
            return Err(ProfileError::MandateTooShort { mandate: self.mandate, beacon: self.beacon });
        }
        if !(2..=MOST_COMMITS).contains(&self.epoch_commits) {
            return Err(ProfileError::EpochCommits(self.epoch_commits));
        }
        if self.call_timeout >= self.beacon {
            return Err(ProfileError::CallOutlastsBeacon { call: self.call_timeout, beacon: self.beacon });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// U42: the shipped profiles are safe, and each inequality refuses a set that breaks it.
    #[test]
    fn a_profile_that_breaks_an_inequality_is_refused_with_its_number() {
        let secs = Duration::from_secs;
        Profile::openafs().check().unwrap();
        Profile::brisk().check().unwrap();
        let refused = |change: &dyn Fn(&mut Profile), number: &str| {
            let mut profile = Profile::openafs();
            change(&mut profile);
            let message = profile.check().unwrap_err().to_string();
            assert!(message.starts_with(number), "{message}");
        };
        refused(&|p| p.mandate = secs(74), "I1");
        refused(&|p| p.lease = secs(47), "I2");
        refused(&|p| p.lease = secs(42), "I3");
        refused(&|p| p.mandate = secs(45), "I4");
        refused(&|p| (p.call_timeout, p.lease) = (secs(15), secs(46)), "I5");
        refused(&|p| p.epoch_commits = 1, "epoch_commits");
        refused(&|p| p.epoch_commits = u32::MAX, "epoch_commits");
    }
}
