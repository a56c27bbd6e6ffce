//! The recovery area: the bytes that a commit is about to overwrite, kept in the file until the commit is durable.
//!
//! Owns making the area (steps 2 to 4 of [`crate::transaction`]) and playing it back. It is an ordinary stretch of the
//! file that the header points at; it is *valid* while its magic says so. It belongs to whoever holds the transaction
//! lock and, to play it back, all records and the open lock.
//!
//! What the file grew by in a commit holds no old bytes. The area says instead that it is one free record: played
//! back, the file is the old database with more free space. So an area written here always covers the whole file, and
//! libtdb can play it back as well. An area of libtdb's says in its `key_len` where the old file ended; what lies
//! between that and the area becomes a free record when we play it back.
//!
//! A larger area is needed now and then. Bytes that look like an area but are not pointed at would fail libtdb's
//! check, so the old one is overwritten with zeros and synced, then the header points at the new one and is synced,
//! and only then the new one is written. All of that happens before the area is valid, and is seldom.

use crate::database::{Database, LogLevel};
use crate::error::{AccessError, TransactionError};
use crate::format::{
    FREELIST_HEAD, Length, MAGIC_IN_RECORD, Offset, RECORD_HEADER, RECOVERY_ENTRY_HEADER, RECOVERY_INVALID,
    RECOVERY_START_AT, RECOVERY_VALID, Record, TAILER,
};
use crate::overlay::Change;

