//! The records that hold nothing: handing them out, taking them back, making the file longer.
//!
//! The list's order is free to choose, so it is kept such that allocation need not search: the large block at the
//! end of the file stays at the head, and small records come second. An allocation looks at the first few only;
//! a walk over the whole list is made before the file grows, and only once for many allocations.
//! Everything here needs the freelist's lock for writing. Each step leaves a list that libtdb can use.

use std::cell::Cell;

use crate::database::Database;
use crate::error::AccessError;
use crate::file::format::{
    FREELIST_HEAD, Length, Offset, RECORD_DEAD, RECORD_FREE, RECORD_HEADER, RECORD_USED, Record, TAILER,
};

/// How many records an allocation looks at for the best fit.
const WINDOW: u32 = 4;
/// How many short records in front are carried behind long ones at once, and behind how many.
const CARRIED: u32 = 64;
/// A free record is split only if what stays can hold a small record.
const LEAST_REST: Length = RECORD_HEADER + 32;
const PAGE: u64 = 4096;
/// The file grows by room for this many records like the wanted one,
const GROW_RECORDS: u64 = 32;
/// but for this reason alone by no more than this,
const GROW_RECORDS_LIMIT: u64 = 32 * 1024;
/// and by this part of itself.
const GROW_PART: u64 = 16;
/// The whole list is walked when this part of the file's size has been freed since the last time.
const SWEEP_PART: u64 = 16;
/// A free record with room for so many of the wanted size goes to the front in such a walk.
const LARGE_RECORDS: u32 = 3;
/// This part of what is allocated may be given away,
const GIFT_PART: u32 = 16;
/// with no more than this saved up.
const GIFT_LIMIT: u32 = 64 * 1024;

/// What this handle remembers about the list, to search little.
#[derive(Default)]
pub(crate) struct FreelistMemory {
    /// Bytes that this handle has freed since it last walked the whole list.
    freed: Cell<u64>,
    /// Whether it has walked the list at all.
    walked: Cell<bool>,
    /// Bytes that allocations may still give away as slack rather than leave as a short record in front of the list.
    gift: Cell<u32>,
}

/// A free record, and the word that points at it.
struct Place {
    link: Offset,
    at: Offset,
    record: Record,
}

/// The record length that `bytes` of key and value need.
pub(crate) fn record_len_for(bytes: Length) -> Length {
    (bytes + TAILER).next_multiple_of(4)
}

impl Database {
    /// Takes a record of at least `wanted` bytes (header not counted) off the list, growing the file if need be.
    /// Returns where it is and how long; its header is not written yet.
    pub(crate) fn allocate(&self, wanted: Length) -> Result<(Offset, Length), AccessError> {
        if let Some(place) = self.look_near_head(wanted)? {
            return self.take(place, wanted);
        }
        if let Some(place) = self.look_behind_short_ones(wanted)? {
            return self.take(place, wanted);
        }
        if let Some(place) = self.look_everywhere(wanted)? {
            return self.take(place, wanted);
        }
        self.grow_file(wanted)?;
        match self.look_near_head(wanted)? {
            Some(place) => self.take(place, wanted),
            None => Err(AccessError::Corrupt {
                offset: FREELIST_HEAD,
                what: "new free space is not on the freelist",
            }),
        }
    }

    fn look_near_head(&self, wanted: Length) -> Result<Option<Place>, AccessError> {
        let mut best: Option<Place> = None;
        let mut link = FREELIST_HEAD;
        for _ in 0..WINDOW {
            let at = self.space.word(link)?;
            if at == 0 {
                break;
            }
            let record = self.free_record(at)?;
            if record.record_len >= wanted {
                let close = record.record_len - wanted < LEAST_REST;
                if best.as_ref().is_none_or(|best| record.record_len < best.record.record_len) {
                    best = Some(Place { link, at, record });
                }
                if close {
                    break;
                }
            }
            link = at;
        }
        Ok(best)
    }

