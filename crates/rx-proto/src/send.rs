//! The sending half of a call: bytes become sealed packets, packets wait for their acks.
//!
//! A packet is sealed once, when it is cut from the stream, and keeps its bytes until the peer's reader has taken
//! them (hard ack). A soft ack only stops its retransmission, since the peer may still drop it. Every
//! transmission has its own serial, so an ack tells which transmission it answers: round trips are measured without
//! doubt, and a packet is lost when three that were sent after it have arrived.

use std::collections::VecDeque;
use std::time::Duration;

use crate::packet::{Ack, AckReason};
use crate::peer::RoundTrip;
use crate::time::Time;

/// Packets that must arrive after a missing one before it counts as lost.
const REORDERING: u32 = 3;
/// Least slow-start threshold, in packets.
const MIN_THRESHOLD: u32 = 4;
/// An ack that was asked for is not missed sooner.
const MIN_PROBE: Duration = Duration::from_millis(5);
/// Most packets in flight: an ack names at most 255.
const MAX_WINDOW: u32 = 255;
/// Send window before the peer has said its own.
const INITIAL_PEER_WINDOW: u32 = 16;
/// Packets that may wait beyond what is in flight, so that the stream never runs dry between two writes.
const READY_PACKETS: usize = 64;

/// A packet of the stream, sealed.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub seq: u32,
    pub payload: Vec<u8>,
    pub checksum: u16,
    pub is_last: bool,
    pub transmissions: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    InFlight { serial: u32, at: Time },
    Lost,
    Received,
}

/// What to do with a packet that [`SendHalf::next_packet`] offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offer {
    /// Its index in the queue, for [`SendHalf::packet`].
    pub index: usize,
    /// Ask for an ack at once: the window is used up with it, or it was sent before.
    pub request_ack: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct SendHalf {
    /// Bytes not yet cut into a packet.
    pub partial: Vec<u8>,
    queue: VecDeque<Outgoing>,
    next_seq: u32,
    finished: bool,
    peer_window: u32,
    /// Our own limit of packets in flight.
    most: u32,
    congestion_window: u32,
    threshold: u32,
    acked_in_window: u32,
    /// Losses of packets with serials up to this one have been answered by a smaller window already.
    recovery_serial: u32,
    newest_acked_serial: u32,
    in_flight: u32,
    lost: u32,
    backoff: u32,
    /// When the resend timer was last set going.
    timer_from: Option<Time>,
    /// When the latest packet was sent, and whether it asked for an ack at once.
    last_sent: Option<(Time, bool)>,
    /// Probes since something arrived.
    probes: u32,
    /// When anything last became known to have arrived.
    pub last_progress: Option<Time>,
}

impl SendHalf {
    pub fn new(congestion_window: u32, most: u32) -> Self {
        let most = most.clamp(1, MAX_WINDOW);
        SendHalf {
            partial: Vec::new(),
            queue: VecDeque::new(),
            next_seq: 1,
            finished: false,
            peer_window: INITIAL_PEER_WINDOW,
            congestion_window: congestion_window.clamp(1, most),
            most,
            threshold: MAX_WINDOW,
            acked_in_window: 0,
            recovery_serial: 0,
            newest_acked_serial: 0,
            in_flight: 0,
            lost: 0,
            backoff: 0,
            timer_from: None,
            last_sent: None,
            probes: 0,
            last_progress: None,
        }
    }

    /// Changes our own limit of packets in flight.
    pub fn set_most(&mut self, most: u32) {
        self.most = most.clamp(1, MAX_WINDOW);
        self.congestion_window = self.congestion_window.min(self.most);
    }

    /// Whether another packet may be cut.
    pub fn has_room(&self) -> bool {
        let ready = READY_PACKETS.min(2 * self.most as usize);
        self.queue.len() < self.window() as usize + ready
    }

    /// Adds a sealed packet to the stream.
    pub fn push(&mut self, payload: Vec<u8>, checksum: u16, is_last: bool) {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.finished |= is_last;
        self.queue.push_back(Outgoing {
            seq,
            payload,
            checksum,
            is_last,
            transmissions: 0,
            state: State::Ready,
        });
    }

    /// The sequence number that the next packet gets.
    pub fn next_seq(&self) -> u32 {
        self.next_seq
    }

    /// Whether the last packet has been cut.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Whether the last packet has been cut and all are acked.
    pub fn is_done(&self) -> bool {
        self.finished && self.queue.is_empty()
    }

