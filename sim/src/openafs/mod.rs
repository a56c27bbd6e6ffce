//! A server of OpenAFS's, as its rules are known: what a cell of both kinds has to live with.
//!
//! A model of what was read and measured (`docs/ubik-protocol.md`, The stock wire), with the faults that bear on safety: votes by the
//! wall clock and forgotten at a restart, commits shown at the sync site before anybody else has them, a failed commit that stays,
//! no relabelling before serving, a label of zero while a database is received. It waits for calls side by side where C
//! makes them one after the other; that only makes it quicker.
//!
//! [`Peer`] lives in one process; [`Disk`] outlives it. Every function returns what is to be done, in order.

mod beacons;
mod disk;
mod recovery;
mod votes;
mod writes;

use ubik::effect::{CallToken, ClientId};
use ubik_proto::cell::{Cell, ServerId};
use ubik_proto::code::AbortCode;
use ubik_proto::election::beacon::VoteReply;
use ubik_proto::messages::Beacon;
use ubik_proto::version::{TransactionId, Version};

use crate::event::{Request, Said};

pub use disk::Disk;
use recovery::Recovery;
use votes::Votes;
use writes::Write;

/// Seconds of C's protocol: how long a vote binds, how long it is good, and between two beacons.
pub const BIGTIME: i64 = 75;
/// As above.
pub const SMALLTIME: i64 = 60;
/// As above.
pub const POLLTIME: i64 = 15;

/// What the client of a write learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It found these bytes and may commit now.
    Begun,
    /// It may not write here and now.
    Refused,
    /// A quorum took it.
    Committed(Version),
    /// C says that it failed; it may have happened.
    Unknown,
}

/// Something a peer does to the world.
#[derive(Debug)]
pub enum Act {
    /// Sends a beacon.
    Beacon {
        /// To whom.
        to: ServerId,
        /// Which.
        number: u64,
        /// On which connection.
        series: u64,
        /// What.
        beacon: Beacon,
    },
    /// Asks whether it is there.
    Probe {
        /// Whom.
        to: ServerId,
    },
    /// Calls.
    Call {
        /// Whom.
        to: ServerId,
        /// Its name.
        token: CallToken,
        /// What.
        asked: Request,
    },
    /// Tells a client.
    Client(ClientId, Outcome),
    /// Wants to be woken so many seconds later.
    Wake(i64, Wake),
}

/// Why it is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// A round of beacons.
    Beacons,
    /// A look at recovery.
    Recovery,
    /// A commit waits for servers that do not answer.
    CommitWait,
    /// A received database is complete.
    Received,
}

/// What it knows of another server.
#[derive(Clone, Debug, Default)]
struct Link {
    up: bool,
    /// It answered a beacon since it was down.
    beacon_since_down: bool,
    /// It holds this server's version.
    current: bool,
    last_vote: bool,
    last_beacon_sent: i64,
    version: Version,
    next_probe: i64,
    /// A server that comes back is spoken to on a new connection.
    series: u64,
}

/// One process of C's server.
#[derive(Debug)]
pub struct Peer {
    cell: Cell,
    /// Its database.
    pub disk: Disk,
    votes: Votes,
    links: Vec<Link>,
    /// Elected.
    am_sync_site: bool,
    /// Elected for the second time, so the others know.
    advertised: bool,
    sync_site_until: i64,
    epoch_time: i64,
    /// The round of beacons under way: what is still awaited, and the votes.
    round: beacons::Round,
    recovery: Recovery,
    write: Option<Write>,
    transaction_counter: u32,
    /// The first write of this mandate has labelled the database.
    relabelled: bool,
    remote: Option<disk::Remote>,
    /// What is being received, with its label.
    receiving: Option<(Version, Vec<u8>)>,
    next_number: u64,
}

