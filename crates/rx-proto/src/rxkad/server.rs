//! The server's side of rxkad: it challenges, checks the response and the ticket in it, opens and seals.
//!
//! Nothing of a response is believed before the ticket opened with a key of ours, the sealed part's checksum is
//! right, it names this very connection, and it answers the challenge that this connection sent last.

use std::sync::Arc;

use subtle::ConstantTimeEq;

use super::Level;
use super::client::{RESPONSE_LEN, SEALED, VERSION};
use super::fcrypt::{self, KeySchedule};
use super::keys::KeyStore;
use super::seal::{Sealer, endpoint_bytes};
use super::ticket::{MAX_TICKET_LEN, Ticket};
use crate::codes::AbortCode;
use crate::security::{
    ConnectionIdentity, ConnectionSecurity, Identity, PacketPosition, Random, SecurityClass, SecurityIndex,
    SecurityStatistics,
};

/// What a server needs: its keys, and the least level that it accepts.
#[derive(Debug, Clone)]
pub struct RxkadServer {
    /// Keys that open tickets.
    pub keys: Arc<dyn KeyStore>,
    /// Connections below this level are refused.
    pub least_level: Level,
}

impl SecurityClass for RxkadServer {
    fn index(&self) -> SecurityIndex {
        SecurityIndex::RXKAD
    }

    fn connection(&self, identity: ConnectionIdentity) -> Box<dyn ConnectionSecurity> {
        Box::new(ServerConnection { class: self.clone(), identity, challenge_id: None, accepted: None })
    }
}

struct ServerConnection {
    class: RxkadServer,
    identity: ConnectionIdentity,
    /// The challenge that awaits its response. A response uses it up, so that a replay finds none.
    challenge_id: Option<u32>,
    accepted: Option<Accepted>,
}

struct Accepted {
    sealer: Sealer,
    caller: Arc<Identity>,
}

impl ConnectionSecurity for ServerConnection {
    fn overhead(&self) -> usize {
        self.accepted.as_ref().map_or(0, |accepted| Sealer::overhead(accepted.sealer.level()))
    }

    fn seal(&mut self, position: PacketPosition, payload: &mut Vec<u8>) -> Result<u16, AbortCode> {
        let accepted = self.accepted.as_ref().ok_or(AbortCode::RXKAD_NO_AUTH)?;
        accepted.sealer.seal(position, payload)
    }

    fn open(
        &mut self,
        position: PacketPosition,
        checksum: u16,
        payload: &mut Vec<u8>,
        unix_time: u32,
    ) -> Result<(), AbortCode> {
        let accepted = self.accepted.as_ref().ok_or(AbortCode::RXKAD_NO_AUTH)?;
        if unix_time >= accepted.caller.expires {
            return Err(AbortCode::RXKAD_EXPIRED);
        }
        accepted.sealer.open(position, checksum, payload)
    }

    fn is_authenticated(&self) -> bool {
        self.accepted.is_some()
    }

    fn challenge(&mut self, random: &mut dyn Random) -> Vec<u8> {
        // The same until it is answered: a challenge that was sent again must not make the answer to the first wrong.
        let challenge_id = *self.challenge_id.get_or_insert_with(|| random.word());
        let words = [VERSION, challenge_id, self.class.least_level as u32, 0];
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    fn check_response(&mut self, response: &[u8], unix_time: u32) -> Result<[u32; 4], AbortCode> {
        let (fixed, rest): (&[u8; RESPONSE_LEN], _) =
            response.split_first_chunk().ok_or(AbortCode::RXKAD_PACKET_SHORT)?;
        let ticket_len = word(fixed, 52) as usize;
        if !(1..=MAX_TICKET_LEN).contains(&ticket_len) {
            return Err(AbortCode::RXKAD_TICKET_LENGTH);
        }
        let ticket = rest.get(..ticket_len).ok_or(AbortCode::RXKAD_PACKET_SHORT)?;
        let ticket = Ticket::open(ticket, word(fixed, 48), &*self.class.keys)?;
        ticket.check_times(unix_time)?;
        let (call_numbers, level) = self.check_sealed(*fixed, &ticket)?;
        self.accept(ticket, level);
        Ok(call_numbers)
    }

    fn identity(&self) -> Option<Arc<Identity>> {
        self.accepted.as_ref().map(|accepted| Arc::clone(&accepted.caller))
    }

    fn statistics(&self) -> SecurityStatistics {
        match &self.accepted {
            None => SecurityStatistics { kind: 3, level: self.class.least_level as u8, flags: 8, expires: 0 },
            Some(Accepted { caller, .. }) => {
                SecurityStatistics { kind: 3, level: caller.level, flags: 2 | 8, expires: caller.expires }
            }
        }
    }
}

impl ServerConnection {
    /// Opens and checks the sealed part; uses up the challenge.
    fn check_sealed(
        &mut self,
        mut fixed: [u8; RESPONSE_LEN],
        ticket: &Ticket,
    ) -> Result<([u32; 4], Level), AbortCode> {
        let key = &ticket.session_key;
        KeySchedule::new(key).decrypt_chained(&mut fixed[SEALED], key.0);
        let checksum = word(&fixed, 16);
        fixed[16..20].fill(0);
        let sum_is_right = fcrypt::response_checksum(&fixed).ct_eq(&checksum);
        let is_this_connection = fixed[8..24].ct_eq(&endpoint_bytes(&self.identity, 0));
        if !bool::from(sum_is_right & is_this_connection) {
            return Err(AbortCode::RXKAD_SEALED_INCONSISTENT);
        }
        let expected = self.challenge_id.ok_or(AbortCode::RXKAD_OUT_OF_SEQUENCE)?.wrapping_add(1);
        if !bool::from(word(&fixed, 40).ct_eq(&expected)) {
            return Err(AbortCode::RXKAD_OUT_OF_SEQUENCE);
        }
        let level = Level::from_wire(word(&fixed, 44)).filter(|level| *level >= self.class.least_level);
        let level = level.ok_or(AbortCode::RXKAD_LEVEL_FAIL)?;
        let call_numbers = [24, 28, 32, 36].map(|at| word(&fixed, at));
        if call_numbers.iter().any(|number| *number > i32::MAX as u32) {
            return Err(AbortCode::RXKAD_SEALED_INCONSISTENT);
        }
        self.challenge_id = None;
        Ok((call_numbers, level))
    }

    fn accept(&mut self, ticket: Ticket, level: Level) {
        let sealer = Sealer::new(&ticket.session_key, level, &self.identity);
        let is_service = ticket.is_service();
        let Ticket { name, instance, cell, end, .. } = ticket;
        let caller = Identity { name, instance, cell, expires: end, level: level as u8, is_service };
        self.accepted = Some(Accepted { sealer, caller: Arc::new(caller) });
    }
}

fn word(bytes: &[u8; RESPONSE_LEN], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
