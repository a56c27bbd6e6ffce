//! Readings of clocks, as arguments.
//!
//! [`Moment`] is what promises, mandates and leases are counted in: one process's own monotonic clock, never compared
//! with another's. The wall clock appears in one place only, as a lower bound for new epochs and to measure skew.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A reading of this process's monotonic clock, in microseconds since an origin of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// Before every other reading.
    pub const START: Moment = Moment(0);

    /// The reading `micros` microseconds after the origin.
    pub const fn from_micros(micros: u64) -> Self {
        Moment(micros)
    }

    /// Microseconds since the origin.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;
    fn add(self, length: Duration) -> Moment {
        Moment(self.0.saturating_add(u64::try_from(length.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Moment {
    type Output = Moment;
    fn sub(self, length: Duration) -> Moment {
        Moment(self.0.saturating_sub(u64::try_from(length.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock: everything that must be right is counted on it.
    pub moment: Moment,
    /// The wall clock, in seconds since 1970: trusted for nothing.
    pub wall: i64,
}
