//! The endpoint: all connections of one UDP port, as client and as server.
//!
//! Inputs: [`Endpoint::handle_datagram`], [`Endpoint::handle_timeout`], and what the application does with calls.
//! After any of them, in this order: [`Endpoint::poll_transmit`] until it is empty, [`Endpoint::poll_event`] until
//! it is empty, then [`Endpoint::poll_timeout`] for the time of the next `handle_timeout`.
//!
//! Memory is bounded, whoever calls (`docs/rx-wire.md`, Shares): strangers have at most `max_strangers` connections, the calls
//! of each share are limited in number and in packets, and everything unproven together holds at most
//! `max_unverified_bytes`.

mod application;
mod inbound;
mod questions;
mod shares;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::admission::{Gate, Shares};
use crate::call::Side;
use crate::config::EndpointConfig;
use crate::connection::{Connection, Context};
use crate::debug::Counters;
use crate::packet::Header;
use crate::peer::Peer;
use crate::security::{Random, SecurityClass};
use crate::table::Table;
use crate::time::Time;

use crate::names::{ConnectionRef, Event, ServiceId, ThreadReport, Transmit};

/// How often connections are looked at for having been idle.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// First serials of connections that peers open are below this: a peer that acks one has received it.
const FIRST_SERIAL_MASK: u32 = 0xf_ffff;

/// See the module.
pub struct Endpoint {
    config: EndpointConfig,
    random: Box<dyn Random>,
    epoch: u32,
    next_connection_id: u32,
    table: Table,
    peers: HashMap<SocketAddr, Peer>,
    services: HashMap<ServiceId, Vec<Arc<dyn SecurityClass>>>,
    gates: HashMap<ServiceId, Arc<dyn Gate>>,
    shares: Shares,
    events: VecDeque<Event>,
    /// Connections that may have something to send.
    queue: VecDeque<ConnectionRef>,
    /// Answers that belong to no connection.
    direct: VecDeque<Transmit>,
    /// A datagram that did not fit after those before it.
    carry: Option<Transmit>,
    timers: BinaryHeap<Reverse<(Time, u32, u32)>>,
    next_sweep: Time,
    /// Connections of strangers, and of peers that have proven nothing, oldest first; may name some that are members' or gone
    /// by now.
    strangers: VecDeque<ConnectionRef>,
    unverified_bytes: usize,
    server_connections: usize,
    counters: Counters,
    threads: ThreadReport,
    unix_offset: i64,
    /// Answers to questions since then.
    answers_from: Time,
    answers: u32,
}

impl Endpoint {
    /// An endpoint without connections. `random` must not be foreseeable: epoch, connection ids and challenges
    /// come from it.
    pub fn new(mut config: EndpointConfig, mut random: Box<dyn Random>) -> Self {
        config.receive_window = config.receive_window.max(1);
        config.max_packet_size = config.max_packet_size.max(crate::config::MIN_PACKET_SIZE);
        let epoch = (random.word() | 0x8000_0000) & !0x4000_0000;
        let next_connection_id = random.word() & !Header::CHANNEL_MASK;
        Endpoint {
            config,
            random,
            epoch,
            next_connection_id,
            table: Table::default(),
            peers: HashMap::new(),
            services: HashMap::new(),
            gates: HashMap::new(),
            shares: Shares::default(),
            events: VecDeque::new(),
            queue: VecDeque::new(),
            direct: VecDeque::new(),
            carry: None,
            timers: BinaryHeap::new(),
            next_sweep: Time::ZERO,
            strangers: VecDeque::new(),
            unverified_bytes: 0,
            server_connections: 0,
            counters: Counters::default(),
            threads: ThreadReport::default(),
            unix_offset: 0,
            answers_from: Time::ZERO,
            answers: 0,
        }
    }

    /// Offers a service under these security classes; `gate` decides on each call.
    pub fn add_service(
        &mut self,
        service: ServiceId,
        security: Vec<Arc<dyn SecurityClass>>,
        gate: Arc<dyn Gate>,
    ) {
        self.services.insert(service, security);
        self.gates.insert(service, gate);
    }

    /// Tells the time of day, in seconds of Unix time; tickets are judged by it.
    pub fn set_unix_time(&mut self, now: Time, unix_time: u64) {
        self.unix_offset = unix_time as i64 - now.since_origin().as_secs() as i64;
    }

    /// What to answer to `rxdebug` about threads.
    pub fn set_thread_report(&mut self, threads: ThreadReport) {
        self.threads = threads;
    }

    /// When to call [`Self::handle_timeout`] if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Time> {
        let timer = self.timers.peek().map(|Reverse((at, _, _))| *at);
        let sweep = (self.table.len() > 0).then_some(self.next_sweep);
        match (timer, sweep) {
            (Some(timer), Some(sweep)) => Some(timer.min(sweep)),
            (one, other) => one.or(other),
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(Reverse((at, index, generation))) =
            self.timers.peek().copied().filter(|timer| timer.0.0 <= now)
        {
            self.timers.pop();
            let reference = ConnectionRef { index, generation };
            let Some(connection) =
                self.table.get_mut(reference).filter(|connection| connection.timer == Some(at))
            else {
                continue;
            };
            connection.timer = None;
            self.with(now, reference, |connection, context| connection.on_timeout(context));
        }
        if self.next_sweep <= now {
            self.next_sweep = now + SWEEP_INTERVAL;
            self.sweep(now);
        }
    }

