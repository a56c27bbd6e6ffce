//! The locks that callers hold, as guards.
//!
//! Who locks two chains must do so in the same order everywhere; the engine gives up after a while if not.

use crate::core::Core;
use crate::lock::LockKind;

/// The chain of a key, locked until this is dropped.
///
/// Others wait, so several operations on the key are one step for them. Operations on other keys are allowed meanwhile. A
/// guard that is forgotten ([`std::mem::forget`]) keeps its lock until the database is dropped.
#[must_use = "the chain is unlocked when this is dropped"]
pub struct ChainLock<'db> {
    core: &'db Core,
    key: Box<[u8]>,
    kind: LockKind,
}

impl<'db> ChainLock<'db> {
    /// The guard of a lock that was just taken.
    pub(crate) fn of(core: &'db Core, key: &[u8], kind: LockKind) -> Self {
        ChainLock { core, key: key.into(), kind }
    }
}

impl Drop for ChainLock<'_> {
    fn drop(&mut self) {
        // Held for as long as this exists.
        let _ = self.core.table().unlock_chain(&self.key, self.kind);
    }
}

/// All records, locked until this is dropped.
#[must_use = "everything is unlocked when this is dropped"]
pub struct AllRecordLock<'db> {
    core: &'db Core,
    kind: LockKind,
}

impl<'db> AllRecordLock<'db> {
    /// The guard of a lock that was just taken.
    pub(crate) fn of(core: &'db Core, kind: LockKind) -> Self {
        AllRecordLock { core, kind }
    }
}

impl Drop for AllRecordLock<'_> {
    fn drop(&mut self) {
        // Held for as long as this exists.
        let _ = self.core.table().unlock_all(self.kind);
    }
}

impl std::fmt::Debug for ChainLock<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ChainLock").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for AllRecordLock<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("AllRecordLock").field("kind", &self.kind).finish_non_exhaustive()
    }
}