/// How much is overwritten with zeros at a time.
const ZEROS: usize = 64 * 1024;
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
        let magic_at = at
            .checked_add(MAGIC_IN_RECORD)
            .ok_or(corrupt(RECOVERY_START_AT, "it points outside"))?;
        Ok(self.space.word(magic_at)? == RECOVERY_VALID)
    }

    // Making it.

    /// Steps 2 to 4 of a commit; returns what step 5 has to write.
    pub(crate) fn prepare_recovery(&self) -> Result<Vec<Change>, TransactionError> {
        let file_end = self.space.base_size();
        let mut changes = self.space.overlay_changes()?;
        let needed = payload_len(&changes, file_end);
        let area = match self.area_with(needed)? {
            Some(area) => {
                if self.space.size() > file_end {
                    self.space.grow_through(self.space.size())?;
                }
                area
            }
            None => {
                let area = self.make_area(file_end, needed)?;
                changes = self.space.overlay_changes()?;
                area
            }
        };
        let payload = self.payload(&changes, file_end, area)?;
        if payload.len() as u64 > u64::from(area.room) {
            return Err(AccessError::Full {
                wanted: payload.len() as u64,
            }
            .into());
        }
        self.write_area(area, &payload)?;
        self.sync_transaction()?;
        self.set_area_magic(area.at, RECOVERY_VALID)?;
        self.sync_transaction()?;
        Ok(changes)
    }

    /// The file's area, if it has one with room for so many bytes.
    fn area_with(&self, needed: u64) -> Result<Option<RecoveryArea>, AccessError> {
        Ok(self.present_area()?.filter(|area| u64::from(area.room) >= needed))
    }

    fn present_area(&self) -> Result<Option<RecoveryArea>, AccessError> {
        let at = self.space.base_word(RECOVERY_START_AT)?;
        if at == 0 {
            return Ok(None);
        }
        let mut header = [0; RECORD_HEADER as usize];
        self.space.base_bytes(at, &mut header)?;
        let record = Record::from_bytes(&header, self.space.order());
        let end = u64::from(at) + u64::from(RECORD_HEADER) + u64::from(record.record_len);
        let sound = at >= self.first_record()
            && end <= u64::from(self.space.base_size())
            && (record.magic == RECOVERY_INVALID || record.magic == RECOVERY_VALID);
        if !sound {
            return Err(corrupt(
                at,
                "the header points here for the recovery area, and there is none",
            ));
        }
        Ok(Some(RecoveryArea {
            at,
            room: record.record_len,
        }))
    }

    /// Makes an area at the end of the file, with more room than asked for, so that it is seldom made again.
    fn make_area(&self, file_end: u32, needed: u64) -> Result<RecoveryArea, AccessError> {
        let old = self.present_area()?;
        let wanted = needed + needed / 2 + 256;
        if let Some(area) = old
            && area.at + RECORD_HEADER + area.room == file_end
            && self.space.size() == file_end
        {
            return self.lengthen_area(area, wanted);
        }
        let at = self
            .space
            .size()
            .checked_next_multiple_of(4)
            .ok_or(AccessError::Full { wanted })?;
        let area = RecoveryArea {
            at,
            room: self.room_until_page(at, wanted)?,
        };
        if let Some(old) = old {
            // An area that was just written over with zeros by a killed process has no length any more.
            if old.room >= TAILER {
                self.free(old.at, old.room)?;
            }
        }
        self.space.set_word(RECOVERY_START_AT, at)?;
        self.space.grow_through(at + RECORD_HEADER + area.room)?;
        if let Some(old) = old {
            self.zero_through(old.at, RECORD_HEADER + old.room)?;
        }
        self.sync_transaction()?;
        self.space
            .write_through(RECOVERY_START_AT, &self.space.order().bytes(at))?;
        self.sync_transaction()?;
        Ok(area)
    }

    /// The area is the last thing in the file: makes both longer.
    fn lengthen_area(&self, area: RecoveryArea, wanted: u64) -> Result<RecoveryArea, AccessError> {
        let longer = RecoveryArea {
            at: area.at,
            room: self.room_until_page(area.at, wanted)?,
        };
        self.space.grow_through(area.at + RECORD_HEADER + longer.room)?;
        // The file must be long enough before the area says that it is.
        self.sync_transaction()?;
        Ok(longer)
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

    /// What playing back must write: old bytes, and a free record for what the file grew by.
    fn payload(&self, changes: &[Change], file_end: u32, area: RecoveryArea) -> Result<Vec<u8>, AccessError> {
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
        // The file may have grown up to the area (if that was made now), or up to its end (if the area lies before).
        let grown_end = if area.at >= file_end {
            area.at
        } else {
            self.space.base_size()
        };
        let start = file_end.next_multiple_of(4);
        if grown_end.saturating_sub(start) >= LEAST_FREE {
            let record_len = grown_end - start - RECORD_HEADER;
            let head = self.space.base_word(FREELIST_HEAD)?;
            add(start, &Record::free(head, record_len).to_bytes(order));
            add(grown_end - TAILER, &order.bytes(record_len + RECORD_HEADER));
            add(FREELIST_HEAD, &order.bytes(start));
        }
        // libtdb ends the old bytes with the length of the area.
        payload.extend_from_slice(&order.bytes(RECORD_HEADER + area.room));
        Ok(payload)
    }

    fn write_area(&self, area: RecoveryArea, payload: &[u8]) -> Result<(), AccessError> {
        let header = Record {
            next: 0,
            record_len: area.room,
            key_len: self.space.base_size(),
            data_len: payload.len() as u32,
            hash: 0,
            magic: RECOVERY_INVALID,
        };
        self.space
            .write_through(area.at, &header.to_bytes(self.space.order()))?;
        self.space.write_through(area.at + RECORD_HEADER, payload)
    }

    fn set_area_magic(&self, at: Offset, magic: u32) -> Result<(), AccessError> {
        self.space
            .write_through(at + MAGIC_IN_RECORD, &self.space.order().bytes(magic))
    }

    /// Step 6 of a commit, and what a cancel after preparing needs: the area is at rest again.
    pub(crate) fn invalidate_recovery(&self) -> Result<(), AccessError> {
        let at = self.space.base_word(RECOVERY_START_AT)?;
        self.set_area_magic(at, RECOVERY_INVALID)?;
        self.sync_transaction()
    }

    fn zero_through(&self, at: Offset, len: Length) -> Result<(), AccessError> {
        let zeros = vec![0; ZEROS.min(len as usize)];
        let mut done = 0;
        while done < len {
            let step = zeros.len().min((len - done) as usize);
            self.space.write_through(at + done, &zeros[..step])?;
            done += step as u32;
        }
        Ok(())
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
        if at < self.first_record() || area.data_len > area.record_len {
            return Err(corrupt(at, "the recovery area contradicts itself"));
        }
        self.space
            .must_hold(at, RECORD_HEADER.saturating_add(area.record_len))?;
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
        self.say(LogLevel::Trace, || {
            format!("recovered a database of {} bytes", area.key_len)
        });
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
            if end > u64::from(self.space.size())
                || (u64::from(offset) < area_range.end && end > area_range.start)
            {
                return Err(corrupt(
                    at,
                    "the recovery area holds bytes for a place where none can be",
                ));
            }
            entries.push((offset, &body[..len as usize]));
            rest = &body[len as usize..];
        }
        Ok(entries)
    }

    /// Makes a free record of what lies between the old file's end and the area; it may hold anything.
    fn free_beyond(&self, old_end: u32, at: Offset, area: &Record) -> Result<(), AccessError> {
        let start = old_end.max(self.first_record()).checked_next_multiple_of(4);
        let size = self.space.size();
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

/// How many of a change's bytes the file held before.
fn old_len(change: &Change, file_end: u32) -> u32 {
    change.len.min(file_end.saturating_sub(change.at))
}

/// At most how long the payload for these changes is.
fn payload_len(changes: &[Change], file_end: u32) -> u64 {
    let entry = u64::from(RECOVERY_ENTRY_HEADER);
    let old: u64 = changes
        .iter()
        .map(|change| entry + u64::from(old_len(change, file_end)))
        .sum();
    // The three entries that make a free record of what is new, and the tailer.
    old + 3 * entry + u64::from(RECORD_HEADER + TAILER + 4 + TAILER)
}
