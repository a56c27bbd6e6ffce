//! The recovery area: the bytes that a commit is about to overwrite, kept in the file until the commit is durable.
//!
//! Owns making the area (steps 2 to 4 of [`crate::commit::transaction`]) and playing it back. It is an ordinary stretch of the
//! file that the header points at; it is *valid* while its magic says so. It belongs to whoever holds the transaction
//! lock and, to play it back, all records and the open lock.
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

use crate::database::{Database, LogLevel};
use crate::error::{AccessError, TransactionError};
use crate::file::format::{
    FREELIST_HEAD, Length, MAGIC_IN_RECORD, Offset, RECORD_DEAD, RECORD_FREE, RECORD_HEADER,
    RECORD_LEN_IN_RECORD, RECORD_USED, RECOVERY_ENTRY_HEADER, RECOVERY_INVALID, RECOVERY_START_AT,
    RECOVERY_VALID, Record, TAILER, chain_head,
};
use crate::file::overlay::Change;

const PAGE: u64 = 4096;
/// A shorter stretch between records cannot become a free record that anyone would use.
const LEAST_FREE: u32 = RECORD_HEADER + TAILER + 4;

/// The recovery area of a file.
#[derive(Clone, Copy)]
struct RecoveryArea {
    at: Offset,
    /// The bytes after its header.
    room: Length,
}

/// Where a commit keeps old bytes, and what playing them back must tidy up.
struct Plan {
    area: RecoveryArea,
    /// The area was made for this commit: the header does not point at it yet.
    is_new: bool,
    /// The area that the header points at until then.
    replaced: Option<RecoveryArea>,
    /// What the file grew by, or a crash has lost at its end: not yet part of anything in the old database.
    added: Range<Offset>,
}

fn corrupt(offset: Offset, what: &'static str) -> AccessError {
    AccessError::Corrupt { offset, what }
}

impl Database {
    /// Whether a half-done transaction must be played back before anything else.
    #[inline]
    pub(crate) fn needs_recovery(&self) -> Result<bool, AccessError> {
        if self.transaction_active() {
            return Ok(false);
        }
        let at = self.space.word(RECOVERY_START_AT)?;
        if at == 0 {
            return Ok(false);
        }
        let magic_at =
            at.checked_add(MAGIC_IN_RECORD).ok_or(corrupt(RECOVERY_START_AT, "it points outside"))?;
        Ok(self.space.word(magic_at)? == RECOVERY_VALID)
    }

    // Making it.

    /// Steps 2 to 4 of a commit; `changes` is what the transaction changes; returns what step 5 has to write.
    pub(crate) fn prepare_recovery(&self, changes: Vec<Change>) -> Result<Vec<Change>, TransactionError> {
        let file_end = self.space.base_size();
        let records_end = self.base_records_end()?;
        let changes = if records_end < file_end {
            self.free_lost_end(file_end)?;
            self.space.overlay_changes()?
        } else {
            changes
        };
        let changes = without_pointer(changes);
        let present = self.present_area()?;
        let needed = payload_len(&changes, file_end);
        let (plan, changes) = match present.filter(|area| u64::from(area.room) >= needed) {
            Some(area) => {
                let grown_to = self.space.size();
                if grown_to > file_end {
                    self.space.grow_through(grown_to)?;
                }
                let added = records_end..if grown_to > file_end { grown_to } else { records_end };
                (Plan { area, is_new: false, replaced: None, added }, changes)
            }
            None => self.plan_new_area(present, records_end)?,
        };
        let payload = self.payload(&plan, &changes, file_end)?;
        if payload.len() as u64 + u64::from(TAILER) > u64::from(plan.area.room) {
            return Err(AccessError::Full { wanted: payload.len() as u64 }.into());
        }
        if plan.is_new {
            self.write_area(plan.area, &payload, RECOVERY_VALID)?;
            self.sync_transaction()?;
            self.space.write_through(RECOVERY_START_AT, &self.space.order().bytes(plan.area.at))?;
        } else {
            self.write_area(plan.area, &payload, RECOVERY_INVALID)?;
            self.sync_transaction()?;
            self.set_area_magic(plan.area.at, RECOVERY_VALID)?;
        }
        self.sync_transaction()?;
        Ok(changes)
    }

    /// Plans an area at the end of the file, with more room than needed, so that it is seldom made again.
    fn plan_new_area(
        &self,
        replaced: Option<RecoveryArea>,
        records_end: Offset,
    ) -> Result<(Plan, Vec<Change>), TransactionError> {
        let file_end = self.space.base_size();
        // For the new database, what is replaced is free from now on.
        if let Some(old) = replaced
            && old.room >= TAILER
        {
            self.free(old.at, old.room)?;
        }
        if self.space.size() == file_end {
            // Something must lie between the old end and the area.
            self.grow_file(LEAST_FREE)?;
        }
        let at = self.space.size();
        self.space.set_word(RECOVERY_START_AT, at)?;
        let changes = without_pointer(self.space.overlay_changes()?);
        let needed = payload_len(&changes, file_end);
        let area = RecoveryArea { at, room: self.room_until_page(at, needed + needed / 2 + 256)? };
        self.space.grow_through(at + RECORD_HEADER + area.room)?;
        Ok((Plan { area, is_new: true, replaced, added: records_end..at }, changes))
    }

