//! Which hash chain a key is on: what chain locks conflict about.
//!
//! The order needs this only when a trace locks chains.

use tdb::hash::{jenkins_hash, old_hash};

use super::History;

/// `TDB_INCOMPATIBLE_HASH`: the database uses Jenkins' hash.
pub const INCOMPATIBLE_HASH: u32 = 0x800;
/// Chains of a database whose creator named no number.
pub const DEFAULT_HASH_SIZE: u32 = 131;

/// How the database that the traces will run on spreads its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashing {
    /// How many chains.
    pub hash_size: u32,
    /// Jenkins' hash rather than the old one.
    pub jenkins: bool,
}

impl Hashing {
    /// As the traces' own database did it.
    pub fn recorded(history: &History) -> Hashing {
        let opened = history.traces.first().map(|trace| trace.opened);
        let hash_size = opened.map_or(0, |opened| opened.hash_size);
        Hashing {
            hash_size: if hash_size == 0 { DEFAULT_HASH_SIZE } else { hash_size },
            jenkins: opened.is_some_and(|opened| opened.tdb_flags & INCOMPATIBLE_HASH != 0),
        }
    }

    /// The chain of every key of `history`.
    pub fn chains(&self, history: &History) -> Vec<u32> {
        let keys = &history.records.keys;
        (0..keys.len()).map(|key| self.chain(keys.bytes(key as u32))).collect()
    }

    /// The chain of a key.
    pub fn chain(&self, key: &[u8]) -> u32 {
        let hash = if self.jenkins { jenkins_hash(key) } else { old_hash(key) };
        hash % self.hash_size
    }
}
