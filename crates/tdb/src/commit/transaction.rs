//! Transactions: everything or nothing, against other processes and against a crash.
//!
//! From start to commit all writes go to an overlay in memory (see [`crate::file::overlay`]); the transaction lock keeps
//! other transactions out, and a read lock on all records keeps single writers out. Then, numbered, and what a crash
//! right after each step leaves:
//!
//! 1. *Prepare.* The read lock becomes a write lock (readers leave), the open lock is taken (nobody opens).
//! 2. The file is made as long as the transaction and the recovery area need ([`crate::commit::recovery`]). Left: the old
//!    database, perhaps with unused zeros at its end.
//! 3. The bytes that will be overwritten go to the recovery area, still marked invalid, or valid but not pointed at if
//!    the area is a new one. **Sync.** Left: the old database.
//! 4. The area is marked valid, or the header points at it. **Sync.** Left: the old database; the next one to lock a
//!    chain plays the area back, which changes nothing but free space.
//! 5. *Commit.* The changed ranges are written. **Sync.** Left: any mixture, from which playing back makes the old database.
//! 6. The area is marked invalid. **Sync.** Left: the new database. Only now is success reported, since before this
//!    sync a crash would still undo the commit.
//!
//! An error in steps 2 to 4 cancels; one in 5 or 6 plays the area back at once. Only if the last sync fails and nothing
//! can be written after it, the error means "unknown": the new database is there, and may not survive a crash.
//! The overlay never goes to the file
//! before step 5, so a killed process has changed nothing or is recovered by whoever comes next, libtdb included.

use std::ops::Deref;

use crate::database::Database;
use crate::error::{AccessError, LockError, TransactionError};
use crate::file::overlay::Change;
use crate::flags::Flags;
use crate::lock::{LockByte, LockKind, Wait};
use crate::observe::{Operation, When};

/// The open transaction of a handle.
pub(crate) struct TransactionState {
    /// Inner transactions that are open.
    nesting: u32,
    inner_cancelled: bool,
    prepared: Option<Prepared>,
}

/// What step 4 has reached.
struct Prepared {
    /// Nothing was changed: nothing to write, no recovery area in use.
    changes: Vec<Change>,
}

/// An open transaction; cancelled when it is dropped without a commit.
///
/// All operations of the database (this derefs to it) belong to the transaction meanwhile.
#[derive(Debug)]
#[must_use = "a transaction that is dropped is cancelled"]
pub struct Transaction<'a> {
    database: &'a Database,
    open: bool,
}

impl Transaction<'_> {
    /// Does all of the commit that can fail for want of room or locks; what remains writes over reserved bytes.
    /// No more changes after this.
    pub fn prepare_commit(&mut self) -> Result<(), TransactionError> {
        let prepared = self.database.transaction_prepare_commit();
        self.open = self.database.transaction_active();
        prepared
    }

    /// Makes the changes durable and visible, together. After an error nothing has changed.
    pub fn commit(mut self) -> Result<(), TransactionError> {
        self.open = false;
        self.database.transaction_commit()
    }

    /// Forgets the changes.
    pub fn cancel(mut self) -> Result<(), TransactionError> {
        self.open = false;
        self.database.transaction_cancel()
    }
}

impl Deref for Transaction<'_> {
    type Target = Database;
    fn deref(&self) -> &Database {
        self.database
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.open && self.database.transaction_active() {
            // A failure is noted in the handle; the next one who locks recovers.
            let _ = self.database.transaction_cancel();
        }
    }
}

fn conflict(why: &'static str) -> TransactionError {
    LockError::Conflict { why }.into()
}

