//! What a server knows while it is sync site: of the others' copies, and of the transactions on their way.
//!
//! [`SyncSite`] lives from the election to the end of the mandate. What it does is in `recover`, `writers`, `spread` and
//! `decide`; here is its state, what each answer of a peer changes of it, and what beacons may claim by it.

use std::time::Duration;

use super::commit::{Commit, Group, Stage, Taker};
use super::outputs::{CallError, ClientId, Output, Reply, Told, WriteError};
use super::recovery::{Progress, Recovery};
use super::{Context, Outstanding, Replica};
use crate::cell::{Cell, ServerId, ServerSet};
use crate::code::AbortCode;
use crate::election::Claim;
use crate::plant::{Fault, planted};
use crate::stock::{Beginners, Unbound};
use crate::time::Moment;
use crate::version::{TransactionId, Version};

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
#[derive(Clone, Debug)]
pub struct SyncSite {
    pub(crate) recovery: Recovery,
    pub(super) commit: Option<Commit>,
    /// Complete transactions that wait for the commit under way.
    pub(super) group: Option<Group>,
    /// The application's write transaction that is open.
    pub(super) writer: Option<ClientId>,
    /// Counts write transactions.
    pub(super) transactions: u32,
    /// Transfers in a row to one server that commits overtook.
    pub(super) overtaken: Vec<u32>,
    /// When leases are over that a commit waits for.
    pub(super) leases_until: Option<Moment>,
    /// When the label is to be committed again, after the disk refused it.
    pub(super) label_again: Option<Moment>,
    /// Servers that refused to begin, and are asked again.
    pub(super) beginners: Beginners,
    /// Servers that answer clients before they vote.
    pub(super) unbound: Unbound,
    claim: Claim,
}

impl SyncSite {
    pub(super) fn new(cell: &Cell, epoch: u32, bootstrap: bool) -> Self {
        SyncSite {
            recovery: Recovery::new(cell, epoch, bootstrap),
            commit: None,
            group: None,
            writer: None,
            transactions: 0,
            overtaken: vec![0; cell.len()],
            leases_until: None,
            label_again: None,
            beginners: Beginners::default(),
            unbound: Unbound::new(cell),
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

    /// Whether a quorum holds its label: it serves.
    pub fn is_established(&self) -> bool {
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

    pub(super) fn next_deadline(&self, now: Moment) -> Option<Moment> {
        let leases = self.leases_until.map(|until| until + Duration::from_micros(1));
        let again = self.beginners.deadline();
        [leases, self.label_again, again, self.recovery.next_deadline(now)].into_iter().flatten().min()
    }

    /// The mandate is over.
    pub(super) fn end<R>(mut self, cx: &mut Context<'_, R>) {
        self.fail_waiting(cx, &WriteError::LostMandate);
        let Some(commit) = self.commit else { return };
        for client in commit.clients {
            let event = match commit.stage {
                Stage::Preparing => Told::WriteFailed(WriteError::LostMandate),
                Stage::Deciding if planted(Fault::UndecidedCalledFailed) => {
                    Told::WriteFailed(WriteError::NoQuorum)
                }
                Stage::Deciding => Told::Undecided(commit.version),
            };
            cx.tell(client, event);
        }
    }

    /// Everything fails that was made over a commit which did not come about: nothing of it has left this server.
    pub(super) fn fail_waiting<R>(&mut self, cx: &mut Context<'_, R>, error: &WriteError) {
        if planted(Fault::DependentsKept) {
            return;
        }
        let waiting = self.group.take().map(|group| group.clients).unwrap_or_default();
        for client in waiting.into_iter().chain(self.writer.take()) {
            cx.tell(client, Told::WriteFailed(error.clone()));
        }
    }

    /// A server failed in a transaction: it may hold anything.
    pub(super) fn taker_failed(&mut self, peer: ServerId, id: TransactionId, retry: Moment) {
        if let (true, Some(commit)) = (planted(Fault::FailedTakerKept), &self.commit) {
            self.recovery.holds(peer, commit.version);
        } else {
            self.recovery.failed(peer, retry);
        }
        let commit = self.commit.as_mut().filter(|commit| commit.id == id);
        if let Some(taker) = commit.and_then(|commit| commit.taker(peer)) {
            *taker = Taker::Failed;
        }
    }

    pub(super) fn abandon(&mut self, client: ClientId) {
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

impl<R> Replica<R> {
    /// A peer answered a call of this mandate.
    pub(super) fn peer_answered(
        &mut self,
        cx: &mut Context<'_, R>,
        call: Outstanding,
        reply: Result<Reply<R>, CallError>,
    ) {
        let retry = cx.now.moment + self.profile.beacon / 4;
        let peer = call.to;
        if let (Purpose::Prepare(id), Err(CallError::Aborted(AbortCode::NO_QUORUM))) = (call.purpose, &reply)
            && self.refused_to_begin(cx, peer, id)
        {
            return;
        }
        let Some(role) = &mut self.role else { return };
        match (call.purpose, reply) {
            (Purpose::Finish, _) => {}
            (Purpose::Ask, Ok(Reply::Version(version))) => self.peer_holds(cx, peer, version),
            (Purpose::Send(version), Ok(_)) => {
                let overtaken = &mut role.overtaken[peer.index()];
                *overtaken = if version == self.tail { 0 } else { *overtaken + 1 };
                self.peer_holds(cx, peer, version);
                self.spare_unbound(cx, peer);
            }
            (Purpose::Fetch, Ok(Reply::Database(version, received))) => {
                role.recovery.holds(peer, version);
                self.fetched(cx, version, received);
            }
            (Purpose::Prepare(id), Ok(_)) => self.prepared_step(cx, peer, id),
            (Purpose::Commit(id), Ok(_)) => self.peer_committed(peer, id),
            (Purpose::Prepare(id) | Purpose::Commit(id), Err(_)) => role.taker_failed(peer, id, retry),
            (Purpose::Ask | Purpose::Fetch | Purpose::Send(_), reply) => {
                role.recovery.failed(peer, retry);
                if let Err(CallError::Local(error)) = reply {
                    cx.outputs.push(Output::DiskFailed(format!(
                        "cannot keep a database that is received: {error}"
                    )));
                }
            }
        }
    }

    /// Does what the sync site's state allows, until nothing changes any more.
    pub(super) fn settle_role(&mut self, cx: &mut Context<'_, R>) {
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

    /// Whether this server's own promise is still its own, in this mandate's epoch: asked before
    /// it does anything that counts as its vote for a version (`docs/ubik-protocol.md`, Fence).
    pub(super) fn is_bound_to_self(&self, cx: &Context<'_, R>) -> bool {
        let record = cx.election.voter().promise_record();
        let epoch = self.role.as_ref().map(SyncSite::epoch);
        record.to == Some(self.cell.me()) && Some(record.max_epoch) == epoch
    }

    pub(super) fn update_claim(&mut self, cx: &mut Context<'_, R>) {
        let voted = self.voted(cx);
        let visible = self.visible;
        let foreign = self.cell.foreign_peers();
        let Some(role) = &mut self.role else { return };
        let claim = role.next_claim(visible, voted, foreign);
        if claim != role.claim {
            role.claim = claim;
            let commands = cx.election.set_claim(cx.now, claim);
            cx.extend(commands);
        }
    }
}
