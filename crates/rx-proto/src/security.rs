//! The seam for security classes: what a connection asks of one, and the class that does nothing.
//!
//! A class makes one [`ConnectionSecurity`] for each connection. The connection never looks into sealed bytes, a
//! response or a challenge, and hands nothing to a call before [`ConnectionSecurity::open`] has accepted it; so a
//! modern class (rxgk) fits in without a change here.

use std::fmt;
use std::sync::Arc;

use crate::codes::AbortCode;

/// Index of a security class within a service: 0 none, 2 rxkad, 4 rxgk, as in AFS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecurityIndex(pub u8);

impl SecurityIndex {
    /// No security.
    pub const NULL: SecurityIndex = SecurityIndex(0);
    /// rxkad: Kerberos tickets, fcrypt packets.
    pub const RXKAD: SecurityIndex = SecurityIndex(2);
}

/// Random bytes that nobody can foresee; the driver asks the system, the simulator a seed.
pub trait Random: Send {
    /// Fills `bytes`.
    fn fill(&mut self, bytes: &mut [u8]);

    /// A random number.
    fn word(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        u32::from_be_bytes(bytes)
    }
}

/// What identifies a connection to a security class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionIdentity {
    /// The epoch of the side that opened it.
    pub epoch: u32,
    /// Its id, channel bits zero.
    pub connection_id: u32,
    /// The class's index in packets.
    pub security_index: SecurityIndex,
}

/// Where a data packet stands; classes bind its bytes to this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketPosition {
    /// Channel, 0 to 3.
    pub channel: u8,
    /// Call number on the channel.
    pub call_number: u32,
    /// Sequence number within the direction.
    pub seq: u32,
}

/// Who a caller has proven to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Name, e.g. `afs` or `alice`.
    pub name: String,
    /// Second component of the name, often empty.
    pub instance: String,
    /// Realm or cell; empty in tickets that a server printed from its own key.
    pub cell: String,
    /// When the proof ends, in seconds of Unix time.
    pub expires: u32,
    /// Level of protection, as the class numbers them (rxkad: 0 clear, 1 auth, 2 crypt).
    pub level: u8,
    /// Whether the ticket was printed from the server key itself: the caller knows the key of the service.
    pub is_service: bool,
}

/// What a class reports of a connection to `rxdebug`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct SecurityStatistics {
    /// 0 unknown, 1 rxnull, 3 rxkad.
    pub kind: u8,
    /// Level of protection.
    pub level: u8,
    /// 2: authenticated, 8: packet checksums seen.
    pub flags: u32,
    /// End of the ticket, Unix time.
    pub expires: u32,
}

/// The state of a security class on one connection.
pub trait ConnectionSecurity: Send {
    /// Bytes that sealing adds to a packet at most.
    fn overhead(&self) -> usize {
        0
    }

    /// Seals the bytes of a data packet in place and returns the checksum for its header.
    fn seal(&mut self, position: PacketPosition, payload: &mut Vec<u8>) -> Result<u16, AbortCode> {
        let _ = (position, payload);
        Ok(0)
    }

    /// Opens a received data packet in place. An error means: not from the peer, or damaged; it is dropped.
    fn open(
        &mut self,
        position: PacketPosition,
        checksum: u16,
        payload: &mut Vec<u8>,
        unix_time: u32,
    ) -> Result<(), AbortCode> {
        let _ = (position, checksum, payload, unix_time);
        Ok(())
    }

    /// Server side: whether data may be opened at all, or a challenge is due first.
    fn is_authenticated(&self) -> bool {
        true
    }

    /// Server side: the body of a challenge.
    fn challenge(&mut self, random: &mut dyn Random) -> Vec<u8> {
        let _ = random;
        Vec::new()
    }

    /// Client side: the body of the response to `challenge`. `call_numbers` are, of each
    /// channel, that of the call under way or of the last one.
    fn answer(&mut self, challenge: &[u8], call_numbers: [u32; 4]) -> Result<Vec<u8>, AbortCode> {
        let _ = (challenge, call_numbers);
        Err(AbortCode::PROTOCOL_ERROR)
    }

    /// Server side: checks a response, and returns the client's call numbers; replays must fail.
    fn check_response(&mut self, response: &[u8], unix_time: u32) -> Result<[u32; 4], AbortCode> {
        let _ = (response, unix_time);
        Err(AbortCode::PROTOCOL_ERROR)
    }

    /// Server side: who the client has proven to be, if anybody.
    fn identity(&self) -> Option<Arc<Identity>> {
        None
    }

    /// For `rxdebug`.
    fn statistics(&self) -> SecurityStatistics {
        SecurityStatistics { kind: 1, ..SecurityStatistics::default() }
    }
}

/// A security class as one side of a service uses it.
pub trait SecurityClass: Send + Sync + fmt::Debug {
    /// Its index in packets.
    fn index(&self) -> SecurityIndex;

    /// The version of the key behind what is presented, if there is one: for messages.
    fn key_version(&self) -> Option<i32> {
        None
    }

    /// The state for a new connection.
    fn connection(&self, identity: ConnectionIdentity) -> Box<dyn ConnectionSecurity>;
}

/// No security: anybody may say anything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullSecurity;

impl SecurityClass for NullSecurity {
    fn index(&self) -> SecurityIndex {
        SecurityIndex::NULL
    }

    fn connection(&self, _identity: ConnectionIdentity) -> Box<dyn ConnectionSecurity> {
        Box::new(NullSecurity)
    }
}

impl ConnectionSecurity for NullSecurity {}
