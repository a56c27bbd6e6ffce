//! The records that hold nothing: handing them out, taking them back, making the file longer.
//!
//! The list's order is free to choose, so it is kept such that allocation need not search: the large block at the
//! end of the file stays at the head, and small records come second. An allocation looks at the first few only;
//! a walk over the whole list is made before the file grows, and only once for many allocations.
//! Everything here needs the freelist's lock for writing. Each step leaves a list that libtdb can use.

use std::cell::Cell;

use crate::database::Database;
use crate::error::AccessError;
use crate::format::{FREELIST_HEAD, Length, Offset, RECORD_FREE, RECORD_HEADER, RECORD_USED, Record, TAILER};

/// How many records an allocation looks at before it asks for more room.
const WINDOW: u32 = 4;
/// A free record is split only if what stays can hold a small record.
const LEAST_REST: Length = RECORD_HEADER + 32;
const PAGE: u64 = 4096;
/// The file grows by room for this many records like the wanted one,
const GROW_RECORDS: u64 = 32;
/// but for this reason alone by no more than this,
const GROW_RECORDS_LIMIT: u64 = 32 * 1024;
/// and by this part of itself.
const GROW_PART: u64 = 16;
/// The whole list is walked at most once for this part of its length in allocations.
const SWEEP_PART: u32 = 4;

/// What this handle remembers about the list, to search little.
#[derive(Default)]
pub(crate) struct FreelistMemory {
    /// Allocations that found nothing near the head since the last walk of the whole list.
    misses: Cell<u32>,
    /// How long the list was then.
    length: Cell<u32>,
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
                if best
                    .as_ref()
                    .is_none_or(|best| record.record_len < best.record.record_len)
                {
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

    /// Walks the whole list if that was not done lately: joins neighbours, and puts the longest record first.
    fn look_everywhere(&self, wanted: Length) -> Result<Option<Place>, AccessError> {
        let memory = &self.freelist;
        memory.misses.set(memory.misses.get() + 1);
        if memory.misses.get() < memory.length.get() / SWEEP_PART {
            return Ok(None);
        }
        memory.misses.set(0);
        let (longest, length) = self.join_and_find_longest()?;
        memory.length.set(length);
        let Some(longest) = longest.filter(|place| place.record.record_len >= wanted) else {
            return Ok(None);
        };
        self.move_to_head(longest).map(Some)
    }

    fn join_and_find_longest(&self) -> Result<(Option<Place>, u32), AccessError> {
        let mut longest: Option<Place> = None;
        let mut length = 0;
        let mut link = FREELIST_HEAD;
        loop {
            let at = self.space.word(link)?;
            if at == 0 {
                break;
            }
            length += 1;
            self.must_be_sane_length(length, at)?;
            let record = self.free_record(at)?;
            // Joining the longest found so far, or what points at it, would make that place wrong.
            let touches_longest = longest
                .as_ref()
                .is_some_and(|place| place.link == at || place.at == at);
            if !touches_longest && self.join_left(link, at, &record)? {
                continue;
            }
            if longest
                .as_ref()
                .is_none_or(|place| place.record.record_len < record.record_len)
            {
                longest = Some(Place { link, at, record });
            }
            link = at;
        }
        // A join may have made the longest one longer still.
        if let Some(place) = &mut longest {
            place.record = self.free_record(place.at)?;
        }
        Ok((longest, length))
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
        self.lengthen(
            left_at,
            &left,
            left.record_len + RECORD_HEADER + record.record_len,
        )?;
        Ok(true)
    }

    fn move_to_head(&self, place: Place) -> Result<Place, AccessError> {
        if place.link == FREELIST_HEAD {
            return Ok(place);
        }
        let head = self.space.word(FREELIST_HEAD)?;
        self.space.set_word(place.link, place.record.next)?;
        let record = Record {
            next: head,
            ..place.record
        };
        self.space.set_word(place.at, head)?;
        self.space.set_word(FREELIST_HEAD, place.at)?;
        Ok(Place {
            link: FREELIST_HEAD,
            at: place.at,
            record,
        })
    }

    /// Cuts `wanted` bytes off the end of a free record, or takes it whole.
    fn take(&self, place: Place, wanted: Length) -> Result<(Offset, Length), AccessError> {
        let Place { link, at, record } = place;
        if record.record_len - wanted < LEAST_REST {
            self.space.set_word(link, record.next)?;
            return Ok((at, record.record_len));
        }
        let rest = record.record_len - wanted - RECORD_HEADER;
        self.lengthen(at, &record, rest)?;
        Ok((at + RECORD_HEADER + rest, wanted))
    }

    /// Gives a free record another length; its place in the list stays.
    fn lengthen(&self, at: Offset, record: &Record, record_len: Length) -> Result<(), AccessError> {
        self.write_tailer(at, record_len)?;
        self.space.set_record(
            at,
            &Record {
                record_len,
                ..*record
            },
        )
    }

    /// Writes the length of a record into its last 4 bytes.
    pub(crate) fn write_tailer(&self, at: Offset, record_len: Length) -> Result<(), AccessError> {
        self.space.set_word(
            at + RECORD_HEADER + record_len - TAILER,
            record_len + RECORD_HEADER,
        )
    }

    /// Puts the record at `at`, which no chain holds any more, on the freelist.
    pub(crate) fn free(&self, at: Offset, record_len: Length) -> Result<(), AccessError> {
        self.space
            .must_hold(at, RECORD_HEADER.saturating_add(record_len))?;
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
            return Err(AccessError::Corrupt {
                offset: at,
                what: "a record of the freelist is not free",
            });
        }
        if at < self.first_record() || record.record_len < TAILER {
            return Err(AccessError::Corrupt {
                offset: at,
                what: "a free record cannot be here",
            });
        }
        let end = u64::from(at) + u64::from(RECORD_HEADER) + u64::from(record.record_len);
        if end > u64::from(self.space.size()) {
            self.space
                .must_hold(at, RECORD_HEADER.saturating_add(record.record_len))?;
        }
        Ok(record)
    }

    pub(crate) fn must_be_sane_length(&self, length: u32, at: Offset) -> Result<(), AccessError> {
        if length > self.space.most_records() {
            return Err(AccessError::Corrupt {
                offset: at,
                what: "the freelist goes in a circle",
            });
        }
        Ok(())
    }

    /// Makes the file longer by at least a record of `wanted` bytes, and puts the new space at the freelist's head.
    fn grow_file(&self, wanted: Length) -> Result<(), AccessError> {
        if !self.transaction_active() {
            // Another process may have made it longer already.
            self.space.refresh()?;
        }
        let size = self.space.size();
        let start = size.checked_next_multiple_of(4).ok_or(AccessError::Full {
            wanted: wanted.into(),
        })?;
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
