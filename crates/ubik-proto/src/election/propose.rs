//! Which epoch a candidate proposes.
//!
//! //= docs/ubik-protocol.md#epochs

use super::{Election, Standing};
use crate::election::epochs::{self, EpochRange, LAST};
use crate::plant::{Fault, planted};
use crate::time::Now;

/// How far above the wall clock refusals drive a proposal beside OpenAFS's voters, in seconds. Theirs is the wall clock of their
/// election, which is at least a promise (75 s) after ours: an epoch farther ahead would be above that of the next sync site,
/// whose commits would then be lost.
const MAX_MIXED_STEP: u32 = 60;

impl Election {
    pub(super) fn stand(&mut self, now: Now) {
        self.propose_anew(now);
        self.stands_since = now.moment;
        self.beaconer.forget_refusals();
    }

    pub(super) fn propose_anew(&mut self, now: Now) {
        let epoch = self.propose(now);
        self.standing = Standing::Candidate { epoch };
        self.proposed_at = now.moment;
        self.own_vote = None;
        self.beaconer.forget_votes();
    }

    /// Voters of ours have agreed to more than what was proposed: propose above that, as they said.
    pub(super) fn raise_proposal(&mut self, now: Now) {
        if self.own_vote.is_none() {
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
        if old && self.cell.has_foreign_voters() && self.own_vote.is_none() {
            self.propose_anew(now);
        }
    }

    /// What voters of ours said when they refused.
    fn told(&self) -> impl Iterator<Item = EpochRange> + '_ {
        self.cell.peers().filter(|&id| self.cell.is_voter(id)).filter_map(|id| self.beaconer.link(id).told)
    }

    /// Whether a voter will not agree to the epoch at hand, and to another one it would. A sync site waits for longer than
    /// any promise to another can last before it takes that seriously: it has its quorum.
    pub(super) fn outbid(&self, now: Now) -> bool {
        let Some(epoch) = self.epoch() else { return false };
        let refused = |range: EpochRange| range.above >= epoch || range.up_to < epoch;
        if let Standing::SyncSite { .. } = self.standing {
            let patience = self.profile.promise + self.profile.beacon * 2;
            let rounds = patience.as_micros() / self.round().as_micros().max(1);
            let voters = self.cell.peers().filter(|&id| self.cell.is_voter(id));
            let mut links = voters.map(|id| self.beaconer.link(id));
            return links.any(|link| u128::from(link.refusals) > rounds && link.told.is_some_and(refused));
        }
        self.told().any(refused) && self.propose(now) != epoch
    }

    /// An epoch that nobody else can propose, above all that this server has seen, and not below the wall clock as far as
    /// clocks count.
    ///
    /// //= docs/ubik-protocol.md#epochs
    pub(super) fn propose(&self, now: Now) -> u32 {
        let servers = self.cell.len() as u32;
        let bounded = !planted(Fault::EpochsUnbounded);
        // A clock that is ahead of everybody's is not worth a refusal.
        let most = self.told().map(|range| range.up_to.saturating_sub(servers)).min().unwrap_or(LAST);
        let wall = if bounded {
            epochs::by_clock(now.wall).min(most)
        } else {
            now.wall.clamp(0, LAST.into()) as u32
        };
        let seen = self.voter.max_epoch().max(self.claim.version.epoch).max(1).saturating_add(1);
        let believed = match self.cell.has_foreign_voters() {
            true => wall.saturating_add(MAX_MIXED_STEP),
            false => self.voter.highest_agreeable(now),
        };
        let told = self.told().map(|range| range.above.min(believed).saturating_add(1)).max().unwrap_or(0);
        let known = seen.max(self.epoch_floor).max(told);
        let floor = if planted(Fault::EpochFromWallClock) { wall } else { wall.max(known) };
        let below = floor - floor % servers + self.cell.me().index() as u32;
        let epoch = if below >= floor { below } else { below.saturating_add(servers) };
        epoch.min(LAST)
    }
}
