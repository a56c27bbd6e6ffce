//! What can go wrong: one enum an operation family, each of which says what, where, and libtdb's code for it.
//!
//! An error's text is whole: what the system or a lower layer said is part of it, so that a log function gets it in one line. It
//! is therefore a field named `cause`, and not what `source()` returns: reports that print a chain would print it twice.

use std::io;
use std::path::PathBuf;

use crate::file::format::{Length, Offset};

/// libtdb's error codes (`enum TDB_ERROR`), which the C interface and traces speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(i32)]
pub enum ErrorCode {
    /// Nothing went wrong.
    #[default]
    Success = 0,
    /// The file is damaged.
    Corrupt = 1,
    /// The system refused to read or write.
    Io = 2,
    /// A lock could not be had, or an operation is not allowed with the locks held.
    Lock = 3,
    /// No memory, or no room in the file.
    OutOfMemory = 4,
    /// The key exists already.
    Exists = 5,
    /// A lock is not held.
    NoLock = 6,
    /// Waiting for a lock was given up.
    LockTimeout = 7,
    /// The key does not exist.
    NoSuchRecord = 8,
    /// The arguments make no sense here.
    InvalidArgument = 9,
    /// The database is open for reading only.
    ReadOnly = 10,
    /// Transactions may not nest here.
    Nesting = 11,
}

/// Has a code of libtdb's.
pub trait Coded {
    /// libtdb's code for this error.
    fn code(&self) -> ErrorCode;

    /// Whether something is wrong with the file, the machine or the program, rather than with what the caller wished
    /// for. Such an error is worth a line in a log.
    fn is_fault(&self) -> bool {
        matches!(self.code(), ErrorCode::Corrupt | ErrorCode::Io | ErrorCode::OutOfMemory)
    }
}

/// The file's bytes could not be read, written or believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// The file is damaged (or another process ignores its locks).
    #[error("the file is corrupt at offset {offset}: {what}; restore a backup or rescue what is left")]
    Corrupt {
        /// Where the bytes that cannot be right stand.
        offset: Offset,
        /// Why they cannot be right.
        what: &'static str,
    },
    /// The system failed us.
    #[error("cannot {action} at offset {offset}: {cause}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where in the file.
        offset: u64,
        /// What the system said.
        cause: io::Error,
    },
    /// The file has reached the format's limit of 4 GiB.
    #[error(
        "the file cannot hold {wanted} more bytes: offsets have 32 bits, a file ends at 4 GiB; delete or repack"
    )]
    Full {
        /// The bytes that were needed.
        wanted: u64,
    },
    /// The mapped file became shorter under us.
    #[error("another process has truncated the mapped file; close it, and restore a backup")]
    Truncated,
    /// The operation writes, and cannot in this state.
    #[error("cannot write: {why}")]
    Refused {
        /// What stands against it.
        why: &'static str,
    },
}

impl Coded for AccessError {
    fn code(&self) -> ErrorCode {
        match self {
            AccessError::Corrupt { .. } => ErrorCode::Corrupt,
            AccessError::Io { .. } | AccessError::Truncated => ErrorCode::Io,
            AccessError::Full { .. } => ErrorCode::OutOfMemory,
            AccessError::Refused { .. } => ErrorCode::InvalidArgument,
        }
    }
}

/// A lock could not be taken or given back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Someone else holds it, and the caller did not want to wait.
    #[error("another process or thread holds the lock")]
    WouldBlock,
    /// Nobody gave way for so long that two are probably waiting for each other.
    #[error(
        "gave up after {seconds} s: whoever holds the lock is probably waiting for ours; release all locks and retry"
    )]
    Deadlock {
        /// How long we tried.
        seconds: u64,
    },
    /// The caller did not want to wait longer ([`crate::OpenOptions::on_wait`]).
    #[error("gave up after {seconds} s: another process or thread still holds the lock")]
    GaveUp {
        /// How long we tried.
        seconds: u64,
    },
    /// A signal came and the caller's flag said to stop waiting.
    #[error("interrupted by a signal while waiting for the lock")]
    Interrupted,
    /// A write lock on a database that may not be written now.
    #[error("cannot lock for writing: {why}")]
    ReadOnly {
        /// What stands against it.
        why: &'static str,
    },
    /// Locks already held do not go with this one.
    #[error("this lock cannot be combined with those held: {why}")]
    Conflict {
        /// Which rule.
        why: &'static str,
    },
    /// Unlocking what is not locked.
    #[error("the lock at byte {byte} is not held")]
    NotHeld {
        /// The byte of the file that stands for the lock.
        byte: u64,
    },
    /// The system refused.
    #[error("cannot lock byte {byte}: {cause}")]
    Io {
        /// The byte of the file that stands for the lock.
        byte: u64,
        /// What the system said.
        cause: io::Error,
    },
    /// The file had to be recovered before it could be used, and could not be.
    #[error("cannot recover a transaction that another process left half-done: {0}")]
    Recovery(AccessError),
}

