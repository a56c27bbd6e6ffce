//! The sync site tells the servers in step what a commit changes, each on its own.
//!
//! Step 1 of `commit`; what they are told is the dialogue of OpenAFS's transactions ([`crate::stock`]).

use super::commit::{Commit, Group, Stage, Taker};
use super::recovery::Busy;
use super::{Context, Outstanding, Purpose, Replica};
use crate::cell::{ServerId, ServerSet};
use crate::messages::DiskCall;
use crate::plant::{Fault, planted};
use crate::stock::Due;
use crate::version::{TransactionId, Version};

impl<R> Replica<R> {
    /// Begins to commit what was completed since the commit before; returns whether there was anything.
    pub(super) fn commit_group(&mut self, cx: &mut Context<'_, R>) -> bool {
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
    fn takers(&self, cx: &Context<'_, R>, from: Version) -> ServerSet {
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

    pub(super) fn start_commit(
        &mut self,
        cx: &mut Context<'_, R>,
        group: Option<Group>,
        version: Version,
        relabel: Option<(Version, Version)>,
    ) {
        let from = relabel.map_or(self.tail, |(old, _)| old);
        let takers = self.takers(cx, from);
        let Some(role) = &mut self.role else { return };
        role.transactions += 1;
        role.beginners.clear();
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

    /// A server refuses to begin a transaction; returns whether it is told the version again, by a beacon, and then asked again.
    pub(super) fn refused_to_begin(
        &mut self,
        cx: &mut Context<'_, R>,
        peer: ServerId,
        id: TransactionId,
    ) -> bool {
        if self.cell.server(peer).dialect.keeps_epochs() {
            return false;
        }
        let Some(role) = &mut self.role else { return false };
        let commit = role.commit.as_ref().filter(|commit| commit.id == id);
        if !commit.is_some_and(|commit| commit.is_at_begin(peer)) {
            role.beginners.forget(peer);
            return false;
        }
        if !role.beginners.refused(cx.now.moment, peer, self.profile.disk_timeout) {
            return false;
        }
        let commands = cx.election.tell_again(cx.now, peer);
        cx.extend(commands);
        true
    }

    /// A peer has answered a beacon.
    pub(super) fn beginner_told(&mut self, peer: ServerId) {
        let Some(role) = &mut self.role else { return };
        if role.commit.as_ref().is_some_and(|commit| commit.is_at_begin(peer)) {
            role.beginners.told(peer);
        } else {
            role.beginners.forget(peer);
        }
    }

    /// Asks those again that refused to begin and whose pause is over; gives up who answers no beacon, or refuses for too long.
    pub(super) fn settle_beginners(&mut self, cx: &mut Context<'_, R>) {
        let now = cx.now.moment;
        let retry = now + self.profile.beacon / 4;
        let Some(role) = &self.role else { return };
        for (peer, due) in role.beginners.due(now) {
            let waits = |call: &Outstanding| call.to == peer && matches!(call.purpose, Purpose::Prepare(_));
            let waiting = self.calls.values().any(waits);
            let Some(role) = &mut self.role else { return };
            let Some(commit) = role.commit.as_ref().filter(|c| c.is_at_begin(peer) && !waiting) else {
                role.beginners.forget(peer);
                continue;
            };
            let (id, epoch) = (commit.id, role.epoch());
            match due {
                Due::GiveUp => {
                    role.beginners.forget(peer);
                    role.taker_failed(peer, id, retry);
                }
                Due::AskAgain => {
                    role.beginners.asked(peer);
                    self.call(cx, epoch, peer, Purpose::Prepare(id), DiskCall::Begin(id));
                }
            }
        }
    }

    pub(super) fn prepared_step(&mut self, cx: &mut Context<'_, R>, peer: ServerId, id: TransactionId) {
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

    pub(super) fn peer_committed(&mut self, peer: ServerId, id: TransactionId) {
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

    /// A peer is known to hold `version`, if it is still bound to this mandate.
    pub(super) fn peer_holds(&mut self, cx: &Context<'_, R>, peer: ServerId, version: Version) {
        let bound = cx.election.has_vote_of(peer);
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

    pub(super) fn next_version(&self) -> Version {
        self.tail.next().expect("Profile::check leaves counters above epoch_commits")
    }
}
