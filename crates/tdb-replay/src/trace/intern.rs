//! Byte strings as small numbers.
//!
//! Owns every distinct key ([`Keys`]) and every distinct value ([`Values`]) of a history, once each. Equal ids are equal
//! bytes and the other way round, so the rest of the program compares numbers. Keys are numbered from 0 on, for lists
//! with something about each; a value's number says where it lies, and nothing can be counted with it. How strings are
//! found is [`super::strings`].

use super::strings::{Slotted, Strings, Tag};
use crate::prefetch;

/// What gives byte strings their ids, in the steps of [`Strings`].
pub trait Intern {
    /// The strings.
    fn strings(&self) -> &Strings;

    /// The strings, to make room among them.
    fn strings_mut(&mut self) -> &mut Strings;

    /// The last step: the id of `bytes`, a new one if they were not seen before.
    fn intern_at(&mut self, tag: Tag, slotted: Slotted, bytes: &[u8]) -> u32;

    /// All steps: the id of `bytes`, a new one if they were not seen before.
    fn intern(&mut self, bytes: &[u8]) -> u32 {
        let tag = self.strings().tag(bytes);
        self.intern_tagged(tag, bytes)
    }

    /// All steps but the first.
    fn intern_tagged(&mut self, tag: Tag, bytes: &[u8]) -> u32 {
        self.strings_mut().reserve(1);
        let slotted = self.strings().approach(tag);
        self.intern_at(tag, slotted, bytes)
    }
}

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

impl Intern for Keys {
    fn strings(&self) -> &Strings {
        &self.strings
    }

    fn strings_mut(&mut self) -> &mut Strings {
        &mut self.strings
    }

    #[inline(always)]
    fn intern_at(&mut self, tag: Tag, slotted: Slotted, bytes: &[u8]) -> u32 {
        let next = self.places.len() as u32;
        let (place, is_new) = self.strings.intern(tag, slotted, bytes, next);
        if is_new {
            self.places.push(place);
            return next;
        }
        self.strings.number(place, 4)
    }
}

impl Keys {
    /// The bytes of `id`.
    pub fn bytes(&self, id: u32) -> &[u8] {
        self.strings.bytes(self.places[id as usize])
    }

    /// This key, if it is one, will be looked at, not at once.
    pub fn approach_place(&self, id: u32) {
        prefetch::element(&self.places, id as usize);
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

impl Intern for Values {
    fn strings(&self) -> &Strings {
        &self.strings
    }

    fn strings_mut(&mut self) -> &mut Strings {
        &mut self.strings
    }

    #[inline(always)]
    fn intern_at(&mut self, tag: Tag, slotted: Slotted, bytes: &[u8]) -> u32 {
        self.strings.intern(tag, slotted, bytes, 0).0
    }
}

impl Values {
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
