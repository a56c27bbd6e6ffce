//! Which bytes of the file stand for which lock, and what this handle holds of them.
//!
//! Order, for everybody who has the file open: transaction lock, then chains (all of them for a transaction), then
//! the freelist; the open lock comes last, at commit. Locks nest: this handle counts, the kernel knows one.
//!
//! Since the locks belong to the open file (see [`crate::lock::ofd`]), the kernel finds no deadlock through us, and none
//! among others who wait behind us. So we try, and sleep a little: as long as it takes where the order is kept, in a
//! queue of our own. Where a caller's own order decides (a second chain, all chains, an upgrade from read to write) we
//! let go where we may, and give up after [`PATIENCE`]; where the caller is against the order, after
//! [`AGAINST_ORDER`]. Whoever waits while it holds something looks for a deadlock with libtdb's processes and with other
//! handles of ours, in any process ([`deadlock`]).

mod deadlock;
mod everything;
mod holder;
pub(crate) mod mutex;
mod mutex_lock;
mod notice;
pub(crate) mod ofd;
pub(crate) mod proof;
mod range;
mod waiting;

use std::cell::{Cell, OnceCell, RefCell};
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use crate::error::LockError;
use crate::file::forks;
use crate::file::format::{FREELIST_HEAD, Offset, first_record};
use crate::lock::mutex::MutexArea;

pub use crate::lock::holder::{LockWait, OnWait};
pub use crate::lock::ofd::LockKind;

/// Whether to wait for a lock that someone else holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Fail with [`LockError::WouldBlock`].
    No,
    /// Wait, as long as it takes where that cannot be a deadlock.
    Yes,
}

/// How long to wait where two might be waiting for each other.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How long to wait for the transaction lock while chains are locked: a traverse that has it wants those sooner or later.
const AGAINST_ORDER: Duration = Duration::from_secs(1);
/// How long all chains are asked for before those got so far are given back for a moment.
pub(crate) const HOLD_HALF: Duration = Duration::from_millis(50);
const FIRST_BACKOFF: Duration = Duration::from_micros(20);
pub(crate) const LONGEST_BACKOFF: Duration = Duration::from_millis(2);

/// The bytes at the start of the file that stand for a lock of the whole database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum LockByte {
    /// Held while the file is opened, and while a transaction is written to it.
    Open = 0,
    /// Held for reading by every opener with clear-if-first; nobody else's means "I am the first".
    Active = 4,
    /// Held by a transaction, and by a traverse that may write.
    Transaction = 8,
    /// Guards the sequence number where it cannot be added to in one step.
    Seqnum = 48,
}

/// A chain, or the freelist, as something that can be locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChainIndex(i32);

impl ChainIndex {
    /// The freelist's lock.
    pub const FREELIST: ChainIndex = ChainIndex(-1);

    /// Chain `index`.
    #[inline]
    pub fn chain(index: u32) -> ChainIndex {
        ChainIndex(index as i32)
    }

    /// The byte that stands for it: 4 before the head of its list.
    #[inline]
    pub fn byte(self) -> u64 {
        (i64::from(FREELIST_HEAD) + 4 * i64::from(self.0)) as u64
    }
}

#[derive(Clone, Copy)]
struct Entry {
    byte: u64,
    kind: LockKind,
    count: u32,
    /// Only counted: another process holds it.
    marked: bool,
}

/// All chains and records, locked at once.
#[derive(Clone, Copy)]
struct AllRecord {
    count: u32,
    kind: LockKind,
    /// A transaction's: for reading so far, and ours alone to make a write lock.
    upgradable: bool,
    /// Only counted: another process holds it.
    marked: bool,
}

const NONE: AllRecord = AllRecord { count: 0, kind: LockKind::Read, upgradable: false, marked: false };

