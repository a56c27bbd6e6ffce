//! One open database, for Rust programs.

use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::atomic::AtomicI32;

use crate::check::{CheckError, CheckReport};
use crate::core::Core;
use crate::error::{LockError, OpenError, ReadError, RepackError, StoreError, TransactionError};
use crate::file::bytes::Bytes;
use crate::file::format::{ByteOrder, Length, Offset, Record};
use crate::file::space::Space;
use crate::file::storage::Storage;
use crate::flags::Flags;
use crate::guards::{AllRecordLock, ChainLock};
use crate::hash::HashFunction;
use crate::lock::{LockKind, Wait};
use crate::log::Log;
use crate::observe::{Operation, When};
use crate::open::{OpenOptions, open_another};
use crate::records::Records;
use crate::summary::Summary;
use crate::table::Table;
use crate::table::records::StoreMode;
use crate::transaction::Transaction;

/// One opening of a database.
///
/// It is `Send` and not `Sync`: each thread has its own, by [`Database::another`] for databases in files (the two
/// exclude each other like two processes do), or one behind a `Mutex` for databases in memory. Single operations take
/// `&self`, so that they work inside a traverse, and while a guard or a value is held. A transaction takes `&mut self`:
/// none begins meanwhile, and nothing goes past it. After a fork the child's first operation opens
/// the file anew by itself: locks of the parent are not the child's.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// use tdb::{Database, OpenOptions, StoreMode};
/// let database = OpenOptions::new().create(true).open(folder.path().join("test.tdb"))?;
/// database.store("key", "value", StoreMode::Replace)?;
/// database.append("key", " and more")?;
/// assert_eq!(database.fetch("key")?.as_deref(), Some(&b"value and more"[..]));
/// # Ok(())
/// # }
/// ```
///
/// One handle in two threads at once does not compile:
///
/// ```compile_fail,E0277
/// fn is_sync<T: Sync>() {}
/// is_sync::<tdb::Database>();
/// ```
pub struct Database {
    core: Core,
}

impl Database {
    pub(crate) fn of(core: Core) -> Database {
        Database { core }
    }

