//! One run: carries out what the servers ask for, in the order of real time, and watches.

use std::collections::HashMap;
use std::time::Duration;

use ubik::effect::{Answer, CallError, CallToken, ClientEvent, ClientId, Effect, Reply, WriteError};
use ubik::locks::{Held, Nothing};
use ubik::phys::Replacement;
use ubik::site::{Config, Site};
use ubik::snapshot::Snapshot;
use ubik_proto::beacon::VoteReply;
use ubik_proto::cell::ServerId;
use ubik_proto::code::AbortCode;
use ubik_proto::messages::{Beacon, DiskCall};
use ubik_proto::power::{Command, Event as PowerEvent};
use ubik_proto::version::Version;
use ubik_proto::vote::Vote;

use crate::client::{Client, ClientStep, Kind, Transaction};
use crate::event::{Event, Local, NodeId, Queue, Request};
use crate::invariants::{Found, Invariants};
use crate::net::Net;
use crate::node::Node;
use crate::scenario::{Scenario, Trouble};

/// What a run counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Events.
    pub events: u64,
    /// Elections won.
    pub elections: u64,
    /// Writes acknowledged.
    pub commits: u64,
    /// Writes whose fate was not known when they ended.
    pub undecided: u64,
    /// Writes and reads refused.
    pub refused: u64,
    /// Reads of the newest version.
    pub reads: u64,
    /// Of these, at followers.
    pub follower_reads: u64,
    /// Reads of any version.
    pub any_reads: u64,
    /// Power failures.
    pub crashes: u64,
    /// Whole databases sent or fetched.
    pub transfers: u64,
}

impl Statistics {
    /// Adds another run's.
    pub fn add(&mut self, other: &Statistics) {
        self.events += other.events;
        self.elections += other.elections;
        self.commits += other.commits;
        self.undecided += other.undecided;
        self.refused += other.refused;
        self.reads += other.reads;
        self.follower_reads += other.follower_reads;
        self.any_reads += other.any_reads;
        self.crashes += other.crashes;
        self.transfers += other.transfers;
    }
}

/// A property that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When, in microseconds of real time.
    pub at: u64,
    /// What.
    pub what: String,
}

/// A cell and what is asked of it.
pub struct World {
    /// Real time in microseconds.
    pub now: u64,
    /// What was counted.
    pub statistics: Statistics,
    /// The machines.
    pub nodes: Vec<Node>,
    /// The network.
    pub net: Net,
    /// What happened, line by line, if it is wanted.
    pub story: Option<Vec<String>>,
    scenario: Scenario,
    queue: Queue,
    random: fastrand::Rng,
    invariants: Invariants,
    clients: Vec<Client>,
    fetches: HashMap<(NodeId, u64, CallToken), Box<dyn Replacement>>,
    violation: Option<Violation>,
    last_client: u64,
    /// When everything was mended.
    calm: Option<u64>,
    commits_since_calm: u64,
    held: Held<'static, Nothing>,
    /// Bytes a second that a transfer moves, if less than the network's.
    pub slow_transfers: Option<u64>,
}

impl World {
    /// The run of a scenario; `seed` decides all that the scenario leaves open.
    pub fn new(scenario: Scenario, seed: u64) -> Self {
        let count = scenario.servers.len();
        let config = |node| Config {
            cell: scenario.cell(node),
            profile: scenario.profile.clone(),
            cache_pages: 20,
            bootstrap: false,
        };
        let mut world = World {
            now: 0,
            statistics: Statistics::default(),
            nodes: (0..count).map(|node| Node::new(config(node))).collect(),
            net: Net::new(count),
            story: None,
            queue: Queue::default(),
            random: fastrand::Rng::with_seed(seed ^ 0x5eed_5eed),
            invariants: Invariants::new(count, scenario.profile.promise.as_micros() as u64),
            clients: (0..scenario.clients).map(|_| Client::default()).collect(),
            fetches: HashMap::new(),
            violation: None,
            last_client: 0,
            calm: None,
            commits_since_calm: 0,
            held: Held::thread_entry(),
            slow_transfers: None,
            scenario,
        };
        for (at, trouble) in world.scenario.troubles.clone() {
            world.queue.push(at, Event::Trouble(trouble));
        }
        for client in 0..world.clients.len() {
            let at = world.random.u64(..world.scenario.think.max(1));
            world.queue.push(at, Event::Client(ClientStep::Begin(client)));
        }
        for node in 0..count {
            world.start(node);
        }
        world
    }

