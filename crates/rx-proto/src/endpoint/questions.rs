//! Answers to `rxdebug` and to questions for the version: they belong to no connection and keep nothing.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::Endpoint;
use crate::connection::Connection;
use crate::debug::{self, Basic, ConnectionReport, Counters, PeerReport, Question};
use crate::names::Transmit;
use crate::packet::{Body, Header, Packet, flags};
use crate::peer::Peer;
use crate::time::Time;

/// So many questions for version or debugging are answered ...
const ANSWERS_IN_PERIOD: u32 = 1000;
/// ... in so long a time.
const ANSWER_PERIOD: Duration = Duration::from_secs(1);

impl Endpoint {
    pub(super) fn answer_question(
        &mut self,
        now: Time,
        from: SocketAddr,
        local: Option<IpAddr>,
        packet: &Packet<'_>,
    ) {
        // Answers must not be answered, or two endpoints could keep each other busy forever.
        if !packet.header.client_initiated() {
            return;
        }
        if !self.take_answer_token(now) {
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
        let header = Header { flags: packet.header.flags & !flags::CLIENT_INITIATED, ..packet.header };
        self.counters.count_sent(header.packet_type);
        self.send_direct(from, local, [&header.encode()[..], &body].concat());
    }

    /// Answers are larger than questions and go to addresses that have proven nothing: their number is limited.
    fn take_answer_token(&mut self, now: Time) -> bool {
        let since = now - self.answers_from;
        if since >= ANSWER_PERIOD {
            self.answers_from = now;
            self.answers = 0;
        }
        self.answers += 1;
        self.answers <= ANSWERS_IN_PERIOD
    }

    pub(super) fn debug_answer(&self, question: &[u8]) -> Vec<u8> {
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
                peer.map_or_else(PeerReport::end, |(address, peer)| peer_report(*address, peer).encode())
            }
        }
    }

    pub(super) fn connection_answer(&self, index: u32, wanted: impl Fn(&Connection) -> bool) -> Vec<u8> {
        let found = self.table.iter().filter(|connection| wanted(connection)).nth(index as usize);
        found.map_or_else(ConnectionReport::end, |connection| match self.peers.get(&connection.peer) {
            Some(peer) => connection.report(peer).encode(),
            None => ConnectionReport::end(),
        })
    }

    pub(super) fn send_direct(&mut self, to: SocketAddr, from: Option<IpAddr>, bytes: Vec<u8>) {
        let segment = bytes.len();
        self.direct.push_back(Transmit { to, from, bytes, segment });
    }

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
}

fn peer_report(address: SocketAddr, peer: &Peer) -> PeerReport {
    let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    PeerReport {
        address,
        connections: u16::try_from(peer.connections).unwrap_or(u16::MAX),
        round_trip_ms: [peer.round_trip.smoothed().map_or(0, ms), ms(peer.round_trip.deviation())],
        packets: [peer.packets_sent, peer.packets_resent],
        mtu: peer.packet_size,
        congestion_window: peer.congestion_window as u16,
        bytes: [peer.bytes_sent, peer.bytes_received],
        timeout_us: peer.round_trip.timeout().as_micros() as u64,
    }
}
