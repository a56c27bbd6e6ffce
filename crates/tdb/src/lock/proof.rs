//! Proofs that something is locked: values that exist only while it is, and give it back at their end.
//!
//! What reads a chain asks for a [`Read`], what changes one for a [`Write`], and so a change under a lock for reading does not
//! compile. A proof that is forgotten keeps its lock until the handle ends.

use std::ops::Deref;

use crate::lock::{ChainIndex, LockKind, Locks};

/// A list is locked, for reading at least.
#[must_use = "the list is unlocked when this is dropped"]
pub(crate) struct Read<'l> {
    locks: &'l Locks,
    list: ChainIndex,
    kind: LockKind,
}

impl<'l> Read<'l> {
    /// The proof of a lock that was just taken.
    #[inline]
    pub(super) fn of(locks: &'l Locks, list: ChainIndex, kind: LockKind) -> Self {
        Read { locks, list, kind }
    }
}

impl Drop for Read<'_> {
    #[inline]
    fn drop(&mut self) {
        self.locks.unlock_list(self.list, self.kind);
    }
}

/// A list is locked for writing.
#[must_use = "the list is unlocked when this is dropped"]
pub(crate) struct Write<'l>(Read<'l>);

impl<'l> Write<'l> {
    /// The proof of a lock that was just taken.
    #[inline]
    pub(super) fn of(locks: &'l Locks, list: ChainIndex) -> Self {
        Write(Read::of(locks, list, LockKind::Write))
    }
}

impl<'l> Deref for Write<'l> {
    type Target = Read<'l>;
    fn deref(&self) -> &Read<'l> {
        &self.0
    }
}

/// All chains and records are locked.
#[must_use = "everything is unlocked when this is dropped"]
pub(crate) struct Everything<'l> {
    locks: &'l Locks,
    kind: LockKind,
}

impl<'l> Everything<'l> {
    /// The proof of a lock that was just taken.
    pub(super) fn of(locks: &'l Locks, kind: LockKind) -> Self {
        Everything { locks, kind }
    }
}

impl Drop for Everything<'_> {
    fn drop(&mut self) {
        // Not held any more only if the caller of C's interface has given it back meanwhile.
        let _ = self.locks.unlock_allrecord_as(self.kind, true);
    }
}

impl Locks {
    /// The proof of [`Locks::lock_list`] for reading, after it.
    #[inline]
    pub(crate) fn read_proof(&self, list: ChainIndex) -> Read<'_> {
        Read::of(self, list, LockKind::Read)
    }

    /// The proof of [`Locks::lock_list`] for writing, after it.
    #[inline]
    pub(crate) fn write_proof(&self, list: ChainIndex) -> Write<'_> {
        Write::of(self, list)
    }

    /// The proof of [`Locks::lock_allrecord`], after it.
    pub(crate) fn everything_proof(&self, kind: LockKind) -> Everything<'_> {
        Everything::of(self, kind)
    }
}
