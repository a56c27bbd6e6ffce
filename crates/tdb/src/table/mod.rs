//! Records, the chains they are on, and the room between them.
//!
//! A [`Table`] is all of these over somebody's bytes: the file's, or those of a transaction. What reads asks for the
//! proof that its chain is locked, what changes for that of a lock for writing ([`crate::lock::proof`]).
//!
//! * [`chain`]: finding a record
//! * [`freelist`]: taking and giving room; [`freelist_memory`]: how long to search for it
//! * [`beside`]: room next to a record that grows
//! * [`records`]: fetch, store, append, delete
//! * [`sweep`]: putting the room in order
//! * [`locking`]: the locks that callers take
//! * [`traverse`], [`keys`]: visiting all records
//! * [`wipe`]: deleting all records, and repacking
//! * [`seqnum`]: the number of changes

mod beside;
pub(crate) mod chain;
pub(crate) mod freelist;
pub(crate) mod freelist_memory;
pub(crate) mod keys;
pub(crate) mod locking;
pub(crate) mod records;
pub(crate) mod seqnum;
mod sweep;
pub(crate) mod traverse;
pub(crate) mod wipe;

use crate::core::Core;
use crate::file::bytes::Bytes;

/// The records of a handle, in the file or as a transaction sees them.
pub(crate) struct Table<'t, B> {
    pub core: &'t Core,
    pub space: &'t B,
}

impl<'t, B: Bytes> Table<'t, B> {
    /// The records in `space`.
    #[inline]
    pub fn new(core: &'t Core, space: &'t B) -> Self {
        Table { core, space }
    }
}
