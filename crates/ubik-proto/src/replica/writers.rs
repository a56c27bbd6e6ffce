//! Whose turn it is to write.

use std::sync::Arc;

use super::outputs::{ClientId, Output, Told, WriteError};
use super::recovery::Busy;
use super::remote::{MAX_GROUP_BYTES, MAX_TRANSACTION_BYTES};
use super::{Context, Replica, SyncSite};
use crate::changed::{Changed, Written};

/// After so many transfers that were overtaken by commits, writers wait for the next one.
const PATIENT_TRANSFERS: u32 = 2;
/// Above this, in bytes, a group takes no further transaction: with the largest one it is still within what a server takes.
const LARGEST_GROUP: usize = MAX_GROUP_BYTES - MAX_TRANSACTION_BYTES;

impl SyncSite {
    /// Whether a writer may begin, as far as other writers are concerned.
    fn has_room(&self) -> bool {
        let waiting = self.group.as_ref().map_or(0, |group| group.bytes);
        self.writer.is_none() && waiting <= LARGEST_GROUP
    }

    /// What the next writer begins with over the tail: all that will have been committed before it, oldest first.
    fn made_before(&self) -> Vec<Arc<Changed>> {
        let under_way = self.commit.as_ref().filter(|commit| !commit.labels).map(|commit| &commit.pages);
        let waiting = self.group.as_ref().map(|group| &group.pages);
        under_way.into_iter().chain(waiting).cloned().collect()
    }
}

impl<R> Replica<R> {
    /// An application wants to write; it is told when it may, in turn.
    pub fn begin_write(&mut self, cx: &mut Context<'_, R>, client: ClientId) {
        if self.role.is_some() {
            self.writers.push_back(client);
            self.settle(cx);
        } else {
            let sync_site = self.sync_site(cx);
            cx.tell(client, Told::WriteFailed(WriteError::NotSyncSite { sync_site }));
        }
    }

    /// Before an epoch's numbers are used up this server stands again, in the next one; its own promise is still its own, and
    /// so are those of its voters.
    ///
    /// //= docs/ubik-protocol.md#epochs
    fn roll_epoch(&mut self, cx: &mut Context<'_, R>) -> bool {
        let most = self.profile.epoch_commits;
        let Some(role) = &self.role else { return false };
        if role.transactions < most && self.tail.counter < most {
            return false;
        }
        let (now, epoch) = (cx.now, role.epoch());
        let commands = cx.election.demand_epoch(now, epoch);
        cx.extend(commands);
        true
    }

    /// Lets the next writer begin; returns whether one did.
    pub(super) fn admit_writer(&mut self, cx: &mut Context<'_, R>) -> bool {
        let now = cx.now.moment;
        let Some(role) = &mut self.role else { return false };
        if !role.is_established() || !role.has_room() || self.writers.is_empty() || self.roll_epoch(cx) {
            return false;
        }
        let Some(role) = &mut self.role else { return false };
        let held_back = self.cell.peers().any(|id| {
            let sending = matches!(role.recovery.known(id).busy, Busy::Sending(_));
            sending && role.overtaken[id.index()] >= PATIENT_TRANSFERS
        });
        if held_back || !cx.election.holds_mandate(now) {
            return false;
        }
        let Some(client) = self.writers.pop_front() else {
            return false;
        };
        role.writer = Some(client);
        let over = role.made_before();
        let certain = over.is_empty() && !self.is_pending();
        cx.outputs.push(Output::LetWrite { client, over, certain });
        true
    }

    /// The application's transaction is complete.
    pub fn commit(&mut self, cx: &mut Context<'_, R>, client: ClientId, written: Written) {
        let Some(role) = self.role.as_mut().filter(|role| role.writer == Some(client)) else {
            cx.tell(client, Told::WriteFailed(WriteError::Over));
            return;
        };
        role.writer = None;
        role.group.get_or_insert_default().add(client, written);
        self.settle(cx);
    }
}
