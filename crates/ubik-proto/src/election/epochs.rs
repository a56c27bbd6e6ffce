//! Which epochs there are, and why they cannot be used up.
//!
//! An epoch is a number of 31 bits on the wire. No clock and no peer can take it far: a wall clock counts up to
//! [`CLOCK_CEILING`] only, and above that a voter agrees to a few epochs more for each promise's time that it runs
//! ([`Allowance`]), which is more than honest elections need and takes decades to reach the end.
//!
//! //= docs/ubik-protocol.md#epochs

use std::time::Duration;

use crate::time::Moment;
use crate::xdr::{Decoder, Encoder};

/// The last epoch that fits the wire.
pub const LAST: u32 = i32::MAX as u32;
/// No server starts with a database or a promise of an epoch above this one: too few are left to be elected in.
pub const LAST_USABLE: u32 = LAST - (1 << 16);
/// The highest epoch that a wall clock proposes, a moment of 2033. Whatever the clock shows later, epochs count on from what
/// was seen.
pub const CLOCK_CEILING: u32 = 2_000_000_000;
/// What a voter agrees to without drawing on its allowance: room for elections above a clock at its ceiling.
const FREE_CEILING: u32 = CLOCK_CEILING + (1 << 20);
/// How far above its own wall clock a voter agrees to an epoch beside OpenAFS's servers, in seconds: their epochs are wall
/// clocks, which must not fall behind, and they take no clock farther off than this for one.
const MIXED_AHEAD: u32 = 3600;

/// The epoch of a wall clock, in seconds since 1970; 0 for what is not a time.
pub fn by_clock(wall: i64) -> u32 {
    wall.clamp(0, i64::from(CLOCK_CEILING)) as u32
}

/// Between which epochs a voter of ours would agree, told with its refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochRange {
    /// Above this one.
    pub above: u32,
    /// Not above this one.
    pub up_to: u32,
}

impl EpochRange {
    /// The bytes in which one of ours tells it to another.
    pub fn encode(self) -> Vec<u8> {
        let mut xdr = Encoder::default();
        xdr.u32(self.above).u32(self.up_to);
        xdr.finish()
    }

    /// Reads them; `None` for the empty refusal of OpenAFS's servers, and for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut xdr = Decoder::new(bytes);
        let range = EpochRange { above: xdr.unsigned("above").ok()?, up_to: xdr.unsigned("up to").ok()? };
        (bytes.len() == 8).then_some(range)
    }
}

/// How far above what it has agreed to a voter lets others take it, by the time that it has run.
#[derive(Clone, Debug)]
pub(crate) struct Allowance {
    started: Moment,
    /// What accrues in each `period`.
    step: u32,
    period: Duration,
    used: u64,
}

impl Allowance {
    /// That of a voter in a cell of `servers`, which starts at `started` and promises for `promise`.
    pub(crate) fn new(servers: usize, promise: Duration, started: Moment) -> Self {
        Allowance { started, step: 2 * servers as u32, period: promise, used: 0 }
    }

    fn left(&self, now: Moment) -> u32 {
        let periods = now.since(self.started).as_micros() / self.period.as_micros().max(1) + 1;
        let accrued = u64::try_from(periods).unwrap_or(u64::MAX).saturating_mul(self.step.into());
        u32::try_from(accrued.saturating_sub(self.used)).unwrap_or(u32::MAX)
    }

    /// The highest epoch to agree to, having agreed to `known`; `mixed_wall` is the wall clock in a cell with OpenAFS's voters.
    pub(crate) fn limit(&self, now: Moment, known: u32, mixed_wall: Option<i64>) -> u32 {
        let free = mixed_wall.map_or(FREE_CEILING, |wall| by_clock(wall) + MIXED_AHEAD);
        known.max(free).saturating_add(self.left(now)).min(LAST)
    }

    /// Notes that `epoch` was agreed to after `known`.
    pub(crate) fn agree(&mut self, known: u32, epoch: u32, mixed_wall: Option<i64>) {
        let free = mixed_wall.map_or(FREE_CEILING, |wall| by_clock(wall) + MIXED_AHEAD);
        self.used += u64::from(epoch.saturating_sub(known.max(free)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// U48: a voter that is asked forever more, as often as anybody likes, has not reached the end after ten years.
    #[test]
    fn nobody_can_use_the_epochs_up() {
        let mut allowance = Allowance::new(3, Duration::from_secs(75), Moment::START);
        let mut known = 1_800_000_000;
        for day in 0..3650 {
            let now = Moment::from_micros(day * 86_400 * 1_000_000);
            let limit = allowance.limit(now, known, None);
            allowance.agree(known, limit, None);
            known = limit;
            assert_eq!(allowance.limit(now, known, None), known, "nothing more that day");
        }
        assert!(known > CLOCK_CEILING && known < CLOCK_CEILING + 30_000_000, "{known}");
    }

    #[test]
    fn a_range_is_read_back_and_nothing_else() {
        let range = EpochRange { above: 7, up_to: 1000 };
        assert_eq!(EpochRange::decode(&range.encode()), Some(range));
        for wrong in [&[][..], &range.encode()[..7], &[range.encode(), vec![0]].concat(), &[255; 8]] {
            assert_eq!(EpochRange::decode(wrong), None);
        }
    }
}
