//! rxkad, security index 2: Kerberos tickets at the start of a connection, fcrypt for its packets.
//!
//! * [`fcrypt`]: the cipher and both checksums.
//! * [`kerberos`]: the encryption types of tickets.
//! * [`ticket`]: what is in a ticket; reading and printing it.
//! * [`keys`]: the keys of a server, as OpenAFS stores them.
//! * [`client`], [`server`]: the two sides of a connection.
//! * [`seal`]: the packets of a connection that both sides have agreed on.
//!
//! A server that holds the key of its cell prints a ticket for itself ([`ticket::Printed`]); that is how database
//! servers speak to each other. What it proves is only that the caller knows the key.

pub mod client;
mod der;
pub mod fcrypt;
pub mod kerberos;
pub mod keys;
pub mod seal;
pub mod server;
pub mod ticket;

use std::fmt;

use crate::security::Random;

/// How much of each packet rxkad protects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// A 16-bit checksum of the header only. Ubik servers use this among themselves.
    Clear = 0,
    /// Also the first eight bytes are sealed.
    Auth = 1,
    /// Everything is sealed.
    Crypt = 2,
}

impl Level {
    /// The level with this number on the wire.
    pub fn from_wire(number: u32) -> Option<Level> {
        match number {
            0 => Some(Level::Clear),
            1 => Some(Level::Auth),
            2 => Some(Level::Crypt),
            _ => None,
        }
    }
}

/// The key of one connection: 56 bits, with a parity bit at the end of each byte.
#[derive(Clone, Copy)]
pub struct SessionKey(pub [u8; 8]);

impl SessionKey {
    /// A fresh key.
    pub fn generate(random: &mut dyn Random) -> SessionKey {
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        SessionKey(bytes).with_odd_parity()
    }

    /// The same 56 bits, each byte with an odd number of ones.
    pub fn with_odd_parity(self) -> SessionKey {
        SessionKey(self.0.map(|byte| (byte & 0xfe) | u8::from((byte & 0xfe).count_ones().is_multiple_of(2))))
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(not shown)")
    }
}
