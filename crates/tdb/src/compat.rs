//! What only C's interface wants, for `tdb-capi` and for programs that repeat what C's callers did.
//!
//! A [`Tdb`] speaks libtdb's dialect: locks and transactions without guards, which nest by counting; locks that are marked
//! as held without being taken; lists by their numbers; the code of the last error. It owns its opening and hands out no
//! guards, so the two dialects cannot be mixed.
//!
//! The contract, which no type holds here: a call may be made in any order, and wrong ones are answered with an error; no
//! order of them reaches memory that is not the opening's. But who marks a lock that nobody holds, opens without locks what
//! others write, gives a lock back twice, or forgets a commit gets what libtdb gives: values that are lost or mixed.
//! With [`Flags::MUTEX_LOCKING`] the contract of [`OpenOptions::mutex_locking`] holds.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::sync::atomic::AtomicI32;

use crate::check::{CheckError, CheckReport};
use crate::commit::transaction::{Open, Prepared};
use crate::core::Core;
use crate::error::{ErrorCode, LockError, OpenError, ReadError, RepackError, StoreError, TransactionError};
use crate::file::bytes::Bytes;
use crate::file::format::{Length, Offset};
use crate::file::overlay::Overlay;
use crate::file::storage::Storage;
use crate::flags::Flags;
use crate::hash::HashFunction;
use crate::lock::{ChainIndex, LockByte, LockKind, Wait};
use crate::log::Log;
use crate::observe::{Operation, When};
use crate::open::{OpenOptions, open_another};
use crate::summary::Summary;
use crate::table::Table;
use crate::table::records::StoreMode;

/// Sets all flags of `options` at once, by libtdb's numbers; unknown bits are ignored.
pub fn set_flags(options: &mut OpenOptions, flags: Flags) -> &mut OpenOptions {
    options.set_flags(flags);
    options
}

/// The transaction of an opening, apart from its changes. Means something only while the locks say that one is open.
#[derive(Default)]
struct State {
    /// Inner transactions that are open.
    nesting: u32,
    inner_cancelled: bool,
    prepared: Option<Prepared>,
}

/// One opening of a database, as C's interface has it.
pub struct Tdb {
    changes: RefCell<Overlay>,
    state: RefCell<State>,
    core: Core,
}

/// Runs an expression on the records as the opening sees them: through its transaction, if one is open.
macro_rules! on_table {
    ($opening:ident, $table:ident => $act:expr) => {
        if $opening.transaction_active() {
            let over = $opening.open_transaction().over();
            let $table = Table::new(&$opening.core, &over);
            $act
        } else {
            let $table = $opening.core.table();
            $act
        }
    };
}

