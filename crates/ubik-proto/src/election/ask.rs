//! What a candidate and a sync site ask of the others: beacons, probes, and last its own vote.
//!
//! //= docs/ubik-protocol.md#election

use super::beacon::Flight;
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

    pub(super) fn send_wanted(&mut self, now: Now, commands: &mut Vec<Command>) {
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
                let (dialect, clock) = (self.cell.server(to).dialect, &self.beaconer.link(to).clock);
                let start = dialect.start(now, clock, &self.profile);
                let relabelling = self.claim.relabelling.filter(|(_, takers)| takers.contains(to));
                let in_step = self.claim.in_step.contains(to).then_some(self.claim.version);
                let granted = relabelling.map(|(before, _)| before).or(in_step);
                let version =
                    granted.filter(|version| version.counter > 0).unwrap_or(dialect.no_version(epoch));
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

    /// A peer's yes shows its clock, unless it is the beacon's own start.
    pub(super) fn note_clock(
        &mut self,
        now: Now,
        from: ServerId,
        clock: i32,
        flight: &Flight,
        commands: &mut Vec<Command>,
    ) {
        if self.cell.server(from).dialect.keeps_epochs() || flight.start == clock {
            return;
        }
        let promise = self.profile.promise;
        self.beaconer.link_mut(from).clock.note(now.moment, clock, flight.sent, promise);
        commands.push(Command::Clock { of: from, ahead_secs: i64::from(clock) - now.wall });
    }

    /// The beacons of servers without epochs, and those of a sync site of ours, name their sender's clock.
    pub(super) fn note_caller_clock(
        &self,
        now: Now,
        from: ServerId,
        beacon: &Beacon,
        commands: &mut Vec<Command>,
    ) {
        if !self.cell.server(from).dialect.keeps_epochs() || beacon.claims_sync_site {
            commands.push(Command::Clock { of: from, ahead_secs: i64::from(beacon.start) - now.wall });
        }
    }

    /// A server without epochs believes the last beacon over its own commit: whoever was told the version before one is told
    /// again.
    pub(super) fn correct_versions(&mut self, now: Now, commands: &mut Vec<Command>) {
        let mut any = false;
        for to in self.cell.foreign_peers().iter() {
            let link = self.beaconer.link_mut(to);
            let wrong = std::mem::take(&mut link.told_old_version);
            link.wanted |= wrong;
            any |= wrong;
        }
        if any {
            self.send_wanted(now, commands);
        }
    }

    /// Sends `peer` a beacon now, or when the one under way is answered.
    pub fn tell_again(&mut self, now: Now, peer: ServerId) -> Vec<Command> {
        let mut commands = Vec::new();
        if self.holds_mandate(now.moment) {
            self.beaconer.link_mut(peer).wanted = true;
            self.send_wanted(now, &mut commands);
        }
        commands
    }

    /// When the next beacon to `peer` is due if its claims are kept short: then beacons come often.
    pub(super) fn short_claim_due(&self, peer: ServerId) -> Option<Moment> {
        let link = self.beaconer.link(peer);
        let short = !self.cell.server(peer).dialect.keeps_epochs();
        let speaks = self.standing != Standing::Follower && short && link.up && link.flight.is_none();
        speaks.then(|| link.last_sent.map_or(Moment::START, |sent| sent + self.profile.foreign_beacon))
    }

    pub(super) fn renew_short_claims(&mut self, now: Now, commands: &mut Vec<Command>) {
        let is_due = |&id: &ServerId| self.short_claim_due(id).is_some_and(|at| at <= now.moment);
        let due: Vec<ServerId> = self.cell.peers().filter(is_due).collect();
        for &to in &due {
            self.beaconer.link_mut(to).wanted = true;
        }
        if !due.is_empty() {
            self.send_wanted(now, commands);
        }
    }
}
