//! Who is sync site: the voter and the beaconer of one server, put together.
//!
//! * `stand`: whose turn it is to stand; `propose`: in which epoch; [`epochs`]: which there are;
//! * `ask`: the beacons, probes and own vote with which it asks; [`beacon`]: what is known of each peer by them;
//! * [`vote`]: how a voter answers; [`promise`]: what binds it, and is on its disk; `lease`: what it may read then;
//! * `mandate`: how long the answers make their asker sync site; `outputs`: what all this asks of the world.
//!
//! [`Election`] does no I/O and is never held while something is waited for, so a beacon never waits for the database
//!. Call order: [`Election::poll`] whenever [`Election::next_deadline`] has come, the `on_` functions when
//! something arrives; carry out the returned [`Command`]s in their order.

mod ask;
pub mod beacon;
pub mod epochs;
mod lease;
mod mandate;
mod outputs;
pub mod promise;
mod propose;
mod stand;
pub mod vote;

pub use mandate::Resignation;
pub use outputs::{Claim, Command, Event};

use crate::cell::{Cell, ServerId};
use crate::election::beacon::{Beaconer, VoteReply};
use crate::election::epochs::EpochRange;
use crate::election::promise::PromiseRecord;
use crate::election::vote::{Vote, Voter};
use crate::messages::Beacon;
use crate::profile::Profile;
use crate::quorum::Quorum;
use crate::time::{Moment, Now};
use crate::version::Version;

/// What this server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Neither.
    Follower,
    /// Asks for votes.
    Candidate {
        /// The epoch it proposes.
        epoch: u32,
    },
    /// Elected; whether it may still act is [`Election::holds_mandate`].
    SyncSite {
        /// Its epoch.
        epoch: u32,
    },
}

/// Votes and beacons of one server for one database.
#[derive(Clone, Debug)]
pub struct Election {
    cell: Cell,
    profile: Profile,
    quorum: Quorum,
    voter: Voter,
    beaconer: Beaconer,
    standing: Standing,
    claim: Claim,
    next_round: Moment,
    /// The own vote that is being written.
    own_vote: Option<u32>,
    /// An epoch must be at least this: a peer has shown a higher one.
    epoch_floor: u32,
    /// When the candidacy began.
    stands_since: Moment,
    /// When its epoch was proposed.
    proposed_at: Moment,
    /// The sync site that had this server's promise before its own vote for itself, and when it surely still was that.
    predecessor: Option<(ServerId, Moment)>,
    /// Why it gave its last mandate up, if it did.
    resigned: Option<Resignation>,
}

impl Election {
    /// A server that starts at `now` with the promise it found on disk and the label of its database.
    pub fn new(cell: Cell, profile: Profile, record: PromiseRecord, label: Version, now: Moment) -> Self {
        let alone = cell.voters().len() == 1;
        let voter = Voter::new(cell.clone(), profile.clone(), record, label, now);
        let mut election = Election {
            quorum: Quorum::of(&cell),
            beaconer: Beaconer::new(&cell, profile.clone(), now),
            voter,
            standing: Standing::Follower,
            claim: Claim::default(),
            next_round: now,
            own_vote: None,
            epoch_floor: 0,
            stands_since: now,
            proposed_at: now,
            predecessor: None,
            resigned: None,
            cell,
            profile,
        };
        // The only voter has nobody who could have promised anything to another.
        election.next_round = if alone { now } else { election.may_stand_at() };
        election
    }

    /// When to call [`Election::poll`] next.
    pub fn next_deadline(&self) -> Moment {
        let probes = self.cell.peers().map(|id| self.beaconer.link(id)).filter(|link| !link.up);
        let short = self.cell.peers().filter_map(|id| self.short_claim_due(id));
        let first = probes.map(|link| link.next_probe).chain(short).min().unwrap_or(self.next_round);
        let first = first.min(self.next_round);
        match (self.standing, self.mandate_end()) {
            (Standing::SyncSite { .. }, Some(end)) => first.min(end),
            _ => first,
        }
    }

    /// Does what the time demands.
    pub fn poll(&mut self, now: Now) -> Vec<Command> {
        let mut commands = Vec::new();
        self.check_mandate(now.moment, &mut commands);
        self.probe(now.moment, &mut commands);
        if now.moment >= self.next_round {
            self.begin_round(now, &mut commands);
        }
        self.renew_short_claims(now, &mut commands);
        commands
    }

