//! The locks that callers take: one chain, or everything. What an observer is told of them belongs to the caller's view.

use crate::error::LockError;
use crate::file::bytes::Bytes;
use crate::lock::{ChainIndex, LockKind, Wait};
use crate::table::Table;

impl<B: Bytes> Table<'_, B> {
    /// The chain that `key` belongs to.
    pub fn chain_of_key(&self, key: &[u8]) -> ChainIndex {
        self.core.chain_of(self.core.hash.hash(key))
    }

    /// Locks the chain of `key` until [`Table::unlock_chain`].
    pub fn lock_chain(&self, key: &[u8], kind: LockKind, wait: Wait) -> Result<(), LockError> {
        let called = self.called();
        let locked = self.core.noted(self.core.lock_list(self.chain_of_key(key), kind, wait));
        self.tell_chain_lock(called, key, (kind, wait), &locked);
        locked
    }

    /// Undoes one [`Table::lock_chain`].
    pub fn unlock_chain(&self, key: &[u8], kind: LockKind) -> Result<(), LockError> {
        let called = self.called();
        let chain = self.chain_of_key(key);
        self.note_version();
        let held = self.core.locks.unlock_list(chain, kind);
        self.tell_chain_unlock(called, key, kind, held);
        self.core.noted(if held { Ok(()) } else { Err(LockError::NotHeld { byte: chain.byte() }) })
    }

    /// Locks all records until [`Table::unlock_all`].
    pub fn lock_all(&self, kind: LockKind, wait: Wait) -> Result<(), LockError> {
        let called = self.called();
        let locked = self.core.noted(self.core.lock_allrecord(kind, wait, false));
        self.tell_lock_all(called, (kind, wait), &locked);
        locked
    }

    /// Undoes one [`Table::lock_all`].
    pub fn unlock_all(&self, kind: LockKind) -> Result<(), LockError> {
        let called = self.called();
        self.note_version();
        let unlocked = self.core.noted(self.core.locks.unlock_allrecord_as(kind, true));
        self.tell_unlock_all(called, kind, unlocked.is_ok());
        unlocked
    }
}
