//! What a server does to the world, and what the world tells it.
//!
//! [`crate::server_state::ServerState`] carries out nothing itself: it returns [`Effect`]s in the order in which they must happen. The
//! driver of the shipped server and the simulator both carry them out and bring back what comes of them.

use std::io;

use thiserror::Error;
use ubik_proto::cell::ServerId;
use ubik_proto::code::AbortCode;
use ubik_proto::election::Command;
use ubik_proto::messages::DiskCall;
use ubik_proto::version::Version;

use crate::disk_work::DiskWork;
use crate::overlay::View;
use crate::phys::Replacement;
use crate::snapshot::Snapshot;

/// Names one transaction of the application, for as long as it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// Names one call to a peer until its answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallToken(pub u64);

/// Names one call of a peer until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AnswerId(pub u64);

/// Something to do.
#[derive(Debug)]
pub enum Effect {
    /// Of votes and beacons.
    Election(Command),
    /// Call a peer; answer with `on_reply`.
    Call {
        /// Whom.
        to: ServerId,
        /// Its name.
        token: CallToken,
        /// What.
        call: DiskCall,
    },
    /// Send a peer this database (`SendFile`); answer with `on_reply`.
    Send {
        /// Whom.
        to: ServerId,
        /// Its name.
        token: CallToken,
        /// What.
        database: Snapshot,
    },
    /// Get a peer's database (`GetFile`) into `into`; answer with `on_reply`.
    Fetch {
        /// From whom.
        to: ServerId,
        /// Its name.
        token: CallToken,
        /// Where the bytes go.
        into: Box<dyn Replacement>,
    },
    /// Tell the application.
    Client(ClientId, ClientEvent),
    /// Answer a peer's call.
    Answer(AnswerId, Result<Answer, AbortCode>),
    /// Let the disk do this, holding no lock, and tell of its end with `on_disk`. The effects beside it need not wait for it.
    Disk(DiskWork),
    /// Tell the operator: a disk failed in this way. What the server gave up for it, it has.
    DiskFailed(String),
}

/// What the application's transaction learns.
#[derive(Debug)]
pub enum ClientEvent {
    /// The write transaction may read this and change it.
    WriteBegun(View),
    /// The write transaction cannot begin; or it was not committed, and nothing of it was logged anywhere that counts.
    WriteFailed(WriteError),
    /// The commit is in the log, and whether it stays is not known to this server (U35).
    Undecided(Version),
    /// A quorum has it.
    Committed(Version),
    /// The read transaction may read this.
    ReadBegun(Snapshot),
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
    #[error("this server has no lease to read by now{}", sync_site.map_or(String::new(), |id| format!("; ask {id}")))]
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
#[derive(Debug)]
pub enum Answer {
    /// It was done.
    Done,
    /// The version.
    Version(Version),
    /// The database, with its version.
    Database(Snapshot),
}

/// What a peer answered.
#[derive(Debug)]
pub enum Reply {
    /// It was done.
    Done,
    /// The version.
    Version(Version),
    /// Its database was received whole.
    Database(Version, Box<dyn Replacement>),
}

/// How a call to a peer failed.
#[derive(Debug, Error)]
pub enum CallError {
    /// It answered with an error.
    #[error("{0}")]
    Aborted(AbortCode),
    /// It did not answer in time, or not to the end; whether it did the work is not known.
    #[error("no answer")]
    Unreachable,
    /// The bytes could not be kept here.
    #[error("cannot keep what was received: {0}")]
    Local(#[source] io::Error),
}
