//! The packets of an authenticated connection: checksum, sealing and opening at each level.
//!
//! Both sides of a connection share this once they know session key and level.

use subtle::ConstantTimeEq;

use super::fcrypt::{self, KeySchedule};
use super::{Level, SessionKey};
use crate::codes::AbortCode;
use crate::security::{ConnectionIdentity, PacketPosition};

/// Bytes before the payload at level auth: check and length.
const AUTH_HEADER_LEN: usize = 4;
/// Bytes before the payload at level crypt: check and length, and a word that is zero.
const CRYPT_HEADER_LEN: usize = 8;

/// Session key, level and what the connection adds to checksums.
#[derive(Clone)]
pub struct Sealer {
    schedule: KeySchedule,
    initial: [u8; 8],
    pre_sequence: [u8; 8],
    level: Level,
}

impl Sealer {
    /// For the connection `identity`.
    pub fn new(key: &SessionKey, level: Level, identity: &ConnectionIdentity) -> Sealer {
        let schedule = KeySchedule::new(key);
        let mut endpoint = endpoint_bytes(identity, 0);
        schedule.encrypt_chained(&mut endpoint, key.0);
        let mut pre_sequence = [0; 8];
        pre_sequence.copy_from_slice(&endpoint[8..]);
        Sealer { schedule, initial: key.0, pre_sequence, level }
    }

    /// Bytes that sealing adds at most.
    pub fn overhead(level: Level) -> usize {
        match level {
            Level::Clear => 0,
            Level::Auth => 8,
            Level::Crypt => 16,
        }
    }

    /// The level in use.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The checksum of the packet at `position`.
    pub fn checksum(&self, position: PacketPosition) -> u16 {
        let PacketPosition { channel, call_number, seq } = position;
        fcrypt::packet_checksum(&self.schedule, self.pre_sequence, call_number, channel, seq)
    }

    /// Seals `payload` in place; returns the checksum for the header.
    pub fn seal(&self, position: PacketPosition, payload: &mut Vec<u8>) -> Result<u16, AbortCode> {
        let length = u16::try_from(payload.len()).map_err(|_| AbortCode::RXKAD_DATA_LENGTH)?;
        let check = (u32::from(check_of(position)) << 16) | u32::from(length);
        match self.level {
            Level::Clear => {}
            Level::Auth => {
                payload.splice(0..0, check.to_be_bytes());
                payload.resize(payload.len().max(8), 0);
                let first = payload.first_chunk_mut().expect("resized to at least 8 just above");
                *first = self.schedule.encrypt(*first);
            }
            Level::Crypt => {
                payload.splice(0..0, (u64::from(check) << 32).to_be_bytes());
                payload.resize(payload.len().next_multiple_of(8), 0);
                self.schedule.encrypt_chained(payload, self.initial);
            }
        }
        Ok(self.checksum(position))
    }

    /// Checks and opens `payload` in place.
    pub fn open(
        &self,
        position: PacketPosition,
        checksum: u16,
        payload: &mut Vec<u8>,
    ) -> Result<(), AbortCode> {
        if !bool::from(self.checksum(position).ct_eq(&checksum)) {
            return Err(AbortCode::RXKAD_SEALED_INCONSISTENT);
        }
        let header_len = match self.level {
            Level::Clear => return Ok(()),
            Level::Auth => {
                let first = payload.first_chunk_mut().ok_or(AbortCode::RXKAD_PACKET_SHORT)?;
                *first = self.schedule.decrypt(*first);
                AUTH_HEADER_LEN
            }
            Level::Crypt => {
                if payload.len() < CRYPT_HEADER_LEN || !payload.len().is_multiple_of(8) {
                    return Err(AbortCode::RXKAD_PACKET_SHORT);
                }
                self.schedule.decrypt_chained(payload, self.initial);
                CRYPT_HEADER_LEN
            }
        };
        let check = u16::from_be_bytes([payload[0], payload[1]]);
        let length = usize::from(u16::from_be_bytes([payload[2], payload[3]]));
        if !bool::from(check_of(position).ct_eq(&check)) {
            return Err(AbortCode::RXKAD_SEALED_INCONSISTENT);
        }
        if length > payload.len() - header_len {
            return Err(AbortCode::RXKAD_DATA_LENGTH);
        }
        payload.drain(..header_len);
        payload.truncate(length);
        Ok(())
    }
}

/// The low bits of sequence number and call number, sealed with the length.
fn check_of(position: PacketPosition) -> u16 {
    (position.seq ^ position.call_number) as u16
}

/// The connection as rxkad seals it: epoch, id, checksum, security index.
pub(super) fn endpoint_bytes(identity: &ConnectionIdentity, checksum: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[0..4].copy_from_slice(&identity.epoch.to_be_bytes());
    bytes[4..8].copy_from_slice(&identity.connection_id.to_be_bytes());
    bytes[8..12].copy_from_slice(&checksum.to_be_bytes());
    bytes[12..16].copy_from_slice(&u32::from(identity.security_index.0).to_be_bytes());
    bytes
}
