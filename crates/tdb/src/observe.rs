//! Watching a handle: what it does is told to an [`Observer`], operation by operation, at the interface's boundary.
//!
//! Owns what an observer cannot know by itself: the sequence number that belongs to each operation, read under the operation's
//! lock, which makes the order of a key's operations exact. Four rules keep what is told true:
//!
//! * What changes something for others is told before ([`Observer::about_to`]): if the process dies in between, it may have
//!   happened.
//! * A copy that was made earlier (a traversal copies chains) is told with the number of its copy, and read again if
//!   anything else was told meanwhile: what it would show then was so before, when others did not have the
//!   locks that they may have by now.
//! * Where no lock is held, the last known number is told: one read in the middle of somebody's commit would have
//!   to be taken back if that fails. Only whoever asks for the number is told what the file says, and so is the observer.
//! * Going back to a savepoint is told as changes that lead to the same records.
//!
//! Without an observer all of this is one test of a pointer.

mod calls;
mod rollback;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;

use crate::error::OpenError;
use crate::file::forks;
use crate::flags::Flags;
use crate::lock::{LockKind, Wait};
use crate::log::{Log, LogLevel};
use crate::table::records::StoreMode;

/// What an operation was asked for, and what it answered. Operations that failed for other reasons than what they found are
/// not told. There will be no others without a new major version: an observer that missed one would tell a wrong story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// A value was read; none if the key was not there.
    Fetch {
        /// The key.
        key: &'a [u8],
        /// The value found.
        value: Option<&'a [u8]>,
    },
    /// A value was lent to a parser.
    ParseRecord {
        /// The key.
        key: &'a [u8],
        /// Whether the key was there.
        found: bool,
    },
    /// A key was looked for.
    Exists {
        /// The key.
        key: &'a [u8],
        /// Whether it was there.
        found: bool,
    },
    /// A value was stored, or not, since the mode did not allow it.
    Store {
        /// The key.
        key: &'a [u8],
        /// The value, its parts end to end.
        parts: &'a [&'a [u8]],
        /// Whether the key had to be there.
        mode: StoreMode,
        /// Whether it was stored.
        done: bool,
    },
    /// A value was lengthened.
    Append {
        /// The key.
        key: &'a [u8],
        /// The value before; none if the key was not there.
        before: Option<&'a [u8]>,
        /// What was added.
        more: &'a [u8],
    },
    /// A key was deleted, or was not there.
    Delete {
        /// The key.
        key: &'a [u8],
        /// Whether it was there.
        done: bool,
    },
    /// A walk by keys began.
    FirstKey {
        /// The first key, if there is one.
        found: Option<&'a [u8]>,
    },
    /// A walk by keys went on.
    NextKey {
        /// The last key.
        key: &'a [u8],
        /// The one after it, if there is one.
        found: Option<&'a [u8]>,
    },
    /// A chain was locked, or not, since another process held it.
    LockChain {
        /// A key of the chain.
        key: &'a [u8],
        /// For reading or for writing.
        kind: LockKind,
        /// Whether it was waited for.
        wait: Wait,
        /// Whether the lock is held now.
        locked: bool,
    },
    /// A chain was unlocked.
    UnlockChain {
        /// A key of the chain.
        key: &'a [u8],
        /// As it had been locked.
        kind: LockKind,
    },
    /// Another process holds this chain on our behalf.
    MarkChain {
        /// A key of the chain.
        key: &'a [u8],
    },
    /// It does so no longer.
    UnmarkChain {
        /// A key of the chain.
        key: &'a [u8],
    },
    /// All records were locked, or not, since another process held some.
    LockAll {
        /// For reading or for writing.
        kind: LockKind,
        /// Whether they were waited for.
        wait: Wait,
        /// Whether the lock is held now.
        locked: bool,
    },
    /// All records were unlocked.
    UnlockAll {
        /// As they had been locked.
        kind: LockKind,
    },
    /// Another process holds all records on our behalf.
    MarkAll,
    /// It does so no longer.
    UnmarkAll,
    /// A traversal began; for writing if its callback may change records.
    TraverseStart {
        /// It is not one that only reads.
        write: bool,
    },
    /// A traversal shows a record to its callback.
    Shown {
        /// The key.
        key: &'a [u8],
        /// Its value.
        value: &'a [u8],
    },
    /// A traversal ended.
    TraverseEnd {
        /// After how many records its callback ended it; none if it showed them all.
        stopped_after: Option<u64>,
    },
    /// An outermost transaction began.
    TransactionStart,
    /// An outermost transaction is ready to be committed.
    PrepareCommit,
    /// A transaction took effect.
    Commit,
    /// A transaction did not take effect.
    Cancel,
    /// All records were deleted; their lock is told before and after.
    WipeAll,
    /// A repack begins; what it consists of follows.
    Repack,
    /// The sequence number was asked for.
    SequenceNumber(u32),
    /// The handle is closed.
    Close,
}

