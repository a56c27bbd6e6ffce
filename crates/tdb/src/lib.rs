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
//! * `chain_lock`, `lock`, `ofd`, `mutex`, `mutex_lock`: who may touch what now
//! * `records`, `traverse`, `wipe`: the operations
//! * `chain`, `freelist`: where records are, and where there is room
//! * `transaction`, `recovery`: all or nothing
//! * [`hash`], [`format`](mod@format): what the bytes mean
//! * `space`, `overlay`: the bytes, as a transaction sees them
//! * `mapping`, [`storage`], [`sigbus`]: the bytes
//! * `check`, `rescue`, `summary`, [`dump`]: looking at a whole file
//! * `record`: what a handle did, as a trace
//! * [`error`]: what can go wrong
#![deny(unsafe_code)]

mod chain;
mod chain_lock;
mod check;
mod database;
pub mod dump;
pub mod error;
pub mod flags;
pub mod format;
mod freelist;
pub mod hash;
mod lock;
mod mapping;
mod mutex;
mod mutex_lock;
mod ofd;
mod open;
mod overlay;
mod record;
mod records;
mod recovery;
mod rescue;
pub mod sigbus;
mod space;
pub mod storage;
mod summary;
mod transaction;
mod traverse;
mod wipe;

pub use chain_lock::{AllRecordLock, ChainLock};
pub use check::{CheckError, CheckReport};
pub use database::{Database, Log, LogLevel};
pub use error::{
    AccessError, Coded, ErrorCode, LockError, OpenError, ReadError, RepackError, StoreError, TransactionError,
};
pub use flags::Flags;
pub use format::ByteOrder;
pub use hash::HashFunction;
pub use lock::{LockKind, Wait};
pub use mutex::robust_mutexes_work;
pub use open::OpenOptions;
pub use record::{TraceForm, UnknownForm};
pub use records::StoreMode;
pub use storage::Storage;
pub use summary::{Spread, Summary};
pub use transaction::Transaction;
