//! What the record of a key holds: a small header, then the value.
//!
//! | bytes | |
//! | --- | --- |
//! | 1 | version of this form, 1 |
//! | 1 | kind of value: 1 string, 2 hash |
//! | 1 | flags: bit 0, the key expires |
//! | 8 | revision of the last change |
//! | 8 | when it expires, milliseconds on the cell's clock; only if bit 0 says so |
//! | rest | the value |
//!
//! Numbers are little-endian.

use crate::error::StorageError;

/// What kind of value a key has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes.
    String = 1,
    /// Fields and their values ([`crate::fields`]).
    Hash = 2,
}

impl Kind {
    /// What TYPE answers.
    pub fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::Hash => "hash",
        }
    }
}

const VERSION: u8 = 1;
const EXPIRES: u8 = 1;

/// A key's record, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The kind of its value.
    pub kind: Kind,
    /// The revision of the write that made it what it is.
    pub revision: u64,
    /// When it expires, in milliseconds on the cell's clock.
    pub expires: Option<u64>,
    record: Vec<u8>,
    start: usize,
}

impl Entry {
    /// Reads the record of `key`.
    ///
    /// # Errors
    /// It does not have this form.
    pub fn decode(key: &[u8], record: Vec<u8>) -> Result<Entry, StorageError> {
        let damaged = |what| StorageError::Damaged { key: key.escape_ascii().to_string(), what };
        let [version, kind, flags, rest @ ..] = record.as_slice() else {
            return Err(damaged("it is shorter than its header"));
        };
        if *version != VERSION || *flags & !EXPIRES != 0 {
            return Err(damaged("its version or a flag is unknown"));
        }
        let kind = match kind {
            1 => Kind::String,
            2 => Kind::Hash,
            _ => return Err(damaged("its kind is unknown")),
        };
        let mut rest = rest;
        let mut number = || {
            let (bytes, after) =
                rest.split_first_chunk().ok_or_else(|| damaged("it is shorter than its header"))?;
            rest = after;
            Ok(u64::from_le_bytes(*bytes))
        };
        let revision = number()?;
        let expires = if *flags & EXPIRES != 0 { Some(number()?) } else { None };
        let start = record.len() - rest.len();
        Ok(Entry { kind, revision, expires, record, start })
    }

    /// The record of an entry.
    pub fn encode(kind: Kind, revision: u64, expires: Option<u64>, value: &[u8]) -> Vec<u8> {
        let mut record = Vec::with_capacity(19 + value.len());
        record.extend_from_slice(&[VERSION, kind as u8, if expires.is_some() { EXPIRES } else { 0 }]);
        record.extend_from_slice(&revision.to_le_bytes());
        if let Some(expires) = expires {
            record.extend_from_slice(&expires.to_le_bytes());
        }
        record.extend_from_slice(value);
        record
    }

    /// The value.
    pub fn value(&self) -> &[u8] {
        &self.record[self.start..]
    }

    /// Bytes of the record.
    pub fn record_len(&self) -> usize {
        self.record.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S18: what is written is read; every damaged header is refused.
    #[test]
    fn a_record_reads_as_it_was_written() {
        for expires in [None, Some(77)] {
            let record = Entry::encode(Kind::Hash, 5, expires, b"value");
            let entry = Entry::decode(b"key", record.clone()).unwrap();
            assert_eq!((entry.kind, entry.revision, entry.expires), (Kind::Hash, 5, expires));
            assert_eq!(entry.value(), b"value");
            for short in 0..record.len() - 5 {
                assert!(Entry::decode(b"key", record[..short].to_vec()).is_err(), "{short} bytes");
            }
            for (at, wrong) in [(0, 2), (1, 3), (2, 2)] {
                let mut damaged = record.clone();
                damaged[at] = wrong;
                assert!(Entry::decode(b"key", damaged).is_err(), "byte {at}");
            }
        }
    }
}