/// Functions that are those of a table.
macro_rules! forward {
    ($($(#[$doc:meta])* fn $name:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)+) => { $(
        $(#[$doc])*
        #[allow(missing_docs)]
        pub fn $name(&self, $($argument: $kind),*) -> $answer {
            on_table!(self, table => table.$name($($argument),*))
        }
    )+ };
}

impl Tdb {
    /// Opens a database.
    pub fn open(options: &OpenOptions, path: impl AsRef<Path>) -> Result<Tdb, OpenError> {
        options.open_core(path.as_ref()).map(Tdb::of)
    }

    /// Opens the database in `storage`; see [`OpenOptions::open_storage`].
    pub fn open_storage(
        options: &OpenOptions,
        name: impl AsRef<Path>,
        storage: Box<dyn Storage>,
    ) -> Result<Tdb, OpenError> {
        options.open_storage_core(name.as_ref(), storage).map(Tdb::of)
    }

    fn of(core: Core) -> Tdb {
        Tdb { core, changes: RefCell::new(Overlay::empty()), state: RefCell::default() }
    }

    /// A second handle of the same file.
    pub fn another(&self) -> Result<Tdb, OpenError> {
        open_another(&self.core).map(Tdb::of)
    }

    /// `tdb_reopen`
    pub fn reopen(&self) -> Result<(), OpenError> {
        self.core.reopen()
    }

    fn open_transaction(&self) -> Open<'_> {
        Open { core: &self.core, changes: &self.changes }
    }

    forward! {
        fn fetch(key: &[u8]) -> Result<Option<Vec<u8>>, ReadError>;
        fn fetch_into(key: &[u8], value: &mut Vec<u8>) -> Result<bool, ReadError>;
        fn exists(key: &[u8]) -> Result<bool, ReadError>;
        fn store(key: &[u8], value: &[u8], mode: StoreMode) -> Result<(), StoreError>;
        fn store_parts(key: &[u8], parts: &[&[u8]], mode: StoreMode) -> Result<(), StoreError>;
        fn append(key: &[u8], more: &[u8]) -> Result<(), StoreError>;
        fn delete(key: &[u8]) -> Result<(), StoreError>;
        fn wipe_all() -> Result<(), StoreError>;
        fn traverse(with: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<u64, ReadError>;
        fn traverse_read(with: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<u64, ReadError>;
        fn traverse_chain(chain: u32, with: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<u64, ReadError>;
        fn traverse_key_chain(key: &[u8], with: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<u64, ReadError>;
        fn first_key() -> Result<Option<Vec<u8>>, ReadError>;
        fn next_key(key: &[u8]) -> Result<Option<Vec<u8>>, ReadError>;
        fn lock_chain(key: &[u8], kind: LockKind, wait: Wait) -> Result<(), LockError>;
        fn unlock_chain(key: &[u8], kind: LockKind) -> Result<(), LockError>;
        fn lock_all(kind: LockKind, wait: Wait) -> Result<(), LockError>;
        fn unlock_all(kind: LockKind) -> Result<(), LockError>;
        fn check(accept: impl FnMut(&[u8], &[u8]) -> bool) -> Result<CheckReport, CheckError>;
        fn rescue(with: impl FnMut(&[u8], &[u8])) -> Result<u64, CheckError>;
        fn summary() -> Result<Summary, CheckError>;
        fn freelist_size() -> Result<u32, CheckError>;
        fn validate_freelist() -> Result<u32, CheckError>;
        fn freelist_records(with: impl FnMut(Offset, Length)) -> Result<u32, CheckError>;
        fn seqnum() -> Result<u32, ReadError>;
        fn increment_seqnum() -> Result<(), ReadError>;
    }

    /// Shows the value of `key` to `parse`, as a copy; no lock is held any more.
    pub fn parse_record<T>(
        &self,
        key: &[u8],
        parse: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, ReadError> {
        on_table!(self, table => table.parse_record(key, parse))
    }

    /// The same with a copy in `buffer`, and the chain locked for reading until `parse` is done.
    pub fn parse_record_copy<T>(
        &self,
        key: &[u8],
        buffer: &mut Vec<u8>,
        parse: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, ReadError> {
        on_table!(self, table => table.parse_record_copy(key, buffer, parse))
    }

    // Locks that are not taken, or that have no key.

    /// Counts the chain of `key` as locked for writing without locking it: another process holds it on our behalf.
    pub fn mark_chain(&self, key: &[u8]) -> Result<(), LockError> {
        on_table!(self, table => {
            let called = table.called();
            let marked = self.core.noted(self.core.locks.mark_list(table.chain_of_key(key), LockKind::Write));
            table.tell_mark(called, Operation::MarkChain { key }, marked.is_ok());
            marked
        })
    }

    /// Undoes one [`Tdb::mark_chain`].
    pub fn unmark_chain(&self, key: &[u8]) -> Result<(), LockError> {
        on_table!(self, table => {
            let called = table.called();
            let unmarked = self.core.noted(self.core.locks.unmark_list(table.chain_of_key(key)));
            table.tell_mark(called, Operation::UnmarkChain { key }, unmarked.is_ok());
            unmarked
        })
    }

    /// Counts all records as locked for writing without locking them: another process holds them on our behalf.
    pub fn mark_all(&self) -> Result<(), LockError> {
        on_table!(self, table => {
            let called = table.called();
            let marked = self.core.noted(self.core.locks.mark_allrecord(LockKind::Write));
            table.tell_mark(called, Operation::MarkAll, marked.is_ok());
            marked
        })
    }

    /// Undoes one [`Tdb::mark_all`].
    pub fn unmark_all(&self) -> Result<(), LockError> {
        on_table!(self, table => {
            let called = table.called();
            let unmarked = self.core.noted(self.core.locks.unlock_allrecord_as(LockKind::Write, false));
            table.tell_mark(called, Operation::UnmarkAll, unmarked.is_ok());
            unmarked
        })
    }

    /// Counts the transaction lock as held without taking it: another process holds it on our behalf.
    pub fn mark_transaction_lock(&self) {
        self.core.locks.mark_byte(LockByte::Transaction, LockKind::Write);
    }

    /// Undoes one [`Tdb::mark_transaction_lock`].
    pub fn unmark_transaction_lock(&self) -> Result<(), LockError> {
        self.core.noted(self.core.locks.unmark_byte(LockByte::Transaction))
    }

    /// Locks a chain by its number, or the freelist as -1, until [`Tdb::unlock_number`].
    pub fn lock_number(&self, list: i32, kind: LockKind, wait: Wait) -> Result<(), LockError> {
        self.core.noted(self.list_of(list).and_then(|list| self.core.lock_list(list, kind, wait)))
    }

    /// Undoes one [`Tdb::lock_number`].
    pub fn unlock_number(&self, list: i32, kind: LockKind) -> Result<(), LockError> {
        self.core.noted(self.list_of(list).and_then(|list| {
            let held = self.core.locks.unlock_list(list, kind);
            if held { Ok(()) } else { Err(LockError::NotHeld { byte: list.byte() }) }
        }))
    }

    fn list_of(&self, list: i32) -> Result<ChainIndex, LockError> {
        match u32::try_from(list) {
            Ok(chain) if chain < self.core.hash_size => Ok(ChainIndex::chain(chain)),
            _ if list == -1 => Ok(ChainIndex::FREELIST),
            _ => Err(LockError::Conflict { why: "there is no chain of this number" }),
        }
    }

    // Transactions.

    /// Whether a transaction is open.
    #[inline]
    pub fn transaction_active(&self) -> bool {
        // One that was open before a fork is the parent's.
        self.core.locks.in_transaction() && !self.core.locks.is_after_fork()
    }

    /// How many inner transactions are open in the open one.
    fn nesting(&self) -> Option<u32> {
        self.transaction_active().then(|| self.state.borrow().nesting)
    }

    /// Starts a transaction, or an inner one: the caller commits or cancels it.
    pub fn transaction_start(&self, wait: Wait) -> Result<(), TransactionError> {
        let table = self.core.table();
        let called = table.called().filter(|_| !self.transaction_active());
        let started = self.core.noted(self.start(wait));
        table.tell(called, When::Begin, started.is_ok().then_some(Operation::TransactionStart));
        started
    }

    fn start(&self, wait: Wait) -> Result<(), TransactionError> {
        if self.transaction_active() {
            if !self.core.flags.get().has(Flags::ALLOW_NESTING) {
                return Err(TransactionError::Nesting);
            }
            self.state.borrow_mut().nesting += 1;
            return Ok(());
        }
        Open::begin(&self.core, &self.changes, wait)?;
        *self.state.borrow_mut() = State::default();
        Ok(())
    }

    /// Does all of the commit that can fail for want of room or locks; afterwards only commit and cancel are possible. An
    /// error cancels the innermost transaction that is open.
    pub fn transaction_prepare_commit(&self) -> Result<(), TransactionError> {
        self.ending(Operation::PrepareCommit, false, || self.prepare_outer())
    }

    fn prepare_outer(&self) -> Result<(), TransactionError> {
        if !self.transaction_active() {
            return Err(TransactionError::NoneOpen);
        }
        let (nesting, inner_cancelled, prepared) = self.state_now();
        if prepared {
            self.cancel_outer()?;
            return Err(TransactionError::AlreadyPrepared);
        }
        if inner_cancelled {
            self.cancel_outer()?;
            return Err(TransactionError::InnerCancelled);
        }
        if nesting > 0 {
            return Ok(());
        }
        match self.open_transaction().prepare() {
            Ok(prepared) => {
                self.state.borrow_mut().prepared = Some(prepared);
                Ok(())
            }
            Err(error) => {
                // The first error says why; a second one would only say that the file is beyond reach.
                let _ = self.cancel_whole();
                Err(error)
            }
        }
    }

    /// Commits the transaction, or ends an inner one. After an error nothing has changed, and the innermost transaction
    /// that was open is cancelled; the outermost stays open if there was an inner one.
    pub fn transaction_commit(&self) -> Result<(), TransactionError> {
        self.ending(Operation::Commit, true, || self.commit_outer())
    }

    fn commit_outer(&self) -> Result<(), TransactionError> {
        if !self.transaction_active() {
            return Err(TransactionError::NoneOpen);
        }
        let (nesting, inner_cancelled, prepared) = self.state_now();
        if inner_cancelled {
            self.cancel_outer()?;
            return Err(TransactionError::InnerCancelled);
        }
        if nesting > 0 {
            self.state.borrow_mut().nesting -= 1;
            return Ok(());
        }
        if !prepared {
            self.prepare_outer()?;
        }
        let prepared = self.state.borrow_mut().prepared.take();
        self.open_transaction().commit(&prepared.ok_or(TransactionError::NoneOpen)?)
    }

    /// How many inner transactions are open, whether one was cancelled, and whether the outermost one is prepared.
    fn state_now(&self) -> (u32, bool, bool) {
        let state = self.state.borrow();
        (state.nesting, state.inner_cancelled, state.prepared.is_some())
    }

    /// Cancels the transaction; an inner one condemns the outer one.
    pub fn transaction_cancel(&self) -> Result<(), TransactionError> {
        self.ending(Operation::Cancel, false, || self.cancel_outer())
    }

    fn cancel_outer(&self) -> Result<(), TransactionError> {
        if self.transaction_active() {
            let mut state = self.state.borrow_mut();
            if state.nesting > 0 {
                state.nesting -= 1;
                state.inner_cancelled = true;
                return Ok(());
            }
        }
        self.cancel_whole()
    }

    fn cancel_whole(&self) -> Result<(), TransactionError> {
        if !self.transaction_active() {
            return Err(TransactionError::NoneOpen);
        }
        let prepared = self.state.borrow_mut().prepared.take();
        self.open_transaction().cancel(prepared.as_ref())
    }

    fn ending(
        &self,
        asked: Operation<'_>,
        commit: bool,
        end: impl FnOnce() -> Result<(), TransactionError>,
    ) -> Result<(), TransactionError> {
        let nesting = self.nesting();
        let ending = on_table!(self, table => table.ending(commit, nesting));
        let ended = self.core.noted(end());
        on_table!(self, table => table.ended(ending, asked, ended.is_ok()));
        ended
    }

    /// Rewrites all records without gaps, in a transaction.
    pub fn repack(&self) -> Result<(), RepackError> {
        on_table!(self, table => table.tell(table.called(), When::Last, Some(Operation::Repack)));
        self.core.noted(self.repack_in_transaction())
    }

    fn repack_in_transaction(&self) -> Result<(), RepackError> {
        self.transaction_start(Wait::Yes)?;
        let rewritten = on_table!(self, table => table.rewrite());
        if rewritten.is_err() {
            let _ = self.transaction_cancel();
        }
        rewritten?;
        Ok(self.transaction_commit()?)
    }

    // What it is, and how it is set.

    /// The name it was opened by.
    pub fn name(&self) -> &Path {
        &self.core.name
    }

    /// The descriptor of the file, if there is one.
    pub fn raw_fd(&self) -> Option<RawFd> {
        self.core.space.file().map(|file| file.as_raw_fd())
    }

    /// The number of chains.
    pub fn hash_size(&self) -> u32 {
        self.core.hash_size
    }

    /// The bytes of the file as last seen, those added by an open transaction included.
    pub fn map_size(&self) -> u32 {
        on_table!(self, table => table.space.size())
    }

    /// The hash function in use.
    pub fn hash_function(&self) -> &HashFunction {
        &self.core.hash
    }

    /// The hash of `key`.
    pub fn hash_of(&self, key: &[u8]) -> u32 {
        self.core.hash.hash(key)
    }

    /// Whether it was opened for reading only.
    pub fn is_read_only(&self) -> bool {
        self.core.read_only
    }

    /// The flags, as libtdb's numbers.
    pub fn flags(&self) -> Flags {
        self.core.shown_flags()
    }

    /// Turns flags on that may change while the database is open: locking, mapping, syncing, sequence number,
    /// nesting (the two nesting flags exclude each other).
    pub fn add_flags(&self, more: Flags) {
        let mut flags = self.core.flags.get() | (more & Flags::CHANGEABLE);
        if more.has(Flags::ALLOW_NESTING) {
            flags = flags - Flags::DISALLOW_NESTING;
        } else if more.has(Flags::DISALLOW_NESTING) {
            flags = flags - Flags::ALLOW_NESTING;
        }
        self.core.set_flags(flags);
    }

    /// Turns flags off again.
    pub fn remove_flags(&self, fewer: Flags) {
        let mut flags = self.core.flags.get() - (fewer & Flags::CHANGEABLE);
        if fewer.has(Flags::ALLOW_NESTING) {
            flags = flags | Flags::DISALLOW_NESTING;
        } else if fewer.has(Flags::DISALLOW_NESTING) {
            flags = flags | Flags::ALLOW_NESTING;
        }
        self.core.set_flags(flags);
    }

    /// Counts changes in the sequence number from now on.
    pub fn enable_seqnum(&self) {
        self.add_flags(Flags::SEQNUM);
    }

    /// libtdb's code for the last error of any operation; success if there was none yet.
    pub fn last_error(&self) -> ErrorCode {
        self.core.last_error.get()
    }

    /// Sets what [`Tdb::last_error`] says, for interfaces on top that find errors of their own.
    pub fn set_last_error(&self, code: ErrorCode) {
        self.core.last_error.set(code);
    }

    /// Sends messages to `log` from now on.
    pub fn set_log(&self, log: Option<Log>) {
        *self.core.log.borrow_mut() = log;
    }

    /// How many deleted records a chain may keep before they are freed.
    pub fn set_max_dead(&self, max_dead: u32) {
        self.core.max_dead.set(max_dead);
    }

    /// While the flag is not 0, a signal ends the wait for a lock with [`LockError::Interrupted`].
    pub fn set_interrupt_flag(&self, flag: Option<&'static AtomicI32>) {
        self.core.locks.set_interrupt(flag);
    }

    /// Whether an observer is told what is done here.
    pub fn is_observed(&self) -> bool {
        self.core.table().is_observed()
    }
}

impl Drop for Tdb {
    fn drop(&mut self) {
        if self.transaction_active() {
            // Nothing can be done about a failure here; the next opener recovers.
            let _ = self.transaction_cancel();
            if self.transaction_active() {
                let _ = self.cancel_whole();
            }
        }
    }
}

impl std::fmt::Debug for Tdb {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Tdb").field("name", &self.core.name).finish_non_exhaustive()
    }
}