impl Coded for LockError {
    fn code(&self) -> ErrorCode {
        match self {
            LockError::ReadOnly { .. } => ErrorCode::ReadOnly,
            LockError::Recovery(source) => source.code(),
            LockError::Interrupted | LockError::GaveUp { .. } => ErrorCode::LockTimeout,
            LockError::WouldBlock
            | LockError::Deadlock { .. }
            | LockError::Conflict { .. }
            | LockError::NotHeld { .. }
            | LockError::Io { .. } => ErrorCode::Lock,
        }
    }

    fn is_fault(&self) -> bool {
        match self {
            LockError::Io { .. } | LockError::Deadlock { .. } => true,
            LockError::Recovery(source) => source.is_fault(),
            _ => false,
        }
    }
}

/// Reading failed: fetch, exists, traverse and whatever changes nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The bytes.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The chain does not exist.
    #[error("chain {chain} does not exist: the database has {hash_size}")]
    NoSuchChain {
        /// The chain that was asked for.
        chain: u32,
        /// How many there are.
        hash_size: u32,
    },
}

impl Coded for ReadError {
    fn code(&self) -> ErrorCode {
        match self {
            ReadError::Lock(source) => source.code(),
            ReadError::Access(source) => source.code(),
            ReadError::NoSuchChain { .. } => ErrorCode::InvalidArgument,
        }
    }
}

/// Writing failed: store, append, delete, wipe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Insert, and the key is there.
    #[error("the key exists already")]
    Exists,
    /// Modify or delete, and the key is not there.
    #[error("the key does not exist")]
    NoSuchRecord,
    /// The database is open for reading, or inside a traverse that only reads.
    #[error("cannot change the database: {why}")]
    ReadOnly {
        /// What stands against it.
        why: &'static str,
    },
    /// Key and value are longer than a file can be.
    #[error("key and value have {length} bytes; a record cannot be longer than {}", MAX_RECORD)]
    TooLong {
        /// Their bytes together.
        length: u64,
    },
    /// The lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The bytes.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// The most bytes that key and value may have together.
pub const MAX_RECORD: Length = 0x7fff_ffff;

impl Coded for StoreError {
    fn code(&self) -> ErrorCode {
        match self {
            StoreError::Exists => ErrorCode::Exists,
            StoreError::NoSuchRecord => ErrorCode::NoSuchRecord,
            StoreError::ReadOnly { .. } => ErrorCode::ReadOnly,
            StoreError::TooLong { .. } => ErrorCode::OutOfMemory,
            StoreError::Lock(source) => source.code(),
            StoreError::Access(source) => source.code(),
        }
    }
}

impl From<ReadError> for StoreError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Lock(source) => StoreError::Lock(source),
            ReadError::Access(source) => StoreError::Access(source),
            ReadError::NoSuchChain { .. } => StoreError::NoSuchRecord,
        }
    }
}

/// A transaction could not be started, prepared, committed or cancelled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransactionError {
    /// Read-only and in-memory databases have none.
    #[error("no transactions here: {why}")]
    NotPossible {
        /// Why not.
        why: &'static str,
    },
    /// One is open, and nesting was disallowed at open.
    #[error("a transaction is open already and nesting is disallowed")]
    Nesting,
    /// None is open.
    #[error("no transaction is open")]
    NoneOpen,
    /// Prepared twice.
    #[error("the transaction is prepared already; commit or cancel it")]
    AlreadyPrepared,
    /// An inner transaction was cancelled, so the outer one cannot commit.
    #[error("an inner transaction was cancelled; the outer one has been cancelled too")]
    InnerCancelled,
    /// The savepoint is of another transaction, or later than what was gone back to.
    #[error("the savepoint is of another transaction, or what came before it was undone")]
    StaleSavepoint,
    /// The lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The bytes.
    #[error(transparent)]
    Access(#[from] AccessError),
}

impl Coded for TransactionError {
    fn code(&self) -> ErrorCode {
        match self {
            TransactionError::NotPossible { .. }
            | TransactionError::NoneOpen
            | TransactionError::StaleSavepoint
            | TransactionError::AlreadyPrepared => ErrorCode::InvalidArgument,
            TransactionError::Nesting => ErrorCode::Nesting,
            TransactionError::InnerCancelled => ErrorCode::Io,
            TransactionError::Lock(source) => source.code(),
            TransactionError::Access(source) => source.code(),
        }
    }

    fn is_fault(&self) -> bool {
        match self {
            TransactionError::Nesting => false,
            TransactionError::Lock(LockError::Conflict { .. }) => true,
            TransactionError::Lock(source) => source.is_fault(),
            _ => true,
        }
    }
}

/// Repacking failed; the database is as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepackError {
    /// The transaction around it.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// Reading the old records.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Writing the new ones.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Coded for RepackError {
    fn code(&self) -> ErrorCode {
        match self {
            RepackError::Transaction(source) => source.code(),
            RepackError::Read(source) => source.code(),
            RepackError::Store(source) => source.code(),
        }
    }
}