    fn begin_round(&mut self, now: Now, commands: &mut Vec<Command>) {
        let outbid = self.outbid(now);
        match self.standing {
            Standing::Follower if self.may_stand(now.moment) => {
                self.beaconer.forget_refusals();
                self.stand(now);
            }
            Standing::Follower => {
                let again = if self.is_eligible() { self.stagger() } else { self.profile.promise };
                self.next_round = self.may_stand_at().max(now.moment + again);
                return;
            }
            Standing::Candidate { .. } if now.moment.since(self.stands_since) > self.profile.promise * 2 => {
                self.rest(now.moment);
                return;
            }
            Standing::Candidate { .. } if outbid => self.raise_proposal(now),
            Standing::Candidate { .. } => self.renew_old_proposal(now),
            Standing::SyncSite { epoch } if outbid => {
                self.step_down(epoch, Some(Resignation::HigherEpoch), commands);
                self.raise_proposal(now);
            }
            Standing::SyncSite { .. } => {}
        }
        self.next_round = now.moment + self.round();
        for to in self.cell.peers() {
            self.beaconer.link_mut(to).wanted = true;
        }
        self.send_wanted(now, commands);
        self.try_own_vote(now, commands);
    }

    /// A peer's answer to the beacon with this number.
    pub fn on_vote(&mut self, now: Now, from: ServerId, number: u64, reply: VoteReply) -> Vec<Command> {
        let mut commands = Vec::new();
        let epoch = self.epoch().unwrap_or(0);
        let flight = self.beaconer.link(from).flight.filter(|flight| flight.number == number);
        if let (Some(flight), VoteReply::Yes(clock)) = (flight, reply) {
            self.note_clock(now, from, clock, &flight, &mut commands);
        }
        if !self.beaconer.answered(now.moment, from, number, epoch, reply) {
            return commands;
        }
        match reply {
            VoteReply::Failed => commands.push(Command::Notify(Event::Down { peer: from })),
            VoteReply::No(_) => {}
            VoteReply::Yes(_) => {
                self.renew_mandate();
                commands.push(Command::Notify(Event::Voted { peer: from }));
            }
        }
        self.check_mandate(now.moment, &mut commands);
        self.try_own_vote(now, &mut commands);
        self.send_wanted(now, &mut commands);
        commands
    }

    /// A beacon of a peer. The answer may be sent when a record in it is synced and [`Election::on_promise_saved`] was told.
    pub fn on_beacon(
        &mut self,
        now: Now,
        from: ServerId,
        series: u64,
        beacon: &Beacon,
    ) -> (Vote, Vec<Command>) {
        let mut commands = Vec::new();
        self.check_mandate(now.moment, &mut commands);
        self.note_caller_clock(now, from, beacon, &mut commands);
        let standing = matches!(self.standing, Standing::Candidate { .. });
        let before = self.voter.promise_record();
        let vote = self.voter.handle_beacon(now, from, series, beacon, standing);
        if let Vote::Yes { .. } = vote {
            self.follow(now.moment, from, &mut commands);
            if self.voter.promise_record() != before {
                let epoch = self.voter.max_epoch();
                commands.push(Command::Notify(Event::Follows { host: from, epoch }));
            }
            if beacon.claims_sync_site {
                let (version, transaction) = (beacon.version, beacon.transaction);
                commands.push(Command::Notify(Event::Heard { host: from, version, transaction }));
            }
        }
        (vote, commands)
    }

    /// What a refusal tells `from`: between which epochs this server would agree. OpenAFS's servers are told nothing.
    pub fn agreeable(&self, now: Now, from: ServerId) -> Option<EpochRange> {
        let keeps_epochs = self.cell.server(from).dialect.keeps_epochs();
        let (above, up_to) = (self.voter.max_epoch(), self.voter.highest_agreeable(now));
        keeps_epochs.then_some(EpochRange { above, up_to })
    }

    fn follow(&mut self, now: Moment, host: ServerId, commands: &mut Vec<Command>) {
        assert_ne!(host, self.cell.me(), "no server sends itself beacons");
        if let Standing::SyncSite { epoch } = self.standing {
            self.step_down(epoch, None, commands);
        }
        self.standing = Standing::Follower;
        self.own_vote = None;
        self.next_round = self.may_stand_at().max(now);
    }

    /// The record of this server's own vote is on disk: now it counts.
    pub fn on_own_vote_persisted(&mut self, now: Now, record: PromiseRecord) -> Vec<Command> {
        let mut commands = Vec::new();
        let epoch = record.max_epoch;
        if self.own_vote != Some(epoch) || self.standing != (Standing::Candidate { epoch }) {
            return commands;
        }
        self.own_vote = None;
        let proven = self.mandate_end().is_some_and(|end| now.moment < end);
        if self.voter.promise_record() != record || !proven {
            return commands;
        }
        self.standing = Standing::SyncSite { epoch };
        self.claim = Claim::default();
        self.beaconer.elected(now.moment, self.silent_predecessor(now.moment));
        self.renew_mandate();
        commands.push(Command::Notify(Event::Elected { epoch }));
        self.kick(now, &mut commands);
        commands
    }

