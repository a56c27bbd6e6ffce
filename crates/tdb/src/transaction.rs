//! Transactions as values: what a program reads and writes between a start and a commit.

use std::cell::RefCell;
use std::ops::{ControlFlow, Deref};

use crate::check::{CheckError, CheckReport};
use crate::commit::transaction::{Open, Prepared};
use crate::core::Core;
use crate::error::{ReadError, RepackError, StoreError, TransactionError};
use crate::file::bytes::Bytes;
use crate::file::format::Offset;
use crate::file::over::Over;
use crate::file::overlay::Overlay;
use crate::lock::Wait;
use crate::observe::{Operation, When};
use crate::table::Table;
use crate::table::records::StoreMode;

/// An open transaction; cancelled when it is dropped without a commit.
///
/// Reads and writes of the transaction go through it, and nothing else reaches the database meanwhile: it borrows the
/// handle. One that is forgotten ([`std::mem::forget`]) is cancelled by the handle's next operation.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// use tdb::{Database, StoreMode};
/// let mut database = Database::create_new(folder.path().join("test.tdb"))?;
/// let mut transaction = database.transaction()?;
/// transaction.store("from", "90", StoreMode::Replace)?;
/// let point = transaction.savepoint();
/// transaction.store("to", "oops", StoreMode::Replace)?;
/// transaction.rollback_to(&point)?;
/// transaction.store("to", "10", StoreMode::Replace)?;
/// transaction.commit()?;
/// assert_eq!(database.fetch("to")?.as_deref(), Some(&b"10"[..]));
/// # Ok(())
/// # }
/// ```
///
/// The outer one cannot end while an inner one is open:
///
/// ```compile_fail,E0505
/// # let mut database = tdb::Database::open("x").unwrap();
/// let mut outer = database.transaction().unwrap();
/// let inner = outer.nested();
/// outer.commit().unwrap();
/// drop(inner);
/// ```
///
/// The database cannot be used beside it:
///
/// ```compile_fail,E0502
/// # let mut database = tdb::Database::open("x").unwrap();
/// let transaction = database.transaction().unwrap();
/// database.fetch("key").unwrap();
/// transaction.commit().unwrap();
/// ```
#[must_use = "a transaction that is dropped is cancelled"]
pub struct Transaction<'db> {
    core: &'db Core,
    changes: RefCell<Overlay>,
    /// Set by a preparation.
    prepared: Option<Prepared>,
}

/// A place inside an open transaction to go back to.
#[derive(Debug)]
pub struct Savepoint(u64);

/// Bytes that a transaction has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where, from the start of the database.
    pub offset: Offset,
    /// What is there now.
    pub bytes: Vec<u8>,
}

/// All that a transaction has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Ascending, and apart from each other.
    pub ranges: Vec<Change>,
    /// How long the database is with them; what is between the old end and here and in no range is zeros.
    pub size: u32,
}

impl<'db> Transaction<'db> {
    pub(crate) fn begin(core: &'db Core, wait: Wait) -> Result<Self, TransactionError> {
        let table = core.table();
        let called = table.called();
        let changes = RefCell::new(core.former.replace(Overlay::empty()));
        let begun = core.noted(Open::begin(core, &changes, wait).map(drop));
        table.tell(called, When::Begin, begun.is_ok().then_some(Operation::TransactionStart));
        match begun {
            Ok(()) => Ok(Transaction { core, changes, prepared: None }),
            Err(error) => {
                core.former.set(changes.into_inner());
                Err(error)
            }
        }
    }

