//! Work of the disk, as a value: decided under the database lock, done without it.
//!
//! One piece is under way at a time, and the next begins when [`Replica::on_disk`](ubik_proto::replica::Replica::on_disk) was told of its end, so pieces
//! keep their order whoever does them. What must not overtake one (calls of peers, what votes have to tell) waits there; readers
//! do not.

use ubik_proto::log::Change;
use ubik_proto::version::Version;

use crate::database::{ApplyError, Database};
use crate::phys::Replacement;

/// Something the disk is to do.
#[derive(Debug)]
pub enum DiskWork {
    /// Log these changes, and make them the tail.
    Commit {
        /// In order.
        changes: Vec<Change>,
        /// What they make.
        version: Version,
    },
    /// Give the tail this label.
    Label(Version),
    /// Put a received database in the old one's place.
    Replace {
        /// It is complete.
        received: Box<dyn Replacement>,
        /// What it is.
        version: Version,
    },
}

/// What came of it.
#[derive(Debug)]
pub struct DiskDone(pub(crate) Result<(), ApplyError>);

impl DiskDone {
    /// Whether the disk did it.
    pub fn is_ok(&self) -> bool {
        self.0.is_ok()
    }
}

impl DiskWork {
    /// Does it; this takes as long as the disk does.
    pub(crate) fn run(self, database: &Database) -> DiskDone {
        DiskDone(match self {
            DiskWork::Commit { changes, version } => database.apply(&changes, version),
            DiskWork::Label(version) => database.relabel(version),
            DiskWork::Replace { received, version } => database.replace(received, version),
        })
    }
}
