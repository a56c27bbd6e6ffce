//! What the engine tells its recorder: before a change, and after every call.

use std::io;
use std::path::PathBuf;

use super::line::Call;
use super::{Called, Copied, Ending, Recorder, Stamp, When};
use crate::database::{Database, LogLevel};
use crate::error::{AccessError, LockError, ReadError, StoreError};
use crate::file::format::SEQNUM_AT;
use crate::lock::ofd;
use crate::lock::{LockKind, Wait};
use crate::table::chain::Found;
use crate::table::records::{StoreMode, value_place};

impl Database {
    /// Where this handle's trace is being written; none if nothing is recorded, or the trace could not be continued.
    ///
    /// Recording is turned on by [`crate::OpenOptions::record`] or the variable `QUORATE_TDB_RECORD`.
    pub fn recording(&self) -> Option<PathBuf> {
        let trace = self.recorder.as_ref()?.trace.borrow();
        trace.as_ref().map(|tail| tail.path().to_owned())
    }

    /// An operation is called; nothing if nothing is recorded.
    #[inline]
    pub(crate) fn called(&self) -> Option<Called> {
        match &self.recorder {
            None => None,
            Some(recorder) => recorder.called(),
        }
    }

    /// A lock is about to be given back: this is the last moment at which the number is that of the operation.
    #[inline]
    pub(crate) fn note_version(&self) {
        if let Some(recorder) = &self.recorder
            && let Ok(number) = self.space.word(SEQNUM_AT)
        {
            recorder.version.set(number);
        }
    }

    /// Writes the line of an operation that was called; without a call there is nothing to say about it.
    #[inline]
    pub(crate) fn record(&self, called: Option<Called>, when: When, call: Option<Call<'_>>) {
        if let (Some(called), Some(recorder)) = (called, &self.recorder) {
            let end = if call.is_some() { recorder.now() } else { 0 };
            self.write(recorder, called.0, end, when, call);
        }
    }

    /// [`Database::record`] for lines of one shape, of calls that announce nothing: it is compiled for that shape.
    #[inline(always)]
    pub(crate) fn record_read(&self, called: Option<Called>, call: Option<Call<'_>>) {
        if let (Some(called), Some(recorder), Some(call)) = (called, &self.recorder, call) {
            self.write_read(recorder, (called.0, recorder.now()), call);
        }
    }

    #[inline(always)]
    fn write_read(&self, recorder: &Recorder, (start, end): (u64, u64), call: Call<'_>) {
        let (number, version) = self.number(recorder, When::Under);
        recorder.ended.set(end);
        if let Err(error) = recorder.put(&call, &Stamp { number, start, end, version }) {
            self.stop_recording(recorder, &error);
        }
    }

    fn write(&self, recorder: &Recorder, start: u64, end: u64, when: When, call: Option<Call<'_>>) {
        let Some(call) = call else {
            return recorder.withdraw();
        };
        let (number, version) = self.number(recorder, when);
        let stamp = Stamp { number, start, end, version };
        recorder.ended.set(end);
        self.put(recorder, &call, &stamp);
    }

    /// Writes a line, or completes the one that announced it.
    fn put(&self, recorder: &Recorder, call: &Call<'_>, stamp: &Stamp) {
        if let Some(announced) = recorder.announced.get() {
            if call.succeeded() && recorder.fulfil(announced, stamp) {
                recorder.announced.set(None);
                return;
            }
            recorder.withdraw();
        }
        if let Err(error) = recorder.put(call, stamp) {
            self.stop_recording(recorder, &error);
        }
    }

    /// The number and the version on a line.
    #[inline]
    fn number(&self, recorder: &Recorder, when: When) -> (u32, Option<u32>) {
        let now = || self.space.word(SEQNUM_AT).unwrap_or(recorder.last.get());
        if self.transaction_active() && !matches!(when, When::Begin) {
            return (now(), None);
        }
        let (number, version) = match when {
            When::Under | When::Until if self.has_no_lock() => (now(), None),
            When::Under => (recorder.version.get(), Some(recorder.version.get())),
            When::Until => (recorder.version.get(), None),
            When::Now | When::Begin => (now(), None),
            When::Last => (recorder.last.get(), None),
        };
        recorder.reached(number);
        (number, version)
    }