    fn present_area(&self) -> Result<Option<RecoveryArea>, AccessError> {
        let at = self.space.base_word(RECOVERY_START_AT)?;
        if at == 0 {
            return Ok(None);
        }
        let record = self.base_record(at)?;
        let end = u64::from(at) + u64::from(RECORD_HEADER) + u64::from(record.record_len);
        let sound = at >= self.first_record()
            && at.is_multiple_of(4)
            && record.record_len.is_multiple_of(4)
            && end <= u64::from(self.space.base_size())
            && (record.magic == RECOVERY_INVALID || record.magic == RECOVERY_VALID);
        if !sound {
            return Err(corrupt(at, "the header points here for the recovery area, and there is none"));
        }
        Ok(Some(RecoveryArea { at, room: record.record_len }))
    }

    fn room_until_page(&self, at: Offset, wanted: u64) -> Result<Length, AccessError> {
        let limit = u64::from(u32::MAX) / PAGE * PAGE;
        let start = u64::from(at) + u64::from(RECORD_HEADER);
        let end = (start + wanted).next_multiple_of(PAGE);
        if end > limit {
            return Err(AccessError::Full { wanted });
        }
        u32::try_from(end - start).map_err(|_| AccessError::Full { wanted })
    }

    /// What playing back must write: old bytes, and free records for what is in no use in the old database.
    fn payload(&self, plan: &Plan, changes: &[Change], file_end: u32) -> Result<Vec<u8>, AccessError> {
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
        let replaced = plan.replaced.map(|area| area.at..area.at + RECORD_HEADER + area.room);
        let mut head = self.space.base_word(FREELIST_HEAD)?;
        for unused in replaced.into_iter().chain([plan.added.clone()]) {
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
        payload.extend_from_slice(&order.bytes(RECORD_HEADER + plan.area.room));
        Ok(payload)
    }

    fn write_area(&self, area: RecoveryArea, payload: &[u8], magic: u32) -> Result<(), AccessError> {
        let order = self.space.order();
        let header = Record {
            next: 0,
            record_len: area.room,
            key_len: self.space.base_size(),
            data_len: payload.len() as u32,
            hash: 0,
            magic,
        };
        self.space.write_through(area.at, &header.to_bytes(order))?;
        self.space.write_through(area.at + RECORD_HEADER, payload)?;
        let end = area.at + RECORD_HEADER + area.room;
        self.space.write_through(end - TAILER, &order.bytes(RECORD_HEADER + area.room))
    }

    /// Where the last record, or the recovery area, of the file itself ends: its size, unless a crash or a failed
    /// commit has left something behind it that belongs to nothing.
    fn base_records_end(&self) -> Result<Offset, AccessError> {
        let size = self.space.base_size();
        if let Some(area) = self.present_area().unwrap_or(None)
            && area.at + RECORD_HEADER + area.room == size
        {
            return Ok(size);
        }
        if size < self.first_record() + RECORD_HEADER + TAILER {
            return Ok(self.first_record().max(size));
        }
        let total = self.space.base_word(size - TAILER)?;
        if total >= RECORD_HEADER + TAILER && total <= size - self.first_record() {
            let record = self.base_record(size - total)?;
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
        let mut end = self.first_record();
        let mut left = limit / RECORD_HEADER + 1;
        let heads = (0..self.hash_size).map(chain_head);
        for head in heads.chain([FREELIST_HEAD, RECOVERY_START_AT]) {
            let mut at = word(head)?;
            while at != 0 {
                let sound = left > 0 && at.is_multiple_of(4) && at >= self.first_record();
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
    fn free_lost_end(&self, file_end: Offset) -> Result<(), AccessError> {
        let file_end = file_end & !3;
        let start = self.listed_end(file_end, self.space.size(), &|at| self.space.word(at))?;
        if file_end.saturating_sub(start) >= LEAST_FREE {
            self.free(start, file_end - start - RECORD_HEADER)?;
        }
        Ok(())
    }

    fn base_record(&self, at: Offset) -> Result<Record, AccessError> {
        let mut header = [0; RECORD_HEADER as usize];
        self.space.base_bytes(at, &mut header)?;
        Ok(Record::from_bytes(&header, self.space.order()))
    }

    fn set_area_magic(&self, at: Offset, magic: u32) -> Result<(), AccessError> {
        self.space.write_through(at + MAGIC_IN_RECORD, &self.space.order().bytes(magic))
    }

    /// Step 6 of a commit: the area is at rest again.
    pub(crate) fn invalidate_recovery(&self) -> Result<(), AccessError> {
        let at = self.space.base_word(RECOVERY_START_AT)?;
        self.set_area_magic(at, RECOVERY_INVALID)?;
        self.sync_transaction()
    }

    /// Undoes a step 6 that failed. Durable before the first old byte is written: a mixture must never be at rest.
    pub(crate) fn validate_recovery(&self) -> Result<(), AccessError> {
        let at = self.space.base_word(RECOVERY_START_AT)?;
        self.set_area_magic(at, RECOVERY_VALID)?;
        self.sync_transaction()
    }

    // Playing it back.

    /// Plays a valid recovery area back. The caller holds all records and the open lock, and no overlay is in front.
    /// Being killed in here does no harm: the area stays valid until all is durable, and the next one starts over.
    pub(crate) fn recover(&self) -> Result<(), AccessError> {
        self.space.refresh()?;
        let at = self.space.word(RECOVERY_START_AT)?;
        if at == 0 {
            return Ok(());
        }
        let area = self.space.record(at)?;
        if area.magic != RECOVERY_VALID {
            return Ok(());
        }
        let aligned = at.is_multiple_of(4) && area.record_len.is_multiple_of(4);
        if at < self.first_record() || !aligned || area.data_len > area.record_len {
            return Err(corrupt(at, "the recovery area contradicts itself"));
        }
        self.space.must_hold(at, RECORD_HEADER.saturating_add(area.record_len))?;
        let payload = self.space.bytes(at + RECORD_HEADER, area.data_len)?;
        let entries = self.entries(at, &area, &payload)?;
        for (offset, bytes) in entries {
            self.space.write(offset, bytes)?;
        }
        self.free_beyond(area.key_len, at, &area)?;
        self.sync_transaction()?;
        self.space.set_word(at + MAGIC_IN_RECORD, RECOVERY_INVALID)?;
        self.sync_transaction()?;
        self.upheavals.set(self.upheavals.get() + 1);
        self.say(LogLevel::Trace, || format!("recovered a database of {} bytes", area.key_len));
        Ok(())
    }

    /// What the payload says, checked as a whole before anything is written.
    fn entries<'a>(
        &self,
        at: Offset,
        area: &Record,
        payload: &'a [u8],
    ) -> Result<Vec<(Offset, &'a [u8])>, AccessError> {
        let order = self.space.order();
        let area_range = u64::from(at)..u64::from(at) + u64::from(RECORD_HEADER) + u64::from(area.record_len);
        let mut entries = Vec::new();
        let mut rest = payload;
        // A tailer, and perhaps padding, is left over at the end.
        while rest.len() > RECOVERY_ENTRY_HEADER as usize {
            let offset = order.word_at(rest, 0);
            let len = order.word_at(rest, 4);
            let body = &rest[RECOVERY_ENTRY_HEADER as usize..];
            let end = u64::from(offset) + u64::from(len);
            if len as usize > body.len() {
                return Err(corrupt(at, "the recovery area's pieces are longer than the area"));
            }
            if end > u64::from(self.space.size()) {
                return Err(corrupt(at, "the recovery area holds bytes for a place behind the end"));
            }
            // libtdb saves whole pages, which may begin or end in the area: that must stay as it is until the end.
            let (start, area) = (u64::from(offset), &area_range);
            for part in [start..end.min(area.start), start.max(area.end)..end] {
                if part.start < part.end {
                    let piece = &body[(part.start - start) as usize..(part.end - start) as usize];
                    entries.push((part.start as Offset, piece));
                }
            }
            rest = &body[len as usize..];
        }
        Ok(entries)
    }

    /// Makes a free record of what lies between the old file's end and the area; it may hold anything.
    fn free_beyond(&self, old_end: u32, at: Offset, area: &Record) -> Result<(), AccessError> {
        let start = old_end.max(self.first_record()).checked_next_multiple_of(4);
        // A file that someone has lengthened by a few bytes ends between two places for records.
        let size = self.space.size() & !3;
        let area_end = at + RECORD_HEADER + area.record_len;
        let Some(start) = start.filter(|start| *start < size) else {
            return Ok(());
        };
        // Behind the area first: the free record at the head of the list shall be the one before it.
        for (start, end) in [(start.max(area_end), size), (start, at)] {
            if end.saturating_sub(start) >= LEAST_FREE {
                let record_len = end - start - RECORD_HEADER;
                let head = self.space.word(FREELIST_HEAD)?;
                self.write_tailer(start, record_len)?;
                self.space.set_record(start, &Record::free(head, record_len))?;
                self.space.set_word(FREELIST_HEAD, start)?;
            } else if start < end {
                self.space.write(start, &vec![0; (end - start) as usize])?;
            }
        }
        Ok(())
    }
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