    /// Carries the records in front that are too short behind the ones that follow and are not: what long records
    /// leave over when they are used up gathers in front, and hides those behind it.
    fn look_behind_short_ones(&self, wanted: Length) -> Result<Option<Place>, AccessError> {
        let first_short = self.space.word(FREELIST_HEAD)?;
        let (last_short, first_long) = self.skip(FREELIST_HEAD, |record| record.record_len < wanted)?;
        if first_long == 0 || self.free_record(first_long)?.record_len < wanted {
            return Ok(None);
        }
        if last_short != FREELIST_HEAD {
            let (last_long, rest) = self.skip(last_short, |record| record.record_len >= wanted)?;
            // In this order the list holds no circle at any time; at worst a kill loses what is being carried.
            self.space.set_word(FREELIST_HEAD, first_long)?;
            self.space.set_word(last_short, rest)?;
            self.space.set_word(last_long, first_short)?;
        }
        self.look_near_head(wanted)
    }

    /// Goes on from `link` over at most [`CARRIED`] records for which `with` holds; returns the last of them (or
    /// `link`) and what comes next.
    fn skip(&self, link: Offset, with: impl Fn(&Record) -> bool) -> Result<(Offset, Offset), AccessError> {
        let mut last = link;
        for _ in 0..CARRIED {
            let at = self.space.word(last)?;
            if at == 0 || !with(&self.free_record(at)?) {
                break;
            }
            last = at;
        }
        Ok((last, self.space.word(last)?))
    }

    /// Walks the whole list if that is likely to find much: joins neighbours, and puts long records first.
    fn look_everywhere(&self, wanted: Length) -> Result<Option<Place>, AccessError> {
        let memory = &self.freelist;
        if memory.walked.get() && memory.freed.get() < u64::from(self.space.size()) / SWEEP_PART {
            return Ok(None);
        }
        memory.walked.set(true);
        memory.freed.set(0);
        self.join_neighbours()?;
        let large = wanted.saturating_mul(LARGE_RECORDS);
        let found = self.long_records_first(large)?;
        // A few long records are soon used up: then the next walk would come too soon.
        if found < u64::from(self.space.size()) / SWEEP_PART / 4 {
            Ok(None)
        } else {
            self.look_near_head(wanted)
        }
    }

    fn join_neighbours(&self) -> Result<(), AccessError> {
        let mut length = 0;
        let mut link = FREELIST_HEAD;
        loop {
            let at = self.space.word(link)?;
            if at == 0 {
                return Ok(());
            }
            length += 1;
            self.must_be_sane_length(length, at)?;
            let record = self.free_record(at)?;
            if !self.join_left(link, at, &record)? {
                link = at;
            }
        }
    }

    /// Moves the records of at least this length to the front; returns their bytes.
    fn long_records_first(&self, large: Length) -> Result<u64, AccessError> {
        let mut found = 0;
        let mut length = 0;
        let mut link = FREELIST_HEAD;
        loop {
            let at = self.space.word(link)?;
            if at == 0 {
                return Ok(found);
            }
            length += 1;
            self.must_be_sane_length(length, at)?;
            let record = self.free_record(at)?;
            if record.record_len < large {
                link = at;
                continue;
            }
            found += u64::from(record.record_len);
            let in_place = link == FREELIST_HEAD;
            self.move_to_head(Place { link, at, record })?;
            if in_place {
                link = at;
            }
        }
    }

    /// Appends a listed free record to its left neighbour, if that is free, and takes it off the list.
    fn join_left(&self, link: Offset, at: Offset, record: &Record) -> Result<bool, AccessError> {
        let Some((left_at, left)) = self.free_left_neighbour(at)? else {
            return Ok(false);
        };
        // The left neighbour must not be what points at us: then unlinking and lengthening would meet.
        if link == left_at {
            return Ok(false);
        }
        self.space.set_word(link, record.next)?;
        self.lengthen(left_at, &left, left.record_len + RECORD_HEADER + record.record_len)?;
        Ok(true)
    }

