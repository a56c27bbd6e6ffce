//! What is in a Kerberos ticket for rxkad: reading one that a client presents, printing one from the server key.
//!
//! A ticket is believed only after [`kerberos::decrypt_ticket`] has checked its MAC with a key of the server;
//! times are checked last, with the clock skew that AFS allows.

use super::der::{self, Reader};
use super::keys::{KeyStore, ServerKey};
use super::{SessionKey, kerberos};
use crate::codes::AbortCode;
use crate::security::Random;

/// The `kvno` of a response whose ticket is a whole Kerberos 5 ticket.
pub const KVNO_KERBEROS_5: u32 = 256;
/// The `kvno` of a response whose ticket is only the encrypted part of one.
pub const KVNO_ENCRYPTED_PART: u32 = 213;

/// Longest ticket that a response may carry, in bytes.
pub const MAX_TICKET_LEN: usize = 12_000;
/// Clocks may differ by this much, in seconds.
const CLOCK_SKEW_SECS: u64 = 15 * 60;
/// Longest lifetime of a ticket with a start, in seconds.
const MAX_LIFETIME_SECS: u64 = 30 * 24 * 60 * 60;
/// An end that never comes.
const NEVER: u32 = 0xffff_ffff;
/// The name under which a server that holds the key calls.
const SERVICE_NAME: &str = "afs";
/// Key type that rxkad's own session keys carry (des-cbc-crc).
const DES_CBC_CRC: i32 = 1;

/// Why the bytes of a ticket make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadTicket {
    /// It ends too early or a length is wrong.
    #[error("the ticket ends too early")]
    Torn,
    /// Another element than the one that belongs there.
    #[error("the ticket has tag {found:#x} where {expected:#x} belongs")]
    Tag {
        /// What belongs there.
        expected: u8,
        /// What is there.
        found: u8,
    },
    /// A number does not fit.
    #[error("a number in the ticket does not fit")]
    Number,
    /// A text is not UTF-8, or too long, or names are missing.
    #[error("a name in the ticket is not usable")]
    Text,
    /// A time is malformed.
    #[error("a time in the ticket is malformed")]
    Time,
}

impl From<BadTicket> for AbortCode {
    fn from(_: BadTicket) -> AbortCode {
        AbortCode::RXKAD_BAD_TICKET
    }
}

/// What a ticket says.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// First component of the client's name.
    pub name: String,
    /// Second component, or empty.
    pub instance: String,
    /// The client's realm; empty in printed tickets.
    pub cell: String,
    /// The key of the connection.
    pub session_key: SessionKey,
    /// From when it is valid, Unix time; 0: always.
    pub start: u32,
    /// Until when, Unix time.
    pub end: u32,
}

impl Ticket {
    /// Opens what a response carries.
    ///
    /// # Errors
    /// The rxkad code to abort with.
    pub fn open(bytes: &[u8], kvno: u32, keys: &dyn KeyStore) -> Result<Ticket, AbortCode> {
        let mut reader = Reader(bytes);
        let encrypted = match kvno {
            KVNO_ENCRYPTED_PART => reader.element(der::SEQUENCE)?,
            KVNO_KERBEROS_5 => {
                let mut ticket = reader.nested(der::application(1), der::SEQUENCE)?;
                if ticket.nested(der::context(0), der::INTEGER)?.integer()? != 5 {
                    return Err(AbortCode::RXKAD_BAD_TICKET);
                }
                ticket.element(der::context(1))?;
                ticket.element(der::context(2))?;
                ticket.nested(der::context(3), der::SEQUENCE)?
            }
            _ => return Err(AbortCode::RXKAD_UNKNOWN_KEY),
        };
        let plain = decrypt(encrypted, keys)?;
        Ok(read_body(&plain)?)
    }

    /// An encrypted part around sealed bytes that are of type 17, key version 1; for the fuzzer.
    pub(crate) fn from_sealed(sealed: &[u8]) -> Vec<u8> {
        let numbers = [der::field(0, der::INTEGER, &[17]), der::field(1, der::INTEGER, &[1])].concat();
        der::element(der::SEQUENCE, &[numbers, der::field(2, der::OCTET_STRING, sealed)].concat())
    }