impl Database {
    /// Starts a transaction, or an inner one, waiting for those of others.
    pub fn transaction(&self) -> Result<Transaction<'_>, TransactionError> {
        self.transaction_start(Wait::Yes)?;
        Ok(Transaction { database: self, open: true })
    }

    /// Like [`Database::transaction`]; fails with [`LockError::WouldBlock`] if another is open.
    pub fn try_transaction(&self) -> Result<Transaction<'_>, TransactionError> {
        self.transaction_start(Wait::No)?;
        Ok(Transaction { database: self, open: true })
    }

    /// Whether a transaction is open.
    #[inline]
    pub fn transaction_active(&self) -> bool {
        self.transaction.borrow().is_some()
    }

    /// Starts a transaction without a guard: the caller commits or cancels it.
    pub fn transaction_start(&self, wait: Wait) -> Result<(), TransactionError> {
        let called = self.called().filter(|_| !self.transaction_active());
        let started = self.noted(self.start(wait));
        self.tell(called, When::Begin, started.is_ok().then_some(Operation::TransactionStart));
        started
    }

    /// How many inner transactions are open in the open one.
    pub(crate) fn nesting(&self) -> Option<u32> {
        self.transaction.borrow().as_ref().map(|state| state.nesting)
    }

    fn start(&self, wait: Wait) -> Result<(), TransactionError> {
        if let Some(state) = self.transaction.borrow_mut().as_mut() {
            if !self.flags.get().has(Flags::ALLOW_NESTING) {
                return Err(TransactionError::Nesting);
            }
            state.nesting += 1;
            return Ok(());
        }
        self.must_allow_transactions()?;
        self.lock_byte(LockByte::Transaction, LockKind::Write, wait)?;
        let begun = self.lock_allrecord(LockKind::Read, Wait::Yes, true);
        let begun = begun.map_err(TransactionError::from).and_then(|()| Ok(self.space.refresh()?));
        if let Err(error) = begun {
            self.unlock_allrecord();
            self.unlock_byte(LockByte::Transaction);
            return Err(error);
        }
        self.space.begin_overlay();
        *self.transaction.borrow_mut() =
            Some(TransactionState { nesting: 0, inner_cancelled: false, prepared: None });
        Ok(())
    }

    fn must_allow_transactions(&self) -> Result<(), TransactionError> {
        if self.read_only {
            return Err(TransactionError::NotPossible { why: "the database was opened for reading only" });
        }
        if self.space.is_memory() {
            return Err(TransactionError::NotPossible { why: "the database is in memory" });
        }
        if self.traverses.reading.get() > 0 {
            return Err(TransactionError::NotPossible { why: "a traverse that only reads is running" });
        }
        if self.locks.is_after_fork() {
            self.reopen_in_child()?;
        }
        if self.has_extra_locks() {
            return Err(conflict("a transaction cannot start while locks are held"));
        }
        if self.traverses.any() {
            return Err(conflict("a transaction cannot start inside a traverse"));
        }
        Ok(())
    }

    /// Steps 1 to 4 of the commit; afterwards only commit and cancel are possible. An error cancels.
    pub fn transaction_prepare_commit(&self) -> Result<(), TransactionError> {
        let ending = self.ending(false);
        let prepared = self.noted(self.prepare_outer());
        self.ended(ending, Operation::PrepareCommit, prepared.is_ok());
        prepared
    }

    fn prepare_outer(&self) -> Result<(), TransactionError> {
        let (nesting, inner_cancelled, prepared) = match self.transaction.borrow().as_ref() {
            None => return Err(TransactionError::NoneOpen),
            Some(state) => (state.nesting, state.inner_cancelled, state.prepared.is_some()),
        };
        if prepared {
            self.cancel_whole()?;
            return Err(TransactionError::AlreadyPrepared);
        }
        if inner_cancelled {
            self.cancel_whole()?;
            return Err(TransactionError::InnerCancelled);
        }
        if nesting > 0 {
            return Ok(());
        }
        let prepared = self.prepare();
        if prepared.is_err() {
            // The first error says why; a second one would only say that the file is beyond reach.
            let _ = self.cancel_whole();
        }
        prepared
    }

    fn prepare(&self) -> Result<(), TransactionError> {
        let changes = self.space.overlay_changes()?;
        if changes.is_empty() {
            self.set_prepared(changes);
            return Ok(());
        }
        self.upgrade_allrecord()?;
        self.lock_byte(LockByte::Open, LockKind::Write, Wait::Yes)?;
        let changes = self.prepare_recovery(changes)?;
        self.set_prepared(changes);
        Ok(())
    }

    fn set_prepared(&self, changes: Vec<Change>) {
        self.space.seal_overlay(true);
        if let Some(state) = self.transaction.borrow_mut().as_mut() {
            state.prepared = Some(Prepared { changes });
        }
    }

    /// Commits the transaction, or ends an inner one. After an error nothing has changed and no transaction is open.
    pub fn transaction_commit(&self) -> Result<(), TransactionError> {
        let ending = self.ending(true);
        let committed = self.noted(self.commit_outer());
        self.ended(ending, Operation::Commit, committed.is_ok());
        committed
    }

    fn commit_outer(&self) -> Result<(), TransactionError> {
        let prepared = match self.transaction.borrow_mut().as_mut() {
            None => return Err(TransactionError::NoneOpen),
            Some(state) if !state.inner_cancelled && state.nesting > 0 => {
                state.nesting -= 1;
                return Ok(());
            }
            Some(state) => state.prepared.is_some(),
        };
        if !prepared {
            self.prepare_outer()?;
        }
        let changes = match self.transaction.borrow_mut().as_mut() {
            Some(TransactionState { prepared: Some(prepared), .. }) => std::mem::take(&mut prepared.changes),
            _ => return Err(TransactionError::NoneOpen),
        };
        if changes.is_empty() {
            self.release();
            return Ok(());
        }
        let written = self.write_changes(&changes).and_then(|()| self.invalidate_recovery());
        match written {
            Ok(()) => {
                self.release();
                if let Some(storage) = self.space.storage() {
                    storage.touch();
                }
                Ok(())
            }
            Err(error) => {
                self.end_overlay_and_play_back();
                self.release();
                Err(error.into())
            }
        }
    }

    /// Step 5.
    fn write_changes(&self, changes: &[Change]) -> Result<(), AccessError> {
        let mut bytes = Vec::new();
        for change in changes {
            bytes.clear();
            self.space.append_to(change.at, change.len, &mut bytes)?;
            self.space.write_through(change.at, &bytes)?;
        }
        self.sync_transaction()
    }

    /// The file is a mixture, or new without being durable, and the recovery area still holds the old bytes: makes it
    /// the old database again. If that fails too, whoever locks a chain next tries again.
    fn end_overlay_and_play_back(&self) {
        // Step 6 may have failed in its sync, with the area at rest already.
        let valid = self.validate_recovery();
        self.space.end_overlay();
        let _ = self.noted(valid.and_then(|()| self.recover()));
    }

    /// Cancels the transaction; an inner one condemns the outer one.
    pub fn transaction_cancel(&self) -> Result<(), TransactionError> {
        let ending = self.ending(false);
        let cancelled = self.noted(self.cancel_outer());
        self.ended(ending, Operation::Cancel, cancelled.is_ok());
        cancelled
    }

    fn cancel_outer(&self) -> Result<(), TransactionError> {
        if let Some(state) = self.transaction.borrow_mut().as_mut()
            && state.nesting > 0
        {
            state.nesting -= 1;
            state.inner_cancelled = true;
            return Ok(());
        }
        self.cancel_whole()
    }

    fn cancel_whole(&self) -> Result<(), TransactionError> {
        let prepared = match self.transaction.borrow_mut().as_mut() {
            None => return Err(TransactionError::NoneOpen),
            Some(state) => state.prepared.take().is_some_and(|prepared| !prepared.changes.is_empty()),
        };
        // Playing back rather than only marking invalid: it also makes records of what the file grew by.
        self.space.end_overlay();
        let undone = if prepared { self.recover() } else { Ok(()) };
        self.release();
        Ok(undone?)
    }

    /// Lets go of overlay and locks.
    fn release(&self) {
        self.space.end_overlay();
        *self.transaction.borrow_mut() = None;
        self.upheavals.set(self.upheavals.get() + 1);
        self.changes.set(self.changes.get() + 1);
        if self.locks.holds(LockByte::Open as u64) {
            self.unlock_byte(LockByte::Open);
        }
        self.unlock_allrecord();
        self.unlock_byte(LockByte::Transaction);
    }

    /// Forgets a transaction that is the parent's, in a child.
    pub(crate) fn abandon_transaction(&self) {
        if self.transaction.borrow_mut().take().is_some() {
            self.space.end_overlay();
            self.upheavals.set(self.upheavals.get() + 1);
        }
    }

    /// A sync, unless the handle does without.
    pub(crate) fn sync_transaction(&self) -> Result<(), AccessError> {
        if self.flags.get().has(Flags::NOSYNC) { Ok(()) } else { self.space.sync() }
    }
}
