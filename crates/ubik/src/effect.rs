//! What a server does to the world, and what the world tells it.
//!
//! [`crate::server_state::ServerState`] carries out nothing itself: it returns [`Effect`]s in the order in which they must happen. The
//! driver of the shipped server and the simulator both carry them out and bring back what comes of them. An effect is an
//! [`Output`](ubik_proto::replica::outputs::Output) of the copy's decisions with what it needs of this server's database.

use ubik_proto::cell::ServerId;
use ubik_proto::code::AbortCode;
use ubik_proto::election::Command;
use ubik_proto::messages::DiskCall;
use ubik_proto::replica::outputs::{self, Told};
use ubik_proto::version::Version;

use crate::disk_work::DiskWork;
use crate::overlay::View;
use crate::phys::Replacement;
use crate::snapshot::Snapshot;

pub use ubik_proto::replica::outputs::{
    AnswerId, CallError, CallToken, ClientId, ReadError, ReadKind, WriteError,
};

/// What a peer answered.
pub type Reply = outputs::Reply<Box<dyn Replacement>>;

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
    /// Get a peer's database (`GetFile`) into what [`Database::receive`](crate::database::Database::receive) gives; answer with
    /// `on_reply`.
    Fetch {
        /// From whom.
        to: ServerId,
        /// Its name.
        token: CallToken,
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
    /// The commit is in the log, and whether it stays is not known to this server.
    Undecided(Version),
    /// A quorum has it.
    Committed(Version),
    /// The read transaction may read this.
    ReadBegun(Snapshot),
    /// The read transaction cannot begin here and now.
    ReadFailed(ReadError),
}

impl From<Told> for ClientEvent {
    fn from(told: Told) -> Self {
        match told {
            Told::WriteFailed(error) => ClientEvent::WriteFailed(error),
            Told::Undecided(version) => ClientEvent::Undecided(version),
            Told::Committed(version) => ClientEvent::Committed(version),
            Told::ReadFailed(error) => ClientEvent::ReadFailed(error),
        }
    }
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