    /// Whether the ticket may be used at `unix_time`.
    ///
    /// # Errors
    /// The rxkad code to abort with.
    pub fn check_times(&self, unix_time: u32) -> Result<(), AbortCode> {
        let (start, end, now) = (u64::from(self.start), u64::from(self.end), u64::from(unix_time));
        let ends = self.end != NEVER;
        if start >= end || start > now + CLOCK_SKEW_SECS + MAX_LIFETIME_SECS {
            return Err(AbortCode::RXKAD_BAD_TICKET);
        }
        if start != 0 && ends && end - start > MAX_LIFETIME_SECS {
            return Err(AbortCode::RXKAD_BAD_TICKET);
        }
        if ends && end + CLOCK_SKEW_SECS < now {
            return Err(AbortCode::RXKAD_EXPIRED);
        }
        if start != 0 && start > now + CLOCK_SKEW_SECS {
            return Err(AbortCode::RXKAD_NO_AUTH);
        }
        Ok(())
    }

    /// Whether a holder of the server key printed this for itself.
    pub fn is_service(&self) -> bool {
        self.name == SERVICE_NAME && self.instance.is_empty() && self.cell.is_empty()
    }
}

fn decrypt(mut encrypted: Reader<'_>, keys: &dyn KeyStore) -> Result<Vec<u8>, AbortCode> {
    let encryption_type = encrypted.nested(der::context(0), der::INTEGER)?.integer()?;
    let version = match encrypted.optional(der::context(1))? {
        Some(mut field) => field.element(der::INTEGER)?.integer()?,
        None => 0,
    };
    let cipher = encrypted.nested(der::context(2), der::OCTET_STRING)?;
    let key = keys.key(version, encryption_type).ok_or(AbortCode::RXKAD_UNKNOWN_KEY)?;
    kerberos::decrypt_ticket(&key, cipher.0).map_err(|_| AbortCode::RXKAD_BAD_TICKET)
}

fn read_body(plain: &[u8]) -> Result<Ticket, BadTicket> {
    let mut body = Reader(plain).nested(der::application(3), der::SEQUENCE)?;
    body.element(der::context(0))?;
    let mut key = body.nested(der::context(1), der::SEQUENCE)?;
    let key_type = key.nested(der::context(0), der::INTEGER)?.integer()?;
    let session_key = read_session_key(key_type, key.nested(der::context(1), der::OCTET_STRING)?.0)?;
    let cell = body.nested(der::context(2), der::GENERAL_STRING)?.text()?;
    let mut principal = body.nested(der::context(3), der::SEQUENCE)?;
    principal.element(der::context(0))?;
    let mut names = principal.nested(der::context(1), der::SEQUENCE)?;
    let name = names.element(der::GENERAL_STRING)?.text()?;
    let instance = match names.optional(der::GENERAL_STRING)? {
        Some(second) => second.text()?,
        None => String::new(),
    };
    // A dot in the first component could pose as the two components of another name.
    let unusable = name.contains('.') || !names.0.is_empty();
    if unusable || [&name, &instance, &cell].iter().any(|text| text.len() >= 64) {
        return Err(BadTicket::Text);
    }
    body.element(der::context(4))?;
    let authenticated = read_time(body.nested(der::context(5), der::GENERALIZED_TIME)?)?;
    let start = match body.optional(der::context(6))? {
        Some(mut field) => read_time(field.element(der::GENERALIZED_TIME)?)?,
        None => authenticated,
    };
    let end = read_time(body.nested(der::context(7), der::GENERALIZED_TIME)?)?;
    Ok(Ticket { name, instance, cell, session_key, start, end })
}

fn read_session_key(key_type: i32, bytes: &[u8]) -> Result<SessionKey, BadTicket> {
    match key_type {
        1..=3 => Ok(SessionKey(bytes.try_into().map_err(|_| BadTicket::Number)?)),
        17..=23 if bytes.len() >= 7 => kerberos::derive_session_key(bytes).ok_or(BadTicket::Number),
        _ => Err(BadTicket::Number),
    }
}

