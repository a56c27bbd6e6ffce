//! What a [`Replica`](super::Replica) asks of the world, and what the world tells it.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::cell::ServerId;
use crate::changed::Changed;
use crate::code::AbortCode;
use crate::election::Command;
use crate::log::Change;
use crate::messages::DiskCall;
use crate::version::Version;

/// Names one transaction of the application, for as long as it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// Names one call to a peer until its answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallToken(pub u64);

/// Names one call of a peer until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AnswerId(pub u64);

/// Something to do, in the order in which it was decided.
///
/// Each comes out when its condition holds, which stands beside it; none waits for another of the same list, but that
/// [`Output::Reveal`] and what lets a client read or write are carried out in their order and before the next input.
/// `R` is a database that was received whole; here it only passes through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<R> {
    /// Log these changes, sync, and make them the tail; then [`Replica::on_disk`](super::Replica::on_disk).
    /// *When* no other work of the disk is under way.
    ///
    /// The stock log holds one transaction, so there is nothing to cut: what could not be written is removed by the disk.
    Append {
        /// In order.
        changes: Vec<Change>,
        /// What they make.
        version: Version,
    },
    /// Give the tail this label and sync it; then `on_disk`. *When* no other work of the disk is under way.
    Label(Version),
    /// Put a received database in the old one's place; then `on_disk`. *When* no other work of the disk is under way.
    Install {
        /// It is complete.
        received: R,
        /// What it is.
        version: Version,
    },
    /// Show the tail, which is this version, to readers. *When* it is durable here, and this server knows that it was decided.
    Reveal(Version),
    /// Call a peer; answer with `on_reply`. A commit *when* a quorum is prepared, whether or not it is durable here; the end
    /// of a transaction *when* it was decided.
    Call {
        /// Whom.
        to: ServerId,
        /// Its name.
        token: CallToken,
        /// What.
        call: DiskCall,
    },
    /// Send a peer the tail (`SendFile`); answer with `on_reply`. *When* it is durable.
    Send {
        /// Whom.
        to: ServerId,
        /// Its name.
        token: CallToken,
        /// What the tail is.
        version: Version,
    },
    /// Get a peer's database (`GetFile`); answer with `on_reply`.
    Fetch {
        /// From whom.
        to: ServerId,
        /// Its name.
        token: CallToken,
    },
    /// Let a client read what is shown.
    LetRead(ClientId),
    /// Let a client write, over the tail and these changes, oldest first. *When* it is its turn.
    LetWrite {
        /// Which.
        client: ClientId,
        /// What is complete and not in the tail yet.
        over: Vec<Arc<Changed>>,
        /// Whether all that it begins with is shown.
        certain: bool,
    },
    /// Tell a client what became of its transaction. That it is committed *when* a quorum has it durable and no lease is
    /// left that could show what was before.
    Tell(ClientId, Told),
    /// Answer a peer's call. A commit, a label or a database *when* it is durable; the version *when* the disk is idle.
    Answer(AnswerId, Result<Answer, AbortCode>),
    /// Of votes and beacons.
    Election(Command),
    /// Tell the operator: the disk failed in this way. What this server gave up for it, it has.
    DiskFailed(String),
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The write transaction cannot begin; or it was not committed, and nothing of it was logged anywhere that counts.
    WriteFailed(WriteError),
    /// The commit is in the log, and whether it stays is not known to this server.
    Undecided(Version),
    /// A quorum has it.
    Committed(Version),
    /// The read transaction cannot begin here and now.
    ReadFailed(ReadError),
}

/// Why a write transaction did not happen.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WriteError {
    /// Writes go to the sync site.
    #[error("this server is not the sync site{}", sync_site.map_or(String::new(), |id| format!("; {id} is")))]
    NotSyncSite {
        /// Who is, as far as known.
        sync_site: Option<ServerId>,
    },
    /// Too few servers took the transaction; it was undone.
    #[error("no quorum of servers took the transaction, and it was undone; try again")]
    NoQuorum,
    /// This server lost its mandate before anybody was told to commit the transaction.
    #[error(
        "this server ceased to be sync site before the commit, and the transaction was undone; try again"
    )]
    LostMandate,
    /// There is no such transaction.
    #[error("the transaction is over")]
    Over,
}

/// Why a read transaction cannot begin here.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReadError {
    /// This server has no lease: it cannot know whether it holds the newest version.
    #[error("this server holds no read lease at present{}", sync_site.map_or(String::new(), |id| format!("; ask {id}")))]
    NoLease {
        /// Who could answer.
        sync_site: Option<ServerId>,
    },
    /// No quorum has confirmed what this server found at its start.
    #[error("no quorum has confirmed this server's database yet; try another server")]
    Unconfirmed,
}

/// Which reads a transaction wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadKind {
    /// Linearizable: everything that was committed before the transaction began.
    Newest,
    /// The newest version that is known here to be committed; it may be old.
    Any,
}

/// What a call to this server is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was done.
    Done,
    /// The version.
    Version(Version),
    /// The tail as it is now, with its version.
    Tail,
}

/// What a peer answered.
#[derive(Debug)]
pub enum Reply<R> {
    /// It was done.
    Done,
    /// The version.
    Version(Version),
    /// Its database was received whole.
    Database(Version, R),
}

/// How a call to a peer failed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CallError {
    /// It answered with an error.
    #[error("{0}")]
    Aborted(AbortCode),
    /// It did not answer in time, or not to the end; whether it did the work is not known.
    #[error("no answer")]
    Unreachable,
    /// The bytes could not be kept here.
    #[error("cannot keep what was received: {0}")]
    Local(String),
}

/// Why the disk did not do its work, in words. Nothing that it was to do counts as done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskFailure(pub String);

impl fmt::Display for DiskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
