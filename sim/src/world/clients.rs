//! What the clients do, and what they find.

use ubik::effect::{ClientEvent, ClientId, WriteError};
use ubik::snapshot::Snapshot;
use ubik_proto::cell::ServerId;
use ubik_proto::version::Version;

use super::World;
use crate::client::{ClientStep, Kind, Transaction};
use crate::event::{Event, NodeId};

impl World {
    pub(super) fn client(&mut self, step: ClientStep) {
        match step {
            ClientStep::Begin(client) => self.begin(client),
            ClientStep::Commit(client, id) => {
                let Some(transaction) = self.running(client, id) else {
                    return;
                };
                let changes = transaction.changes(&mut self.random);
                let node = transaction.node;
                if self.nodes[node].busy_until > self.now {
                    let at = self.nodes[node].busy_until;
                    self.queue.push(at, Event::Client(ClientStep::Commit(client, id)));
                    return;
                }
                if self.nodes[node].site.is_some() && self.nodes[node].life == transaction.life {
                    self.with_database(node, |site, held| ((), site.commit(held, id, changes)));
                    self.arm(node);
                } else {
                    self.over(client);
                }
            }
            ClientStep::GiveUp(client, id) => {
                let Some(transaction) = self.running(client, id) else {
                    return;
                };
                let node = transaction.node;
                if self.nodes[node].site.is_some() && self.nodes[node].life == transaction.life {
                    self.with_database(node, |site, held| ((), site.abandon(held, id)));
                    self.arm(node);
                }
                self.clients[client].hint = None;
                self.over(client);
            }
        }
    }

    pub(super) fn running(&self, client: usize, id: ClientId) -> Option<Transaction> {
        self.clients[client].running.clone().filter(|transaction| transaction.id == id)
    }

    pub(super) fn begin(&mut self, client: usize) {
        let node = match self.clients[client].hint {
            Some(hint) if self.random.u8(..8) != 0 => hint,
            _ => self.random.usize(..self.nodes.len()),
        };
        self.last_client += 1;
        let id = ClientId(self.last_client);
        let floor = self.invariants.reads_are_fresh.floor();
        let life = self.nodes[node].life;
        let mut transaction = Transaction::random(&mut self.random, id, node, life, floor);
        if let Kind::Read(_) = transaction.kind {
            transaction.node = self.random.usize(..self.nodes.len());
            transaction.life = self.nodes[transaction.node].life;
        }
        let (node, kind) = (transaction.node, transaction.kind);
        if self.nodes[node].site.is_none() || self.nodes[node].busy_until > self.now {
            self.over(client);
            return;
        }
        self.clients[client].running = Some(transaction);
        let patience = self.scenario.profile.promise.as_micros() as u64;
        self.queue.push(self.now + patience, Event::Client(ClientStep::GiveUp(client, id)));
        self.with_database(node, |site, held| {
            let effects = match kind {
                Kind::Write => site.begin_write(held, id),
                Kind::Read(kind) => site.begin_read(held, id, kind),
            };
            ((), effects)
        });
        self.arm(node);
    }

    pub(super) fn over(&mut self, client: usize) {
        self.clients[client].running = None;
        let after = self.random.u64(..self.scenario.think.max(1));
        self.queue.push(self.now + after, Event::Client(ClientStep::Begin(client)));
    }

    pub(super) fn client_event(&mut self, node: NodeId, id: ClientId, event: ClientEvent) {
        if let ClientEvent::WriteFailed(_) = event {
            self.invariants.failed_never_happened.failed(id.0);
        }
        let found =
            self.clients.iter().position(|client| client.running.as_ref().is_some_and(|run| run.id == id));
        let Some(client) = found else { return };
        let Some(transaction) = self.running(client, id) else {
            return;
        };
        match event {
            ClientEvent::WriteBegun(snapshot) => {
                self.found(&transaction, &snapshot);
                let after = self.random.u64(..2_000);
                self.queue.push(self.now + after, Event::Client(ClientStep::Commit(client, id)));
                return;
            }
            ClientEvent::Committed(version) => {
                self.statistics.commits += 1;
                self.commits_since_calm += u64::from(self.calm.is_some());
                self.clients[client].hint = Some(node);
                let found = self.invariants.reads_are_fresh.found(transaction.floor, version);
                self.check(found);
            }
            ClientEvent::Undecided(version) => {
                self.statistics.undecided += 1;
                self.tell(|| format!("server {node}: the write of version {version} is undecided"));
            }
            ClientEvent::WriteFailed(error) => {
                self.statistics.refused += 1;
                self.clients[client].hint = match error {
                    WriteError::NotSyncSite { sync_site } => sync_site.map(ServerId::index),
                    _ => None,
                };
            }
            ClientEvent::ReadBegun(snapshot) => self.read(node, &transaction, &snapshot),
            ClientEvent::ReadFailed(_) => self.statistics.refused += 1,
        }
        self.over(client);
    }

    pub(super) fn read(&mut self, node: NodeId, transaction: &Transaction, snapshot: &Snapshot) {
        if transaction.kind == Kind::Read(ubik::effect::ReadKind::Any) {
            self.statistics.any_reads += 1;
            let floor = Version::NONE;
            self.found(&Transaction { floor, ..transaction.clone() }, snapshot);
            return;
        }
        self.statistics.reads += 1;
        if !self.holds_mandate(node) {
            self.statistics.follower_reads += 1;
        }
        self.found(transaction, snapshot);
        let found = self.invariants.reads_are_fresh.found(transaction.floor, snapshot.version());
        self.check(found);
    }

    /// Checks what a transaction found in its snapshot.
    pub(super) fn found(&mut self, transaction: &Transaction, snapshot: &Snapshot) {
        let [one, other] = transaction.places().map(|position| {
            let mut bytes = [0; 8];
            snapshot.read(u64::from(position), &mut bytes).expect("reads of a store that is up succeed");
            u64::from_be_bytes(bytes)
        });
        let version = snapshot.version();
        let found = self.invariants.reads_are_fresh.pair(version, one, other);
        self.check(found);
        let found = self.invariants.failed_never_happened.read(one);
        self.check(found);
        if version < transaction.floor {
            let floor = transaction.floor;
            self.check(Err(format!(
                "a transaction began with version {version} after {floor} was known to somebody"
            )));
        }
    }
}
