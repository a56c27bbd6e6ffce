//! One opening of a database: its bytes, its locks, and what its header says.
//!
//! Owns what the layers share and the order in which they meet: a first lock is followed by the recovery that may be due,
//! and a child of a fork opens the file anew before it locks anything. It knows no transaction; one is in front of it
//! ([`crate::commit`]).

use std::cell::{Cell, RefCell};
use std::path::PathBuf;

use crate::commit::recovery;
use crate::commit::undone::Undone;
use crate::error::{AccessError, Coded, ErrorCode, LockError};
use crate::file::bytes::Bytes;
use crate::file::format::{
    ByteOrder, MAGIC_IN_RECORD, Offset, RECOVERY_START_AT, RECOVERY_VALID, first_record,
};
use crate::file::overlay::Overlay;
use crate::file::space::Space;
use crate::flags::Flags;
use crate::hash::HashFunction;
use crate::lock::proof::{Everything, Read, Write};
use crate::lock::{ChainIndex, LockByte, LockKind, Locks, Wait};
use crate::log::{Log, LogLevel};
use crate::observe::Observed;
use crate::open::OpenOptions;
use crate::table::Table;
use crate::table::freelist_memory::FreelistMemory;
use crate::table::keys::Cursor;

/// One opening. The locks are dropped first, while the file that they belong to is open.
pub(crate) struct Core {
    pub locks: Locks,
    pub space: Space,
    pub flags: Cell<Flags>,
    pub read_only: bool,
    pub hash: HashFunction,
    pub hash_size: u32,
    pub name: PathBuf,
    pub options: OpenOptions,
    pub last_error: Cell<ErrorCode>,
    pub max_dead: Cell<u32>,
    pub freelist: FreelistMemory,
    /// Traverses under way that may write.
    pub writing: Cell<u32>,
    /// Where `first_key` and `next_key` are.
    pub cursor: RefCell<Option<Cursor>>,
    /// How often this handle has changed records: tells a traverse that its copy is old.
    pub changes: Cell<u64>,
    /// How often the records were laid out anew (wipe, cancelled transaction), so that remembered positions mean nothing.
    pub layout_epoch: Cell<u64>,
    pub log: RefCell<Option<Log>>,
    /// Memory for copies of values; a parser inside a parser finds it empty.
    pub buffer: Cell<Vec<u8>>,
    /// The memory of the last transaction's changes.
    pub former: Cell<Overlay>,
    /// Who is told what is done; nobody, normally.
    pub observed: Option<Box<Observed>>,
    /// What a handle that may only read has undone in its memory.
    pub undone: Undone,
}