    /// Opens an existing database, with default options.
    ///
    /// # Errors
    /// As [`OpenOptions::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Database, OpenError> {
        OpenOptions::new().open(path)
    }

    /// Makes a new database with default options; the file must not exist.
    ///
    /// # Errors
    /// As [`OpenOptions::open`].
    pub fn create_new(path: impl AsRef<Path>) -> Result<Database, OpenError> {
        OpenOptions::new().create(true).exclusive(true).open(path)
    }

    /// A new database in memory, without a file, locks and transactions.
    ///
    /// # Errors
    /// The system has no memory.
    ///
    /// ```
    /// let database = tdb::Database::in_memory()?;
    /// assert!(!database.exists("key")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn in_memory() -> Result<Database, OpenError> {
        OpenOptions::new().internal(true).open("in memory")
    }

    /// A second handle of the same file, for another thread: it locks and transacts on its own.
    ///
    /// Databases in memory have no second handle; share one behind a `Mutex`.
    ///
    /// # Errors
    /// The database is not in a file, or the system refuses to open it again.
    pub fn another(&self) -> Result<Database, OpenError> {
        open_another(&self.core).map(Database::of)
    }

    /// Opens the file anew for this handle, as a child must after a fork; fails with locks held.
    ///
    /// A child's first operation does this by itself. Calling it early also takes the lock that keeps
    /// clear-if-first openers from emptying the database once the parent has gone.
    ///
    /// # Errors
    /// Locks are held, or the system refuses to open the file again.
    pub fn reopen(&mut self) -> Result<(), OpenError> {
        self.end_forgotten_transaction();
        self.core.reopen()
    }

    /// Puts another storage in the place of the one that the database was opened in, which is given back: the next version
    /// of a replicated database, say, under a handle that stays open. It must hold a database with the same number of
    /// chains, hash and byte order.
    ///
    /// # Errors
    /// The database was not opened by [`OpenOptions::open_storage`], or the new storage holds another kind of database; the
    /// old one stays then.
    pub fn exchange(&mut self, storage: Box<dyn Storage>) -> Result<Box<dyn Storage>, OpenError> {
        self.end_forgotten_transaction();
        self.core.exchange(storage)
    }

    /// Closes the database and gives back the storage that it was opened in; none if that is a file or memory.
    pub fn into_storage(self) -> Option<Box<dyn Storage>> {
        self.end_forgotten_transaction();
        let mut core = self.core;
        core.space.take_storage()
    }

    /// The records in the file.
    #[inline]
    pub(crate) fn table(&self) -> Table<'_, Space> {
        if self.core.locks.in_transaction() {
            self.end_forgotten_transaction();
        }
        self.core.table()
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    /// A [`Transaction`] that was forgotten ([`std::mem::forget`]) is over now: nothing of it has reached the file, but its
    /// locks are held.
    #[cold]
    fn end_forgotten_transaction(&self) {
        if self.core.locks.in_transaction() && !self.core.locks.is_after_fork() {
            let table = self.core.table();
            let ending = table.ending(false, Some(0));
            crate::commit::transaction::release_locks(&self.core);
            table.ended(ending, Operation::Cancel, true);
        }
    }

    // Single records.

    /// The value of `key`, if it is there.
    ///
    /// # Errors
    /// The chain cannot be locked, or the file cannot be read or believed.
    pub fn fetch(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, ReadError> {
        self.table().fetch(key.as_ref())
    }

    /// Puts the value of `key` into `value`, whose memory serves many fetches; `false`, and `value` empty, if it is not there.
    ///
    /// # Errors
    /// As [`Database::fetch`].
    pub fn fetch_into(&self, key: impl AsRef<[u8]>, value: &mut Vec<u8>) -> Result<bool, ReadError> {
        self.table().fetch_into(key.as_ref(), value)
    }

    /// Shows the value of `key` to `parse`; `None` if the key is not there.
    ///
    /// It is a copy, in memory that this handle keeps for the next call: another process may change the file's own bytes
    /// at any moment. No lock is held any more when `parse` runs, so it may use the database in every way. The value cannot
    /// be kept beyond the call:
    ///
    /// ```compile_fail
    /// # let database = tdb::Database::open("x").unwrap();
    /// let kept: &[u8] = database.parse_record("key", |value| value).unwrap().unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`Database::fetch`].
    pub fn parse_record<T>(
        &self,
        key: impl AsRef<[u8]>,
        parse: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, ReadError> {
        self.table().parse_record(key.as_ref(), parse)
    }

    /// Whether `key` is there.
    ///
    /// # Errors
    /// As [`Database::fetch`].
    pub fn exists(&self, key: impl AsRef<[u8]>) -> Result<bool, ReadError> {
        self.table().exists(key.as_ref())
    }

    /// Stores `value` under `key`.
    ///
    /// # Errors
    /// [`StoreError::Exists`] and [`StoreError::NoSuchRecord`] as `mode` says; the database is open for reading only, or
    /// such a traverse is running; the record is too long; the chain cannot be locked; the file cannot be read, written
    /// or believed.
    pub fn store(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        mode: StoreMode,
    ) -> Result<(), StoreError> {
        self.table().store(key.as_ref(), value.as_ref(), mode)
    }

    /// Stores the concatenation of `parts` under `key`.
    ///
    /// # Errors
    /// As [`Database::store`].
    pub fn store_parts(
        &self,
        key: impl AsRef<[u8]>,
        parts: &[&[u8]],
        mode: StoreMode,
    ) -> Result<(), StoreError> {
        self.table().store_parts(key.as_ref(), parts, mode)
    }

    /// Appends `more` to the value of `key`, which begins empty if it is not there.
    ///
    /// # Errors
    /// As [`Database::store`].
    pub fn append(&self, key: impl AsRef<[u8]>, more: impl AsRef<[u8]>) -> Result<(), StoreError> {
        self.table().append(key.as_ref(), more.as_ref())
    }

    /// Deletes `key`.
    ///
    /// # Errors
    /// [`StoreError::NoSuchRecord`] if it is not there; else as [`Database::store`].
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<(), StoreError> {
        self.table().delete(key.as_ref())
    }

    // All records.

    /// Deletes all records, in one step for others.
    ///
    /// # Errors
    /// As [`Database::store`].
    pub fn wipe_all(&self) -> Result<(), StoreError> {
        self.table().wipe_all()
    }

    /// Calls `with` for every record, until it breaks off; returns how many it was called for.
    ///
    /// `with` may store and delete, and no transaction of another process commits
    /// meanwhile. Records are in no particular order; those stored meanwhile may appear or not.
    ///
    /// # Errors
    /// As [`Database::fetch`].
    pub fn traverse(&self, with: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<u64, ReadError> {
        self.table().traverse(with)
    }

    /// Like [`Database::traverse`], for callbacks that only read: changes are refused meanwhile.
    ///
    /// # Errors
    /// As [`Database::fetch`].
    pub fn traverse_read(&self, with: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<u64, ReadError> {
        self.table().traverse_read(with)
    }

    /// Calls `with` for every record of one chain, which stays locked for reading all the time.
    ///
    /// # Errors
    /// There is no such chain; else as [`Database::fetch`].
    pub fn traverse_chain(
        &self,
        chain: u32,
        with: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<u64, ReadError> {
        self.table().traverse_chain(chain, with)
    }

    /// All records, as copies, in no particular order; the loop may change the database. A record that is stored meanwhile
    /// may appear or not, one that is deleted meanwhile does not.
    ///
    /// ```
    /// # use tdb::{Database, StoreMode};
    /// let database = Database::in_memory()?;
    /// database.store("a", "1", StoreMode::Insert)?;
    /// for record in database.records() {
    ///     let (key, value) = record?;
    ///     database.store(&value, &key, StoreMode::Replace)?;
    /// }
    /// assert_eq!(database.fetch("1")?.as_deref(), Some(&b"a"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn records(&self) -> Records<'_> {
        Records::new(self)
    }

    /// All keys; see [`Database::records`].
    pub fn keys(&self) -> impl Iterator<Item = Result<Vec<u8>, ReadError>> {
        self.records().map(|record| record.map(|(key, _)| key))
    }

    /// The first key, in no particular order; `None` if the database is empty. One such walk per handle: it begins anew here.
    ///
    /// # Errors
    /// As [`Database::fetch`].
    pub fn first_key(&self) -> Result<Option<Vec<u8>>, ReadError> {
        self.table().first_key()
    }

    /// The key after `key`; `None` at the end. `key` may have been deleted meanwhile if it was the last one returned.
    ///
    /// # Errors
    /// As [`Database::fetch`].
    pub fn next_key(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, ReadError> {
        self.table().next_key(key.as_ref())
    }

    /// Rewrites all records without gaps, in a transaction. The file's size stays, and its free space becomes one.
    ///
    /// # Errors
    /// Those of a transaction and of the operations in it; the database is as before then.
    pub fn repack(&mut self) -> Result<(), RepackError> {
        let table = self.table();
        table.tell(table.called(), When::Last, Some(Operation::Repack));
        let transaction = self.transaction()?;
        transaction.rewrite()?;
        Ok(transaction.commit()?)
    }

    // Locks and transactions.

    /// Locks the chain of `key`: several operations on the key become one step for others.
    ///
    /// A handle cannot be dropped, nor a transaction begun, while a guard is held:
    ///
    /// ```compile_fail,E0505
    /// # use tdb::{Database, LockKind, Wait};
    /// # let database = Database::open("x").unwrap();
    /// let lock = database.chain_lock("key", LockKind::Write, Wait::Yes).unwrap();
    /// drop(database);
    /// drop(lock);
    /// ```
    ///
    /// # Errors
    /// Another process or thread holds it and `wait` is [`Wait::No`]; it cannot be combined with the locks held; or the
    /// system refuses.
    pub fn chain_lock(
        &self,
        key: impl AsRef<[u8]>,
        kind: LockKind,
        wait: Wait,
    ) -> Result<ChainLock<'_>, LockError> {
        self.table().lock_chain(key.as_ref(), kind, wait)?;
        Ok(ChainLock::of(&self.core, key.as_ref(), kind))
    }

    /// Locks all records.
    ///
    /// # Errors
    /// As [`Database::chain_lock`].
    pub fn all_record_lock(&self, kind: LockKind, wait: Wait) -> Result<AllRecordLock<'_>, LockError> {
        self.table().lock_all(kind, wait)?;
        Ok(AllRecordLock::of(&self.core, kind))
    }

    /// Starts a transaction, waiting for those of others. This handle cannot be used beside it.
    ///
    /// ```compile_fail,E0502
    /// # use tdb::{Database, LockKind, Wait};
    /// # let mut database = Database::open("x").unwrap();
    /// let lock = database.chain_lock("key", LockKind::Write, Wait::Yes).unwrap();
    /// let transaction = database.transaction().unwrap();
    /// drop(lock);
    /// ```
    ///
    /// # Errors
    /// Read-only databases and those in memory have none; a guard that was forgotten is held; the locks cannot be taken;
    /// the file cannot be read.
    pub fn transaction(&mut self) -> Result<Transaction<'_>, TransactionError> {
        self.end_forgotten_transaction();
        Transaction::begin(&self.core, Wait::Yes)
    }

    /// Like [`Database::transaction`]; fails with [`LockError::WouldBlock`] if another is open.
    ///
    /// # Errors
    /// As [`Database::transaction`].
    pub fn try_transaction(&mut self) -> Result<Transaction<'_>, TransactionError> {
        self.end_forgotten_transaction();
        Transaction::begin(&self.core, Wait::No)
    }

    // Looking at the whole.

    /// Checks the whole database; `accept` is asked about every key and value.
    ///
    /// # Errors
    /// [`CheckError`]: what is wrong, and where.
    pub fn check(&self, accept: impl FnMut(&[u8], &[u8]) -> bool) -> Result<CheckReport, CheckError> {
        self.table().check(accept)
    }

    /// Calls `with` for every record that can still be read; returns how many.
    ///
    /// # Errors
    /// The locks cannot be taken.
    pub fn rescue(&self, with: impl FnMut(&[u8], &[u8])) -> Result<u64, CheckError> {
        self.table().rescue(with)
    }

    /// Figures about the whole database.
    ///
    /// # Errors
    /// As [`Database::check`].
    pub fn summary(&self) -> Result<Summary, CheckError> {
        self.table().summary()
    }

    /// How many records the freelist holds.
    ///
    /// # Errors
    /// As [`Database::check`].
    pub fn freelist_size(&self) -> Result<u32, CheckError> {
        self.table().freelist_size()
    }

    /// Checks the freelist alone, for circles and for records that are not free; returns how many it holds.
    ///
    /// # Errors
    /// As [`Database::check`].
    pub fn validate_freelist(&self) -> Result<u32, CheckError> {
        self.table().validate_freelist()
    }

    /// Calls `with` with place and length of each record of the freelist, in the list's order; returns how many.
    ///
    /// # Errors
    /// As [`Database::check`].
    pub fn freelist_records(&self, with: impl FnMut(Offset, Length)) -> Result<u32, CheckError> {
        self.table().freelist_records(with)
    }

    /// Calls `with` with place and header of each record of a chain, deleted ones included, under the chain's lock.
    ///
    /// # Errors
    /// There is no such chain; else as [`Database::fetch`].
    pub fn chain_records(&self, chain: u32, with: impl FnMut(Offset, &Record)) -> Result<(), ReadError> {
        self.table().chain_records(chain, with)
    }

    // What it is.

    /// The name it was opened by.
    pub fn name(&self) -> &Path {
        &self.core.name
    }

    /// The number of chains.
    pub fn hash_size(&self) -> u32 {
        self.core.hash_size
    }

    /// The bytes of the file as last seen.
    pub fn map_size(&self) -> u32 {
        self.core.space.size()
    }

    /// In which order the bytes of the file's words stand.
    pub fn byte_order(&self) -> ByteOrder {
        self.core.space.order()
    }

    /// The hash function in use.
    pub fn hash_function(&self) -> &HashFunction {
        &self.core.hash
    }

    /// The hash of `key`.
    pub fn hash_of(&self, key: impl AsRef<[u8]>) -> u32 {
        self.core.hash.hash(key.as_ref())
    }

    /// The chain that `key` belongs to.
    pub fn chain_index(&self, key: impl AsRef<[u8]>) -> u32 {
        self.hash_of(key) % self.core.hash_size
    }

    /// The flags, as libtdb's numbers.
    pub fn flags(&self) -> Flags {
        self.core.shown_flags()
    }

    /// Whether it was opened for reading only.
    pub fn is_read_only(&self) -> bool {
        self.core.read_only
    }

    /// The file, if the database is in one. Locking it by this descriptor, or closing it, breaks the database's own locks.
    pub fn file(&self) -> Option<BorrowedFd<'_>> {
        self.core.space.file().map(|file| file.as_fd())
    }

    /// The sequence number: grows with every change made by openers that count ([`Flags::SEQNUM`]).
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn seqnum(&self) -> Result<u32, ReadError> {
        self.table().seqnum()
    }

    /// Sends messages to `log` from now on.
    pub fn set_log(&self, log: Option<Log>) {
        *self.core.log.borrow_mut() = log;
    }

    /// While the flag is not 0, a signal ends the wait for a lock with [`LockError::Interrupted`].
    pub fn set_interrupt_flag(&self, flag: Option<&'static AtomicI32>) {
        self.core.locks.set_interrupt(flag);
    }

    /// How many deleted records a chain may keep before they are freed; libtdb's `tdb_set_max_dead`.
    pub fn set_max_dead(&self, max_dead: u32) {
        self.core.max_dead.set(max_dead);
    }

    /// Whether an observer is told what this handle does; false, too, once it can watch no longer.
    pub fn is_observed(&self) -> bool {
        self.core.table().is_observed()
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Database")
            .field("name", &self.core.name)
            .field("hash_size", &self.core.hash_size)
            .field("flags", &self.core.flags.get())
            .finish_non_exhaustive()
    }
}
