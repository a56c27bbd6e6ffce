//! The calls between servers: how they travel, and what comes back.

use ubik::effect::{Answer, AnswerId, CallError, CallToken, Effect, Reply};
use ubik::phys::Replacement;
use ubik::snapshot::Snapshot;
use ubik_proto::cell::ServerId;
use ubik_proto::code::AbortCode;
use ubik_proto::messages::DiskCall;
use ubik_proto::version::Version;

use super::World;
use crate::event::{Event, Incoming, Local, NodeId, Request, Said};
use crate::net::Net;

/// A packet that is sent again comes within this, in microseconds.
const AGAIN: u64 = 500_000;

/// What may come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Beacon,
    Call,
}

/// Bytes of a database that come at once.
const PIECE: usize = 1500;

impl World {
    pub(super) fn request(
        &mut self,
        to: NodeId,
        from: NodeId,
        life: u64,
        token: CallToken,
        request: Request,
    ) {
        if self.nodes[to].is_openafs() {
            self.openafs_request(to, from, life, token, request);
            return;
        }
        if self.nodes[to].state.is_none() {
            return;
        }
        if let Request::Call(call) = &request {
            let request = Request::Call(call.clone());
            self.taken.insert((to, from, Kind::Call), Event::Request { to, from, life, token, request });
        }
        let caller = ServerId::new(from);
        self.last_answer += 1;
        let id = AnswerId(self.last_answer);
        self.answers.insert(id, Asked { by: from, life, token });
        match request {
            Request::Call(call) => {
                self.with_database(to, |state, held| state.on_call(held, caller, id, call))
            }
            Request::Database(version, bytes) => {
                let mut received = None;
                self.with_database(to, |state, held| match state.receive(held, caller, version) {
                    (Ok(into), effects) => {
                        received = Some(into);
                        effects
                    }
                    (Err(code), effects) => with_answer(id, code, effects),
                });
                if let Some(into) = received {
                    self.await_piece(to, Incoming { answer: id, from: caller, version, into, rest: bytes });
                }
            }
        }
        self.arm(to);
    }

    fn await_piece(&mut self, node: NodeId, incoming: Incoming) {
        if self.nodes[node].state.is_some() {
            let pieces = incoming.rest.len().div_ceil(PIECE).max(1);
            let after = self.transfer(incoming.rest.len()) / 2 / pieces as u64;
            self.later(node, after, Local::Piece(incoming));
        }
    }

    /// Puts the next piece of a database that is received where it goes; when all are there, the server takes it.
    pub(super) fn piece(&mut self, node: NodeId, mut incoming: Incoming) {
        if self.power_fails(node) {
            return;
        }
        let rest = incoming.rest.split_off(incoming.rest.len().min(PIECE));
        let piece = std::mem::replace(&mut incoming.rest, rest);
        let kept = incoming.into.append(&piece);
        if kept.is_ok() && !incoming.rest.is_empty() {
            return self.await_piece(node, incoming);
        }
        let Incoming { answer, from, version, into, .. } = incoming;
        self.with_database(node, |state, held| match kept {
            Ok(()) => state.on_database(held, from, answer, version, into),
            Err(_) => with_answer(answer, AbortCode::IO, Vec::new()),
        });
    }

    /// A server starts again: the last call and the last beacon that each other made to its earlier life may come once more. Rx
    /// sends a call again until it is answered, and the new process does not know that it was carried out. A transfer
    /// does not come again, since its first packets were acknowledged.
    pub(super) fn repeat_calls(&mut self, node: NodeId) {
        let rest = self.taken.split_off(&(node, 0, Kind::Beacon));
        let (taken, rest): (Vec<_>, Vec<_>) = rest.into_iter().partition(|((to, ..), _)| *to == node);
        self.taken.extend(rest);
        for (_, event) in taken {
            if self.random.bool() {
                self.statistics.repeated += 1;
                let after = self.random.u64(..AGAIN);
                self.queue.push(self.now + after, event);
            }
        }
    }

    /// A server answers a call.
    fn answer(&mut self, node: NodeId, id: AnswerId, answer: Result<Answer, AbortCode>) {
        let Some(asked) = self.answers.remove(&id) else { return };
        let reply = answer.map(|answer| match answer {
            Answer::Done => Said::Done,
            Answer::Version(version) => Said::Version(version),
            Answer::Database(snapshot) => Said::Database(snapshot.version(), read_all(&snapshot)),
        });
        let what = Local::SendReply { to: asked.by, token: asked.token, asked_by: asked.life, reply };
        self.local(node, what);
    }

