//! What OpenAFS's servers need and ours do not: the core asks here, and of a dialect only whether it [keeps
//! epochs](Dialect::keeps_epochs).
//!
//! * `encoding`: the bytes of the calls; `dialogue`: those of a transaction in their order. Ours speak these to each other too;
//! * `claims`: beacons to servers that count their claims to read by a wall clock;
//! * `beginners`, `unbound`: followers that refuse to begin a transaction, and such as answer clients before they have voted;
//! * [`debug`]: what `udebug` asks.

mod beginners;
mod claims;
pub mod debug;
mod dialogue;
mod encoding;
mod unbound;

use crate::cell::Dialect;
use crate::plant::{Fault, planted};
use crate::version::Version;

pub(crate) use self::beginners::{Beginners, Due};
pub(crate) use self::claims::ForeignClock;
pub(crate) use self::dialogue::Dialogue;
pub(crate) use self::unbound::Unbound;

impl Dialect {
    /// Whether a server agrees to epochs, names in each call the one that it was elected in, and commits a label of its own
    /// before it serves.
    pub fn keeps_epochs(self) -> bool {
        self == Dialect::Quorate
    }

    /// Whether a server that holds `own` must not begin a transaction of a sync site whose last beacon `named` a version.
    ///
    /// A commit of OpenAFS's names no version, so a server that missed one would count on from another copy. Nothing but
    /// the sync site's memory of who is in step stands against that; what its last beacon named is another witness. An
    /// older name proves nothing: the beacon may have left before a commit that has come since.
    ///
    /// //= docs/ubik-protocol.md#mixed-cells
    pub(crate) fn leaves_behind(self, named: Option<Version>, own: Version) -> bool {
        let behind = named.is_some_and(|named| named > own);
        !self.keeps_epochs() && behind && !planted(Fault::BegunBehind)
    }
}
