//! Everything or nothing, against other processes and against a crash: what an open transaction does to the file.
//!
//! From start to commit all writes go to an overlay in memory (see [`crate::file::overlay`]), which belongs to whoever opened
//! the transaction; the transaction lock keeps other transactions out, and a read lock on all records keeps single
//! writers out. Then, numbered, and what a crash right after each step leaves:
//!
//! 1. *Prepare.* The read lock becomes a write lock (readers leave), the open lock is taken (nobody opens).
//!    What is about to be done is planned ([`crate::commit::plan`]), in memory alone.
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

use std::cell::RefCell;

use crate::commit::plan::CommitPlan;
use crate::commit::recovery;
use crate::core::Core;
use crate::error::{AccessError, LockError, TransactionError};
use crate::file::bytes::Bytes;
use crate::file::over::Over;
use crate::file::overlay::{Change, Overlay};
use crate::lock::{LockByte, LockKind, Wait};
use crate::table::Table;

/// An open transaction: of which handle, and where its changes are.
#[derive(Clone, Copy)]
pub(crate) struct Open<'t> {
    pub core: &'t Core,
    pub changes: &'t RefCell<Overlay>,
}

/// A commit that only has to be written: the ranges to write. None of them: nothing was changed, no area is in use.
pub(crate) type Prepared = Vec<Change>;

fn conflict(why: &'static str) -> TransactionError {
    LockError::Conflict { why }.into()
}

impl<'t> Open<'t> {
    /// Starts a transaction, whose changes will be in `changes`.
    pub fn begin(
        core: &'t Core,
        changes: &'t RefCell<Overlay>,
        wait: Wait,
    ) -> Result<Open<'t>, TransactionError> {
        must_be_possible(core)?;
        core.lock_byte(LockByte::Transaction, LockKind::Write, wait)?;
        let begun = core.lock_allrecord(LockKind::Read, Wait::Yes, true);
        let begun = begun.map_err(TransactionError::from).and_then(|()| Ok(core.space.refresh()?));
        if let Err(error) = begun {
            core.locks.unlock_allrecord();
            core.locks.unlock_byte(LockByte::Transaction);
            return Err(error);
        }
        changes.borrow_mut().begin(core.space.size());
        core.locks.set_in_transaction(true);
        Ok(Open { core, changes })
    }

    /// The bytes as the transaction sees them.
    #[inline]
    pub fn over(self) -> Over<'t> {
        Over { base: &self.core.space, changes: self.changes }
    }

    /// Steps 1 to 4 of the commit. After an error the transaction is to be cancelled, as one that was not prepared.
    pub fn prepare(self) -> Result<Prepared, TransactionError> {
        let over = self.over();
        let changes = over.changed()?;
        if changes.is_empty() {
            over.seal();
            return Ok(changes);
        }
        self.core.locks.upgrade_allrecord()?;
        self.core.lock_byte(LockByte::Open, LockKind::Write, Wait::Yes)?;
        let plan = CommitPlan::of(&Table::new(self.core, &over), changes)?;
        recovery::make_area(self.core, &over, &plan)?;
        over.seal();
        Ok(plan.changes)
    }

    /// Steps 5 and 6, and the end of the transaction. After an error nothing has changed.
    pub fn commit(self, prepared: &Prepared) -> Result<(), TransactionError> {
        if prepared.is_empty() {
            self.release();
            return Ok(());
        }
        let written = self.write(prepared).and_then(|()| recovery::set_aside(self.core));
        match written {
            Ok(()) => {
                self.release();
                if let Some(storage) = self.core.space.storage() {
                    storage.touch();
                }
                Ok(())
            }
            Err(error) => {
                self.play_back();
                self.release();
                Err(error.into())
            }
        }
    }

    /// Step 5.
    fn write(self, prepared: &Prepared) -> Result<(), AccessError> {
        let over = self.over();
        let mut bytes = Vec::new();
        for change in prepared {
            bytes.clear();
            over.append_to(change.at, change.len, &mut bytes)?;
            over.base.write(change.at, &bytes)?;
        }
        self.core.sync()
    }

    /// The file is a mixture, or new without being durable, and the recovery area still holds the old bytes: makes it
    /// the old database again. If that fails too, whoever locks a chain next tries again.
    fn play_back(self) {
        // Step 6 may have failed in its sync, with the area at rest already.
        let valid = recovery::make_valid(self.core);
        let _ = self.core.noted(valid.and_then(|()| recovery::play_back(self.core)));
    }

    /// Forgets the changes, and undoes what a preparation has done; the transaction has ended even after an error.
    pub fn cancel(self, prepared: Option<&Prepared>) -> Result<(), TransactionError> {
        // Playing back rather than only marking invalid: it also makes records of what the file grew by.
        let used = prepared.is_some_and(|prepared| !prepared.is_empty());
        let undone = if used { recovery::play_back(self.core) } else { Ok(()) };
        self.release();
        Ok(undone?)
    }

    /// Lets go of changes and locks.
    pub fn release(self) {
        self.changes.borrow_mut().clear();
        release_locks(self.core);
    }
}

/// Lets go of the locks of a transaction.
pub(crate) fn release_locks(core: &Core) {
    core.note_new_layout();
    core.locks.set_in_transaction(false);
    if core.locks.holds(LockByte::Open as u64) {
        core.locks.unlock_byte(LockByte::Open);
    }
    core.locks.unlock_allrecord();
    core.locks.unlock_byte(LockByte::Transaction);
}

fn must_be_possible(core: &Core) -> Result<(), TransactionError> {
    if core.read_only {
        return Err(TransactionError::NotPossible { why: "the database was opened for reading only" });
    }
    if core.space.is_memory() {
        return Err(TransactionError::NotPossible { why: "the database is in memory" });
    }
    if core.locks.is_reading() {
        return Err(TransactionError::NotPossible { why: "a traverse that only reads is running" });
    }
    if core.locks.is_after_fork() {
        core.reopen_in_child()?;
    }
    if core.locks.has_extra_locks() {
        return Err(conflict("a transaction cannot start while locks are held"));
    }
    if core.writing.get() > 0 {
        return Err(conflict("a transaction cannot start inside a traverse"));
    }
    Ok(())
}
