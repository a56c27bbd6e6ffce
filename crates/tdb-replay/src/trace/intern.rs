//! Byte strings as small numbers.
//!
//! Owns every distinct key ([`Keys`]) and every distinct value ([`Values`]) of a history, once each. Equal ids are equal
//! bytes and the other way round, so the rest of the program compares numbers. Keys are numbered from 0 on, for lists
//! with something about each; a value's number says where it lies, and nothing can be counted with it.
//!
//! Interning is what reading a trace costs, and what interning costs is waiting for memory: a slot of the table, then
//! the string. Hence a table of our own: a slot holds 32 bits of the hash, so that growing reads nothing else and a
//! search almost never looks at a wrong string; a string has its length (and a key its number) before its first
//! byte, so that one look is enough; and who has many searches to do can ask for what they need ahead.

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;

use crate::near;

/// What the search for a byte string begins with.
#[derive(Clone, Copy, Debug)]
pub struct Tag(u32);

/// Distinct keys, numbered in the order in which they were first seen.
pub struct Keys {
    strings: Strings,
    places: Vec<u32>,
}

impl Default for Keys {
    fn default() -> Self {
        // A length and a number.
        Keys { strings: Strings::new(8), places: Vec::new() }
    }
}

impl Keys {
    /// The id of `bytes`, a new one if they were not seen before.
    pub fn intern(&mut self, bytes: &[u8]) -> u32 {
        self.intern_tagged(self.tag(bytes), bytes)
    }

    /// The tag of `bytes`, to be given to this table only.
    pub fn tag(&self, bytes: &[u8]) -> Tag {
        self.strings.tag(bytes)
    }

    pub(super) fn strings(&self) -> &Strings {
        &self.strings
    }

    /// [`Keys::intern`] for bytes whose tag is known.
    pub fn intern_tagged(&mut self, tag: Tag, bytes: &[u8]) -> u32 {
        let next = self.places.len() as u32;
        let (place, is_new) = self.strings.intern(tag, bytes, next);
        if is_new {
            self.places.push(place);
            return next;
        }
        self.strings.number(place, 4)
    }

    /// The bytes of `id`.
    pub fn bytes(&self, id: u32) -> &[u8] {
        self.strings.bytes(self.places[id as usize])
    }

    /// This key, if it is one, will be looked at, not at once.
    pub fn approach_place(&self, id: u32) {
        near::fetch(&self.places, id as usize);
    }

    /// This key, if it is one, will be looked at soon.
    pub fn approach(&self, id: u32) {
        if let Some(&place) = self.places.get(id as usize) {
            self.strings.approach_place(place);
        }
    }

    /// How many keys there are; ids are 0 to this number, exclusive.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes of memory held.
    pub fn memory(&self) -> usize {
        self.strings.memory() + self.places.capacity() * 4
    }
}

/// Distinct values. 0 is "absent", 1 is "no bytes"; other ids ascend in the order in which values were first seen.
pub struct Values {
    strings: Strings,
}

impl Default for Values {
    fn default() -> Self {
        // A length.
        let mut strings = Strings::new(4);
        // "Absent" is a string that no search finds.
        strings.add(b"", 0);
        let mut values = Values { strings };
        values.intern(b"");
        values
    }
}

impl Values {
    /// The id of `bytes`, a new one if they were not seen before.
    pub fn intern(&mut self, bytes: &[u8]) -> u32 {
        self.intern_tagged(self.tag(bytes), bytes)
    }

    /// The tag of `bytes`, to be given to this table only.
    pub fn tag(&self, bytes: &[u8]) -> Tag {
        self.strings.tag(bytes)
    }

    pub(super) fn strings(&self) -> &Strings {
        &self.strings
    }

    /// [`Values::intern`] for bytes whose tag is known.
    pub fn intern_tagged(&mut self, tag: Tag, bytes: &[u8]) -> u32 {
        self.strings.intern(tag, bytes, 0).0
    }

    /// The bytes of `id`.
    pub fn bytes(&self, id: u32) -> &[u8] {
        self.strings.bytes(id)
    }

    /// This value will be looked at soon.
    pub fn approach(&self, id: u32) {
        self.strings.approach_place(id);
    }

    /// All ids, ascending.
    pub fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        let strings = &self.strings;
        let more = |place: u32| (strings.has(place)).then_some(place);
        std::iter::successors(more(0), move |&place| more(strings.after(place)))
    }

    /// Bytes of memory held.
    pub fn memory(&self) -> usize {
        self.strings.memory()
    }
}

/// Distinct byte strings, named by their places.
pub(super) struct Strings {
    /// Strings one behind the other, each as its length, perhaps a number, and its bytes, filled up to a whole place.
    arena: Vec<u8>,
    /// What stands before a string's bytes.
    lead: usize,
    /// Open addressing: a string is in the first free slot from `home` of its tag on.
    slots: Vec<Slot>,
    used: usize,
    hasher: DefaultHashBuilder,
}

#[derive(Clone, Copy)]
struct Slot {
    /// The upper half of the hash.
    tag: u32,
    place: u32,
}

