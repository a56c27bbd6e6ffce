//! What a candidate and a sync site ask of the others: beacons, probes, and last its own vote.
//!
//! //= docs/ubik-protocol.md#election

use super::{Command, Election, Standing};
use crate::cell::ServerId;
use crate::messages::Beacon;
use crate::plant::{Fault, planted};
use crate::time::{Moment, Now};
use crate::version::{TransactionId, Version};

impl Election {
    /// Sends a beacon to everybody now.
    pub(super) fn kick(&mut self, now: Now, commands: &mut Vec<Command>) {
        for to in self.cell.peers() {
            self.beaconer.link_mut(to).wanted = true;
        }
        self.send_wanted(now, commands);
    }

    pub(crate) fn send_wanted(&mut self, now: Now, commands: &mut Vec<Command>) {
        for to in self.cell.peers() {
            let link = self.beaconer.link(to);
            if !link.wanted || !link.up || link.flight.is_some() {
                continue;
            }
            let Some((epoch, beacon)) = self.beacon_for(now, to) else {
                continue;
            };
            if self.claim.deciding {
                self.beaconer.link_mut(to).told_old_version = true;
            }
            let number = self.beaconer.sent(now.moment, to, epoch, &beacon);
            if beacon.claims_sync_site && !planted(Fault::OwnPromiseShort) {
                self.voter.bind_self(now.moment + self.profile.promise);
            }
            let series = self.beaconer.link(to).series;
            commands.push(Command::Beacon { to, series, number, beacon });
        }
    }

    /// What `to` is told now, if this server has anything to say.
    pub(super) fn beacon_for(&self, now: Now, to: ServerId) -> Option<(u32, Beacon)> {
        let transaction = |epoch| TransactionId { epoch, counter: self.claim.transaction };
        match self.standing {
            Standing::Follower => None,
            Standing::Candidate { epoch } => {
                let start = i32::try_from(epoch).expect("propose stays within i32");
                let beacon = Beacon {
                    claims_sync_site: false,
                    start,
                    version: Version::NONE,
                    transaction: transaction(0),
                };
                Some((epoch, beacon))
            }
            Standing::SyncSite { epoch } => {
                let start = self.start_for(now, to);
                let relabelling = self.claim.relabelling.filter(|(_, takers)| takers.contains(to));
                let in_step = self.claim.in_step.contains(to).then_some(self.claim.version);
                let granted = relabelling.map(|(before, _)| before).or(in_step);
                let version =
                    granted.filter(|version| version.counter > 0).unwrap_or(self.no_version_for(to, epoch));
                Some((
                    epoch,
                    Beacon { claims_sync_site: true, start, version, transaction: transaction(epoch) },
                ))
            }
        }
    }

    /// Votes for itself, last, and only if that decides (`docs/ubik-protocol.md`, Election).
    pub(super) fn try_own_vote(&mut self, now: Now, commands: &mut Vec<Command>) {
        let Standing::Candidate { epoch } = self.standing else {
            return;
        };
        let proven = self.mandate_end().is_some_and(|end| now.moment < end);
        if self.own_vote.is_none() && proven && self.voter.free_for_self(now.moment, epoch) {
            self.own_vote = Some(epoch);
            self.predecessor = self.voter.last_sync_site();
            commands.push(Command::PersistOwnVote(self.voter.vote_for_self(now.moment, epoch)));
        }
    }

    pub(super) fn probe(&mut self, now: Moment, commands: &mut Vec<Command>) {
        let interval = self.profile.probe;
        for to in self.cell.peers() {
            let link = self.beaconer.link_mut(to);
            if !link.up && now >= link.next_probe {
                link.next_probe = now + interval;
                commands.push(Command::Probe { to });
            }
        }
    }
}
