//! The value of a hash: its fields and their values, in the order in which the fields came.
//!
//! Each field is a length and bytes, then a length and bytes of its value; lengths are four bytes, little-endian. A
//! hash is read and written whole: the service is for small data.

use crate::error::StorageError;

/// The fields of a hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Vec<(Vec<u8>, Vec<u8>)>);

impl Fields {
    /// Reads the value of `key`.
    ///
    /// # Errors
    /// It does not have this form.
    pub fn decode(key: &[u8], mut bytes: &[u8]) -> Result<Fields, StorageError> {
        let mut fields = Vec::new();
        let mut piece = || -> Option<Vec<u8>> {
            let (length, rest) = bytes.split_first_chunk()?;
            let (piece, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            bytes = rest;
            Some(piece.to_vec())
        };
        loop {
            match (piece(), piece()) {
                (Some(field), Some(value)) => fields.push((field, value)),
                (None, None) if bytes.is_empty() => return Ok(Fields(fields)),
                _ => {
                    let key = key.escape_ascii().to_string();
                    return Err(StorageError::Damaged { key, what: "its fields end too early" });
                }
            }
        }
    }

    /// The value that [`Fields::decode`] reads.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for piece in self.0.iter().flat_map(|(field, value)| [field, value]) {
            bytes.extend_from_slice(&(piece.len() as u32).to_le_bytes());
            bytes.extend_from_slice(piece);
        }
        bytes
    }

    /// The value of `field`.
    pub fn get(&self, field: &[u8]) -> Option<&[u8]> {
        self.0.iter().find(|(name, _)| name == field).map(|(_, value)| value.as_slice())
    }

    /// Gives `field` this value; true if it is new.
    pub fn set(&mut self, field: &[u8], value: &[u8]) -> bool {
        match self.0.iter_mut().find(|(name, _)| name == field) {
            Some((_, old)) => {
                *old = value.to_vec();
                false
            }
            None => {
                self.0.push((field.to_vec(), value.to_vec()));
                true
            }
        }
    }

    /// Removes `field`; false if it is not there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        let at = self.0.iter().position(|(name, _)| name == field);
        at.map(|at| self.0.remove(at)).is_some()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none; such a hash is not kept.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Fields and values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(field, value)| (field.as_slice(), value.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S4: fields of any bytes are read as they were written; a cut value is refused.
    #[test]
    fn fields_read_as_they_were_written() {
        let mut fields = Fields::default();
        assert!(fields.set(b"a", b"") && fields.set(b"", b"\0\xff") && !fields.set(b"a", b"1"));
        let bytes = fields.encode();
        assert_eq!(Fields::decode(b"key", &bytes).unwrap(), fields);
        for short in 1..bytes.len() {
            // Cut between two fields, what is left is a hash of its own.
            assert_eq!(Fields::decode(b"key", &bytes[..short]).is_err(), short != 10, "{short} bytes");
        }
    }
}