    fn open(&self) -> Open<'_> {
        Open { core: self.core, changes: &self.changes }
    }

    fn with<T>(&self, act: impl FnOnce(&Table<'_, Over<'_>>) -> T) -> T {
        act(&Table::new(self.core, &self.open().over()))
    }

    /// A child of a fork has its parent's value, and not its locks.
    fn must_be_here(&self) -> Result<(), TransactionError> {
        if self.core.locks.in_transaction() && !self.core.locks.is_after_fork() {
            Ok(())
        } else {
            Err(TransactionError::NoneOpen)
        }
    }

    // Its end.

    /// Makes the changes durable and visible, together.
    ///
    /// # Errors
    /// As [`Transaction::prepare_commit`]; nothing has changed then.
    pub fn commit(self) -> Result<(), TransactionError> {
        let ending = self.with(|table| table.ending(true, Some(0)));
        let mut transaction = self;
        let committed = transaction.core.noted(transaction.commit_unrecorded());
        transaction.ended(ending, Operation::Commit, committed.is_ok());
        committed
    }

    fn commit_unrecorded(&mut self) -> Result<(), TransactionError> {
        self.must_be_here()?;
        if self.prepared.is_none() {
            self.prepare()?;
        }
        let prepared = self.prepared.take().unwrap_or_default();
        self.open().commit(&prepared)
    }

    fn prepare(&mut self) -> Result<(), TransactionError> {
        match self.open().prepare() {
            Ok(prepared) => {
                self.prepared = Some(prepared);
                Ok(())
            }
            Err(error) => {
                // The first error says why; a second one would only say that the file is beyond reach.
                let _ = self.open().cancel(None);
                Err(error)
            }
        }
    }

    /// Does all of the commit that can fail for want of room or locks; what remains writes over reserved bytes.
    ///
    /// # Errors
    /// The locks cannot be made locks for writing, the file cannot be read or written, or it is full. The transaction is
    /// cancelled then.
    pub fn prepare_commit(mut self) -> Result<PreparedTransaction<'db>, TransactionError> {
        let ending = self.with(|table| table.ending(false, Some(0)));
        let prepared = self.must_be_here().and_then(|()| self.prepare());
        let prepared = self.core.noted(prepared);
        self.ended(ending, Operation::PrepareCommit, prepared.is_ok());
        prepared.map(|()| PreparedTransaction(self))
    }

    /// Forgets the changes, as dropping it does.
    ///
    /// # Errors
    /// The file cannot be read or written; the next one who locks it recovers.
    pub fn cancel(mut self) -> Result<(), TransactionError> {
        self.end_by_cancelling()
    }

    fn end_by_cancelling(&mut self) -> Result<(), TransactionError> {
        let ending = self.with(|table| table.ending(false, Some(0)));
        let cancelled = self.core.noted(self.must_be_here().and_then(|()| {
            let prepared = self.prepared.take();
            self.open().cancel(prepared.as_ref())
        }));
        self.ended(ending, Operation::Cancel, cancelled.is_ok());
        cancelled
    }

    fn ended(&self, ending: Option<crate::observe::Ending>, asked: Operation<'_>, done: bool) {
        self.core.table().ended(ending, asked, done);
    }

    /// What it has changed, for whoever replicates it; the database itself stays as it is.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn into_changes(self) -> Result<Changes, TransactionError> {
        let over = self.open().over();
        let mut changes = Changes { ranges: Vec::new(), size: over.size() };
        for changed in over.changed()? {
            let bytes = over.bytes(changed.at, changed.len)?;
            changes.ranges.push(Change { offset: changed.at, bytes });
        }
        Ok(changes)
    }

    // Going back.

    /// An inner transaction: undone when it is dropped without a commit. This one cannot be used until it ends.
    pub fn nested(&mut self) -> Nested<'_, 'db> {
        let point = self.mark();
        Nested { outer: self, point, open: true }
    }

    /// A place to go back to.
    pub fn savepoint(&mut self) -> Savepoint {
        Savepoint(self.mark())
    }

    fn mark(&mut self) -> u64 {
        let point = self.changes.get_mut().mark();
        self.core.table().note_savepoint(point);
        point
    }

    /// Keeps what came after a mark, and forgets the mark.
    fn unmark(&mut self, point: u64) {
        self.changes.get_mut().unmark(point);
        self.core.table().note_no_savepoint(point);
    }

    /// Undoes what came after `point`, which can be gone back to again. Later ones are stale then.
    ///
    /// # Errors
    /// [`TransactionError::StaleSavepoint`]: it is of another transaction, of an inner one that has ended, or from after one
    /// that was gone back to.
    pub fn rollback_to(&mut self, point: &Savepoint) -> Result<(), TransactionError> {
        if self.go_back(point.0) { Ok(()) } else { Err(TransactionError::StaleSavepoint) }
    }

    /// Undoes what came after a mark, which stays; `false` if there is none.
    fn go_back(&mut self, point: u64) -> bool {
        let rollback = self.with(|table| table.before_rollback(point));
        if !self.changes.get_mut().go_back(point) {
            return false;
        }
        self.core.note_new_layout();
        self.with(|table| table.after_rollback(rollback));
        true
    }

    // Records.

    /// As [`crate::Database::fetch`].
    ///
    /// # Errors
    /// As there.
    pub fn fetch(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, ReadError> {
        self.with(|table| table.fetch(key.as_ref()))
    }

    /// As [`crate::Database::fetch_into`].
    ///
    /// # Errors
    /// As there.
    pub fn fetch_into(&self, key: impl AsRef<[u8]>, value: &mut Vec<u8>) -> Result<bool, ReadError> {
        self.with(|table| table.fetch_into(key.as_ref(), value))
    }

    /// As [`crate::Database::parse_record`].
    ///
    /// # Errors
    /// As there.
    pub fn parse_record<T>(
        &self,
        key: impl AsRef<[u8]>,
        parse: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, ReadError> {
        self.with(|table| table.parse_record(key.as_ref(), parse))
    }

    /// As [`crate::Database::exists`].
    ///
    /// # Errors
    /// As there.
    pub fn exists(&self, key: impl AsRef<[u8]>) -> Result<bool, ReadError> {
        self.with(|table| table.exists(key.as_ref()))
    }

    /// As [`crate::Database::store`].
    ///
    /// # Errors
    /// As there.
    pub fn store(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        mode: StoreMode,
    ) -> Result<(), StoreError> {
        self.with(|table| table.store(key.as_ref(), value.as_ref(), mode))
    }

    /// As [`crate::Database::store_parts`].
    ///
    /// # Errors
    /// As there.
    pub fn store_parts(
        &self,
        key: impl AsRef<[u8]>,
        parts: &[&[u8]],
        mode: StoreMode,
    ) -> Result<(), StoreError> {
        self.with(|table| table.store_parts(key.as_ref(), parts, mode))
    }

    /// As [`crate::Database::append`].
    ///
    /// # Errors
    /// As there.
    pub fn append(&self, key: impl AsRef<[u8]>, more: impl AsRef<[u8]>) -> Result<(), StoreError> {
        self.with(|table| table.append(key.as_ref(), more.as_ref()))
    }

    /// As [`crate::Database::delete`].
    ///
    /// # Errors
    /// As there.
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<(), StoreError> {
        self.with(|table| table.delete(key.as_ref()))
    }

    /// As [`crate::Database::wipe_all`].
    ///
    /// # Errors
    /// As there.
    pub fn wipe_all(&self) -> Result<(), StoreError> {
        self.with(|table| table.wipe_all())
    }

    /// As [`crate::Database::traverse`].
    ///
    /// # Errors
    /// As there.
    pub fn traverse(&self, with: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<u64, ReadError> {
        self.with(|table| table.traverse(with))
    }

    /// As [`crate::Database::traverse_read`].
    ///
    /// # Errors
    /// As there.
    pub fn traverse_read(&self, with: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<u64, ReadError> {
        self.with(|table| table.traverse_read(with))
    }

    /// As [`crate::Database::traverse_chain`].
    ///
    /// # Errors
    /// As there.
    pub fn traverse_chain(
        &self,
        chain: u32,
        with: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<u64, ReadError> {
        self.with(|table| table.traverse_chain(chain, with))
    }

    /// As [`crate::Database::check`].
    ///
    /// # Errors
    /// As there.
    pub fn check(&self, accept: impl FnMut(&[u8], &[u8]) -> bool) -> Result<CheckReport, CheckError> {
        self.with(|table| table.check(accept))
    }

    /// As [`crate::Database::seqnum`].
    ///
    /// # Errors
    /// As there.
    pub fn seqnum(&self) -> Result<u32, ReadError> {
        self.with(|table| table.seqnum())
    }

    /// The bytes of the database with what the transaction added.
    pub fn map_size(&self) -> u32 {
        self.open().over().size()
    }

    pub(crate) fn rewrite(&self) -> Result<(), RepackError> {
        self.core.noted(self.with(|table| table.rewrite()))
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.must_be_here().is_ok() {
            // A failure is noted in the handle; the next one who locks recovers.
            let _ = self.end_by_cancelling();
        }
        let mut changes = std::mem::replace(self.changes.get_mut(), Overlay::empty());
        changes.clear();
        self.core.former.set(changes);
    }
}

/// A transaction that can only be committed or cancelled: the room and the locks that a commit needs are there.
#[must_use = "a transaction that is dropped is cancelled"]
pub struct PreparedTransaction<'db>(Transaction<'db>);

impl PreparedTransaction<'_> {
    /// Makes the changes durable and visible, together.
    ///
    /// # Errors
    /// The file cannot be read or written; nothing has changed then.
    pub fn commit(self) -> Result<(), TransactionError> {
        self.0.commit()
    }

    /// Forgets the changes, as dropping it does.
    ///
    /// # Errors
    /// As [`Transaction::cancel`].
    pub fn cancel(self) -> Result<(), TransactionError> {
        self.0.cancel()
    }
}

/// A transaction inside another: undone when it is dropped without a commit. Its records are reached as the outer one's.
///
/// One that is forgotten ([`std::mem::forget`]) keeps its changes, as one that was committed.
#[must_use = "an inner transaction that is dropped is undone"]
pub struct Nested<'t, 'db> {
    outer: &'t mut Transaction<'db>,
    point: u64,
    open: bool,
}

impl<'db> Nested<'_, 'db> {
    /// Makes the changes part of the outer transaction.
    pub fn commit(mut self) {
        self.open = false;
        self.outer.unmark(self.point);
    }

    /// Undoes the changes, as dropping it does.
    pub fn cancel(self) {}

    /// As [`Transaction::nested`].
    pub fn nested(&mut self) -> Nested<'_, 'db> {
        self.outer.nested()
    }

    /// As [`Transaction::savepoint`].
    pub fn savepoint(&mut self) -> Savepoint {
        self.outer.savepoint()
    }

    /// As [`Transaction::rollback_to`].
    ///
    /// # Errors
    /// As there, and the savepoint is older than this inner transaction.
    pub fn rollback_to(&mut self, point: &Savepoint) -> Result<(), TransactionError> {
        if point.0 < self.point {
            Err(TransactionError::StaleSavepoint)
        } else {
            self.outer.rollback_to(point)
        }
    }
}

impl<'db> Deref for Nested<'_, 'db> {
    type Target = Transaction<'db>;
    fn deref(&self) -> &Transaction<'db> {
        self.outer
    }
}

impl Drop for Nested<'_, '_> {
    fn drop(&mut self) {
        if self.open {
            self.outer.go_back(self.point);
            self.outer.unmark(self.point);
        }
    }
}

impl std::fmt::Debug for Transaction<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Transaction").field("database", &self.core.name).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for PreparedTransaction<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("PreparedTransaction").field("database", &self.0.core.name).finish_non_exhaustive()
    }
}
