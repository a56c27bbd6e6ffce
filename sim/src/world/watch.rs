//! When the properties are looked at.

use std::time::Duration;

use ubik_proto::election::Standing;
use ubik_proto::version::Version;

use super::World;
use super::calls::read_all;
use crate::event::NodeId;
use crate::scenario::Course;

impl World {
    pub(super) fn check_election(&mut self) {
        if self.scenario.course == Course::WildClocks {
            return;
        }
        let holders: Vec<NodeId> = (0..self.nodes.len()).filter(|&node| self.holds_mandate(node)).collect();
        let found = self.invariants.one_sync_site.check(&holders);
        self.check(found);
    }

    /// Whether a server holds a mandate now.
    pub fn holds_mandate(&mut self, node: NodeId) -> bool {
        let machine = &self.nodes[node];
        if let Some(peer) = &machine.openafs {
            return peer.is_sync_site(machine.clocks.wall(self.now));
        }
        self.nodes[node].state.is_some()
            && self.with_server(node, |state, held| {
                state.with_election(held, |now, election| election.holds_mandate(now.moment))
            })
    }

    /// Notes that a voter sends the yes that it gave at real time `given`: one that is not sent promises nothing.
    pub(super) fn check_promise(&mut self, voter: NodeId, host: NodeId, given: u64) {
        if self.nodes[voter].is_voter() && self.scenario.course != Course::WildClocks {
            let found = self.invariants.promises_kept.yes(given, voter, host);
            self.check(found);
        }
    }

    /// Tells how each server stands.
    pub(super) fn tell_state(&mut self) {
        for node in 0..self.nodes.len() {
            let tail = self.nodes[node].tail;
            if self.nodes[node].state.is_none() {
                let state = if self.nodes[node].is_up() { "runs OpenAFS" } else { "is off" };
                self.tell(|| format!("  server {node} {state}; it holds version {tail}"));
                continue;
            }
            let (standing, promise) = self.with_server(node, |state, held| {
                state.with_election(held, |_, election| {
                    (election.standing(), election.voter().promise_record())
                })
            });
            let visible =
                self.nodes[node].visible.map_or("nothing".to_owned(), |version| format!("version {version}"));
            let to = promise.to.map_or("nobody".to_owned(), |id| id.to_string());
            let epoch = promise.max_epoch;
            let does = match standing {
                Standing::Follower => "follows".to_owned(),
                Standing::Candidate { epoch } => format!("asks for votes for epoch {epoch}"),
                Standing::SyncSite { epoch } => format!("is sync site of epoch {epoch}"),
            };
            self.tell(|| {
                format!("  server {node} {does}; it has promised epoch {epoch} to {to}, holds version {tail} and shows {visible}")
            });
        }
    }

    /// Looks at what a server's copy is after work on it.
    pub(super) fn check_copy(&mut self, node: NodeId) {
        self.check_tail(node);
        let visible = self.nodes[node].state.as_ref().and_then(|state| state.database().visible_version());
        if visible != self.nodes[node].visible {
            self.nodes[node].visible = visible;
            if let (Some(version), false) = (visible, self.scenario.course == Course::Mixed) {
                let found = self.invariants.committed_survives.shown(version);
                self.check(found);
            }
        }
    }

    pub(super) fn check_tail(&mut self, node: NodeId) {
        let Some(state) = &self.nodes[node].state else {
            return;
        };
        let tail = state.database().version();
        let before = std::mem::replace(&mut self.nodes[node].tail, tail);
        // A sync site of OpenAFS's may send anything.
        if self.scenario.course != Course::Mixed {
            let found = self.invariants.versions_grow.tail(node, tail);
            self.check(found);
        }
        if tail == before {
            return;
        }
        let bytes = self.nodes[node]
            .state
            .as_ref()
            .map(|state| read_all(&state.database().tail()))
            .unwrap_or_default();
        self.check_new_tail(node, before, tail, &bytes);
    }

    /// A server has made `tail` from `before`, or was given it.
    pub(super) fn check_new_tail(&mut self, node: NodeId, before: Version, tail: Version, bytes: &[u8]) {
        // OpenAFS's program and this one differ in how long a database is after its last byte.
        let zeros = bytes.iter().rev().take_while(|&&byte| byte == 0).count();
        let kept = if self.scenario.course == Course::Mixed { bytes.len() - zeros } else { bytes.len() };
        let found = self.invariants.replicas_equal.holds(node, tail, &bytes[..kept]);
        self.check(found);
        if !self.invariants.committed_survives.is_known(tail) {
            let found = self.invariants.committed_survives.made(before, tail);
            self.check(found);
        }
    }

    /// At the end: everything was mended long ago, so all servers agree and writes go through.
    pub(super) fn check_well(&mut self) {
        let Some(calm) = self.calm else { return };
        if self.now < calm + self.scenario.patience().as_micros() as u64 {
            return;
        }
        if self.commits_since_calm == 0 {
            let since = Duration::from_micros(self.now - calm);
            self.check(Err(format!("no write was committed in {since:?} after everything was mended")));
        }
        let versions: Vec<(Option<Version>, Version)> =
            self.nodes.iter().map(|node| (node.visible, node.tail)).collect();
        let newest = versions.iter().map(|&(_, tail)| tail).max().unwrap_or(Version::NONE);
        if !versions.iter().all(|&(visible, tail)| tail == newest && visible == Some(newest)) {
            let tails: Vec<String> = versions.iter().map(|(_, tail)| tail.to_string()).collect();
            self.check(Err(format!(
                "servers still differ when nobody writes any more: {}",
                tails.join(", ")
            )));
        }
    }
}