/// A file could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The system refused.
    #[error("cannot open {path:?}: {cause}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The options contradict each other.
    #[error("cannot open {path:?}: {why}")]
    Options {
        /// The file.
        path: PathBuf,
        /// Which ones.
        why: &'static str,
    },
    /// The file's chains are locked by mutexes, and the options say neither to use them nor to take no locks.
    #[error("cannot open {path:?}: its chains are locked by mutexes; open it with these, or without locks")]
    Mutexes {
        /// The file.
        path: PathBuf,
    },
    /// Not a TDB file.
    #[error("{path:?} is not a TDB file")]
    NotTdb {
        /// The file.
        path: PathBuf,
    },
    /// A TDB file that uses something we do not know or do not do.
    #[error("{path:?} uses {what}, which this program does not know")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it uses.
        what: &'static str,
    },
    /// A TDB file that is locked in a way long given up, as the only word of its header about that says.
    #[error("{path:?} uses spinlocks of very old versions, which this program does not know")]
    Spinlocks {
        /// The file.
        path: PathBuf,
    },
    /// Made with another hash function.
    #[error("{path:?} was made with another hash function than the one given")]
    WrongHash {
        /// The file.
        path: PathBuf,
    },
    /// The header is damaged.
    #[error("the header of {path:?} is corrupt: {what}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Which field.
        what: &'static str,
    },
    /// A lock.
    #[error("cannot open {path:?}: {cause}")]
    Lock {
        /// The file.
        path: PathBuf,
        /// What happened.
        cause: LockError,
    },
    /// The bytes.
    #[error("cannot open {path:?}: {cause}")]
    Access {
        /// The file.
        path: PathBuf,
        /// What happened.
        cause: AccessError,
    },
}

impl Coded for OpenError {
    fn code(&self) -> ErrorCode {
        match self {
            OpenError::Io { .. } => ErrorCode::Io,
            OpenError::Options { .. }
            | OpenError::Mutexes { .. }
            | OpenError::Unsupported { .. }
            | OpenError::Spinlocks { .. }
            | OpenError::WrongHash { .. } => ErrorCode::InvalidArgument,
            OpenError::NotTdb { .. } | OpenError::Corrupt { .. } => ErrorCode::Corrupt,
            OpenError::Lock { cause, .. } => cause.code(),
            OpenError::Access { cause, .. } => cause.code(),
        }
    }
}

impl OpenError {
    /// The same error about the file at `path`: for programs that make a file under another name than its own.
    pub fn with_path(mut self, path: impl Into<PathBuf>) -> OpenError {
        let (OpenError::Io { path: present, .. }
        | OpenError::Options { path: present, .. }
        | OpenError::NotTdb { path: present }
        | OpenError::Unsupported { path: present, .. }
        | OpenError::WrongHash { path: present }
        | OpenError::Mutexes { path: present }
        | OpenError::Spinlocks { path: present }
        | OpenError::Corrupt { path: present, .. }
        | OpenError::Lock { path: present, .. }
        | OpenError::Access { path: present, .. }) = &mut self;
        *present = path.into();
        self
    }

    /// The system's error number that a C caller finds in `errno`.
    pub fn errno(&self) -> i32 {
        match self {
            OpenError::Io { cause, .. } => cause.raw_os_error().unwrap_or(libc::EIO),
            OpenError::Options { .. } | OpenError::Mutexes { .. } | OpenError::WrongHash { .. } => {
                libc::EINVAL
            }
            OpenError::Unsupported { .. } | OpenError::Spinlocks { .. } => libc::ENOSYS,
            OpenError::NotTdb { .. } | OpenError::Corrupt { .. } => libc::EIO,
            OpenError::Lock { cause: LockError::WouldBlock, .. } => libc::EAGAIN,
            OpenError::Lock { cause: LockError::Io { cause, .. }, .. }
            | OpenError::Access { cause: AccessError::Io { cause, .. }, .. } => {
                cause.raw_os_error().unwrap_or(libc::EIO)
            }
            OpenError::Lock { .. } | OpenError::Access { .. } => libc::EIO,
        }
    }
}

/// Any error of this crate, for programs that treat them alike.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Opening.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Reading.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Writing.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A transaction.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// A lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The file's bytes.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Repacking.
    #[error(transparent)]
    Repack(#[from] RepackError),
    /// A check.
    #[error(transparent)]
    Check(#[from] crate::check::CheckError),
}

impl Coded for Error {
    fn code(&self) -> ErrorCode {
        match self {
            Error::Open(source) => source.code(),
            Error::Read(source) => source.code(),
            Error::Store(source) => source.code(),
            Error::Transaction(source) => source.code(),
            Error::Lock(source) => source.code(),
            Error::Access(source) => source.code(),
            Error::Repack(source) => source.code(),
            Error::Check(source) => source.code(),
        }
    }
}
