//! What a new sync site does before its first commit, as the table of [`super::recovery`] says: ask, fetch, label, send.
//!
//! //= docs/ubik-protocol.md#recovery

use super::commit::Stage;
use super::disk::Then;
use super::outputs::{DiskFailure, Output};
use super::recovery::{Progress, Step};
use super::{Context, Purpose, Replica};
use crate::cell::{ServerId, ServerSet};
use crate::messages::DiskCall;
use crate::plant::{Fault, planted};
use crate::version::Version;

impl<R> Replica<R> {
    pub(super) fn fetched(&mut self, cx: &mut Context<'_, R>, version: Version, received: R) {
        let wanted = self.role.as_ref().is_some_and(|role| role.progress() == Progress::FoundDatabase);
        if !wanted || self.disk_is_busy() || !self.is_bound_to_self(cx) || version <= self.tail {
            return;
        }
        self.start_disk(cx, Output::Install { received, version }, version, Then::Adopted);
    }

    /// The newest database is in place.
    pub(super) fn adopted(&mut self, cx: &mut Context<'_, R>, done: Result<(), DiskFailure>) {
        match (done, &mut self.role) {
            (Ok(()), Some(role)) => role.recovery.fetched(),
            (Ok(()), None) => {}
            (Err(error), _) => self.note_disk_failure(cx, &error),
        }
    }

    pub(super) fn recover(&mut self, cx: &mut Context<'_, R>) {
        // What is here is not known then, and what others hold cannot be compared with it.
        if self.disk_is_busy() {
            return;
        }
        let voted = self.reached(cx);
        let tail = self.tail;
        let Some(role) = &mut self.role else { return };
        let relabelling =
            role.commit.as_ref().is_some_and(|commit| commit.labels && commit.stage == Stage::Preparing);
        if relabelling {
            return;
        }
        let epoch = role.epoch();
        for step in role.recovery.next(cx.now.moment, voted, tail) {
            match step {
                Step::Ask(peer) => self.call(cx, epoch, peer, Purpose::Ask, DiskCall::GetVersion),
                Step::Fetch(peer) => {
                    let token = self.token(epoch, peer, Purpose::Fetch);
                    cx.outputs.push(Output::Fetch { to: peer, token });
                }
                Step::DemandEpoch(above) => {
                    let commands = cx.election.demand_epoch(cx.now, above);
                    cx.extend(commands);
                }
                Step::Relabel => self.begin_relabel(cx, epoch),
                Step::Send(peer) => {
                    let token = self.token(epoch, peer, Purpose::Send(tail));
                    cx.outputs.push(Output::Send { to: peer, token, version: tail });
                }
            }
        }
    }

    /// The peers whose versions are asked and to whom the database is sent: those that have voted, and, once this server
    /// serves, such as answer clients before they vote.
    fn reached(&self, cx: &Context<'_, R>) -> ServerSet {
        let voted = self.voted(cx);
        match self.role.as_ref().filter(|role| role.is_established()) {
            Some(role) => role.unbound.reached(voted, |id| cx.election.beaconer().link(id).up),
            None => voted,
        }
    }

    /// A server has the database; if it has not voted, it is not sent the next ones at once.
    pub(super) fn spare_unbound(&mut self, cx: &Context<'_, R>, peer: ServerId) {
        let again = cx.now.moment + self.profile.promise;
        if !cx.election.has_vote_of(peer)
            && let Some(role) = &mut self.role
        {
            role.recovery.leave_alone(peer, again);
            role.unbound.spare(peer);
        }
    }

    /// A peer has voted; if it was sent the database before, what it lacks since then is found out now.
    pub(super) fn unbound_voted(&mut self, cx: &Context<'_, R>, peer: ServerId) {
        let Some(role) = &mut self.role else { return };
        if role.unbound.voted(peer) {
            role.recovery.leave_alone(peer, cx.now.moment);
            role.recovery.forget(peer);
        }
    }

    /// Commits the label again, after the disk refused it once.
    pub(super) fn retry_label(&mut self, cx: &mut Context<'_, R>) {
        let now = cx.now.moment;
        let busy = self.disk_is_busy();
        let Some(role) = &mut self.role else { return };
        if !busy && role.commit.is_none() && role.label_again.is_some_and(|at| now >= at) {
            role.label_again = None;
            let version = self.next_version();
            self.start_commit(cx, None, version, None);
        }
    }

    /// Labels the adopted database with this mandate's epoch, by a transaction that changes nothing else.
    fn begin_relabel(&mut self, cx: &mut Context<'_, R>, epoch: u32) {
        let (old, label) = (self.tail, Version::new(epoch, 1));
        if !self.is_bound_to_self(cx) {
            return;
        }
        self.start_disk(cx, Output::Label(label), label, Then::OwnLabel(old));
    }

    /// The adopted database has this mandate's label, `old` before.
    pub(super) fn own_label_written(
        &mut self,
        cx: &mut Context<'_, R>,
        old: Version,
        done: Result<(), DiskFailure>,
    ) {
        if let Err(error) = done {
            return self.note_disk_failure(cx, &error);
        }
        let label = self.tail;
        if let Some(role) = &mut self.role {
            role.recovery.labelled();
            if planted(Fault::NoRelabel) {
                role.recovery.established();
                self.reveal(cx);
            }
        }
        let version = self.next_version();
        self.start_commit(cx, None, version, Some((old, label)));
    }
}