    /// Runs to the end; returns what was found wrong.
    pub fn run(&mut self) -> Option<Violation> {
        self.run_until(self.scenario.end);
        if self.violation.is_none() {
            self.check_well();
        }
        self.violation.clone()
    }

    /// Runs to `end` or to the first violation.
    pub fn run_until(&mut self, end: u64) {
        while self.violation.is_none() {
            let Some((time, event)) = self.queue.pop(end) else {
                break;
            };
            self.now = time;
            self.statistics.events += 1;
            self.step(event);
        }
        self.now = self.now.max(end);
    }

    /// What was found wrong so far.
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            let seconds = self.now as f64 / 1e6;
            story.push(format!("{seconds:>11.3} s  {}", line()));
        }
    }

    fn check(&mut self, found: Found) {
        if let (Err(what), None) = (found, &self.violation) {
            self.tell(|| format!("VIOLATION: {what}"));
            self.violation = Some(Violation { at: self.now, what });
        }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Local { node, life, what } => {
                if self.nodes[node].life == life && self.nodes[node].site.is_some() {
                    self.local(node, what);
                }
            }
            Event::Beacon { to, from, life, series, number, beacon } => {
                self.beacon(to, from, life, series, number, &beacon);
            }
            Event::Probe { to, from, life } => {
                if self.nodes[to].site.is_some()
                    && let Some(delay) = self.net.delay(&mut self.random, to, from)
                {
                    let what = Local::Probe { to, answered: true };
                    self.queue.push(self.now + delay, Event::Local { node: from, life, what });
                }
            }
            Event::Request { to, from, life, token, request } => self.request(to, from, life, token, request),
            Event::Client(step) => self.client(step),
            Event::Trouble(trouble) => self.trouble(trouble),
        }
    }

    // ---- servers

    fn start(&mut self, node: NodeId) {
        let now = self.now;
        match self.nodes[node].start(now) {
            Ok(()) => {
                let version =
                    self.nodes[node].site.as_ref().map_or(Version::NONE, |site| site.database().version());
                self.tell(|| format!("server {node} starts with version {version}"));
                self.check_tail(node);
                self.arm(node);
            }
            Err(error) => self.check(Err(format!("server {node} cannot start: {error}"))),
        }
    }

    fn crash(&mut self, node: NodeId) {
        if self.nodes[node].site.is_some() {
            self.statistics.crashes += 1;
            self.tell(|| format!("server {node} loses power"));
            self.nodes[node].crash(&mut self.random);
        }
    }

    fn later(&mut self, node: NodeId, after: u64, what: Local) {
        let life = self.nodes[node].life;
        self.queue.push(self.now + after, Event::Local { node, life, what });
    }

    fn local(&mut self, node: NodeId, what: Local) {
        let uses_database = matches!(what, Local::ReplicaTimer | Local::Notify(_) | Local::Reply { .. });
        if uses_database && self.nodes[node].busy_until > self.now {
            let wait = self.nodes[node].busy_until - self.now;
            self.later(node, wait, what);
            return;
        }
        match what {
            Local::PowerTimer => {
                self.nodes[node].power_timer = u64::MAX;
                let commands = self.with_power(node, |site, held| site.on_power_time(held));
                self.commands(node, commands);
            }
            Local::ReplicaTimer => {
                self.nodes[node].replica_timer = u64::MAX;
                self.with_database(node, |site, held| ((), site.on_replica_time(held)));
            }
            Local::Notify(event) => self.notify(node, event),
            Local::Effects(effects) => self.effects(node, effects),
            Local::OwnVotePersisted(record) => {
                let commands = self.with_power(node, |site, held| site.on_own_vote_persisted(held, record));
                self.commands(node, commands);
                self.check_power();
            }
            Local::SendVote { to, number, asked_by, vote } => {
                if let Some(delay) = self.net.delay(&mut self.random, node, to) {
                    let what = Local::Vote { from: node, number, reply: vote };
                    self.queue.push(self.now + delay, Event::Local { node: to, life: asked_by, what });
                }
            }
            Local::Vote { from, number, reply } => {
                let from = ServerId::new(from);
                let commands = self.with_power(node, |site, held| site.on_vote(held, from, number, reply));
                self.commands(node, commands);
                self.check_power();
            }
            Local::Probe { to, answered } => {
                let to = ServerId::new(to);
                let commands = self.with_power(node, |site, held| site.on_probe(held, to, answered));
                self.commands(node, commands);
            }
            Local::Reply { token, reply } => self.reply(node, token, reply),
            Local::SendReply { to, token, asked_by, reply } => {
                let bytes =
                    if let Ok(Answer::Database(snapshot)) = &reply { snapshot.length() as usize } else { 0 };
                if let Some(delay) = self.net.delay(&mut self.random, node, to) {
                    let what = Local::Reply { token, reply: Some(reply) };
                    let after = delay + self.transfer(bytes);
                    self.queue.push(self.now + after, Event::Local { node: to, life: asked_by, what });
                }
            }
        }
        self.arm(node);
    }

    fn notify(&mut self, node: NodeId, event: PowerEvent) {
        match event {
            PowerEvent::Elected { epoch } => {
                self.statistics.elections += 1;
                self.tell(|| format!("server {node} is elected, epoch {epoch}"));
            }
            PowerEvent::SteppedDown { epoch } => {
                self.tell(|| format!("server {node} steps down, epoch {epoch}"));
            }
            PowerEvent::Follows { host, epoch } => {
                self.tell(|| format!("server {node} promises {host}, epoch {epoch}"));
            }
            _ => {}
        }
        self.with_database(node, |site, held| ((), site.on_event(held, event)));
    }

    fn with_power<R>(&mut self, node: NodeId, act: impl FnOnce(&Site, &mut Held<'_, Nothing>) -> R) -> R {
        self.nodes[node].set_time(self.now);
        let site = self.nodes[node].site.as_ref().expect("the caller checked that the server is up");
        act(site, &mut self.held)
    }

    /// Lets a server do work under its database lock; its effects come when its disk is done. `None` if the machine lost
    /// power in the middle.
    fn with_database<R>(
        &mut self,
        node: NodeId,
        act: impl FnOnce(&Site, &mut Held<'_, Nothing>) -> (R, Vec<Effect>),
    ) -> Option<(R, u64)> {
        let crashes = self.scenario.crash_per_mille > 0 && self.calm.is_none();
        let armed = crashes && self.random.u32(..1000) < self.scenario.crash_per_mille;
        if armed {
            self.nodes[node].store.blow_after(self.random.u32(..10));
        }
        let before = self.nodes[node].store.work_done();
        let (result, effects) = self.with_power(node, act);
        if armed && self.nodes[node].store.disarm() {
            self.crash(node);
            let after = self.random.u64(1_000..self.scenario.profile.promise.as_micros() as u64);
            self.queue.push(self.now + after, Event::Trouble(Trouble::Restart(node)));
            return None;
        }
        let cost = self.disk_time(node, before);
        self.nodes[node].busy_until = self.now + cost;
        self.check_copy(node);
        if cost == 0 {
            self.effects(node, effects);
        } else if !effects.is_empty() {
            self.later(node, cost, Local::Effects(effects));
        }
        Some((result, cost))
    }

    fn disk_time(&mut self, node: NodeId, before: (u64, u64)) -> u64 {
        let after = self.nodes[node].store.work_done();
        let syncs = after.1 - before.1;
        let slow = if self.nodes[node].slow_disk { 100 } else { 1 };
        if syncs == 0 { 0 } else { syncs * self.random.u64(100..4_000) * slow }
    }

    fn beacon(&mut self, to: NodeId, from: NodeId, life: u64, series: u64, number: u64, beacon: &Beacon) {
        if self.nodes[to].site.is_none() {
            return;
        }
        let host = ServerId::new(from);
        let (vote, commands) =
            self.with_power(to, |site, held| site.on_beacon(held, host, (life << 32) | series, beacon));
        self.commands(to, commands);
        let (reply, cost) = match vote {
            Vote::No(_) => (VoteReply::No, 0),
            Vote::Yes { persist: None } => (VoteReply::Yes(beacon.start), 0),
            Vote::Yes { persist: Some(record) } => {
                let before = self.nodes[to].store.work_done();
                if self.with_power(to, |site, _| site.save_promise(record)).is_err() {
                    self.arm(to);
                    return;
                }
                (VoteReply::Yes(beacon.start), self.disk_time(to, before))
            }
        };
        let votes = self.nodes[to].is_voter();
        if let (VoteReply::Yes(_), true) = (reply, votes) {
            let found = self.invariants.promises_kept.yes(self.now, to, from);
            self.check(found);
        }
        self.later(to, cost, Local::SendVote { to: from, number, asked_by: life, vote: reply });
        self.arm(to);
    }

    fn request(&mut self, to: NodeId, from: NodeId, life: u64, token: CallToken, request: Request) {
        if self.nodes[to].site.is_none() {
            return;
        }
        if self.nodes[to].busy_until > self.now {
            let at = self.nodes[to].busy_until;
            self.queue.push(at, Event::Request { to, from, life, token, request });
            return;
        }
        let caller = ServerId::new(from);
        let answered = match request {
            Request::Call(call) => self.with_database(to, |site, held| site.on_call(held, caller, call)),
            Request::Database(version, bytes) => self.receive(to, caller, version, &bytes),
        };
        if let Some((reply, cost)) = answered {
            self.later(to, cost, Local::SendReply { to: from, token, asked_by: life, reply });
            self.arm(to);
        }
    }

    fn receive(
        &mut self,
        to: NodeId,
        caller: ServerId,
        version: Version,
        bytes: &[u8],
    ) -> Option<(Result<Answer, AbortCode>, u64)> {
        self.with_database(to, |site, held| {
            let received = site.database().receive().and_then(|mut received| {
                received.append(bytes)?;
                Ok(received)
            });
            match received {
                Ok(received) => site.on_database(held, caller, version, received),
                Err(_) => (Err(AbortCode::IO), Vec::new()),
            }
        })
    }

    fn reply(&mut self, node: NodeId, token: CallToken, reply: Option<Result<Answer, AbortCode>>) {
        let life = self.nodes[node].life;
        let into = self.fetches.remove(&(node, life, token));
        let reply = match reply {
            None => Err(CallError::Unreachable),
            Some(Err(code)) => Err(CallError::Aborted(code)),
            Some(Ok(Answer::Done)) => Ok(Reply::Done),
            Some(Ok(Answer::Version(version))) => Ok(Reply::Version(version)),
            Some(Ok(Answer::Database(snapshot))) => match into {
                Some(into) => keep(into, &snapshot),
                None => return,
            },
        };
        if let Ok(Reply::Database(version, _)) = &reply {
            self.nodes[node].adopting = Some(*version);
        }
        self.with_database(node, |site, held| ((), site.on_reply(held, token, reply)));
    }

    fn transfer(&self, bytes: usize) -> u64 {
        match self.slow_transfers {
            Some(rate) => bytes as u64 * 1_000_000 / rate,
            None => Net::transfer(bytes),
        }
    }

    fn effects(&mut self, node: NodeId, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Power(command) => self.command(node, command),
                Effect::Call { to, token, call } => self.call(node, to, token, Request::Call(call), 0),
                Effect::Send { to, token, database } => {
                    self.statistics.transfers += 1;
                    let bytes = read_all(&database);
                    let version = database.version();
                    self.tell(|| format!("server {node} sends {to} its database, version {version}"));
                    let after = self.transfer(bytes.len());
                    self.call(node, to, token, Request::Database(version, bytes), after);
                }
                Effect::Fetch { to, token, into } => {
                    self.statistics.transfers += 1;
                    self.tell(|| format!("server {node} fetches the database of {to}"));
                    let life = self.nodes[node].life;
                    self.fetches.insert((node, life, token), into);
                    let length = 100_000;
                    let call = Request::Call(DiskCall::GetFile { file: 0 });
                    let after = self.transfer(length);
                    self.call_within(node, to, token, call, 0, after);
                }
                Effect::Client(client, event) => self.client_event(node, client, event),
            }
        }
    }

    fn call(&mut self, node: NodeId, to: ServerId, token: CallToken, request: Request, transfer: u64) {
        self.call_within(node, to, token, request, transfer, transfer);
    }

    /// A call that takes `outward` to be sent, and is given up when nothing has come for a time-out beyond `allowance`.
    fn call_within(
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
        let timeout = self.scenario.profile.call_timeout.as_micros() as u64;
        self.later(node, timeout + allowance, Local::Reply { token, reply: None });
    }

    fn commands(&mut self, node: NodeId, commands: Vec<Command>) {
        for command in commands {
            self.command(node, command);
        }
    }

    fn command(&mut self, node: NodeId, command: Command) {
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
                let to = to.index();
                if let Some(delay) = self.net.delay(&mut self.random, node, to) {
                    self.queue.push(self.now + delay, Event::Probe { to, from: node, life });
                }
                self.later(node, timeout, Local::Probe { to, answered: false });
            }
            Command::PersistOwnVote(record) => {
                let before = self.nodes[node].store.work_done();
                if self.with_power(node, |site, _| site.save_promise(record)).is_ok() {
                    let cost = self.disk_time(node, before);
                    self.later(node, cost, Local::OwnVotePersisted(record));
                }
            }
            Command::Notify(event) => {
                let after = self.random.u64(..2_000);
                self.later(node, after, Local::Notify(event));
            }
        }
    }

    /// Sets the timers of a server as it wants them.
    fn arm(&mut self, node: NodeId) {
        if self.nodes[node].site.is_none() {
            return;
        }
        let (power, replica) =
            self.with_power(node, |site, held| (site.power_deadline(held), site.replica_deadline(held)));
        let machine = &mut self.nodes[node];
        let at = machine.clocks.real(power.as_micros()).max(self.now);
        if at < machine.power_timer {
            machine.power_timer = at;
            self.later(node, at - self.now, Local::PowerTimer);
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

    // ---- properties

    fn check_power(&mut self) {
        let holders: Vec<NodeId> = (0..self.nodes.len()).filter(|&node| self.holds_mandate(node)).collect();
        let found = self.invariants.one_sync_site.check(&holders);
        self.check(found);
    }

    /// Whether a server holds a mandate now.
    pub fn holds_mandate(&mut self, node: NodeId) -> bool {
        self.nodes[node].site.is_some()
            && self.with_power(node, |site, held| {
                site.with_power(held, |now, power| power.holds_mandate(now.moment))
            })
    }

    /// Looks at what a server's copy is after work on it.
    fn check_copy(&mut self, node: NodeId) {
        self.check_tail(node);
        let visible = self.nodes[node].site.as_ref().and_then(|site| site.database().visible_version());
        if visible != self.nodes[node].visible {
            self.nodes[node].visible = visible;
            if let Some(version) = visible {
                let found = self.invariants.committed_survives.shown(version);
                self.check(found);
            }
        }
    }

    fn check_tail(&mut self, node: NodeId) {
        let Some(site) = &self.nodes[node].site else {
            return;
        };
        let tail = site.database().version();
        let before = std::mem::replace(&mut self.nodes[node].tail, tail);
        let before = self.nodes[node].adopting.take().map_or(before, |adopted| before.max(adopted));
        let found = self.invariants.versions_grow.tail(node, tail);
        self.check(found);
        if tail == before {
            return;
        }
        let bytes =
            self.nodes[node].site.as_ref().map(|site| read_all(&site.database().tail())).unwrap_or_default();
        let found = self.invariants.replicas_equal.holds(node, tail, &bytes);
        self.check(found);
        if !self.invariants.committed_survives.is_known(tail) {
            let found = self.invariants.committed_survives.made(before, tail);
            self.check(found);
        }
    }

    /// At the end: everything was mended long ago, so all servers agree and writes go through.
    fn check_well(&mut self) {
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
        let near = |version: Version| version.epoch == newest.epoch && newest.counter - version.counter <= 1;
        if !versions.iter().all(|&(visible, tail)| near(tail) && visible.is_some_and(near)) {
            self.check(Err(format!("servers still differ at the end: {versions:?}")));
        }
    }

    // ---- clients

    fn client(&mut self, step: ClientStep) {
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

    fn running(&self, client: usize, id: ClientId) -> Option<Transaction> {
        self.clients[client].running.clone().filter(|transaction| transaction.id == id)
    }

    fn begin(&mut self, client: usize) {
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

    fn over(&mut self, client: usize) {
        self.clients[client].running = None;
        let after = self.random.u64(..self.scenario.think.max(1));
        self.queue.push(self.now + after, Event::Client(ClientStep::Begin(client)));
    }

    fn client_event(&mut self, node: NodeId, id: ClientId, event: ClientEvent) {
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

    fn read(&mut self, node: NodeId, transaction: &Transaction, snapshot: &Snapshot) {
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
    fn found(&mut self, transaction: &Transaction, snapshot: &Snapshot) {
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

    // ---- troubles

    fn trouble(&mut self, trouble: Trouble) {
        if !matches!(trouble, Trouble::Restart(_)) {
            self.tell(|| format!("{trouble:?}"));
        }
        match trouble {
            Trouble::Crash(node) => self.crash(node),
            Trouble::Restart(node) => {
                if self.nodes[node].site.is_none() {
                    self.start(node);
                }
            }
            Trouble::RestartEmpty(node) => {
                if self.nodes[node].site.is_none() {
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
            Trouble::Drift(node, rate) => {
                self.nodes[node].clocks.set_rate(self.now, rate);
                self.nodes[node].power_timer = u64::MAX;
                self.nodes[node].replica_timer = u64::MAX;
                self.arm(node);
            }
            Trouble::SetWall(node, error) => self.nodes[node].clocks.wall_error = error,
            Trouble::SlowDisk(node, slow) => self.nodes[node].slow_disk = slow,
            Trouble::FullDisk(node, full) => self.nodes[node].store.set_full(full),
            Trouble::Calm => self.mend(),
        }
    }

    fn mend(&mut self) {
        self.calm = Some(self.now);
        self.net.heal();
        for node in 0..self.nodes.len() {
            self.nodes[node].slow_disk = false;
            self.nodes[node].store.set_full(false);
            // A server whose commit broke half way says so and is restarted, as an operator would.
            let broken = self.nodes[node].site.as_ref().is_some_and(|site| site.database().is_broken());
            if broken {
                self.crash(node);
            }
            if self.nodes[node].site.is_none() {
                self.start(node);
            }
        }
    }
}

fn pairs(count: usize) -> impl Iterator<Item = (NodeId, NodeId)> {
    (0..count).flat_map(move |one| (0..count).map(move |other| (one, other)))
}

fn read_all(snapshot: &Snapshot) -> Vec<u8> {
    let mut bytes = vec![0; snapshot.length() as usize];
    snapshot.read(0, &mut bytes).expect("reads of a store that is up succeed");
    bytes
}

fn keep(mut into: Box<dyn Replacement>, snapshot: &Snapshot) -> Result<Reply, CallError> {
    match into.append(&read_all(snapshot)) {
        Ok(()) => Ok(Reply::Database(snapshot.version(), into)),
        Err(error) => Err(CallError::Local(error)),
    }
}
