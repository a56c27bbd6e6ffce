//! Whose turn it is to stand, how often it asks, and whose place it takes.
//!
//! //= docs/ubik-protocol.md#election

use std::time::Duration;

use super::{Election, Standing};
use crate::cell::ServerId;
use crate::time::Moment;

impl Election {
    /// The server whose place this one takes, if it is certain that no other sync site has let it read since.
    ///
    /// //= docs/ubik-protocol.md#obligation
    pub(super) fn silent_predecessor(&self, now: Moment) -> Option<ServerId> {
        let (host, reigned) = self.predecessor?;
        let drift = self.profile.drift_per_mille;
        let soon = now.since(reigned) * (1000 + drift) < self.profile.promise * 2 * (1000 - drift);
        (soon && self.cell.voters().len() <= 3).then_some(host)
    }

    /// Whether this server may ever be sync site.
    pub fn is_eligible(&self) -> bool {
        self.cell.stands() && self.cell.is_voter(self.cell.me())
    }

    pub(super) fn may_stand(&self, now: Moment) -> bool {
        self.is_eligible() && (self.alone() || self.voter.free_to_stand(now))
    }

    pub(super) fn alone(&self) -> bool {
        self.cell.voters().len() == 1
    }

    /// When the own promise is over and it is this server's turn.
    pub(super) fn may_stand_at(&self) -> Moment {
        let to_self = self.voter.promised_to() == Some(self.cell.me());
        let free = if to_self { Moment::START } else { self.voter.promised_until() };
        free + self.stagger()
    }

    /// Time between two rounds. A candidate asks more often: a voter may become free a little after it was asked.
    pub(super) fn round(&self) -> Duration {
        match self.standing {
            Standing::Candidate { .. } => self.profile.beacon / 4,
            _ => self.profile.beacon,
        }
    }

    /// How much later than it could this server stands, so that one candidate asks before the next: the higher its
    /// address among those that may stand now, the longer. Whoever has its promise is silent. The first waits a little
    /// too, since others may have said yes to the same beacon a little later.
    pub(super) fn stagger(&self) -> Duration {
        let silent = self.voter.promised_to();
        let me = self.cell.me();
        let before = self.cell.voters().iter().filter(|&id| id < me && Some(id) != silent).count();
        self.profile.beacon / 12 + self.profile.beacon / 4 * before as u32
    }
}