    /// A record is on disk, whoever asked for it; returns whether the yes that waited for it may be sent.
    pub fn on_promise_saved(&mut self, record: PromiseRecord) -> bool {
        self.voter.on_saved(record)
    }

    /// A record could not be written. Its yes was not given; a candidate whose own vote it was asks nobody any more for as
    /// long as it takes another to be elected.
    pub fn on_promise_lost(&mut self, now: Now, record: PromiseRecord) {
        self.voter.on_save_failed(record);
        if self.own_vote == Some(record.max_epoch) && record.to == Some(self.cell.me()) {
            self.give_way(now.moment);
        }
    }

    /// Whether a down peer answered its probe.
    pub fn on_probe(&mut self, now: Now, peer: ServerId, answered: bool) -> Vec<Command> {
        let mut commands = Vec::new();
        let probe = self.profile.probe;
        let link = self.beaconer.link_mut(peer);
        if answered && !link.up {
            link.up = true;
            link.wanted = true;
            self.send_wanted(now, &mut commands);
        } else {
            link.next_probe = now.moment + probe;
        }
        commands
    }

    /// A call to `peer` failed on the database's side; it is probed until it answers.
    pub fn on_peer_failed(&mut self, now: Now, peer: ServerId) {
        self.beaconer.failed(now.moment, peer);
    }

    /// A call to `peer` was answered, or it has called: it is up.
    pub fn on_peer_seen(&mut self, now: Now, peer: ServerId) -> Vec<Command> {
        if self.beaconer.link(peer).up { Vec::new() } else { self.on_probe(now, peer, true) }
    }

    /// Sets what beacons let followers read, and sends a round at once if that is news.
    pub fn set_claim(&mut self, now: Now, claim: Claim) -> Vec<Command> {
        let mut commands = Vec::new();
        let news = claim.in_step != self.claim.in_step
            || claim.version.epoch != self.claim.version.epoch
            || claim.relabelling != self.claim.relabelling;
        self.claim = claim;
        if !self.holds_mandate(now.moment) {
            return commands;
        }
        if news {
            self.kick(now, &mut commands);
        } else if !claim.deciding {
            self.correct_versions(now, &mut commands);
        }
        commands
    }

    /// A database in the quorum has an epoch that this server's is not above: stand again with a higher one.
    pub fn demand_epoch(&mut self, now: Now, above: u32) -> Vec<Command> {
        let mut commands = Vec::new();
        self.epoch_floor = self.epoch_floor.max(above.saturating_add(1));
        if let Standing::SyncSite { epoch } = self.standing {
            self.step_down(epoch, Some(Resignation::HigherEpoch), &mut commands);
            self.next_round = now.moment;
            commands.extend(self.poll(now));
        }
        commands
    }

    /// This server cannot serve: it gives its mandate up, and stands again only when every other had the time to.
    pub fn resign(&mut self, now: Now, why: Resignation) -> Vec<Command> {
        let mut commands = Vec::new();
        if let Standing::SyncSite { epoch } = self.standing {
            self.step_down(epoch, Some(why), &mut commands);
        }
        self.give_way(now.moment);
        commands
    }

    fn give_way(&mut self, now: Moment) {
        self.rest(now);
        // Its voters are free one promise after their last yes; being preferred, it must not be the first to ask then.
        self.next_round = self.next_round + self.profile.promise * 2;
    }

    /// The epoch of the candidacy or the mandate.
    pub fn epoch(&self) -> Option<u32> {
        match self.standing {
            Standing::Follower => None,
            Standing::Candidate { epoch } | Standing::SyncSite { epoch } => Some(epoch),
        }
    }

    /// What this server is.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Its votes.
    pub fn voter(&self) -> &Voter {
        &self.voter
    }

    /// A call of the followed sync site moved this server's database; what it vouched for follows.
    pub fn version_moved(&mut self, old: Version, new: Version) {
        self.voter.version_moved(old, new);
    }

    /// Its links to the peers.
    pub fn beaconer(&self) -> &Beaconer {
        &self.beaconer
    }

    /// Which sets of servers decide.
    pub fn quorum(&self) -> Quorum {
        self.quorum
    }

    /// The cell.
    pub fn cell(&self) -> &Cell {
        &self.cell
    }

    /// The timing.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// What beacons vouch for.
    pub fn claim(&self) -> Claim {
        self.claim
    }
}
