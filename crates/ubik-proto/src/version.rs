//! Versions of a database, and ids of write transactions.

use std::fmt;

/// A database version: ordered by epoch, then by counter.
///
/// Two servers that hold the same version hold the same bytes: a sync site gets an epoch that nobody else can have
/// (`docs/ubik-protocol.md`, Epochs), and counts its commits within it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Chosen by a sync site when it is elected.
    pub epoch: u32,
    /// Commits in this epoch; 1 is the relabelling itself.
    pub counter: u32,
}

impl Version {
    /// No version: what a beacon carries that grants nothing, and what OpenAFS labels a file in transfer with.
    pub const NONE: Version = Version { epoch: 0, counter: 0 };
    /// The label of a database that was never in a quorum.
    pub const FRESH: Version = Version { epoch: 1, counter: 1 };

    /// The version with these parts.
    pub const fn new(epoch: u32, counter: u32) -> Self {
        Version { epoch, counter }
    }

    /// Whether this server never held a database of the cell: such a copy proves nothing about what was committed.
    pub fn is_fresh(self) -> bool {
        self.epoch <= Version::FRESH.epoch
    }

    /// The version that the next commit of the same sync site gets; `None` if the wire has no number for it, which a sync
    /// site of ours never comes to ([`Profile::epoch_commits`](crate::profile::Profile::epoch_commits)).
    pub fn next(self) -> Option<Self> {
        let counter = self.counter.checked_add(1).filter(|&counter| counter <= i32::MAX as u32)?;
        Some(Version { epoch: self.epoch, counter })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.counter)
    }
}

/// The id of a write transaction: the sync site's epoch and a count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId {
    /// The sync site's epoch.
    pub epoch: u32,
    /// Grows with each write transaction of that sync site.
    pub counter: u32,
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.counter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// U11: a later epoch is newer, whatever its counter.
    #[test]
    fn an_epoch_outweighs_any_counter() {
        assert!(Version::new(7, 1) > Version::new(6, 900));
        assert!(Version::new(7, 2) > Version::new(7, 1));
        assert!(Version::FRESH.is_fresh() && Version::NONE.is_fresh() && !Version::new(2, 1).is_fresh());
    }
}
