//! The locks that callers take: one chain, or everything, as guards and as single calls for interfaces without guards.
//!
//! Who locks two chains must do so in the same order everywhere; the engine gives up after a while if not.

use crate::database::Database;
use crate::error::LockError;
use crate::lock::{ChainIndex, LockByte, LockKind, Wait};
use crate::observe::Operation;

/// The chain of a key, locked until this is dropped.
#[derive(Debug)]
#[must_use = "the chain is unlocked when this is dropped"]
pub struct ChainLock<'a> {
    database: &'a Database,
    chain: u32,
    kind: LockKind,
    /// For the observer, if there is one.
    key: Option<Box<[u8]>>,
}

impl Drop for ChainLock<'_> {
    fn drop(&mut self) {
        let called = self.database.called();
        let held = self.database.unlock_list(ChainIndex::chain(self.chain), self.kind);
        if let Some(key) = &self.key {
            self.database.tell_chain_unlock(called, key, self.kind, held);
        }
    }
}

/// All records, locked until this is dropped.
#[derive(Debug)]
#[must_use = "everything is unlocked when this is dropped"]
pub struct AllRecordLock<'a> {
    database: &'a Database,
    kind: LockKind,
}

impl Drop for AllRecordLock<'_> {
    fn drop(&mut self) {
        // Not held any more only if the caller mixed guards and single calls.
        let _ = self.database.give_back_all(self.kind);
    }
}

impl Database {
    /// Locks the chain of `key`: several operations on the key become one step for others.
    pub fn chain_lock(&self, key: &[u8], kind: LockKind, wait: Wait) -> Result<ChainLock<'_>, LockError> {
        let chain = self.chain_index(key);
        self.lock_chain(key, kind, wait)?;
        let key = self.is_observed().then(|| key.into());
        Ok(ChainLock { database: self, chain, kind, key })
    }

    /// Locks the chain of `key` until [`Database::unlock_chain`].
    pub fn lock_chain(&self, key: &[u8], kind: LockKind, wait: Wait) -> Result<(), LockError> {
        let called = self.called();
        let locked = self.noted(self.lock_list(ChainIndex::chain(self.chain_index(key)), kind, wait));
        self.tell_chain_lock(called, key, (kind, wait), &locked);
        locked
    }

    /// Undoes one [`Database::lock_chain`].
    pub fn unlock_chain(&self, key: &[u8], kind: LockKind) -> Result<(), LockError> {
        let chain = self.chain_index(key);
        let called = self.called();
        let held = self.unlock_list(ChainIndex::chain(chain), kind);
        self.tell_chain_unlock(called, key, kind, held);
        let byte = u64::from(crate::file::format::chain_head(chain)) - 4;
        self.noted(if held { Ok(()) } else { Err(LockError::NotHeld { byte }) })
    }

    /// Counts the chain of `key` as locked for writing without locking it: another process holds it on our behalf.
    pub fn mark_chain(&self, key: &[u8]) -> Result<(), LockError> {
        let called = self.called();
        let marked = self.noted(self.mark_list(ChainIndex::chain(self.chain_index(key)), LockKind::Write));
        self.tell_mark(called, Operation::MarkChain { key }, marked.is_ok());
        marked
    }

    /// Undoes one [`Database::mark_chain`].
    pub fn unmark_chain(&self, key: &[u8]) -> Result<(), LockError> {
        let called = self.called();
        let unmarked = self.noted(self.unmark_list(ChainIndex::chain(self.chain_index(key))));
        self.tell_mark(called, Operation::UnmarkChain { key }, unmarked.is_ok());
        unmarked
    }

    /// Locks all records.
    pub fn lock_all_guard(&self, kind: LockKind, wait: Wait) -> Result<AllRecordLock<'_>, LockError> {
        self.lock_all(kind, wait)?;
        Ok(AllRecordLock { database: self, kind })
    }

    /// Locks all records until [`Database::unlock_all`].
    pub fn lock_all(&self, kind: LockKind, wait: Wait) -> Result<(), LockError> {
        let called = self.called();
        let locked = self.noted(self.lock_allrecord(kind, wait, false));
        self.tell_lock_all(called, (kind, wait), &locked);
        locked
    }

    /// Undoes one [`Database::lock_all`].
    pub fn unlock_all(&self, kind: LockKind) -> Result<(), LockError> {
        self.noted(self.give_back_all(kind))
    }

    fn give_back_all(&self, kind: LockKind) -> Result<(), LockError> {
        let called = self.called();
        let unlocked = self.unlock_allrecord_as(kind, true);
        self.tell_unlock_all(called, kind, unlocked.is_ok());
        unlocked
    }

    /// Counts all records as locked for writing without locking them: another process holds them on our behalf.
    pub fn mark_all(&self) -> Result<(), LockError> {
        let called = self.called();
        let marked = self.noted(self.mark_allrecord(LockKind::Write));
        self.tell_mark(called, Operation::MarkAll, marked.is_ok());
        marked
    }

    /// Undoes one [`Database::mark_all`].
    pub fn unmark_all(&self) -> Result<(), LockError> {
        let called = self.called();
        let unmarked = self.noted(self.unlock_allrecord_as(LockKind::Write, false));
        self.tell_mark(called, Operation::UnmarkAll, unmarked.is_ok());
        unmarked
    }

    /// Locks a chain by its number, or the freelist as -1, until [`Database::unlock_list_number`].
    pub fn lock_list_number(&self, list: i32, kind: LockKind, wait: Wait) -> Result<(), LockError> {
        self.noted(self.list_of(list).and_then(|list| self.lock_list(list, kind, wait)))
    }

    /// Undoes one [`Database::lock_list_number`].
    pub fn unlock_list_number(&self, list: i32, kind: LockKind) -> Result<(), LockError> {
        self.noted(self.list_of(list).and_then(|list| {
            if self.unlock_list(list, kind) { Ok(()) } else { Err(LockError::NotHeld { byte: list.byte() }) }
        }))
    }

    fn list_of(&self, list: i32) -> Result<ChainIndex, LockError> {
        match u32::try_from(list) {
            Ok(chain) if chain < self.hash_size() => Ok(ChainIndex::chain(chain)),
            _ if list == -1 => Ok(ChainIndex::FREELIST),
            _ => Err(LockError::Conflict { why: "there is no chain of this number" }),
        }
    }

    /// Counts the transaction lock as held without taking it: another process holds it on our behalf.
    pub fn mark_transaction_lock(&self) {
        self.mark_byte(LockByte::Transaction, LockKind::Write);
    }

    /// Undoes one [`Database::mark_transaction_lock`].
    pub fn unmark_transaction_lock(&self) -> Result<(), LockError> {
        self.noted(self.unmark_byte(LockByte::Transaction))
    }
}
