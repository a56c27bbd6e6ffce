//! A connection: four channels with a call each, one security state, one serial counter.
//!
//! Guards the order of calls on a channel (a call number only rises), opens every data packet before a call sees it,
//! and decides what goes out next. Which packets belong here, the endpoint has decided.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::call::{Call, Expired, Side};
use crate::codes::AbortCode;
use crate::config::{self, EndpointConfig, Timeouts};
use crate::debug::{ChannelReport, ConnectionReport, Counters};
use crate::endpoint::{CallRef, ConnectionRef, Event, ServiceId};
use crate::packet::{Ack, AckTrailer, Body, HEADER_LEN, Header, PacketType, flags};
use crate::peer::Peer;
use crate::receive::Received;
use crate::security::{ConnectionIdentity, ConnectionSecurity, PacketPosition, Random};
use crate::time::Time;

/// What a connection needs of its endpoint while it works.
pub(crate) struct Context<'a> {
    pub now: Time,
    pub unix_time: u32,
    pub config: &'a EndpointConfig,
    pub counters: &'a mut Counters,
    pub peer: &'a mut Peer,
    pub events: &'a mut VecDeque<Event>,
    pub random: &'a mut dyn Random,
    /// Bytes held for peers that have proven nothing.
    pub unverified_bytes: &'a mut usize,
}

/// One of the four lanes of a connection.
#[derive(Debug, Default)]
struct Channel {
    /// Number of the latest call; 0 before the first.
    number: u32,
    call: Option<Box<Call>>,
    /// How the latest call ended, once it is gone.
    ended: Option<Ended>,
}

#[derive(Debug, Clone, Copy)]
enum Ended {
    Failed(AbortCode),
    /// The next sequence number expected, to ack what is sent again.
    Complete {
        next_seq: u32,
    },
}

/// A packet other than data and acks that waits to be sent.
#[derive(Debug)]
struct Control {
    packet_type: PacketType,
    channel: u32,
    call_number: u32,
    body: Vec<u8>,
}

/// See the module.
pub(crate) struct Connection {
    pub me: ConnectionRef,
    pub identity: ConnectionIdentity,
    pub side: Side,
    pub service: ServiceId,
    pub peer: SocketAddr,
    /// The address of ours that the peer speaks to.
    pub local: Option<IpAddr>,
    pub security: Box<dyn ConnectionSecurity>,
    pub timeouts: Timeouts,
    channels: [Channel; 4],
    serial: u32,
    first_serial: u32,
    control: VecDeque<Control>,
    /// Data that waits until the client has answered the challenge.
    pending: Vec<(Header, Vec<u8>)>,
    challenged_at: Option<Time>,
    pub error: Option<AbortCode>,
    pub last_heard: Time,
    /// The application is done with it, or it has failed: it goes when nothing more is to be sent.
    pub closing: bool,
    pub waits_for_channel: bool,
    turn: usize,
    /// In the endpoint's queue of connections that may have something to send.
    pub is_queued: bool,
    /// When the endpoint's timer will next look here.
    pub timer: Option<Time>,
    traffic: [u32; 4],
}

