//! The network between the machines: who reaches whom, how late, and what gets lost.

use crate::event::NodeId;

/// The state of the network.
#[derive(Debug)]
pub struct Net {
    cut: Vec<Vec<bool>>,
    /// In a thousand messages, how many are lost.
    pub loss_per_mille: u32,
    /// In a thousand messages, how many are late by up to half a minute.
    pub late_per_mille: u32,
}

impl Net {
    /// Everybody reaches everybody.
    pub fn new(nodes: usize) -> Self {
        Net { cut: vec![vec![false; nodes]; nodes], loss_per_mille: 0, late_per_mille: 0 }
    }

    /// Cuts one direction, or mends it.
    pub fn cut(&mut self, from: NodeId, to: NodeId, cut: bool) {
        self.cut[from][to] = cut;
    }

    /// Mends everything.
    pub fn heal(&mut self) {
        self.cut.iter_mut().flatten().for_each(|cut| *cut = false);
        self.loss_per_mille = 0;
        self.late_per_mille = 0;
    }

    /// How long a message takes, in microseconds; `None` if it does not arrive.
    pub fn delay(&self, random: &mut fastrand::Rng, from: NodeId, to: NodeId) -> Option<u64> {
        if self.cut[from][to] || random.u32(..1000) < self.loss_per_mille {
            return None;
        }
        if random.u32(..1000) < self.late_per_mille {
            return Some(random.u64(100_000..30_000_000));
        }
        Some(random.u64(100..3_000))
    }

    /// What one message of `bytes` takes longer than a short one, at a hundred megabytes a second.
    pub fn transfer(bytes: usize) -> u64 {
        bytes as u64 / 100
    }
}