/// `YYYYMMDDHHMMSSZ` as Unix time, clamped to what 32 bits hold.
fn read_time(text: Reader<'_>) -> Result<u32, BadTicket> {
    let digits = text.0.strip_suffix(b"Z").filter(|digits| digits.len() == 14).ok_or(BadTicket::Time)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(BadTicket::Time);
    }
    let number =
        |from: usize, to: usize| digits[from..to].iter().fold(0i64, |n, d| n * 10 + i64::from(d - b'0'));
    let (month, day) = (number(4, 6), number(6, 8));
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return Err(BadTicket::Time);
    }
    let days = days_from_1970(number(0, 4), month, day);
    let seconds = days * 86_400 + number(8, 10) * 3600 + number(10, 12) * 60 + number(12, 14);
    Ok(seconds.clamp(0, i64::from(u32::MAX)) as u32)
}

/// Days of the Gregorian calendar from 1970-01-01; years begin in March, so that leap days come last.
fn days_from_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// A ticket that the holder of a server key made for itself, and the session key inside.
#[derive(Debug, Clone)]
pub struct Printed {
    /// The bytes to present.
    pub ticket: Vec<u8>,
    /// The `kvno` to present it with.
    pub kvno: u32,
    /// The key of connections made with it.
    pub session_key: SessionKey,
}

impl Printed {
    /// Prints a ticket for the service itself, valid from 1970 to 2038.
    ///
    /// # Errors
    /// `None` if the key's encryption type is not supported.
    pub fn new(key: &ServerKey, random: &mut dyn Random) -> Option<Printed> {
        let session_key = SessionKey::generate(random);
        let mut confounder = [0; kerberos::CONFOUNDER_LEN];
        random.fill(&mut confounder);
        Self::from_parts(key, session_key, confounder)
    }

    /// The same from chosen randomness, so that captured tickets can be reproduced.
    pub fn from_parts(
        key: &ServerKey,
        session_key: SessionKey,
        confounder: [u8; kerberos::CONFOUNDER_LEN],
    ) -> Option<Printed> {
        let sealed = kerberos::encrypt_ticket(&key.material, confounder, &print_body(&session_key))?;
        let ticket = der::element(
            der::SEQUENCE,
            &[
                der::field(0, der::INTEGER, &der::integer_bytes(key.encryption_type)),
                der::field(1, der::INTEGER, &der::integer_bytes(key.version)),
                der::field(2, der::OCTET_STRING, &sealed),
            ]
            .concat(),
        );
        Some(Printed { ticket, kvno: KVNO_ENCRYPTED_PART, session_key })
    }
}

fn print_body(session_key: &SessionKey) -> Vec<u8> {
    // Bit 12 of the flags: transited policy checked.
    let flags = [0, 0, 8, 0, 0];
    let key =
        [der::field(0, der::INTEGER, &[DES_CBC_CRC as u8]), der::field(1, der::OCTET_STRING, &session_key.0)];
    let names = der::element(der::GENERAL_STRING, SERVICE_NAME.as_bytes());
    let principal = [der::field(0, der::INTEGER, &[1]), der::field(1, der::SEQUENCE, &names)];
    let transited = [der::field(0, der::INTEGER, &[0]), der::field(1, der::OCTET_STRING, &[])];
    let body = [
        der::field(0, der::BIT_STRING, &flags),
        der::field(1, der::SEQUENCE, &key.concat()),
        der::field(2, der::GENERAL_STRING, &[]),
        der::field(3, der::SEQUENCE, &principal.concat()),
        der::field(4, der::SEQUENCE, &transited.concat()),
        der::field(5, der::GENERALIZED_TIME, b"19700101000000Z"),
        der::field(7, der::GENERALIZED_TIME, b"20380119031407Z"),
    ];
    der::element(der::application(3), &der::element(der::SEQUENCE, &body.concat()))
}
