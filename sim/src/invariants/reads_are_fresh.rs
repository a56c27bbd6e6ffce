//! A read finds everything that was known when it began.

use ubik_proto::version::Version;

use super::Found;

/// A transaction finds at least what was committed or read by anybody before it began, in one piece.
///
/// With one line of versions ([`super::CommittedSurvives`]) this is linearizability: a transaction takes effect at its
/// version, and versions follow real time.
#[derive(Debug, Default)]
pub struct ReadsAreFresh {
    known: Version,
}

impl ReadsAreFresh {
    /// What a transaction that begins now must find.
    pub fn floor(&self) -> Version {
        self.known
    }

    /// A transaction that had to find `floor` found `version`.
    ///
    /// # Errors
    /// If that is older.
    pub fn found(&mut self, floor: Version, version: Version) -> Found {
        if version < floor {
            return Err(format!("a read found version {version} after {floor} was known to somebody"));
        }
        self.known = self.known.max(version);
        Ok(())
    }

    /// A read of two places that are always written together.
    ///
    /// # Errors
    /// If they differ.
    pub fn pair(&self, version: Version, one: u64, other: u64) -> Found {
        if one == other {
            Ok(())
        } else {
            Err(format!("a torn read of version {version}: {one} and {other}"))
        }
    }
}
