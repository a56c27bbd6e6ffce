//! The endpoint: all connections of one UDP port, as client and as server.
//!
//! Inputs: [`Endpoint::handle_datagram`], [`Endpoint::handle_timeout`], and what the application does with calls.
//! After any of them, in this order: [`Endpoint::poll_transmit`] until it is empty, [`Endpoint::poll_event`] until
//! it is empty, then [`Endpoint::poll_timeout`] for the time of the next `handle_timeout`.
//!
//! Memory is bounded: packets of unknown senders make a connection only while there are fewer than the limits of
//! [`EndpointConfig`], each holds at most a window of packets a channel, and everything unproven together holds at
//! most `max_unverified_bytes`.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::call::Side;
use crate::codes::AbortCode;
use crate::config::{EndpointConfig, Timeouts};
use crate::connection::{Connection, Context};
use crate::debug::{self, Basic, ConnectionReport, Counters, PeerReport, Question};
use crate::packet::{self, Body, Header, Packet, PacketType, flags};
use crate::peer::Peer;
use crate::security::{ConnectionIdentity, Identity, Random, SecurityClass, SecurityIndex};
use crate::table::{Key, Table};
use crate::time::Time;

/// A service on a port; requests name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceId(pub u16);

/// Names a connection of an endpoint; finds nothing once that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionRef {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// Names a call of an endpoint; finds nothing once the application has ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallRef {
    pub(crate) connection: ConnectionRef,
    pub(crate) channel: u8,
    pub(crate) number: u32,
}

impl CallRef {
    /// The connection it is on.
    pub fn connection(&self) -> ConnectionRef {
        self.connection
    }
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A peer calls; the application now has the call and must end it.
    IncomingCall {
        /// The call.
        call: CallRef,
        /// The service it asks for.
        service: ServiceId,
    },
    /// A read or write that had to wait may succeed now, or the call has failed.
    Progress(CallRef),
    /// A connection whose channels were all busy has a free one.
    ChannelFree(ConnectionRef),
}

/// Datagrams to send: one, or several of equal size (the last may be shorter) one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub to: SocketAddr,
    /// The address of ours to send from, if the peer knows us by a certain one.
    pub from: Option<IpAddr>,
    /// The datagrams.
    pub bytes: Vec<u8>,
    /// Length of each but the last.
    pub segment: usize,
}

impl Transmit {
    /// Adds a datagram if it fits after the others.
    fn append(&mut self, datagram: &[u8]) -> bool {
        let is_whole = self.bytes.len().is_multiple_of(self.segment);
        let fits = self.bytes.len() + datagram.len() <= MAX_BATCH_BYTES
            && self.bytes.len() / self.segment < MAX_BATCH_DATAGRAMS;
        let appended = is_whole && fits && datagram.len() <= self.segment;
        if appended {
            self.bytes.extend_from_slice(datagram);
        }
        appended
    }
}

/// Datagrams of one connection that are sent in one go: enough to make a system call cheap, few enough that other
/// connections get their turn.
const MAX_BATCH_DATAGRAMS: usize = 32;
/// And their bytes, which must fit a UDP datagram before the kernel cuts them apart.
const MAX_BATCH_BYTES: usize = 60_000;
/// How often connections are looked at for having been idle.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// First serials of connections that peers open are below this: a peer that acks one has received it.
const FIRST_SERIAL_MASK: u32 = 0xf_ffff;

/// What a read gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// So many bytes.
    Bytes(usize),
    /// Nothing yet; [`Event::Progress`] will tell.
    Blocked,
    /// The peer's direction has ended.
    End,
}

/// What the driver tells of its threads, for `rxdebug`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ThreadReport {
    /// Threads that wait for a call.
    pub idle: u32,
    /// Calls that wait for a thread.
    pub waiting: u32,
    /// Calls that ever had to.
    pub waited: u32,
}

/// Why a connection was not opened or a call not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
    /// The connection has failed.
    #[error("the connection has failed: {0}")]
    Failed(AbortCode),
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The address that the call came from.
    pub address: SocketAddr,
    /// The address of ours that it came to, if the driver knows.
    pub local: Option<IpAddr>,
    /// The security class.
    pub security: SecurityIndex,
    /// Who it has proven to be.
    pub identity: Option<Arc<Identity>>,
    /// Which channel of which connection the call is on: of two calls with the same number here, the caller had the
    /// first answered, or gave it up, before it made the second.
    pub channel: u64,
}

