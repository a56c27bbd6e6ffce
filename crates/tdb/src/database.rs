//! One open database: what belongs to it, and the questions it answers without touching records.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicI32;

use crate::commit::transaction::TransactionState;
use crate::error::{AccessError, Coded, ErrorCode, LockError, ReadError};
use crate::file::format::{ByteOrder, Offset, SEQNUM_AT, first_record};
use crate::file::space::Space;
use crate::flags::Flags;
use crate::hash::HashFunction;
use crate::lock::{LockByte, LockKind, LockState, Wait};
use crate::observe::{Observed, Operation, When};
use crate::open::OpenOptions;
use crate::table::freelist::FreelistMemory;
use crate::table::traverse::Traverses;

/// How serious a message of [`OpenOptions::log`] is; libtdb's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum LogLevel {
    /// The database cannot be used.
    Fatal = 0,
    /// An operation failed.
    Error = 1,
    /// Something is odd and was dealt with.
    Warning = 2,
    /// Something happened, as it should.
    Trace = 3,
}

/// Where messages go.
pub type Log = std::sync::Arc<dyn Fn(LogLevel, &str) + Send + Sync>;

/// One opening of a database.
///
/// It is `Send` and not `Sync`: each thread has its own, by [`Database::another`] for databases in files (the two
/// exclude each other like two processes do), or one behind a `Mutex` for databases in memory. All operations take
/// `&self`, so that a traverse can hand the database to its callback. After a fork the child's first operation opens
/// the file anew by itself: locks of the parent are not the child's.
///
/// One handle in two threads at once does not compile:
///
/// ```compile_fail
/// fn is_sync<T: Sync>() {}
/// is_sync::<tdb::Database>();
/// ```
pub struct Database {
    pub(crate) space: Space,
    pub(crate) locks: LockState,
    pub(crate) flags: Cell<Flags>,
    pub(crate) read_only: bool,
    pub(crate) hash: HashFunction,
    pub(crate) hash_size: u32,
    pub(crate) name: PathBuf,
    pub(crate) options: OpenOptions,
    pub(crate) last_error: Cell<ErrorCode>,
    pub(crate) max_dead: Cell<u32>,
    pub(crate) traverses: Traverses,
    pub(crate) transaction: RefCell<Option<TransactionState>>,
    pub(crate) freelist: FreelistMemory,
    /// How often this handle has changed records: tells a traverse that its copy is old.
    pub(crate) changes: Cell<u64>,
    /// How often positions of records became meaningless (wipe, cancelled transaction).
    pub(crate) upheavals: Cell<u64>,
    pub(crate) log: RefCell<Option<Log>>,
    /// Memory for copies of values; a parser inside a parser finds it empty.
    pub(crate) buffer: Cell<Vec<u8>>,
    /// Who is told what is done; nobody, normally.
    pub(crate) observed: Option<Box<Observed>>,
}

impl Database {
    /// The name it was opened by.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// The descriptor of the file, if there is one. Closing it, or locking the file by it, breaks the database.
    pub fn raw_fd(&self) -> Option<RawFd> {
        self.space.file().map(AsRawFd::as_raw_fd)
    }

    /// The number of chains.
    pub fn hash_size(&self) -> u32 {
        self.hash_size
    }

    /// The bytes of the file as last seen, those added by an open transaction included.
    pub fn map_size(&self) -> u32 {
        self.space.size()
    }

    /// In which order the bytes of the file's words stand.
    pub fn byte_order(&self) -> ByteOrder {
        self.space.order()
    }

    /// The hash function in use.
    pub fn hash_function(&self) -> &HashFunction {
        &self.hash
    }

    /// The hash of `key`.
    pub fn hash_of(&self, key: &[u8]) -> u32 {
        self.hash.hash(key)
    }

    /// The chain that `key` belongs to.
    pub fn chain_index(&self, key: &[u8]) -> u32 {
        self.chain_of(self.hash.hash(key))
    }

    /// The flags, as libtdb's numbers.
    pub fn flags(&self) -> Flags {
        let mut flags = self.flags.get();
        if self.space.order().is_foreign() {
            flags = flags | Flags::CONVERT;
        }
        if self.space.order() == ByteOrder::Big {
            flags = flags | Flags::BIGENDIAN;
        }
        flags
    }

    /// Turns flags on that may change while the database is open: locking, mapping, syncing, sequence number,
    /// nesting (the two nesting flags exclude each other).
    pub fn add_flags(&self, more: Flags) {
        let mut flags = self.flags.get() | (more & Flags::CHANGEABLE);
        if more.has(Flags::ALLOW_NESTING) {
            flags = flags - Flags::DISALLOW_NESTING;
        } else if more.has(Flags::DISALLOW_NESTING) {
            flags = flags - Flags::ALLOW_NESTING;
        }
        self.set_flags(flags);
    }

    /// Turns flags off again.
    pub fn remove_flags(&self, fewer: Flags) {
        let mut flags = self.flags.get() - (fewer & Flags::CHANGEABLE);
        if fewer.has(Flags::ALLOW_NESTING) {
            flags = flags | Flags::DISALLOW_NESTING;
        } else if fewer.has(Flags::DISALLOW_NESTING) {
            flags = flags | Flags::ALLOW_NESTING;
        }
        self.set_flags(flags);
    }

