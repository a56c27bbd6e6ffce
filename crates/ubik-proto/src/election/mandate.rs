//! Whether this server may act as sync site: as long as the votes at hand are good.
//!
//! //= docs/ubik-protocol.md#mandate

use super::{Claim, Command, Election, Event, Standing};
use crate::cell::ServerId;
use crate::plant::{Fault, planted};
use crate::time::Moment;

/// Why a server gives a mandate up that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resignation {
    /// It is about to end.
    Stopping,
    /// Its disk failed.
    DiskFailed,
    /// It needs a higher epoch, and stands again at once.
    HigherEpoch,
}

impl Election {
    pub(super) fn check_mandate(&mut self, now: Moment, commands: &mut Vec<Command>) {
        if let Standing::SyncSite { epoch } = self.standing
            && !self.holds_mandate(now)
        {
            self.step_down(epoch, None, commands);
            self.next_round = now + self.stagger();
        }
    }

    /// Stops at once, beacons too; the own promise lasts from the last of them.
    pub(super) fn step_down(&mut self, epoch: u32, why: Option<Resignation>, commands: &mut Vec<Command>) {
        self.resigned = why;
        self.standing = Standing::Follower;
        self.claim = Claim::default();
        commands.push(Command::Notify(Event::SteppedDown { epoch }));
    }

    pub(super) fn renew_mandate(&mut self) {
        if let (Standing::SyncSite { .. }, Some(end)) = (self.standing, self.mandate_end()) {
            self.voter.bind_self(end);
        }
    }

    /// Why this server gave its last mandate up; `None` if it has had none, or lost it.
    pub fn resigned(&self) -> Option<Resignation> {
        self.resigned
    }

    /// Until when the votes at hand are good.
    pub fn mandate_end(&self) -> Option<Moment> {
        let length =
            if planted(Fault::MandateTooLong) { self.profile.promise * 5 / 4 } else { self.profile.mandate };
        self.beaconer.votes_proven().map(|sent| sent + length)
    }

    /// Whether this server is sync site at `now`.
    pub fn holds_mandate(&self, now: Moment) -> bool {
        matches!(self.standing, Standing::SyncSite { .. }) && self.mandate_end().is_some_and(|end| now < end)
    }

    /// Whether `peer` answered the last beacon of this epoch with yes and is up.
    pub fn has_vote_of(&self, peer: ServerId) -> bool {
        let link = self.beaconer.link(peer);
        link.up && link.yes_sent.is_some()
    }

    /// The sync site as this server knows it: itself, or whom it told yes within a mandate's time.
    pub fn sync_site(&self, now: Moment) -> Option<ServerId> {
        if self.holds_mandate(now) {
            return Some(self.cell.me());
        }
        let following = self.voter.following()?;
        let recent = now.since(following.last_yes) < self.profile.mandate;
        (following.claims_sync_site && recent).then_some(following.host)
    }

    /// A candidate that wins no quorum lets its voters go: another may reach what it cannot.
    pub(super) fn rest(&mut self, now: Moment) {
        self.standing = Standing::Follower;
        self.own_vote = None;
        self.next_round = now + self.profile.promise + self.stagger();
    }
}
