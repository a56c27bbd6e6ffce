//! What this server does while it is sync site: recovery, transfers, write transactions.
//!
//! [`SyncSite`] lives from the election to the end of the mandate, under the database lock. Decisions are
//! [`ubik_proto::recovery`]'s and [`crate::commit`]'s; here they are carried out, one event at a time.

mod beginners;
mod recover;
mod unbound;
mod writers;

use std::collections::BTreeMap;
use std::time::Duration;

use ubik_proto::cell::{Cell, Dialect, ServerId, ServerSet};
use ubik_proto::code::AbortCode;
use ubik_proto::election::Claim;
use ubik_proto::messages::DiskCall;
use ubik_proto::plant::{Fault, planted};
use ubik_proto::recovery::{Busy, Progress, Recovery, Verdict, verdict};
use ubik_proto::time::Moment;
use ubik_proto::version::{TransactionId, Version};

use self::beginners::Beginner;
use crate::commit::{Commit, Group, Stage, Taker};
use crate::database::ApplyError;
use crate::disk_work::DiskWork;
use crate::effect::{CallError, ClientEvent, ClientId, Effect, Reply, WriteError};
use crate::overlay::Written;
use crate::replica::{Context, Outstanding, Replica, Then};

/// After so many transfers that were overtaken by commits, writers wait for the next one (U26).
const PATIENT_TRANSFERS: u32 = 2;

/// What a call to a peer was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Its version.
    Ask,
    /// Its database.
    Fetch,
    /// To send it this version.
    Send(Version),
    /// A step before the commit.
    Prepare(TransactionId),
    /// The commit.
    Commit(TransactionId),
    /// The end, after which nothing is awaited.
    Finish,
}

/// The sync site's work of one mandate.
#[derive(Debug)]
pub struct SyncSite {
    pub(crate) recovery: Recovery,
    commit: Option<Commit>,
    /// Complete transactions that wait for the commit under way.
    group: Option<Group>,
    /// The application's write transaction that is open.
    writer: Option<ClientId>,
    /// Counts write transactions.
    transactions: u32,
    /// Transfers in a row to one server that commits overtook.
    overtaken: Vec<u32>,
    /// When leases are over that a commit waits for.
    leases_until: Option<Moment>,
    /// When the label is to be committed again, after the disk refused it.
    label_again: Option<Moment>,
    /// OpenAFS servers that refused a transaction's beginning, and are asked again after a beacon that says the right version.
    begin_again: BTreeMap<ServerId, Beginner>,
    /// OpenAFS servers that were sent the database before they voted.
    spared: ServerSet,
    claim: Claim,
}

impl SyncSite {
    pub(crate) fn new(cell: &Cell, epoch: u32, bootstrap: bool) -> Self {
        SyncSite {
            recovery: Recovery::new(cell, epoch, bootstrap),
            commit: None,
            group: None,
            writer: None,
            transactions: 0,
            overtaken: vec![0; cell.len()],
            leases_until: None,
            label_again: None,
            begin_again: BTreeMap::new(),
            spared: ServerSet::EMPTY,
            claim: Claim::default(),
        }
    }

    /// The mandate's epoch.
    pub fn epoch(&self) -> u32 {
        self.recovery.epoch()
    }

    /// How far recovery is.
    pub fn progress(&self) -> Progress {
        self.recovery.progress()
    }

    /// What is known of one server's version.
    pub fn version_of(&self, id: ServerId) -> Option<Version> {
        self.recovery.known(id).version
    }

    pub(crate) fn is_established(&self) -> bool {
        self.progress() == Progress::Established
    }

    /// Whether a write transaction is open or being committed.
    pub fn is_writing(&self) -> bool {
        self.writer.is_some() || self.commit.is_some() || self.group.is_some()
    }

    /// How many complete transactions wait for the commit that is under way.
    pub fn waiting(&self) -> usize {
        self.group.as_ref().map_or(0, |group| group.clients.len())
    }

