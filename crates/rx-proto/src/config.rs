//! What an endpoint may be told: time-outs, windows and limits, each with the reason for its default.

use std::time::Duration;

use crate::shares::ShareLimits;

/// How long to wait for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// A call fails with [`crate::AbortCode::CALL_DEAD`] when nothing at all was heard for this long. Pings go out
    /// every sixth of it. 12 s in AFS.
    pub dead: Duration,
    /// A call fails with [`crate::AbortCode::CALL_TIMEOUT`] when it has lasted this long, whatever was heard.
    pub hard_dead: Option<Duration>,
    /// A call fails with [`crate::AbortCode::CALL_TIMEOUT`] when the peer lives but neither sends nor takes a byte
    /// for this long.
    pub idle: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { dead: Duration::from_secs(12), hard_dead: None, idle: None }
    }
}

/// Settings of an endpoint.
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// Time-outs of calls that peers make to us. The idle time of 60 s frees threads that a client lets wait.
    pub server_timeouts: Timeouts,
    /// Packets taken beyond the first unread one, 1 to 255. 32 is what AFS has; more is needed for bulk transfers
    /// at speed, and bounds what a call can hold in memory (times 1416 bytes).
    pub receive_window: u8,
    /// Packets sent beyond the first that the peer has not read, 1 to 255; the peer's window limits them too.
    pub send_window: u8,
    /// Largest packet, Rx header included, in bytes. 1444 fits an Ethernet frame with IPv4 or IPv6.
    pub max_packet_size: u16,
    /// What we answer to a question for our version; at most 64 bytes are sent.
    pub version: String,
    /// Connections that peers may open at once, in all.
    pub max_server_connections: usize,
    /// Of these, how many may be of strangers, or of addresses that have proven nothing yet. When there are more, the
    /// oldest that is idle gives way.
    pub max_strangers: usize,
    /// Bytes of data that all unproven connections may make us keep.
    pub max_unverified_bytes: usize,
    /// What calls of each share may use, in the order of [`crate::admission::Share::ALL`].
    pub shares: [ShareLimits; 3],
    /// A connection that a peer opened is forgotten when it was silent for this long.
    pub idle_connection: Duration,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        EndpointConfig {
            server_timeouts: Timeouts { idle: Some(Duration::from_secs(60)), ..Timeouts::default() },
            receive_window: 128,
            send_window: 255,
            max_packet_size: 1444,
            version: concat!("Quorate ", env!("CARGO_PKG_VERSION")).to_owned(),
            max_server_connections: 8192,
            max_strangers: 1024,
            max_unverified_bytes: 4 << 20,
            shares: [
                // A vote is one packet each way, and there are at most 19 peers with four channels each.
                ShareLimits { attached: 64, calls: 128, packets: 8 },
                // A transfer needs the windows; 128 calls of the largest size hold 100 MB.
                ShareLimits { attached: 96, calls: 128, packets: 255 },
                // Questions and small replies. What all of them hold together is in docs/rx-wire.md.
                ShareLimits { attached: 96, calls: 192, packets: 16 },
            ],
            idle_connection: Duration::from_secs(600),
        }
    }
}

/// The peer is told when the application has read so many packets. Half of the 16 that OpenAFS sends before it knows
/// our window, so that it never waits for us.
pub(crate) const READ_BEFORE_ACK: u32 = 8;
/// So many packets beyond the last ack show that the sender's window is far beyond OpenAFS's 32.
pub(crate) const BULK_IN_FLIGHT: u32 = 64;
/// Such a sender is told after so many packets, arrived or read: each ack wakes it, and lets as many leave at once.
pub(crate) const BULK_BEFORE_ACK: u32 = 32;
/// A packet is acked at the latest this long after it came, if nothing else caused an ack.
pub(crate) const ACK_DELAY: Duration = Duration::from_millis(100);
/// Longest time between two transmissions of a packet: the dead time's sixth, so that there are several tries.
pub(crate) const TRIES_IN_DEAD_TIME: u32 = 6;
/// Smallest packet that every path is taken to carry, Rx header included.
pub(crate) const MIN_PACKET_SIZE: u16 = 576 - 28;
/// Sizes to fall back to when larger packets do not arrive: an Ethernet with a tunnel or two, and the least.
pub(crate) const PACKET_SIZES: [u16; 2] = [1200, MIN_PACKET_SIZE];
/// A challenge is not repeated sooner.
pub(crate) const CHALLENGE_INTERVAL: Duration = Duration::from_millis(200);
/// Data packets kept for a connection that has not answered its challenge.
pub(crate) const MAX_PENDING_PACKETS: usize = 16;
/// A connection on which so many packets did not verify is given up: whoever guesses a checksum of 16 bits gets this many tries
/// for each connection that a peer opens, and no more.
pub(crate) const MAX_REFUSED: u32 = 64;
/// A server call begins only with a packet in the first window.
pub(crate) const MAX_FIRST_SEQ: u32 = 32;
/// A packet sent so often without arriving, while the peer lives, is too large for the path.
pub(crate) const TOO_LARGE_AFTER: u32 = 6;
