//! One call on one channel: a sending half, a receiving half, and the timers that keep both honest.
//!
//! A call knows nothing of sockets or of other calls. Its connection hands it packets that belong to it, asks it what
//! to send, and tells it the time. It ends when both halves are done, or with an abort code.

use std::time::Duration;

use crate::admission::{Admission, Begins, Share};
use crate::codes::{AbortCode, CallFailure};
use crate::config::{self, Timeouts};
use crate::packet::{Ack, AckReason, AckTrailer, HEADER_LEN};
use crate::peer::Peer;
use crate::receive::{ReceiveHalf, Received};
use crate::send::SendHalf;
use crate::time::Time;

/// Which side of the call we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// How many packets a call may keep where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    /// Received beyond the first unread one.
    pub receive: u32,
    /// Sent beyond the first unacked one.
    pub send: u32,
    /// In flight to begin with.
    pub congestion: u32,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Call {
    pub number: u32,
    pub side: Side,
    pub send: SendHalf,
    pub receive: ReceiveHalf,
    /// Why it failed, if it did.
    pub failure: Option<CallFailure>,
    /// The application still has it.
    pub attached: bool,
    /// Server: whose it is.
    pub share: Share,
    /// Server: the service has been asked about it.
    pub admitted: bool,
    /// Server: the request is gathered up to this length before the application gets the call.
    pub gathers: Option<usize>,
    /// Server: the application has been told of it.
    pub announced: bool,
    /// Bytes counted against the limit for peers that have proven nothing.
    pub held_unverified: usize,
    /// The application found nothing to read the last time.
    pub reader_waits: bool,
    /// The application found no room to write the last time.
    pub writer_waits: bool,
    timeouts: Timeouts,
    started: Time,
    last_heard: Time,
    last_sent: Time,
    /// When a byte last came or was taken.
    last_progress: Time,
    ack_due: Option<(AckReason, u32)>,
    delayed_ack_at: Option<Time>,
    packets_since_ack: u32,
    /// The peer has had a large window in flight: it needs no ack for every few packets.
    is_bulk: bool,
    ping_due: bool,
    /// A detached call whose packets have all arrived was not heard of for the dead time.
    patience_ended: bool,
}

/// What a timer did to the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expired {
    /// Nothing that others need to know.
    Quiet,
    /// It failed.
    Failed(AbortCode),
}

impl Call {
    pub fn new(number: u32, side: Side, timeouts: Timeouts, windows: Windows, now: Time) -> Self {
        Call {
            number,
            side,
            send: SendHalf::new(windows.congestion, windows.send),
            receive: ReceiveHalf::new(windows.receive),
            failure: None,
            attached: side == Side::Client,
            share: Share::Strangers,
            admitted: false,
            gathers: None,
            announced: false,
            held_unverified: 0,
            reader_waits: false,
            writer_waits: false,
            timeouts,
            started: now,
            last_heard: now,
            last_sent: now,
            last_progress: now,
            ack_due: None,
            delayed_ack_at: None,
            packets_since_ack: 0,
            is_bulk: false,
            ping_due: false,
            patience_ended: false,
        }
    }

    /// The service has decided on it.
    pub fn admit(&mut self, admission: Admission, windows: Windows) {
        self.admitted = true;
        self.share = admission.share;
        self.gathers = match admission.begins {
            Begins::Whole { most } => Some(most),
            Begins::AtOnce => None,
        };
        self.receive.set_window(windows.receive);
        self.send.set_most(windows.send);
    }

    /// Whether the application may have it now; gathers what has come of a request that must be whole.
    ///
    /// # Errors
    /// The request is too long.
    pub fn is_ready(&mut self, now: Time) -> Result<bool, AbortCode> {
        let Some(most) = self.gathers else { return Ok(self.receive.is_readable()) };
        if self.receive.gather() > 0 {
            self.on_read(now);
        }
        if self.receive.gathered() > most {
            return Err(AbortCode::SERVER_UNMARSHAL);
        }
        Ok(self.receive.is_complete())
    }