/// A moment by an observer's clock. The engine only keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

/// One operation that was done.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Event<'a> {
    /// What it was.
    pub operation: Operation<'a>,
    /// When it was called.
    pub called: Moment,
    /// When it was answered, if that was earlier than now.
    pub answered: Option<Moment>,
    /// The sequence number: an upper limit of the operation's place; in a transaction its private view.
    pub number: u32,
    /// The sequence number read while the operation still held the lock of its key's chain; none where there was no lock,
    /// and in transactions.
    pub version: Option<u32>,
}

/// Why an observer watches no longer. The database's log hears it once; the database goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Stopped {
    /// What happened, where, and what can be done about it.
    pub why: String,
}

/// Watches one handle, in the threads that use it. It must not use the database itself. It is dropped when the handle is
/// closed, after [`Operation::Close`]; and in a child after a fork, without that, when the child's own observer begins.
pub trait Observer: Send {
    /// The moment it is, for an operation that is called now.
    fn now(&self) -> Moment;

    /// This is about to be done, and others may see it before it is told as done.
    ///
    /// # Errors
    /// It can watch no longer, and is dropped.
    fn about_to(&self, operation: &Operation<'_>, called: Moment, number: u32) -> Result<(), Stopped>;

    /// What was announced last was not done, or failed.
    fn not_done(&self);

    /// An operation was done; if it was announced, the announcement is fulfilled.
    ///
    /// # Errors
    /// It can watch no longer, and is dropped.
    fn done(&self, event: &Event<'_>) -> Result<(), Stopped>;
}

/// Begins to watch each handle that is opened with [`crate::OpenOptions::observe`], and each child's after a fork.
pub trait Observe: Send + Sync {
    /// An observer for this handle; none if it is not watched. Nobody commits meanwhile, except after a fork.
    ///
    /// # Errors
    /// The handle is not opened. (A child's goes on unwatched.)
    fn begin(&self, opening: &Opening) -> Result<Option<Box<dyn Observer>>, OpenError>;

    /// The moment it is, by the clock of its observers.
    fn now(&self) -> Moment;
}

/// How a handle was opened.
#[derive(Clone)]
#[non_exhaustive]
pub struct Opening {
    /// Just before the sequence number was read.
    pub called: Moment,
    /// The database's name.
    pub name: PathBuf,
    /// The number of its chains.
    pub hash_size: u32,
    /// The flags asked for, but the hash function's as it is, since the order of chain locks depends on it.
    pub flags: Flags,
    /// The file was to be created if it did not exist.
    pub create: bool,
    /// It must not have existed.
    pub exclusive: bool,
    /// It was to be emptied.
    pub truncate: bool,
    /// Nothing can be changed through this handle.
    pub read_only: bool,
    /// Numbers are read under locks, and so are exact.
    pub takes_locks: bool,
    /// The sequence number; 0 if it may be taken back.
    pub number: u32,
    pub(crate) log: Option<Log>,
}

impl Opening {
    /// Tells the database's log something.
    pub fn say(&self, level: LogLevel, message: &str) {
        if let Some(log) = &self.log {
            log(level, message);
        }
    }
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Opening")
            .field("name", &self.name)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// Which sequence number belongs to an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    /// The one read just before the lock was given back; it is the operation's version too.
    Under,
    /// The same, without a version.
    Until,
    /// The present one: a lock is held.
    Now,
    /// The present one, as a transaction begins.
    Begin,
    /// The last one known: no lock is held.
    Last,
}

/// A handle's observer, and what is known of the numbers.
pub(crate) struct Observed {
    /// None once it can watch no longer.
    observer: RefCell<Option<Box<dyn Observer>>>,
    opening: Opening,
    forks: Cell<u32>,
    /// When the operation that is under way was called.
    called: Cell<Moment>,
    /// The number read before a lock was given back last.
    version: Cell<u32>,
    /// The largest number that is known to have been reached, open transactions aside.
    last: Cell<u32>,
    /// What an append found.
    before: RefCell<Option<Vec<u8>>>,
    /// The number before the wipe that is under way.
    wiping: Cell<Option<u32>>,
    /// How many operations were told.
    told: Cell<u64>,
    /// What a rollback may have to be told of.
    changed_keys: rollback::ChangedKeys,
}

impl Observed {
    /// Begins to watch a handle.
    pub fn begin(observe: &dyn Observe, opening: Opening) -> Result<Option<Box<Observed>>, OpenError> {
        let Some(observer) = observe.begin(&opening)? else {
            return Ok(None);
        };
        let number = opening.number;
        Ok(Some(Box::new(Observed {
            observer: RefCell::new(Some(observer)),
            opening,
            forks: Cell::new(forks::generation()),
            called: Cell::default(),
            version: Cell::new(number),
            last: Cell::new(number),
            before: RefCell::new(None),
            wiping: Cell::new(None),
            told: Cell::new(0),
            changed_keys: rollback::ChangedKeys::default(),
        })))
    }

    fn is_active(&self) -> bool {
        self.observer.borrow().is_some()
    }

    fn reached(&self, number: u32) {
        if is_behind(number, self.last.get()) {
            self.last.set(number);
        }
    }

    fn not_done(&self) {
        if let Some(observer) = &*self.observer.borrow() {
            observer.not_done();
        }
    }

    /// A child opens nothing, so it makes nothing new and clears nothing.
    fn opening_in_child(&self, called: Moment) -> Opening {
        let opening = self.opening.clone();
        let flags = opening.flags - Flags::CLEAR_IF_FIRST;
        Opening { called, flags, exclusive: false, truncate: false, number: self.last.get(), ..opening }
    }

    /// The observer is the parent's: the child goes on with one of its own.
    #[cold]
    fn begin_in_child(&self, observe: Option<&dyn Observe>) {
        self.forks.set(forks::generation());
        self.wiping.set(None);
        self.changed_keys.clear();
        // Without one the child is not watched; there is no caller to tell.
        let begun =
            observe.and_then(|observe| observe.begin(&self.opening_in_child(observe.now())).ok().flatten());
        *self.observer.borrow_mut() = begun;
    }
}

/// Whether the counter comes from `before` to `number`; behind the last number there is it goes on with 0.
fn is_behind(number: u32, before: u32) -> bool {
    number.wrapping_sub(before).cast_signed() > 0
}

/// A transaction that is asked to end.
pub(crate) struct Ending {
    called: Moment,
    /// The number that it shows.
    number: u32,
    outermost: bool,
}

/// When a copy was made, and at which number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copied {
    called: Moment,
    answered: Moment,
    number: u32,
    /// How much had been told, what is about the copy aside.
    told: u64,
}