    pub(crate) fn next_deadline(&self, now: Moment) -> Option<Moment> {
        let leases = self.leases_until.map(|until| until + Duration::from_micros(1));
        let again = self.begin_again.values().map(Beginner::deadline).min();
        [leases, self.label_again, again, self.recovery.next_deadline(now)].into_iter().flatten().min()
    }

    /// The mandate is over.
    pub(crate) fn end(mut self, cx: &mut Context<'_, '_>) {
        self.fail_waiting(cx, &WriteError::LostMandate);
        let Some(commit) = self.commit else { return };
        for client in commit.clients {
            let event = match commit.stage {
                Stage::Preparing => ClientEvent::WriteFailed(WriteError::LostMandate),
                Stage::Deciding if planted(Fault::UndecidedCalledFailed) => {
                    ClientEvent::WriteFailed(WriteError::NoQuorum)
                }
                Stage::Deciding => ClientEvent::Undecided(commit.version),
            };
            cx.tell(client, event);
        }
    }

    /// Everything fails that was made over a commit which did not come about: nothing of it has left this server.
    fn fail_waiting(&mut self, cx: &mut Context<'_, '_>, error: &WriteError) {
        if planted(Fault::DependentsKept) {
            return;
        }
        let waiting = self.group.take().map(|group| group.clients).unwrap_or_default();
        for client in waiting.into_iter().chain(self.writer.take()) {
            cx.tell(client, ClientEvent::WriteFailed(error.clone()));
        }
    }

    pub(crate) fn abandon(&mut self, client: ClientId) {
        if self.writer == Some(client) {
            self.writer = None;
        }
    }

    /// What a beacon may let followers read: nothing before the label is committed, but that `foreign` ones which are to
    /// take the label must be told that they hold what comes before it.
    fn next_claim(&self, visible: Option<Version>, voted: ServerSet, foreign: ServerSet) -> Claim {
        let running = self.commit.as_ref().map_or(self.transactions + 1, |commit| commit.id.counter);
        let Some(version) = visible.filter(|_| self.is_established()) else {
            let relabelling = self.commit.as_ref().and_then(|commit| commit.relabelling(foreign));
            return Claim { transaction: running, relabelling, ..Claim::default() };
        };
        let deciding = self.commit.as_ref().is_some_and(|commit| commit.stage == Stage::Deciding);
        let idle = voted.iter().filter(|&id| self.recovery.known(id).version == Some(version));
        let taking = self.commit.as_ref().map_or(ServerSet::EMPTY, Commit::sound);
        let in_step = idle.chain(taking.iter()).collect();
        Claim { version, in_step, transaction: running, deciding, relabelling: None }
    }
}

impl Replica {
    /// The application's transaction is complete.
    pub fn commit(&mut self, cx: &mut Context<'_, '_>, client: ClientId, written: Written) {
        let Some(role) = self.role.as_mut().filter(|role| role.writer == Some(client)) else {
            cx.tell(client, ClientEvent::WriteFailed(WriteError::Over));
            return;
        };
        role.writer = None;
        role.group.get_or_insert_default().add(client, written);
        self.settle(cx);
    }

    /// Begins to commit what was completed since the commit before; returns whether there was anything.
    fn commit_group(&mut self, cx: &mut Context<'_, '_>) -> bool {
        if self.disk_is_busy() {
            return false;
        }
        let Some(role) = self.role.as_mut().filter(|role| role.commit.is_none()) else { return false };
        let Some(group) = role.group.take() else { return false };
        let version = self.next_version();
        self.start_commit(cx, Some(group), version, None);
        true
    }

    /// The servers that are told of a transaction: up, bound to this mandate, and known to hold what it changes.
    fn takers(&self, cx: &mut Context<'_, '_>, from: Version) -> ServerSet {
        let voted = self.voted(cx);
        let Some(role) = &self.role else {
            return ServerSet::EMPTY;
        };
        let in_step = |id: ServerId| {
            let known = role.recovery.known(id);
            (known.version == Some(from) || planted(Fault::TakersOutOfStep)) && known.busy == Busy::Idle
        };
        voted.iter().filter(|&id| in_step(id)).collect()
    }

