//! What a commit is going to do, worked out before anything of it is done.
//!
//! A [`CommitPlan`] says how long the file becomes, where old bytes are kept and which, and what is written in the end.
//! Making one reads the file and adds to the transaction's own changes, and that is all: an error leaves nothing behind.
//! [`crate::commit::recovery`] carries it out.
//!
//! What the file grew by in a commit holds no old bytes. The area says instead that it is one free record: played
//! back, the file is the old database with more free space. So an area written here always covers the whole file, and
//! libtdb can play it back as well. An area of libtdb's says in its `key_len` where the old file ended; what lies
//! between that and the area becomes a free record when we play it back.
//!
//! A larger area is needed now and then. It is made behind everything else, complete and marked valid, while the header
//! still points at the old one: whoever walks the file meets the zeros before it and takes the rest for lost space.
//! Then one word makes the header point at it. Played back, it also turns the old area into a free record. So at no
//! time is there something that looks like an area and is not pointed at, which libtdb's check would not accept.

use std::ops::Range;

use crate::error::{AccessError, TransactionError};
use crate::file::bytes::Bytes;
use crate::file::format::{
    FREELIST_HEAD, Length, Offset, RECORD_DEAD, RECORD_FREE, RECORD_HEADER, RECORD_LEN_IN_RECORD,
    RECORD_USED, RECOVERY_ENTRY_HEADER, RECOVERY_INVALID, RECOVERY_START_AT, RECOVERY_VALID, Record, TAILER,
    chain_head,
};
use crate::file::over::Over;
use crate::file::overlay::Change;
use crate::lock::ChainIndex;
use crate::lock::proof::Write;
use crate::table::Table;

const PAGE: u64 = 4096;
/// A shorter stretch between records cannot become a free record that anyone would use.
pub(super) const LEAST_FREE: u32 = RECORD_HEADER + TAILER + 4;

/// The recovery area of a file.
#[derive(Clone, Copy)]
pub(super) struct RecoveryArea {
    pub at: Offset,
    /// The bytes after its header.
    pub room: Length,
}

/// What a commit is going to do.
pub(crate) struct CommitPlan {
    pub(super) area: RecoveryArea,
    /// The area is made for this commit: the header does not point at it yet.
    pub(super) is_new: bool,
    /// How long the file becomes before anything else.
    pub(super) grow_to: u32,
    /// What playing back must write.
    pub(super) payload: Vec<u8>,
    /// What is written once the old bytes are safe.
    pub(super) changes: Vec<Change>,
}

/// Where old bytes are kept, and what playing them back must tidy up.
struct Place {
    area: RecoveryArea,
    is_new: bool,
    /// The area that the header points at until the commit.
    replaced: Option<RecoveryArea>,
    /// What the file grows by, or a crash has lost at its end: not yet part of anything in the old database.
    added: Range<Offset>,
    grow_to: u32,
}

/// A transaction's records.
type Changed<'t> = Table<'t, Over<'t>>;

fn corrupt(offset: Offset, what: &'static str) -> AccessError {
    AccessError::Corrupt { offset, what }
}

impl CommitPlan {
    /// The plan for `changes`, which is what the transaction changes so far. Everything is locked for writing.
    pub fn of(table: &Changed<'_>, changes: Vec<Change>) -> Result<CommitPlan, TransactionError> {
        let freelist = table.core.write(ChainIndex::FREELIST)?;
        let file_end = table.space.base_size();
        let records_end = table.base_records_end()?;
        let changes = if records_end < file_end {
            table.free_lost_end(&freelist, file_end)?;
            table.space.changed()?
        } else {
            changes
        };
        let changes = without_pointer(changes);
        let present = table.present_area()?;
        let needed = payload_len(&changes, file_end);
        let (place, changes) = match present.filter(|area| u64::from(area.room) >= needed) {
            Some(area) => {
                let grow_to = table.space.size().max(file_end);
                let added = records_end..if grow_to > file_end { grow_to } else { records_end };
                (Place { area, is_new: false, replaced: None, added, grow_to }, changes)
            }
            None => table.new_area(&freelist, present, records_end)?,
        };
        let payload = table.payload(&place, &changes, file_end)?;
        if payload.len() as u64 + u64::from(TAILER) > u64::from(place.area.room) {
            return Err(AccessError::Full { wanted: payload.len() as u64 }.into());
        }
        let Place { area, is_new, grow_to, .. } = place;
        Ok(CommitPlan { area, is_new, grow_to, payload, changes })
    }
}

