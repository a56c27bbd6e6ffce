//! When keys were last removed, so that a key that comes and goes is not taken for one that was never there.
//!
//! A key that is there has the revision of its last write, which WATCH compares. One that is not there has only this: keys
//! fall into a few slots, and one record holds, for each slot, the revision of the last removal of any of its keys. A removal of
//! another key in the same slot looks like one of this key; then a transaction is refused that could have gone on, and its client
//! tries again, as after every EXEC that answers null.

use crate::error::StorageError;
use crate::records::Records;

const RECORD: &[u8] = b"\0deletions";
const VERSION: u8 = 1;
/// The record is written with every commit that removes keys, so it is small.
const SLOTS: usize = 64;

/// What the present transaction has removed, in front of the record.
#[derive(Default)]
pub struct Deletions(Vec<Removed>);

struct Removed {
    /// `None`: every key.
    slot: Option<usize>,
    revision: u64,
}

impl Deletions {
    /// `key` was removed.
    pub fn note(&mut self, key: &[u8], revision: u64) {
        self.0.push(Removed { slot: Some(slot(key)), revision });
    }

    /// All keys were.
    pub fn note_all(&mut self, revision: u64) {
        self.0.push(Removed { slot: None, revision });
    }

    /// How many removals are noted, for [`Deletions::truncate`].
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets those noted since there were so many.
    pub fn truncate(&mut self, count: usize) {
        self.0.truncate(count);
    }

    /// The revision at which `key` may have been removed last; 0 if it never was.
    pub fn last(&self, records: &dyn Records, key: &[u8]) -> Result<u64, StorageError> {
        let slot = slot(key);
        let fits = |removed: &&Removed| removed.slot.is_none_or(|other| other == slot);
        match self.0.iter().rev().find(fits) {
            Some(removed) => Ok(removed.revision),
            None => Ok(read(records)?[slot]),
        }
    }

    /// Writes the record, if anything was removed.
    pub fn write(&self, records: &mut dyn Records) -> Result<(), StorageError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut slots = read(records)?;
        for removed in &self.0 {
            match removed.slot {
                Some(slot) => slots[slot] = removed.revision,
                None => slots.fill(removed.revision),
            }
        }
        let numbers = slots.map(u64::to_le_bytes);
        records.put(RECORD, &[&[VERSION], numbers.as_flattened()].concat())
    }
}

fn read(records: &dyn Records) -> Result<[u64; SLOTS], StorageError> {
    let Some(record) = records.get(RECORD)? else {
        return Ok([0; SLOTS]);
    };
    let slots = match record.split_first() {
        Some((&VERSION, rest)) => rest.as_chunks(),
        _ => (&[][..], &[][..]),
    };
    match slots {
        (numbers, []) => {
            numbers.try_into().ok().map(|numbers: [[u8; 8]; SLOTS]| numbers.map(u64::from_le_bytes))
        }
        _ => None,
    }
    .ok_or_else(|| StorageError::Damaged { key: "(deletions)".into(), what: "it has another form" })
}

/// By FNV-1a and a finish that spreads what keys have in common: what is in the record must mean the same to every version and
/// machine.
fn slot(key: &[u8]) -> usize {
    let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (hash ^ (hash >> 33)) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S6: keys that are named alike rarely look alike; where a key falls is a part of the format.
    #[test]
    fn keys_spread_over_the_slots() {
        for prefix in ["k", "lock:", "session:user:"] {
            let mut counts = [0; SLOTS];
            (0..64 * SLOTS).for_each(|nth| counts[slot(format!("{prefix}{nth}").as_bytes())] += 1);
            assert!(counts.iter().all(|count| (24..128).contains(count)), "{prefix}: {counts:?}");
        }
        assert_eq!([slot(b""), slot(b"k0"), slot(b"lock:1")], [18, 62, 17]);
    }
}
