//! No server's version goes back.

use ubik_proto::version::Version;

use super::Found;
use crate::event::NodeId;

/// No server's version ever goes back, not by a transfer, an election or a crash.
#[derive(Debug)]
pub struct VersionsGrow {
    seen: Vec<Version>,
}

impl VersionsGrow {
    pub(super) fn new(nodes: usize) -> Self {
        VersionsGrow { seen: vec![Version::NONE; nodes] }
    }

    /// `node` has this tail.
    ///
    /// # Errors
    /// If it had a newer one.
    pub fn tail(&mut self, node: NodeId, version: Version) -> Found {
        let before = std::mem::replace(&mut self.seen[node], version);
        if version < before {
            Err(format!("server {node} went back from version {before} to {version}"))
        } else {
            Ok(())
        }
    }

    /// The machine got a new, empty disk.
    pub fn wiped(&mut self, node: NodeId) {
        self.seen[node] = Version::NONE;
    }
}
