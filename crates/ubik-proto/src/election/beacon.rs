//! The beaconer: what this server knows of each peer's votes and liveness, as candidate and as sync site.
//!
//! It keeps one [`Link`] a peer. Times here are this process's own monotonic clock: when a beacon was *sent* that the
//! peer then answered with yes (the mandate counts from there), and when a beacon was sent that lets the peer read
//! (its lease cannot outlast that by more than `lease_wait`).

use std::time::Duration;

use crate::cell::{Cell, ServerId};
use crate::election::epochs::EpochRange;
use crate::messages::Beacon;
use crate::plant::{Fault, planted};
use crate::profile::Profile;
use crate::quorum::Quorum;
use crate::stock::ForeignClock;
use crate::time::Moment;

/// How a beacon was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteReply {
    /// Yes; the value is the voter's clock (C) or the beacon's own start (ours).
    Yes(i32),
    /// No; one of ours says between which epochs it would agree.
    No(Option<EpochRange>),
    /// Not at all.
    Failed,
}

/// A beacon that is on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    pub(super) number: u64,
    pub(super) sent: Moment,
    epoch: u32,
    granting: bool,
    /// The start that it names.
    pub(super) start: i32,
}

/// One peer, as the beaconer sees it.
#[derive(Clone, Debug)]
pub struct Link {
    /// Whether it answered last time.
    pub up: bool,
    /// The connection that beacons go out on; a new one after every failure.
    pub series: u64,
    /// When the last beacon was sent.
    pub last_sent: Option<Moment>,
    /// Whether its last answer was yes.
    pub last_vote: bool,
    pub(super) flight: Option<Flight>,
    /// A beacon is wanted as soon as the one under way is answered.
    pub(super) wanted: bool,
    pub(super) next_probe: Moment,
    /// When the last beacon of this epoch was sent that it answered with yes.
    pub(super) yes_sent: Option<Moment>,
    /// Until when the last beacon that lets it read may do so.
    granted: Option<Moment>,
    /// Its wall clock, if its votes tell it.
    pub(super) clock: ForeignClock,
    /// A beacon was sent that named the version before a commit that it was told to make.
    pub(super) told_old_version: bool,
    /// Until when it may read by the grant of an earlier sync site.
    floor: Option<Moment>,
    /// Its answers "no" since its last yes.
    pub(super) refusals: u32,
    /// Between which epochs it would agree, as it said when it refused last.
    pub(super) told: Option<EpochRange>,
}

impl Link {
    /// Whether its votes count for nothing at `now`, since its clock was set.
    pub fn is_distrusted(&self, now: Moment) -> bool {
        self.clock.is_distrusted(now)
    }

    /// Its wall clock when it voted last, if it tells.
    pub fn clock(&self) -> Option<i32> {
        self.clock.told()
    }
}

/// The links to all peers.
#[derive(Clone, Debug)]
pub struct Beaconer {
    pub(super) links: Vec<Link>,
    quorum: Quorum,
    me: ServerId,
    profile: Profile,
    /// How long each server may read by a beacon that was sent without knowing its clock.
    longest_claims: Vec<Duration>,
    flights: u64,
}

impl Beaconer {
    /// Every peer is taken to be up until it fails.
    pub(super) fn new(cell: &Cell, profile: Profile, now: Moment) -> Self {
        let link = Link {
            up: true,
            series: 1,
            last_sent: None,
            last_vote: false,
            flight: None,
            wanted: false,
            next_probe: now,
            yes_sent: None,
            granted: None,
            clock: ForeignClock::default(),
            told_old_version: false,
            floor: None,
            refusals: 0,
            told: None,
        };
        Beaconer {
            links: vec![link; cell.len()],
            quorum: Quorum::of(cell),
            me: cell.me(),
            longest_claims: cell.ids().map(|id| cell.server(id).dialect.longest_claim(&profile)).collect(),
            profile,
            flights: 0,
        }
    }

    /// One peer.
    pub fn link(&self, id: ServerId) -> &Link {
        &self.links[id.index()]
    }

    pub(super) fn link_mut(&mut self, id: ServerId) -> &mut Link {
        &mut self.links[id.index()]
    }

    /// A new candidacy or epoch: older answers do not count for it.
    pub(super) fn forget_votes(&mut self) {
        for link in &mut self.links {
            link.yes_sent = None;
            link.wanted = true;
        }
    }

