//! What the peer does to a connection: every kind of packet, opened before a call sees it.

use super::{Channel, Connection, Context, Ended};
use crate::admission::Share;
use crate::call::{Call, Side};
use crate::codes::{AbortCode, CallFailure};
use crate::config;
use crate::packet::{Ack, AckReason, Body, Header, PacketType, flags};
use crate::receive::Received;
use crate::security::PacketPosition;
use crate::time::Time;

impl Connection {
    /// A packet of this connection.
    pub fn handle(&mut self, header: &Header, body: Body<'_>, context: &mut Context<'_>) {
        self.last_heard = context.now;
        match body {
            Body::Data(payload) => self.on_data(header, payload, context),
            Body::Ack(ack) => self.on_ack(header, &ack, context),
            Body::AckAll => self.with_call(header, context, |call, now| call.send.on_all_acked(now)),
            Body::Busy => self.with_call(header, context, |_, _| ()),
            Body::Abort(code) if header.call_number == 0 => self.fail(code, false),
            Body::Abort(code) => self.on_abort(header, code, context),
            Body::Challenge(challenge) => self.on_challenge(challenge, context),
            Body::Response(response) => self.on_response(response, context),
            Body::Debug(_) | Body::Version(_) | Body::Ignored(_) => {}
        }
    }

    pub(super) fn on_data(&mut self, header: &Header, payload: &[u8], context: &mut Context<'_>) {
        if !self.security.is_authenticated() {
            return self.hold(header, payload, context);
        }
        let position = PacketPosition {
            channel: header.channel() as u8,
            call_number: header.call_number,
            seq: header.seq,
        };
        let mut payload = payload.to_vec();
        match self.security.open(position, header.checksum, &mut payload, context.unix_time) {
            Ok(()) => self.on_opened(header, payload, context),
            Err(AbortCode::RXKAD_EXPIRED) => self.fail(AbortCode::RXKAD_EXPIRED, true),
            // Damaged, or not from the peer: as good as lost, but not forever.
            Err(code) => {
                context.counters.refused_packets = context.counters.refused_packets.wrapping_add(1);
                self.refused += 1;
                if self.refused >= config::MAX_REFUSED {
                    self.fail(code, true);
                }
            }
        }
    }

    /// Keeps data until the client has said who it is, and asks it to.
    pub(super) fn hold(&mut self, header: &Header, payload: &[u8], context: &mut Context<'_>) {
        let room = *context.unverified_bytes + payload.len() <= context.config.max_unverified_bytes;
        let known = self.pending.iter().any(|(held, _)| (held.cid, held.seq) == (header.cid, header.seq));
        if room && !known && self.pending.len() < config::MAX_PENDING_PACKETS {
            *context.unverified_bytes += payload.len();
            self.pending.push((*header, payload.to_vec()));
        }
        if self.challenged_at.is_some_and(|at| context.now < at + config::CHALLENGE_INTERVAL) {
            return;
        }
        self.challenged_at = Some(context.now);
        let body = self.security.challenge(context.random);
        self.queue_control(PacketType::Challenge, 0, 0, body);
    }

    pub(super) fn on_opened(&mut self, header: &Header, payload: Vec<u8>, context: &mut Context<'_>) {
        let index = header.channel();
        if !self.admit(index, header, context) {
            return;
        }
        let verified = context.peer.is_verified();
        let Some(call) = self.channels[index].call.as_deref_mut() else {
            return;
        };
        call.on_heard(context.now);
        if call.failure.is_some() {
            return;
        }
        let length = payload.len();
        if !verified && self.side == Side::Server {
            if *context.unverified_bytes + length > context.config.max_unverified_bytes {
                context.counters.overload_drops = context.counters.overload_drops.wrapping_add(1);
                return;
            }
            *context.unverified_bytes += length;
            call.held_unverified += length;
            if !header.has(flags::LAST_PACKET) {
                // More is to come: find out whether the peer is where it says.
                call.ask_for_answer();
            }
        }
        let received = call.on_data(
            header.seq,
            header.serial,
            header.has(flags::LAST_PACKET),
            header.has(flags::REQUEST_ACK),
            payload,
            context.now,
        );
        match received {
            Received::Duplicate => context.counters.duplicates_read += 1,
            _ => context.counters.data_packets_read = context.counters.data_packets_read.wrapping_add(1),
        }
        self.traffic[0] = self.traffic[0].wrapping_add(1);
        self.traffic[2] = self.traffic[2].wrapping_add(length as u32);
    }

    /// Whether a data packet is for the channel's present call; begins a new call at a server.
    pub(super) fn admit(&mut self, index: usize, header: &Header, context: &mut Context<'_>) -> bool {
        let number = self.channels[index].number;
        if header.call_number == number && self.channels[index].call.is_some() {
            return true;
        }
        if header.call_number <= number || self.side == Side::Client {
            if header.call_number == number {
                self.repeat_end(index, header);
            } else {
                context.counters.spurious_read = context.counters.spurious_read.wrapping_add(1);
            }
            return false;
        }
        if header.seq == 0 || header.seq > config::MAX_FIRST_SEQ {
            context.counters.spurious_read = context.counters.spurious_read.wrapping_add(1);
            return false;
        }
        if self.channels[index].call.as_deref().is_some_and(|call| call.attached) {
            // The client has given the old call up, which still runs here.
            self.fail_call(index, CallFailure::Unanswered(AbortCode::USER_ABORT), false);
            self.queue_control(PacketType::Busy, index as u32, header.call_number, Vec::new());
            return false;
        }
        self.begin_served_call(index, header.call_number, context);
        true
    }

