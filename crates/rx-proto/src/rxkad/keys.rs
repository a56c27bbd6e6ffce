//! The keys of a server: the bytes of OpenAFS's `KeyFileExt`, read with every length checked.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

use super::kerberos;

/// `rxkad_krb5`, the type of keys that seal Kerberos 5 tickets.
const KEY_TYPE_RXKAD_KRB5: u32 = 2;
/// What a key's description has at least: its length, type, version and encryption type.
const DESCRIPTION_LEN: u32 = 16;
/// Longest key that is read, in bytes.
const MAX_KEY_LEN: usize = 1024;
/// Most keys that are read.
const MAX_KEYS: usize = 10_000;

/// One key of the service.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerKey {
    /// Key version number.
    pub version: i32,
    /// Kerberos encryption type.
    pub encryption_type: i32,
    /// The key itself.
    pub material: Vec<u8>,
}

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerKey {{ version: {}, encryption_type: {}, .. }}", self.version, self.encryption_type)
    }
}

impl Drop for ServerKey {
    /// Wipes the key.
    fn drop(&mut self) {
        self.material.zeroize();
    }
}

/// Where a server looks up the key of a ticket.
pub trait KeyStore: Send + Sync + fmt::Debug {
    /// The key of this version and encryption type.
    fn key(&self, version: i32, encryption_type: i32) -> Option<Zeroizing<Vec<u8>>>;
}

/// Why a key file cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// It ends within a record.
    #[error("the key file ends within key {0}; it may be damaged, or no KeyFileExt at all")]
    Torn(usize),
    /// A number in it is out of all reason.
    #[error("key {0} of the key file has an impossible length; it may be damaged, or no KeyFileExt at all")]
    Length(usize),
}

/// The `rxkad_krb5` keys of a `KeyFileExt`.
#[derive(Debug, Clone, Default)]
pub struct KeyFile {
    keys: Vec<ServerKey>,
}

impl KeyFile {
    /// Reads the bytes of a `KeyFileExt`; keys of other types are passed over.
    ///
    /// # Errors
    /// The bytes are not such a file.
    pub fn parse(bytes: &[u8]) -> Result<KeyFile, KeyFileError> {
        let mut rest = bytes;
        let count = take_word(&mut rest).ok_or(KeyFileError::Torn(0))? as usize;
        if count > MAX_KEYS {
            return Err(KeyFileError::Length(0));
        }
        let mut keys = Vec::new();
        for number in 1..=count {
            let (key_type, key) = take_key(&mut rest, number)?;
            if key_type == KEY_TYPE_RXKAD_KRB5 {
                keys.push(key);
            }
        }
        Ok(KeyFile { keys })
    }

    /// A store of just these keys.
    pub fn from_keys(keys: Vec<ServerKey>) -> KeyFile {
        KeyFile { keys }
    }

    /// The bytes of a file with these keys.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new((self.keys.len() as u32).to_be_bytes().to_vec());
        for key in &self.keys {
            let words = [
                DESCRIPTION_LEN,
                KEY_TYPE_RXKAD_KRB5,
                key.version as u32,
                key.encryption_type as u32,
                key.material.len() as u32,
            ];
            words.iter().for_each(|word| bytes.extend_from_slice(&word.to_be_bytes()));
            bytes.extend_from_slice(&key.material);
        }
        bytes
    }

    /// The key that new tickets are sealed with: the strongest type that is there, of it the highest version.
    pub fn newest(&self) -> Option<&ServerKey> {
        [kerberos::AES256_CTS_HMAC_SHA1_96, kerberos::AES128_CTS_HMAC_SHA1_96].iter().find_map(
            |encryption_type| {
                let of_type = self.keys.iter().filter(|key| key.encryption_type == *encryption_type);
                of_type.max_by_key(|key| key.version)
            },
        )
    }

    /// All keys, as in the file.
    pub fn keys(&self) -> &[ServerKey] {
        &self.keys
    }
}

impl KeyStore for KeyFile {
    fn key(&self, version: i32, encryption_type: i32) -> Option<Zeroizing<Vec<u8>>> {
        let found =
            self.keys.iter().find(|key| key.version == version && key.encryption_type == encryption_type);
        found.map(|key| Zeroizing::new(key.material.clone()))
    }
}

fn take_key(rest: &mut &[u8], number: usize) -> Result<(u32, ServerKey), KeyFileError> {
    let torn = KeyFileError::Torn(number);
    let description_len = take_word(rest).ok_or(torn)? as usize;
    // The length counts itself and three words; what a later version adds is passed over.
    let extra = description_len.checked_sub(DESCRIPTION_LEN as usize).filter(|extra| *extra <= MAX_KEY_LEN);
    let extra = extra.ok_or(KeyFileError::Length(number))?;
    let key_type = take_word(rest).ok_or(torn)?;
    let version = take_word(rest).ok_or(torn)? as i32;
    let encryption_type = take_word(rest).ok_or(torn)? as i32;
    rest.split_off(..extra).ok_or(torn)?;
    let length = take_word(rest).ok_or(torn)? as usize;
    if length > MAX_KEY_LEN {
        return Err(KeyFileError::Length(number));
    }
    let material = rest.split_off(..length).ok_or(torn)?.to_vec();
    Ok((key_type, ServerKey { version, encryption_type, material }))
}

fn take_word(rest: &mut &[u8]) -> Option<u32> {
    let (word, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u32::from_be_bytes(*word))
}