/// Bytes to a place, so that 32 bits name places in 16 GiB.
const PLACE: usize = 4;
/// In a slot's place: it is free. Ids from here on have a meaning of their own elsewhere.
const FREE: u32 = u32::MAX - 32;

impl Strings {
    fn new(lead: usize) -> Strings {
        Strings { arena: Vec::new(), lead, slots: Vec::new(), used: 0, hasher: DefaultHashBuilder::default() }
    }

    fn tag(&self, bytes: &[u8]) -> Tag {
        Tag((self.hasher.hash_one(bytes) >> 32) as u32)
    }

    /// Whether there is no room for a string of `more` bytes.
    pub fn is_full_for(&self, more: usize) -> bool {
        self.arena.len() + self.lead + more >= FREE as usize * PLACE
    }

    /// The place of `bytes`, and whether they are new; then they get this number.
    fn intern(&mut self, Tag(tag): Tag, bytes: &[u8], number: u32) -> (u32, bool) {
        // Three quarters full at most: a search ends after about two slots, and always ends.
        if (self.used + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        let mut at = home(tag, self.slots.len());
        loop {
            let slot = self.slots[at];
            if slot.place == FREE {
                break;
            }
            if slot.tag == tag && self.bytes(slot.place) == bytes {
                return (slot.place, false);
            }
            at = after(at, self.slots.len());
        }
        let place = self.add(bytes, number);
        self.slots[at] = Slot { tag, place };
        self.used += 1;
        (place, true)
    }

    fn add(&mut self, bytes: &[u8], number: u32) -> u32 {
        assert!(!self.is_full_for(bytes.len()), "who adds looks whether there is room");
        let place = (self.arena.len() / PLACE) as u32;
        self.arena.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        if self.lead > 4 {
            self.arena.extend_from_slice(&number.to_le_bytes());
        }
        self.arena.extend_from_slice(bytes);
        self.arena.resize(self.arena.len().next_multiple_of(PLACE), 0);
        place
    }

    /// Asks for the slot where the search for this tag begins.
    pub fn approach_slot(&self, Tag(tag): Tag) {
        near::fetch(&self.slots, home(tag, self.slots.len()));
    }

    /// Asks for the string that most likely has this tag.
    pub fn approach_string(&self, Tag(tag): Tag) {
        let mut at = home(tag, self.slots.len());
        while let Some(&slot) = self.slots.get(at) {
            if slot.tag == tag || slot.place == FREE {
                return self.approach_place(slot.place);
            }
            at = after(at, self.slots.len());
        }
    }

    fn approach_place(&self, place: u32) {
        near::fetch(&self.arena, place as usize * PLACE);
    }

    /// A number before the string at `place`.
    fn number(&self, place: u32, offset: usize) -> u32 {
        let at = place as usize * PLACE + offset;
        let (four, _) =
            self.arena[at..].split_first_chunk().expect("each string has its whole lead before it");
        u32::from_le_bytes(*four)
    }

    fn bytes(&self, place: u32) -> &[u8] {
        let start = place as usize * PLACE + self.lead;
        &self.arena[start..start + self.number(place, 0) as usize]
    }

    fn has(&self, place: u32) -> bool {
        (place as usize * PLACE) < self.arena.len()
    }

    /// The place behind the string at `place`.
    fn after(&self, place: u32) -> u32 {
        place + (self.lead + self.number(place, 0) as usize).div_ceil(PLACE) as u32
    }

    fn memory(&self) -> usize {
        self.arena.capacity() + self.slots.capacity() * size_of::<Slot>()
    }

    /// By a half at a time: doubling would leave too much of the memory empty.
    fn grow(&mut self) {
        let length = (self.slots.len() / 2 * 3).max(16);
        let mut slots = vec![Slot { tag: 0, place: FREE }; length];
        for slot in self.slots.iter().filter(|slot| slot.place != FREE) {
            let mut at = home(slot.tag, length);
            while slots[at].place != FREE {
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
        let mut keys = Keys::default();
        let text = |number: u32| format!("{number:x}").into_bytes();
        for number in 0..5000 {
            assert_eq!(keys.intern(&text(number)), number);
        }
        for number in 0..5000 {
            assert_eq!(keys.intern(&text(number)), number);
            assert_eq!(keys.bytes(number), text(number));
        }
        let edge = Tag(u32::MAX);
        let first = keys.intern_tagged(edge, b"one");
        let second = keys.intern_tagged(edge, b"two");
        assert_ne!(first, second);
        assert_eq!(keys.intern_tagged(edge, b"two"), second);
    }

    /// P9: a value of any length is found again under its id, and the list of ids is complete.
    #[test]
    fn values_of_every_length_are_kept() {
        let mut values = Values::default();
        let text = |length: usize| vec![b'x'; length];
        let mut ids = vec![0];
        ids.extend((0..300).map(|length| values.intern(&text(length))));
        assert_eq!(ids[1], 1, "no bytes");
        assert!(values.ids().eq(ids.iter().copied()));
        for (length, &id) in ids[1..].iter().enumerate() {
            assert_eq!(values.intern(&text(length)), id);
            assert_eq!(values.bytes(id), text(length));
        }
        assert_eq!(values.bytes(0), b"");
    }
}
