//! Distinct byte strings, each found by its bytes and named by its place.
//!
//! Owns the memory in which keys and values lie, and the table that finds them. Looking up is what reading a trace
//! costs, and what looking up costs is waiting for memory: a slot of the table, then the string. Hence a table of our
//! own: a slot holds 32 bits of the hash, so that growing reads nothing else and a search almost never looks at a wrong
//! string; a string has its length (and a key its number) before its first byte, so that one look is enough; and a
//! search has three steps, so that who has many to do can do each step for all of them and wait for all at once:
//! [`Strings::tag`] asks for the slot, [`Strings::approach`] finds it and asks for the string, and [`Strings::intern`]
//! compares.

use super::words::{self, Hasher};
use crate::prefetch;

/// What the search for a byte string begins with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tag(pub(super) u32);

/// Where a search that is under way goes on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slotted(usize);

/// Distinct byte strings.
pub struct Strings {
    /// Strings one behind the other, each as its length, perhaps a number, and its bytes, filled up to a whole place;
    /// behind `end` there is room.
    arena: Vec<u8>,
    end: usize,
    /// What stands before a string's bytes.
    lead: usize,
    /// Open addressing: a string is in the first free slot from `home` of its tag on.
    slots: Vec<Slot>,
    used: usize,
    hasher: Hasher,
}

#[derive(Clone, Copy)]
struct Slot {
    /// The string's hash.
    tag: u32,
    place: u32,
}

/// Bytes to a place, so that 32 bits name places in 16 GiB.
const PLACE: usize = 4;
/// In a slot's place: it is free. Ids from here on have a meaning of their own elsewhere.
const FREE: u32 = u32::MAX - 32;
/// How far a short string and its lead reach: the end may lie in another line of the cache than the beginning.
const SHORT: usize = 19;
/// The least by which the arena grows.
const STEP: usize = 1 << 12;

impl Strings {
    /// No strings; there will be `lead` bytes, 4 or 8, before each.
    pub fn new(lead: usize) -> Strings {
        Strings { arena: Vec::new(), end: 0, lead, slots: Vec::new(), used: 0, hasher: Hasher::default() }
    }

    /// Begins the search for `bytes`.
    #[inline(always)]
    pub fn tag(&self, bytes: &[u8]) -> Tag {
        let tag = self.hasher.hash(bytes);
        prefetch::element(&self.slots, home(tag, self.slots.len()));
        Tag(tag)
    }

    /// Whether there is no room for strings of `more` bytes, their leads included.
    pub fn is_full_for(&self, more: usize) -> bool {
        self.end + self.lead + more >= FREE as usize * PLACE
    }

    /// Makes room for `more` strings in the table, so that searches may be under way while so many are added.
    pub fn reserve(&mut self, more: usize) {
        // Three quarters full at most: a search ends after about two slots, and always ends.
        while (self.used + more) * 4 > self.slots.len() * 3 {
            self.grow();
        }
    }

    /// Looks for the slot of this tag, or where it would be; there must be room for another string.
    #[inline(always)]
    pub fn approach(&self, Tag(tag): Tag) -> Slotted {
        let mut at = home(tag, self.slots.len());
        loop {
            let slot = self.slots[at];
            if slot.tag == tag || slot.place == FREE {
                self.approach_place(slot.place);
                return Slotted(at);
            }
            at = after(at, self.slots.len());
        }
    }

    /// The place of `bytes`, and whether they are new; then they get this number. There must be room for another string.
    #[inline(always)]
    pub fn intern(
        &mut self,
        Tag(tag): Tag,
        Slotted(mut at): Slotted,
        bytes: &[u8],
        number: u32,
    ) -> (u32, bool) {
        loop {
            let slot = self.slots[at];
            if slot.place == FREE {
                break;
            }
            if slot.tag == tag && words::same(self.bytes(slot.place), bytes) {
                return (slot.place, false);
            }
            at = after(at, self.slots.len());
        }
        let place = self.add(bytes, number);
        self.slots[at] = Slot { tag, place };
        self.used += 1;
        (place, true)
    }

    /// Adds a string that the table does not know.
    #[inline(always)]
    pub fn add(&mut self, bytes: &[u8], number: u32) -> u32 {
        let (start, text) = (self.end, self.end + self.lead);
        let end = (text + bytes.len()).next_multiple_of(PLACE);
        if end > self.arena.len() {
            self.grow_arena(end);
        }
        let room = &mut self.arena[start..end];
        if self.lead > 4
            && let Some(eight) = room.first_chunk_mut()
        {
            *eight = (u64::from(number) << 32).to_le_bytes();
        }
        if let Some(four) = room.first_chunk_mut() {
            *four = (bytes.len() as u32).to_le_bytes();
        }
        words::copy(bytes, &mut room[self.lead..self.lead + bytes.len()]);
        self.end = end;
        (start / PLACE) as u32
    }

    /// By a quarter at a time: doubling would leave too much of the memory empty.
    #[inline(never)]
    fn grow_arena(&mut self, least: usize) {
        assert!(least < FREE as usize * PLACE, "who adds looks whether there is room");
        let length = least.max(self.arena.len() / 4 * 5) + STEP;
        self.arena.reserve_exact(length - self.arena.len());
        self.arena.resize(length, 0);
    }

    /// Asks for the string at `place`, if there is one.
    #[inline(always)]
    pub fn approach_place(&self, place: u32) {
        prefetch::element(&self.arena, place as usize * PLACE);
        prefetch::element(&self.arena, place as usize * PLACE + SHORT);
    }

    /// A number before the string at `place`.
    #[inline(always)]
    pub fn number(&self, place: u32, offset: usize) -> u32 {
        let at = place as usize * PLACE + offset;
        let (four, _) =
            self.arena[at..].split_first_chunk().expect("each string has its whole lead before it");
        u32::from_le_bytes(*four)
    }

    /// The string at `place`.
    #[inline(always)]
    pub fn bytes(&self, place: u32) -> &[u8] {
        let start = place as usize * PLACE + self.lead;
        &self.arena[start..start + self.number(place, 0) as usize]
    }

    /// Whether `place` is one behind another string's, or 0, with a string in it.
    pub fn has(&self, place: u32) -> bool {
        (place as usize * PLACE) < self.end
    }

    /// The place behind the string at `place`.
    pub fn after(&self, place: u32) -> u32 {
        place + (self.lead + self.number(place, 0) as usize).div_ceil(PLACE) as u32
    }

    /// Bytes of memory held.
    pub fn memory(&self) -> usize {
        self.arena.capacity() + self.slots.capacity() * size_of::<Slot>()
    }

    /// Gives back what growing took too much.
    pub fn shrink(&mut self) {
        self.arena.truncate(self.end);
        self.arena.shrink_to_fit();
    }

    #[inline(never)]
    fn grow(&mut self) {
        let length = (self.slots.len() * 2).max(16);
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

/// Where a tag's search begins: tags in ascending order lie in ascending order, so growing goes through memory once. No
/// product is too large: there are fewer than 2^31 strings, and so at most 2^32 slots.
#[inline(always)]
fn home(tag: u32, length: usize) -> usize {
    ((u64::from(tag) * length as u64) >> 32) as usize
}

/// The length is a power of two.
#[inline(always)]
fn after(at: usize, length: usize) -> usize {
    (at + 1) & (length - 1)
}
