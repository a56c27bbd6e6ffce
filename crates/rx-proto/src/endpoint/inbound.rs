//! Datagrams that come in: to which connection they belong, and whether they may open one.

use std::net::{IpAddr, SocketAddr};

use super::{Endpoint, FIRST_SERIAL_MASK};
use crate::call::Side;
use crate::codes::AbortCode;
use crate::connection::Connection;
use crate::names::{ConnectionRef, ServiceId};
use crate::packet::{self, Body, Header, Packet, PacketType, flags};
use crate::peer::Peer;
use crate::security::{ConnectionIdentity, SecurityIndex};
use crate::table::Key;
use crate::time::Time;

impl Endpoint {
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
            self.with(now, at, |connection, context| connection.handle(&header, body, context));
        }
    }

    /// The connection that a packet belongs to, a new one if it may begin one; answers what belongs to none.
    pub(super) fn find_or_accept(
        &mut self,
        now: Time,
        from: SocketAddr,
        local: Option<IpAddr>,
        length: usize,
        packet: &Packet<'_>,
    ) -> Option<ConnectionRef> {
        if let Body::Debug(_) | Body::Version(_) | Body::Ignored(_) = packet.body {
            self.answer_question(now, from, local, packet);
            return None;
        }
        let at = match self.table.find(&Key::of(&packet.header, from)) {
            Some(at) => {
                self.table.get(at).filter(|connection| connection.peer.port() == from.port()).map(|_| at)
            }
            None => self.accept(now, from, local, packet),
        }?;
        let peer = self.table.get(at)?.peer;
        self.peer_mut(peer).count_received(length);
        Some(at)
    }

    /// A packet of a connection that we do not know: the first data of a call may open it.
    pub(super) fn accept(
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
            Connection::new(me, identity, Side::Server, service, from, state, timeouts, first_serial, now)
        });
        self.table.get_mut(at)?.local = local;
        self.strangers.push_back(at);
        Some(at)
    }

    /// No such service or security class: says so, without keeping anything.
    pub(super) fn refuse(&mut self, from: SocketAddr, local: Option<IpAddr>, header: &Header) {
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

    /// Sees to it that one more connection of a stranger may be there. The oldest that is idle gives way.
    pub(super) fn make_room(&mut self) -> bool {
        for _ in 0..self.strangers.len() {
            if self.has_room() {
                return true;
            }
            let Some(at) = self.strangers.pop_front() else {
                break;
            };
            let Some(connection) = self.table.get(at) else {
                continue;
            };
            let address_proven = self.peers.get(&connection.peer).is_some_and(Peer::is_verified);
            if address_proven && connection.is_member && connection.security.is_authenticated() {
                continue;
            }
            if connection.is_in_use() {
                self.strangers.push_back(at);
                continue;
            }
            self.remove(at);
        }
        self.has_room()
    }

    fn has_room(&self) -> bool {
        self.strangers.len() < self.config.max_strangers
            && self.server_connections < self.config.max_server_connections
    }
}
