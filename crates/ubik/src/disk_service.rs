//! REMOTE: the calls with which a sync site works on this server's copy.
//!
//! Each is decided under the database lock; what the disk has to do for it is done without, and what comes meanwhile waits
//! ([`crate::disk_work`]). Who may call is asked under that lock too (`docs/ubik-protocol.md`, Fence): a server that has promised
//! another does nothing more for the old sync site, and whoever asks for its version afterwards is answered when the disk is
//! done with everything that came before, and sees all of it.

use ubik_proto::cell::{Dialect, ServerId};
use ubik_proto::code::AbortCode;
use ubik_proto::messages::DiskCall;
use ubik_proto::plant::{Fault, planted};
use ubik_proto::remote::Release;
use ubik_proto::version::Version;

use crate::database::ApplyError;
use crate::disk_work::DiskWork;
use crate::effect::{Answer, AnswerId, Effect};
use crate::phys::Replacement;
use crate::replica::{Context, Replica, Then};

impl Replica {
    /// A peer calls; the answer is an [`Effect::Answer`]. `SendFile` has a function of its own, [`Replica::on_database`].
    pub fn on_call(&mut self, cx: &mut Context<'_, '_>, from: ServerId, answer: AnswerId, call: DiskCall) {
        let early = planted(Fault::VersionToldEarly) && call == DiskCall::GetVersion;
        if self.disk_is_busy() && !early {
            return self.defer_call(from, answer, call);
        }
        match self.serve(cx, from, answer, call) {
            Ok(Some(done)) => cx.effects.push(Effect::Answer(answer, Ok(done))),
            Ok(None) => {}
            Err(code) => cx.effects.push(Effect::Answer(answer, Err(code))),
        }
        self.settle(cx);
    }

    /// `None` if the answer has to wait for the disk.
    fn serve(
        &mut self,
        cx: &mut Context<'_, '_>,
        from: ServerId,
        answer: AnswerId,
        call: DiskCall,
    ) -> Result<Option<Answer>, AbortCode> {
        if call.transaction().is_some() {
            self.check_fence(cx, from, &call)?;
        }
        match call {
            DiskCall::Begin(id) => {
                self.check_not_behind(cx, from)?;
                self.remote.begin(from, id)?;
            }
            DiskCall::Lock { transaction, length, kind, .. } => {
                self.remote.lock(from, transaction, length, kind)?
            }
            DiskCall::Write { transaction, write } => self.remote.write(from, transaction, vec![write])?,
            DiskCall::WriteV { transaction, writes } => self.remote.write(from, transaction, writes)?,
            DiskCall::Truncate { transaction, file, length } => {
                self.remote.truncate(from, transaction, file, length)?;
            }
            DiskCall::SetVersion { transaction, old, new } => {
                self.remote.check(from, transaction)?;
                // OpenAFS goes on to commit when it was refused: that would count on from another version.
                if self.database.version() != old || new <= old {
                    self.remote.clear();
                    return Err(AbortCode::OUT_OF_SYNC);
                }
                self.start_disk(cx, DiskWork::Label(new), Then::Moved(answer, old, new));
                return Ok(None);
            }
            DiskCall::Commit(id) => {
                let old = self.database.version();
                let new = old.next().ok_or(AbortCode::INTERNAL)?;
                let changes = self.remote.commit(from, id)?;
                let work = DiskWork::Commit { changes, version: new };
                self.start_disk(cx, work, Then::Moved(answer, old, new));
                return Ok(None);
            }
            DiskCall::Abort(id) => self.remote.abort(from, id)?,
            DiskCall::ReleaseLocks(id) => {
                if self.remote.release(from, id)? == Release::Reveal {
                    self.released(cx);
                }
            }
            DiskCall::GetVersion if self.role.is_some() => return Err(AbortCode::DEADLOCK),
            DiskCall::GetVersion => return Ok(Some(Answer::Version(self.database.version()))),
            DiskCall::GetFile { file: 0 } => return Ok(Some(Answer::Database(self.database.tail()))),
            DiskCall::GetFile { .. } => return Err(AbortCode::NO_ENTRY),
            DiskCall::Probe | DiskCall::UpdateInterfaceAddr(_) => {}
            DiskCall::SendFile { .. } => return Err(AbortCode::INTERNAL),
        }
        Ok(Some(Answer::Done))
    }

    /// The disk has moved the database on, as a peer asked.
    pub(crate) fn moved(
        &mut self,
        cx: &mut Context<'_, '_>,
        answer: AnswerId,
        (old, new): (Version, Version),
        done: Result<(), ApplyError>,
    ) {
        let done = done.map_err(|error| self.disk_failed(cx, &error));
        if done.is_ok() {
            cx.election().version_moved(old, new);
            if planted(Fault::FollowerShowsPending) {
                self.database.reveal();
            }
        }
        cx.effects.push(Effect::Answer(answer, done.map(|()| Answer::Done)));
    }