impl Connection {
    #[expect(
        clippy::too_many_arguments,
        reason = "called in two places, each with all of it at hand"
    )]
    pub fn new(
        me: ConnectionRef,
        identity: ConnectionIdentity,
        side: Side,
        service: ServiceId,
        peer: SocketAddr,
        security: Box<dyn ConnectionSecurity>,
        timeouts: Timeouts,
        first_serial: u32,
        now: Time,
    ) -> Self {
        Connection {
            me,
            identity,
            side,
            service,
            peer,
            local: None,
            security,
            timeouts,
            channels: Default::default(),
            serial: first_serial,
            first_serial,
            control: VecDeque::new(),
            pending: Vec::new(),
            challenged_at: None,
            error: None,
            last_heard: now,
            closing: false,
            waits_for_channel: false,
            turn: 0,
            is_queued: false,
            timer: None,
            traffic: [0; 4],
        }
    }

    // ---- what the application does -------------------------------------------------------------------------

    /// Starts a call on the first free channel; `None` if all four are busy.
    pub fn start_call(&mut self, context: &mut Context<'_>) -> Option<CallRef> {
        let index = self.channels.iter().position(Channel::is_free)?;
        let window = u32::from(context.config.receive_window);
        let congestion_window = context.peer.congestion_window;
        self.drop_call(index, context);
        let channel = &mut self.channels[index];
        channel.number += 1;
        channel.ended = None;
        let call = Call::new(
            channel.number,
            Side::Client,
            self.timeouts,
            window,
            congestion_window,
            context.now,
        );
        channel.call = Some(Box::new(call));
        context.counters.calls_executed = context.counters.calls_executed.wrapping_add(1);
        Some(CallRef {
            connection: self.me,
            channel: index as u8,
            number: channel.number,
        })
    }

    /// The call, if the application still has it.
    pub fn call(&mut self, channel: u8, number: u32) -> Option<&mut Call> {
        let call = self.channels.get_mut(usize::from(channel))?.call.as_deref_mut()?;
        (call.number == number && call.attached).then_some(call)
    }

    /// Takes bytes into the stream; returns how many. 0 means: wait for progress.
    pub fn write(
        &mut self,
        at: CallRef,
        bytes: &[u8],
        context: &mut Context<'_>,
    ) -> Result<usize, AbortCode> {
        let room = self.payload_room(context.peer);
        let mut taken = 0;
        while taken < bytes.len() {
            let call = self
                .call(at.channel, at.number)
                .ok_or(AbortCode::INVALID_OPERATION)?;
            if let Some(code) = call.failure {
                return Err(code);
            }
            if call.send.is_finished() {
                return Err(AbortCode::PROTOCOL_ERROR);
            }
            if call.send.partial.len() >= room {
                if !call.send.has_room() {
                    call.writer_waits = taken == 0;
                    break;
                }
                self.cut(at, false)?;
                continue;
            }
            let count = (room - call.send.partial.len()).min(bytes.len() - taken);
            call.send.partial.extend_from_slice(&bytes[taken..taken + count]);
            taken += count;
        }
        Ok(taken)
    }

    /// Ends our direction of the call.
    pub fn finish(&mut self, at: CallRef) -> Result<(), AbortCode> {
        let call = self
            .call(at.channel, at.number)
            .ok_or(AbortCode::INVALID_OPERATION)?;
        match call.failure {
            Some(code) => Err(code),
            None if call.send.is_finished() => Ok(()),
            None => self.cut(at, true),
        }
    }

    /// Seals what is in the partial packet and adds it to the stream.
    fn cut(&mut self, at: CallRef, is_last: bool) -> Result<(), AbortCode> {
        let channel = &mut self.channels[usize::from(at.channel)];
        let call = channel.call.as_deref_mut().ok_or(AbortCode::INVALID_OPERATION)?;
        let mut payload = std::mem::take(&mut call.send.partial);
        let position = PacketPosition {
            channel: at.channel,
            call_number: at.number,
            seq: call.send.next_seq(),
        };
        let checksum = self.security.seal(position, &mut payload)?;
        call.send.push(payload, checksum, is_last);
        Ok(())
    }

    /// Bytes of the application that fit into a packet.
    fn payload_room(&self, peer: &Peer) -> usize {
        usize::from(peer.packet_size) - HEADER_LEN - self.security.overhead()
    }

    /// The application is done with the call: a server's reply goes out, a client's reply is acked; a call that is not
    /// complete fails with `code`.
    pub fn end_call(&mut self, at: CallRef, code: Option<AbortCode>, context: &mut Context<'_>) {
        let Some(call) = self.call(at.channel, at.number) else {
            return;
        };
        if call.failure.is_none() && code.is_none() && call.side == Side::Server {
            let _ = self.finish(at);
        }
        let Some(call) = self.call(at.channel, at.number) else {
            return;
        };
        let complete = match call.side {
            Side::Client => call.receive.is_complete(),
            Side::Server => call.send.is_finished(),
        };
        let code = code.or((!complete).then_some(AbortCode::USER_ABORT));
        if call.failure.is_none() {
            match code {
                Some(code) => self.fail_call(usize::from(at.channel), code, true),
                None if call.side == Side::Client => call.ack_reply(false, context.now),
                None => call.receive.discard(),
            }
        }
        if let Some(call) = self.call(at.channel, at.number) {
            call.attached = false;
        }
    }

    // ---- what the peer does --------------------------------------------------------------------------------

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

    fn on_data(&mut self, header: &Header, payload: &[u8], context: &mut Context<'_>) {
        if !self.security.is_authenticated() {
            return self.hold(header, payload, context);
        }
        let position = PacketPosition {
            channel: header.channel() as u8,
            call_number: header.call_number,
            seq: header.seq,
        };
        let mut payload = payload.to_vec();
        match self
            .security
            .open(position, header.checksum, &mut payload, context.unix_time)
        {
            Ok(()) => self.on_opened(header, payload, context),
            Err(AbortCode::RXKAD_EXPIRED) => self.fail(AbortCode::RXKAD_EXPIRED, true),
            // Damaged, or not from the peer: as good as lost.
            Err(_) => context.counters.refused_packets = context.counters.refused_packets.wrapping_add(1),
        }
    }

    /// Keeps data until the client has said who it is, and asks it to.
    fn hold(&mut self, header: &Header, payload: &[u8], context: &mut Context<'_>) {
        let room = *context.unverified_bytes + payload.len() <= context.config.max_unverified_bytes;
        let known = self
            .pending
            .iter()
            .any(|(held, _)| (held.cid, held.seq) == (header.cid, header.seq));
        if room && !known && self.pending.len() < config::MAX_PENDING_PACKETS {
            *context.unverified_bytes += payload.len();
            self.pending.push((*header, payload.to_vec()));
        }
        if self
            .challenged_at
            .is_some_and(|at| context.now < at + config::CHALLENGE_INTERVAL)
        {
            return;
        }
        self.challenged_at = Some(context.now);
        let body = self.security.challenge(context.random);
        self.queue_control(PacketType::Challenge, 0, 0, body);
    }

    fn on_opened(&mut self, header: &Header, payload: Vec<u8>, context: &mut Context<'_>) {
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
    fn admit(&mut self, index: usize, header: &Header, context: &mut Context<'_>) -> bool {
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
        if self.channels[index]
            .call
            .as_deref()
            .is_some_and(|call| call.attached)
        {
            // The client has given the old call up, which still runs here.
            self.fail_call(index, AbortCode::USER_ABORT, false);
            self.queue_control(PacketType::Busy, index as u32, header.call_number, Vec::new());
            return false;
        }
        self.begin_served_call(index, header.call_number, context);
        true
    }

    fn begin_served_call(&mut self, index: usize, number: u32, context: &mut Context<'_>) {
        self.drop_call(index, context);
        let window = u32::from(context.config.receive_window);
        let call = Call::new(
            number,
            Side::Server,
            self.timeouts,
            window,
            context.peer.congestion_window,
            context.now,
        );
        self.channels[index] = Channel {
            number,
            call: Some(Box::new(call)),
            ended: None,
        };
    }

    /// A packet of a call that is over: the peer missed its end.
    fn repeat_end(&mut self, index: usize, header: &Header) {
        match self.channels[index].ended {
            Some(Ended::Failed(code)) => self.queue_abort(index, header.call_number, code),
            Some(Ended::Complete { next_seq }) if self.side == Side::Client => {
                let ack = Ack {
                    buffer_space: 0,
                    max_skew: 0,
                    first_packet: next_seq,
                    previous_packet: next_seq - 1,
                    serial: header.serial,
                    reason: crate::packet::AckReason::Duplicate as u8,
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

    fn on_ack(&mut self, header: &Header, ack: &Ack, context: &mut Context<'_>) {
        context.counters.ack_packets_read = context.counters.ack_packets_read.wrapping_add(1);
        let answers_us = ack.serial.wrapping_sub(self.first_serial).wrapping_sub(1)
            < self.serial.wrapping_sub(self.first_serial);
        if ack.serial != 0 && answers_us {
            context.peer.verify();
        }
        if let Some(trailer) = &ack.trailer {
            let size = trailer
                .max_mtu
                .min(trailer.interface_mtu)
                .min(u32::from(context.config.max_packet_size));
            let size = size.max(u32::from(config::MIN_PACKET_SIZE)) as u16;
            context.peer.packet_size = context.peer.packet_size.min(size);
        }
        let index = header.channel();
        let channel = &mut self.channels[index];
        if header.call_number != channel.number {
            return;
        }
        let Some(call) = channel.call.as_deref_mut() else {
            if let (Some(Ended::Failed(code)), false) = (channel.ended, ack.reason == 7) {
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
            context
                .counters
                .count_round_trip(u64::try_from(sample.as_micros()).unwrap_or(u64::MAX));
        }
    }

    fn with_call(&mut self, header: &Header, context: &Context<'_>, apply: impl FnOnce(&mut Call, Time)) {
        let channel = &mut self.channels[header.channel()];
        if let Some(call) = channel
            .call
            .as_deref_mut()
            .filter(|call| call.number == header.call_number)
        {
            call.on_heard(context.now);
            apply(call, context.now);
        }
    }

    fn on_abort(&mut self, header: &Header, code: AbortCode, context: &mut Context<'_>) {
        let index = header.channel();
        self.with_call(header, context, |_, _| ());
        if self.channels[index].number == header.call_number {
            self.fail_call(index, code, false);
        }
    }

    fn on_challenge(&mut self, challenge: &[u8], context: &mut Context<'_>) {
        if self.side == Side::Server {
            return;
        }
        for channel in &mut self.channels {
            if let Some(call) = channel.call.as_deref_mut() {
                call.on_heard(context.now);
            }
        }
        // The server is to accept the next number on a free channel, and the present one on a busy channel.
        let numbers = [0, 1, 2, 3].map(|index: usize| {
            let channel = &self.channels[index];
            if channel.call.is_some() {
                channel.number - 1
            } else {
                channel.number
            }
        });
        match self.security.answer(challenge, numbers) {
            Ok(body) => self.queue_control(PacketType::Response, 0, 0, body),
            Err(code) => self.fail(code, true),
        }
    }

    fn on_response(&mut self, response: &[u8], context: &mut Context<'_>) {
        if self.side == Side::Client || self.security.is_authenticated() {
            return;
        }
        match self.security.check_response(response, context.unix_time) {
            // Overtaken by a restart of ours, or a replay: the answer to our own challenge may yet come.
            Err(AbortCode::RXKAD_OUT_OF_SEQUENCE) => {}
            Err(code) => self.fail(code, true),
            Ok(numbers) => {
                context.peer.verify();
                for (channel, number) in self.channels.iter_mut().zip(numbers) {
                    channel.number = channel.number.max(number);
                }
                for (header, payload) in self.take_pending(context) {
                    self.on_data(&header, &payload, context);
                }
            }
        }
    }

    fn take_pending(&mut self, context: &mut Context<'_>) -> Vec<(Header, Vec<u8>)> {
        let pending = std::mem::take(&mut self.pending);
        *context.unverified_bytes -= pending.iter().map(|(_, payload)| payload.len()).sum::<usize>();
        pending
    }

    // ---- failing -------------------------------------------------------------------------------------------

    /// The whole connection fails, and all its calls; `tell` the peer.
    pub fn fail(&mut self, code: AbortCode, tell: bool) {
        if self.error.is_some() {
            return;
        }
        self.error = Some(code);
        for index in 0..self.channels.len() {
            self.fail_call(index, code, false);
        }
        self.control.clear();
        if tell {
            self.queue_control(PacketType::Abort, 0, 0, code.0.to_be_bytes().to_vec());
        }
        // A client's connection stays until the application has seen the error.
        self.closing |= self.side == Side::Server;
    }

    fn fail_call(&mut self, index: usize, code: AbortCode, tell: bool) {
        let Some(call) = self.channels[index].call.as_deref_mut() else {
            return;
        };
        if call.failure.is_some() {
            return;
        }
        call.failure = Some(code);
        call.forget_acks();
        let number = call.number;
        if tell {
            self.queue_abort(index, number, code);
        }
    }

    fn queue_abort(&mut self, index: usize, call_number: u32, code: AbortCode) {
        self.queue_control(
            PacketType::Abort,
            index as u32,
            call_number,
            code.0.to_be_bytes().to_vec(),
        );
    }

    /// Queues a packet; one of a kind for a call is enough, so that repeated provocation cannot fill memory.
    fn queue_control(&mut self, packet_type: PacketType, channel: u32, call_number: u32, body: Vec<u8>) {
        self.control
            .retain(|old| (old.packet_type, old.channel) != (packet_type, channel));
        self.control.push_back(Control {
            packet_type,
            channel,
            call_number,
            body,
        });
    }

    // ---- time ----------------------------------------------------------------------------------------------

    /// When this connection next needs attention if nothing comes.
    pub fn deadline(&self, peer: &Peer) -> Option<Time> {
        self.channels
            .iter()
            .filter_map(|channel| channel.call.as_deref()?.deadline(peer))
            .min()
    }

    /// Time has passed.
    pub fn on_timeout(&mut self, context: &mut Context<'_>) {
        for index in 0..self.channels.len() {
            let Some(call) = self.channels[index].call.as_deref_mut() else {
                continue;
            };
            if call.failure.is_some() {
                continue;
            }
            if let Expired::Failed(code) = call.on_timeout(context.peer, context.now) {
                self.fail_call(index, code, true);
            }
        }
    }

    /// Tells the application what has changed, and forgets calls that are over. Called after every input.
    pub fn settle(&mut self, context: &mut Context<'_>) {
        for index in 0..self.channels.len() {
            let at = self.call_ref(index);
            let Some(call) = self.channels[index].call.as_deref_mut() else {
                continue;
            };
            if call.side == Side::Server
                && !call.announced
                && call.failure.is_none()
                && call.receive.is_readable()
            {
                call.announced = true;
                call.attached = true;
                context.counters.calls_executed = context.counters.calls_executed.wrapping_add(1);
                context.events.push_back(Event::IncomingCall {
                    call: at,
                    service: self.service,
                });
            }
            if call.take_wakeup() {
                context.events.push_back(Event::Progress(at));
            }
            if call.is_over() {
                self.drop_call(index, context);
            }
        }
        if self.waits_for_channel && self.channels.iter().any(Channel::is_free) {
            self.waits_for_channel = false;
            context.events.push_back(Event::ChannelFree(self.me));
        }
    }

    /// Forgets the call of a channel, but not how it ended.
    fn drop_call(&mut self, index: usize, context: &mut Context<'_>) {
        let channel = &mut self.channels[index];
        let Some(call) = channel.call.take() else { return };
        *context.unverified_bytes -= call.held_unverified;
        channel.ended = Some(match call.failure {
            Some(code) => Ended::Failed(code),
            None => Ended::Complete {
                next_seq: call.receive.highest() + 1,
            },
        });
    }

    /// The endpoint forgets the connection.
    pub fn release(&mut self, context: &mut Context<'_>) {
        for index in 0..self.channels.len() {
            self.drop_call(index, context);
        }
        self.take_pending(context);
    }

    /// Whether the application has a call here.
    pub fn is_in_use(&self) -> bool {
        self.channels
            .iter()
            .any(|channel| channel.call.as_deref().is_some_and(|call| call.attached))
    }

    /// Whether a call is here, or a packet is to be sent.
    pub fn is_active(&self) -> bool {
        !self.control.is_empty() || self.channels.iter().any(|channel| channel.call.is_some())
    }

    fn call_ref(&self, index: usize) -> CallRef {
        CallRef {
            connection: self.me,
            channel: index as u8,
            number: self.channels[index].number,
        }
    }

    // ---- sending -------------------------------------------------------------------------------------------

    /// Writes the next datagram into `out`; `false` if there is none. Replies to an unproven address end when they
    /// have used up what its packets allow.
    pub fn next_datagram(&mut self, out: &mut Vec<u8>, context: &mut Context<'_>) -> bool {
        if self.side == Side::Server && !context.peer.may_send() {
            return false;
        }
        out.clear();
        let sent = self.write_control(out, context) || self.write_channels(out, context);
        if sent {
            context.peer.count_sent(out.len());
        }
        sent
    }

    fn write_control(&mut self, out: &mut Vec<u8>, context: &mut Context<'_>) -> bool {
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
    fn write_channels(&mut self, out: &mut Vec<u8>, context: &mut Context<'_>) -> bool {
        for step in 0..4 {
            let index = (self.turn + step) % 4;
            if self.write_ack(index, out, context) || self.write_data(index, out, context) {
                self.turn = index + 1;
                return true;
            }
        }
        false
    }

    fn write_ack(&mut self, index: usize, out: &mut Vec<u8>, context: &mut Context<'_>) -> bool {
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

    fn write_data(&mut self, index: usize, out: &mut Vec<u8>, context: &mut Context<'_>) -> bool {
        let Some(call) = self.channels[index].call.as_deref_mut() else {
            return false;
        };
        if call.failure.is_some() {
            return false;
        }
        let Some(offer) = call.send.next_packet() else {
            return false;
        };
        let number = call.number;
        let mut header = self.header(PacketType::Data, index as u32, number);
        let Some(call) = self.channels[index].call.as_deref_mut() else {
            return false;
        };
        let packet = call.send.packet(offer.index);
        header.seq = packet.seq;
        header.checksum = packet.checksum;
        let unproven = self.side == Side::Server && !context.peer.is_verified();
        if offer.request_ack || unproven {
            header.flags |= flags::REQUEST_ACK;
        }
        if packet.is_last {
            header.flags |= flags::LAST_PACKET;
        }
        out.extend_from_slice(&header.encode());
        out.extend_from_slice(&packet.payload);
        let (again, length) = (packet.transmissions > 0, packet.payload.len());
        self.count_data(again, length, context);
        let call = self.channels[index]
            .call
            .as_deref_mut()
            .expect("it was there three lines above");
        call.send.on_sent(offer, header.serial, context.now);
        call.on_sent(context.now);
        true
    }

    fn count_data(&mut self, again: bool, length: usize, context: &mut Context<'_>) {
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
    fn header(&mut self, packet_type: PacketType, channel: u32, call_number: u32) -> Header {
        self.serial = self.serial.wrapping_add(1).max(1);
        Header {
            epoch: self.identity.epoch,
            cid: self.identity.connection_id | channel,
            call_number,
            seq: 0,
            serial: self.serial,
            packet_type: packet_type as u8,
            flags: if self.side == Side::Client {
                flags::CLIENT_INITIATED
            } else {
                0
            },
            user_status: 0,
            security_index: self.identity.security_index.0,
            checksum: 0,
            service_id: self.service.0,
        }
    }

    // ---- looking -------------------------------------------------------------------------------------------

    /// Calls that are here.
    pub fn call_count(&self) -> usize {
        self.channels
            .iter()
            .filter(|channel| channel.call.is_some())
            .count()
    }

    /// Time since the peer was last heard.
    pub fn silence(&self, now: Time) -> Duration {
        now - self.last_heard
    }

    /// For `rxdebug`.
    pub fn report(&self, peer: &Peer) -> ConnectionReport {
        ConnectionReport {
            peer: self.peer,
            cid: self.identity.connection_id,
            epoch: self.identity.epoch,
            serial: self.serial.wrapping_sub(self.first_serial),
            error: self.error.map_or(0, |code| code.0),
            flags: if self.identity.security_index.0 == 0 {
                8
            } else {
                12
            },
            is_server: self.side == Side::Server,
            security_index: self.identity.security_index.0,
            channels: [0, 1, 2, 3].map(|index: usize| self.channels[index].report()),
            security: self.security.statistics(),
            traffic: self.traffic,
            mtu: u32::from(peer.packet_size),
        }
    }
}

impl Channel {
    /// Whether a client may start a call here: the last one is gone, or complete and let go.
    fn is_free(&self) -> bool {
        match self.call.as_deref() {
            None => true,
            Some(call) => !call.attached && (call.failure.is_some() || call.receive.is_complete()),
        }
    }

    fn report(&self) -> ChannelReport {
        let Some(call) = self.call.as_deref() else {
            return ChannelReport {
                call_number: self.number,
                ..ChannelReport::default()
            };
        };
        let state = match (call.attached, call.announced || call.side == Side::Client) {
            (true, _) => 2,
            (false, false) => 1,
            (false, true) => 3,
        };
        let mode = match () {
            () if call.failure.is_some() => 3,
            () if call.send.is_finished() && call.side == Side::Server => 4,
            () if call.send.is_finished() || (call.side == Side::Server && !call.receive.is_at_end()) => 2,
            () => 1,
        };
        ChannelReport {
            call_number: self.number,
            state,
            mode,
            flags: u8::from(call.reader_waits)
                | (u8::from(call.writer_waits) << 2)
                | (u8::from(call.receive.is_complete()) << 5),
            other: u8::from(call.receive.has_unread()) | (u8::from(call.send.is_outstanding()) << 1),
        }
    }
}