    fn set_flags(&self, flags: Flags) {
        // What is told without numbers would say little.
        let flags = if self.observed.is_some() { flags | Flags::SEQNUM } else { flags };
        let was = self.flags.replace(flags);
        if was.has(Flags::NOMMAP) != flags.has(Flags::NOMMAP) && !self.transaction_active() {
            // A failure to read the size shows up again at the next access.
            let _ = self.space.set_map_wanted(!flags.has(Flags::NOMMAP));
        }
    }

    /// Whether it was opened for reading only.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// libtdb's code for the last error of any operation; success if there was none yet.
    pub fn last_error(&self) -> ErrorCode {
        self.last_error.get()
    }

    /// Sets what [`Database::last_error`] says, for interfaces on top that find errors of their own.
    pub fn set_last_error(&self, code: ErrorCode) {
        self.last_error.set(code);
    }

    /// Sends messages to `log` from now on.
    pub fn set_log(&self, log: Option<Log>) {
        *self.log.borrow_mut() = log;
    }

    /// How many deleted records a chain may keep before they are freed; libtdb's `tdb_set_max_dead`.
    pub fn set_max_dead(&self, max_dead: u32) {
        self.max_dead.set(max_dead);
    }

    /// While the flag is not 0, a signal ends the wait for a lock with [`LockError::Interrupted`].
    pub fn set_interrupt_flag(&self, flag: Option<&'static AtomicI32>) {
        self.locks.set_interrupt(flag);
    }

    /// Whether this handle takes no locks.
    #[inline]
    pub(crate) fn has_no_lock(&self) -> bool {
        self.flags.get().has(Flags::NOLOCK)
    }

    pub(crate) fn first_record(&self) -> Offset {
        first_record(self.hash_size)
    }

    pub(crate) fn say(&self, level: LogLevel, message: impl FnOnce() -> String) {
        let log = self.log.borrow().clone();
        if let Some(log) = log {
            log(level, &message());
        }
    }

    /// Remembers the code of an error on its way out.
    #[inline]
    pub(crate) fn noted<T, E: Coded + std::fmt::Display>(&self, result: Result<T, E>) -> Result<T, E> {
        if let Err(error) = &result {
            self.note(error);
        }
        result
    }

    #[cold]
    fn note<E: Coded + std::fmt::Display>(&self, error: &E) {
        self.last_error.set(error.code());
        let level = if error.is_fault() { LogLevel::Error } else { LogLevel::Trace };
        self.say(level, || error.to_string());
    }

    // The sequence number.

    /// The sequence number: grows with every change made by openers that count ([`Flags::SEQNUM`]).
    pub fn seqnum(&self) -> Result<u32, ReadError> {
        let called = self.called();
        let number = self.noted(self.space.word(SEQNUM_AT).map_err(ReadError::from));
        let operation = |number: &u32| Operation::SequenceNumber(*number);
        self.tell(called, When::Last, number.as_ref().ok().map(operation));
        number
    }

    /// Counts changes in the sequence number from now on.
    pub fn enable_seqnum(&self) {
        self.flags.set(self.flags.get() | Flags::SEQNUM);
    }

    /// Adds 1 to the sequence number without waiting for a lock.
    pub fn increment_seqnum(&self) -> Result<(), ReadError> {
        let result = if self.flags.get().has(Flags::SEQNUM) { self.add_to_seqnum() } else { Ok(()) };
        self.noted(result.map_err(ReadError::from))
    }

    /// Notes a change of the database, in the sequence number if this handle counts.
    #[inline]
    pub(crate) fn count_change(&self) -> Result<(), AccessError> {
        self.changes.set(self.changes.get().wrapping_add(1));
        if self.flags.get().has(Flags::SEQNUM) { self.count_seqnum() } else { Ok(()) }
    }

    fn count_seqnum(&self) -> Result<(), AccessError> {
        if self.transaction_active() {
            return self.add_to_seqnum();
        }
        if self.space.increment(SEQNUM_AT) {
            return Ok(());
        }
        // Without one atomic addition, those who add exclude each other by a lock. Losing it loses one count only.
        if self.lock_byte(LockByte::Seqnum, LockKind::Write, Wait::Yes).is_err() {
            return Ok(());
        }
        let added = self.add_to_seqnum();
        self.unlock_byte(LockByte::Seqnum);
        added
    }

    fn add_to_seqnum(&self) -> Result<(), AccessError> {
        if !self.transaction_active() && self.space.increment(SEQNUM_AT) {
            return Ok(());
        }
        let value = self.space.word(SEQNUM_AT)?;
        self.space.set_word(SEQNUM_AT, value.wrapping_add(1))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.transaction_active() && !self.locks.is_after_fork() {
            // Nothing can be done about a failure here; the next opener recovers.
            let _ = self.transaction_cancel();
        }
        self.end_observing();
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Database")
            .field("name", &self.name)
            .field("hash_size", &self.hash_size)
            .field("flags", &self.flags.get())
            .finish_non_exhaustive()
    }
}

/// What a lock error means to a reader that asked for bytes.
impl From<AccessError> for LockError {
    fn from(error: AccessError) -> Self {
        LockError::Recovery(error)
    }
}
