//! What goes wrong, and right again.

use ubik_proto::version::Version;

use super::World;
use crate::event::NodeId;
use crate::scenario::{Course, Trouble};

impl World {
    pub(super) fn trouble(&mut self, trouble: Trouble) {
        self.statistics.troubles += u64::from(trouble.is_bad());
        // Of a server's stop and start its own line tells.
        if !matches!(trouble, Trouble::Restart(_) | Trouble::Crash(_)) {
            self.tell(|| trouble.to_string());
        }
        match trouble {
            Trouble::Crash(node) => self.crash(node),
            Trouble::Restart(node) => {
                if !self.nodes[node].is_up() {
                    self.start(node);
                }
            }
            Trouble::RestartEmpty(node) => {
                if !self.nodes[node].is_up() {
                    self.nodes[node].store.wipe();
                    self.nodes[node].tail = Version::FRESH;
                    self.invariants.versions_grow.wiped(node);
                    self.start(node);
                }
            }
            Trouble::Isolate { node, sends, receives } => {
                for other in (0..self.nodes.len()).filter(|&other| other != node) {
                    self.net.cut(node, other, !sends);
                    self.net.cut(other, node, !receives);
                }
            }
            Trouble::CutPair(one, other) => {
                self.net.cut(one, other, true);
                self.net.cut(other, one, true);
            }
            Trouble::Split(side) => {
                for (one, other) in pairs(self.nodes.len()) {
                    self.net.cut(one, other, side[one] != side[other]);
                }
            }
            Trouble::BadNetwork { loss, late } => {
                self.net.loss_per_mille = loss;
                self.net.late_per_mille = late;
            }
            Trouble::Heal => self.net.heal(),
            Trouble::Drift(node, rate) => self.set_rate(node, rate),
            Trouble::JumpClock(node, by) => {
                self.nodes[node].clocks.jump(by);
                let rate = self.nodes[node].clocks.rate_ppm();
                self.set_rate(node, rate);
            }
            Trouble::SetWall(node, error) => self.nodes[node].clocks.wall_error = error,
            Trouble::SlowDisk(node, slow) => self.nodes[node].slow_disk = slow,
            Trouble::FullDisk(node, full) => self.fill_disk(node, full),
            Trouble::Calm => self.mend(),
        }
    }

    fn fill_disk(&mut self, node: NodeId, full: bool) {
        self.nodes[node].full_disk = full;
        self.nodes[node].store.set_full(full);
    }

    /// Sets how fast a clock runs; its timers come at other times then.
    fn set_rate(&mut self, node: NodeId, rate: i64) {
        self.nodes[node].clocks.set_rate(self.now, rate);
        self.nodes[node].election_timer = u64::MAX;
        self.nodes[node].replica_timer = u64::MAX;
        self.arm(node);
    }

    pub(super) fn mend(&mut self) {
        self.calm = Some(self.now);
        self.net.heal();
        for node in 0..self.nodes.len() {
            if self.scenario.course == Course::WildClocks {
                self.set_rate(node, 0);
            }
            self.nodes[node].slow_disk = 1;
            self.fill_disk(node, false);
            // A server whose commit broke half way says so and is restarted, as an operator would.
            let broken = self.nodes[node].state.as_ref().is_some_and(|state| state.database().is_broken());
            if broken {
                self.crash(node);
            }
            if !self.nodes[node].is_up() {
                self.start(node);
            }
        }
    }
}

fn pairs(count: usize) -> impl Iterator<Item = (NodeId, NodeId)> {
    (0..count).flat_map(move |one| (0..count).map(move |other| (one, other)))
}
