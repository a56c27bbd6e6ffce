//! The hash chains: finding a key, and putting records on and taking them off.
//!
//! A search asks for the proof that its chain is locked.

use crate::error::AccessError;
use crate::file::bytes::Bytes;
use crate::file::format::{ChainStep, Offset, RECORD_DEAD, RECORD_HEADER, RECORD_USED, Record, chain_head};
use crate::lock::proof::Read;
use crate::table::Table;

/// A record on its chain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// Where the record is.
    pub at: Offset,
    /// Where the word is that points at it.
    pub link: Offset,
    pub record: Record,
}

/// Deleted records that a search passed on its way.
#[derive(Default)]
pub(crate) struct DeadSeen {
    /// Deleted records.
    pub count: u32,
    /// Records that are not deleted, on the same way.
    pub live: u32,
    /// The first with the room that was asked for.
    pub fitting: Option<(Offset, Record)>,
}

#[cold]
fn corrupt(offset: Offset, what: &'static str) -> AccessError {
    AccessError::Corrupt { offset, what }
}

impl<B: Bytes> Table<'_, B> {
    /// The record of `key`.
    #[inline]
    pub(crate) fn find(
        &self,
        _chain: &Read<'_>,
        hash: u32,
        key: &[u8],
    ) -> Result<Option<Found>, AccessError> {
        let mut link = chain_head(hash % self.core.hash_size);
        let mut at = self.space.word(link)?;
        let mut steps = 0;
        let limit = self.space.most_records();
        while at != 0 {
            let step = match self.space.chain_step(at) {
                Some(step) => step,
                None => self.chain_step_slowly(at)?,
            };
            if step.hash == hash
                && step.magic == RECORD_USED
                && let Some(record) = self.record_of_key(at, key)?
            {
                return Ok(Some(Found { at, link, record }));
            }
            steps += 1;
            // The limit may be that of a file which has grown meanwhile.
            if !step.is_of_chain() || steps > limit {
                self.must_be_step_of_chain(at, &step, steps)?;
            }
            link = at;
            at = step.next;
        }
        Ok(None)
    }

    /// Like [`Table::find`], and notes the deleted records on the way; `room` is what a fitting one must have.
    pub(crate) fn find_noting_dead(
        &self,
        _chain: &Read<'_>,
        hash: u32,
        key: &[u8],
        room: u32,
    ) -> Result<(Option<Found>, DeadSeen), AccessError> {
        let mut dead = DeadSeen::default();
        let mut link = chain_head(hash % self.core.hash_size);
        let mut at = self.space.word(link)?;
        let mut steps = 0;
        let limit = self.space.most_records();
        while at != 0 {
            let step = match self.space.chain_step(at) {
                Some(step) => step,
                None => self.chain_step_slowly(at)?,
            };
            if step.hash == hash
                && step.magic == RECORD_USED
                && let Some(record) = self.record_of_key(at, key)?
            {
                dead.live = steps - dead.count;
                return Ok((Some(Found { at, link, record }), dead));
            }
            steps += 1;
            if step.magic != RECORD_USED || steps > limit {
                // The limit may be that of a file which has grown meanwhile.
                self.must_be_step_of_chain(at, &step, steps)?;
                self.note_dead(at, step.magic, room, &mut dead)?;
            }
            link = at;
            at = step.next;
        }
        dead.live = steps - dead.count;
        Ok((None, dead))
    }

    /// [`Bytes::chain_step`] of what is not mapped.
    #[inline(never)]
    fn chain_step_slowly(&self, at: Offset) -> Result<ChainStep, AccessError> {
        let Record { next, hash, magic, .. } = self.space.record(at)?;
        Ok(ChainStep { next, hash, magic })
    }

    #[cold]
    fn note_dead(&self, at: Offset, magic: u32, room: u32, dead: &mut DeadSeen) -> Result<(), AccessError> {
        if magic != RECORD_DEAD {
            return Ok(());
        }
        dead.count += 1;
        if dead.fitting.is_none() {
            let record = self.space.record(at)?;
            let fits = record.room() >= room && record.room() / 2 <= room;
            dead.fitting = fits.then_some((at, record));
        }
        Ok(())
    }

    /// The record at `at`, if it holds `key`.
    #[inline(always)]
    fn record_of_key(&self, at: Offset, key: &[u8]) -> Result<Option<Record>, AccessError> {
        let record = self.space.record(at)?;
        Ok(self.holds_key(at, &record, key)?.then_some(record))
    }

    #[inline(always)]
    fn holds_key(&self, at: Offset, record: &Record, key: &[u8]) -> Result<bool, AccessError> {
        if record.magic != RECORD_USED || record.key_len as usize != key.len() {
            return Ok(false);
        }
        // A record right at the end of 32 bits has no room for a key, so its bytes fail below.
        if !self.space.equals(at.saturating_add(RECORD_HEADER), key)? {
            return Ok(false);
        }
        self.must_have_body(at, record)?;
        Ok(true)
    }

    /// Fails unless this can be a record of a chain, `steps` from its head.
    pub(crate) fn must_be_on_chain(
        &self,
        at: Offset,
        record: &Record,
        steps: u32,
    ) -> Result<(), AccessError> {
        if !record.is_of_chain() {
            return Err(corrupt(at, "a chain holds something that is not a record"));
        }
        if steps > self.space.most_records() {
            return Err(corrupt(at, "a chain goes in a circle"));
        }
        Ok(())
    }

    /// [`Table::must_be_on_chain`] of a record that a search has passed.
    #[cold]
    fn must_be_step_of_chain(&self, at: Offset, step: &ChainStep, steps: u32) -> Result<(), AccessError> {
        let ChainStep { next, hash, magic } = *step;
        let record = Record { next, record_len: 0, key_len: 0, data_len: 0, hash, magic };
        self.must_be_on_chain(at, &record, steps)
    }

    /// Fails unless key, value and tailer fit into the record, and the record into the file.
    #[inline]
    pub(crate) fn must_have_body(&self, at: Offset, record: &Record) -> Result<(), AccessError> {
        if !record.body_fits() {
            return Err(corrupt(at, "key and value are longer than their record"));
        }
        self.space.must_hold(at, RECORD_HEADER.saturating_add(record.record_len))
    }
}