    /// A candidacy begins: how often an earlier proposal was refused says nothing of it.
    pub(super) fn forget_refusals(&mut self) {
        self.links.iter_mut().for_each(|link| (link.refusals, link.told) = (0, None));
    }

    /// Notes that a beacon leaves; returns its number.
    pub(super) fn sent(&mut self, now: Moment, to: ServerId, epoch: u32, beacon: &Beacon) -> u64 {
        let granting = beacon.version.counter > 0;
        let wait = self.longest_claims[to.index()];
        self.flights += 1;
        let number = self.flights;
        let link = &mut self.links[to.index()];
        link.flight = Some(Flight { number, sent: now, epoch, granting, start: beacon.start });
        link.last_sent = Some(now);
        link.wanted = false;
        if granting {
            // The claim of a server that told its clock is counted from there.
            let until = link.clock.claim(&self.profile).unwrap_or(now + wait);
            link.granted = link.granted.max(Some(until));
        }
        number
    }

    /// Notes an answer; returns whether it was awaited.
    ///
    /// //= docs/ubik-protocol.md#mandate
    pub(super) fn answered(
        &mut self,
        now: Moment,
        from: ServerId,
        number: u64,
        epoch: u32,
        reply: VoteReply,
    ) -> bool {
        let probe = self.profile.probe;
        let link = self.link_mut(from);
        let Some(flight) = link.flight.filter(|flight| flight.number == number) else {
            return false;
        };
        link.flight = None;
        match reply {
            VoteReply::Failed => {
                link.last_vote = false;
                link.up = false;
                link.series += 1;
                link.next_probe = now + probe;
            }
            VoteReply::No(range) => {
                link.told = range;
                link.last_vote = false;
                link.yes_sent = None;
                link.refusals += 1;
            }
            VoteReply::Yes(_) if link.is_distrusted(now) => {
                link.last_vote = true;
                link.yes_sent = None;
            }
            VoteReply::Yes(_) if flight.epoch == epoch => {
                link.last_vote = true;
                link.refusals = 0;
                link.told = None;
                link.yes_sent = link.yes_sent.max(Some(flight.sent));
                // It follows this epoch now, so what an earlier sync site granted is over; and so is what this one
                // granted before, if the beacon it has just answered granted nothing.
                link.floor = None;
                if !flight.granting || planted(Fault::GrantsForgotten) {
                    link.granted = None;
                }
            }
            VoteReply::Yes(_) => {}
        }
        true
    }

    /// The moment up to which votes are proven, this server's own counted freely; `None` without a quorum.
    pub(super) fn votes_proven(&self) -> Option<Moment> {
        let own = std::iter::once((self.me, Moment::from_micros(u64::MAX)));
        let others = self.voters().filter_map(|id| self.link(id).yes_sent.map(|sent| (id, sent)));
        self.quorum.latest(own.chain(others).collect())
    }

    fn voters(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.quorum.voters().iter().filter(|&id| id != self.me)
    }

    /// On election: whoever did not vote may still read by the grant of an earlier sync site, but the `predecessor`.
    ///
    /// //= docs/ubik-protocol.md#obligation
    pub(super) fn elected(&mut self, now: Moment, predecessor: Option<ServerId>) {
        for (index, (link, wait)) in self.links.iter_mut().zip(&self.longest_claims).enumerate() {
            let reads_nothing = link.yes_sent.is_some() || predecessor == Some(ServerId::new(index));
            link.granted = None;
            link.refusals = 0;
            link.floor = (!reads_nothing && !planted(Fault::OlderLeasesIgnored)).then_some(now + *wait);
        }
    }

    /// Until when `id` may still serve reads of what was before a commit that it missed.
    pub fn obligation(&self, id: ServerId) -> Option<Moment> {
        let link = self.link(id);
        link.granted.max(link.floor)
    }

    /// Marks a peer down after a failed call of any kind; returns whether it was up.
    pub(super) fn failed(&mut self, now: Moment, id: ServerId) -> bool {
        let probe = self.profile.probe;
        let link = self.link_mut(id);
        let was_up = std::mem::replace(&mut link.up, false);
        if was_up {
            link.next_probe = now + probe;
            link.series += 1;
            link.flight = None;
        }
        was_up
    }
}
