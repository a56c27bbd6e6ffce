//! The client's side of rxkad: it holds a ticket, answers challenges, seals at its level.

use super::fcrypt::{self, KeySchedule};
use super::seal::{Sealer, endpoint_bytes};
use super::ticket::Printed;
use super::{Level, SessionKey};
use crate::codes::AbortCode;
use crate::security::{
    ConnectionIdentity, ConnectionSecurity, PacketPosition, SecurityClass, SecurityIndex, SecurityStatistics,
};

/// The version of challenge and response.
pub(super) const VERSION: u32 = 2;
/// Length of a challenge, in bytes.
pub(super) const CHALLENGE_LEN: usize = 16;
/// Length of a response before its ticket, in bytes.
pub(super) const RESPONSE_LEN: usize = 56;
/// The sealed bytes of a response.
pub(super) const SEALED: std::ops::Range<usize> = 8..48;

/// A ticket, ready for any number of connections.
#[derive(Debug, Clone)]
pub struct RxkadClient {
    /// Level of protection.
    pub level: Level,
    /// The session key inside the ticket.
    pub session_key: SessionKey,
    /// How the ticket is encoded: 256 a Kerberos 5 ticket, 213 its encrypted part.
    pub kvno: u32,
    /// The ticket.
    pub ticket: Vec<u8>,
}

impl RxkadClient {
    /// Calls as the service itself, with a ticket printed from its key.
    pub fn printed(printed: Printed, level: Level) -> RxkadClient {
        let Printed { ticket, kvno, session_key } = printed;
        RxkadClient { level, session_key, kvno, ticket }
    }
}

impl SecurityClass for RxkadClient {
    fn index(&self) -> SecurityIndex {
        SecurityIndex::RXKAD
    }

    fn connection(&self, identity: ConnectionIdentity) -> Box<dyn ConnectionSecurity> {
        let sealer = Sealer::new(&self.session_key, self.level, &identity);
        Box::new(ClientConnection { class: self.clone(), identity, sealer })
    }
}

struct ClientConnection {
    class: RxkadClient,
    identity: ConnectionIdentity,
    sealer: Sealer,
}

impl ConnectionSecurity for ClientConnection {
    fn overhead(&self) -> usize {
        Sealer::overhead(self.class.level)
    }

    fn seal(&mut self, position: PacketPosition, payload: &mut Vec<u8>) -> Result<u16, AbortCode> {
        self.sealer.seal(position, payload)
    }

    fn open(
        &mut self,
        position: PacketPosition,
        checksum: u16,
        payload: &mut Vec<u8>,
        _unix_time: u32,
    ) -> Result<(), AbortCode> {
        self.sealer.open(position, checksum, payload)
    }

    fn answer(&mut self, challenge: &[u8], call_numbers: [u32; 4]) -> Result<Vec<u8>, AbortCode> {
        let words: &[u8; CHALLENGE_LEN] = challenge.first_chunk().ok_or(AbortCode::RXKAD_PACKET_SHORT)?;
        let word = |at: usize| u32::from_be_bytes([words[at], words[at + 1], words[at + 2], words[at + 3]]);
        let least = Level::from_wire(word(8)).ok_or(AbortCode::RXKAD_ILLEGAL_LEVEL)?;
        if word(0) != VERSION {
            return Err(AbortCode::RXKAD_INCONSISTENCY);
        }
        if least > self.class.level {
            return Err(AbortCode::RXKAD_LEVEL_FAIL);
        }
        Ok(self.response(word(4), call_numbers))
    }

    fn statistics(&self) -> SecurityStatistics {
        SecurityStatistics { kind: 3, level: self.class.level as u8, flags: 8, expires: 0 }
    }
}

impl ClientConnection {
    fn response(&self, challenge_id: u32, call_numbers: [u32; 4]) -> Vec<u8> {
        let RxkadClient { level, session_key, kvno, ticket } = &self.class;
        let ticket_len = u32::try_from(ticket.len()).expect("a ticket has less than 4 GiB");
        let mut response = Vec::with_capacity(RESPONSE_LEN + ticket.len());
        response.extend_from_slice(&VERSION.to_be_bytes());
        response.extend_from_slice(&0u32.to_be_bytes());
        response.extend_from_slice(&endpoint_bytes(&self.identity, 0));
        for number in call_numbers {
            response.extend_from_slice(&number.to_be_bytes());
        }
        for word in [challenge_id.wrapping_add(1), *level as u32, *kvno, ticket_len] {
            response.extend_from_slice(&word.to_be_bytes());
        }
        let checksum = fcrypt::response_checksum(&response);
        response[16..20].copy_from_slice(&checksum.to_be_bytes());
        KeySchedule::new(session_key).encrypt_chained(&mut response[SEALED], session_key.0);
        response.extend_from_slice(ticket);
        response
    }
}
