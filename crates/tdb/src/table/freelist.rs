//! The records that hold nothing: handing them out, taking them back, making the file longer.
//!
//! The list's order is free to choose, so it is kept such that allocation need not search: the largest record stays at
//! the head, and what is freed comes second. An allocation looks at the first few and takes the one that fits best. If
//! none fits it looks further, and before the file grows it walks the whole list ([`super::sweep`]). Allocations pay for
//! that in advance, so that much walking never falls on few of them; where much is to be found the price is lower
//! ([`super::freelist_memory`]). A record that grows takes room beside it first ([`super::beside`]).
//! Whoever takes or gives room shows the proof that the list is locked for writing. Each step leaves a list that libtdb can use.

use crate::error::AccessError;
use crate::file::bytes::Bytes;
use crate::file::format::{
    FREELIST_HEAD, FreeStep, Length, Offset, RECORD_DEAD, RECORD_FREE, RECORD_HEADER, RECORD_USED, Record,
    TAILER,
};
use crate::lock::proof::Write;
use crate::table::Table;
use crate::table::freelist_memory::Seen;

/// How many records an allocation looks at for the best fit.
pub(super) const WINDOW: u32 = 16;
/// So often an allocation relies on what an earlier one has seen behind the newest records.
const SEEN_USES: u32 = 32;
/// A free record is split only if what stays can hold a small record.
const LEAST_REST: Length = RECORD_HEADER + 32;
const PAGE: u64 = 4096;
/// The file grows by room for this many records like the wanted one,
const GROW_RECORDS: u64 = 32;
/// but for this reason alone by no more than this,
const GROW_RECORDS_LIMIT: u64 = 32 * 1024;
/// and by this part of itself.
const GROW_PART: u64 = 64;

/// What a search along the list needs to know of a record.
#[derive(Clone, Copy)]
pub(crate) struct Free {
    pub next: Offset,
    pub record_len: Length,
}

/// A free record, and the word that points at it.
struct Place {
    link: Offset,
    at: Offset,
    record: Free,
}

/// The record length that `bytes` of key and value need.
pub(crate) fn record_len_for(bytes: Length) -> Length {
    (bytes + TAILER).next_multiple_of(4)
}

