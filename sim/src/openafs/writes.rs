//! C's write transactions at its sync site: committed here first, then at the others.

use ubik::effect::{CallToken, ClientId};
use ubik_proto::cell::{ServerId, ServerSet};
use ubik_proto::log::Change;
use ubik_proto::messages::{DiskCall, LOCK_WRITE, Write as WireWrite};
use ubik_proto::version::{TransactionId, Version};

use super::{Act, BIGTIME, Outcome, Peer, Wake};
use crate::event::Request;

/// What all servers are being told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Begin,
    /// The client thinks.
    Open,
    Lock,
    Change,
    SetVersion,
    Commit,
    /// Servers that do not answer may still be read.
    Wait,
}

/// The one write transaction.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) id: TransactionId,
    client: ClientId,
    stage: Stage,
    servers: ServerSet,
    awaited: Vec<(CallToken, ServerId)>,
    changes: Vec<Change>,
    nth: usize,
    committed: Option<Version>,
}

impl Write {
    pub(super) fn is_locked(&self) -> bool {
        !matches!(self.stage, Stage::Begin | Stage::Open)
    }
}

impl Peer {
    /// A client wants to write.
    pub fn begin_write(&mut self, now: i64, client: ClientId) -> Vec<Act> {
        let may = self.is_sync_site(now) && self.advertised && self.recovery.has_database();
        if !may || self.write.is_some() || self.recovery.moves_databases() {
            return vec![Act::Client(client, Outcome::Refused)];
        }
        self.transaction_counter += 1;
        let id = TransactionId { epoch: self.epoch_time as u32, counter: self.transaction_counter };
        let joins = |peer: &ServerId| {
            let link = &self.links[peer.index()];
            link.up && link.current && link.beacon_since_down && link.last_vote
        };
        let servers: ServerSet = self.cell.peers().filter(joins).collect();
        for peer in self.cell.peers() {
            self.links[peer.index()].current &= servers.contains(peer);
        }
        self.write = Some(Write {
            id,
            client,
            stage: Stage::Begin,
            servers,
            awaited: Vec::new(),
            changes: Vec::new(),
            nth: 0,
            committed: None,
        });
        self.contact(now, DiskCall::Begin(id))
    }

    /// Its transaction is complete.
    pub fn commit(&mut self, now: i64, client: ClientId, changes: Vec<Change>) -> Vec<Act> {
        let Some(write) = self.write.as_mut().filter(|w| w.client == client && w.stage == Stage::Open) else {
            return vec![Act::Client(client, Outcome::Refused)];
        };
        write.changes = changes;
        write.stage = Stage::Lock;
        let transaction = write.id;
        self.contact(now, DiskCall::Lock { transaction, file: 0, position: 1, length: 1, kind: LOCK_WRITE })
    }

    /// The client has gone.
    pub fn abandon(&mut self, client: ClientId) -> Vec<Act> {
        if self.write.as_ref().is_some_and(|write| write.client == client && write.stage == Stage::Open) {
            return self.end();
        }
        Vec::new()
    }

    /// Tells every server that takes part; goes on when all have answered.
    fn contact(&mut self, now: i64, call: DiskCall) -> Vec<Act> {
        let Some(write) = &mut self.write else { return Vec::new() };
        let mut acts = Vec::new();
        for to in write.servers.iter() {
            self.next_number += 1;
            let token = CallToken(self.next_number);
            write.awaited.push((token, to));
            acts.push(Act::Call { to, token, asked: Request::Call(call.clone()) });
        }
        if acts.is_empty() { self.next_stage(now) } else { acts }
    }

    pub(super) fn write_answered(&mut self, now: i64, token: CallToken, took: bool) -> Vec<Act> {
        let Some(write) = &mut self.write else { return Vec::new() };
        let Some(nth) = write.awaited.iter().position(|&(waiting, _)| waiting == token) else {
            return Vec::new();
        };
        let (_, peer) = write.awaited.swap_remove(nth);
        if !took {
            write.servers = write.servers.iter().filter(|&id| id != peer).collect();
        }
        let all = write.awaited.is_empty();
        if !took {
            self.lost_server(now, peer);
        }
        if all { self.next_stage(now) } else { Vec::new() }
    }

