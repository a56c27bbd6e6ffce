//! XDR, as far as Ubik needs it: 32-bit integers and counted opaque bytes, big endian, in units of four.

use thiserror::Error;

/// Why bytes could not be read as what was expected.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum XdrError {
    /// The bytes ended.
    #[error("the message ends {missing} bytes early")]
    Short {
        /// How many bytes more were needed.
        missing: usize,
    },
    /// A count above what this field may have.
    #[error("{what} has {count} elements; at most {limit} are allowed")]
    TooLong {
        /// The field.
        what: &'static str,
        /// What the message says.
        count: usize,
        /// What is allowed.
        limit: usize,
    },
    /// A number outside its range.
    #[error("{what} is {value}, which it cannot be")]
    Range {
        /// The field.
        what: &'static str,
        /// What the message says.
        value: i64,
    },
    /// An operation that does not exist.
    #[error("no call has the number {0}")]
    Opcode(u32),
    /// Bytes after the end.
    #[error("{0} bytes follow the end of the message")]
    Trailing(usize),
}

/// Writes XDR.
#[derive(Debug, Default)]
pub struct Encoder(Vec<u8>);

impl Encoder {
    /// Appends one integer.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Appends one signed integer.
    pub fn i32(&mut self, value: i32) -> &mut Self {
        self.u32(value as u32)
    }

    /// Appends a count, the bytes, and zeros up to a multiple of four.
    pub fn opaque(&mut self, bytes: &[u8]) -> &mut Self {
        self.u32(bytes.len() as u32);
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// What was written.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

/// Reads XDR. Every length is checked before anything is allocated for it.
#[derive(Debug)]
pub struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    /// Reads `bytes` from their start.
    pub fn new(bytes: &'a [u8]) -> Self {
        Decoder(bytes)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], XdrError> {
        let (head, rest) = self
            .0
            .split_at_checked(count)
            .ok_or_else(|| XdrError::Short { missing: count - self.0.len() })?;
        self.0 = rest;
        Ok(head)
    }

    /// One integer.
    ///
    /// # Errors
    /// If the bytes end.
    pub fn u32(&mut self) -> Result<u32, XdrError> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// One signed integer.
    ///
    /// # Errors
    /// If the bytes end.
    pub fn i32(&mut self) -> Result<i32, XdrError> {
        self.u32().map(|value| value as i32)
    }

    /// An integer that C keeps signed and that must not be negative.
    ///
    /// # Errors
    /// If the bytes end or the number is negative.
    pub fn unsigned(&mut self, what: &'static str) -> Result<u32, XdrError> {
        let value = self.i32()?;
        u32::try_from(value).map_err(|_| XdrError::Range { what, value: value.into() })
    }

    /// A count of at most `limit` elements.
    ///
    /// # Errors
    /// If the bytes end or the count is above the limit.
    pub fn count(&mut self, what: &'static str, limit: usize) -> Result<usize, XdrError> {
        let count = self.u32()? as usize;
        if count > limit { Err(XdrError::TooLong { what, count, limit }) } else { Ok(count) }
    }

    /// Counted bytes, at most `limit` of them.
    ///
    /// # Errors
    /// If the bytes end or the count is above the limit.
    pub fn opaque(&mut self, what: &'static str, limit: usize) -> Result<&'a [u8], XdrError> {
        let count = self.count(what, limit)?;
        let bytes = self.take(count)?;
        self.take(count.next_multiple_of(4) - count)?;
        Ok(bytes)
    }

    /// `count` bytes as they are, without count or filling.
    ///
    /// # Errors
    /// If the bytes end.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], XdrError> {
        self.take(count)
    }

    /// That nothing is left.
    ///
    /// # Errors
    /// If something is.
    pub fn finish(self) -> Result<(), XdrError> {
        if self.0.is_empty() { Ok(()) } else { Err(XdrError::Trailing(self.0.len())) }
    }
}
