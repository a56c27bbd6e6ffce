//! What happens at a server: its timers, its disk, its votes.

use ubik::disk_work::DiskWork;
use ubik::effect::Effect;
use ubik::locks::{Held, Nothing};
use ubik::server_state::ServerState;
use ubik_proto::cell::ServerId;
use ubik_proto::election::beacon::VoteReply;
use ubik_proto::election::vote::Vote;
use ubik_proto::election::{Command, Event as ElectionEvent};
use ubik_proto::messages::Beacon;
use ubik_proto::version::Version;

use super::World;
use super::calls::Kind;
use crate::event::{Event, Local, NodeId, Said};
use crate::scenario::Trouble;

impl World {
    pub(super) fn start(&mut self, node: NodeId) {
        let now = self.now;
        if self.nodes[node].is_openafs() {
            let acts = self.nodes[node].start_openafs(now);
            let version = self.nodes[node].openafs_disk.label;
            self.tell(|| format!("server {node} (OpenAFS) starts, holding version {version}"));
            self.openafs_acts(node, acts);
            return;
        }
        match self.nodes[node].start(now) {
            Ok(()) => {
                let version =
                    self.nodes[node].state.as_ref().map_or(Version::NONE, |state| state.database().version());
                self.tell(|| format!("server {node} starts, holding version {version}"));
                self.repeat_calls(node);
                self.check_tail(node);
                self.arm(node);
            }
            // It cannot make the commit that its log holds: it says so, and somebody starts it again.
            Err(error) if self.nodes[node].full_disk => {
                self.tell(|| format!("server {node} cannot start: {error}"));
                let after = self.scenario.profile.promise.as_micros() as u64;
                self.queue.push(now + after, Event::Trouble(Trouble::Restart(node)));
            }
            Err(error) => self.check(Err(format!("server {node} cannot start: {error}"))),
        }
    }

    pub(super) fn crash(&mut self, node: NodeId) {
        if self.nodes[node].is_up() {
            self.statistics.crashes += 1;
            self.tell(|| format!("server {node} loses power"));
            self.nodes[node].crash(&mut self.random);
        }
    }

    pub(super) fn later(&mut self, node: NodeId, after: u64, what: Local) {
        let life = self.nodes[node].life;
        self.queue.push(self.now + after, Event::Local { node, life, what });
    }

    pub(super) fn local(&mut self, node: NodeId, what: Local) {
        match what {
            Local::ElectionTimer => {
                self.nodes[node].election_timer = u64::MAX;
                let commands = self.with_server(node, |state, held| state.on_election_time(held));
                self.commands(node, commands);
            }
            Local::ReplicaTimer => {
                self.nodes[node].replica_timer = u64::MAX;
                self.with_database(node, |state, held| state.on_replica_time(held));
            }
            Local::Notify(event) => self.notify(node, event),
            Local::Disk(work) => self.disk_works(node, work),
            Local::DiskDone(done) => {
                self.with_database(node, |state, held| state.on_disk(held, done));
            }
            Local::SaveOwnVote(record) => {
                if let Ok(true) = self.with_server(node, |state, held| state.save_promise(held, record)) {
                    let commands =
                        self.with_server(node, |state, held| state.on_own_vote_persisted(held, record));
                    self.commands(node, commands);
                    self.check_election();
                }
            }
            Local::SavePromise { record, to, number, asked_by, vote, given } => {
                let mut reply = vote;
                if let Ok(true) = self.with_server(node, |state, held| state.save_promise(held, record)) {
                    self.check_promise(node, to, given);
                } else {
                    reply = VoteReply::No(None);
                }
                self.vote(node, to, number, asked_by, reply);
            }
            Local::Piece(incoming) => self.piece(node, incoming),
            Local::Wake(wake) => self.openafs_wakes(node, wake),
            Local::Vote { from, number, reply } if self.nodes[node].is_openafs() => {
                let from = ServerId::new(from);
                let acts = self.with_openafs(node, |peer, now| peer.on_vote(now, from, number, reply));
                self.openafs_acts(node, acts.unwrap_or_default());
            }
            Local::Vote { from, number, reply } => {
                let from = ServerId::new(from);
                let commands = self.with_server(node, |state, held| state.on_vote(held, from, number, reply));
                self.commands(node, commands);
                self.check_election();
            }
            Local::Probe { to, answered } if self.nodes[node].is_openafs() => {
                let to = ServerId::new(to);
                self.with_openafs(node, |peer, now| peer.on_probe(now, to, answered));
            }
            Local::Probe { to, answered } => {
                let to = ServerId::new(to);
                let commands = self.with_server(node, |state, held| state.on_probe(held, to, answered));
                self.commands(node, commands);
            }
            Local::Reply { token, reply } => self.reply(node, token, reply),
            Local::SendReply { to, token, asked_by, reply } => {
                let bytes = if let Ok(Said::Database(_, bytes)) = &reply { bytes.len() } else { 0 };
                if let Some(delay) = self.net.delay(&mut self.random, node, to) {
                    let what = Local::Reply { token, reply: Some(reply) };
                    let after = delay + self.transfer(bytes);
                    self.queue.push(self.now + after, Event::Local { node: to, life: asked_by, what });
                }
            }
        }
        self.arm(node);
    }

