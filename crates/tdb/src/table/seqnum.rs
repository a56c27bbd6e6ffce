//! The sequence number: how often those who count have changed the database.

use crate::error::{AccessError, ReadError};
use crate::file::bytes::Bytes;
use crate::file::format::SEQNUM_AT;
use crate::flags::Flags;
use crate::lock::{LockByte, LockKind, Wait};
use crate::observe::{Operation, When};
use crate::table::Table;

impl<B: Bytes> Table<'_, B> {
    /// The sequence number.
    pub fn seqnum(&self) -> Result<u32, ReadError> {
        let called = self.called();
        let number = self.core.noted(self.space.word(SEQNUM_AT).map_err(ReadError::from));
        let operation = |number: &u32| Operation::SequenceNumber(*number);
        self.tell(called, When::Last, number.as_ref().ok().map(operation));
        number
    }

    /// Adds 1 to the sequence number without waiting for a lock, if this handle counts.
    pub fn increment_seqnum(&self) -> Result<(), ReadError> {
        let counts = self.core.flags.get().has(Flags::SEQNUM);
        let result = if counts { self.add_to_seqnum() } else { Ok(()) };
        self.core.noted(result.map_err(ReadError::from))
    }

    /// Notes a change of the database, in the sequence number if this handle counts.
    #[inline]
    pub fn count_change(&self) -> Result<(), AccessError> {
        self.core.changes.set(self.core.changes.get().wrapping_add(1));
        if self.core.flags.get().has(Flags::SEQNUM) { self.count_seqnum() } else { Ok(()) }
    }

    fn count_seqnum(&self) -> Result<(), AccessError> {
        if self.core.locks.in_transaction() {
            return self.add_to_seqnum();
        }
        if self.space.increment(SEQNUM_AT) {
            return Ok(());
        }
        // Without one atomic addition, those who add exclude each other by a lock. Losing it loses one count only.
        if self.core.lock_byte(LockByte::Seqnum, LockKind::Write, Wait::Yes).is_err() {
            return Ok(());
        }
        let added = self.add_to_seqnum();
        self.core.locks.unlock_byte(LockByte::Seqnum);
        added
    }

    pub(crate) fn add_to_seqnum(&self) -> Result<(), AccessError> {
        if self.space.increment(SEQNUM_AT) {
            return Ok(());
        }
        let value = self.space.word(SEQNUM_AT)?;
        self.space.set_word(SEQNUM_AT, value.wrapping_add(1))
    }
}
