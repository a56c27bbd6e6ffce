//! Records, the chains they are on, and the room between them.
//!
//! * [`chain`]: finding a record
//! * [`freelist`]: taking and giving room
//! * [`records`]: fetch, store, append, delete
//! * [`sweep`]: putting the room in order
//! * [`traverse`]: visiting all records
//! * [`wipe`]: deleting all records, and repacking

pub(crate) mod chain;
pub(crate) mod freelist;
pub(crate) mod records;
mod sweep;
pub(crate) mod traverse;
pub(crate) mod wipe;
