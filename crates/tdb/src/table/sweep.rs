//! The walk over the whole freelist that is made before the file grows: free neighbours become one record, and the list
//! gets an order in which the next allocations find records that fit without searching.
//!
//! Needs the freelist's lock for writing. A process that is killed in here loses one free record at most: a record is
//! taken off the list and put back at its head by single words, one record at a time.

use crate::error::AccessError;
use crate::file::bytes::Bytes;
use crate::file::format::{FREELIST_HEAD, Length, Offset, RECORD_HEADER};
use crate::table::Table;

use super::freelist::WINDOW;

/// A record of the list, while the whole list is in memory. Records are named by their index in [`Sweep::records`];
/// [`NOBODY`] is none.
#[derive(Clone, Copy)]
struct Listed {
    at: Offset,
    record_len: Length,
    previous: u32,
    next: u32,
}

const NOBODY: u32 = u32::MAX;

/// The whole list.
struct Sweep<'a, B> {
    table: &'a Table<'a, B>,
    records: Vec<Listed>,
    first: u32,
}

/// What a walk over the list has left.
pub(super) struct Swept {
    /// How many records are on the list.
    pub records: u32,
    /// Their bytes, headers not counted.
    pub bytes: u64,
    /// Whether the record at the head has the wanted length.
    pub found: bool,
}

impl<B: Bytes> Table<'_, B> {
    /// Joins neighbours, puts the list into order, and the record that fits `wanted` best at its head, if one does.
    /// Records shorter than `least` end up behind the others, in the order that they had: moving them gains nothing.
    pub(super) fn sweep_freelist(&self, wanted: Length, least: Length) -> Result<Swept, AccessError> {
        let mut sweep = Sweep::read(self)?;
        let joined = sweep.join_neighbours()?;
        let records = joined.len() as u32;
        let bytes = joined.iter().map(|keyed| u64::from(keyed.key)).sum();
        let mut long = joined;
        long.retain(|keyed| keyed.key >= least);
        // By length, and among those of one length by place.
        sort(&mut long);
        let best = long.get(long.partition_point(|keyed| keyed.key < wanted)).map(|keyed| keyed.nth);
        let rest: Vec<u32> = layered(&long).filter(|nth| Some(*nth) != best).collect();
        for nth in best.iter().chain(&rest).rev() {
            sweep.place_first(*nth)?;
        }
        Ok(Swept { records, bytes, found: best.is_some() })
    }
}

/// A record, and the number that it is sorted by.
#[derive(Clone, Copy)]
struct Keyed {
    key: u32,
    nth: u32,
}

/// From so many on, counting beats comparing.
const MANY: usize = 128;
/// Bits of the key that are sorted by at once.
const DIGIT: u32 = 11;

/// Sorts by the keys; equal ones keep their order.
fn sort(list: &mut Vec<Keyed>) {
    if list.len() < MANY {
        return list.sort_by_key(|keyed| keyed.key);
    }
    // Places and lengths are whole words, so that their lowest bits need no sorting.
    let used = list.iter().fold(0, |bits, keyed| bits | keyed.key);
    let mut sorted = vec![Keyed { key: 0, nth: 0 }; list.len()];
    for shift in (used.trailing_zeros()..u32::BITS - used.leading_zeros()).step_by(DIGIT as usize) {
        let digit = |keyed: &Keyed| (keyed.key >> shift) as usize % (1 << DIGIT);
        let mut places = [0u32; 1 << DIGIT];
        list.iter().for_each(|keyed| places[digit(keyed)] += 1);
        let mut before = 0;
        for place in &mut places {
            before += std::mem::replace(place, before);
        }
        for keyed in &*list {
            let place = &mut places[digit(keyed)];
            sorted[*place as usize] = *keyed;
            *place += 1;
        }
        std::mem::swap(list, &mut sorted);
    }
}

/// The largest record first; then such that every [`WINDOW`] of them has short, middling and long ones.
fn layered(by_size: &[Keyed]) -> impl Iterator<Item = u32> {
    let (largest, rest) = match by_size.split_last() {
        Some((largest, rest)) => (Some(*largest), rest),
        None => (None, by_size),
    };
    let height = rest.len().div_ceil(WINDOW as usize - 1).max(1);
    let layered = (0..height).flat_map(move |place| rest.iter().skip(place).step_by(height).copied());
    largest.into_iter().chain(layered).map(|keyed| keyed.nth)
}

