//! The recovery area: the bytes that a commit is about to overwrite, kept in the file until the commit is durable.
//!
//! Owns making the area (steps 2 to 4 of [`crate::commit::transaction`]), as planned, and playing it back. It is an ordinary
//! stretch of the file that the header points at; it is *valid* while its magic says so. It belongs to whoever holds the
//! transaction lock and, to play it back, all records and the open lock.

use crate::commit::plan::{CommitPlan, LEAST_FREE};
use crate::core::Core;
use crate::error::AccessError;
use crate::file::bytes::Bytes;
use crate::file::format::{
    FREELIST_HEAD, MAGIC_IN_RECORD, Offset, RECORD_HEADER, RECOVERY_ENTRY_HEADER, RECOVERY_INVALID,
    RECOVERY_START_AT, RECOVERY_VALID, Record, TAILER,
};
use crate::file::over::Over;
use crate::file::space::Space;
use crate::log::LogLevel;
use crate::table::Table;

fn corrupt(offset: Offset, what: &'static str) -> AccessError {
    AccessError::Corrupt { offset, what }
}

// Making it.

/// Steps 2 to 4 of a commit.
pub(crate) fn make_area(core: &Core, over: &Over<'_>, plan: &CommitPlan) -> Result<(), AccessError> {
    let file = &core.space;
    if plan.grow_to > over.base_size() {
        over.grow_base(plan.grow_to)?;
    }
    if plan.is_new {
        write_area(file, plan, RECOVERY_VALID)?;
        core.sync()?;
        file.set_word(RECOVERY_START_AT, plan.area.at)?;
    } else {
        write_area(file, plan, RECOVERY_INVALID)?;
        core.sync()?;
        file.set_word(plan.area.at + MAGIC_IN_RECORD, RECOVERY_VALID)?;
    }
    core.sync()
}

fn write_area(file: &Space, plan: &CommitPlan, magic: u32) -> Result<(), AccessError> {
    let area = plan.area;
    let header = Record {
        next: 0,
        record_len: area.room,
        key_len: plan.grow_to,
        data_len: plan.payload.len() as u32,
        hash: 0,
        magic,
    };
    file.set_record(area.at, &header)?;
    file.write(area.at + RECORD_HEADER, &plan.payload)?;
    let end = area.at + RECORD_HEADER + area.room;
    file.set_word(end - TAILER, RECORD_HEADER + area.room)
}

/// Step 6 of a commit: the area is at rest again.
pub(crate) fn set_aside(core: &Core) -> Result<(), AccessError> {
    set_magic(core, RECOVERY_INVALID)
}

/// Undoes a step 6 that failed. Durable before the first old byte is written: a mixture must never be at rest.
pub(crate) fn make_valid(core: &Core) -> Result<(), AccessError> {
    set_magic(core, RECOVERY_VALID)
}

fn set_magic(core: &Core, magic: u32) -> Result<(), AccessError> {
    let at = core.space.word(RECOVERY_START_AT)?;
    core.space.set_word(at + MAGIC_IN_RECORD, magic)?;
    core.sync()
}

// Playing it back.

/// Plays a valid recovery area back. The caller holds all records and the open lock, and no overlay is in front.
/// Being killed in here does no harm: the area stays valid until all is durable, and the next one starts over.
pub(crate) fn play_back(core: &Core) -> Result<(), AccessError> {
    core.space.refresh()?;
    let at = core.space.word(RECOVERY_START_AT)?;
    if at == 0 {
        return Ok(());
    }
    let area = core.space.record(at)?;
    if area.magic != RECOVERY_VALID {
        return Ok(());
    }
    let aligned = at.is_multiple_of(4) && area.record_len.is_multiple_of(4);
    if at < core.first_record() || !aligned || area.data_len > area.record_len {
        return Err(corrupt(at, "the recovery area contradicts itself"));
    }
    core.space.must_hold(at, RECORD_HEADER.saturating_add(area.record_len))?;
    let payload = core.space.bytes(at + RECORD_HEADER, area.data_len)?;
    let entries = entries(core, at, &area, &payload)?;
    for (offset, bytes) in entries {
        core.space.write(offset, bytes)?;
    }
    core.table().free_beyond(area.key_len, at, &area)?;
    core.sync()?;
    core.space.set_word(at + MAGIC_IN_RECORD, RECOVERY_INVALID)?;
    core.sync()?;
    core.note_new_layout();
    core.say(LogLevel::Trace, || format!("recovered a database of {} bytes", area.key_len));
    Ok(())
}

/// What the payload says, checked as a whole before anything is written.
fn entries<'a>(
    core: &Core,
    at: Offset,
    area: &Record,
    payload: &'a [u8],
) -> Result<Vec<(Offset, &'a [u8])>, AccessError> {
    let order = core.space.order();
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
        if end > u64::from(core.space.size()) {
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

impl Table<'_, Space> {
    /// Makes a free record of what lies between the old file's end and the area; it may hold anything.
    fn free_beyond(&self, old_end: u32, at: Offset, area: &Record) -> Result<(), AccessError> {
        let start = old_end.max(self.core.first_record()).checked_next_multiple_of(4);
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
