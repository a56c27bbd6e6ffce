//! Room for a record that grows, in the free records beside it.
//!
//! A record's end is where the next one begins, so its neighbours are found without the freelist. Cutting the end off a free
//! record leaves its place on the list, so that it need not be looked for there.

use crate::error::AccessError;
use crate::file::bytes::Bytes;
use crate::file::format::{FreeStep, Length, Offset, RECORD_DEAD, RECORD_FREE, RECORD_HEADER, RECORD_USED};
use crate::lock::proof::Write;
use crate::table::Table;
use crate::table::chain::Found;
use crate::table::freelist::Free;

/// How many records after the one that grows are looked at.
const REACH: u32 = 2;
/// A free record keeps at least this when its end is cut off, its header not counted.
const LEAST_LEFT: Length = 8;

impl<B: Bytes> Table<'_, B> {
    /// [`Table::allocate`] for the longer form of a record.
    pub(crate) fn allocate_beside(
        &self,
        freelist: &Write<'_>,
        found: &Found,
        wanted: Length,
    ) -> Result<(Offset, Length), AccessError> {
        let memory = &self.core.freelist;
        // Among lengths of all kinds the list finds what fits better.
        if memory.wants_are_alike()
            && let Some((at, free)) = self.longer_neighbour(found, wanted + RECORD_HEADER + LEAST_LEFT)?
        {
            memory.note_wanted(wanted);
            return self.cut_end_off(at, free, wanted);
        }
        self.allocate(freelist, wanted)
    }

    /// A free record of at least `least` bytes next to `found`, or not far behind it.
    fn longer_neighbour(&self, found: &Found, least: Length) -> Result<Option<(Offset, Free)>, AccessError> {
        if let Some((left_at, left)) = self.free_left_neighbour(found.at)?
            && left.record_len >= least
        {
            return Ok(Some((left_at, left)));
        }
        let mut before = (found.at, found.record.record_len);
        for _ in 0..REACH {
            let Some((at, next)) = self.right_neighbour(before.0, before.1)? else {
                break;
            };
            let end = u64::from(at) + u64::from(RECORD_HEADER) + u64::from(next.record_len);
            if end > u64::from(self.space.size()) {
                break;
            }
            if next.magic == RECORD_FREE && next.record_len >= least {
                return Ok(Some((at, Free { next: next.next, record_len: next.record_len })));
            }
            before = (at, next.record_len);
        }
        Ok(None)
    }

    /// The record that begins where the one at `at` ends, unless the file, as last seen, ends there.
    #[inline]
    pub(super) fn right_neighbour(
        &self,
        at: Offset,
        record_len: Length,
    ) -> Result<Option<(Offset, FreeStep)>, AccessError> {
        let end = u64::from(at) + u64::from(RECORD_HEADER) + u64::from(record_len);
        if end + u64::from(RECORD_HEADER) > u64::from(self.space.size()) {
            return Ok(None);
        }
        let at = end as Offset;
        let step = self.step_at(at)?;
        Ok(matches!(step.magic, RECORD_FREE | RECORD_USED | RECORD_DEAD).then_some((at, step)))
    }

    /// The words of the record header at `at` that a walk looks at.
    #[inline(always)]
    pub(super) fn step_at(&self, at: Offset) -> Result<FreeStep, AccessError> {
        match self.space.free_step(at) {
            Some(step) => Ok(step),
            None => self.step_slowly(at),
        }
    }

    #[inline(never)]
    fn step_slowly(&self, at: Offset) -> Result<FreeStep, AccessError> {
        let record = self.space.record(at)?;
        Ok(FreeStep { next: record.next, record_len: record.record_len, magic: record.magic })
    }
}
