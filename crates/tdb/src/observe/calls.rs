//! What the engine tells a handle's observer: before a change, and after every operation.

use super::{Copied, Ending, Event, Moment, Observed, Operation, Stopped, When};
use crate::error::{AccessError, LockError, ReadError, StoreError};
use crate::file::bytes::Bytes;
use crate::file::forks;
use crate::file::format::SEQNUM_AT;
use crate::lock::{LockKind, Wait};
use crate::log::LogLevel;
use crate::table::Table;
use crate::table::chain::Found;
use crate::table::records::{StoreMode, value_place};

impl<B: Bytes> Table<'_, B> {
    /// Whether an observer is told what this handle does; false, too, once it can watch no longer.
    pub fn is_observed(&self) -> bool {
        self.core.observed.as_ref().is_some_and(|observed| observed.is_active())
    }

    /// An operation is called; nothing if nobody is told.
    #[inline]
    pub(crate) fn called(&self) -> Option<Moment> {
        match &self.core.observed {
            None => None,
            Some(observed) => self.called_observed(observed),
        }
    }

    fn called_observed(&self, observed: &Observed) -> Option<Moment> {
        if observed.forks.get() != forks::generation() {
            observed.begin_in_child(self.core.options.observe_with());
        }
        let now = observed.observer.borrow().as_ref()?.now();
        observed.called.set(now);
        Some(now)
    }

    /// A lock is about to be given back: this is the last moment at which the number is that of the operation.
    #[inline]
    pub(crate) fn note_version(&self) {
        if let Some(observed) = &self.core.observed
            && let Ok(number) = self.space.word(SEQNUM_AT)
        {
            observed.version.set(number);
        }
    }

    /// Tells of an operation that was called; without one there is nothing to say about it.
    #[inline]
    pub(crate) fn tell(&self, called: Option<Moment>, when: When, operation: Option<Operation<'_>>) {
        let (Some(called), Some(observed)) = (called, &self.core.observed) else {
            return;
        };
        let Some(operation) = operation else {
            return observed.not_done();
        };
        // Whoever asks for the number shows by the answer that it was reached.
        if let Operation::SequenceNumber(number) = operation
            && !self.core.locks.in_transaction()
        {
            observed.reached(number);
        }
        let (number, version) = self.number(observed, when);
        self.tell_event(observed, &Event { operation, called, answered: None, number, version });
    }

    fn tell_event(&self, observed: &Observed, event: &Event<'_>) {
        observed.told.set(observed.told.get() + 1);
        let told = observed.observer.borrow().as_ref().map_or(Ok(()), |observer| observer.done(event));
        if let Err(stopped) = told {
            self.stop_observing(observed, &stopped);
        }
    }

    /// The number and the version of an operation.
    #[inline]
    fn number(&self, observed: &Observed, when: When) -> (u32, Option<u32>) {
        let now = || self.space.word(SEQNUM_AT).unwrap_or(observed.last.get());
        if self.core.locks.in_transaction() && !matches!(when, When::Begin) {
            return (now(), None);
        }
        let (number, version) = match when {
            When::Under | When::Until if self.core.locks.has_no_lock() => (now(), None),
            When::Under => (observed.version.get(), Some(observed.version.get())),
            When::Until => (observed.version.get(), None),
            When::Now | When::Begin => (now(), None),
            When::Last => (observed.last.get(), None),
        };
        observed.reached(number);
        (number, version)
    }

    #[cold]
    pub(super) fn stop_observing(&self, observed: &Observed, stopped: &Stopped) {
        drop(observed.observer.borrow_mut().take());
        self.core.say(LogLevel::Warning, || format!("{stopped}; the database goes on"));
    }

    /// Announces a change that others will see at once; one in a transaction is nobody else's before the commit.
    #[inline]
    pub(crate) fn about_to(&self, called: Option<Moment>, operation: Operation<'_>) {
        if let (Some(called), Some(observed)) = (called, &self.core.observed)
            && !self.core.locks.in_transaction()
        {
            self.announce(observed, called, &operation, observed.last.get());
        }
    }

    fn announce(&self, observed: &Observed, called: Moment, operation: &Operation<'_>, number: u32) {
        let heard = observed.observer.borrow().as_ref().map(|to| to.about_to(operation, called, number));
        if let Some(Err(stopped)) = heard {
            self.stop_observing(observed, &stopped);
        }
    }

    // Single records.

    #[inline]
    pub(crate) fn about_to_store(
        &self,
        called: Option<Moment>,
        key: &[u8],
        parts: &[&[u8]],
        mode: StoreMode,
    ) {
        self.about_to(called, Operation::Store { key, parts, mode, done: true });
    }

    #[inline]
    pub(crate) fn tell_store(
        &self,
        called: Option<Moment>,
        (key, parts, mode): (&[u8], &[&[u8]], StoreMode),
        stored: &Result<(), StoreError>,
    ) {
        if called.is_some() {
            let operation = |done| Operation::Store { key, parts, mode, done };
            self.note_changed_key(key);
            self.tell(called, When::Under, answered(stored).map(operation));
        }
    }

    #[inline]
    pub(crate) fn tell_delete(&self, called: Option<Moment>, key: &[u8], deleted: &Result<(), StoreError>) {
        if called.is_some() {
            let operation = |done| Operation::Delete { key, done };
            self.note_changed_key(key);
            self.tell(called, When::Under, answered(deleted).map(operation));
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
        let Some(observed) = self.core.observed.as_ref().filter(|observed| observed.is_active()) else {
            return Ok(());
        };
        let before = match found {
            Some(found) => {
                let (at, len) = value_place(found)?;
                Some(self.space.bytes(at, len)?)
            }
            None => None,
        };
        if !self.core.locks.in_transaction() {
            let operation = Operation::Append { key, before: before.as_deref(), more };
            self.announce(observed, observed.called.get(), &operation, observed.last.get());
        }
        *observed.before.borrow_mut() = before;
        Ok(())
    }

    #[inline]
    pub(crate) fn tell_append(
        &self,
        called: Option<Moment>,
        key: &[u8],
        more: &[u8],
        appended: &Result<(), StoreError>,
    ) {
        if let (Some(_), Some(observed)) = (called, &self.core.observed) {
            let before = observed.before.borrow_mut().take();
            let operation = Operation::Append { key, before: before.as_deref(), more };
            self.note_changed_key(key);
            self.tell(called, When::Under, appended.is_ok().then_some(operation));
        }
    }

    #[inline]
    pub(crate) fn tell_parsed(&self, called: Option<Moment>, key: &[u8], found: Result<bool, &ReadError>) {
        let operation = |found| Operation::ParseRecord { key, found };
        self.tell(called, When::Under, found.ok().map(operation));
    }

    // Locks.

    pub(crate) fn tell_chain_lock(
        &self,
        called: Option<Moment>,
        key: &[u8],
        (kind, wait): (LockKind, Wait),
        locked: &Result<(), LockError>,
    ) {
        let operation = locking(wait, locked).map(|locked| Operation::LockChain { key, kind, wait, locked });
        self.tell(called, if locked.is_ok() { When::Now } else { When::Last }, operation);
    }

    pub(crate) fn tell_chain_unlock(&self, called: Option<Moment>, key: &[u8], kind: LockKind, held: bool) {
        self.tell(called, When::Until, held.then_some(Operation::UnlockChain { key, kind }));
    }

    pub(crate) fn tell_lock_all(
        &self,
        called: Option<Moment>,
        (kind, wait): (LockKind, Wait),
        locked: &Result<(), LockError>,
    ) {
        let operation = locking(wait, locked).map(|locked| Operation::LockAll { kind, wait, locked });
        self.tell(called, if locked.is_ok() { When::Now } else { When::Last }, operation);
    }

    pub(crate) fn tell_unlock_all(&self, called: Option<Moment>, kind: LockKind, held: bool) {
        self.tell(called, When::Until, held.then_some(Operation::UnlockAll { kind }));
    }

    /// A lock that another process holds on our behalf, or does not any more.
    pub(crate) fn tell_mark(&self, called: Option<Moment>, operation: Operation<'_>, marked: bool) {
        self.tell(called, When::Last, marked.then_some(operation));
    }

    // Wipes.

    /// A wipe holds its lock.
    pub(crate) fn about_to_wipe(&self) {
        let Some(observed) = self.core.observed.as_ref().filter(|observed| observed.is_active()) else {
            return;
        };
        let called = Some(observed.called.get());
        let locked = Operation::LockAll { kind: LockKind::Write, wait: Wait::Yes, locked: true };
        self.tell(called, When::Now, Some(locked));
        let (number, _) = self.number(observed, When::Now);
        observed.wiping.set(Some(number));
        self.about_to(called, Operation::WipeAll);
    }

    pub(crate) fn tell_wipe(&self, called: Option<Moment>, wiped: bool) {
        let (Some(_), Some(observed)) = (called, &self.core.observed) else {
            return;
        };
        if let Some(number) = observed.wiping.take() {
            self.note_wiped();
            self.tell_at(called, number, wiped.then_some(Operation::WipeAll));
            self.tell(called, When::Until, Some(Operation::UnlockAll { kind: LockKind::Write }));
        }
    }

    /// Tells of an operation that has a number of its own, in a transaction too.
    fn tell_at(&self, called: Option<Moment>, number: u32, operation: Option<Operation<'_>>) {
        let (Some(called), Some(observed)) = (called, &self.core.observed) else {
            return;
        };
        let Some(operation) = operation else {
            return observed.not_done();
        };
        self.tell_event(observed, &Event { operation, called, answered: None, number, version: None });
    }

    // Transactions. What nests shows nothing: only the outermost takes effect.

    /// A transaction is about to end; `commit` if it is to take effect. Nothing if none is open.
    pub(crate) fn ending(&self, commit: bool, nesting: Option<u32>) -> Option<Ending> {
        let observed = self.core.observed.as_ref()?;
        let nesting = nesting?;
        let called = self.called()?;
        let number = self.space.word(SEQNUM_AT).unwrap_or(observed.last.get());
        if commit && nesting == 0 {
            self.announce(observed, called, &Operation::Commit, number);
        }
        Some(Ending { called, number, outermost: nesting == 0 })
    }

    /// It was asked to end by this operation; `done` if that worked.
    pub(crate) fn ended(&self, ending: Option<Ending>, asked: Operation<'_>, done: bool) {
        let (Some(ending), Some(observed)) = (ending, &self.core.observed) else {
            return;
        };
        let called = Some(ending.called);
        observed.changed_keys.clear();
        if self.core.locks.in_transaction() {
            let prepared = done && ending.outermost && asked == Operation::PrepareCommit;
            self.tell(called, When::Now, prepared.then_some(asked));
        } else if done {
            self.tell_at(called, ending.number, Some(asked));
            if asked == Operation::Commit {
                observed.reached(ending.number);
            }
        } else {
            observed.not_done();
            self.tell_at(called, ending.number, Some(Operation::Cancel));
        }
    }

    // Traversals.

    /// When a copy of a chain was made: for what is shown of it later.
    #[inline]
    pub(crate) fn copied(&self, called: Option<Moment>) -> Option<Copied> {
        let observed = self.core.observed.as_ref()?;
        let called = called?;
        let answered = observed.observer.borrow().as_ref()?.now();
        Some(Copied { called, answered, number: observed.version.get(), told: observed.told.get() })
    }

    /// Whether something else was told since a copy was made, or its number was passed, so that the copy cannot be told of as
    /// it is.
    #[inline]
    pub(crate) fn is_old(&self, copied: Option<Copied>) -> bool {
        match (&self.core.observed, copied) {
            (Some(observed), Some(copied)) => {
                let passed = observed.told.get() != copied.told
                    || super::is_behind(observed.last.get(), copied.number);
                passed && !self.core.locks.in_transaction()
            }
            _ => false,
        }
    }

    /// Of a copy `more` operations are being told: they are no reason to read it again.
    #[inline]
    pub(crate) fn told(&self, copied: &mut Option<Copied>, more: u64) {
        if let (Some(observed), Some(copied)) = (&self.core.observed, copied) {
            copied.told = observed.told.get() + more;
        }
    }

    /// What follows is told of a copy.
    #[inline]
    pub(crate) fn speak_of(&self, copied: Option<Copied>) {
        if let (Some(observed), Some(copied)) = (&self.core.observed, copied) {
            observed.version.set(copied.number);
            observed.called.set(copied.called);
        }
    }

    /// When what was found in the end, of a copy or not, was begun to be looked for.
    #[inline]
    pub(crate) fn since(&self, called: Option<Moment>) -> Option<Moment> {
        called?;
        Some(self.core.observed.as_ref()?.called.get())
    }

    /// A record is shown: of the copy, or read again.
    #[inline]
    pub(crate) fn tell_shown(&self, copied: Option<Copied>, key: &[u8], value: &[u8]) {
        if let (Some(observed), Some(copied)) = (&self.core.observed, copied) {
            observed.version.set(copied.number);
            let (number, version) = self.number(observed, When::Under);
            // A time for each record would cost more than showing it.
            let (called, answered) = (copied.called, Some(copied.answered));
            let operation = Operation::Shown { key, value };
            self.tell_event(observed, &Event { operation, called, answered, number, version });
        }
    }

    /// A traversal is over; `stopped` if its callback ended it.
    pub(crate) fn tell_traversed(&self, shown: &Result<u64, ReadError>, stopped: bool) {
        let ended = match shown {
            Ok(count) => Some(Operation::TraverseEnd { stopped_after: stopped.then_some(*count) }),
            Err(_) => None,
        };
        self.tell(self.called(), When::Last, ended);
    }

    /// The handle is closed.
    pub(crate) fn end_observing(&self) {
        if let Some(observed) = &self.core.observed
            && observed.forks.get() == forks::generation()
        {
            self.tell(self.called(), When::Last, Some(Operation::Close));
        }
    }
}

/// Whether a lock that was asked for is held; none if that failed for a reason of its own.
fn locking(wait: Wait, locked: &Result<(), LockError>) -> Option<bool> {
    match (wait, locked) {
        (_, Ok(())) => Some(true),
        (Wait::No, Err(LockError::WouldBlock)) => Some(false),
        _ => None,
    }
}

/// What is told of a change: done, or refused because of what was found. Other errors say nothing about the data.
fn answered(result: &Result<(), StoreError>) -> Option<bool> {
    match result {
        Ok(()) => Some(true),
        Err(StoreError::Exists | StoreError::NoSuchRecord) => Some(false),
        Err(_) => None,
    }
}
