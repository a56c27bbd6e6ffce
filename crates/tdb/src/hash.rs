//! The two hash functions that libtdb's files know, and the place for a caller's own.
//!
//! A file remembers which one made it by two words of its header (see [`crate::file::format`]), so a wrong choice is
//! found at open and never mixes up chains.

use std::fmt;
use std::sync::Arc;

/// A caller's own hash function.
pub type CustomHash = Arc<dyn Fn(&[u8]) -> u32 + Send + Sync>;

/// How a key becomes the 32-bit hash that is stored in its record and that chooses its chain.
#[derive(Clone, Default)]
pub enum HashFunction {
    /// libtdb's first function; the default for new files.
    #[default]
    Old,
    /// Bob Jenkins' lookup3 (`TDB_INCOMPATIBLE_HASH`): better spread; libtdb before 1.2.6 cannot open the file.
    Jenkins,
    /// The caller's own; every opener of the file must bring the same.
    Custom(CustomHash),
}

impl HashFunction {
    /// The hash of `key`.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u32 {
        match self {
            HashFunction::Old => old_hash(key),
            HashFunction::Jenkins => jenkins_hash(key),
            HashFunction::Custom(function) => function(key),
        }
    }
}

impl fmt::Debug for HashFunction {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            HashFunction::Old => "Old",
            HashFunction::Jenkins => "Jenkins",
            HashFunction::Custom(_) => "Custom",
        })
    }
}

/// libtdb's first hash: one shifted addition a byte, then one multiplication.
#[inline]
pub fn old_hash(key: &[u8]) -> u32 {
    let mut value = 0x238F_13AF_u32.wrapping_mul(key.len() as u32);
    // Shifts go by 5 and wrap at 24, so they repeat after three times eight bytes.
    let (eights, rest) = key.as_chunks::<8>();
    let mut turns = eights.iter();
    let mut shift = 0;
    while let Some(eight) = turns.next() {
        value = value.wrapping_add(shifted::<0>(eight));
        shift = 16;
        let Some(eight) = turns.next() else { break };
        value = value.wrapping_add(shifted::<16>(eight));
        shift = 8;
        let Some(eight) = turns.next() else { break };
        value = value.wrapping_add(shifted::<8>(eight));
        shift = 0;
    }
    for byte in rest {
        value = value.wrapping_add(u32::from(*byte) << shift);
        shift = (shift + 5) % 24;
    }
    value.wrapping_mul(1_103_515_243).wrapping_add(12345)
}

/// The sum of eight bytes, the first of which is shifted by `FIRST`.
#[inline(always)]
fn shifted<const FIRST: u32>(eight: &[u8; 8]) -> u32 {
    let mut sum = 0_u32;
    let mut nth = 0;
    while nth < 8 {
        sum = sum.wrapping_add(u32::from(eight[nth]) << ((FIRST + 5 * nth as u32) % 24));
        nth += 1;
    }
    sum
}

/// Bob Jenkins' lookup3 `hashlittle` with initial value 0 (public domain, burtleburtle.net, 2006).
pub fn jenkins_hash(key: &[u8]) -> u32 {
    let start = 0xdead_beef_u32.wrapping_add(key.len() as u32);
    let mut state = [start; 3];
    let mut rest = key;
    // The last 1 to 12 bytes go through `finish`, also when exactly 12 are left.
    while rest.len() > 12 {
        absorb(&mut state, &rest[..12]);
        mix(&mut state);
        rest = &rest[12..];
    }
    if rest.is_empty() {
        return state[2];
    }
    let mut last = [0; 12];
    last[..rest.len()].copy_from_slice(rest);
    absorb(&mut state, &last);
    finish(&mut state);
    state[2]
}

fn absorb(state: &mut [u32; 3], twelve: &[u8]) {
    for (word, bytes) in state.iter_mut().zip(twelve.chunks_exact(4)) {
        *word = word.wrapping_add(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    }
}

fn mix(state: &mut [u32; 3]) {
    let [mut a, mut b, mut c] = *state;
    for rotations in [[4, 6, 8], [16, 19, 4]] {
        a = a.wrapping_sub(c) ^ c.rotate_left(rotations[0]);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(rotations[1]);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(rotations[2]);
        b = b.wrapping_add(a);
    }
    *state = [a, b, c];
}

fn finish(state: &mut [u32; 3]) {
    let [mut a, mut b, mut c] = *state;
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    c = (c ^ b).wrapping_sub(b.rotate_left(24));
    *state = [a, b, c];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::format::{MAGIC_TEXT, RECORD_USED};

    /// T1: the words that libtdb 1.4.8 wrote into the headers of its files.
    #[test]
    fn both_functions_give_the_header_words_of_libtdb() {
        let text = &MAGIC_TEXT[..10];
        let magic = RECORD_USED.to_le_bytes();
        assert_eq!(old_hash(text), 0xf67d_9f0d);
        assert_eq!(old_hash(&magic), 0x3afe_f920);
        assert_eq!(jenkins_hash(text), 0xd7b6_94e5);
        assert_eq!(jenkins_hash(&magic), 0x76b9_440e);
    }

    /// T1: eight bytes at a time or one, for keys of every length.
    #[test]
    fn the_old_hash_is_one_shifted_addition_a_byte() {
        let bytes: Vec<u8> = (0..70_u32).map(|nth| (nth * 37 + 200) as u8).collect();
        for len in 0..bytes.len() {
            let start = 0x238F_13AF_u32.wrapping_mul(len as u32);
            let sum = bytes[..len]
                .iter()
                .zip(0_u32..)
                .fold(start, |sum, (byte, nth)| sum.wrapping_add(u32::from(*byte) << (nth * 5 % 24)));
            assert_eq!(old_hash(&bytes[..len]), sum.wrapping_mul(1_103_515_243).wrapping_add(12345), "{len}");
        }
    }

    /// T1: the published test vectors of lookup3.
    #[test]
    fn jenkins_gives_the_published_values() {
        assert_eq!(jenkins_hash(b""), 0xdead_beef);
        assert_eq!(jenkins_hash(b"Four score and seven years ago"), 0x1777_0551);
    }
}