    fn move_to_head(&self, place: Place) -> Result<Place, AccessError> {
        if place.link == FREELIST_HEAD {
            return Ok(place);
        }
        let head = self.space.word(FREELIST_HEAD)?;
        self.space.set_word(place.link, place.record.next)?;
        let record = Record { next: head, ..place.record };
        self.space.set_word(place.at, head)?;
        self.space.set_word(FREELIST_HEAD, place.at)?;
        Ok(Place { link: FREELIST_HEAD, at: place.at, record })
    }

    /// Cuts `wanted` bytes off the end of a free record, or takes it whole.
    fn take(&self, place: Place, wanted: Length) -> Result<(Offset, Length), AccessError> {
        let Place { link, at, record } = place;
        let rest = record.record_len - wanted;
        let gift = self.freelist.gift.get().saturating_add(wanted / GIFT_PART).min(GIFT_LIMIT);
        // What is left of a used-up record would be looked at, in vain, by the next allocations like this one.
        let give_rest = rest < LEAST_REST || (rest < wanted + RECORD_HEADER && rest <= gift);
        self.freelist.gift.set(if give_rest { gift.saturating_sub(rest) } else { gift });
        if give_rest {
            self.space.set_word(link, record.next)?;
            self.mark_taken(at, record.record_len)?;
            return Ok((at, record.record_len));
        }
        let rest = record.record_len - wanted - RECORD_HEADER;
        self.lengthen(at, &record, rest)?;
        let at = at + RECORD_HEADER + rest;
        self.mark_taken(at, wanted)?;
        Ok((at, wanted))
    }

    /// Makes a record that was taken off the list look like one that is not on it, before the freelist's lock goes:
    /// until its owner has written it, whoever frees its right neighbour would take what still stands here, an old
    /// header or an old tailer, for free space to join.
    fn mark_taken(&self, at: Offset, record_len: Length) -> Result<(), AccessError> {
        self.write_tailer(at, record_len)?;
        let taken = Record { magic: RECORD_DEAD, ..Record::free(0, record_len) };
        self.space.set_record(at, &taken)
    }

    /// Gives a free record another length; its place in the list stays.
    fn lengthen(&self, at: Offset, record: &Record, record_len: Length) -> Result<(), AccessError> {
        self.write_tailer(at, record_len)?;
        self.space.set_record(at, &Record { record_len, ..*record })
    }

    /// Writes the length of a record into its last 4 bytes.
    pub(crate) fn write_tailer(&self, at: Offset, record_len: Length) -> Result<(), AccessError> {
        self.space.set_word(at + RECORD_HEADER + record_len - TAILER, record_len + RECORD_HEADER)
    }

    /// Puts the record at `at`, which no chain holds any more, on the freelist.
    pub(crate) fn free(&self, at: Offset, record_len: Length) -> Result<(), AccessError> {
        self.freelist.freed.set(self.freelist.freed.get() + u64::from(record_len));
        self.space.must_hold(at, RECORD_HEADER.saturating_add(record_len))?;
        if let Some((left_at, left)) = self.free_left_neighbour(at)? {
            return self.lengthen(left_at, &left, left.record_len + RECORD_HEADER + record_len);
        }
        let head_at = self.space.word(FREELIST_HEAD)?;
        if head_at == 0 {
            return self.free_as_head(at, record_len, 0);
        }
        let head = self.free_record(head_at)?;
        if head_at == at + RECORD_HEADER + record_len {
            // The large block begins right behind us: it begins here from now on.
            return self.free_as_head(at, record_len + RECORD_HEADER + head.record_len, head.next);
        }
        if record_len > head.record_len {
            return self.free_as_head(at, record_len, head_at);
        }
        self.write_free(at, record_len, head.next)?;
        self.space.set_word(head_at, at)
    }

    fn free_as_head(&self, at: Offset, record_len: Length, next: Offset) -> Result<(), AccessError> {
        self.write_free(at, record_len, next)?;
        self.space.set_word(FREELIST_HEAD, at)
    }

    fn write_free(&self, at: Offset, record_len: Length, next: Offset) -> Result<(), AccessError> {
        self.write_tailer(at, record_len)?;
        self.space.set_record(at, &Record::free(next, record_len))
    }

