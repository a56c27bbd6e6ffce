//! What a server in step does for its sync site: the calls with which that works on this copy (REMOTE).
//!
//! Who may call is asked in the same step in which the call is decided (`docs/ubik-protocol.md`, Fence): a server that has
//! promised another does nothing more for the old sync site; and whoever asks for its version afterwards is answered when the disk
//! is done with everything that came before, and sees all of it.

use super::disk::{Deferred, Then};
use super::outputs::{Answer, AnswerId, DiskFailure, Output};
use super::remote::Release;
use super::{Context, Replica};
use crate::cell::ServerId;
use crate::code::AbortCode;
use crate::messages::DiskCall;
use crate::plant::{Fault, planted};
use crate::version::Version;

impl<R> Replica<R> {
    /// A peer calls; the answer is an [`Output::Answer`]. `SendFile` has a function of its own, [`Replica::on_database`].
    pub fn on_call(&mut self, cx: &mut Context<'_, R>, from: ServerId, answer: AnswerId, call: DiskCall) {
        let early = planted(Fault::VersionToldEarly) && call == DiskCall::GetVersion;
        if self.disk_is_busy() && !early {
            return self.deferred.push_back(Deferred::Call(from, answer, call));
        }
        match self.serve(cx, from, answer, call) {
            Ok(Some(done)) => cx.outputs.push(Output::Answer(answer, Ok(done))),
            Ok(None) => {}
            Err(code) => cx.outputs.push(Output::Answer(answer, Err(code))),
        }
        self.settle(cx);
    }

