//! Short byte strings as machine words.
//!
//! Owns comparing, copying and hashing of keys and values. Most have 8 to 16 bytes, and then their first eight and
//! their last eight bytes are all there is of them: two loads instead of a call that has to find out how long they are.

use std::hash::{BuildHasher, RandomState};

/// Whether two strings are equal.
#[inline(always)]
pub fn same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    if let (8..=16, Some(ends), Some(others)) = (one.len(), ends(one), ends(other)) {
        return ends == others;
    }
    one == other
}

/// Copies a string to where there is as much room as it is long.
#[inline(always)]
pub fn copy(from: &[u8], to: &mut [u8]) {
    if let (8..=16, Some((first, last))) = (from.len(), ends(from)) {
        if let Some(start) = to.first_chunk_mut() {
            *start = first.to_le_bytes();
        }
        if let Some(end) = to.last_chunk_mut() {
            *end = last.to_le_bytes();
        }
        return;
    }
    to.copy_from_slice(from);
}

/// The first eight and the last eight bytes, which overlap in a string of less than 16.
#[inline(always)]
fn ends(bytes: &[u8]) -> Option<(u64, u64)> {
    let (first, last) = (bytes.first_chunk()?, bytes.last_chunk()?);
    Some((u64::from_le_bytes(*first), u64::from_le_bytes(*last)))
}

/// A hash function of its own: nobody who writes a trace knows which strings collide.
pub struct Hasher {
    first: u64,
    second: u64,
}

impl Default for Hasher {
    fn default() -> Self {
        let random = RandomState::new();
        Hasher { first: random.hash_one(1), second: random.hash_one(2) }
    }
}

impl Hasher {
    /// 32 bits of hash: sixteen bytes to a multiplication, whose halves are folded together.
    #[inline(always)]
    pub fn hash(&self, bytes: &[u8]) -> u32 {
        let mut state = self.first ^ bytes.len() as u64;
        let mut end = bytes;
        if let (17.., Some(block)) = (bytes.len(), bytes.last_chunk::<16>()) {
            state = self.blocks(state, bytes);
            end = block;
        }
        let (first, last) = match ends(end) {
            Some(ends) => ends,
            None => short(end),
        };
        (self.fold(state, first, last) >> 32) as u32
    }

    /// All whole blocks; the last sixteen bytes follow in any case.
    #[inline(never)]
    fn blocks(&self, mut state: u64, bytes: &[u8]) -> u64 {
        for block in bytes.as_chunks::<16>().0 {
            let both = u128::from_le_bytes(*block);
            state = self.fold(state, both as u64, (both >> 64) as u64);
        }
        state
    }

    #[inline(always)]
    fn fold(&self, state: u64, first: u64, last: u64) -> u64 {
        let product = u128::from(state ^ first) * u128::from(self.second ^ last);
        product as u64 ^ (product >> 64) as u64
    }
}

/// Less than eight bytes as two words.
#[inline(always)]
fn short(bytes: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        return (u64::from(u32::from_le_bytes(*first)), u64::from(u32::from_le_bytes(*last)));
    }
    (bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P9: strings of every length are equal to themselves, copied whole, and differ by any one byte.
    #[test]
    fn every_byte_of_every_length_counts() {
        let hasher = Hasher::default();
        for length in 0..70 {
            let one: Vec<u8> = (0..length).map(|at| at as u8 ^ 0x5a).collect();
            let mut other = vec![0; length];
            copy(&one, &mut other);
            assert_eq!(one, other);
            assert!(same(&one, &other));
            assert_eq!(hasher.hash(&one), hasher.hash(&other));
            for at in 0..length {
                other[at] ^= 1;
                assert!(!same(&one, &other), "byte {at} of {length}");
                // Once in 2^32 they are alike.
                assert_ne!(hasher.hash(&one), hasher.hash(&other), "byte {at} of {length}");
                other[at] ^= 1;
            }
            other.push(0);
            assert!(!same(&one, &other));
        }
    }
}
