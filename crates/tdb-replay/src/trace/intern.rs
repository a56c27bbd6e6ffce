//! Byte strings as small numbers.
//!
//! Owns every distinct key (one interner) and every distinct value (another) of a history, once each, end to end in
//! one arena. Equal ids are equal bytes and the other way round, so the rest of the program compares numbers.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

/// Distinct byte strings, numbered in the order in which they were first seen.
#[derive(Default)]
pub struct Interner {
    bytes: Vec<u8>,
    /// Where each string ends in `bytes`; it starts where the one before it ends.
    ends: Vec<u64>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Interner {
    /// The id of `bytes`, a new one if they were not seen before.
    pub fn intern(&mut self, bytes: &[u8]) -> u32 {
        let hash = self.hasher.hash_one(bytes);
        let Interner {
            bytes: arena,
            ends,
            table,
            hasher,
        } = self;
        if let Some(&id) = table.find(hash, |&id| slice(arena, ends, id) == bytes) {
            return id;
        }
        let id = u32::try_from(ends.len())
            .expect("a history has fewer than 2^32 distinct values: lines are counted in u32");
        arena.extend_from_slice(bytes);
        ends.push(arena.len() as u64);
        table.insert_unique(hash, id, |&id| hasher.hash_one(slice(arena, ends, id)));
        id
    }

    /// Adds a string that no later [`Interner::intern`] finds: an id with a meaning of its own.
    pub fn reserve(&mut self) -> u32 {
        let id = self.ends.len() as u32;
        self.ends.push(self.bytes.len() as u64);
        id
    }

    /// The bytes of `id`.
    pub fn bytes(&self, id: u32) -> &[u8] {
        slice(&self.bytes, &self.ends, id)
    }

    /// How many ids there are; they are 0 to this number, exclusive.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether nothing was interned.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of memory held.
    pub fn memory(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * 8 + self.table.allocation_size()
    }
}

fn slice<'a>(bytes: &'a [u8], ends: &[u64], id: u32) -> &'a [u8] {
    let start = if id == 0 {
        0
    } else {
        ends[id as usize - 1] as usize
    };
    &bytes[start..ends[id as usize] as usize]
}
