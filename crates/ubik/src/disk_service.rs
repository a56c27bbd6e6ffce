//! REMOTE: the calls with which a sync site works on this server's copy.
//!
//! Each runs under the database lock from its first look at the state to its answer, and none waits: a reader keeps the
//! snapshot it has. Who may call is asked under that lock too (`docs/ubik-protocol.md`, Fence): a server that has
//! promised another does nothing more for the old sync site, and whoever asks for its version afterwards sees all that
//! was done before.

use ubik_proto::cell::{Dialect, ServerId};
use ubik_proto::code::AbortCode;
use ubik_proto::messages::DiskCall;
use ubik_proto::plant::{Fault, planted};
use ubik_proto::remote::Release;
use ubik_proto::version::Version;

use crate::database::ApplyError;
use crate::effect::Answer;
use crate::phys::Replacement;
use crate::replica::{Context, Replica};

impl Replica {
    /// A peer calls. `SendFile` has a function of its own, [`Replica::on_database`].
    ///
    /// # Errors
    /// What the caller is told; nothing was changed.
    pub fn on_call(
        &mut self,
        cx: &mut Context<'_, '_>,
        from: ServerId,
        call: DiskCall,
    ) -> Result<Answer, AbortCode> {
        let answer = self.serve(cx, from, call);
        self.settle(cx);
        answer
    }

    fn serve(
        &mut self,
        cx: &mut Context<'_, '_>,
        from: ServerId,
        call: DiskCall,
    ) -> Result<Answer, AbortCode> {
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
                self.relabel(cx, old, new).inspect_err(|_| self.remote.clear())?;
            }
            DiskCall::Commit(id) => {
                let old = self.database.version();
                let new = old.next().ok_or(AbortCode::INTERNAL)?;
                let changes = self.remote.commit(from, id)?;
                let applied = self.database.apply(&changes, new);
                applied.map_err(|error| self.disk_failed(cx, &error))?;
                cx.power().version_moved(old, new);
                if planted(Fault::FollowerShowsPending) {
                    self.database.reveal();
                }
            }
            DiskCall::Abort(id) => self.remote.abort(from, id)?,
            DiskCall::ReleaseLocks(id) => {
                if self.remote.release(from, id)? == Release::Reveal {
                    self.released(cx);
                }
            }
            DiskCall::GetVersion if self.role.is_some() => return Err(AbortCode::DEADLOCK),
            DiskCall::GetVersion => return Ok(Answer::Version(self.database.version())),
            DiskCall::GetFile { file: 0 } => return Ok(Answer::Database(self.database.tail())),
            DiskCall::GetFile { .. } => return Err(AbortCode::NO_ENTRY),
            DiskCall::Probe | DiskCall::UpdateInterfaceAddr(_) => {}
            DiskCall::SendFile { .. } => return Err(AbortCode::INTERNAL),
        }
        Ok(Answer::Done)
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
        let record = cx.power().voter().promise_record();
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
        let named = cx.power().voter().following().filter(|site| site.host == from).map(|site| site.version);
        if foreign && named.is_some_and(|named| named > own) && !planted(Fault::BegunBehind) {
            return Err(AbortCode::NO_QUORUM);
        }
        Ok(())
    }

    fn relabel(&mut self, cx: &mut Context<'_, '_>, old: Version, new: Version) -> Result<(), AbortCode> {
        if self.database.version() != old || new <= old {
            return Err(AbortCode::OUT_OF_SYNC);
        }
        self.database.relabel(new).map_err(|error| self.disk_failed(cx, &error))?;
        cx.power().version_moved(old, new);
        Ok(())
    }

    /// The sync site is done with a commit that is here: it was decided.
    fn released(&mut self, cx: &mut Context<'_, '_>) {
        let tail = self.database.version();
        self.database.reveal();
        // A beacon that was sent before the commit may have said the version before it since.
        let before = Version::new(tail.epoch, tail.counter.saturating_sub(1));
        cx.power().version_moved(before, tail);
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
        let record = cx.power().voter().promise_record();
        if (self.role.is_some() || record.to != Some(from)) && !planted(Fault::NoFence) {
            return Err(AbortCode::OUT_OF_SYNC);
        }
        let own = self.database.version();
        // A sync site of ours labels what it adopted before it sends it, so what it sends is never older.
        let old = ours && (version < own || version.epoch != record.max_epoch);
        if old && !planted(Fault::OlderDatabaseTaken) { Err(AbortCode::OUT_OF_SYNC) } else { Ok(()) }
    }

    /// The sync site has sent its whole database; it is complete in `received`.
    ///
    /// # Errors
    /// What the caller is told; the old database is in its place.
    pub fn on_database(
        &mut self,
        cx: &mut Context<'_, '_>,
        from: ServerId,
        version: Version,
        received: Box<dyn Replacement>,
    ) -> Result<Answer, AbortCode> {
        let answer = self.take_database(cx, from, version, received);
        self.settle(cx);
        answer
    }

    fn take_database(
        &mut self,
        cx: &mut Context<'_, '_>,
        from: ServerId,
        version: Version,
        received: Box<dyn Replacement>,
    ) -> Result<Answer, AbortCode> {
        self.may_send(cx, from, version)?;
        if version == self.database.version() {
            return Ok(Answer::Done);
        }
        self.remote.clear();
        self.database.replace(received, version).map_err(|error| self.disk_failed(cx, &error))?;
        Ok(Answer::Done)
    }

    fn disk_failed(&mut self, cx: &mut Context<'_, '_>, error: &ApplyError) -> AbortCode {
        self.remote.clear();
        self.note_disk_failure(cx, error);
        AbortCode::IO
    }
}