    /// Whether neither the application nor the peer needs it any more.
    pub fn is_over(&self) -> bool {
        if self.attached {
            return false;
        }
        // All has arrived, though the peer has not said that its reader took it: that much patience is enough.
        if self.failure.is_none() && self.send.is_delivered() && self.patience_ended {
            return true;
        }
        let quiet = self.ack_due.is_none() && self.delayed_ack_at.is_none();
        self.failure.is_some() || (self.send.is_done() && self.receive.is_complete() && quiet)
    }

    /// A packet of the peer for this call came, whatever its kind.
    pub fn on_heard(&mut self, now: Time) {
        self.last_heard = now;
    }

    /// An opened data packet came.
    pub fn on_data(
        &mut self,
        seq: u32,
        serial: u32,
        is_last: bool,
        wants_ack: bool,
        payload: Vec<u8>,
        now: Time,
    ) -> Received {
        if self.side == Side::Client {
            // The reply has begun, so the request has arrived whole.
            self.send.on_all_acked(now);
        }
        let received = self.receive.insert(seq, is_last, payload);
        if matches!(received, Received::InOrder | Received::OutOfOrder) {
            self.last_progress = now;
        }
        self.is_bulk |= self.receive.highest() >= self.receive.acked_first + config::BULK_IN_FLIGHT;
        let reason = match received {
            _ if wants_ack => Some(AckReason::Requested),
            Received::InOrder if !self.receive.has_gap() => None,
            Received::InOrder | Received::OutOfOrder => Some(AckReason::OutOfSequence),
            Received::Duplicate => Some(AckReason::Duplicate),
            Received::BeyondWindow => Some(AckReason::ExceedsWindow),
        };
        match reason {
            Some(reason) => self.ack_due = Some((reason, serial)),
            None => self.consider_ack(serial, now),
        }
        received
    }

    /// An ordinary packet came: every second is acked at once, or every 32nd of a bulk transfer, the others a little later.
    /// The end of the request is acked by the reply.
    fn consider_ack(&mut self, serial: u32, now: Time) {
        self.packets_since_ack += 1;
        let enough = if self.is_bulk { config::BULK_BEFORE_ACK } else { 2 };
        if self.packets_since_ack >= enough && !(self.receive.is_complete() && self.side == Side::Client) {
            self.ack_due = Some((AckReason::Idle, serial));
        } else {
            self.delayed_ack_at.get_or_insert(now + config::ACK_DELAY);
        }
    }

    /// An ack came. Returns a round-trip sample if it holds one.
    pub fn on_ack(&mut self, ack: &Ack, serial: u32, wants_answer: bool, now: Time) -> Option<Duration> {
        if ack.reason == AckReason::Ping as u8 || wants_answer {
            self.ack_due = Some((AckReason::PingResponse, serial));
        }
        let before = self.send.last_progress;
        let sample = self.send.on_ack(ack, now);
        if self.send.last_progress != before {
            self.last_progress = now;
        }
        sample
    }

    /// The application has read; the peer learns of the room, which it may be waiting for: its own limit may be well
    /// below our window, and what has arrived but was not read counts against it.
    pub fn on_read(&mut self, now: Time) {
        self.last_progress = now;
        let freed = self.receive.first_unread() - self.receive.acked_first;
        let enough = if self.is_bulk { config::BULK_BEFORE_ACK } else { config::READ_BEFORE_ACK };
        let worth_telling = (self.receive.window() / 2).min(enough);
        if freed >= worth_telling && !self.receive.is_complete() && self.ack_due.is_none() {
            self.ack_due = Some((AckReason::Delay, 0));
        }
    }

    /// The client has read the whole reply: the server may forget it. Sent at once only if asked, since the next
    /// call on the channel says the same.
    pub fn ack_reply(&mut self, at_once: bool, now: Time) {
        if at_once {
            self.ack_due.get_or_insert((AckReason::Delay, 0));
        } else if self.ack_due.is_none() {
            self.delayed_ack_at.get_or_insert(now + config::ACK_DELAY);
        }
    }

