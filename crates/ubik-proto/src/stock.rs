//! What OpenAFS's servers need and ours do not: the core asks here, and of a dialect only whether it [keeps
//! epochs](Dialect::keeps_epochs).
//!
//! * `encoding`: the bytes of the calls; `dialogue`: those of a transaction in their order. Ours speak these to each other too;
//! * `claims`: beacons to servers that count their claims to read by a wall clock;
//! * `callers`, `beginners`, `unbound`: sync sites whose commits name no version, followers that refuse to begin, and such as
//!   answer clients before they have voted;
//! * [`debug`]: what `udebug` asks.

mod beginners;
mod callers;
mod claims;
pub mod debug;
mod dialogue;
mod encoding;
mod unbound;

use std::time::Duration;

use crate::cell::Dialect;
use crate::profile::Profile;

pub(crate) use self::beginners::Beginner;
pub(crate) use self::dialogue::Dialogue;

impl Dialect {
    /// Whether a server agrees to epochs, names in each call the one that it was elected in, and commits a label of its own
    /// before it serves.
    pub fn keeps_epochs(self) -> bool {
        self == Dialect::Quorate
    }

    /// How long a server may read by a beacon that was sent without knowing its clock.
    pub(crate) fn longest_claim(self, profile: &Profile) -> Duration {
        match self {
            Dialect::Quorate => profile.lease_wait,
            Dialect::OpenAfs => profile.foreign_wait,
        }
    }
}