impl Changed<'_> {
    /// Plans an area at the end of the file, with more room than needed, so that it is seldom made again.
    fn new_area(
        &self,
        freelist: &Write<'_>,
        replaced: Option<RecoveryArea>,
        records_end: Offset,
    ) -> Result<(Place, Vec<Change>), TransactionError> {
        let file_end = self.space.base_size();
        // For the new database, what is replaced is free from now on.
        if let Some(old) = replaced
            && old.room >= TAILER
        {
            self.free(freelist, old.at, old.room)?;
        }
        if self.space.size() == file_end {
            // Something must lie between the old end and the area.
            self.grow_file(freelist, LEAST_FREE)?;
        }
        let at = self.space.size();
        self.space.set_word(RECOVERY_START_AT, at)?;
        let changes = without_pointer(self.space.changed()?);
        let needed = payload_len(&changes, file_end);
        let area = RecoveryArea { at, room: room_until_page(at, needed + needed / 2 + 256)? };
        let grow_to = at + RECORD_HEADER + area.room;
        Ok((Place { area, is_new: true, replaced, added: records_end..at, grow_to }, changes))
    }

    fn present_area(&self) -> Result<Option<RecoveryArea>, AccessError> {
        let at = self.space.base_word(RECOVERY_START_AT)?;
        if at == 0 {
            return Ok(None);
        }
        let record = self.space.base_record(at)?;
        let end = u64::from(at) + u64::from(RECORD_HEADER) + u64::from(record.record_len);
        let sound = at >= self.core.first_record()
            && at.is_multiple_of(4)
            && record.record_len.is_multiple_of(4)
            && end <= u64::from(self.space.base_size())
            && (record.magic == RECOVERY_INVALID || record.magic == RECOVERY_VALID);
        if !sound {
            return Err(corrupt(at, "the header points here for the recovery area, and there is none"));
        }
        Ok(Some(RecoveryArea { at, room: record.record_len }))
    }

    /// What playing back must write: old bytes, and free records for what is in no use in the old database.
    fn payload(&self, place: &Place, changes: &[Change], file_end: u32) -> Result<Vec<u8>, AccessError> {
        let order = self.space.order();
        let mut payload = Vec::new();
        let mut add = |at: Offset, bytes: &[u8]| {
            payload.extend_from_slice(&order.bytes(at));
            payload.extend_from_slice(&order.bytes(bytes.len() as u32));
            payload.extend_from_slice(bytes);
        };
        let mut old = Vec::new();
        for change in changes {
            let len = old_len(change, file_end);
            if len == 0 {
                continue;
            }
            old.resize(len as usize, 0);
            self.space.base_bytes(change.at, &mut old)?;
            add(change.at, &old);
        }
        let replaced = place.replaced.map(|area| area.at..area.at + RECORD_HEADER + area.room);
        let mut head = self.space.base_word(FREELIST_HEAD)?;
        for unused in replaced.into_iter().chain([place.added.clone()]) {
            if unused.end.saturating_sub(unused.start) < LEAST_FREE {
                continue;
            }
            let record_len = unused.end - unused.start - RECORD_HEADER;
            add(unused.start, &Record::free(head, record_len).to_bytes(order));
            add(unused.end - TAILER, &order.bytes(record_len + RECORD_HEADER));
            head = unused.start;
            add(FREELIST_HEAD, &order.bytes(head));
        }
        // libtdb ends the old bytes with the length of the area.
        payload.extend_from_slice(&order.bytes(RECORD_HEADER + place.area.room));
        Ok(payload)
    }

    /// Where the last record, or the recovery area, of the file itself ends: its size, unless a crash or a failed
    /// commit has left something behind it that belongs to nothing.
    fn base_records_end(&self) -> Result<Offset, AccessError> {
        let size = self.space.base_size();
        if let Some(area) = self.present_area()?
            && area.at + RECORD_HEADER + area.room == size
        {
            return Ok(size);
        }
        if size < self.core.first_record() + RECORD_HEADER + TAILER {
            return Ok(self.core.first_record().max(size));
        }
        let total = self.space.base_word(size - TAILER)?;
        if total >= RECORD_HEADER + TAILER && total <= size - self.core.first_record() {
            let record = self.space.base_record(size - total)?;
            if is_record(record.magic) && record.record_len == total - RECORD_HEADER {
                return Ok(size);
            }
        }
        self.listed_end(size, size, &|at| self.space.base_word(at))
    }

    /// Where the last of what a list or the header leads to ends, looking at what begins before `limit` only in
    /// a file of `size`; `limit` if the lists are damaged, since damage is not for us to use. Nobody may be changing anything.
    ///
    /// Not by going from record to record: a file that grew after a failed commit has a hole with records behind it.
    fn listed_end(
        &self,
        limit: Offset,
        size: u32,
        word: &dyn Fn(Offset) -> Result<u32, AccessError>,
    ) -> Result<Offset, AccessError> {
        let mut end = self.core.first_record();
        let mut left = limit / RECORD_HEADER + 1;
        let heads = (0..self.core.hash_size).map(chain_head);
        for head in heads.chain([FREELIST_HEAD, RECOVERY_START_AT]) {
            let mut at = word(head)?;
            while at != 0 {
                let sound = left > 0 && at.is_multiple_of(4) && at >= self.core.first_record();
                if !sound || at > size.saturating_sub(RECORD_HEADER) {
                    return Ok(limit);
                }
                left -= 1;
                let record_end =
                    u64::from(at) + u64::from(RECORD_HEADER) + u64::from(word(at + RECORD_LEN_IN_RECORD)?);
                if at < limit {
                    if record_end > u64::from(limit) {
                        return Ok(limit);
                    }
                    end = end.max(record_end as Offset);
                }
                at = if head == RECOVERY_START_AT { 0 } else { word(at)? };
            }
        }
        Ok(end)
    }

    /// Makes a free record, for the new database, of what a crash or a failed commit has left at the old end of the
    /// file: libtdb's check takes everything behind such a hole for lost.
    fn free_lost_end(&self, freelist: &Write<'_>, file_end: Offset) -> Result<(), AccessError> {
        let file_end = file_end & !3;
        let start = self.listed_end(file_end, self.space.size(), &|at| self.space.word(at))?;
        if file_end.saturating_sub(start) >= LEAST_FREE {
            self.free(freelist, start, file_end - start - RECORD_HEADER)?;
        }
        Ok(())
    }
}