    /// Nothing more needs to be acked: the next call says it.
    pub fn forget_acks(&mut self) {
        self.ack_due = None;
        self.delayed_ack_at = None;
    }

    /// A ping is to be sent: its answer shows that the peer is where it says.
    pub fn ask_for_answer(&mut self) {
        self.ping_due = true;
    }

    /// The ack to send now, and whether it asks for an answer.
    pub fn next_ack(&mut self, trailer: AckTrailer) -> Option<(Ack, bool)> {
        let (reason, serial) = match self.ack_due.take() {
            Some(due) => due,
            None if std::mem::take(&mut self.ping_due) => {
                return Some((self.ack(AckReason::Ping, 0, trailer), true));
            }
            None => return None,
        };
        self.delayed_ack_at = None;
        self.packets_since_ack = 0;
        Some((self.ack(reason, serial, trailer), false))
    }

    fn ack(&mut self, reason: AckReason, serial: u32, trailer: AckTrailer) -> Ack {
        self.receive.acked_first = self.receive.first_unread();
        let acks = self.receive.acks();
        // What the peer must know is in `first_packet` alone when nothing beyond it has come.
        Ack {
            buffer_space: 0,
            max_skew: 0,
            first_packet: self.receive.first_unread(),
            previous_packet: self.receive.highest(),
            serial,
            reason: reason as u8,
            acks,
            trailer: Some(AckTrailer { receive_window: self.receive.window(), ..trailer }),
        }
    }

    /// Something was sent for this call.
    pub fn on_sent(&mut self, now: Time) {
        self.last_sent = now;
    }

    /// When this call next needs attention if nothing comes.
    pub fn deadline(&self, peer: &Peer) -> Option<Time> {
        if self.failure.is_some() {
            return None;
        }
        let resend = self.send.resend_at(&peer.round_trip, self.longest_resend());
        let mut deadline = earliest(self.delayed_ack_at, resend);
        deadline = earliest(deadline, self.send.probe_at(&peer.round_trip));
        if self.only_waits_to_be_forgotten() && !self.patience_ended {
            deadline = earliest(deadline, Some(self.last_heard + self.timeouts.dead));
        }
        if self.is_alive() {
            deadline = earliest(deadline, Some(self.last_sent + self.ping_interval()));
            deadline = earliest(deadline, Some(self.last_heard + self.timeouts.dead));
            deadline = earliest(deadline, self.timeouts.hard_dead.map(|hard| self.started + hard));
            deadline = earliest(
                deadline,
                self.timeouts.idle.filter(|_| self.waits_for_peer()).map(|idle| self.last_progress + idle),
            );
        }
        deadline
    }

    /// Whether the peer is expected to be there: something is yet to come or to arrive.
    fn is_alive(&self) -> bool {
        let complete = self.send.is_done() && self.receive.is_complete();
        let outstanding = self.send.is_outstanding() && !self.send.is_delivered();
        let unfinished = self.side == Side::Server && !self.announced;
        self.failure.is_none() && !complete && (self.attached || outstanding || unfinished)
    }

    fn only_waits_to_be_forgotten(&self) -> bool {
        !self.attached && self.announced && self.send.is_delivered()
    }

    /// Whether it is the peer's turn, so that idling is its fault.
    fn waits_for_peer(&self) -> bool {
        let unfinished = self.side == Side::Server && !self.announced;
        self.send.is_outstanding() || unfinished || (self.reader_waits && !self.receive.is_readable())
    }

    fn ping_interval(&self) -> Duration {
        self.timeouts.dead / config::TRIES_IN_DEAD_TIME
    }

    fn longest_resend(&self) -> Duration {
        self.ping_interval().max(Duration::from_millis(1))
    }