/// The locks of a handle: all that it holds, given back when this is dropped.
///
/// A forgotten guard's lock ends with its handle. A mutex is given back only by the thread that took it; if that is not the
/// one that drops the handle, the memory of the mutexes stays for as long as the process lives.
pub(crate) struct Locks {
    /// Whose byte ranges are locked; none for a database that nobody else can reach.
    file: Option<Arc<File>>,
    /// What chains are locked by instead of byte ranges, if the file has it.
    mutexes: OnceCell<MutexArea>,
    /// Takes no locks.
    disabled: Cell<bool>,
    read_only: bool,
    chain_count: Cell<u32>,
    entries: RefCell<Vec<Entry>>,
    allrecord: Cell<AllRecord>,
    /// Records that traverses of this handle stand on, with how many stand there.
    records: RefCell<Vec<(Offset, u32)>>,
    /// Traverses under way that only read: no locks for writing meanwhile.
    reading: Cell<u32>,
    /// Whether the transaction lock and the one of all records are a transaction's.
    transaction: Cell<bool>,
    /// When not 0, a signal ends the wait for a lock.
    interrupt: Cell<Option<&'static AtomicI32>>,
    /// Is told of waits.
    on_wait: Option<OnWait>,
    forks: Cell<u32>,
    /// A mutex could not be given back.
    stuck: Cell<bool>,
}

impl Drop for Locks {
    fn drop(&mut self) {
        if self.is_after_fork() {
            // They are the parent's.
            return;
        }
        if !self.allrecord.get().marked {
            self.unlock_allrecord();
        }
        let entries = std::mem::take(self.entries.get_mut());
        for entry in entries.iter().filter(|entry| !entry.marked) {
            self.unlock_range(entry.byte, 1);
        }
        // A child of this process may keep the opening, and with it the locks, after we have closed the file.
        if let (false, Some(file)) = (entries.is_empty() && self.records.get_mut().is_empty(), &self.file) {
            let _ = ofd::unlock(file.as_fd(), 0, 0);
        }
        if self.stuck.get() {
            std::mem::forget(self.mutexes.take());
        }
    }
}

impl Locks {
    /// No locks yet, of `file`.
    pub fn new(file: Option<Arc<File>>, read_only: bool, disabled: bool) -> Locks {
        forks::watch();
        Locks {
            file,
            mutexes: OnceCell::new(),
            disabled: Cell::new(disabled),
            read_only,
            chain_count: Cell::new(0),
            entries: RefCell::new(Vec::new()),
            allrecord: Cell::new(NONE),
            records: RefCell::new(Vec::new()),
            reading: Cell::new(0),
            transaction: Cell::new(false),
            interrupt: Cell::new(None),
            on_wait: None,
            forks: Cell::new(forks::generation()),
            stuck: Cell::new(false),
        }
    }

    /// The same, with a caller who is told of waits.
    pub fn with_on_wait(mut self, on_wait: Option<OnWait>) -> Locks {
        self.on_wait = on_wait;
        self
    }

    /// How many chains there are, once that is known.
    pub fn set_chain_count(&self, chain_count: u32) {
        self.chain_count.set(chain_count);
    }

    /// Chains are locked by these from now on.
    pub fn use_mutexes(&self, area: MutexArea) {
        // Set once, while the file is opened.
        let _ = self.mutexes.set(area);
    }

    /// Whether this handle takes no locks.
    #[inline]
    pub fn has_no_lock(&self) -> bool {
        self.disabled.get()
    }

    /// Takes no locks from now on, or takes them again.
    pub fn set_disabled(&self, disabled: bool) {
        self.disabled.set(disabled);
    }

