//! Servers of OpenAFS's: their acts carried out, and what clients find there.

use ubik::effect::{CallToken, ClientId};
use ubik_proto::cell::ServerId;
use ubik_proto::code::AbortCode;
use ubik_proto::election::beacon::VoteReply;
use ubik_proto::messages::Beacon;
use ubik_proto::version::Version;

use super::World;
use crate::client::{ClientStep, Transaction};
use crate::event::{Event, Local, NodeId, Request, Said};
use crate::openafs::{Act, Outcome, Peer, Wake};

impl World {
    /// Lets OpenAFS's server at `node` do something, if it is up.
    pub(super) fn with_openafs<R>(
        &mut self,
        node: NodeId,
        act: impl FnOnce(&mut Peer, i64) -> R,
    ) -> Option<R> {
        let machine = &mut self.nodes[node];
        let now = machine.clocks.wall(self.now);
        let peer = machine.openafs.as_mut()?;
        let was = peer.is_sync_site(now);
        let result = act(peer, now);
        let is = peer.is_sync_site(now);
        if is && !was {
            self.statistics.elections += 1;
            self.tell(|| format!("server {node} (OpenAFS) is elected"));
        }
        if was && !is {
            self.tell(|| format!("server {node} (OpenAFS) steps down"));
        }
        self.check_openafs(node);
        if is {
            self.check_election();
        }
        Some(result)
    }

    pub(super) fn openafs_acts(&mut self, node: NodeId, acts: Vec<Act>) {
        let life = self.nodes[node].life;
        let timeout = self.scenario.profile.call_timeout.as_micros() as u64;
        for act in acts {
            match act {
                Act::Beacon { to, number, series, beacon } => {
                    let to = to.index();
                    if let Some(delay) = self.net.delay(&mut self.random, node, to) {
                        let event = Event::Beacon { to, from: node, life, series, number, beacon };
                        self.queue.push(self.now + delay, event);
                    }
                    self.later(node, timeout, Local::Vote { from: to, number, reply: VoteReply::Failed });
                }
                Act::Probe { to } => self.send_probe(node, to.index()),
                Act::Call { to, token, asked } => self.call(node, to, token, asked, 0),
                Act::Client(client, outcome) => self.openafs_client(node, client, outcome),
                Act::Wake(after, wake) => self.later(node, after as u64 * 1_000_000, Local::Wake(wake)),
            }
        }
    }

    pub(super) fn openafs_wakes(&mut self, node: NodeId, wake: Wake) {
        let acts = self.with_openafs(node, |peer, now| peer.on_wake(now, wake));
        self.openafs_acts(node, acts.unwrap_or_default());
    }

    pub(super) fn openafs_beacon(
        &mut self,
        to: NodeId,
        from: NodeId,
        life: u64,
        number: u64,
        beacon: &Beacon,
    ) {
        let host = ServerId::new(from);
        let Some(reply) = self.with_openafs(to, |peer, now| peer.on_beacon(now, host, beacon)) else {
            return;
        };
        if let Some(delay) = self.net.delay(&mut self.random, to, from) {
            let what = Local::Vote { from: to, number, reply };
            self.queue.push(self.now + delay, Event::Local { node: from, life, what });
        }
    }

    pub(super) fn openafs_request(
        &mut self,
        to: NodeId,
        from: NodeId,
        life: u64,
        token: CallToken,
        request: Request,
    ) {
        // A database takes a while to be received; the answer comes when it is complete.
        let cost = match &request {
            Request::Database(..) => self.random.u64(1_000..200_000),
            Request::Call(_) => self.random.u64(..4_000),
        };
        let caller = ServerId::new(from);
        let Some((reply, acts)) = self.with_openafs(to, |peer, now| peer.on_request(now, caller, request))
        else {
            return;
        };
        for act in acts {
            if let Act::Wake(_, wake) = act {
                self.later(to, cost, Local::Wake(wake));
            }
        }
        self.later(to, cost, Local::SendReply { to: from, token, asked_by: life, reply });
    }

    pub(super) fn openafs_reply(
        &mut self,
        node: NodeId,
        token: CallToken,
        reply: Option<Result<Said, AbortCode>>,
    ) {
        let acts = self.with_openafs(node, |peer, now| peer.on_reply(now, token, reply));
        self.openafs_acts(node, acts.unwrap_or_default());
    }

    /// A client begins a transaction at a server of OpenAFS's.
    pub(super) fn openafs_begin(&mut self, node: NodeId, client: usize, transaction: &Transaction) {
        if transaction.is_write() {
            let id = transaction.id;
            let acts = self.with_openafs(node, |peer, now| peer.begin_write(now, id));
            self.openafs_acts(node, acts.unwrap_or_default());
            return;
        }
        let places = transaction.places();
        let found = self.with_openafs(node, |peer, now| {
            let words = places.map(|place| peer.disk.word(place));
            peer.may_read(now).then_some((peer.disk.label, words))
        });
        match found.flatten() {
            Some((version, words)) if transaction.is_newest_read() => {
                self.statistics.reads += 1;
                self.statistics.follower_reads += u64::from(!self.holds_mandate(node));
                self.found_words(transaction, version, words);
            }
            Some(_) => self.statistics.any_reads += 1,
            None => self.statistics.refused += 1,
        }
        self.over(client);
    }

    fn openafs_client(&mut self, node: NodeId, id: ClientId, outcome: Outcome) {
        let found =
            self.clients.iter().position(|client| client.running.as_ref().is_some_and(|run| run.id == id));
        let Some((client, transaction)) = found.and_then(|client| Some((client, self.running(client, id)?)))
        else {
            return;
        };
        match outcome {
            Outcome::Begun => {
                let places = transaction.places();
                let words = self.with_openafs(node, |peer, _| places.map(|place| peer.disk.word(place)));
                let [value, _] = words.unwrap_or_default();
                self.change_running(client, |running| running.found = value);
                let after = self.random.u64(..2_000);
                self.queue.push(self.now + after, Event::Client(ClientStep::Commit(client, id)));
                return;
            }
            Outcome::Refused => {
                self.statistics.refused += 1;
                let hint = self.with_openafs(node, |peer, now| peer.sync_site(now)).flatten();
                self.clients[client].hint = hint.map(ServerId::index);
                if transaction.submitted {
                    // C undoes it, and a server that did not hear of that may have it still.
                    self.record_write(client, &transaction, None);
                }
            }
            Outcome::Committed(version) => self.acknowledged(node, client, &transaction, version),
            Outcome::Unknown => {
                self.statistics.undecided += 1;
                self.record_write(client, &transaction, None);
                let value = transaction.value();
                self.tell(|| {
                    format!("server {node} (OpenAFS) calls the write of {value} failed; it may have happened")
                });
            }
        }
        self.over(client);
    }

    /// Looks at what the copy of a server of OpenAFS's is after work on it.
    fn check_openafs(&mut self, node: NodeId) {
        let Some(peer) = &self.nodes[node].openafs else { return };
        let (tail, bytes) = (peer.disk.label, peer.disk.bytes.clone());
        let before = std::mem::replace(&mut self.nodes[node].tail, tail);
        self.nodes[node].visible = Some(tail);
        if tail != before && tail != Version::NONE {
            self.check_new_tail(node, before, tail, &bytes);
        }
    }
}