/// See the module.
pub struct Endpoint {
    config: EndpointConfig,
    random: Box<dyn Random>,
    epoch: u32,
    next_connection_id: u32,
    table: Table,
    peers: HashMap<SocketAddr, Peer>,
    services: HashMap<ServiceId, Vec<Arc<dyn SecurityClass>>>,
    events: VecDeque<Event>,
    /// Connections that may have something to send.
    queue: VecDeque<ConnectionRef>,
    /// Answers that belong to no connection.
    direct: VecDeque<Transmit>,
    /// A datagram that did not fit after those before it.
    carry: Option<Transmit>,
    timers: BinaryHeap<Reverse<(Time, u32, u32)>>,
    next_sweep: Time,
    /// Unproven server connections, oldest first; may name some that are proven or gone by now.
    unverified: VecDeque<ConnectionRef>,
    unverified_bytes: usize,
    server_connections: usize,
    counters: Counters,
    threads: ThreadReport,
    unix_offset: i64,
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
            events: VecDeque::new(),
            queue: VecDeque::new(),
            direct: VecDeque::new(),
            carry: None,
            timers: BinaryHeap::new(),
            next_sweep: Time::ZERO,
            unverified: VecDeque::new(),
            unverified_bytes: 0,
            server_connections: 0,
            counters: Counters::default(),
            threads: ThreadReport::default(),
            unix_offset: 0,
        }
    }

    // ---- settings ------------------------------------------------------------------------------------------

    /// Offers a service under these security classes.
    pub fn add_service(&mut self, service: ServiceId, security: Vec<Arc<dyn SecurityClass>>) {
        self.services.insert(service, security);
    }

    /// Tells the time of day, in seconds of Unix time; tickets are judged by it.
    pub fn set_unix_time(&mut self, now: Time, unix_time: u64) {
        self.unix_offset = unix_time as i64 - now.since_origin().as_secs() as i64;
    }

    /// What to answer to `rxdebug` about threads.
    pub fn set_thread_report(&mut self, threads: ThreadReport) {
        self.threads = threads;
    }

    // ---- what the application does -------------------------------------------------------------------------

    /// Opens a connection to a service. Nothing is sent before the first call.
    pub fn connect(
        &mut self,
        now: Time,
        peer: SocketAddr,
        service: ServiceId,
        security: &dyn SecurityClass,
        timeouts: Timeouts,
    ) -> ConnectionRef {
        let identity = self.fresh_identity(security.index());
        let state = security.connection(identity);
        self.peer_mut(peer).connections += 1;
        let key = Key::new(
            identity.epoch,
            identity.connection_id,
            identity.security_index.0,
            Side::Client,
            peer,
        );
        self.table.insert(key, |me| {
            Connection::new(me, identity, Side::Client, service, peer, state, timeouts, 0, now)
        })
    }

    fn fresh_identity(&mut self, security_index: SecurityIndex) -> ConnectionIdentity {
        let connection_id = self.next_connection_id;
        self.next_connection_id = connection_id.wrapping_add(4);
        ConnectionIdentity {
            epoch: self.epoch,
            connection_id,
            security_index,
        }
    }

    /// Closes a connection; calls on it fail.
    pub fn close(&mut self, now: Time, at: ConnectionRef) {
        self.with(now, at, |connection, context| {
            if connection.is_in_use() {
                connection.fail(AbortCode::USER_ABORT, true);
            }
            connection.closing = true;
            connection.settle(context);
        });
    }

    /// Changes the time-outs of calls that start from now on.
    pub fn set_timeouts(&mut self, at: ConnectionRef, timeouts: Timeouts) {
        if let Some(connection) = self.table.get_mut(at) {
            connection.timeouts = timeouts;
        }
    }

    /// Starts a call; `None` while all four channels are busy ([`Event::ChannelFree`] tells when not).
    ///
    /// # Errors
    /// The connection is closed or has failed.
    pub fn start_call(&mut self, now: Time, at: ConnectionRef) -> Result<Option<CallRef>, StartError> {
        let result = self.with(now, at, |connection, context| {
            if let Some(code) = connection.error {
                return Err(StartError::Failed(code));
            }
            if connection.closing {
                return Err(StartError::Closed);
            }
            let call = connection.start_call(context);
            connection.waits_for_channel |= call.is_none();
            Ok(call)
        });
        result.unwrap_or(Err(StartError::Closed))
    }

    /// Writes to a call; returns how many bytes were taken. 0 means: wait for [`Event::Progress`].
    ///
    /// # Errors
    /// The call has failed, with this code.
    pub fn write(&mut self, now: Time, call: CallRef, bytes: &[u8]) -> Result<usize, AbortCode> {
        let result = self.with(now, call.connection, |connection, context| {
            connection.write(call, bytes, context)
        });
        result.unwrap_or(Err(AbortCode::INVALID_OPERATION))
    }

    /// Ends our direction of a call: the peer reads the end.
    ///
    /// # Errors
    /// The call has failed, with this code.
    pub fn finish(&mut self, now: Time, call: CallRef) -> Result<(), AbortCode> {
        let result = self.with(now, call.connection, |connection, _| connection.finish(call));
        result.unwrap_or(Err(AbortCode::INVALID_OPERATION))
    }

    /// Reads from a call.
    ///
    /// # Errors
    /// The call has failed, with this code; for a client this is also how a server says no.
    pub fn read(&mut self, now: Time, at: CallRef, out: &mut [u8]) -> Result<Read, AbortCode> {
        let result = self.with(now, at.connection, |connection, _| {
            let Some(call) = connection.call(at.channel, at.number) else {
                return Err(AbortCode::INVALID_OPERATION);
            };
            let count = call.receive.read(out);
            if count > 0 {
                call.on_read(now);
                return Ok(Read::Bytes(count));
            }
            match call.failure {
                Some(code) => Err(code),
                None if call.receive.is_at_end() => Ok(Read::End),
                None => {
                    call.reader_waits = !out.is_empty();
                    Ok(Read::Blocked)
                }
            }
        });
        result.unwrap_or(Err(AbortCode::INVALID_OPERATION))
    }

    /// The application is done with a call. With a code, or when it is not complete, it is aborted; a complete reply
    /// goes out, a complete one that was read is acked.
    pub fn end_call(&mut self, now: Time, call: CallRef, code: Option<AbortCode>) {
        self.with(now, call.connection, |connection, context| {
            connection.end_call(call, code, context)
        });
    }

    /// Who is at the other end of a call.
    pub fn caller(&self, call: CallRef) -> Option<Caller> {
        let connection = self.table.get(call.connection)?;
        Some(Caller {
            address: connection.peer,
            local: connection.local,
            security: connection.identity.security_index,
            identity: connection.security.identity(),
            channel: (u64::from(connection.identity.epoch) << 32)
                | u64::from(connection.identity.connection_id | u32::from(call.channel)),
        })
    }

    // ---- datagrams in --------------------------------------------------------------------------------------

    /// A datagram came from `from`, to our address `local` if that is known.
    pub fn handle_datagram(&mut self, now: Time, from: SocketAddr, local: Option<IpAddr>, datagram: &[u8]) {
        let mut target = None;
        for (part, packet) in packet::parse(datagram).enumerate() {
            let Ok(packet) = packet else {
                self.counters.bogus_packets = self.counters.bogus_packets.wrapping_add(1);
                if let IpAddr::V4(address) = from.ip() {
                    self.counters.bogus_host = address.into();
                }
                break;
            };
            self.counters.count_read(packet.header.packet_type);
            if part == 0 {
                target = self.find_or_accept(now, from, local, datagram.len(), &packet);
            }
            let Some(at) = target else { break };
            let Packet { header, body } = packet;
            self.with(now, at, |connection, context| {
                connection.handle(&header, body, context)
            });
        }
    }

    /// The connection that a packet belongs to, a new one if it may begin one; answers what belongs to none.
    fn find_or_accept(
        &mut self,
        now: Time,
        from: SocketAddr,
        local: Option<IpAddr>,
        length: usize,
        packet: &Packet<'_>,
    ) -> Option<ConnectionRef> {
        if let Body::Debug(_) | Body::Version(_) | Body::Ignored(_) = packet.body {
            self.answer_question(from, local, packet);
            return None;
        }
        let at = match self.table.find(&Key::of(&packet.header, from)) {
            Some(at) => self
                .table
                .get(at)
                .filter(|connection| connection.peer.port() == from.port())
                .map(|_| at),
            None => self.accept(now, from, local, packet),
        }?;
        let peer = self.table.get(at)?.peer;
        self.peer_mut(peer).count_received(length);
        Some(at)
    }

    /// A packet of a connection that we do not know: the first data of a call may open it.
    fn accept(
        &mut self,
        now: Time,
        from: SocketAddr,
        local: Option<IpAddr>,
        packet: &Packet<'_>,
    ) -> Option<ConnectionRef> {
        let header = &packet.header;
        let opens = matches!(packet.body, Body::Data(_))
            && header.client_initiated()
            && header.call_number != 0
            && (1..=crate::config::MAX_FIRST_SEQ).contains(&header.seq);
        if !opens {
            self.counters.spurious_read = self.counters.spurious_read.wrapping_add(1);
            return None;
        }
        let service = ServiceId(header.service_id);
        let index = SecurityIndex(header.security_index);
        let classes = self.services.get(&service).map_or(&[][..], |classes| classes);
        let Some(class) = classes.iter().find(|class| class.index() == index).cloned() else {
            self.refuse(from, local, header);
            return None;
        };
        if !self.make_room() {
            self.counters.overload_drops = self.counters.overload_drops.wrapping_add(1);
            return None;
        }
        let identity = ConnectionIdentity {
            epoch: header.epoch,
            connection_id: header.connection_id(),
            security_index: index,
        };
        let state = class.connection(identity);
        let timeouts = self.config.server_timeouts;
        let first_serial = self.random.word() & FIRST_SERIAL_MASK;
        self.peer_mut(from).connections += 1;
        self.server_connections += 1;
        let at = self.table.insert(Key::of(header, from), |me| {
            Connection::new(
                me,
                identity,
                Side::Server,
                service,
                from,
                state,
                timeouts,
                first_serial,
                now,
            )
        });
        self.table.get_mut(at)?.local = local;
        self.unverified.push_back(at);
        Some(at)
    }

    /// No such service or security class: says so, without keeping anything.
    fn refuse(&mut self, from: SocketAddr, local: Option<IpAddr>, header: &Header) {
        let reply = Header {
            seq: 0,
            serial: 0,
            packet_type: PacketType::Abort as u8,
            flags: header.flags & flags::CLIENT_INITIATED ^ flags::CLIENT_INITIATED,
            checksum: 0,
            call_number: 0,
            ..*header
        };
        let bytes = [&reply.encode()[..], &AbortCode::INVALID_OPERATION.0.to_be_bytes()].concat();
        self.counters.count_sent(PacketType::Abort as u8);
        self.send_direct(from, local, bytes);
    }

    /// Sees to it that one more unproven connection may be there. The oldest that is idle gives way.
    fn make_room(&mut self) -> bool {
        let Endpoint { table, peers, .. } = self;
        self.unverified.retain(|at| {
            let Some(connection) = table.get(*at) else {
                return false;
            };
            let proven = peers.get(&connection.peer).is_some_and(Peer::is_verified);
            !(proven && connection.security.is_authenticated())
        });
        let full = self.server_connections >= self.config.max_server_connections;
        if self.unverified.len() < self.config.max_unverified && !full {
            return true;
        }
        let idle = |at: &ConnectionRef| {
            self.table
                .get(*at)
                .is_some_and(|connection| !connection.is_in_use())
        };
        let Some(oldest) = self.unverified.iter().position(idle) else {
            return false;
        };
        let at = self
            .unverified
            .remove(oldest)
            .expect("its position was just found");
        self.remove(at);
        true
    }

    fn answer_question(&mut self, from: SocketAddr, local: Option<IpAddr>, packet: &Packet<'_>) {
        // Answers must not be answered, or two endpoints could keep each other busy for ever.
        if !packet.header.client_initiated() {
            return;
        }
        let body = match packet.body {
            Body::Version(_) => {
                let mut text = self.config.version.as_bytes().to_vec();
                text.resize(65, 0);
                text[64] = 0;
                text
            }
            Body::Debug(question) => self.debug_answer(question),
            _ => return,
        };
        let header = Header {
            flags: packet.header.flags & !flags::CLIENT_INITIATED,
            ..packet.header
        };
        self.counters.count_sent(header.packet_type);
        self.send_direct(from, local, [&header.encode()[..], &body].concat());
    }

    fn debug_answer(&self, question: &[u8]) -> Vec<u8> {
        match Question::decode(question) {
            Err(kind) => debug::bad_question(kind),
            Ok(Question::Basic) => self.basic().encode(),
            Ok(Question::Counters) => self.counters().encode(),
            Ok(Question::Connection(index)) => self.connection_answer(index, |_| true),
            Ok(Question::BusyConnection(index)) => {
                self.connection_answer(index, |connection| connection.is_active())
            }
            Ok(Question::Peer(index)) => {
                let peer = self.peers.iter().nth(index as usize);
                peer.map_or_else(PeerReport::end, |(address, peer)| {
                    peer_report(*address, peer).encode()
                })
            }
        }
    }

    fn connection_answer(&self, index: u32, wanted: impl Fn(&Connection) -> bool) -> Vec<u8> {
        let found = self
            .table
            .iter()
            .filter(|connection| wanted(connection))
            .nth(index as usize);
        found.map_or_else(ConnectionReport::end, |connection| {
            match self.peers.get(&connection.peer) {
                Some(peer) => connection.report(peer).encode(),
                None => ConnectionReport::end(),
            }
        })
    }

    fn send_direct(&mut self, to: SocketAddr, from: Option<IpAddr>, bytes: Vec<u8>) {
        let segment = bytes.len();
        self.direct.push_back(Transmit {
            to,
            from,
            bytes,
            segment,
        });
    }

    // ---- time ----------------------------------------------------------------------------------------------

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
            let Some(connection) = self
                .table
                .get_mut(reference)
                .filter(|connection| connection.timer == Some(at))
            else {
                continue;
            };
            connection.timer = None;
            self.with(now, reference, |connection, context| {
                connection.on_timeout(context)
            });
        }
        if self.next_sweep <= now {
            self.next_sweep = now + SWEEP_INTERVAL;
            self.sweep(now);
        }
    }

    /// Forgets connections that peers opened and left.
    fn sweep(&mut self, now: Time) {
        let limit = self.config.idle_connection;
        let idle = |connection: &&Connection| {
            connection.side == Side::Server && !connection.is_in_use() && connection.silence(now) >= limit
        };
        let idle: Vec<_> = self
            .table
            .iter()
            .filter(idle)
            .map(|connection| connection.me)
            .collect();
        for at in idle {
            self.remove(at);
        }
    }

    // ---- out -----------------------------------------------------------------------------------------------

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
            let appended = batch
                .as_mut()
                .is_some_and(|batch| batch.to == connection.peer && batch.append(&datagram));
            if appended {
                continue;
            }
            let segment = datagram.len();
            let bytes = std::mem::take(&mut datagram);
            let next = Transmit {
                to: connection.peer,
                from: connection.local,
                bytes,
                segment,
            };
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
    fn next_datagram(&mut self, now: Time, at: ConnectionRef, out: &mut Vec<u8>) -> bool {
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

    // ---- looking -------------------------------------------------------------------------------------------

    /// Basic figures.
    pub fn basic(&self) -> Basic {
        let room = (self.config.max_server_connections
            - self.server_connections.min(self.config.max_server_connections)) as u32;
        Basic {
            free_packets: room,
            calls_executed: self.counters.calls_executed,
            waiting_calls: self.threads.waiting,
            idle_threads: self.threads.idle,
            waited_calls: self.threads.waited,
            packets: self.config.max_server_connections as u32,
            ..Basic::default()
        }
    }

    /// What was counted so far, and how much is there now.
    pub fn counters(&self) -> Counters {
        Counters {
            server_connections: self.server_connections as u32,
            client_connections: (self.table.len() - self.server_connections.min(self.table.len())) as u32,
            peers: self.peers.len() as u32,
            calls: self.table.iter().map(Connection::call_count).sum::<usize>() as u32,
            ..self.counters.clone()
        }
    }

    /// Bytes held for peers that have proven nothing; at most `max_unverified_bytes`.
    pub fn unverified_bytes(&self) -> usize {
        self.unverified_bytes
    }

    // ---- inside --------------------------------------------------------------------------------------------

    fn peer_mut(&mut self, address: SocketAddr) -> &mut Peer {
        self.peers
            .entry(address)
            .or_insert_with(|| Peer::new(self.config.max_packet_size))
    }

    /// A connection and what it works with.
    fn parts(&mut self, now: Time, at: ConnectionRef) -> Option<(&mut Connection, Context<'_>)> {
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
        };
        Some((connection, context))
    }

    /// Lets a connection work, then tells the application what changed and queues it for sending.
    fn with<T>(
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
        Some(result)
    }

    fn set_timer(&mut self, at: ConnectionRef) {
        let Endpoint {
            table, peers, timers, ..
        } = self;
        let Some(connection) = table.get_mut(at) else {
            return;
        };
        let Some(deadline) = peers
            .get(&connection.peer)
            .and_then(|peer| connection.deadline(peer))
        else {
            return;
        };
        if connection.timer.is_none_or(|set| deadline < set) {
            connection.timer = Some(deadline);
            timers.push(Reverse((deadline, at.index, at.generation)));
        }
    }

    fn remove(&mut self, at: ConnectionRef) {
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

fn peer_report(address: SocketAddr, peer: &Peer) -> PeerReport {
    let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    PeerReport {
        address,
        connections: u16::try_from(peer.connections).unwrap_or(u16::MAX),
        round_trip_ms: [
            peer.round_trip.smoothed().map_or(0, ms),
            ms(peer.round_trip.deviation()),
        ],
        packets: [peer.packets_sent, peer.packets_resent],
        mtu: peer.packet_size,
        congestion_window: peer.congestion_window as u16,
        bytes: [peer.bytes_sent, peer.bytes_received],
        timeout_us: peer.round_trip.timeout().as_micros() as u64,
    }
}