    /// Whether the last packet has been cut and all have arrived, read or not.
    pub fn is_delivered(&self) -> bool {
        self.finished && self.queue.iter().all(|packet| packet.state == State::Received)
    }

    /// Whether packets wait for an ack or to be sent.
    pub fn is_outstanding(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The packet at the index of an offer.
    pub fn packet(&self, index: usize) -> &Outgoing {
        &self.queue[index]
    }

    fn window(&self) -> u32 {
        self.peer_window.min(self.most)
    }

    /// The packet to send now, lost ones first; `None` while the windows are full.
    pub fn next_packet(&self) -> Option<Offer> {
        if self.in_flight >= self.congestion_window {
            return None;
        }
        let wanted = if self.lost > 0 { State::Lost } else { State::Ready };
        let index = if self.lost > 0 {
            self.queue.iter().position(|packet| packet.state == wanted)?
        } else {
            let unsent = self.queue.partition_point(|packet| packet.state != State::Ready);
            (unsent < self.queue.len()).then_some(unsent)?
        };
        if index as u32 >= self.window() {
            return None;
        }
        let fills_window = self.in_flight + 1 >= self.congestion_window || index as u32 + 1 >= self.window();
        let more_waits = index + 1 < self.queue.len();
        let request_ack = (fills_window && more_waits) || self.queue[index].transmissions > 0;
        Some(Offer { index, request_ack })
    }

    /// The packet of an offer goes out with `serial`.
    pub fn on_sent(&mut self, offer: Offer, serial: u32, now: Time) {
        self.last_sent = Some((now, offer.request_ack));
        let packet = &mut self.queue[offer.index];
        if packet.state == State::Lost {
            self.lost -= 1;
        }
        packet.state = State::InFlight { serial, at: now };
        packet.transmissions += 1;
        self.in_flight += 1;
        self.timer_from.get_or_insert(now);
    }

    /// When to resend, if nothing arrives before.
    pub fn resend_at(&self, round_trip: &RoundTrip, longest: Duration) -> Option<Time> {
        let from = self.timer_from.filter(|_| self.in_flight > 0)?;
        Some(from + (round_trip.timeout() * (1 << self.backoff.min(6))).min(longest))
    }

    /// When to send the oldest packet again because an ack that was asked for has not come. Much earlier than
    /// [`Self::resend_at`], which must allow for acks that the peer delays; the window stays as it is.
    pub fn probe_at(&self, round_trip: &RoundTrip) -> Option<Time> {
        let (at, asked) = self.last_sent.filter(|_| self.in_flight > 0)?;
        let patience = round_trip.smoothed()? * 2 + round_trip.deviation() * 4;
        asked.then(|| at + patience.max(MIN_PROBE) * (1 << self.probes.min(6)))
    }

    /// An ack that was asked for has not come.
    pub fn on_probe(&mut self) {
        self.probes += 1;
        let in_flight = |packet: &&mut Outgoing| matches!(packet.state, State::InFlight { .. });
        if let Some(oldest) = self.queue.iter_mut().find(in_flight) {
            oldest.state = State::Lost;
            self.in_flight -= 1;
            self.lost += 1;
        }
    }

    /// Nothing arrived in time: what is in flight is lost, and the window starts anew.
    pub fn on_timeout(&mut self) {
        self.threshold = (self.in_flight / 2).max(MIN_THRESHOLD);
        self.congestion_window = 1;
        self.backoff += 1;
        self.timer_from = None;
        for packet in &mut self.queue {
            if matches!(packet.state, State::InFlight { .. }) {
                packet.state = State::Lost;
                self.lost += 1;
                self.in_flight -= 1;
            }
        }
    }

    /// The reply has begun, or an old peer says so: everything has arrived and been read.
    pub fn on_all_acked(&mut self, now: Time) {
        if self.queue.iter().all(|packet| packet.state == State::Ready) {
            return;
        }
        self.queue.retain(|packet| packet.state == State::Ready);
        (self.in_flight, self.lost) = (0, 0);
        self.timer_from = None;
        self.last_progress = Some(now);
    }

    /// Whether an ack speaks of packets that were sent and not yet acked for good. One that does not was overtaken,
    /// or is from a peer that has restarted and knows nothing of this call.
    pub fn is_plausible(&self, ack: &Ack) -> bool {
        let first_seq = self.queue.front().map_or(self.next_seq, |packet| packet.seq);
        let sent_end =
            self.queue.iter().find(|packet| packet.transmissions == 0).map_or(self.next_seq, |p| p.seq);
        (first_seq..=sent_end).contains(&ack.first_packet)
    }

    /// A plausible ack arrived. Returns a round-trip sample if it holds one.
    pub fn on_ack(&mut self, ack: &Ack, now: Time) -> Option<Duration> {
        if let Some(trailer) = &ack.trailer {
            self.peer_window = trailer.receive_window.clamp(1, MAX_WINDOW);
        }
        let sample = self.sample(ack, now);
        let was_limited = self.in_flight + self.lost >= self.congestion_window;
        let mut newly = self.drop_read(ack.first_packet);
        newly += self.mark_received(ack);
        if newly > 0 {
            self.backoff = 0;
            self.probes = 0;
            self.timer_from = (self.in_flight > 0).then_some(now);
            self.last_progress = Some(now);
            if was_limited {
                self.grow(newly);
            }
        }
        self.find_lost();
        sample
    }

    /// The round trip of the packet that the ack answers; delayed acks tell nothing.
    fn sample(&mut self, ack: &Ack, now: Time) -> Option<Duration> {
        if ack.serial == 0 || ack.reason == AckReason::Delay as u8 {
            return None;
        }
        self.queue.iter().find_map(|packet| match packet.state {
            State::InFlight { serial, at } if serial == ack.serial => Some(now - at),
            _ => None,
        })
    }

    /// Forgets what the peer's reader has taken; returns how many were not known to have arrived.
    fn drop_read(&mut self, first_packet: u32) -> u32 {
        let mut newly = 0;
        while self.queue.front().is_some_and(|packet| packet.seq < first_packet) {
            let packet = self.queue.pop_front().expect("the loop's condition saw it");
            newly += self.count_arrival(packet.state);
        }
        newly
    }

    fn mark_received(&mut self, ack: &Ack) -> u32 {
        let mut newly = 0;
        for index in 0..ack.acks.len().min(self.queue.len()) {
            let state = self.queue[index].state;
            let received = ack.acks[index] & 1 == 1;
            match (received, state) {
                (true, State::InFlight { .. } | State::Lost) => {
                    newly += self.count_arrival(state);
                    self.queue[index].state = State::Received;
                }
                // The peer dropped what it had (or this ack was overtaken: then the packet goes out once too often).
                (false, State::Received) => {
                    self.queue[index].state = State::Lost;
                    self.lost += 1;
                }
                _ => {}
            }
        }
        newly
    }

    /// A packet in this state turns out to have arrived.
    fn count_arrival(&mut self, state: State) -> u32 {
        match state {
            State::InFlight { serial, .. } => {
                self.in_flight -= 1;
                self.newest_acked_serial = self.newest_acked_serial.max(serial);
                1
            }
            State::Lost => {
                self.lost -= 1;
                1
            }
            State::Ready | State::Received => 0,
        }
    }

    /// Slow start below the threshold, then one packet a window.
    fn grow(&mut self, newly: u32) {
        if self.congestion_window < self.threshold {
            self.congestion_window += newly;
        } else {
            self.acked_in_window += newly;
            if self.acked_in_window >= self.congestion_window {
                self.acked_in_window = 0;
                self.congestion_window += 1;
            }
        }
        self.congestion_window = self.congestion_window.min(self.most);
    }

    /// Packets sent well before one that arrived are lost; the window halves once for those of one flight.
    fn find_lost(&mut self) {
        let newest = self.newest_acked_serial;
        // With less than four packets in flight, three later ones cannot arrive.
        let reordering = self.in_flight.clamp(1, REORDERING);
        let mut highest_lost = 0;
        for packet in &mut self.queue {
            let State::InFlight { serial, .. } = packet.state else {
                continue;
            };
            if serial + reordering <= newest {
                packet.state = State::Lost;
                self.lost += 1;
                self.in_flight -= 1;
                highest_lost = highest_lost.max(serial);
            }
        }
        if highest_lost > self.recovery_serial {
            self.recovery_serial = newest;
            self.threshold = (self.congestion_window / 2).max(MIN_THRESHOLD);
            self.congestion_window = self.threshold;
        }
        if self.in_flight == 0 {
            self.timer_from = None;
        }
    }

    /// The congestion window, in packets.
    pub fn congestion_window(&self) -> u32 {
        self.congestion_window
    }

    /// How often the oldest packet that has not arrived was sent, and its length.
    pub fn oldest_missing(&self) -> Option<(u32, usize)> {
        let missing = self.queue.iter().find(|packet| packet.state != State::Received)?;
        Some((missing.transmissions, missing.payload.len()))
    }
}
