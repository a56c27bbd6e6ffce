//! What recovery decides ([`ubik_proto::recovery`]), carried out: ask, fetch, label, send.

use ubik_proto::cell::ServerId;
use ubik_proto::messages::DiskCall;
use ubik_proto::plant::{Fault, planted};
use ubik_proto::recovery::{Progress, Step};
use ubik_proto::version::Version;

use super::Purpose;
use crate::commit::Stage;
use crate::database::ApplyError;
use crate::disk_work::DiskWork;
use crate::effect::Effect;
use crate::phys::Replacement;
use crate::replica::{Context, Replica, Then};

impl Replica {
    pub(super) fn fetched(
        &mut self,
        cx: &mut Context<'_, '_>,
        version: Version,
        received: Box<dyn Replacement>,
    ) {
        let wanted = self.role.as_ref().is_some_and(|role| role.progress() == Progress::FoundDatabase);
        if !wanted || self.disk_is_busy() || !self.is_bound_to_self(cx) || version <= self.database.version()
        {
            return;
        }
        self.start_disk(cx, DiskWork::Replace { received, version }, Then::Adopted);
    }

    /// The newest database is in place.
    pub(crate) fn adopted(&mut self, cx: &mut Context<'_, '_>, done: Result<(), ApplyError>) {
        match (done, &mut self.role) {
            (Ok(()), Some(role)) => role.recovery.fetched(),
            (Ok(()), None) => {}
            (Err(error), _) => self.note_disk_failure(cx, &error),
        }
    }

    pub(super) fn recover(&mut self, cx: &mut Context<'_, '_>) {
        // What is here is not known then, and what others hold cannot be compared with it.
        if self.disk_is_busy() {
            return;
        }
        let voted = self.reached(cx);
        let tail = self.database.version();
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
                Step::Fetch(peer) => self.fetch(cx, epoch, peer),
                Step::DemandEpoch(above) => {
                    let now = cx.now;
                    let commands = cx.election().demand_epoch(now, above);
                    cx.effects.extend(commands.into_iter().map(Effect::Election));
                }
                Step::Relabel => self.begin_relabel(cx, epoch),
                Step::Send(peer) => {
                    let token = self.token(epoch, peer, Purpose::Send(tail));
                    cx.effects.push(Effect::Send { to: peer, token, database: self.database.tail() });
                }
            }
        }
    }

    /// Commits the label again, after the disk refused it once.
    pub(super) fn retry_label(&mut self, cx: &mut Context<'_, '_>) {
        let now = cx.now.moment;
        let busy = self.disk_is_busy();
        let Some(role) = &mut self.role else { return };
        if !busy && role.commit.is_none() && role.label_again.is_some_and(|at| now >= at) {
            role.label_again = None;
            let version = self.next_version();
            self.start_commit(cx, None, version, None);
        }
    }

    fn fetch(&mut self, cx: &mut Context<'_, '_>, epoch: u32, peer: ServerId) {
        match self.database.receive() {
            Ok(into) => {
                let token = self.token(epoch, peer, Purpose::Fetch);
                cx.effects.push(Effect::Fetch { to: peer, token, into });
            }
            Err(error) => {
                cx.effects.push(Effect::DiskFailed(format!("cannot receive a database: {error}")));
                let retry = cx.now.moment + self.profile.beacon / 4;
                if let Some(role) = &mut self.role {
                    role.recovery.failed(peer, retry);
                }
            }
        }
    }

    /// Labels the adopted database with this mandate's epoch, by a transaction that changes nothing else.
    fn begin_relabel(&mut self, cx: &mut Context<'_, '_>, epoch: u32) {
        let (old, label) = (self.database.version(), Version::new(epoch, 1));
        if !self.is_bound_to_self(cx) {
            return;
        }
        self.start_disk(cx, DiskWork::Label(label), Then::OwnLabel(old));
    }

    /// The adopted database has this mandate's label, `old` before.
    pub(crate) fn own_label_written(
        &mut self,
        cx: &mut Context<'_, '_>,
        old: Version,
        done: Result<(), ApplyError>,
    ) {
        if let Err(error) = done {
            return self.note_disk_failure(cx, &error);
        }
        let label = self.database.version();
        if let Some(role) = &mut self.role {
            role.recovery.labelled();
            if planted(Fault::NoRelabel) {
                role.recovery.established();
                self.database.reveal();
            }
        }
        let version = self.next_version();
        self.start_commit(cx, None, version, Some((old, label)));
    }
}