    fn start_commit(
        &mut self,
        cx: &mut Context<'_, '_>,
        group: Option<Group>,
        version: Version,
        relabel: Option<(Version, Version)>,
    ) {
        let from = relabel.map_or(self.database.version(), |(old, _)| old);
        let takers = self.takers(cx, from);
        let Some(role) = &mut self.role else { return };
        role.transactions += 1;
        role.begin_again.clear();
        let epoch = role.epoch();
        let id = TransactionId { epoch, counter: role.transactions };
        let commit = Commit::new(id, group, version, relabel, takers);
        let first = DiskCall::Begin(id);
        role.commit = Some(commit);
        for to in takers.iter() {
            role.recovery.begin(to, Busy::InTransaction);
        }
        for to in takers.iter() {
            self.call(cx, epoch, to, Purpose::Prepare(id), first.clone());
        }
    }

    /// A peer answered a call of this mandate.
    pub(crate) fn peer_answered(
        &mut self,
        cx: &mut Context<'_, '_>,
        call: Outstanding,
        reply: Result<Reply, CallError>,
    ) {
        let retry = cx.now.moment + self.profile.beacon / 4;
        let peer = call.to;
        if let (Purpose::Prepare(id), Err(CallError::Aborted(AbortCode::NO_QUORUM))) = (call.purpose, &reply)
            && self.may_begin_again(cx, peer, id)
        {
            return;
        }
        let Some(role) = &mut self.role else { return };
        match (call.purpose, reply) {
            (Purpose::Finish, _) => {}
            (Purpose::Ask, Ok(Reply::Version(version))) => self.peer_holds(cx, peer, version),
            (Purpose::Send(version), Ok(_)) => {
                let overtaken = &mut role.overtaken[peer.index()];
                *overtaken = if version == self.database.version() { 0 } else { *overtaken + 1 };
                self.peer_holds(cx, peer, version);
                self.spare_the_unbound(cx, peer);
            }
            (Purpose::Fetch, Ok(Reply::Database(version, received))) => {
                role.recovery.holds(peer, version);
                self.fetched(cx, version, received);
            }
            (Purpose::Prepare(id), Ok(_)) => self.prepared_step(cx, peer, id),
            (Purpose::Commit(id), Ok(_)) => self.peer_committed(peer, id),
            (Purpose::Prepare(id) | Purpose::Commit(id), Err(_)) => {
                if let (true, Some(commit)) = (planted(Fault::FailedTakerKept), &role.commit) {
                    role.recovery.holds(peer, commit.version);
                } else {
                    role.recovery.failed(peer, retry);
                }
                let commit = role.commit.as_mut().filter(|commit| commit.id == id);
                if let Some(taker) = commit.and_then(|commit| commit.taker(peer)) {
                    *taker = Taker::Failed;
                }
            }
            (Purpose::Ask | Purpose::Fetch | Purpose::Send(_), reply) => {
                role.recovery.failed(peer, retry);
                if let Err(CallError::Local(error)) = reply {
                    cx.effects.push(Effect::DiskFailed(format!(
                        "cannot keep a database that is received: {error}"
                    )));
                }
            }
        }
    }

    /// A peer is known to hold `version`, if it is still bound to this mandate.
    fn peer_holds(&mut self, cx: &mut Context<'_, '_>, peer: ServerId, version: Version) {
        let bound = cx.election().has_vote_of(peer);
        let Some(role) = &mut self.role else { return };
        role.recovery.holds(peer, version);
        if let Some(commit) = &mut role.commit
            && commit.stage == Stage::Deciding
            && commit.version == version
            && bound
        {
            commit.holders.insert(peer);
        }
    }

    fn prepared_step(&mut self, cx: &mut Context<'_, '_>, peer: ServerId, id: TransactionId) {
        let Some(role) = &mut self.role else { return };
        let epoch = role.epoch();
        let Some(commit) = role.commit.as_mut().filter(|commit| commit.id == id) else {
            role.recovery.forget(peer);
            role.recovery.begin(peer, Busy::Idle);
            return;
        };
        if let Some(call) = commit.next_call(peer) {
            self.call(cx, epoch, peer, Purpose::Prepare(id), call);
        }
    }

