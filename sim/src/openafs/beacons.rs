//! C's rounds of beacons: every fifteen seconds, side by side, its own vote at the end.

use ubik_proto::cell::ServerId;
use ubik_proto::election::beacon::VoteReply;
use ubik_proto::messages::Beacon;

use super::{Act, POLLTIME, Peer, SMALLTIME, Wake};

/// The round under way.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// When it began.
    start: i64,
    /// Which beacons are not answered yet.
    awaited: Vec<(u64, ServerId)>,
    /// Twice the votes, and one for the lowest address.
    weight: usize,
    oldest_yes: i64,
}

impl Peer {
    pub(super) fn begin_round(&mut self, now: i64) -> Vec<Act> {
        let mut acts = vec![Act::Wake(POLLTIME, Wake::Beacons)];
        if self.am_sync_site && now > self.sync_site_until {
            self.reset();
        }
        if !self.votes.should_run(&self.cell, now) {
            return acts;
        }
        self.round = Round { start: now, awaited: Vec::new(), weight: 0, oldest_yes: i64::MAX };
        let beacon = self.beacon(now);
        for to in self.cell.peers() {
            if self.links[to.index()].up {
                self.next_number += 1;
                self.links[to.index()].last_beacon_sent = now;
                self.round.awaited.push((self.next_number, to));
                let (number, series) = (self.next_number, self.links[to.index()].series);
                acts.push(Act::Beacon { to, number, series, beacon });
            }
        }
        if self.round.awaited.is_empty() {
            self.end_round(now);
        }
        acts
    }

    fn beacon(&self, now: i64) -> Beacon {
        Beacon {
            claims_sync_site: self.is_sync_site(now),
            start: now as i32,
            version: self.disk.label,
            transaction: self.beacon_transaction(),
        }
    }

    /// A beacon was answered, or was not.
    pub fn on_vote(&mut self, now: i64, from: ServerId, number: u64, reply: VoteReply) -> Vec<Act> {
        let awaited = self.round.awaited.len();
        self.round.awaited.retain(|&(waiting, _)| waiting != number);
        if self.round.awaited.len() == awaited {
            return Vec::new();
        }
        let link = &mut self.links[from.index()];
        match reply {
            VoteReply::Yes(clock) if (i64::from(clock) - now).abs() <= 3600 => {
                link.last_vote = true;
                link.beacon_since_down = true;
                self.count(from, i64::from(clock));
            }
            VoteReply::No(_) => {
                link.last_vote = false;
                link.beacon_since_down = true;
            }
            _ => self.lost_server(now, from),
        }
        if self.round.awaited.is_empty() {
            self.end_round(now);
        }
        Vec::new()
    }

    fn count(&mut self, voter: ServerId, clock: i64) {
        self.round.oldest_yes = self.round.oldest_yes.min(clock);
        let voters = self.cell.voters();
        if voters.contains(voter) {
            let lowest = voters.iter().next() == Some(voter);
            self.round.weight += 2 + usize::from(lowest);
        }
    }

    fn end_round(&mut self, now: i64) {
        let me = self.cell.me();
        let own = Beacon { start: self.round.start as i32, ..self.beacon(now) };
        if self.votes.decide(&self.cell, now, me, &own) {
            self.count(me, now);
        }
        if self.round.weight > self.cell.voters().len() {
            self.sync_site_until = self.round.oldest_yes + SMALLTIME;
            self.advertised = self.am_sync_site;
            if !self.am_sync_site {
                self.am_sync_site = true;
                self.epoch_time = now;
                self.transaction_counter = 0;
                self.recovery.reset();
            }
        } else {
            self.reset();
        }
    }

    /// A server that was down was probed.
    pub fn on_probe(&mut self, now: i64, peer: ServerId, answered: bool) {
        let link = &mut self.links[peer.index()];
        if answered && !link.up {
            link.up = true;
            link.series += 1;
            link.beacon_since_down = false;
            link.current = false;
            self.recovery.look_again();
        } else if !link.up {
            link.next_probe = now + 30;
        }
    }
}
