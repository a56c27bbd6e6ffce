//! The locks that callers take: one chain, or everything, as guards and as single calls for interfaces without guards.
//!
//! Who locks two chains must do so in the same order everywhere; the engine gives up after a while if not.

use crate::database::Database;
use crate::error::LockError;
use crate::lock::{ChainIndex, LockByte, LockKind, Wait};

/// The chain of a key, locked until this is dropped.
#[derive(Debug)]
#[must_use = "the chain is unlocked when this is dropped"]
pub struct ChainLock<'a> {
    database: &'a Database,
    chain: u32,
    kind: LockKind,
}

impl Drop for ChainLock<'_> {
    fn drop(&mut self) {
        self.database.unlock_list(ChainIndex::chain(self.chain), self.kind);
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
        let _ = self.database.unlock_allrecord_as(self.kind, true);
    }
}

impl Database {
    /// Locks the chain of `key`: several operations on the key become one step for others.
    pub fn chain_lock(&self, key: &[u8], kind: LockKind, wait: Wait) -> Result<ChainLock<'_>, LockError> {
        let chain = self.chain_index(key);
        self.noted(self.lock_list(ChainIndex::chain(chain), kind, wait))?;
        Ok(ChainLock { database: self, chain, kind })
    }

    /// Locks the chain of `key` until [`Database::unlock_chain`].
    pub fn lock_chain(&self, key: &[u8], kind: LockKind, wait: Wait) -> Result<(), LockError> {
        self.noted(self.lock_list(ChainIndex::chain(self.chain_index(key)), kind, wait))
    }

    /// Undoes one [`Database::lock_chain`].
    pub fn unlock_chain(&self, key: &[u8], kind: LockKind) -> Result<(), LockError> {
        let chain = self.chain_index(key);
        let held = self.unlock_list(ChainIndex::chain(chain), kind);
        let byte = u64::from(crate::format::chain_head(chain)) - 4;
        self.noted(if held { Ok(()) } else { Err(LockError::NotHeld { byte }) })
    }

    /// Counts the chain of `key` as locked for writing without locking it: another process holds it on our behalf.
    pub fn mark_chain(&self, key: &[u8]) -> Result<(), LockError> {
        self.noted(self.mark_list(ChainIndex::chain(self.chain_index(key)), LockKind::Write))
    }

    /// Undoes one [`Database::mark_chain`].
    pub fn unmark_chain(&self, key: &[u8]) -> Result<(), LockError> {
        self.noted(self.unmark_list(ChainIndex::chain(self.chain_index(key))))
    }

    /// Locks all records.
    pub fn lock_all_guard(&self, kind: LockKind, wait: Wait) -> Result<AllRecordLock<'_>, LockError> {
        self.lock_all(kind, wait)?;
        Ok(AllRecordLock { database: self, kind })
    }

    /// Locks all records until [`Database::unlock_all`].
    pub fn lock_all(&self, kind: LockKind, wait: Wait) -> Result<(), LockError> {
        self.noted(self.lock_allrecord(kind, wait, false))
    }

    /// Undoes one [`Database::lock_all`].
    pub fn unlock_all(&self, kind: LockKind) -> Result<(), LockError> {
        self.noted(self.unlock_allrecord_as(kind, true))
    }

    /// Counts all records as locked for writing without locking them: another process holds them on our behalf.
    pub fn mark_all(&self) -> Result<(), LockError> {
        self.noted(self.mark_allrecord(LockKind::Write))
    }

    /// Undoes one [`Database::mark_all`].
    pub fn unmark_all(&self) -> Result<(), LockError> {
        self.noted(self.unlock_allrecord_as(LockKind::Write, false))
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