fn room_until_page(at: Offset, wanted: u64) -> Result<Length, AccessError> {
    let limit = u64::from(u32::MAX) / PAGE * PAGE;
    let start = u64::from(at) + u64::from(RECORD_HEADER);
    let end = (start + wanted).next_multiple_of(PAGE);
    if end > limit {
        return Err(AccessError::Full { wanted });
    }
    u32::try_from(end - start).map_err(|_| AccessError::Full { wanted })
}

/// The changes without the word that points at the area: it is written before the others, and playing back must not
/// turn it back, or a process killed while it plays back would leave an area that nobody finds.
fn without_pointer(changes: Vec<Change>) -> Vec<Change> {
    let pointer = RECOVERY_START_AT..RECOVERY_START_AT + 4;
    let around = |change: Change| {
        let end = change.at + change.len;
        let before = change.at..end.min(pointer.start);
        let after = change.at.max(pointer.end)..end;
        [before, after].map(|part| Change { at: part.start, len: part.end.saturating_sub(part.start) })
    };
    changes.into_iter().flat_map(around).filter(|change| change.len > 0).collect()
}

/// How many of a change's bytes the file held before.
fn old_len(change: &Change, file_end: u32) -> u32 {
    change.len.min(file_end.saturating_sub(change.at))
}

fn is_record(magic: u32) -> bool {
    matches!(magic, RECORD_USED | RECORD_DEAD | RECORD_FREE)
}

/// At most how long the payload for these changes is, with the area's tailer.
fn payload_len(changes: &[Change], file_end: u32) -> u64 {
    let entry = u64::from(RECOVERY_ENTRY_HEADER);
    let old: u64 = changes.iter().map(|change| entry + u64::from(old_len(change, file_end))).sum();
    // Three entries for each of two free records, the tailer of the payload and that of the area.
    old + 2 * (3 * entry + u64::from(RECORD_HEADER + TAILER + 4)) + u64::from(2 * TAILER)
}