    /// Only the server that has this one's promise is served, and only in the epoch that was promised.
    ///
    /// //= docs/ubik-protocol.md#fence
    fn check_fence(
        &mut self,
        cx: &mut Context<'_, '_>,
        from: ServerId,
        call: &DiskCall,
    ) -> Result<(), AbortCode> {
        let ours = self.cell.server(from).dialect == Dialect::Quorate;
        let record = cx.election().voter().promise_record();
        let other_epoch = call.transaction().is_some_and(|id| ours && id.epoch != record.max_epoch);
        if (self.role.is_some() || record.to != Some(from) || other_epoch) && !planted(Fault::NoFence) {
            return Err(AbortCode::OUT_OF_SYNC);
        }
        Ok(())
    }

    /// A commit of OpenAFS's names no version, so a server that missed one would count on from another copy. Nothing but
    /// the sync site's memory of who is in step stands against that; what its last beacon named is another witness. An
    /// older name proves nothing: the beacon may have left before a commit that has come since.
    ///
    /// //= docs/ubik-protocol.md#mixed-cells
    fn check_not_behind(&mut self, cx: &mut Context<'_, '_>, from: ServerId) -> Result<(), AbortCode> {
        let foreign = self.cell.server(from).dialect == Dialect::OpenAfs;
        let own = self.database.version();
        let named =
            cx.election().voter().following().filter(|site| site.host == from).map(|site| site.version);
        if foreign && named.is_some_and(|named| named > own) && !planted(Fault::BegunBehind) {
            return Err(AbortCode::NO_QUORUM);
        }
        Ok(())
    }

    /// The sync site is done with a commit that is here: it was decided.
    fn released(&mut self, cx: &mut Context<'_, '_>) {
        let tail = self.database.version();
        self.database.reveal();
        // A beacon that was sent before the commit may have said the version before it since.
        let before = Version::new(tail.epoch, tail.counter.saturating_sub(1));
        cx.election().version_moved(before, tail);
    }

    /// Whether `from` may replace this server's database by one of `version`: asked before its first byte is received, so
    /// that a refusal costs neither time nor space, and again when it is complete (U49).
    ///
    /// # Errors
    /// What the caller is told.
    pub fn may_send(
        &mut self,
        cx: &mut Context<'_, '_>,
        from: ServerId,
        version: Version,
    ) -> Result<(), AbortCode> {
        let ours = self.cell.server(from).dialect == Dialect::Quorate;
        let record = cx.election().voter().promise_record();
        if (self.role.is_some() || record.to != Some(from)) && !planted(Fault::NoFence) {
            return Err(AbortCode::OUT_OF_SYNC);
        }
        let own = self.database.version();
        // A sync site of ours labels what it adopted before it sends it, so what it sends is never older.
        let old = ours && (version < own || version.epoch != record.max_epoch);
        if old && !planted(Fault::OlderDatabaseTaken) { Err(AbortCode::OUT_OF_SYNC) } else { Ok(()) }
    }

    /// The sync site has sent its whole database; it is complete in `received`. The answer is an [`Effect::Answer`].
    pub fn on_database(
        &mut self,
        cx: &mut Context<'_, '_>,
        from: ServerId,
        answer: AnswerId,
        version: Version,
        received: Box<dyn Replacement>,
    ) {
        if self.disk_is_busy() {
            return self.defer_database(from, answer, version, received);
        }
        match self.may_send(cx, from, version) {
            Err(code) => cx.effects.push(Effect::Answer(answer, Err(code))),
            Ok(()) if version == self.database.version() => {
                cx.effects.push(Effect::Answer(answer, Ok(Answer::Done)));
            }
            Ok(()) => {
                self.remote.clear();
                self.start_disk(cx, DiskWork::Replace { received, version }, Then::Placed(answer));
            }
        }
        self.settle(cx);
    }

    /// A peer's database is in place.
    pub(crate) fn placed(
        &mut self,
        cx: &mut Context<'_, '_>,
        answer: AnswerId,
        done: Result<(), ApplyError>,
    ) {
        let done = done.map_err(|error| self.disk_failed(cx, &error));
        cx.effects.push(Effect::Answer(answer, done.map(|()| Answer::Done)));
    }

    fn disk_failed(&mut self, cx: &mut Context<'_, '_>, error: &ApplyError) -> AbortCode {
        self.remote.clear();
        self.note_disk_failure(cx, error);
        AbortCode::IO
    }
}