    /// Counts a traverse that only reads, until it is over.
    pub fn begin_reading(&self) -> Reading<'_> {
        self.reading.set(self.reading.get() + 1);
        Reading(&self.reading)
    }

    /// Whether a traverse that only reads is under way.
    pub fn is_reading(&self) -> bool {
        self.reading.get() > 0
    }

    /// Whether the locks of a transaction are held.
    #[inline]
    pub fn in_transaction(&self) -> bool {
        self.transaction.get()
    }

    /// Notes that the locks of a transaction are held, or are not any more.
    pub fn set_in_transaction(&self, open: bool) {
        self.transaction.set(open);
    }

    fn first_record(&self) -> Offset {
        first_record(self.chain_count.get())
    }

    /// Forgets everything: the locks went away with the opening they belonged to.
    pub fn forget(&self) {
        self.entries.borrow_mut().clear();
        self.records.borrow_mut().clear();
        self.allrecord.set(NONE);
        self.transaction.set(false);
        self.forks.set(forks::generation());
    }

    pub fn set_interrupt(&self, flag: Option<&'static AtomicI32>) {
        self.interrupt.set(flag);
    }

    /// Whether this process is a child of the one that opened the database.
    #[inline]
    pub fn is_after_fork(&self) -> bool {
        self.forks.get() != forks::generation()
    }

    fn interrupted(&self) -> bool {
        self.interrupt.get().is_some_and(|flag| flag.load(Ordering::Relaxed) != 0)
    }

    pub fn holds(&self, byte: u64) -> bool {
        self.entries.borrow().iter().any(|entry| entry.byte == byte)
    }

    /// Whether a lock on a chain, the freelist or everything is held.
    fn holds_chains(&self) -> bool {
        self.allrecord.get().count > 0
            || self.entries.borrow().iter().any(|entry| entry.byte >= ChainIndex::FREELIST.byte())
    }

    // Single chains.

    /// Locks a chain or the freelist. Whether this is the first such lock, after which a half-done commit may have to be undone.
    #[inline]
    pub(crate) fn lock_list(&self, list: ChainIndex, kind: LockKind, wait: Wait) -> Result<bool, LockError> {
        if self.allrecord.get().count > 0 {
            return self.covered_by_allrecord(kind).map(|()| false);
        }
        if self.has_no_lock() {
            return Ok(true);
        }
        let first = !self.holds_chains();
        self.nest_lock(list.byte(), kind, wait)?;
        Ok(first)
    }

    /// Undoes one [`Locks::lock_list`].
    #[inline]
    pub(crate) fn unlock_list(&self, list: ChainIndex, kind: LockKind) -> bool {
        let all = self.allrecord.get();
        if all.count > 0 {
            return kind == LockKind::Read || all.kind == LockKind::Write || all.upgradable;
        }
        self.has_no_lock() || self.nest_unlock(list.byte())
    }

    fn covered_by_allrecord(&self, kind: LockKind) -> Result<(), LockError> {
        let all = self.allrecord.get();
        if kind == LockKind::Read || all.kind == LockKind::Write || all.upgradable {
            return Ok(());
        }
        Err(LockError::Conflict { why: "all records are locked for reading only" })
    }

    /// Counts a chain as locked without asking the kernel: a child whose parent holds the lock.
    pub(crate) fn mark_list(&self, list: ChainIndex, kind: LockKind) -> Result<(), LockError> {
        if self.allrecord.get().count > 0 {
            return self.covered_by_allrecord(kind);
        }
        self.mark(list.byte(), kind);
        Ok(())
    }

    fn mark(&self, byte: u64, kind: LockKind) {
        let mut entries = self.entries.borrow_mut();
        match entries.iter_mut().find(|entry| entry.byte == byte) {
            Some(entry) => entry.count += 1,
            None => entries.push(Entry { byte, kind, count: 1, marked: true }),
        }
    }

    /// [`Locks::mark_list`] for a named byte.
    pub(crate) fn mark_byte(&self, byte: LockByte, kind: LockKind) {
        self.mark(byte as u64, kind);
    }

    /// Undoes one [`Locks::mark_byte`].
    pub(crate) fn unmark_byte(&self, byte: LockByte) -> Result<(), LockError> {
        self.unmark(byte as u64)
    }

    /// Undoes one [`Locks::mark_list`].
    pub(crate) fn unmark_list(&self, list: ChainIndex) -> Result<(), LockError> {
        if self.allrecord.get().count > 0 {
            return Ok(());
        }
        self.unmark(list.byte())
    }

    fn unmark(&self, byte: u64) -> Result<(), LockError> {
        let mut entries = self.entries.borrow_mut();
        let Some(nth) = entries.iter().position(|entry| entry.byte == byte) else {
            return Err(LockError::NotHeld { byte });
        };
        entries[nth].count -= 1;
        if entries[nth].count == 0 {
            entries.swap_remove(nth);
        }
        Ok(())
    }

    // Named bytes, and counting.

    /// Locks a byte that stands for a lock of the whole database.
    pub(crate) fn lock_byte(&self, byte: LockByte, kind: LockKind, wait: Wait) -> Result<(), LockError> {
        self.nest_lock(byte as u64, kind, wait)
    }

    /// Undoes one [`Locks::lock_byte`].
    pub(crate) fn unlock_byte(&self, byte: LockByte) -> bool {
        self.nest_unlock(byte as u64)
    }

    fn nest_lock(&self, byte: u64, kind: LockKind, wait: Wait) -> Result<(), LockError> {
        if self.has_no_lock() {
            return Ok(());
        }
        let held = self.entries.borrow().iter().position(|entry| entry.byte == byte);
        if let Some(nth) = held {
            return self.lock_again(nth, kind, wait);
        }
        self.must_be_lockable(kind)?;
        self.lock_range(kind, byte, 1, wait, self.patience_for(byte))?;
        self.entries.borrow_mut().push(Entry { byte, kind, count: 1, marked: false });
        Ok(())
    }

    fn lock_again(&self, nth: usize, kind: LockKind, wait: Wait) -> Result<(), LockError> {
        let Entry { byte, kind: held, .. } = self.entries.borrow()[nth];
        if held == LockKind::Read && kind == LockKind::Write {
            match self.mutex_of(byte, 1) {
                // A mutex is held alone already, so libtdb asks nothing here.
                Some((area, list)) => area.upgrade(list).map_err(|cause| LockError::Io { byte, cause })?,
                None => {
                    self.must_be_lockable(kind)?;
                    self.lock_range(kind, byte, 1, wait, Some(PATIENCE))?;
                }
            }
            self.entries.borrow_mut()[nth].kind = LockKind::Write;
        }
        self.entries.borrow_mut()[nth].count += 1;
        Ok(())
    }

    fn nest_unlock(&self, byte: u64) -> bool {
        if self.has_no_lock() {
            return true;
        }
        let mut entries = self.entries.borrow_mut();
        let Some(nth) = entries.iter().position(|entry| entry.byte == byte) else {
            return false;
        };
        entries[nth].count -= 1;
        if entries[nth].count > 0 {
            return true;
        }
        entries.swap_remove(nth);
        drop(entries);
        self.unlock_range(byte, 1);
        true
    }

    fn must_be_lockable(&self, kind: LockKind) -> Result<(), LockError> {
        if kind == LockKind::Read {
            return Ok(());
        }
        if self.read_only {
            return Err(LockError::ReadOnly { why: "it was opened for reading only" });
        }
        if self.reading.get() > 0 {
            return Err(LockError::ReadOnly { why: "a traverse that only reads is running" });
        }
        Ok(())
    }

    /// How long to wait for this byte; without end if that keeps the order, so that it cannot be part of a deadlock.
    fn patience_for(&self, byte: u64) -> Option<Duration> {
        let chains = self.holds_chains() || !self.records.borrow().is_empty();
        if byte == LockByte::Transaction as u64 {
            return chains.then_some(AGAINST_ORDER);
        }
        (byte >= ChainIndex::chain(0).byte() && chains).then_some(PATIENCE)
    }
}

/// A traverse that only reads, until this is dropped.
pub(crate) struct Reading<'a>(&'a Cell<u32>);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
