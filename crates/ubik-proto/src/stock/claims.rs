//! What a beacon says to servers that count their claims to read by a wall clock, and what their votes tell of that clock.
//!
//! //= docs/ubik-protocol.md#mixed-cells

use std::time::Duration;

use crate::cell::Dialect;
use crate::profile::Profile;
use crate::time::{Moment, Now};
use crate::version::Version;

/// A wall clock that is so much farther ahead or behind than at the vote before was set.
const STEP_SECS: i64 = 5;

/// A peer's wall clock, as its votes tell it. By that clock it keeps its promises: while it is being set they are none.
#[derive(Clone, Debug, Default)]
pub(crate) struct ForeignClock {
    /// What it showed when it voted, and when that vote was received.
    told: Option<(i32, Moment)>,
    /// Between which it was ahead of this server's monotonic clock, in seconds, when it voted at most a promise ago, and when
    /// that was.
    ahead: Option<((i64, i64), Moment)>,
    /// It was set: until then its votes count for nothing.
    distrusted_until: Option<Moment>,
}

impl ForeignClock {
    /// A vote in answer to a beacon that was `sent` shows `clock`. It is compared with this server's monotonic clock, so that
    /// setting this one's wall clock means nothing.
    pub(crate) fn note(&mut self, now: Moment, clock: i32, sent: Moment, promise: Duration) {
        let seconds = |moment: Moment| (moment.as_micros() / 1_000_000) as i64;
        let clock_secs = i64::from(clock);
        let ahead = (clock_secs - seconds(now) - 1, clock_secs - seconds(sent) + 1);
        // After a long silence clocks that run at other rates differ too.
        let recent = self.told.is_some_and(|(_, at)| now.since(at) < promise * 2);
        let stepped = |(low, high): (i64, i64)| ahead.0 > high + STEP_SECS || ahead.1 < low - STEP_SECS;
        let was_set = recent && self.ahead.is_some_and(|(before, _)| stepped(before));
        if was_set {
            self.distrusted_until = Some(now + promise);
        }
        // Compared with a reading of some time ago: beacons come every second, and a clock that stands, or an old answer that
        // is given again and again, is off by one second only from the one before.
        let old = self.ahead.is_none_or(|(_, since)| now.since(since) >= promise);
        if old || was_set || !recent {
            self.ahead = Some((ahead, now));
        }
        self.told = Some((clock, now));
    }

    /// What it showed at the last vote.
    pub(crate) fn told(&self) -> Option<i32> {
        self.told.map(|(clock, _)| clock)
    }

    /// Whether its votes count for nothing at `now`.
    pub(crate) fn is_distrusted(&self, now: Moment) -> bool {
        self.distrusted_until.is_some_and(|until| now < until)
    }

    /// How long its server may read by a beacon that leaves now, if that is counted from its own clock.
    pub(crate) fn claim(&self, profile: &Profile) -> Option<Moment> {
        self.told.map(|(_, received)| received + profile.foreign_lease())
    }
}

impl Dialect {
    /// When the round began, as a server is told: by its own clock as it told it, if it counts its lease from there.
    ///
    /// Before it has told it, it is given a start that it would not answer with by chance: a server of ours that was not
    /// named as one answers with the start, and that must not be taken for its clock.
    pub(crate) fn start(self, now: Now, clock: &ForeignClock, profile: &Profile) -> i32 {
        let shift = profile.foreign_start_shift_secs as i32;
        let wall = i32::try_from(now.wall).unwrap_or(0);
        let start = match (self, clock.told()) {
            (Dialect::OpenAfs, Some(clock)) => clock.saturating_sub(shift),
            (Dialect::OpenAfs, None) => wall.saturating_sub(shift / 2),
            (Dialect::Quorate, _) => wall,
        };
        start.max(1)
    }

    /// What is said to a server that may not read: a version that it cannot hold. OpenAFS's servers label a database
    /// that they are receiving 0.0, also when that came to nothing, and would read it if they were told 0.0.
    pub(crate) fn no_version(self, epoch: u32) -> Version {
        match self {
            Dialect::Quorate => Version::NONE,
            Dialect::OpenAfs => Version::new(epoch, 0),
        }
    }

    /// How long a server may read by a beacon that was sent without knowing its clock.
    pub(crate) fn longest_claim(self, profile: &Profile) -> Duration {
        match self {
            Dialect::Quorate => profile.lease_wait,
            Dialect::OpenAfs => profile.foreign_wait,
        }
    }
}
