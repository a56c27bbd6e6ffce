//! When a commit is logged here, when a quorum has it, and when nobody can read what was before: steps 2 to 7 of `commit`.
//!
//! //= docs/ubik-protocol.md#commit

use super::commit::{Stage, Taker};
use super::disk::Then;
use super::outputs::{DiskFailure, Output, Told, WriteError};
use super::recovery::{Busy, Verdict, verdict};
use super::{Context, Purpose, Replica};
use crate::messages::DiskCall;
use crate::plant::{Fault, planted};

impl<R> Replica<R> {
    /// Steps 2 to 7 of the commit, as far as they can go; returns whether it ended.
    pub(super) fn decide(&mut self, cx: &mut Context<'_, R>) -> bool {
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
    fn log_commit(&mut self, cx: &mut Context<'_, R>) -> bool {
        let now = cx.now.moment;
        let bound = self.is_bound_to_self(cx);
        let (mandate, quorum) = (cx.election.holds_mandate(now), cx.election.quorum());
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
        self.start_disk(cx, Output::Append { changes, version }, version, Then::OwnCommit);
        true
    }

    /// Step 5: the commit is in the own log.
    pub(super) fn own_commit_logged(&mut self, cx: &mut Context<'_, R>, done: Result<(), DiskFailure>) {
        if let Err(error) = done {
            return self.logging_failed(cx, &error);
        }
        let me = self.cell.me();
        if let Some(commit) = self.role.as_mut().and_then(|role| role.commit.as_mut()) {
            commit.holders.insert(me);
        }
        if planted(Fault::ShownBeforeQuorum) {
            self.reveal(cx);
        }
    }

    /// Others may have it: its fate is another sync site's to find out.
    fn logging_failed(&mut self, cx: &mut Context<'_, R>, error: &DiskFailure) {
        if let Some(role) = &mut self.role {
            role.fail_waiting(cx, &WriteError::LostMandate);
            if let Some(commit) = role.commit.take() {
                let undecided = || Told::Undecided(commit.version);
                commit.clients.iter().for_each(|&client| cx.tell(client, undecided()));
            }
        }
        self.note_disk_failure(cx, error);
    }

    /// The transaction never was: nothing of it is in any log.
    fn undo(&mut self, cx: &mut Context<'_, R>, error: WriteError) {
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
            cx.tell(client, Told::WriteFailed(error.clone()));
        }
    }

    /// Steps 6 and 7; returns whether the commit ended.
    fn decided(&mut self, cx: &mut Context<'_, R>) -> bool {
        let now = cx.now.moment;
        // What is shown then must be here, whoever else has it.
        if self.disk_is_busy() && !planted(Fault::OwnLogAssumed) {
            return false;
        }
        let Some(role) = &mut self.role else { return false };
        let Some(commit) = role.commit.as_ref().filter(|commit| commit.stage == Stage::Deciding) else {
            return false;
        };
        let holders = commit.holders;
        let lacking = self.cell.peers().filter(|&id| !holders.contains(id));
        let obligations = lacking.map(|id| cx.election.beaconer().obligation(id));
        let outcome = verdict(cx.election.quorum(), holders, now, obligations);
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

    fn finish(&mut self, cx: &mut Context<'_, R>) {
        let Some(role) = &mut self.role else { return };
        let Some(commit) = role.commit.take() else { return };
        let epoch = role.epoch();
        role.recovery.established();
        self.reveal(cx);
        let done = commit.servers(|taker| matches!(taker, Taker::Done));
        for &client in &commit.clients {
            cx.tell(client, Told::Committed(commit.version));
        }
        for to in done.iter() {
            self.call(cx, epoch, to, Purpose::Finish, DiskCall::ReleaseLocks(commit.id));
        }
    }
}