    fn next_stage(&mut self, now: i64) -> Vec<Act> {
        let quorum = self.quorum();
        let Some(write) = &mut self.write else { return Vec::new() };
        let voters = write.servers.and(self.cell.voters()).len() + 1;
        let (transaction, client) = (write.id, write.client);
        if voters < quorum || !self.am_sync_site || now > self.sync_site_until {
            let told = if write.committed.is_some() { Outcome::Unknown } else { Outcome::Refused };
            let mut acts = self.end();
            acts.push(Act::Client(client, told));
            return acts;
        }
        match write.stage {
            Stage::Begin => {
                write.stage = Stage::Open;
                vec![Act::Client(client, Outcome::Begun)]
            }
            Stage::Open => Vec::new(),
            Stage::Lock | Stage::Change => {
                write.stage = Stage::Change;
                let change = write.changes.get(write.nth).cloned();
                write.nth += 1;
                match change {
                    Some(Change::Truncate { length }) => {
                        self.contact(now, DiskCall::Truncate { transaction, file: 0, length })
                    }
                    Some(Change::Write { position, bytes }) => {
                        let writes = vec![WireWrite { file: 0, position, bytes }];
                        self.contact(now, DiskCall::WriteV { transaction, writes })
                    }
                    None => self.label_or_commit(now),
                }
            }
            Stage::SetVersion => self.commit_here(now),
            Stage::Commit => {
                write.stage = Stage::Wait;
                self.wait_for_the_silent(now)
            }
            Stage::Wait => Vec::new(),
        }
    }

    fn label_or_commit(&mut self, now: i64) -> Vec<Act> {
        if self.relabelled {
            return self.commit_here(now);
        }
        let Some(write) = &mut self.write else { return Vec::new() };
        write.stage = Stage::SetVersion;
        let transaction = write.id;
        let (old, new) = (self.disk.label, Version::new(self.epoch_time as u32, 1));
        self.relabelled = true;
        self.disk.label = new;
        self.contact(now, DiskCall::SetVersion { transaction, old, new })
    }

    /// Shown here before anybody else has it.
    fn commit_here(&mut self, now: i64) -> Vec<Act> {
        let Some(write) = &mut self.write else { return Vec::new() };
        let label = self.disk.label.next().expect("a run makes few commits");
        self.disk.apply(&write.changes, label);
        write.committed = Some(label);
        write.stage = Stage::Commit;
        let id = write.id;
        self.contact(now, DiskCall::Commit(id))
    }

    /// Servers that have not answered a beacon since they were lost may read what was, until their claim is over.
    pub(super) fn wait_for_the_silent(&mut self, now: i64) -> Vec<Act> {
        let Some(write) = self.write.as_ref().filter(|write| write.stage == Stage::Wait) else {
            return Vec::new();
        };
        let silent = self.cell.peers().any(|peer| {
            let link = &self.links[peer.index()];
            !link.beacon_since_down && now <= link.last_beacon_sent + BIGTIME
        });
        if silent {
            return vec![Act::Wake(1, Wake::CommitWait)];
        }
        let (client, version) = (write.client, write.committed.unwrap_or(Version::NONE));
        let mut acts = self.end();
        acts.push(Act::Client(client, Outcome::Committed(version)));
        acts
    }

    /// The transaction is over everywhere.
    fn end(&mut self) -> Vec<Act> {
        let Some(write) = self.write.take() else { return Vec::new() };
        let call = if write.committed.is_some() {
            DiskCall::ReleaseLocks(write.id)
        } else {
            DiskCall::Abort(write.id)
        };
        let mut acts = Vec::new();
        for to in write.servers.iter() {
            let token = self.token();
            acts.push(Act::Call { to, token, asked: Request::Call(call.clone()) });
        }
        acts
    }
}