impl Peer {
    /// A process that starts at `now` on its wall clock.
    pub fn start(cell: Cell, disk: Disk, now: i64) -> (Self, Vec<Act>) {
        let link = Link { up: true, ..Link::default() };
        let links = vec![link; cell.len()];
        let peer = Peer {
            cell,
            disk,
            votes: Votes::new(now),
            links,
            am_sync_site: false,
            advertised: false,
            sync_site_until: 0,
            epoch_time: 0,
            round: beacons::Round::default(),
            recovery: Recovery::default(),
            write: None,
            transaction_counter: 0,
            relabelled: false,
            remote: None,
            receiving: None,
            next_number: 0,
        };
        (peer, vec![Act::Wake(1, Wake::Beacons), Act::Wake(2, Wake::Recovery)])
    }

    /// It is woken.
    pub fn on_wake(&mut self, now: i64, wake: Wake) -> Vec<Act> {
        match wake {
            Wake::Beacons => self.begin_round(now),
            Wake::Recovery => {
                let mut acts = self.recover(now);
                acts.push(Act::Wake(4, Wake::Recovery));
                acts
            }
            Wake::CommitWait => self.wait_for_the_silent(now),
            Wake::Received => {
                self.received();
                Vec::new()
            }
        }
    }

    /// A call of its own was answered, or was not.
    pub fn on_reply(
        &mut self,
        now: i64,
        token: CallToken,
        reply: Option<Result<Said, AbortCode>>,
    ) -> Vec<Act> {
        let mut acts = self.recovery_answered(now, token, reply.clone());
        acts.extend(self.write_answered(now, token, reply.is_some_and(|reply| reply.is_ok())));
        acts
    }

    /// Whether it holds a mandate.
    pub fn is_sync_site(&self, now: i64) -> bool {
        self.am_sync_site && now <= self.sync_site_until
    }

    /// Who it believes is sync site.
    pub fn sync_site(&self, now: i64) -> Option<ServerId> {
        if self.is_sync_site(now) { Some(self.cell.me()) } else { self.votes.sync_site(now) }
    }

    /// Whether a locked read may be served: C's AllBetter, and no write lock.
    pub fn may_read(&self, now: i64) -> bool {
        let locked = self.write.as_ref().is_some_and(Write::is_locked)
            || self.remote.as_ref().is_some_and(|r| r.locked);
        self.all_better(now) && !locked
    }

    fn all_better(&self, now: i64) -> bool {
        (self.is_sync_site(now) && self.recovery.has_database()) || self.votes.vouched(now, self.disk.label)
    }

    fn quorum(&self) -> usize {
        self.cell.voters().len() / 2 + 1
    }

    fn token(&mut self) -> CallToken {
        self.next_number += 1;
        CallToken(self.next_number)
    }

    /// The mandate is over: nothing of it is kept.
    fn reset(&mut self) {
        self.am_sync_site = false;
        self.advertised = false;
        self.relabelled = false;
        self.recovery.reset();
    }

    fn lost_server(&mut self, now: i64, id: ServerId) {
        let link = &mut self.links[id.index()];
        link.up = false;
        link.beacon_since_down = false;
        link.current = false;
        link.last_vote = false;
        link.next_probe = now + 30;
    }

    /// What a beacon says of the transaction: the one that runs, or the next.
    fn beacon_transaction(&self) -> TransactionId {
        let running = self.write.as_ref().map_or(self.transaction_counter + 1, |write| write.id.counter);
        TransactionId { epoch: self.epoch_time as u32, counter: running }
    }

    /// Decides on another's beacon.
    pub fn on_beacon(&mut self, now: i64, from: ServerId, beacon: &Beacon) -> VoteReply {
        let yes = self.votes.decide(&self.cell, now, from, beacon);
        if !yes {
            return VoteReply::No(None);
        }
        if self.remote.as_ref().is_some_and(|remote| remote.is_stale(beacon.transaction)) {
            self.remote = None;
        }
        VoteReply::Yes(now as i32)
    }
}
