//! Records, the chains they are on, and the room between them.
//!
//! * [`chain`]: finding a record
//! * [`freelist`]: taking and giving room
//! * [`records`]: fetch, store, append, delete
//! * [`traverse`]: visiting all records
//! * [`wipe`]: deleting all records, and repacking

pub(crate) mod chain;
pub(crate) mod freelist;
pub(crate) mod records;
pub(crate) mod traverse;
pub(crate) mod wipe;
