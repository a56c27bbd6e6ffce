//! Which hash chain a key is on: what chain locks conflict about.
//!
//! The two hash functions of docs/tdb-format.md. The order only needs them when a trace locks chains.

use crate::trace::History;

/// `TDB_INCOMPATIBLE_HASH`: the database uses Jenkins' hash.
pub const INCOMPATIBLE_HASH: u32 = 0x800;
/// Chains of a database whose creator named no number.
pub const DEFAULT_HASH_SIZE: u32 = 131;

/// How the database that the traces will run on spreads its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashing {
    /// How many chains.
    pub hash_size: u32,
    /// Jenkins' hash rather than the old one.
    pub jenkins: bool,
}

impl Hashing {
    /// As the traces' own database did it.
    pub fn recorded(history: &History) -> Hashing {
        let opened = history.traces.first().map(|trace| trace.opened);
        let hash_size = opened.map_or(0, |opened| opened.hash_size);
        Hashing {
            hash_size: if hash_size == 0 {
                DEFAULT_HASH_SIZE
            } else {
                hash_size
            },
            jenkins: opened.is_some_and(|opened| opened.tdb_flags & INCOMPATIBLE_HASH != 0),
        }
    }

    /// The chain of every key of `history`.
    pub fn chains(&self, history: &History) -> Vec<u32> {
        let keys = &history.records.keys;
        (0..keys.len())
            .map(|key| self.chain(keys.bytes(key as u32)))
            .collect()
    }

    /// The chain of a key.
    pub fn chain(&self, key: &[u8]) -> u32 {
        let hash = if self.jenkins { jenkins(key) } else { old(key) };
        hash % self.hash_size
    }
}

fn old(key: &[u8]) -> u32 {
    let start = 0x238F_13AFu32.wrapping_mul(key.len() as u32);
    let sum = key.iter().enumerate().fold(start, |sum, (i, &byte)| {
        sum.wrapping_add(u32::from(byte) << (i * 5 % 24))
    });
    sum.wrapping_mul(1_103_515_243).wrapping_add(12345)
}

/// Bob Jenkins' lookup3 `hashlittle` (public domain), with the start value 0.
fn jenkins(mut key: &[u8]) -> u32 {
    let start = 0xdead_beefu32.wrapping_add(key.len() as u32);
    let (mut a, mut b, mut c) = (start, start, start);
    let add = |key: &[u8], a: &mut u32, b: &mut u32, c: &mut u32| {
        let mut block = [0u8; 12];
        let used = key.len().min(12);
        block[..used].copy_from_slice(&key[..used]);
        let words = block.as_chunks::<4>().0;
        *a = a.wrapping_add(u32::from_le_bytes(words[0]));
        *b = b.wrapping_add(u32::from_le_bytes(words[1]));
        *c = c.wrapping_add(u32::from_le_bytes(words[2]));
    };
    while key.len() > 12 {
        add(key, &mut a, &mut b, &mut c);
        for (rotate, turn) in [4, 6, 8, 16, 19, 4].into_iter().zip(0..) {
            let (x, y, z) = match turn % 3 {
                0 => (&mut a, &mut c, b),
                1 => (&mut b, &mut a, c),
                _ => (&mut c, &mut b, a),
            };
            *x = x.wrapping_sub(*y) ^ y.rotate_left(rotate);
            *y = y.wrapping_add(z);
        }
        key = &key[12..];
    }
    if key.is_empty() {
        return c;
    }
    add(key, &mut a, &mut b, &mut c);
    for (rotate, turn) in [14, 11, 25, 16, 4, 14, 24].into_iter().zip(0..) {
        let (x, y) = match turn % 3 {
            0 => (&mut c, b),
            1 => (&mut a, c),
            _ => (&mut b, a),
        };
        *x = (*x ^ y).wrapping_sub(y.rotate_left(rotate));
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R16: the hashes that a new database carries in its header (docs/tdb-format.md) come out.
    #[test]
    fn both_hashes_match_the_values_in_a_database_header() {
        let magic = b"TDB file\n\0";
        assert_eq!(old(magic), 0xf67d_9f0d);
        assert_eq!(jenkins(magic), 0xd7b6_94e5);
        let version = 0x2601_1999u32.to_le_bytes();
        assert_eq!(old(&version), 0x3afe_f920);
        assert_eq!(jenkins(&version), 0x76b9_440e);
        // Longer than one block of twelve; lookup3's own test sentence.
        assert_eq!(jenkins(b"Four score and seven years ago"), 0x1777_0551);
    }
}
