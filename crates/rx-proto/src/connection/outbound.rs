//! What a connection sends next: control packets, then each channel in turn, acks before data.

use super::{Connection, Context};
use crate::call::Side;
use crate::packet::{ACK_LEN, AckTrailer, HEADER_LEN, Header, PacketType, flags};

impl Connection {
    /// Writes the next datagram into `out`; `false` if there is none. An address that has proven nothing gets no more
    /// than its credit; what exceeds it waits for the answer to a ping, which is small.
    pub fn next_datagram(&mut self, out: &mut Vec<u8>, context: &mut Context<'_>) -> bool {
        out.clear();
        let sent = self.write_control(out, context) || self.write_channels(out, context);
        if sent {
            context.peer.count_sent(out.len());
        }
        sent
    }

    fn may_send(&self, length: usize, context: &Context<'_>) -> bool {
        self.side == Side::Client || context.peer.may_send(length)
    }

    pub(super) fn write_control(&mut self, out: &mut Vec<u8>, context: &mut Context<'_>) -> bool {
        let Some(length) = self.control.front().map(|control| HEADER_LEN + control.body.len()) else {
            return false;
        };
        if !self.may_send(length, context) {
            return false;
        }
        let Some(control) = self.control.pop_front() else {
            return false;
        };
        let header = self.header(control.packet_type, control.channel, control.call_number);
        out.extend_from_slice(&header.encode());
        out.extend_from_slice(&control.body);
        context.counters.count_sent(control.packet_type as u8);
        true
    }

    /// Each channel in turn, so that a bulk transfer does not hold up a small call.
    pub(super) fn write_channels(&mut self, out: &mut Vec<u8>, context: &mut Context<'_>) -> bool {
        for step in 0..4 {
            let index = (self.turn + step) % 4;
            if self.write_ack(index, out, context) || self.write_data(index, out, context) {
                self.turn = index + 1;
                return true;
            }
        }
        false
    }

    /// Whether an ack, or a ping, may be sent for a call.
    fn may_ack(&self, index: usize, context: &Context<'_>) -> bool {
        if self.may_send(usize::MAX, context) {
            return true;
        }
        let acks = self.channels[index].call.as_deref().map_or(0, |call| call.receive.acks().len());
        self.may_send(HEADER_LEN + ACK_LEN + acks, context)
    }

    pub(super) fn write_ack(&mut self, index: usize, out: &mut Vec<u8>, context: &mut Context<'_>) -> bool {
        if !self.may_ack(index, context) {
            return false;
        }
        let Some(call) = self.channels[index].call.as_deref_mut() else {
            return false;
        };
        let size = u32::from(context.config.max_packet_size);
        let trailer = AckTrailer {
            max_mtu: size,
            interface_mtu: size,
            receive_window: 0,
            max_datagram_packets: Some(1),
        };
        let Some((ack, is_ping)) = call.next_ack(trailer) else {
            return false;
        };
        call.on_sent(context.now);
        let number = call.number;
        let mut header = self.header(PacketType::Ack, index as u32, number);
        header.flags |= flags::SLOW_START_OK;
        if is_ping {
            header.flags |= flags::REQUEST_ACK;
            context.counters.pings_sent = context.counters.pings_sent.wrapping_add(1);
        }
        out.extend_from_slice(&header.encode());
        ack.encode(out);
        context.counters.count_sent(PacketType::Ack as u8);
        true
    }

    pub(super) fn write_data(&mut self, index: usize, out: &mut Vec<u8>, context: &mut Context<'_>) -> bool {
        let Some(call) = self.channels[index].call.as_deref_mut() else {
            return false;
        };
        if call.failure.is_some() {
            return false;
        }
        let Some(mut offer) = call.send.next_packet() else {
            return false;
        };
        let number = call.number;
        let length = HEADER_LEN + call.send.packet(offer.index).payload.len();
        if !self.may_send(length, context) {
            return self.ask_for_proof(index, out, context);
        }
        offer.request_ack |= self.side == Side::Server && !context.peer.is_verified();
        let mut header = self.header(PacketType::Data, index as u32, number);
        let Some(call) = self.channels[index].call.as_deref_mut() else {
            return false;
        };
        let packet = call.send.packet(offer.index);
        header.seq = packet.seq;
        header.checksum = packet.checksum;
        if offer.request_ack {
            header.flags |= flags::REQUEST_ACK;
        }
        if packet.is_last {
            header.flags |= flags::LAST_PACKET;
        }
        out.extend_from_slice(&header.encode());
        out.extend_from_slice(&packet.payload);
        let (again, length) = (packet.transmissions > 0, packet.payload.len());
        self.count_data(again, length, context);
        let call = self.channels[index].call.as_deref_mut().expect("it was there three lines above");
        call.send.on_sent(offer, header.serial, context.now);
        call.on_sent(context.now);
        true
    }

    /// A reply is larger than what an unproven address may get: a ping finds out whether the caller is there.
    fn ask_for_proof(&mut self, index: usize, out: &mut Vec<u8>, context: &mut Context<'_>) -> bool {
        if let Some(call) = self.channels[index].call.as_deref_mut() {
            call.ask_for_answer();
        }
        self.write_ack(index, out, context)
    }

    pub(super) fn count_data(&mut self, again: bool, length: usize, context: &mut Context<'_>) {
        let counter = if again {
            context.peer.packets_resent = context.peer.packets_resent.wrapping_add(1);
            &mut context.counters.data_packets_resent
        } else {
            &mut context.counters.data_packets_sent
        };
        *counter = counter.wrapping_add(1);
        context.counters.count_sent(PacketType::Data as u8);
        self.traffic[1] = self.traffic[1].wrapping_add(1);
        self.traffic[3] = self.traffic[3].wrapping_add(length as u32);
    }

    /// The header of the next packet, which takes the next serial.
    pub(super) fn header(&mut self, packet_type: PacketType, channel: u32, call_number: u32) -> Header {
        self.serial = self.serial.wrapping_add(1).max(1);
        Header {
            epoch: self.identity.epoch,
            cid: self.identity.connection_id | channel,
            call_number,
            seq: 0,
            serial: self.serial,
            packet_type: packet_type as u8,
            flags: if self.side == Side::Client { flags::CLIENT_INITIATED } else { 0 },
            user_status: 0,
            security_index: self.identity.security_index.0,
            checksum: 0,
            service_id: self.service.0,
        }
    }
}
