//! Which hash chain a key is on: what chain locks conflict about.
//!
//! Owns how a database spreads its keys. A trace's own database says it in its first line; the one that it is replayed on
//! may have another number of chains.

use tdb::hash::{jenkins_hash, old_hash};
use tdb_trace::Opened;

use super::History;
use super::columns::NONE;
use super::intern::Keys;

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
        opened.map_or(Hashing { hash_size: DEFAULT_HASH_SIZE, jenkins: false }, |opened| Hashing::of(&opened))
    }

    /// As a database does it that was created with this line.
    pub fn of(opened: &Opened) -> Hashing {
        Hashing {
            hash_size: if opened.hash_size == 0 { DEFAULT_HASH_SIZE } else { opened.hash_size },
            jenkins: opened.tdb_flags & INCOMPATIBLE_HASH != 0,
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

/// Keys, spread over chains.
#[derive(Clone, Copy)]
pub struct Spread<'a> {
    /// By which rule.
    pub hashing: Hashing,
    /// The keys.
    pub keys: &'a Keys,
}

impl Spread<'_> {
    /// The chain of the key with this number; of none, that of the empty key.
    pub fn chain(&self, key: u32) -> u32 {
        self.hashing.chain(if key == NONE { &[] } else { self.keys.bytes(key) })
    }
}