    /// Forgets connections that peers opened and left.
    pub(super) fn sweep(&mut self, now: Time) {
        let limit = self.config.idle_connection;
        let idle = |connection: &&Connection| {
            connection.side == Side::Server && !connection.is_in_use() && connection.silence(now) >= limit
        };
        let idle: Vec<_> = self.table.iter().filter(idle).map(|connection| connection.me).collect();
        for at in idle {
            self.remove(at);
        }
    }

    /// What has happened, in order.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Datagrams to send now, in order.
    pub fn poll_transmit(&mut self, now: Time) -> Option<Transmit> {
        if let Some(direct) = self.direct.pop_front() {
            return Some(direct);
        }
        let mut batch = self.carry.take();
        let mut datagram = Vec::new();
        while let Some(at) = self.queue.front().copied() {
            if !self.next_datagram(now, at, &mut datagram) {
                self.queue.pop_front();
                if batch.is_some() {
                    break;
                }
                continue;
            }
            let Some(connection) = self.table.get(at) else {
                continue;
            };
            let appended =
                batch.as_mut().is_some_and(|batch| batch.to == connection.peer && batch.append(&datagram));
            if appended {
                continue;
            }
            let segment = datagram.len();
            let bytes = std::mem::take(&mut datagram);
            let next = Transmit { to: connection.peer, from: connection.local, bytes, segment };
            if let Some(full) = batch.replace(next) {
                self.carry = batch;
                // The next connection's turn.
                self.queue.rotate_left(1);
                return Some(full);
            }
        }
        batch
    }

    /// The next datagram of a connection; when it has no more, what remains to be done about it is done.
    pub(super) fn next_datagram(&mut self, now: Time, at: ConnectionRef, out: &mut Vec<u8>) -> bool {
        let Some((connection, mut context)) = self.parts(now, at) else {
            return false;
        };
        if connection.next_datagram(out, &mut context) {
            return true;
        }
        connection.is_queued = false;
        connection.settle(&mut context);
        let gone = connection.closing && !connection.is_active();
        if gone {
            self.remove(at)
        } else {
            self.set_timer(at)
        }
        false
    }

    pub(super) fn peer_mut(&mut self, address: SocketAddr) -> &mut Peer {
        self.peers.entry(address).or_insert_with(|| Peer::new(self.config.max_packet_size))
    }

    /// A connection and what it works with.
    pub(super) fn parts(&mut self, now: Time, at: ConnectionRef) -> Option<(&mut Connection, Context<'_>)> {
        let connection = self.table.get_mut(at)?;
        let peer = self.peers.get_mut(&connection.peer)?;
        let unix_time = now.since_origin().as_secs() as i64 + self.unix_offset;
        let context = Context {
            now,
            unix_time: unix_time.clamp(0, i64::from(u32::MAX)) as u32,
            config: &self.config,
            counters: &mut self.counters,
            peer,
            events: &mut self.events,
            random: &mut *self.random,
            unverified_bytes: &mut self.unverified_bytes,
            shares: &mut self.shares,
            gates: &self.gates,
        };
        Some((connection, context))
    }

    /// Lets a connection work, then tells the application what changed and queues it for sending.
    pub(super) fn with<T>(
        &mut self,
        now: Time,
        at: ConnectionRef,
        work: impl FnOnce(&mut Connection, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let (connection, mut context) = self.parts(now, at)?;
        let result = work(connection, &mut context);
        connection.settle(&mut context);
        if !std::mem::replace(&mut connection.is_queued, true) {
            self.queue.push_back(at);
        }
        self.make_calls_give_way(now);
        Some(result)
    }

    pub(super) fn set_timer(&mut self, at: ConnectionRef) {
        let Endpoint { table, peers, timers, .. } = self;
        let Some(connection) = table.get_mut(at) else {
            return;
        };
        let Some(deadline) = peers.get(&connection.peer).and_then(|peer| connection.deadline(peer)) else {
            return;
        };
        if connection.timer.is_none_or(|set| deadline < set) {
            connection.timer = Some(deadline);
            timers.push(Reverse((deadline, at.index, at.generation)));
        }
        // Connections that are gone, or look earlier by now, leave timers behind.
        if timers.len() > 2 * table.len() + 1024 {
            let is_set = |timer: &Reverse<(Time, u32, u32)>| {
                let Reverse((at, index, generation)) = *timer;
                let connection = table.get(ConnectionRef { index, generation });
                connection.is_some_and(|connection| connection.timer == Some(at))
            };
            *timers = std::mem::take(timers).into_iter().filter(is_set).collect();
        }
    }

    pub(super) fn remove(&mut self, at: ConnectionRef) {
        let Some((connection, mut context)) = self.parts(Time::ZERO, at) else {
            return;
        };
        connection.release(&mut context);
        let Some(connection) = self.table.remove(at) else {
            return;
        };
        if connection.side == Side::Server {
            self.server_connections -= 1;
        }
        if let Some(peer) = self.peers.get_mut(&connection.peer) {
            peer.connections -= 1;
            if peer.connections == 0 {
                self.peers.remove(&connection.peer);
            }
        }
    }
}
