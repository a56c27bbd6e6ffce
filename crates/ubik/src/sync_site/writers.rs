//! Whose turn it is to write.

use ubik_proto::recovery::Busy;
use ubik_proto::remote::{MAX_GROUP_BYTES, MAX_TRANSACTION_BYTES};
use ubik_proto::version::Version;

use super::{PATIENT_TRANSFERS, SyncSite};
use crate::effect::{ClientEvent, ClientId, Effect, WriteError};
use crate::overlay::View;
use crate::replica::{Context, Replica};
use crate::snapshot::Snapshot;

/// Above this, in bytes, a group takes no further transaction: with the largest one it is still within what a server takes.
const LARGEST_GROUP: usize = MAX_GROUP_BYTES - MAX_TRANSACTION_BYTES;

impl SyncSite {
    /// Whether a writer may begin, as far as other writers are concerned.
    fn has_room(&self) -> bool {
        let waiting = self.group.as_ref().map_or(0, |group| group.bytes);
        self.writer.is_none() && waiting <= LARGEST_GROUP
    }

    /// What the next writer begins with: what is here, and all that will have been committed before it.
    fn next_view(&self, visible: Option<Version>, tail: Snapshot) -> View {
        let under_way = self.commit.as_ref().filter(|commit| !commit.labels).map(|commit| &commit.pages);
        let waiting = self.group.as_ref().map(|group| &group.pages);
        let here = if visible == Some(tail.version()) { View::from(tail) } else { View::undecided(tail) };
        under_way.into_iter().chain(waiting).cloned().fold(here, View::with)
    }
}

impl Replica {
    /// An application wants to write; it is told when it may, in turn.
    pub fn begin_write(&mut self, cx: &mut Context<'_, '_>, client: ClientId) {
        if self.role.is_some() {
            self.writers.push_back(client);
            self.settle(cx);
        } else {
            let sync_site = self.sync_site(cx);
            cx.tell(client, ClientEvent::WriteFailed(WriteError::NotSyncSite { sync_site }));
        }
    }

    /// Before an epoch's numbers are used up this server stands again, in the next one; its own promise is still its own, and
    /// so are those of its voters.
    ///
    /// //= docs/ubik-protocol.md#epochs
    fn roll_epoch(&mut self, cx: &mut Context<'_, '_>) -> bool {
        let most = self.profile.epoch_commits;
        let Some(role) = &self.role else { return false };
        if role.transactions < most && self.database.version().counter < most {
            return false;
        }
        let (now, epoch) = (cx.now, role.epoch());
        let commands = cx.election().demand_epoch(now, epoch);
        cx.effects.extend(commands.into_iter().map(Effect::Election));
        true
    }

    /// Lets the next writer begin; returns whether one did.
    pub(super) fn admit_writer(&mut self, cx: &mut Context<'_, '_>) -> bool {
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
        if held_back || !cx.election().holds_mandate(now) {
            return false;
        }
        let Some(client) = self.writers.pop_front() else {
            return false;
        };
        role.writer = Some(client);
        let view = role.next_view(self.database.visible_version(), self.database.tail());
        cx.tell(client, ClientEvent::WriteBegun(view));
        true
    }
}