    /// `None` if the answer has to wait for the disk.
    fn serve(
        &mut self,
        cx: &mut Context<'_, R>,
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
                if self.tail != old || new <= old {
                    self.remote.clear();
                    return Err(AbortCode::OUT_OF_SYNC);
                }
                self.start_disk(cx, Output::Label(new), new, Then::Moved(answer, old));
                return Ok(None);
            }
            DiskCall::Commit(id) => {
                let old = self.tail;
                let version = old.next().ok_or(AbortCode::INTERNAL)?;
                let changes = self.remote.commit(from, id)?;
                let work = Output::Append { changes, version };
                self.start_disk(cx, work, version, Then::Moved(answer, old));
                return Ok(None);
            }
            DiskCall::Abort(id) => self.remote.abort(from, id)?,
            DiskCall::ReleaseLocks(id) => {
                if self.remote.release(from, id)? == Release::Reveal {
                    self.released(cx);
                }
            }
            DiskCall::GetVersion if self.role.is_some() => return Err(AbortCode::DEADLOCK),
            DiskCall::GetVersion => return Ok(Some(Answer::Version(self.tail))),
            DiskCall::GetFile { file: 0 } => return Ok(Some(Answer::Tail)),
            DiskCall::GetFile { .. } => return Err(AbortCode::NO_ENTRY),
            DiskCall::Probe | DiskCall::UpdateInterfaceAddr(_) => {}
            DiskCall::SendFile { .. } => return Err(AbortCode::INTERNAL),
        }
        Ok(Some(Answer::Done))
    }

    /// The disk has moved the database on, as a peer asked.
    pub(super) fn moved(
        &mut self,
        cx: &mut Context<'_, R>,
        answer: AnswerId,
        old: Version,
        done: Result<(), DiskFailure>,
    ) {
        let done = done.map_err(|error| self.disk_failed(cx, &error));
        if done.is_ok() {
            cx.election.version_moved(old, self.tail);
            if planted(Fault::FollowerShowsPending) {
                self.reveal(cx);
            }
        }
        cx.outputs.push(Output::Answer(answer, done.map(|()| Answer::Done)));
    }

    /// Only the server that has this one's promise is served, and only in the epoch that was promised.
    ///
    /// //= docs/ubik-protocol.md#fence
    fn check_fence(
        &mut self,
        cx: &mut Context<'_, R>,
        from: ServerId,
        call: &DiskCall,
    ) -> Result<(), AbortCode> {
        let keeps_epochs = self.cell.server(from).dialect.keeps_epochs();
        let record = cx.election.voter().promise_record();
        let other_epoch = call.transaction().is_some_and(|id| keeps_epochs && id.epoch != record.max_epoch);
        if (self.role.is_some() || record.to != Some(from) || other_epoch) && !planted(Fault::NoFence) {
            return Err(AbortCode::OUT_OF_SYNC);
        }
        Ok(())
    }

    /// Whether this server may begin a transaction of `from`, by what the last beacon of that named.
    fn check_not_behind(&self, cx: &Context<'_, R>, from: ServerId) -> Result<(), AbortCode> {
        let following = cx.election.voter().following().filter(|followed| followed.host == from);
        let named = following.map(|followed| followed.version);
        let behind = self.cell.server(from).dialect.leaves_behind(named, self.tail);
        if behind { Err(AbortCode::NO_QUORUM) } else { Ok(()) }
    }

    /// The sync site is done with a commit that is here: it was decided.
    fn released(&mut self, cx: &mut Context<'_, R>) {
        let tail = self.tail;
        self.reveal(cx);
        // A beacon that was sent before the commit may have said the version before it since.
        let before = Version::new(tail.epoch, tail.counter.saturating_sub(1));
        cx.election.version_moved(before, tail);
    }

    /// Whether `from` may replace this server's database by one of `version`: asked before its first byte is received, so
    /// that a refusal costs neither time nor space, and again when it is complete.
    ///
    /// # Errors
    /// What the caller is told.
    pub fn may_send(
        &mut self,
        cx: &mut Context<'_, R>,
        from: ServerId,
        version: Version,
    ) -> Result<(), AbortCode> {
        let keeps_epochs = self.cell.server(from).dialect.keeps_epochs();
        let record = cx.election.voter().promise_record();
        if (self.role.is_some() || record.to != Some(from)) && !planted(Fault::NoFence) {
            return Err(AbortCode::OUT_OF_SYNC);
        }
        let own = self.tail;
        // A sync site of ours labels what it adopted before it sends it, so what it sends is never older.
        let old = keeps_epochs && (version < own || version.epoch != record.max_epoch);
        if old && !planted(Fault::OlderDatabaseTaken) { Err(AbortCode::OUT_OF_SYNC) } else { Ok(()) }
    }

    /// The sync site has sent its whole database; it is complete in `received`. The answer is an [`Output::Answer`].
    pub fn on_database(
        &mut self,
        cx: &mut Context<'_, R>,
        from: ServerId,
        answer: AnswerId,
        version: Version,
        received: R,
    ) {
        if self.disk_is_busy() {
            return self.deferred.push_back(Deferred::Database(from, answer, version, received));
        }
        match self.may_send(cx, from, version) {
            Err(code) => cx.outputs.push(Output::Answer(answer, Err(code))),
            Ok(()) if version == self.tail => {
                cx.outputs.push(Output::Answer(answer, Ok(Answer::Done)));
            }
            Ok(()) => {
                self.remote.clear();
                self.start_disk(cx, Output::Install { received, version }, version, Then::Placed(answer));
            }
        }
        self.settle(cx);
    }

    /// A peer's database is in place.
    pub(super) fn placed(
        &mut self,
        cx: &mut Context<'_, R>,
        answer: AnswerId,
        done: Result<(), DiskFailure>,
    ) {
        let done = done.map_err(|error| self.disk_failed(cx, &error));
        cx.outputs.push(Output::Answer(answer, done.map(|()| Answer::Done)));
    }

    fn disk_failed(&mut self, cx: &mut Context<'_, R>, error: &DiskFailure) -> AbortCode {
        self.remote.clear();
        self.note_disk_failure(cx, error);
        AbortCode::IO
    }
}
