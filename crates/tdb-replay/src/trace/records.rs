//! Records on their way from the text to their ids.
//!
//! Owns the keys and values of a history, and those of the last lines, which have no ids yet. Looking up a record waits
//! for memory, so lines are read a batch at a time: the scanner leaves their records here, and [`Records::settle`]
//! looks all of them up together, keys first.

use tdb_trace::hex;

use super::intern::{Intern, Keys, Values};
use super::strings::{Slotted, Tag};

/// The keys and values of a history, and what waits for its ids.
#[derive(Default)]
pub struct Records {
    /// Distinct keys. A null pointer and a length of zero are the same key.
    pub keys: Keys,
    /// Distinct values; 0 is "absent", 1 is "no bytes".
    pub values: Values,
    /// The bytes of what waits, end to end; behind `end` there is room.
    scratch: Vec<u8>,
    /// Where the last record begins, which may get more bytes.
    start: usize,
    end: usize,
    waiting_keys: Vec<Waiting>,
    waiting_values: Vec<Waiting>,
}

/// Where in a row an id belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// [`super::columns::Row::key`].
    Key,
    /// [`super::columns::Row::a`].
    A,
    /// [`super::columns::Row::b`].
    B,
}

/// A record that has no id yet.
struct Waiting {
    row: usize,
    column: Column,
    start: usize,
    length: usize,
    tag: Tag,
    slotted: Slotted,
}

impl Waiting {
    #[inline(always)]
    fn new(row: usize, column: Column, start: usize, end: usize) -> Waiting {
        Waiting { row, column, start, length: end - start, tag: Tag::default(), slotted: Slotted::default() }
    }

    #[inline(always)]
    fn bytes<'a>(&self, scratch: &'a [u8]) -> &'a [u8] {
        &scratch[self.start..self.start + self.length]
    }
}

/// There is no room for more distinct keys or values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Records to a batch: more than a processor can wait for at once.
const BATCH: usize = 64;
/// What may stand before a string in its table and fill it up behind.
const MOST_LEAD: usize = 12;
/// A batch of long records ends early: it should stay in the first cache.
const BATCH_BYTES: usize = 1 << 14;

impl Records {
    /// Whether it is time to settle.
    #[inline(always)]
    pub fn is_full(&self) -> bool {
        self.waiting_keys.len() + self.waiting_values.len() >= BATCH || self.end >= BATCH_BYTES
    }

    /// Gives every record that waits its id; `place` hears row, column and id.
    ///
    /// # Errors
    /// There is no room for so many distinct keys or values.
    pub fn settle(&mut self, mut place: impl FnMut(usize, Column, u32)) -> Result<(), Full> {
        let scratch = &self.scratch[..self.end];
        look_up(&mut self.keys, &mut self.waiting_keys, scratch, &mut place)?;
        look_up(&mut self.values, &mut self.waiting_values, scratch, &mut place)?;
        (self.start, self.end) = (0, 0);
        Ok(())
    }

    /// Appends to the last record the bytes that `digits` spell; false when they spell none.
    #[inline(always)]
    pub(super) fn decode(&mut self, digits: &[u8]) -> bool {
        let room = self.room(digits.len() / 2);
        hex::decode(digits, room)
    }

    /// Leaves the last record to be settled as a key.
    #[inline(always)]
    pub(super) fn leave_key(&mut self, row: usize, column: Column) {
        self.waiting_keys.push(Waiting::new(row, column, self.start, self.end));
        self.start = self.end;
    }

    /// Leaves the last record to be settled as a value.
    #[inline(always)]
    pub(super) fn leave_value(&mut self, row: usize, column: Column) {
        self.waiting_values.push(Waiting::new(row, column, self.start, self.end));
        self.start = self.end;
    }

    /// Begins the next record with what the last value that waits consists of.
    pub(super) fn repeat_value(&mut self) {
        if let Some(last) = self.waiting_values.last() {
            let last = last.start..last.start + last.length;
            let start = self.end;
            self.room(last.len());
            self.scratch.copy_within(last, start);
        }
    }

    /// Leaves the first `most` bytes of some values, one behind the other, as one value, to be settled.
    pub(super) fn join_values(&mut self, row: usize, column: Column, parts: &[u32], mut most: usize) {
        for &part in parts {
            let length = self.values.bytes(part).len().min(most);
            let start = self.end;
            self.room(length);
            self.scratch[start..start + length].copy_from_slice(&self.values.bytes(part)[..length]);
            most -= length;
        }
        self.leave_value(row, column);
    }

    /// Gives back what growing took too much.
    pub(super) fn shrink(&mut self) {
        self.keys.strings_mut().shrink();
        self.values.strings_mut().shrink();
        self.scratch = Vec::new();
    }

    /// Room for `length` more bytes of the last record.
    #[inline(always)]
    fn room(&mut self, length: usize) -> &mut [u8] {
        let start = self.end;
        self.end += length;
        if self.end > self.scratch.len() {
            self.grow();
        }
        &mut self.scratch[start..self.end]
    }

    #[inline(never)]
    fn grow(&mut self) {
        self.scratch.resize((2 * self.end).max(2 * BATCH_BYTES), 0);
    }
}

/// Each step of the search for all that wait, so that the processor waits for many at once.
#[inline(always)]
fn look_up(
    table: &mut impl Intern,
    waiting: &mut Vec<Waiting>,
    scratch: &[u8],
    place: &mut impl FnMut(usize, Column, u32),
) -> Result<(), Full> {
    if table.strings().is_full_for(scratch.len() + waiting.len() * MOST_LEAD) {
        return Err(Full);
    }
    table.strings_mut().reserve(waiting.len());
    for record in waiting.iter_mut() {
        record.tag = table.strings().tag(record.bytes(scratch));
    }
    for record in waiting.iter_mut() {
        record.slotted = table.strings().approach(record.tag);
    }
    for record in waiting.iter() {
        let id = table.intern_at(record.tag, record.slotted, record.bytes(scratch));
        place(record.row, record.column, id);
    }
    waiting.clear();
    Ok(())
}
