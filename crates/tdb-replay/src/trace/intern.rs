//! Byte strings as small numbers.
//!
//! Owns every distinct key (one interner) and every distinct value (another) of a history, once each, end to end in
//! one arena. Equal ids are equal bytes and the other way round, so the rest of the program compares numbers.
//!
//! Interning is what reading a trace costs, and what interning costs is waiting for memory: a slot, an end, the bytes.
//! Hence the table of our own. A slot holds 32 bits of the hash, so that growing reads nothing else and a search
//! almost never looks at a wrong string; and [`Interner::touch_slot`] and what follows it let a caller fetch what many searches will need at
//! once, instead of one after the other.

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;

/// Distinct byte strings, numbered in the order in which they were first seen.
#[derive(Default)]
pub struct Interner {
    bytes: Vec<u8>,
    /// Where each string ends in `bytes`; it starts where the one before it ends.
    ends: Vec<u64>,
    /// Open addressing: a string is in the first free slot from `home` of its tag on.
    slots: Vec<Slot>,
    used: usize,
    hasher: DefaultHashBuilder,
}

#[derive(Clone, Copy)]
struct Slot {
    /// The upper half of the hash.
    tag: u32,
    id: u32,
}

const FREE: Slot = Slot { tag: 0, id: u32::MAX };

/// What the search for a byte string begins with.
#[derive(Clone, Copy, Debug)]
pub struct Tag(u32);

impl Interner {
    /// The id of `bytes`, a new one if they were not seen before.
    pub fn intern(&mut self, bytes: &[u8]) -> u32 {
        self.intern_tagged(self.tag(bytes), bytes)
    }

    /// The tag of `bytes`, to be given to this interner only.
    pub fn tag(&self, bytes: &[u8]) -> Tag {
        Tag((self.hasher.hash_one(bytes) >> 32) as u32)
    }

    /// [`Interner::intern`] for bytes whose tag is known.
    pub fn intern_tagged(&mut self, Tag(tag): Tag, bytes: &[u8]) -> u32 {
        // Three quarters full at most: a search ends after about two slots, and always ends.
        if (self.used + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        let mut at = home(tag, self.slots.len());
        loop {
            let slot = self.slots[at];
            if slot.id == FREE.id {
                break;
            }
            if slot.tag == tag && self.bytes(slot.id) == bytes {
                return slot.id;
            }
            at = after(at, self.slots.len());
        }
        let id = u32::try_from(self.ends.len())
            .ok()
            .filter(|&id| id != FREE.id)
            .expect("a history has fewer than 2^32 - 1 distinct values: lines are counted in u32");
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len() as u64);
        self.slots[at] = Slot { tag, id };
        self.used += 1;
        id
    }

    /// Reads the slot where the search for this tag begins, so that it is near afterwards. The number means nothing.
    pub fn touch_slot(&self, Tag(tag): Tag) -> u32 {
        self.slots.get(home(tag, self.slots.len())).map_or(0, |slot| slot.tag)
    }

    /// The string that most likely has this tag; any, if none has it.
    pub fn likely(&self, Tag(tag): Tag) -> u32 {
        if self.slots.is_empty() {
            return 0;
        }
        let mut at = home(tag, self.slots.len());
        loop {
            let slot = self.slots[at];
            if slot.id == FREE.id {
                return 0;
            }
            if slot.tag == tag {
                return slot.id;
            }
            at = after(at, self.slots.len());
        }
    }

    /// Where the bytes of `id` begin; anything, if there is no such id.
    pub fn start(&self, id: u32) -> u64 {
        let before = id.saturating_sub(1) as usize;
        self.ends.get(before).copied().unwrap_or(0)
    }

    /// Reads a byte, as [`Interner::touch_slot`] does a slot.
    pub fn touch_byte(&self, at: u64) -> u32 {
        self.bytes.get(at as usize).map_or(0, |&byte| u32::from(byte))
    }

    /// Adds a string that no later [`Interner::intern`] finds: an id with a meaning of its own.
    pub fn reserve(&mut self) -> u32 {
        let id = self.ends.len() as u32;
        self.ends.push(self.bytes.len() as u64);
        id
    }

    /// The bytes of `id`.
    pub fn bytes(&self, id: u32) -> &[u8] {
        let start = match id {
            0 => 0,
            _ => self.ends[id as usize - 1] as usize,
        };
        &self.bytes[start..self.ends[id as usize] as usize]
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
        self.bytes.capacity() + self.ends.capacity() * 8 + self.slots.capacity() * size_of::<Slot>()
    }

    /// By a half at a time: doubling would leave too much of the memory empty.
    fn grow(&mut self) {
        let length = (self.slots.len() / 2 * 3).max(16);
        let mut slots = vec![FREE; length];
        for slot in self.slots.iter().filter(|slot| slot.id != FREE.id) {
            let mut at = home(slot.tag, length);
            while slots[at].id != FREE.id {
                at = after(at, length);
            }
            slots[at] = *slot;
        }
        self.slots = slots;
    }
}

/// Where a tag's search begins: tags in ascending order lie in ascending order, so growing goes through memory once.
fn home(tag: u32, length: usize) -> usize {
    ((u128::from(tag) * length as u128) >> 32) as usize
}

fn after(at: usize, length: usize) -> usize {
    if at + 1 == length { 0 } else { at + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P9: ids are dense and stay what they were while the table grows, and tags that are alike do not confuse it.
    #[test]
    fn ids_survive_growth_and_equal_tags() {
        let mut interner = Interner::default();
        let text = |number: u32| format!("{number:x}").into_bytes();
        for number in 0..5000 {
            assert_eq!(interner.intern(&text(number)), number);
        }
        for number in 0..5000 {
            assert_eq!(interner.intern(&text(number)), number);
            assert_eq!(interner.bytes(number), text(number));
        }
        let edge = Tag(u32::MAX);
        let first = interner.intern_tagged(edge, b"one");
        let second = interner.intern_tagged(edge, b"two");
        assert_ne!(first, second);
        assert_eq!(interner.intern_tagged(edge, b"two"), second);
        assert_eq!(interner.likely(edge), first);
    }
}