impl<'a, B: Bytes> Sweep<'a, B> {
    fn read(table: &'a Table<'a, B>) -> Result<Sweep<'a, B>, AccessError> {
        let mut records: Vec<Listed> = Vec::new();
        let mut at = table.space.word(FREELIST_HEAD)?;
        while at != 0 {
            let nth = records.len() as u32;
            table.must_be_sane_length(nth + 1, at)?;
            let record = table.free_record(at)?;
            let previous = nth.wrapping_sub(1);
            records.push(Listed { at, record_len: record.record_len, previous, next: nth + 1 });
            at = record.next;
        }
        if let Some(last) = records.last_mut() {
            last.next = NOBODY;
        }
        let first = if records.is_empty() { NOBODY } else { 0 };
        Ok(Sweep { table, records, first })
    }

    fn offset(&self, nth: u32) -> Offset {
        if nth == NOBODY { 0 } else { self.records[nth as usize].at }
    }

    /// Makes one record of each run of neighbours; returns those that are left, in the file's order, keyed by their lengths.
    fn join_neighbours(&mut self) -> Result<Vec<Keyed>, AccessError> {
        let places = self.records.iter().zip(0..);
        let mut by_place: Vec<Keyed> = places.map(|(listed, nth)| Keyed { key: listed.at, nth }).collect();
        sort(&mut by_place);
        let mut left: Vec<Keyed> = Vec::with_capacity(by_place.len());
        let mut end = 0;
        for Keyed { key: at, nth } in by_place {
            if at < end {
                return Err(AccessError::Corrupt { offset: at, what: "free records overlap" });
            }
            let record_len = self.records[nth as usize].record_len;
            match left.last_mut() {
                Some(run) if at == end => {
                    self.unlink(nth)?;
                    run.key += record_len + RECORD_HEADER;
                    self.lengthen(run.nth, run.key)?;
                }
                _ => left.push(Keyed { key: record_len, nth }),
            }
            end = at + RECORD_HEADER + record_len;
        }
        Ok(left)
    }

    fn lengthen(&mut self, nth: u32, record_len: Length) -> Result<(), AccessError> {
        let listed = &mut self.records[nth as usize];
        listed.record_len = record_len;
        let (at, next) = (listed.at, listed.next);
        self.table.write_free(at, record_len, self.offset(next))
    }

    fn unlink(&mut self, nth: u32) -> Result<(), AccessError> {
        let Listed { previous, next, .. } = self.records[nth as usize];
        let link = if previous == NOBODY { FREELIST_HEAD } else { self.offset(previous) };
        self.table.space.set_word(link, self.offset(next))?;
        match previous {
            NOBODY => self.first = next,
            previous => self.records[previous as usize].next = next,
        }
        if next != NOBODY {
            self.records[next as usize].previous = previous;
        }
        Ok(())
    }

    /// Puts a record at the head of the list.
    fn place_first(&mut self, nth: u32) -> Result<(), AccessError> {
        if self.first == nth {
            return Ok(());
        }
        self.unlink(nth)?;
        let (at, after) = (self.offset(nth), self.first);
        self.table.space.set_word(at, self.offset(after))?;
        self.table.space.set_word(FREELIST_HEAD, at)?;
        self.records[nth as usize].next = after;
        self.records[nth as usize].previous = NOBODY;
        if after != NOBODY {
            self.records[after as usize].previous = nth;
        }
        self.first = nth;
        Ok(())
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    /// P7: the two ways to sort give one order, for keys of every width, and equal keys keep theirs.
    #[test]
    fn lists_short_and_long_are_sorted_and_equal_keys_keep_their_order() {
        let mut random = fastrand::Rng::with_seed(testbed::seed("sorted"));
        // Under Miri every step costs a thousand.
        let longest = if cfg!(miri) { 2 * MANY } else { 5000 };
        for width in [0, 1, 10, 11, 12, 22, 23, 32] {
            for len in [0, 1, 2, MANY - 1, MANY, longest] {
                let keys = (0..len).map(|_| if width == 0 { 0 } else { random.u32(..) >> (32 - width) });
                let mut list: Vec<Keyed> = keys.zip(0..).map(|(key, nth)| Keyed { key, nth }).collect();
                let mut expected: Vec<(u32, u32)> = list.iter().map(|keyed| (keyed.key, keyed.nth)).collect();
                expected.sort_unstable();
                sort(&mut list);
                let sorted: Vec<(u32, u32)> = list.iter().map(|keyed| (keyed.key, keyed.nth)).collect();
                assert_eq!(sorted, expected, "{len} keys of {width} bits");
            }
        }
    }
}
