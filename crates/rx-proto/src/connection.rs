//! A connection: four channels with a call each, one security state, one serial counter.
//!
//! Guards the order of calls on a channel (a call number only rises), opens every data packet before a call sees it,
//! and decides what goes out next. Which packets belong here, the endpoint has decided.

mod admission;
mod application;
mod inbound;
mod outbound;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::admission::{Gate, Share, Shares};
use crate::call::{Call, Expired, Side, Windows};
use crate::codes::{AbortCode, CallFailure};
use crate::config::{EndpointConfig, Timeouts};
use crate::debug::{ChannelReport, ConnectionReport, Counters};
use crate::names::{CallRef, ConnectionRef, Event, ServiceId};
use crate::packet::{Header, PacketType};
use crate::peer::Peer;
use crate::security::{ConnectionIdentity, ConnectionSecurity, Random};
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
    pub shares: &'a mut Shares,
    pub gates: &'a HashMap<ServiceId, Arc<dyn Gate>>,
}

impl Context<'_> {
    /// For a new call of ours with this peer.
    pub fn windows(&self) -> Windows {
        Windows {
            receive: u32::from(self.config.receive_window),
            send: u32::from(self.config.send_window),
            congestion: self.peer.congestion_window,
        }
    }

    /// For a call of this share.
    pub fn windows_of(&self, share: Share) -> Windows {
        let most = u32::from(self.config.shares[share.index()].packets.max(1));
        let Windows { receive, send, congestion } = self.windows();
        Windows { receive: receive.min(most), send: send.min(most), congestion }
    }
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
    /// Data packets whose checksum or seal was wrong.
    refused: u32,
    /// A call on it was admitted as a member's.
    pub is_member: bool,
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
    #[expect(clippy::too_many_arguments, reason = "called in two places, each with all of it at hand")]
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
            refused: 0,
            is_member: false,
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

    /// The whole connection fails, and all its calls; `tell` the peer.
    pub fn fail(&mut self, code: AbortCode, tell: bool) {
        if self.error.is_some() {
            return;
        }
        self.error = Some(code);
        for index in 0..self.channels.len() {
            self.fail_call(index, CallFailure::Unanswered(code), false);
        }
        self.control.clear();
        if tell {
            self.queue_control(PacketType::Abort, 0, 0, code.0.to_be_bytes().to_vec());
        }
        // A client's connection stays until the application has seen the error.
        self.closing |= self.side == Side::Server;
    }

    pub(super) fn fail_call(&mut self, index: usize, failure: CallFailure, tell: bool) {
        let Some(call) = self.channels[index].call.as_deref_mut() else {
            return;
        };
        if call.failure.is_some() {
            return;
        }
        call.failure = Some(failure);
        call.forget_acks();
        let number = call.number;
        if tell {
            self.queue_abort(index, number, failure.code());
        }
    }

    pub(super) fn queue_abort(&mut self, index: usize, call_number: u32, code: AbortCode) {
        self.queue_control(PacketType::Abort, index as u32, call_number, code.0.to_be_bytes().to_vec());
    }

    /// Queues a packet; one of a kind for a call is enough, so that repeated provocation cannot fill memory.
    pub(super) fn queue_control(
        &mut self,
        packet_type: PacketType,
        channel: u32,
        call_number: u32,
        body: Vec<u8>,
    ) {
        self.control.retain(|old| (old.packet_type, old.channel) != (packet_type, channel));
        self.control.push_back(Control { packet_type, channel, call_number, body });
    }

    /// When this connection next needs attention if nothing comes.
    pub fn deadline(&self, peer: &Peer) -> Option<Time> {
        self.channels.iter().filter_map(|channel| channel.call.as_deref()?.deadline(peer)).min()
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
                self.fail_call(index, CallFailure::Unanswered(code), true);
            }
        }
    }

    /// Tells the application what has changed, and forgets calls that are over. Called after every input.
    pub fn settle(&mut self, context: &mut Context<'_>) {
        for index in 0..self.channels.len() {
            let at = self.call_ref(index);
            if self.side == Side::Server {
                self.admit_call(index, context);
                self.announce_call(index, context);
            }
            let Some(call) = self.channels[index].call.as_deref_mut() else {
                continue;
            };
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
    pub(super) fn drop_call(&mut self, index: usize, context: &mut Context<'_>) {
        let channel = &mut self.channels[index];
        let Some(call) = channel.call.take() else { return };
        if call.side == Side::Server {
            context.shares.leave(call.share);
            context.shares.of(call.share).attached -= usize::from(call.attached);
        }
        *context.unverified_bytes -= call.held_unverified;
        channel.ended = Some(match call.failure {
            Some(failure) => Ended::Failed(failure.code()),
            None => Ended::Complete { next_seq: call.receive.highest() + 1 },
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
        self.channels.iter().any(|channel| channel.call.as_deref().is_some_and(|call| call.attached))
    }

    /// Whether a call is here, or a packet is to be sent.
    pub fn is_active(&self) -> bool {
        !self.control.is_empty() || self.channels.iter().any(|channel| channel.call.is_some())
    }

    pub(super) fn call_ref(&self, index: usize) -> CallRef {
        CallRef { connection: self.me, channel: index as u8, number: self.channels[index].number }
    }

    /// Calls that are here.
    pub fn call_count(&self) -> usize {
        self.channels.iter().filter(|channel| channel.call.is_some()).count()
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
            flags: if self.identity.security_index.0 == 0 { 8 } else { 12 },
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
            return ChannelReport { call_number: self.number, ..ChannelReport::default() };
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