    #[cold]
    fn stop_recording(&self, recorder: &Recorder, error: &io::Error) {
        let path = self.recording().unwrap_or_default();
        recorder.stop();
        self.say(LogLevel::Warning, || {
            format!("{}: the trace ends here: {error}; the database goes on", path.display())
        });
    }

    /// Announces a change that others will see at once; one in a transaction is nobody else's before the commit.
    #[inline(always)]
    pub(crate) fn about_to(&self, called: Option<Called>, call: Call<'_>) {
        if let (Some(_), Some(recorder)) = (called, &self.recorder)
            && !self.transaction_active()
        {
            self.announce(recorder, call, recorder.last.get());
        }
    }

    #[inline(always)]
    fn announce(&self, recorder: &Recorder, call: Call<'_>, number: u32) {
        if let Err(error) = recorder.announce(&call, number) {
            self.stop_recording(recorder, &error);
        }
    }

    // Single records.

    #[inline]
    pub(crate) fn about_to_store(
        &self,
        called: Option<Called>,
        key: &[u8],
        parts: &[&[u8]],
        mode: StoreMode,
    ) {
        self.about_to(called, Call::Store { key, parts, flag: flag(mode), result: 0 });
    }

    #[inline]
    pub(crate) fn record_store(
        &self,
        called: Option<Called>,
        (key, parts, mode): (&[u8], &[&[u8]], StoreMode),
        stored: &Result<(), StoreError>,
    ) {
        if called.is_some() {
            let line = |result| Call::Store { key, parts, flag: flag(mode), result };
            self.record(called, When::Under, answered(stored).map(line));
        }
    }

    #[inline]
    pub(crate) fn record_delete(&self, called: Option<Called>, key: &[u8], deleted: &Result<(), StoreError>) {
        if called.is_some() {
            let line = |result| Call::KeyResult("tdb_delete", key, result);
            self.record(called, When::Under, answered(deleted).map(line));
        }
    }

    /// An append has found what it adds to; the chain is locked.
    #[inline]
    pub(crate) fn about_to_append(
        &self,
        key: &[u8],
        found: Option<&Found>,
        more: &[u8],
    ) -> Result<(), AccessError> {
        let Some(recorder) = self.recorder.as_ref().filter(|recorder| recorder.trace.borrow().is_some())
        else {
            return Ok(());
        };
        let before = match found {
            Some(found) => {
                let (at, len) = value_place(found)?;
                Some(self.space.bytes(at, len)?)
            }
            None => None,
        };
        if !self.transaction_active() {
            let call = Call::Append { key, before: before.as_deref(), more };
            self.announce(recorder, call, recorder.last.get());
        }
        *recorder.before.borrow_mut() = before;
        Ok(())
    }

    #[inline]
    pub(crate) fn record_append(
        &self,
        called: Option<Called>,
        key: &[u8],
        more: &[u8],
        appended: &Result<(), StoreError>,
    ) {
        if let (Some(_), Some(recorder)) = (called, &self.recorder) {
            let before = recorder.before.borrow_mut().take();
            let line = Call::Append { key, before: before.as_deref(), more };
            self.record(called, When::Under, appended.is_ok().then_some(line));
        }
    }

