//! What is known of a peer's address: how far away it is, how much it can take, whether it is really there.
//!
//! All connections to an address share this. Nothing in it may be trusted to be true, only to be recent; the one
//! promise is [`Peer::is_verified`]: the peer has shown that it receives what we send to this address.

use std::time::Duration;

/// Retransmission waits at least this much longer than the round trip: peers delay acks by up to 100 ms.
const ACK_ALLOWANCE: Duration = Duration::from_millis(200);
/// Least round trip assumed.
const MIN_ROUND_TRIP: Duration = Duration::from_millis(20);
/// Retransmission time before the first measurement (RFC 6298).
const INITIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Packets that may be in flight before the first ack.
const INITIAL_WINDOW: u32 = 8;

/// The state of one peer address.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Connections that use it; at zero it is forgotten.
    pub connections: u32,
    pub round_trip: RoundTrip,
    /// Where the next call's congestion window starts.
    pub congestion_window: u32,
    /// Largest packet sent to it, Rx header included, in bytes.
    pub packet_size: u16,
    pub packets_sent: u32,
    pub packets_resent: u32,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    verified: bool,
    /// Bytes that may yet be sent to an address that is not verified.
    credit: usize,
}

impl Peer {
    pub fn new(packet_size: u16) -> Self {
        Peer {
            connections: 0,
            round_trip: RoundTrip::default(),
            congestion_window: INITIAL_WINDOW,
            packet_size,
            packets_sent: 0,
            packets_resent: 0,
            bytes_sent: 0,
            bytes_received: 0,
            verified: false,
            credit: 0,
        }
    }

    /// Whether the peer has shown that it receives what we send there.
    pub fn is_verified(&self) -> bool {
        self.verified
    }

    /// The peer has shown it.
    pub fn verify(&mut self) {
        self.verified = true;
    }

    /// Bytes came from the address: an address that is not verified may be sent three times as many, so that a
    /// liar gains nothing by naming a victim as its address.
    pub fn count_received(&mut self, bytes: usize) {
        self.bytes_received += bytes as u64;
        if !self.verified {
            self.credit = self.credit.saturating_add(3 * bytes).min(1 << 16);
        }
    }

    /// Whether a datagram may be sent now.
    pub fn may_send(&self) -> bool {
        self.verified || self.credit > 0
    }

    /// Bytes were sent; the last datagram may exceed the credit, or no reply of one packet would ever fit.
    pub fn count_sent(&mut self, bytes: usize) {
        self.packets_sent = self.packets_sent.wrapping_add(1);
        self.bytes_sent += bytes as u64;
        self.credit = self.credit.saturating_sub(bytes);
    }
}

/// Measured round-trip time (Jacobson).
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct RoundTrip {
    smoothed: Option<Duration>,
    deviation: Duration,
}

impl RoundTrip {
    /// A packet was acked `sample` after it was sent.
    pub fn measure(&mut self, sample: Duration) {
        match self.smoothed {
            None => {
                self.smoothed = Some(sample);
                self.deviation = sample / 2;
            }
            Some(smoothed) => {
                let error = sample.abs_diff(smoothed);
                self.deviation = self.deviation * 3 / 4 + error / 4;
                self.smoothed = Some(smoothed * 7 / 8 + sample / 8);
            }
        }
    }

    /// When to send again what was not acked.
    pub fn timeout(&self) -> Duration {
        match self.smoothed {
            None => INITIAL_TIMEOUT,
            Some(smoothed) => (smoothed + self.deviation * 4).max(MIN_ROUND_TRIP) + ACK_ALLOWANCE,
        }
    }

    /// The round trip, if measured.
    pub fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    /// Its mean deviation.
    pub fn deviation(&self) -> Duration {
        self.deviation
    }
}