    fn peer_committed(&mut self, peer: ServerId, id: TransactionId) {
        let Some(role) = &mut self.role else { return };
        match role.commit.as_mut().filter(|commit| commit.id == id) {
            Some(commit) => {
                commit.holders.insert(peer);
                let version = commit.version;
                if let Some(taker) = commit.taker(peer) {
                    *taker = Taker::Done;
                }
                role.recovery.holds(peer, version);
            }
            // The commit was decided without it; ask what it has.
            None => {
                role.recovery.forget(peer);
                role.recovery.begin(peer, Busy::Idle);
            }
        }
    }

    /// Whether this server's own promise is still its own, in this mandate's epoch: asked under the database lock before
    /// it does anything that counts as its vote for a version (`docs/ubik-protocol.md`, Fence).
    fn is_bound_to_self(&self, cx: &mut Context<'_, '_>) -> bool {
        let record = cx.election().voter().promise_record();
        let epoch = self.role.as_ref().map(SyncSite::epoch);
        record.to == Some(self.cell.me()) && Some(record.max_epoch) == epoch
    }

    /// Does what the sync site's state allows, until nothing changes any more.
    pub(crate) fn settle_role(&mut self, cx: &mut Context<'_, '_>) {
        while self.role.is_some() {
            self.recover(cx);
            self.retry_label(cx);
            self.settle_beginners(cx);
            let decided = self.decide(cx);
            let began = self.commit_group(cx);
            let admitted = self.admit_writer(cx);
            self.update_claim(cx);
            if !decided && !began && !admitted {
                break;
            }
        }
    }

    /// Steps 2 to 7 of the commit, as far as they can go; returns whether it ended.
    fn decide(&mut self, cx: &mut Context<'_, '_>) -> bool {
        let Some(commit) = self.role.as_ref().and_then(|role| role.commit.as_ref()) else {
            return false;
        };
        if commit.stage == Stage::Preparing
            && commit.is_prepared()
            && !self.disk_is_busy()
            && !self.log_commit(cx)
        {
            return true;
        }
        self.decided(cx)
    }

    /// Steps 2 to 4; returns whether the commit is still alive. The servers are told before it is logged here, so that their
    /// disks and this one work side by side.
    fn log_commit(&mut self, cx: &mut Context<'_, '_>) -> bool {
        let now = cx.now.moment;
        let bound = self.is_bound_to_self(cx);
        let (mandate, quorum) = {
            let election = cx.election();
            (election.holds_mandate(now), election.quorum())
        };
        let me = self.cell.me();
        let Some(role) = &mut self.role else { return false };
        let epoch = role.epoch();
        let Some(commit) = &mut role.commit else {
            return false;
        };
        let takers = commit.servers(|taker| matches!(taker, Taker::Prepared));
        let mut with_me = takers;
        with_me.insert(me);
        if !bound || !mandate {
            self.undo(cx, WriteError::LostMandate);
            return false;
        }
        if !commit.labels && !quorum.is_met(with_me) {
            self.undo(cx, WriteError::NoQuorum);
            return false;
        }
        commit.stage = Stage::Deciding;
        if planted(Fault::OwnLogAssumed) {
            commit.holders.insert(me);
        }
        let changes = std::mem::take(&mut commit.changes);
        let (id, version) = (commit.id, commit.version);
        for to in takers.iter() {
            if let Some(taker) = commit.taker(to) {
                *taker = Taker::Committing;
            }
        }
        for to in takers.iter() {
            self.call(cx, epoch, to, Purpose::Commit(id), DiskCall::Commit(id));
        }
        // Beacons that leave from now on may come after the commit.
        self.update_claim(cx);
        self.start_disk(cx, DiskWork::Commit { changes, version }, Then::OwnCommit);
        true
    }

    /// Step 5: the commit is in the own log.
    pub(crate) fn own_commit_logged(&mut self, cx: &mut Context<'_, '_>, done: Result<(), ApplyError>) {
        if let Err(error) = done {
            return self.logging_failed(cx, &error);
        }
        let me = self.cell.me();
        if let Some(commit) = self.role.as_mut().and_then(|role| role.commit.as_mut()) {
            commit.holders.insert(me);
        }
        if planted(Fault::ShownBeforeQuorum) {
            self.database.reveal();
        }
    }