    /// Time has passed.
    pub fn on_timeout(&mut self, peer: &mut Peer, now: Time) -> Expired {
        if let Some(code) = self.expired(peer, now) {
            return Expired::Failed(code);
        }
        self.patience_ended |=
            self.only_waits_to_be_forgotten() && self.last_heard + self.timeouts.dead <= now;
        if self.delayed_ack_at.is_some_and(|at| at <= now) {
            self.delayed_ack_at = None;
            self.ack_due.get_or_insert((AckReason::Delay, 0));
        }
        if self.send.resend_at(&peer.round_trip, self.longest_resend()).is_some_and(|at| at <= now) {
            self.send.on_timeout();
            peer.congestion_window = peer.congestion_window.min(self.send.congestion_window().max(2));
        } else if self.send.probe_at(&peer.round_trip).is_some_and(|at| at <= now) {
            self.send.on_probe();
        }
        if self.is_alive() && self.last_sent + self.ping_interval() <= now {
            self.ping_due = true;
            // Also when it may not be sent: the next one is due an interval later.
            self.last_sent = now;
        }
        Expired::Quiet
    }

    fn expired(&self, peer: &mut Peer, now: Time) -> Option<AbortCode> {
        if !self.is_alive() {
            return None;
        }
        if self.last_heard + self.timeouts.dead <= now {
            return Some(AbortCode::CALL_DEAD);
        }
        if self.timeouts.hard_dead.is_some_and(|hard| self.started + hard <= now) {
            return Some(AbortCode::CALL_TIMEOUT);
        }
        if let Some((transmissions, length)) = self.send.oldest_missing() {
            let stuck =
                self.last_progress + self.timeouts.dead <= now && transmissions > config::TOO_LARGE_AFTER;
            let size = (length + HEADER_LEN) as u16;
            if let (true, Some(smaller)) =
                (stuck, config::PACKET_SIZES.iter().find(|smaller| **smaller < size))
            {
                peer.packet_size = peer.packet_size.min(*smaller);
                return Some(AbortCode::MESSAGE_SIZE);
            }
        }
        let idle = self.timeouts.idle.filter(|_| self.waits_for_peer())?;
        (self.last_progress + idle <= now).then_some(AbortCode::CALL_TIMEOUT)
    }

    /// Whether the application should try again to read or to write.
    pub fn take_wakeup(&mut self) -> bool {
        let reader = self.reader_waits && (self.receive.is_readable() || self.failure.is_some());
        let writer = self.writer_waits && (self.send.has_room() || self.failure.is_some());
        self.reader_waits &= !reader;
        self.writer_waits &= !writer;
        reader || writer
    }
}

fn earliest(a: Option<Time>, b: Option<Time>) -> Option<Time> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets that came after the first `burst`, which were read at once, and the acks that they caused, each being read
    /// as it came.
    fn acks_after_a_burst(burst: u32) -> u32 {
        let windows = Windows { receive: 128, send: 255, congestion: 8 };
        let mut call = Call::new(1, Side::Client, Timeouts::default(), windows, Time::ZERO);
        let trailer = AckTrailer {
            max_mtu: 1444,
            interface_mtu: 1444,
            receive_window: 0,
            max_datagram_packets: Some(1),
        };
        let mut out = [0; 4096];
        let mut acks = 0;
        for seq in 1..=burst + 320 {
            call.on_data(seq, seq, false, false, vec![7; 10], Time::ZERO);
            if seq >= burst && call.receive.read(&mut out) > 0 {
                call.on_read(Time::ZERO);
            }
            acks += u32::from(call.next_ack(trailer).is_some() && seq > burst);
        }
        acks
    }

    /// X3, P17: a sender that has shown a large window is acked every 32 packets, since each ack wakes a thread at either
    /// end; OpenAFS, which sends 32 at most, every second one as it does itself.
    #[test]
    fn a_sender_with_a_large_window_is_acked_rarely() {
        assert_eq!(acks_after_a_burst(100), 10);
        assert_eq!(acks_after_a_burst(32), 160);
    }
}
