//! What a replay runs on.
//!
//! Owns the seam between traces and databases: an [`Engine`] is one database, a [`Session`] is one process's use of it.
//! Refusals ("not found", "exists already") are answers; an [`EngineError`] means that the engine itself failed.
//!
//! * [`memory`]: no file, no locks; shows what the tool itself costs.
//! * [`tdb`](mod@tdb): a file, with its locks.
//! * [`libtdb`]: the same through the system's libtdb.

pub mod libtdb;
pub mod memory;
pub mod tdb;

use std::fmt;
use std::ops::ControlFlow;

use crate::trace::Trace;
use crate::trace::intern::Keys;

/// A key of a history: a number. Its bytes lie elsewhere in memory, and only who asks for them waits for them.
#[derive(Clone, Copy)]
pub struct Key<'a> {
    /// Dense, from 0.
    pub id: u32,
    keys: &'a Keys,
}

impl<'a> Key<'a> {
    /// The key that stands under `id` in `keys`.
    pub fn new(id: u32, keys: &'a Keys) -> Key<'a> {
        Key { id, keys }
    }

    /// What the key is.
    pub fn bytes(self) -> &'a [u8] {
        self.keys.bytes(self.id)
    }
}

/// What a store insists on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreMode {
    /// Nothing.
    Replace,
    /// The key must not exist.
    Insert,
    /// The key must exist.
    Modify,
}

/// The engine failed; nothing more can be replayed.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct EngineError {
    /// What was done, and what went wrong.
    pub message: String,
    /// The system's error, when it was one: a full disk, a file that cannot be written.
    pub io: bool,
}

impl fmt::Display for EngineError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for EngineError {}

/// One database.
pub trait Engine: Sync {
    /// What people call it.
    fn name(&self) -> &'static str;

    /// Opens the database for the process that wrote `trace`.
    fn session(&self, trace: &Trace) -> Result<Box<dyn Session + '_>, EngineError>;

    /// Whether each worker must be a process: its locks belong to processes, or it is not for threads.
    fn wants_processes(&self) -> bool {
        false
    }

    /// Ends the waits of all sessions for locks, now and later: they fail. Called from another thread than theirs, once a
    /// replay stands still.
    fn interrupt(&self) {}
}

/// Called by a traversal on each record: key, value.
pub type Visit<'a> = &'a mut dyn FnMut(&mut dyn Session, &[u8], &[u8]) -> ControlFlow<()>;

/// The answer of a session.
pub type Answer<T> = Result<T, EngineError>;

/// One process's use of a database. Dropping it closes it: locks are released, an open transaction is cancelled.
pub trait Session {
    /// This key, if it is one, will be used some rows later.
    fn foresee(&self, key: Key<'_>) {
        key.keys.approach_place(key.id);
    }
    /// This key, if it is one, was foreseen and will be used soon.
    fn approach(&self, key: Key<'_>) {
        key.keys.approach(key.id);
    }
    /// Puts the value into `value`; false if there is none.
    fn fetch(&mut self, key: Key<'_>, value: &mut Vec<u8>) -> Answer<bool>;
    /// Whether the key exists.
    fn exists(&mut self, key: Key<'_>) -> Answer<bool>;
    /// False if `mode` forbids it.
    fn store(&mut self, key: Key<'_>, value: &[u8], mode: StoreMode) -> Answer<bool>;
    /// Adds to the end of the value; a key that does not exist begins empty.
    fn append(&mut self, key: Key<'_>, more: &[u8]) -> Answer<()>;
    /// False if the key did not exist.
    fn delete(&mut self, key: Key<'_>) -> Answer<bool>;
    /// Removes everything.
    fn wipe_all(&mut self) -> Answer<()>;
    /// Locks the chain of a key.
    fn lock_chain(&mut self, key: Key<'_>, write: bool) -> Answer<()>;
    /// Undoes [`Session::lock_chain`].
    fn unlock_chain(&mut self, key: Key<'_>, write: bool) -> Answer<()>;
    /// Locks everything.
    fn lock_all(&mut self, write: bool) -> Answer<()>;
    /// Undoes [`Session::lock_all`].
    fn unlock_all(&mut self, write: bool) -> Answer<()>;
    /// Starts a transaction; never nested.
    fn start_transaction(&mut self) -> Answer<()>;
    /// First half of a commit.
    fn prepare_commit(&mut self) -> Answer<()>;
    /// Makes the transaction's changes visible.
    fn commit(&mut self) -> Answer<()>;
    /// Forgets the transaction's changes.
    fn cancel(&mut self) -> Answer<()>;
    /// Shows every record; gives the number shown.
    fn traverse(&mut self, write: bool, visit: Visit<'_>) -> Answer<u64>;
    /// Puts the first key into `key`; false if there is none.
    fn first_key(&mut self, key: &mut Vec<u8>) -> Answer<bool>;
    /// Puts the key after `after` into `key`; false if there is none.
    fn next_key(&mut self, after: Key<'_>, key: &mut Vec<u8>) -> Answer<bool>;
}