    pub(super) fn reply(&mut self, node: NodeId, token: CallToken, reply: Option<Result<Said, AbortCode>>) {
        if self.nodes[node].is_openafs() {
            self.openafs_reply(node, token, reply);
            return;
        }
        let life = self.nodes[node].life;
        let into = self.fetches.remove(&(node, life, token));
        let reply = match reply {
            None => Err(CallError::Unreachable),
            Some(Err(code)) => Err(CallError::Aborted(code)),
            Some(Ok(Said::Done)) => Ok(Reply::Done),
            Some(Ok(Said::Version(version))) => Ok(Reply::Version(version)),
            Some(Ok(Said::Database(version, bytes))) => match into {
                Some(into) => keep(into, version, &bytes),
                None => return,
            },
        };
        self.with_database(node, |state, held| state.on_reply(held, token, reply));
    }

    pub(super) fn transfer(&self, bytes: usize) -> u64 {
        match self.slow_transfers {
            Some(rate) => bytes as u64 * 1_000_000 / rate,
            None => Net::transfer(bytes),
        }
    }

    pub(super) fn effects(&mut self, node: NodeId, effects: Vec<Effect>) {
        let life = self.nodes[node].life;
        for effect in effects {
            // What was decided is done in parts: power may fail between any two.
            if self.power_fails(node) || !self.nodes[node].is_up() || self.nodes[node].life != life {
                return;
            }
            match effect {
                Effect::Election(command) => self.command(node, command),
                Effect::Call { to, token, call } => self.call(node, to, token, Request::Call(call), 0),
                Effect::Send { to, token, database } => {
                    self.statistics.transfers += 1;
                    let bytes = read_all(&database);
                    let version = database.version();
                    self.tell(|| format!("server {node} sends its database, version {version}, to {to}"));
                    let after = self.transfer(bytes.len());
                    self.call(node, to, token, Request::Database(version, bytes), after);
                }
                Effect::Fetch { to, token } => {
                    self.statistics.transfers += 1;
                    let Ok(into) = self.with_server(node, |state, _| state.database().receive()) else {
                        let error = CallError::Local("the disk is full".to_owned());
                        self.with_database(node, |state, held| state.on_reply(held, token, Err(error)));
                        continue;
                    };
                    self.tell(|| format!("server {node} fetches the database of {to}"));
                    let life = self.nodes[node].life;
                    self.fetches.insert((node, life, token), into);
                    let length = 100_000;
                    let call = Request::Call(DiskCall::GetFile { file: 0 });
                    let after = self.transfer(length);
                    self.call_within(node, to, token, call, 0, after);
                }
                Effect::Client(client, event) => self.client_event(node, client, event),
                Effect::Answer(id, answer) => self.answer(node, id, answer),
                Effect::Disk(work) => {
                    let after = self.random.u64(..200);
                    self.later(node, after, Local::Disk(work));
                }
                Effect::DiskFailed(error) => self.tell(|| format!("server {node}: {error}")),
            }
        }
    }

    pub(super) fn call(
        &mut self,
        node: NodeId,
        to: ServerId,
        token: CallToken,
        request: Request,
        transfer: u64,
    ) {
        // To ours it travels in pieces, half of it at the other end.
        let outward = if self.nodes[to.index()].is_openafs() { transfer } else { transfer / 2 };
        self.call_within(node, to, token, request, outward, transfer);
    }

    /// A call that takes `outward` to be sent, and is given up when nothing has come for a time-out beyond `allowance`.
    pub(super) fn call_within(
        &mut self,
        node: NodeId,
        to: ServerId,
        token: CallToken,
        request: Request,
        outward: u64,
        allowance: u64,
    ) {
        let to = to.index();
        let life = self.nodes[node].life;
        if let Some(delay) = self.net.delay(&mut self.random, node, to) {
            let event = Event::Request { to, from: node, life, token, request };
            self.queue.push(self.now + outward + delay, event);
        }
        let timeout = self.scenario.profile.disk_timeout.as_micros() as u64;
        self.later(node, timeout + allowance, Local::Reply { token, reply: None });
    }
}

/// Whose call it is that a server answers.
#[derive(Debug)]
pub(super) struct Asked {
    by: NodeId,
    life: u64,
    token: CallToken,
}

fn with_answer(id: AnswerId, code: AbortCode, mut effects: Vec<Effect>) -> Vec<Effect> {
    effects.push(Effect::Answer(id, Err(code)));
    effects
}

pub(super) fn read_all(snapshot: &Snapshot) -> Vec<u8> {
    let mut bytes = vec![0; snapshot.length() as usize];
    snapshot.read(0, &mut bytes).expect("reads of a store that is up succeed");
    bytes
}

fn keep(mut into: Box<dyn Replacement>, version: Version, bytes: &[u8]) -> Result<Reply, CallError> {
    match into.append(bytes) {
        Ok(()) => Ok(Reply::Database(version, into)),
        Err(error) => Err(CallError::Local(error.to_string())),
    }
}