impl Core {
    /// The records in the file itself.
    #[inline]
    pub fn table(&self) -> Table<'_, Space> {
        Table::new(self, &self.space)
    }

    pub fn first_record(&self) -> Offset {
        first_record(self.hash_size)
    }

    /// The chain that keys with this hash are on.
    #[inline]
    pub fn chain_of(&self, hash: u32) -> ChainIndex {
        ChainIndex::chain(hash % self.hash_size)
    }

    /// The flags, as libtdb's numbers.
    pub fn shown_flags(&self) -> Flags {
        let mut flags = self.flags.get();
        if self.space.order().is_foreign() {
            flags = flags | Flags::CONVERT;
        }
        if self.space.order() == ByteOrder::Big {
            flags = flags | Flags::BIGENDIAN;
        }
        flags
    }

    /// Sets the flags that may change while the database is open.
    pub fn set_flags(&self, flags: Flags) {
        // What is told without numbers would say little.
        let flags = if self.observed.is_some() { flags | Flags::SEQNUM } else { flags };
        let was = self.flags.replace(flags);
        self.locks.set_disabled(flags.has(Flags::NOLOCK));
        if was.has(Flags::NOMMAP) != flags.has(Flags::NOMMAP) {
            // A failure to read the size shows up again at the next access.
            let _ = self.space.set_map_wanted(!flags.has(Flags::NOMMAP));
        }
    }

    // Messages and errors.

    pub fn say(&self, level: LogLevel, message: impl FnOnce() -> String) {
        let log = self.log.borrow().clone();
        if let Some(log) = log {
            log(level, &message());
        }
    }

    /// Remembers the code of an error on its way out.
    #[inline]
    pub fn noted<T, E: Coded + std::fmt::Display>(&self, result: Result<T, E>) -> Result<T, E> {
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

    // Locks, and what must follow them.

    /// Locks a chain or the freelist for reading until the proof goes.
    #[inline]
    pub fn read(&self, list: ChainIndex) -> Result<Read<'_>, LockError> {
        self.lock_list(list, LockKind::Read, Wait::Yes)?;
        Ok(self.locks.read_proof(list))
    }

    /// Locks a chain or the freelist for writing until the proof goes.
    #[inline]
    pub fn write(&self, list: ChainIndex) -> Result<Write<'_>, LockError> {
        self.lock_list(list, LockKind::Write, Wait::Yes)?;
        Ok(self.locks.write_proof(list))
    }

    /// Locks all chains and records until the proof goes.
    pub fn everything(&self, kind: LockKind) -> Result<Everything<'_>, LockError> {
        self.lock_allrecord(kind, Wait::Yes, false)?;
        Ok(self.locks.everything_proof(kind))
    }

    /// Locks a chain or the freelist; after the first such lock a half-done commit is undone.
    #[inline]
    pub fn lock_list(&self, list: ChainIndex, kind: LockKind, wait: Wait) -> Result<(), LockError> {
        if self.locks.is_after_fork() {
            self.reopen_in_child()?;
        }
        if !self.locks.lock_list(list, kind, wait)? {
            return Ok(());
        }
        match self.needs_recovery() {
            Ok(false) => Ok(()),
            needed => self.lock_list_recovered(needed, list, kind, wait),
        }
    }

    #[cold]
    fn lock_list_recovered(
        &self,
        needed: Result<bool, AccessError>,
        list: ChainIndex,
        kind: LockKind,
        wait: Wait,
    ) -> Result<(), LockError> {
        self.locks.unlock_list(list, kind);
        self.recover_if(needed)?;
        self.lock_list(list, kind, wait)
    }

    /// Locks all chains and records; after the first such lock a half-done commit is undone. `upgradable` is a
    /// transaction's read lock, later made a write lock.
    pub fn lock_allrecord(&self, kind: LockKind, wait: Wait, upgradable: bool) -> Result<(), LockError> {
        if self.locks.is_after_fork() {
            self.reopen_in_child()?;
        }
        if !self.locks.lock_allrecord(kind, wait, upgradable)? {
            return Ok(());
        }
        match self.needs_recovery() {
            Ok(false) => Ok(()),
            needed => {
                self.locks.unlock_allrecord();
                self.recover_if(needed)?;
                self.lock_allrecord(kind, wait, upgradable)
            }
        }
    }

    pub fn lock_byte(&self, byte: LockByte, kind: LockKind, wait: Wait) -> Result<(), LockError> {
        if self.locks.is_after_fork() {
            self.reopen_in_child()?;
        }
        self.locks.lock_byte(byte, kind, wait)
    }

    #[cold]
    fn recover_if(&self, needed: Result<bool, AccessError>) -> Result<(), LockError> {
        if !needed.map_err(LockError::Recovery)? {
            return Ok(());
        }
        if self.read_only && self.options.undoes_in_memory() {
            return self.undo_in_memory();
        }
        if self.read_only {
            let why = "a half-done transaction must be undone first; open the file once for writing";
            return Err(LockError::Recovery(AccessError::Refused { why }));
        }
        if self.locks.has_no_lock() && self.locks.another_commits() {
            // Its commit is not half-done but under way, and goes on from where it is.
            return Err(LockError::WouldBlock);
        }
        self.locks.alone(|| recovery::play_back(self).map_err(LockError::Recovery))
    }

    /// Whether a half-done transaction must be played back before anything else.
    #[inline]
    pub fn needs_recovery(&self) -> Result<bool, AccessError> {
        if self.locks.in_transaction() {
            return Ok(false);
        }
        let at = self.space.word(RECOVERY_START_AT)?;
        if at == 0 {
            return Ok(false);
        }
        let outside = AccessError::Corrupt { offset: RECOVERY_START_AT, what: "it points outside" };
        let magic_at = at.checked_add(MAGIC_IN_RECORD).ok_or(outside)?;
        Ok(self.space.word(magic_at)? == RECOVERY_VALID || self.undone_is_outdated()?)
    }

    /// A sync, unless the handle does without.
    pub fn sync(&self) -> Result<(), AccessError> {
        if self.flags.get().has(Flags::NOSYNC) { Ok(()) } else { self.space.sync() }
    }

    /// Copies of records, and places among them, mean nothing any more.
    pub fn note_new_layout(&self) {
        self.layout_epoch.set(self.layout_epoch.get() + 1);
        self.changes.set(self.changes.get().wrapping_add(1));
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.table().end_observing();
    }
}
