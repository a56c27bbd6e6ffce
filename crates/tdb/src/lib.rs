//! A small database in one file that many processes write at once: the files and locks of Samba's libtdb.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! use tdb::{OpenOptions, StoreMode};
//! let mut database = OpenOptions::new().create(true).open(folder.path().join("test.tdb"))?;
//! database.store("key", "value", StoreMode::Replace)?;
//! assert_eq!(database.fetch("key")?.as_deref(), Some(&b"value"[..]));
//! let transaction = database.transaction()?;
//! transaction.delete("key")?;
//! transaction.commit()?;
//! # Ok(())
//! # }
//! ```
//!
//! Modules, in the order in which an operation passes through them:
//!
//! * [`flags`], `open`: what the caller wants, the header's check, new files
//! * `database`, `transaction`, `guards`, `records`: what a Rust program holds
//! * [`compat`]: what C's interface holds
//! * `core`: one opening: what follows a first lock, and a fork
//! * `lock`: who may touch what now, and the proofs of it
//! * `table`: the operations, where records are, and where there is room, over somebody's bytes and a proof
//! * `commit`: all or nothing
//! * `file`: the bytes: their [layout](mod@format), where they come from, how a transaction sees them
//! * [`hash`]: which chain a key belongs to
//! * `check`, `rescue`, `summary`, [`dump`]: looking at a whole file
//! * `observe`: what a handle did, for those who watch
//! * [`error`]: what can go wrong
#![deny(unsafe_code)]

mod check;
mod commit;
#[doc(hidden)]
pub mod compat;
mod core;
mod database;
pub mod dump;
pub mod error;
mod file;
pub mod flags;
mod guards;
pub mod hash;
mod lock;
mod log;
mod observe;
mod open;
mod records;
mod rescue;
mod summary;
mod table;
mod transaction;

pub use check::{CheckError, CheckReport};
pub use database::Database;
pub use error::{
    AccessError, Coded, Error, ErrorCode, LockError, OpenError, ReadError, RepackError, StoreError,
    TransactionError,
};
pub use file::format::{self, ByteOrder};
pub use file::sigbus;
pub use file::storage::{self, Storage};
pub use flags::Flags;
pub use guards::{AllRecordLock, ChainLock};
pub use hash::HashFunction;
pub use lock::mutex::robust_mutexes_work;
pub use lock::{LockKind, LockWait, OnWait, Wait};
pub use log::{Log, LogLevel};
pub use observe::{Event, Moment, Observe, Observer, Opening, Operation, Stopped};
pub use open::OpenOptions;
pub use records::Records;
pub use rescue::{Scanned, scan_records};
pub use summary::{Spread, Summary};
pub use table::records::StoreMode;
pub use transaction::{Change, Changes, Nested, PreparedTransaction, Savepoint, Transaction};

/// The README's example is compiled and run with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
