//! One label, one content.

use std::collections::HashMap;

use ubik_proto::version::Version;

use super::Found;
use crate::event::NodeId;

/// Two servers with one label have the same bytes.
#[derive(Debug, Default)]
pub struct ReplicasEqual {
    contents: HashMap<Version, (u64, NodeId)>,
}

impl ReplicasEqual {
    /// `node` holds `version`, and these are its bytes.
    ///
    /// # Errors
    /// If another held the same label over other bytes.
    pub fn holds(&mut self, node: NodeId, version: Version, bytes: &[u8]) -> Found {
        let digest = bytes.chunks(8).fold(0xcbf2_9ce4_8422_2325_u64, |hash, chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x100_0000_01b3).rotate_left(23)
        });
        let &mut (known, by) = self.contents.entry(version).or_insert((digest, node));
        if known == digest {
            Ok(())
        } else {
            Err(format!("server {node} has version {version} with other bytes than server {by} had"))
        }
    }
}
