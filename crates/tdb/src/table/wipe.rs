//! Emptying a database, and rewriting it without gaps.

use crate::error::{AccessError, RepackError, StoreError};
use crate::file::bytes::Bytes;
use crate::file::format::{
    FREELIST_HEAD, Offset, RECORD_HEADER, RECOVERY_INVALID, RECOVERY_START_AT, Record, TAILER, chain_head,
};
use crate::lock::LockKind;
use crate::lock::proof::Everything;
use crate::table::Table;
use crate::table::records::StoreMode;
use std::ops::ControlFlow;

/// How many chain heads are set to 0 at a time.
const HEADS: u32 = 1024;

impl<B: Bytes> Table<'_, B> {
    /// Deletes all records, in one step for others.
    pub fn wipe_all(&self) -> Result<(), StoreError> {
        let called = self.called();
        let wiped = self.core.noted(self.wipe());
        self.tell_wipe(called, wiped.is_ok());
        wiped
    }

    fn wipe(&self) -> Result<(), StoreError> {
        self.must_be_writable()?;
        let everything = self.core.everything(LockKind::Write)?;
        self.about_to_wipe();
        let wiped = self.wipe_locked(&everything);
        self.note_version();
        Ok(wiped?)
    }

    fn wipe_locked(&self, _everything: &Everything<'_>) -> Result<(), AccessError> {
        self.core.layout_epoch.set(self.core.layout_epoch.get() + 1);
        self.space.refresh()?;
        let gap = self.resting_recovery_area()?;
        // First: whoever dies from here on has counted a wipe that may not have happened. The other way round others could see
        // a wipe at a number that the next change uses as well.
        self.count_change()?;
        self.space.set_word(FREELIST_HEAD, 0)?;
        let mut chain = 0;
        while chain < self.core.hash_size {
            let count = HEADS.min(self.core.hash_size - chain);
            self.space.write(chain_head(chain), &vec![0; 4 * count as usize])?;
            chain += count;
        }
        let size = self.space.size();
        match gap {
            Some((start, end)) => {
                self.free_stretch(end, size)?;
                self.free_stretch(self.core.first_record(), start)?;
            }
            None => {
                self.space.set_word(RECOVERY_START_AT, 0)?;
                self.free_stretch(self.core.first_record(), size)?;
            }
        }
        Ok(())
    }

    /// Where the recovery area is; it stays, since making it costs syncs.
    fn resting_recovery_area(&self) -> Result<Option<(Offset, Offset)>, AccessError> {
        let at = self.space.word(RECOVERY_START_AT)?;
        if at < self.core.first_record()
            || u64::from(at) + u64::from(RECORD_HEADER) > u64::from(self.space.size())
        {
            return Ok(None);
        }
        let record = self.space.record(at)?;
        let end = u64::from(at) + u64::from(RECORD_HEADER) + u64::from(record.record_len);
        let aligned = at.is_multiple_of(4) && end.is_multiple_of(4);
        let sound = record.magic == RECOVERY_INVALID && aligned && end <= u64::from(self.space.size());
        Ok(sound.then_some((at, end as Offset)))
    }

    /// Makes one free record of a stretch, and the head of the freelist; too short a stretch gets zeros.
    fn free_stretch(&self, start: Offset, end: Offset) -> Result<(), AccessError> {
        // A file that someone has lengthened by a few bytes ends between two places for records.
        let end = end & !3;
        if end.saturating_sub(start) < RECORD_HEADER + TAILER {
            return if start < end {
                self.space.write(start, &vec![0; (end - start) as usize])
            } else {
                Ok(())
            };
        }
        let record_len = end - start - RECORD_HEADER;
        let head = self.space.word(FREELIST_HEAD)?;
        self.write_tailer(start, record_len)?;
        self.space.set_record(start, &Record::free(head, record_len))?;
        self.space.set_word(FREELIST_HEAD, start)
    }

    /// Rewrites all records without gaps, in a transaction. The file's size stays, and its free space becomes one.
    pub fn rewrite(&self) -> Result<(), RepackError> {
        let mut records = Vec::new();
        self.traverse_read(|key, value| {
            records.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })?;
        self.wipe_all()?;
        for (key, value) in &records {
            self.store(key, value, StoreMode::Replace)?;
        }
        Ok(())
    }
}