    #[inline]
    pub(crate) fn record_found(
        &self,
        called: Option<Called>,
        (name, key): (&'static str, &[u8]),
        found: Result<i64, &ReadError>,
    ) {
        if called.is_some() {
            self.record_read(called, found.ok().map(|found| Call::KeyResult(name, key, found)));
        }
    }

    // Locks.

    pub(crate) fn record_chain_lock(
        &self,
        called: Option<Called>,
        key: &[u8],
        (kind, wait): (LockKind, Wait),
        locked: &Result<(), LockError>,
    ) {
        let name = match (kind, wait) {
            (LockKind::Write, Wait::Yes) => "tdb_chainlock",
            (LockKind::Write, Wait::No) => "tdb_chainlock_nonblock",
            (LockKind::Read, Wait::Yes) => "tdb_chainlock_read",
            (LockKind::Read, Wait::No) => "tdb_chainlock_read_nonblock",
        };
        let call = match (wait, locked) {
            (Wait::Yes, Ok(())) => Some(Call::Key(name, key)),
            (Wait::No, Ok(())) => Some(Call::KeyResult(name, key, 0)),
            (Wait::No, Err(LockError::WouldBlock)) => Some(Call::KeyResult(name, key, -1)),
            _ => None,
        };
        self.record(called, if locked.is_ok() { When::Now } else { When::Last }, call);
    }

    pub(crate) fn record_chain_unlock(&self, called: Option<Called>, key: &[u8], kind: LockKind, held: bool) {
        let name = if kind == LockKind::Write { "tdb_chainunlock" } else { "tdb_chainunlock_read" };
        self.record(called, When::Until, held.then_some(Call::Key(name, key)));
    }

    pub(crate) fn record_lock_all(
        &self,
        called: Option<Called>,
        (kind, wait): (LockKind, Wait),
        locked: &Result<(), LockError>,
    ) {
        let name = match (kind, wait) {
            (LockKind::Write, Wait::Yes) => "tdb_lockall",
            (LockKind::Write, Wait::No) => "tdb_lockall_nonblock",
            (LockKind::Read, Wait::Yes) => "tdb_lockall_read",
            (LockKind::Read, Wait::No) => "tdb_lockall_read_nonblock",
        };
        let call = match (wait, locked) {
            (Wait::Yes, Ok(())) => Some(Call::Bare(name)),
            (Wait::No, Ok(())) => Some(Call::Result(name, 0)),
            (Wait::No, Err(LockError::WouldBlock)) => Some(Call::Result(name, -1)),
            _ => None,
        };
        self.record(called, if locked.is_ok() { When::Now } else { When::Last }, call);
    }

    pub(crate) fn record_unlock_all(&self, called: Option<Called>, kind: LockKind, held: bool) {
        let name = if kind == LockKind::Write { "tdb_unlockall" } else { "tdb_unlockall_read" };
        self.record(called, When::Until, held.then_some(Call::Bare(name)));
    }

    /// A lock that another process holds on our behalf, or does not any more.
    pub(crate) fn record_mark(&self, called: Option<Called>, call: Call<'_>, marked: bool) {
        self.record(called, When::Last, marked.then_some(call));
    }

    // Wipes.

    /// A wipe holds its lock.
    pub(crate) fn about_to_wipe(&self) {
        let Some(recorder) = self.recorder.as_ref().filter(|recorder| recorder.trace.borrow().is_some())
        else {
            return;
        };
        let called = Some(Called(recorder.started.get()));
        self.record(called, When::Now, Some(Call::Bare("tdb_lockall")));
        let (number, _) = self.number(recorder, When::Now);
        recorder.wiping.set(Some(number));
        self.about_to(called, Call::Bare("tdb_wipe_all"));
    }

    pub(crate) fn record_wipe(&self, called: Option<Called>, wiped: bool) {
        let (Some(_), Some(recorder)) = (called, &self.recorder) else {
            return;
        };
        if let Some(number) = recorder.wiping.take() {
            self.write_at(called, number, wiped.then_some(Call::Bare("tdb_wipe_all")));
            self.record(called, When::Until, Some(Call::Bare("tdb_unlockall")));
        }
    }

    /// A line with a number of its own, in a transaction too.
    fn write_at(&self, called: Option<Called>, number: u32, call: Option<Call<'_>>) {
        let (Some(called), Some(recorder)) = (called, &self.recorder) else {
            return;
        };
        let Some(call) = call else {
            return recorder.withdraw();
        };
        self.put(recorder, &call, &Stamp { number, start: called.0, end: recorder.now(), version: None });
    }

    // Transactions. What nests shows nothing: only the outermost takes effect.

    /// A transaction is about to end; `commit` if it is to take effect. Nothing if none is open.
    pub(crate) fn ending(&self, commit: bool) -> Option<Ending> {
        let recorder = self.recorder.as_ref()?;
        let nesting = self.nesting()?;
        let called = self.called()?;
        let number = self.space.word(SEQNUM_AT).unwrap_or(recorder.last.get());
        if commit && nesting == 0 {
            self.announce(recorder, Call::Bare("tdb_transaction_commit"), number);
        }
        Some(Ending { called, number, outermost: nesting == 0 })
    }

    /// It was asked to end, by the call of this name; `done` if that worked.
    pub(crate) fn ended(&self, ending: Option<Ending>, name: &'static str, done: bool) {
        let (Some(ending), Some(recorder)) = (ending, &self.recorder) else {
            return;
        };
        let called = Some(ending.called);
        if self.transaction_active() {
            let prepared = done && ending.outermost && name == "tdb_transaction_prepare_commit";
            self.record(called, When::Now, prepared.then_some(Call::Bare(name)));
        } else if done {
            self.write_at(called, ending.number, Some(Call::Bare(name)));
            if name == "tdb_transaction_commit" {
                recorder.reached(ending.number);
            }
        } else {
            recorder.withdraw();
            self.write_at(called, ending.number, Some(Call::Bare("tdb_transaction_cancel")));
        }
    }

    // Traversals.

    /// When a copy of a chain was made: for what is shown of it later.
    #[inline]
    pub(crate) fn copied(&self, called: Option<Called>) -> Option<Copied> {
        let recorder = self.recorder.as_ref()?;
        let (number, lines) = (recorder.version.get(), recorder.lines.get());
        Some(Copied { start: called?.0, end: recorder.now(), number, lines })
    }

    /// Whether this trace has said something else since a copy was made, or has gone beyond its number, so that the copy
    /// cannot be written as it is.
    #[inline]
    pub(crate) fn is_old(&self, copied: Option<Copied>) -> bool {
        match (&self.recorder, copied) {
            (Some(recorder), Some(copied)) => {
                let passed = recorder.lines.get() != copied.lines
                    || super::is_behind(recorder.last.get(), copied.number);
                passed && !self.transaction_active()
            }
            _ => false,
        }
    }

    /// Of a copy `more` lines are being written: they are no reason to read it again.
    #[inline]
    pub(crate) fn told(&self, copied: &mut Option<Copied>, more: u64) {
        if let (Some(recorder), Some(copied)) = (&self.recorder, copied) {
            copied.lines = recorder.lines.get() + more;
        }
    }

    /// What follows is said of a copy.
    #[inline]
    pub(crate) fn speak_of(&self, copied: Option<Copied>) {
        if let (Some(recorder), Some(copied)) = (&self.recorder, copied) {
            recorder.version.set(copied.number);
            recorder.started.set(copied.start);
        }
    }

    /// When what was found in the end, of a copy or not, was begun to be looked for.
    #[inline]
    pub(crate) fn since(&self, called: Option<Called>) -> Option<Called> {
        called?;
        Some(Called(self.recorder.as_ref()?.started.get()))
    }

    /// A record is shown: of the copy, or read again.
    #[inline]
    pub(crate) fn record_shown(&self, copied: Option<Copied>, key: &[u8], value: &[u8]) {
        if let (Some(recorder), Some(copied)) = (&self.recorder, copied) {
            recorder.version.set(copied.number);
            let call = Call::KeyRecord("traverse", key, Some(value));
            // A time for each record would cost more than showing it. But a trace's lines end in their order.
            let end = copied.end.max(recorder.ended.get());
            self.write_read(recorder, (copied.start, end), call);
        }
    }

    /// A traversal is over; `stopped` if its callback ended it.
    pub(crate) fn record_traversed(&self, shown: &Result<u64, ReadError>, stopped: bool) {
        let call = match shown {
            Ok(count) if stopped => {
                Some(Call::Result("tdb_traverse_end", (*count).min(i32::MAX as u64) as i64))
            }
            Ok(_) => Some(Call::Bare("tdb_traverse_end")),
            Err(_) => None,
        };
        self.record(self.called(), When::Last, call);
    }

    /// The handle is closed.
    pub(crate) fn end_recording(&self) {
        if let Some(recorder) = &self.recorder
            && recorder.forks.get() == ofd::fork_generation()
        {
            self.record(self.called(), When::Last, Some(Call::Bare("tdb_close")));
            recorder.stop();
        }
    }
}

/// The flag on a line.
fn flag(mode: StoreMode) -> char {
    match mode {
        StoreMode::Replace => '1',
        StoreMode::Insert => '2',
        StoreMode::Modify => '3',
    }
}

/// What a change's line says: done, or refused because of what was found. Other errors say nothing about the data.
fn answered(result: &Result<(), StoreError>) -> Option<i64> {
    match result {
        Ok(()) => Some(0),
        Err(StoreError::Exists | StoreError::NoSuchRecord) => Some(-1),
        Err(_) => None,
    }
}