    /// Others may have it: its fate is another sync site's to find out.
    fn logging_failed(&mut self, cx: &mut Context<'_, '_>, error: &ApplyError) {
        if let Some(role) = &mut self.role {
            role.fail_waiting(cx, &WriteError::LostMandate);
            if let Some(commit) = role.commit.take() {
                let undecided = || ClientEvent::Undecided(commit.version);
                commit.clients.iter().for_each(|&client| cx.tell(client, undecided()));
            }
        }
        self.note_disk_failure(cx, error);
    }

    /// The transaction never was: nothing of it is in any log.
    fn undo(&mut self, cx: &mut Context<'_, '_>, error: WriteError) {
        let Some(role) = &mut self.role else { return };
        let Some(commit) = role.commit.take() else { return };
        role.fail_waiting(cx, &error);
        if commit.labels {
            role.label_again = Some(cx.now.moment + self.profile.beacon / 4);
        }
        let epoch = role.epoch();
        for to in commit.servers(|taker| matches!(taker, Taker::Prepared)).iter() {
            role.recovery.begin(to, Busy::Idle);
        }
        for to in commit.servers(|taker| matches!(taker, Taker::Prepared)).iter() {
            self.call(cx, epoch, to, Purpose::Finish, DiskCall::Abort(commit.id));
        }
        for client in commit.clients {
            cx.tell(client, ClientEvent::WriteFailed(error.clone()));
        }
    }

    /// Steps 6 and 7; returns whether the commit ended.
    fn decided(&mut self, cx: &mut Context<'_, '_>) -> bool {
        let now = cx.now.moment;
        let peers: Vec<ServerId> = self.cell.peers().collect();
        // What is shown then must be here, whoever else has it.
        if self.disk_is_busy() && !planted(Fault::OwnLogAssumed) {
            return false;
        }
        let Some(role) = &mut self.role else { return false };
        let Some(commit) = role.commit.as_ref().filter(|commit| commit.stage == Stage::Deciding) else {
            return false;
        };
        let holders = commit.holders;
        let outcome = {
            let election = cx.election();
            let lacking = peers.iter().filter(|&&id| !holders.contains(id));
            verdict(election.quorum(), holders, now, lacking.map(|&id| election.beaconer().obligation(id)))
        };
        role.leases_until = match outcome {
            Verdict::LeasesUntil(until) => Some(until),
            _ => None,
        };
        if outcome != Verdict::Committed {
            return false;
        }
        self.finish(cx);
        true
    }

    fn finish(&mut self, cx: &mut Context<'_, '_>) {
        let Some(role) = &mut self.role else { return };
        let Some(commit) = role.commit.take() else { return };
        let epoch = role.epoch();
        self.database.reveal();
        role.recovery.established();
        let done = commit.servers(|taker| matches!(taker, Taker::Done));
        for &client in &commit.clients {
            cx.tell(client, ClientEvent::Committed(commit.version));
        }
        for to in done.iter() {
            self.call(cx, epoch, to, Purpose::Finish, DiskCall::ReleaseLocks(commit.id));
        }
    }

    fn next_version(&self) -> Version {
        self.database.version().next().expect("Profile::check leaves counters above epoch_commits")
    }

    fn update_claim(&mut self, cx: &mut Context<'_, '_>) {
        let voted = self.voted(cx);
        let visible = self.database.visible_version();
        let foreign: ServerSet =
            self.cell.peers().filter(|&id| self.cell.server(id).dialect == Dialect::OpenAfs).collect();
        let Some(role) = &mut self.role else { return };
        let claim = role.next_claim(visible, voted, foreign);
        if claim != role.claim {
            role.claim = claim;
            let now = cx.now;
            let commands = cx.election().set_claim(now, claim);
            cx.effects.extend(commands.into_iter().map(Effect::Election));
        }
    }
}
