//! What the clients do, and what they find.

use std::io;

use ubik::effect::{ClientEvent, ClientId, ReadKind, WriteError};
use ubik::snapshot::Snapshot;
use ubik_proto::cell::ServerId;
use ubik_proto::version::Version;

use super::World;
use crate::client::{ClientStep, Kind, Transaction};
use crate::event::{Event, NodeId};
use crate::record::Span;
use crate::scenario::Course;

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
                if self.nodes[node].is_openafs() && self.nodes[node].life == transaction.life {
                    self.change_running(client, |running| running.submitted = true);
                    let acts = self.with_openafs(node, |peer, now| peer.commit(now, id, changes));
                    self.openafs_acts(node, acts.unwrap_or_default());
                } else if self.nodes[node].state.is_some() && self.nodes[node].life == transaction.life {
                    // Its snapshot may have ended, and it with it.
                    match transaction.written(&changes) {
                        Some(written) => {
                            self.change_running(client, |running| running.submitted = true);
                            self.with_database(node, |state, held| state.commit(held, id, written));
                        }
                        None => self.give_up(client, &transaction),
                    }
                    self.arm(node);
                } else {
                    self.over(client);
                }
            }
            ClientStep::GiveUp(client, id) => {
                let Some(transaction) = self.running(client, id) else {
                    return;
                };
                self.give_up(client, &transaction);
            }
        }
    }

    fn give_up(&mut self, client: usize, transaction: &Transaction) {
        self.clients[client].hint = None;
        if transaction.submitted {
            self.record_write(client, transaction, None);
        }
        // The client goes on before the server hears of it: what the server still says is said to nobody.
        self.over(client);
        let (node, id) = (transaction.node, transaction.id);
        if self.nodes[node].is_openafs() {
            let acts = self.with_openafs(node, |peer, _| peer.abandon(id));
            self.openafs_acts(node, acts.unwrap_or_default());
        } else if self.nodes[node].state.is_some() && self.nodes[node].life == transaction.life {
            self.with_database(node, |state, held| state.abandon(held, id));
            self.arm(node);
        }
    }

    pub(super) fn change_running(&mut self, client: usize, change: impl FnOnce(&mut Transaction)) {
        if let Some(running) = &mut self.clients[client].running {
            change(running);
        }
    }

    pub(super) fn record_write(&mut self, client: usize, transaction: &Transaction, answered: Option<u64>) {
        let span = Span { called: transaction.began, answered };
        self.record.wrote(client, transaction.register, transaction.found, transaction.value(), span);
    }

    pub(super) fn running(&self, client: usize, id: ClientId) -> Option<Transaction> {
        self.clients[client].running.clone().filter(|transaction| transaction.id == id)
    }

    pub(super) fn begin(&mut self, client: usize) {
        if self.closing {
            return;
        }
        let node = match self.clients[client].hint {
            Some(hint) if self.random.u8(..8) != 0 => hint,
            _ => self.random.usize(..self.nodes.len()),
        };
        self.last_client += 1;
        let id = ClientId(self.last_client);
        let floor = self.invariants.reads_are_fresh.floor();
        let mut transaction = Transaction::random(&mut self.random, id, node, self.now, floor);
        if let Kind::Read(_) = transaction.kind {
            transaction.node = self.random.usize(..self.nodes.len());
        }
        transaction.life = self.nodes[transaction.node].life;
        let (node, kind) = (transaction.node, transaction.kind);
        if !self.nodes[node].is_up() {
            self.over(client);
            return;
        }
        self.clients[client].running = Some(transaction.clone());
        let patience = self.scenario.profile.promise.as_micros() as u64;
        self.queue.push(self.now + patience, Event::Client(ClientStep::GiveUp(client, id)));
        if self.nodes[node].is_openafs() {
            self.openafs_begin(node, client, &transaction);
            return;
        }
        self.with_database(node, |state, held| match kind {
            Kind::Write => state.begin_write(held, id),
            Kind::Read(kind) => state.begin_read(held, id, kind),
        });
        self.arm(node);
    }

    pub(super) fn over(&mut self, client: usize) {
        self.clients[client].running = None;
        if self.closing {
            return;
        }
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
            ClientEvent::WriteBegun(view) => {
                let value = self.found(&transaction, view.version(), |at, word| view.read(at, word));
                self.change_running(client, |running| {
                    running.found = value;
                    running.view = Some(view);
                });
                let after = self.random.u64(..2_000);
                self.queue.push(self.now + after, Event::Client(ClientStep::Commit(client, id)));
                return;
            }
            ClientEvent::Committed(version) => self.acknowledged(node, client, &transaction, version),
            ClientEvent::Undecided(version) => {
                self.statistics.undecided += 1;
                self.record_write(client, &transaction, None);
                self.tell(|| format!("server {node}: the write of version {version} is undecided"));
            }
            ClientEvent::WriteFailed(error) => {
                self.statistics.refused += 1;
                self.clients[client].hint = match error {
                    WriteError::NotSyncSite { sync_site } => sync_site.map(ServerId::index),
                    _ => None,
                };
            }
            ClientEvent::ReadBegun(snapshot) => self.read(node, client, &transaction, &snapshot),
            ClientEvent::ReadFailed(_) => self.statistics.refused += 1,
        }
        self.over(client);
    }

    /// A client is told that its write is committed.
    pub(super) fn acknowledged(
        &mut self,
        node: NodeId,
        client: usize,
        transaction: &Transaction,
        version: Version,
    ) {
        self.statistics.commits += 1;
        self.commits_since_calm += u64::from(self.calm.is_some());
        self.clients[client].hint = Some(node);
        self.record_write(client, transaction, Some(self.now));
        let value = transaction.value();
        self.tell(|| format!("client {client} wrote {value} at server {node}: version {version}"));
        let found = self.invariants.reads_are_fresh.found(transaction.floor, version);
        self.check(found);
        if self.scenario.course == Course::Mixed {
            let found = self.invariants.committed_survives.shown(version);
            self.check(found);
        }
    }

    fn read(&mut self, node: NodeId, client: usize, transaction: &Transaction, snapshot: &Snapshot) {
        if transaction.kind == Kind::Read(ReadKind::Any) {
            self.statistics.any_reads += 1;
            let floor = Version::NONE;
            let old = Transaction { floor, ..transaction.clone() };
            self.found(&old, snapshot.version(), |at, word| snapshot.read(at, word));
            return;
        }
        self.statistics.reads += 1;
        if !self.holds_mandate(node) {
            self.statistics.follower_reads += 1;
        }
        let value = self.found(transaction, snapshot.version(), |at, word| snapshot.read(at, word));
        // With wild clocks a read may be old; in a mixed cell it may show what is then lost, and is never older than
        // what was acknowledged.
        if matches!(self.scenario.course, Course::WildClocks | Course::Mixed) {
            return;
        }
        let span = Span { called: transaction.began, answered: Some(self.now) };
        self.record.read(client, transaction.register, value, span);
        let found = self.invariants.reads_are_fresh.found(transaction.floor, snapshot.version());
        self.check(found);
    }

    /// Checks what a transaction found, over `version`, and returns its register's value.
    fn found(
        &mut self,
        transaction: &Transaction,
        version: Version,
        read: impl Fn(u64, &mut [u8]) -> io::Result<()>,
    ) -> u64 {
        let [one, other] = transaction.places().map(|position| {
            let mut bytes = [0; 8];
            read(u64::from(position), &mut bytes).expect("reads of a store that is up succeed");
            u64::from_be_bytes(bytes)
        });
        self.found_words(transaction, version, [one, other])
    }

    /// Whether a read must find what was acknowledged before it. A sync site of OpenAFS's commits without waiting for a
    /// follower that it does not take for current, and lets it read all the same until the next beacon; and itself, from its
    /// second round on, before it has found the newest database.
    fn reads_are_promised(&mut self) -> bool {
        match self.scenario.course {
            Course::Usual | Course::LostDisk => true,
            Course::WildClocks => false,
            Course::Mixed => {
                let site = (0..self.nodes.len()).find(|&other| self.holds_mandate(other));
                site.is_some_and(|site| !self.nodes[site].is_openafs())
            }
        }
    }

    /// Checks the two words that a transaction found in `version`, and returns its register's value.
    pub(super) fn found_words(
        &mut self,
        transaction: &Transaction,
        version: Version,
        words: [u64; 2],
    ) -> u64 {
        let [one, other] = words;
        let found = self.invariants.reads_are_fresh.pair(version, one, other);
        self.check(found);
        let found = self.invariants.failed_never_happened.read(one);
        self.check(found);
        let floor = transaction.floor;
        if version < floor && self.reads_are_promised() {
            self.check(Err(format!(
                "a transaction began with version {version} after {floor} was known to somebody"
            )));
        }
        one
    }
}