    pub(super) fn notify(&mut self, node: NodeId, event: ElectionEvent) {
        match event {
            ElectionEvent::Elected { epoch } => {
                self.statistics.elections += 1;
                self.tell(|| format!("server {node} is elected, epoch {epoch}"));
            }
            ElectionEvent::SteppedDown { epoch } => {
                self.tell(|| format!("server {node} steps down, epoch {epoch}"));
            }
            ElectionEvent::Follows { host, epoch } => {
                self.tell(|| format!("server {node} promises epoch {epoch} to {host}"));
            }
            _ => {}
        }
        self.with_database(node, |state, held| state.on_event(held, event));
    }

    pub(super) fn with_server<R>(
        &mut self,
        node: NodeId,
        act: impl FnOnce(&ServerState, &mut Held<'_, Nothing>) -> R,
    ) -> R {
        self.nodes[node].set_time(self.now);
        let state = self.nodes[node].state.as_ref().expect("the caller checked that the server is up");
        act(state, &mut self.held)
    }

    /// Lets a server decide something, and carries out what comes of it.
    pub(super) fn with_database(
        &mut self,
        node: NodeId,
        act: impl FnOnce(&ServerState, &mut Held<'_, Nothing>) -> Vec<Effect>,
    ) {
        let effects = self.with_server(node, act);
        self.check_copy(node);
        self.effects(node, effects);
    }

    /// Whether power fails at this point, since the seed says so.
    pub(super) fn power_fails(&mut self, node: NodeId) -> bool {
        let fails = self.may_lose_power() && self.random.u32(..1000) < self.scenario.crash_per_mille;
        if fails {
            self.lose_power(node);
        }
        fails
    }

    fn may_lose_power(&self) -> bool {
        self.scenario.crash_per_mille > 0 && self.calm.is_none()
    }

    fn lose_power(&mut self, node: NodeId) {
        self.crash(node);
        let after = self.random.u64(1_000..self.scenario.profile.promise.as_micros() as u64);
        self.queue.push(self.now + after, Event::Trouble(Trouble::Restart(node)));
    }

    /// A server's disk works, and may lose power at any of its operations; the server hears of its end later.
    fn disk_works(&mut self, node: NodeId, work: DiskWork) {
        let armed = self.may_lose_power() && self.random.u32(..1000) < self.scenario.crash_per_mille * 4;
        if armed {
            self.nodes[node].store.blow_after(self.random.u32(..10));
        }
        let before = self.nodes[node].store.work_done();
        let done = self.with_server(node, |state, _| state.work(work));
        if armed && self.nodes[node].store.disarm() {
            return self.lose_power(node);
        }
        self.check_copy(node);
        if self.nodes[node].state.as_ref().is_some_and(|state| state.database().is_broken()) {
            // It ends, and whoever watches over it starts it again.
            self.tell(|| format!("server {node} ends: its disk failed within a commit"));
            return self.lose_power(node);
        }
        let cost = self.disk_time(node, before);
        self.later(node, cost, Local::DiskDone(done));
    }

    fn disk_time(&mut self, node: NodeId, before: (u64, u64)) -> u64 {
        let after = self.nodes[node].store.work_done();
        self.sync_time(node, after.1 - before.1)
    }

    /// How long so many syncs take.
    fn sync_time(&mut self, node: NodeId, syncs: u64) -> u64 {
        let slow = self.nodes[node].slow_disk;
        if syncs == 0 { 0 } else { syncs * self.random.u64(100..4_000) * slow }
    }

    pub(super) fn beacon(
        &mut self,
        to: NodeId,
        from: NodeId,
        life: u64,
        series: u64,
        number: u64,
        beacon: &Beacon,
    ) {
        if self.nodes[to].is_openafs() {
            self.openafs_beacon(to, from, life, number, beacon);
            return;
        }
        if self.nodes[to].state.is_none() {
            return;
        }
        let again = Event::Beacon { to, from, life, series, number, beacon: *beacon };
        self.taken.insert((to, from, Kind::Beacon), again);
        let host = ServerId::new(from);
        let (vote, commands) =
            self.with_server(to, |state, held| state.on_beacon(held, host, (life << 32) | series, beacon));
        self.commands(to, commands);
        let reply = match vote {
            Vote::No(_) => VoteReply::No(self.with_server(to, |state, held| state.agreeable(held, host))),
            Vote::Yes { persist: None } => VoteReply::Yes(beacon.start),
            Vote::Yes { persist: Some(record) } => {
                let vote = VoteReply::Yes(beacon.start);
                let after = self.sync_time(to, 1);
                self.later(
                    to,
                    after,
                    Local::SavePromise { record, to: from, number, asked_by: life, vote, given: self.now },
                );
                self.arm(to);
                return;
            }
        };
        if let VoteReply::Yes(_) = reply {
            self.check_promise(to, from, self.now);
        }
        self.vote(to, from, number, life, reply);
        self.arm(to);
    }

    /// Sends the answer to a beacon.
    fn vote(&mut self, node: NodeId, to: NodeId, number: u64, asked_by: u64, reply: VoteReply) {
        if let Some(delay) = self.net.delay(&mut self.random, node, to) {
            let what = Local::Vote { from: node, number, reply };
            self.queue.push(self.now + delay, Event::Local { node: to, life: asked_by, what });
        }
    }

    pub(super) fn commands(&mut self, node: NodeId, commands: Vec<Command>) {
        for command in commands {
            self.command(node, command);
        }
    }

    pub(super) fn command(&mut self, node: NodeId, command: Command) {
        let timeout = self.scenario.profile.call_timeout.as_micros() as u64;
        let life = self.nodes[node].life;
        match command {
            Command::Beacon { to, series, number, beacon } => {
                let to = to.index();
                if let Some(delay) = self.net.delay(&mut self.random, node, to) {
                    let event = Event::Beacon { to, from: node, life, series, number, beacon };
                    self.queue.push(self.now + delay, event);
                }
                self.later(node, timeout, Local::Vote { from: to, number, reply: VoteReply::Failed });
            }
            Command::Probe { to } => {
                self.send_probe(node, to.index());
            }
            Command::PersistOwnVote(record) => {
                let after = self.sync_time(node, 1);
                self.later(node, after, Local::SaveOwnVote(record));
            }
            // It is told to people only.
            Command::Clock { .. } => {}
            Command::Notify(event) => {
                let after = self.random.u64(..2_000);
                self.later(node, after, Local::Notify(event));
            }
        }
    }

    pub(super) fn send_probe(&mut self, node: NodeId, to: NodeId) {
        let timeout = self.scenario.profile.call_timeout.as_micros() as u64;
        let life = self.nodes[node].life;
        if let Some(delay) = self.net.delay(&mut self.random, node, to) {
            self.queue.push(self.now + delay, Event::Probe { to, from: node, life });
        }
        self.later(node, timeout, Local::Probe { to, answered: false });
    }

    /// Sets the timers of a server as it wants them.
    pub(super) fn arm(&mut self, node: NodeId) {
        if self.nodes[node].state.is_none() {
            return;
        }
        let (election, replica) = self
            .with_server(node, |state, held| (state.election_deadline(held), state.replica_deadline(held)));
        let machine = &mut self.nodes[node];
        let at = machine.clocks.real(election.as_micros()).max(self.now);
        if at < machine.election_timer {
            machine.election_timer = at;
            self.later(node, at - self.now, Local::ElectionTimer);
        }
        let machine = &mut self.nodes[node];
        if let Some(replica) = replica {
            let at = machine.clocks.real(replica.as_micros()).max(self.now);
            if at < machine.replica_timer {
                machine.replica_timer = at;
                self.later(node, at - self.now, Local::ReplicaTimer);
            }
        }
    }
}