    pub(super) fn begin_served_call(&mut self, index: usize, number: u32, context: &mut Context<'_>) {
        self.drop_call(index, context);
        let windows = context.windows_of(Share::Strangers);
        let call = Call::new(number, Side::Server, self.timeouts, windows, context.now);
        self.channels[index] = Channel { number, call: Some(Box::new(call)), ended: None };
        context.shares.enter(Share::Strangers, self.call_ref(index));
    }

    /// A packet of a call that is over: the peer missed its end.
    pub(super) fn repeat_end(&mut self, index: usize, header: &Header) {
        match self.channels[index].ended {
            Some(Ended::Failed(code)) => self.queue_abort(index, header.call_number, code),
            Some(Ended::Complete { next_seq }) if self.side == Side::Client => {
                let ack = Ack {
                    buffer_space: 0,
                    max_skew: 0,
                    first_packet: next_seq,
                    previous_packet: next_seq - 1,
                    serial: header.serial,
                    reason: AckReason::Duplicate as u8,
                    acks: Vec::new(),
                    trailer: None,
                };
                let mut body = Vec::new();
                ack.encode(&mut body);
                self.queue_control(PacketType::Ack, index as u32, header.call_number, body);
            }
            _ => {}
        }
    }

    pub(super) fn on_ack(&mut self, header: &Header, ack: &Ack, context: &mut Context<'_>) {
        context.counters.ack_packets_read = context.counters.ack_packets_read.wrapping_add(1);
        let answers_us = ack.serial.wrapping_sub(self.first_serial).wrapping_sub(1)
            < self.serial.wrapping_sub(self.first_serial);
        if ack.serial != 0 && answers_us {
            context.peer.verify();
        }
        if let Some(trailer) = &ack.trailer {
            let size =
                trailer.max_mtu.min(trailer.interface_mtu).min(u32::from(context.config.max_packet_size));
            let size = size.max(u32::from(config::MIN_PACKET_SIZE)) as u16;
            context.peer.packet_size = context.peer.packet_size.min(size);
        }
        let index = header.channel();
        let channel = &mut self.channels[index];
        if header.call_number != channel.number {
            return;
        }
        let Some(call) = channel.call.as_deref_mut() else {
            if let (Some(Ended::Failed(code)), false) =
                (channel.ended, ack.reason == AckReason::PingResponse as u8)
            {
                self.queue_abort(index, header.call_number, code);
            }
            return;
        };
        if call.failure.is_some() || !call.send.is_plausible(ack) {
            return;
        }
        call.on_heard(context.now);
        let sample = call.on_ack(ack, header.serial, header.has(flags::REQUEST_ACK), context.now);
        context.peer.congestion_window = call.send.congestion_window().max(2);
        if let Some(sample) = sample {
            context.peer.round_trip.measure(sample);
            context.counters.count_round_trip(u64::try_from(sample.as_micros()).unwrap_or(u64::MAX));
        }
    }

    pub(super) fn with_call(
        &mut self,
        header: &Header,
        context: &Context<'_>,
        apply: impl FnOnce(&mut Call, Time),
    ) {
        let channel = &mut self.channels[header.channel()];
        if let Some(call) = channel.call.as_deref_mut().filter(|call| call.number == header.call_number) {
            call.on_heard(context.now);
            apply(call, context.now);
        }
    }

    pub(super) fn on_abort(&mut self, header: &Header, code: AbortCode, context: &mut Context<'_>) {
        let index = header.channel();
        self.with_call(header, context, |_, _| ());
        if self.channels[index].number == header.call_number {
            self.fail_call(index, CallFailure::Aborted(code), false);
        }
    }

    pub(super) fn on_challenge(&mut self, challenge: &[u8], context: &mut Context<'_>) {
        if self.side == Side::Server {
            return;
        }
        for channel in &mut self.channels {
            if let Some(call) = channel.call.as_deref_mut() {
                call.on_heard(context.now);
            }
        }
        // The call under way, or the last one. OpenAFS keeps these numbers and aborts with them: a lower one would make
        // its answer to the first call look like the end of the connection.
        let numbers = [0, 1, 2, 3].map(|index: usize| self.channels[index].number);
        match self.security.answer(challenge, numbers) {
            Ok(body) => self.queue_control(PacketType::Response, 0, 0, body),
            Err(code) => self.fail(code, true),
        }
    }

    pub(super) fn on_response(&mut self, response: &[u8], context: &mut Context<'_>) {
        if self.side == Side::Client || self.security.is_authenticated() {
            return;
        }
        match self.security.check_response(response, context.unix_time) {
            // Overtaken by a restart of ours, or a replay: the answer to our own challenge may yet come.
            Err(AbortCode::RXKAD_OUT_OF_SEQUENCE) => {}
            Err(code) => self.fail(code, true),
            Ok(numbers) => {
                context.peer.verify();
                // OpenAFS tells the number of the call that it makes, or made last: that one may still be coming.
                for (channel, number) in self.channels.iter_mut().zip(numbers) {
                    channel.number = channel.number.max(number.saturating_sub(1));
                }
                for (header, payload) in self.take_pending(context) {
                    self.on_data(&header, &payload, context);
                }
            }
        }
    }

    pub(super) fn take_pending(&mut self, context: &mut Context<'_>) -> Vec<(Header, Vec<u8>)> {
        let pending = std::mem::take(&mut self.pending);
        *context.unverified_bytes -= pending.iter().map(|(_, payload)| payload.len()).sum::<usize>();
        pending
    }
}
