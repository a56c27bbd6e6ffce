//! Which epoch a candidate proposes.
//!
//! //= docs/ubik-protocol.md#epochs

use super::{Power, Standing};
use crate::cell::{Dialect, ServerId};
use crate::plant::{Fault, planted};
use crate::time::Now;

/// The farthest above the wall clock that refusals alone drive a proposal: 48 days.
const MAX_EPOCH_STEP: u32 = 1 << 22;

/// The same beside OpenAFS's voters, in seconds. Theirs is the wall clock of their election, which is at least a promise (75 s)
/// after ours: an epoch farther ahead would be above that of the next sync site, whose commits would then be lost.
const MAX_MIXED_STEP: u32 = 60;

impl Power {
    /// A refused proposal may have been too low: stand again, farther above the wall clock each time.
    pub(super) fn raise_proposal(&mut self, now: Now) {
        if self.own_vote.is_none() {
            let most = if self.has_foreign_voters() { MAX_MIXED_STEP } else { MAX_EPOCH_STEP };
            self.epoch_step = (self.epoch_step.max(1) * 16).min(most);
            let since = self.stands_since;
            let was_candidate = matches!(self.standing, Standing::Candidate { .. });
            self.stand(now);
            if was_candidate {
                self.stands_since = since;
            }
        }
    }

    /// OpenAFS's voters know no epochs. One of them may have been sync site since this candidate proposed its own, which it
    /// would win with all the same; clones of ours that followed the other would refuse it for the whole mandate. Who was
    /// sync site meanwhile has bound its voters for a promise: a proposal of that age is made anew.
    pub(super) fn renew_old_proposal(&mut self, now: Now) {
        let old = now.moment.since(self.proposed_at) >= self.profile.promise;
        if old && self.has_foreign_voters() && self.own_vote.is_none() {
            self.propose_anew(now);
        }
    }

    fn has_foreign_voters(&self) -> bool {
        let foreign = |id: ServerId| self.cell.server(id).dialect == Dialect::OpenAfs;
        self.cell.voters().iter().any(foreign)
    }

    /// Whether a voter has refused for longer than any promise to another can last.
    pub(super) fn outbid(&mut self) -> bool {
        let patience = self.profile.promise + self.profile.beacon * 2;
        let rounds = patience.as_micros() / self.round().as_micros().max(1);
        // An OpenAFS voter knows no epochs, so its refusals say nothing of them.
        let ours = |id: &ServerId| self.cell.server(*id).dialect == Dialect::Quorate;
        let voters = self.cell.peers().filter(|&id| self.cell.is_voter(id)).filter(ours);
        let refusals = voters.map(|id| self.beaconer.link(id).refusals).max().unwrap_or(0);
        if refusals == 0 && matches!(self.standing, Standing::SyncSite { .. }) {
            self.epoch_step = 0;
        }
        u128::from(refusals) > rounds
    }

    /// An epoch that nobody else can propose, above all that this server has seen, and not below the wall clock.
    ///
    /// //= docs/ubik-protocol.md#epochs
    pub(super) fn propose(&self, now: Now) -> u32 {
        let wall = u32::try_from(now.wall).unwrap_or(0).saturating_add(self.epoch_step);
        let seen = self.voter.max_epoch().max(self.claim.version.epoch).max(1).saturating_add(1);
        let floor =
            if planted(Fault::EpochFromWallClock) { wall } else { wall.max(seen).max(self.epoch_floor) };
        let servers = self.cell.len() as u32;
        let below = floor - floor % servers + self.cell.me().index() as u32;
        let epoch = if below >= floor { below } else { below.saturating_add(servers) };
        epoch.min(i32::MAX as u32)
    }
}