    /// The record before `at`, if its tailer and header agree that it is a free one that ends here.
    fn free_left_neighbour(&self, at: Offset) -> Result<Option<(Offset, Record)>, AccessError> {
        let first = self.first_record();
        if at < first + RECORD_HEADER + TAILER {
            return Ok(None);
        }
        let total = self.space.word(at - TAILER)?;
        if total < RECORD_HEADER + TAILER || total > at - first {
            return Ok(None);
        }
        let left_at = at - total;
        let left = self.space.record(left_at)?;
        let ends_here = left.record_len.checked_add(RECORD_HEADER) == Some(total);
        Ok((left.magic == RECORD_FREE && ends_here).then_some((left_at, left)))
    }

    /// The listed free record at `at`.
    pub(crate) fn free_record(&self, at: Offset) -> Result<Record, AccessError> {
        let mut record = self.space.record(at)?;
        if record.magic == RECORD_USED {
            // A process was killed while it freed this record: it is on the list, and so it is free.
            record.magic = RECORD_FREE;
            self.space.set_record(at, &record)?;
        }
        if record.magic != RECORD_FREE {
            return Err(AccessError::Corrupt { offset: at, what: "a record of the freelist is not free" });
        }
        if at < self.first_record() || record.record_len < TAILER {
            return Err(AccessError::Corrupt { offset: at, what: "a free record cannot be here" });
        }
        let end = u64::from(at) + u64::from(RECORD_HEADER) + u64::from(record.record_len);
        if end > u64::from(self.space.size()) {
            self.space.must_hold(at, RECORD_HEADER.saturating_add(record.record_len))?;
        }
        Ok(record)
    }

    pub(crate) fn must_be_sane_length(&self, length: u32, at: Offset) -> Result<(), AccessError> {
        if length > self.space.most_records() {
            return Err(AccessError::Corrupt { offset: at, what: "the freelist goes in a circle" });
        }
        Ok(())
    }

    /// Makes the file longer by at least a record of `wanted` bytes, and puts the new space at the freelist's head.
    pub(crate) fn grow_file(&self, wanted: Length) -> Result<(), AccessError> {
        if !self.transaction_active() {
            // Another process may have made it longer already.
            self.space.refresh()?;
        }
        let size = self.space.size();
        let start = size.checked_next_multiple_of(4).ok_or(AccessError::Full { wanted: wanted.into() })?;
        let to = self.grown_size(start, wanted)?;
        self.space.grow(to)?;
        let record_len = to - start - RECORD_HEADER;
        let head_at = self.space.word(FREELIST_HEAD)?;
        if let Some((left_at, left)) = self.free_left_neighbour(start)?
            && left_at == head_at
        {
            return self.lengthen(left_at, &left, left.record_len + RECORD_HEADER + record_len);
        }
        self.free_as_head(start, record_len, head_at)
    }

    fn grown_size(&self, start: Offset, wanted: Length) -> Result<Offset, AccessError> {
        let least = u64::from(wanted) + u64::from(RECORD_HEADER);
        let records = (least * GROW_RECORDS).min(GROW_RECORDS_LIMIT);
        let add = least.max(records).max(u64::from(start) / GROW_PART);
        let comfortable = (u64::from(start) + add).next_multiple_of(PAGE);
        // Near the end of what 32 bits can point at, take what is left.
        let limit = u64::from(u32::MAX) / PAGE * PAGE;
        let to = comfortable.min(limit);
        if to < u64::from(start) + least {
            return Err(AccessError::Full { wanted: least });
        }
        u32::try_from(to).map_err(|_| AccessError::Full { wanted: least })
    }

    /// Calls `with` for each record of the freelist, in the list's order.
    pub(crate) fn walk_freelist(
        &self,
        mut with: impl FnMut(Offset, &Record) -> Result<(), AccessError>,
    ) -> Result<u32, AccessError> {
        let mut length = 0;
        let mut at = self.space.word(FREELIST_HEAD)?;
        while at != 0 {
            length += 1;
            self.must_be_sane_length(length, at)?;
            let record = self.space.record(at)?;
            with(at, &record)?;
            at = record.next;
        }
        Ok(length)
    }
}
