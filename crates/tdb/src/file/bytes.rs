//! Bytes at offsets: what a table of records asks of the file, and of a transaction's changes in front of it.

use crate::error::AccessError;
use crate::file::format::{ByteOrder, ChainStep, FreeStep, Length, Offset, RECORD_HEADER, Record};

/// The bytes of a database, as somebody sees them. Compiled once for the file and once for a transaction.
///
/// All functions take `&self`: the file changes under everybody anyway, and a transaction's changes are in a cell.
pub(crate) trait Bytes {
    /// In which order the bytes of a word stand.
    fn order(&self) -> ByteOrder;

    /// The database's size in bytes, as last seen.
    fn size(&self) -> u32;

    /// The word at `at`.
    fn word(&self, at: Offset) -> Result<u32, AccessError>;

    /// Puts the word at `at`.
    fn set_word(&self, at: Offset, word: u32) -> Result<(), AccessError>;

    /// The record header at `at`, whatever it holds.
    fn record(&self, at: Offset) -> Result<Record, AccessError>;

    /// Some words of the record header at `at`, if they can be had at once; otherwise [`Bytes::record`] has them. Nothing is tried
    /// that can fail.
    #[inline(always)]
    fn chain_step(&self, _at: Offset) -> Option<ChainStep> {
        None
    }

    /// As [`Bytes::chain_step`].
    #[inline(always)]
    fn free_step(&self, _at: Offset) -> Option<FreeStep> {
        None
    }

    /// Whether `bytes` stand at `at`.
    fn equals(&self, at: Offset, bytes: &[u8]) -> Result<bool, AccessError>;

    /// Fills `out` with the bytes at `at`.
    fn read(&self, at: Offset, out: &mut [u8]) -> Result<(), AccessError>;

    /// Appends the `len` bytes at `at` to `out`. No memory is taken before the bytes are known to be there.
    fn append_to(&self, at: Offset, len: Length, out: &mut Vec<u8>) -> Result<(), AccessError>;

    /// Writes `bytes` at `at`.
    fn write(&self, at: Offset, bytes: &[u8]) -> Result<(), AccessError>;

    /// Fails unless the `len` bytes at `at` are inside the database.
    fn must_hold(&self, at: Offset, len: Length) -> Result<(), AccessError>;

    /// Makes the database longer, with zeros.
    fn grow(&self, to: u32) -> Result<(), AccessError>;

    /// Looks whether others have made the database longer.
    fn refresh(&self) -> Result<(), AccessError>;

    /// Adds 1 to the word at `at` in one step with regard to other processes; `false` where that is not possible.
    fn increment(&self, at: Offset) -> bool;

    /// Puts a record header.
    #[inline]
    fn set_record(&self, at: Offset, record: &Record) -> Result<(), AccessError> {
        self.write(at, &record.to_bytes(self.order()))
    }

    /// The `len` bytes at `at`.
    #[inline]
    fn bytes(&self, at: Offset, len: Length) -> Result<Vec<u8>, AccessError> {
        let mut out = Vec::new();
        self.append_to(at, len, &mut out)?;
        Ok(out)
    }

    /// No list of records can be longer than this without going in a circle.
    #[inline]
    fn most_records(&self) -> u32 {
        self.size() / RECORD_HEADER + 1
    }
}

/// What is wrong with an offset that leads out of the file.
pub(crate) fn outside(at: Offset) -> AccessError {
    AccessError::Corrupt { offset: at, what: "something points here, and the file ends before it" }
}

/// `at + by`, which must stay inside 32 bits.
pub(crate) fn advance(at: Offset, by: usize) -> Result<Offset, AccessError> {
    u32::try_from(at as u64 + by as u64).map_err(|_| outside(at))
}

/// Whether the `len` bytes at `at` are inside the first `size`.
#[inline]
pub(crate) fn inside(at: Offset, len: Length, size: u32) -> bool {
    u64::from(at) + u64::from(len) <= u64::from(size)
}
