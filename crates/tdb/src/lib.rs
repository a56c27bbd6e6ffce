//! A small database in one file that many processes write at once: the files and locks of Samba's libtdb.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! use tdb::{OpenOptions, StoreMode};
//! let database = OpenOptions::new().create(true).open(folder.path().join("test.tdb"))?;
//! database.store(b"key", b"value", StoreMode::Replace)?;
//! assert_eq!(database.fetch(b"key")?.as_deref(), Some(&b"value"[..]));
//! let transaction = database.transaction()?;
//! transaction.delete(b"key")?;
//! transaction.commit()?;
//! # Ok(())
//! # }
//! ```
//!
//! Modules, in the order in which an operation passes through them:
//!
//! * [`flags`], `open`: what the caller wants, the header's check, new files
//! * `database`: one open database
//! * `lock`: who may touch what now, and the guards that callers hold
//! * `table`: the operations, where records are, and where there is room
//! * `commit`: all or nothing
//! * `file`: the bytes: their [layout](mod@format), where they come from, how a transaction sees them
//! * [`hash`]: which chain a key belongs to
//! * `check`, `rescue`, `summary`, [`dump`]: looking at a whole file
//! * `observe`: what a handle did, for those who watch
//! * [`error`]: what can go wrong
#![deny(unsafe_code)]

mod check;
mod commit;
mod database;
pub mod dump;
pub mod error;
mod file;
pub mod flags;
pub mod hash;
mod lock;
mod observe;
mod open;
mod rescue;
mod summary;
mod table;

pub use check::{CheckError, CheckReport};
pub use commit::transaction::Transaction;
pub use database::{Database, Log, LogLevel};
pub use error::{
    AccessError, Coded, ErrorCode, LockError, OpenError, ReadError, RepackError, StoreError, TransactionError,
};
pub use file::format::{self, ByteOrder};
pub use file::sigbus;
pub use file::storage::{self, Storage};
pub use flags::Flags;
pub use hash::HashFunction;
pub use lock::chain_lock::{AllRecordLock, ChainLock};
pub use lock::mutex::robust_mutexes_work;
pub use lock::{LockKind, Wait};
pub use observe::{Event, Moment, Observe, Observer, Opening, Operation, Stopped};
pub use open::OpenOptions;
pub use summary::{Spread, Summary};
pub use table::records::StoreMode;
