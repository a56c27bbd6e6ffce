//! What a follower may read by itself, and until when.
//!
//! //= docs/ubik-protocol.md#lease

use std::time::Duration;

use super::vote::Voter;
use crate::cell::ServerId;
use crate::plant::{Fault, planted};
use crate::time::Moment;
use crate::version::Version;

impl Voter {
    /// The version this follower may read at `now` without asking, if it holds it.
    ///
    /// //= docs/ubik-protocol.md#lease
    pub fn may_read(&self, now: Moment) -> Option<Version> {
        let following = self.following.as_ref()?;
        let from = if planted(Fault::LeaseFromReceipt) { following.last_yes } else { following.proven_yes? };
        let established = following.version.epoch == following.epoch || !following.dialect.keeps_epochs();
        let granted = following.claims_sync_site && following.version != Version::NONE && established;
        (granted && now < from + self.profile.lease).then_some(following.version)
    }

    /// How long the lease lasts from `now`, if there is one.
    pub fn lease_left(&self, now: Moment) -> Option<Duration> {
        self.may_read(now)?;
        let from = self.following.as_ref()?.proven_yes?;
        Some((from + self.profile.lease).since(now))
    }

    /// A call of the followed sync site moved this server's database from `old` to `new`; what it vouched for follows.
    pub fn version_moved(&mut self, old: Version, new: Version) {
        if let Some(following) = &mut self.following
            && following.version == old
        {
            following.version = new;
        }
    }

    /// The sync site that this server told yes last, and a moment at which it cannot have been unseated yet: it has sent
    /// a beacon since.
    pub fn last_sync_site(&self) -> Option<(ServerId, Moment)> {
        let following = self.following.as_ref().filter(|following| following.claims_sync_site)?;
        following.proven_yes.map(|at| (following.host, at))
    }
}