impl<B: Bytes> Table<'_, B> {
    /// Takes a record of at least `wanted` bytes (header not counted) off the list, growing the file if need be.
    /// Returns where it is and how long; its header is not written yet.
    pub(crate) fn allocate(
        &self,
        freelist: &Write<'_>,
        wanted: Length,
    ) -> Result<(Offset, Length), AccessError> {
        self.core.freelist.note_wanted(wanted);
        if let Some(place) = self.look_near_head(wanted)? {
            return self.take(place, wanted);
        }
        // What comes next puts the list into another order.
        self.core.freelist.seen.set(Seen::default());
        let one_is_near = self.carry_short_ones(wanted)? || self.look_everywhere(wanted)?;
        if one_is_near && let Some(place) = self.look_near_head(wanted)? {
            return self.take(place, wanted);
        }
        self.grow_file(freelist, wanted)?;
        match self.look_near_head(wanted)? {
            Some(place) => self.take(place, wanted),
            None => Err(AccessError::Corrupt {
                offset: FREELIST_HEAD,
                what: "new free space is not on the freelist",
            }),
        }
    }

    fn look_near_head(&self, wanted: Length) -> Result<Option<Place>, AccessError> {
        let seen = self.core.freelist.seen.get();
        let known_short = if seen.uses_left > 0 && wanted >= seen.shorter_than { seen.at } else { 0 };
        let mut best: Option<Place> = None;
        let mut link = FREELIST_HEAD;
        let mut at = self.space.word(link)?;
        let mut second = 0;
        let any_will_do = self.core.freelist.wants_are_alike();
        let mut uses_left = SEEN_USES;
        for nth in 0..WINDOW {
            if nth == 1 {
                second = at;
            }
            if at == 0 {
                break;
            }
            if at == known_short {
                uses_left = seen.uses_left - 1;
                break;
            }
            let record = self.free_record(at)?;
            if record.record_len >= wanted {
                let close = record.record_len - wanted < LEAST_REST;
                if best.as_ref().is_none_or(|best| record.record_len < best.record.record_len) {
                    best = Some(Place { link, at, record });
                }
                // The head is the last resort: it serves all lengths.
                if close || any_will_do && link != FREELIST_HEAD {
                    break;
                }
            }
            link = at;
            at = record.next;
        }
        if second != 0 && best.as_ref().is_none_or(|best| best.link == FREELIST_HEAD) {
            self.core.freelist.seen.set(Seen { at: second, shorter_than: wanted, uses_left });
        }
        Ok(best)
    }

    /// Carries the records in front that are too short behind as many others, so that one that is long enough comes
    /// first: what is freed gathers in front, and hides what is behind it. Says whether it has found one within the
    /// steps that are paid for.
    fn carry_short_ones(&self, wanted: Length) -> Result<bool, AccessError> {
        let first_short = self.space.word(FREELIST_HEAD)?;
        let memory = &self.core.freelist;
        let (last_short, first_long, skipped) =
            self.skip(FREELIST_HEAD, memory.steps(), |record| record.record_len < wanted)?;
        memory.pay_steps(skipped);
        if first_long == 0 || self.free_record(first_long)?.record_len < wanted {
            return Ok(false);
        }
        if skipped > 0 {
            let (last, rest, passed) = self.skip(last_short, skipped, |_| true)?;
            memory.pay_steps(passed);
            // In this order the list holds no circle at any time; at worst a kill loses what is being carried.
            self.space.set_word(FREELIST_HEAD, first_long)?;
            self.space.set_word(last_short, rest)?;
            self.space.set_word(last, first_short)?;
        }
        Ok(true)
    }

    /// Goes on from `link` over at most `limit` records for which `with` holds; returns the last of them (or `link`),
    /// what comes next, and how many they are.
    fn skip(
        &self,
        link: Offset,
        limit: u32,
        with: impl Fn(Free) -> bool,
    ) -> Result<(Offset, Offset, u32), AccessError> {
        let mut last = link;
        let mut at = self.space.word(link)?;
        let most_records = self.space.most_records();
        for skipped in 0..limit {
            if skipped > most_records {
                self.must_be_sane_length(skipped, at)?;
            }
            if at == 0 {
                return Ok((last, at, skipped));
            }
            let record = self.free_record(at)?;
            if !with(record) {
                return Ok((last, at, skipped));
            }
            last = at;
            at = record.next;
        }
        Ok((last, at, limit))
    }

    /// Walks the whole list if that is paid for; says whether a record that is long enough is at its head now.
    fn look_everywhere(&self, wanted: Length) -> Result<bool, AccessError> {
        let memory = &self.core.freelist;
        if !memory.pay_walk(wanted, self.space.size()) {
            return Ok(false);
        }
        let swept = self.sweep_freelist(wanted, memory.least_wanted())?;
        memory.note_walk(swept.records, swept.bytes);
        Ok(swept.found)
    }

    /// Cuts `wanted` bytes off the end of a free record, or takes it whole.
    fn take(&self, place: Place, wanted: Length) -> Result<(Offset, Length), AccessError> {
        let Place { link, at, record } = place;
        let rest = record.record_len - wanted;
        // What is left of a used-up record would be looked at, in vain, by the next allocations like this one.
        let give_rest = self.core.freelist.may_give(wanted, rest, |gift| {
            rest < LEAST_REST || (rest < wanted + RECORD_HEADER && rest <= gift)
        });
        if give_rest {
            self.core.freelist.note_taken(record.record_len);
            self.space.set_word(link, record.next)?;
            self.mark_taken(at, record.record_len)?;
            return Ok((at, record.record_len));
        }
        self.cut_end_off(at, record, wanted)
    }

    /// Makes a record of the last `wanted` bytes of a free one, which must have a header more than that.
    pub(super) fn cut_end_off(
        &self,
        at: Offset,
        record: Free,
        wanted: Length,
    ) -> Result<(Offset, Length), AccessError> {
        self.core.freelist.note_taken(wanted + RECORD_HEADER);
        let rest = record.record_len - wanted - RECORD_HEADER;
        self.lengthen(at, record, rest)?;
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
    fn lengthen(&self, at: Offset, record: Free, record_len: Length) -> Result<(), AccessError> {
        self.write_free(at, record_len, record.next)
    }

    /// Writes the length of a record into its last 4 bytes.
    pub(crate) fn write_tailer(&self, at: Offset, record_len: Length) -> Result<(), AccessError> {
        self.space.set_word(at + RECORD_HEADER + record_len - TAILER, record_len + RECORD_HEADER)
    }

    /// Puts the record at `at`, which no chain holds any more, on the freelist.
    pub(crate) fn free(
        &self,
        _freelist: &Write<'_>,
        at: Offset,
        record_len: Length,
    ) -> Result<(), AccessError> {
        let memory = &self.core.freelist;
        memory.note_freed(record_len);
        self.space.must_hold(at, RECORD_HEADER.saturating_add(record_len))?;
        if let Some((_, right)) = self.right_neighbour(at, record_len)?
            && right.magic == RECORD_FREE
        {
            memory.note_neighbours(record_len.saturating_add(right.record_len));
        }
        if let Some((left_at, left)) = self.free_left_neighbour(at)? {
            memory.note_neighbours(record_len + left.record_len);
            return self.lengthen(left_at, left, left.record_len + RECORD_HEADER + record_len);
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

    pub(super) fn write_free(&self, at: Offset, record_len: Length, next: Offset) -> Result<(), AccessError> {
        self.write_tailer(at, record_len)?;
        self.space.set_record(at, &Record::free(next, record_len))
    }

    /// The record before `at`, if its tailer and header agree that it is a free one that ends here.
    #[inline]
    pub(super) fn free_left_neighbour(&self, at: Offset) -> Result<Option<(Offset, Free)>, AccessError> {
        let first = self.core.first_record();
        if at < first + RECORD_HEADER + TAILER {
            return Ok(None);
        }
        let total = self.space.word(at - TAILER)?;
        if total < RECORD_HEADER + TAILER || total > at - first {
            return Ok(None);
        }
        let left_at = at - total;
        let left = self.step_at(left_at)?;
        let ends_here = left.record_len.checked_add(RECORD_HEADER) == Some(total);
        let free = Free { next: left.next, record_len: left.record_len };
        Ok((left.magic == RECORD_FREE && ends_here).then_some((left_at, free)))
    }

    /// The listed free record at `at`.
    #[inline(always)]
    pub(crate) fn free_record(&self, at: Offset) -> Result<Free, AccessError> {
        match self.good_free_record(at) {
            Some(free) => Ok(free),
            None => self.odd_free_record(at),
        }
    }

    #[inline(always)]
    fn good_free_record(&self, at: Offset) -> Option<Free> {
        let FreeStep { next, record_len, magic } = self.space.free_step(at)?;
        let end = u64::from(at) + u64::from(RECORD_HEADER) + u64::from(record_len);
        let good = magic == RECORD_FREE
            && at >= self.core.first_record()
            && record_len >= TAILER
            && end <= u64::from(self.space.size());
        good.then_some(Free { next, record_len })
    }

    /// The same of one that is not mapped, or does not look like a free record inside the file as last seen.
    #[inline(never)]
    fn odd_free_record(&self, at: Offset) -> Result<Free, AccessError> {
        let record = self.space.record(at)?;
        if record.magic == RECORD_USED {
            // A process was killed while it freed this record: it is on the list, and so it is free.
            self.space.set_record(at, &Record { magic: RECORD_FREE, ..record })?;
        } else if record.magic != RECORD_FREE {
            return Err(AccessError::Corrupt { offset: at, what: "a record of the freelist is not free" });
        }
        if at < self.core.first_record() || record.record_len < TAILER {
            return Err(AccessError::Corrupt { offset: at, what: "a free record cannot be here" });
        }
        self.space.must_hold(at, RECORD_HEADER.saturating_add(record.record_len))?;
        Ok(Free { next: record.next, record_len: record.record_len })
    }

    #[inline]
    pub(crate) fn must_be_sane_length(&self, length: u32, at: Offset) -> Result<(), AccessError> {
        if length > self.space.most_records() {
            return Err(AccessError::Corrupt { offset: at, what: "the freelist goes in a circle" });
        }
        Ok(())
    }

    /// Makes the file longer by at least a record of `wanted` bytes, and puts the new space at the freelist's head.
    pub(crate) fn grow_file(&self, _freelist: &Write<'_>, wanted: Length) -> Result<(), AccessError> {
        // Another process may have made it longer already.
        self.space.refresh()?;
        let size = self.space.size();
        let start = size.checked_next_multiple_of(4).ok_or(AccessError::Full { wanted: wanted.into() })?;
        let to = self.grown_size(start, wanted)?;
        self.space.grow(to)?;
        let record_len = to - start - RECORD_HEADER;
        let head_at = self.space.word(FREELIST_HEAD)?;
        if let Some((left_at, left)) = self.free_left_neighbour(start)?
            && left_at == head_at
        {
            return self.lengthen(left_at, left, left.record_len + RECORD_HEADER + record_len);
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
