//! The bytes of a TDB file: every offset, magic and layout, and nothing that reads or writes them.
//!
//! No other module knows where something stands in the file. Each offset is computed from the one before; the
//! drawing is in `docs/tdb-format.md`.

use crate::hash::HashFunction;

/// A place in the file; 0 ends a list.
pub type Offset = u32;
/// A number of bytes.
pub type Length = u32;

/// The first 32 bytes of every file.
pub const MAGIC_TEXT: [u8; 32] = *b"TDB file\n\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// The bytes of [`MAGIC_TEXT`] that the header's first hash word covers: the text and one NUL.
const MAGIC_TEXT_HASHED: usize = 10;
/// The version word, which also tells the byte order.
pub const VERSION: u32 = 0x2601_1967 + 6;
/// In `rwlocks`: the file uses the Jenkins hash (keeps libtdb before 1.2.6 out).
pub const RWLOCKS_HASH: u32 = 0x0bad_1a51;
/// In `rwlocks`: the file uses feature flags.
pub const RWLOCKS_FEATURES: u32 = 0x0bad_1a52;
/// Feature: chains are locked by robust mutexes that stand in front of the database.
pub const FEATURE_MUTEX: u32 = 1;

const VERSION_AT: usize = MAGIC_TEXT.len();
const HASH_SIZE_AT: usize = VERSION_AT + 4;
const RWLOCKS_AT: usize = HASH_SIZE_AT + 4;
/// Where the offset of the recovery area stands.
pub const RECOVERY_START_AT: Offset = RWLOCKS_AT as u32 + 4;
/// Where the sequence number stands.
pub const SEQNUM_AT: Offset = RECOVERY_START_AT + 4;
const MAGIC1_HASH_AT: usize = SEQNUM_AT as usize + 4;
const MAGIC2_HASH_AT: usize = MAGIC1_HASH_AT + 4;
const FEATURES_AT: usize = MAGIC2_HASH_AT + 4;
const MUTEX_SIZE_AT: usize = FEATURES_AT + 4;
const RESERVED_AT: usize = MUTEX_SIZE_AT + 4;
/// The header: what stands before the freelist's head.
pub const HEADER_SIZE: usize = RESERVED_AT + 25 * 4;
/// The head of the freelist; also the byte that chain 0 is locked by.
pub const FREELIST_HEAD: Offset = HEADER_SIZE as Offset;

/// The offset of the head of chain `index`.
#[inline]
pub const fn chain_head(index: u32) -> Offset {
    FREELIST_HEAD + 4 + 4 * index
}

/// Where the first record of a file with `hash_size` chains stands.
pub const fn first_record(hash_size: u32) -> Offset {
    chain_head(hash_size)
}

/// The largest number of chains whose heads a 32-bit file can hold, with room for something else.
pub const MAX_HASH_SIZE: u32 = (u32::MAX - chain_head(0)) / 8;
/// libtdb's number of chains when the caller names none.
pub const DEFAULT_HASH_SIZE: u32 = 131;

/// A record that holds a key and a value.
pub const RECORD_USED: u32 = 0x2601_1999;
/// A record on the freelist.
pub const RECORD_FREE: u32 = !RECORD_USED;
/// A deleted record that is still on its chain.
pub const RECORD_DEAD: u32 = 0xfee1_dead;
/// A recovery area that must be played back.
pub const RECOVERY_VALID: u32 = 0xf53b_c0e7;
/// A recovery area at rest.
pub const RECOVERY_INVALID: u32 = 0;
/// The word that fills what a file grew by, in files of libtdb on file systems without allocation.
pub const PAD: u32 = 0x4242_4242;
/// One byte of [`PAD`].
pub const PAD_BYTE: u8 = 0x42;

/// The bytes of a record before its key.
pub const RECORD_HEADER: Length = 24;
/// The record's whole length, repeated in its last 4 bytes.
pub const TAILER: Length = 4;
/// Where in a record's header its length is.
pub const RECORD_LEN_IN_RECORD: Length = 4;
/// Where the length of the value stands in a record.
pub const DATA_LEN_IN_RECORD: Length = 12;
/// Where the magic stands in a record.
pub const MAGIC_IN_RECORD: Length = 20;
/// What stands before each piece of old bytes in a recovery area: its offset and its length.
pub const RECOVERY_ENTRY_HEADER: Length = 8;

/// In which order the bytes of a file's words stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

impl ByteOrder {
    /// The order of this machine.
    pub const NATIVE: ByteOrder =
        if cfg!(target_endian = "little") { ByteOrder::Little } else { ByteOrder::Big };

    /// The order that is not this machine's.
    pub const FOREIGN: ByteOrder =
        if cfg!(target_endian = "little") { ByteOrder::Big } else { ByteOrder::Little };

    /// Whether words must be turned around on this machine.
    #[inline]
    pub fn is_foreign(self) -> bool {
        self != ByteOrder::NATIVE
    }

    /// The word that these bytes hold.
    #[inline]
    pub fn word(self, bytes: [u8; 4]) -> u32 {
        match self {
            ByteOrder::Little => u32::from_le_bytes(bytes),
            ByteOrder::Big => u32::from_be_bytes(bytes),
        }
    }

    /// The bytes that hold this word.
    #[inline]
    pub fn bytes(self, word: u32) -> [u8; 4] {
        match self {
            ByteOrder::Little => word.to_le_bytes(),
            ByteOrder::Big => word.to_be_bytes(),
        }
    }

    /// The word at `at` in `bytes`; the caller has checked that it is inside.
    pub(crate) fn word_at(self, bytes: &[u8], at: usize) -> u32 {
        self.word([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    }
}

/// What a walk along a chain looks at in each record.
#[derive(Clone, Copy)]
pub(crate) struct ChainStep {
    pub next: Offset,
    pub hash: u32,
    pub magic: u32,
}

impl ChainStep {
    /// Whether chains hold such a record, deleted or not.
    #[inline(always)]
    pub fn is_of_chain(&self) -> bool {
        self.magic == RECORD_USED || self.magic == RECORD_DEAD
    }
}

/// What a walk along the freelist looks at in each record.
#[derive(Clone, Copy)]
pub(crate) struct FreeStep {
    pub next: Offset,
    pub record_len: Length,
    pub magic: u32,
}

/// The header of a record: what stands before its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The next record of the chain or of the freelist, 0 at the end.
    pub next: Offset,
    /// The bytes after this header, slack and tailer included.
    pub record_len: Length,
    /// The bytes of the key.
    pub key_len: Length,
    /// The bytes of the value.
    pub data_len: Length,
    /// The hash of the key.
    pub hash: u32,
    /// What the record is: [`RECORD_USED`] and its sisters.
    pub magic: u32,
}

impl Record {
    /// A record of the freelist.
    pub fn free(next: Offset, record_len: Length) -> Record {
        Record { next, record_len, key_len: 0, data_len: 0, hash: 0, magic: RECORD_FREE }
    }

    /// The header whose words, in file order and converted, are `words`.
    #[inline]
    pub fn from_words(words: [u32; 6]) -> Record {
        let [next, record_len, key_len, data_len, hash, magic] = words;
        Record { next, record_len, key_len, data_len, hash, magic }
    }

    /// The header's words in file order.
    #[inline]
    pub fn words(&self) -> [u32; 6] {
        [self.next, self.record_len, self.key_len, self.data_len, self.hash, self.magic]
    }

    /// The header's bytes.
    pub fn to_bytes(&self, order: ByteOrder) -> [u8; RECORD_HEADER as usize] {
        let mut bytes = [0; RECORD_HEADER as usize];
        for (place, word) in bytes.chunks_exact_mut(4).zip(self.words()) {
            place.copy_from_slice(&order.bytes(word));
        }
        bytes
    }

    /// The header from its bytes.
    pub fn from_bytes(bytes: &[u8; RECORD_HEADER as usize], order: ByteOrder) -> Record {
        Record::from_words(std::array::from_fn(|nth| order.word_at(bytes, nth * 4)))
    }

    /// Whether key, value and tailer fit into the record's length.
    #[inline]
    pub fn body_fits(&self) -> bool {
        u64::from(self.key_len) + u64::from(self.data_len) + u64::from(TAILER) <= u64::from(self.record_len)
    }

    /// Whether it is one that chains hold, deleted or not.
    #[inline]
    pub fn is_of_chain(&self) -> bool {
        self.magic == RECORD_USED || self.magic == RECORD_DEAD
    }

    /// The bytes for key and value, slack included.
    pub fn room(&self) -> Length {
        self.record_len.saturating_sub(TAILER)
    }
}

/// The header of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// In which order the file's words stand.
    pub order: ByteOrder,
    /// The number of chains.
    pub hash_size: u32,
    /// 0, or one of [`RWLOCKS_HASH`] and [`RWLOCKS_FEATURES`].
    pub rwlocks: u32,
    /// The offset of the recovery area or 0.
    pub recovery_start: Offset,
    /// How many changes the openers with a sequence number made.
    pub seqnum: u32,
    /// The hash function's value for the magic text and for the record magic; both 0 in old files.
    pub magic_hashes: [u32; 2],
    /// [`FEATURE_MUTEX`] or nothing that is known.
    pub features: u32,
    /// The bytes of the mutex area in front of the database.
    pub mutex_size: u32,
}

impl Header {
    /// The header of a new file.
    pub fn new(order: ByteOrder, hash_size: u32, hash: &HashFunction) -> Header {
        let rwlocks = if matches!(hash, HashFunction::Jenkins) { RWLOCKS_HASH } else { 0 };
        Header {
            order,
            hash_size,
            rwlocks,
            recovery_start: 0,
            seqnum: 0,
            magic_hashes: magic_hashes(hash, order),
            features: 0,
            mutex_size: 0,
        }
    }

    /// The header's bytes.
    pub fn to_bytes(&self) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        bytes[..MAGIC_TEXT.len()].copy_from_slice(&MAGIC_TEXT);
        let words = [
            (VERSION_AT, VERSION),
            (HASH_SIZE_AT, self.hash_size),
            (RWLOCKS_AT, self.rwlocks),
            (RECOVERY_START_AT as usize, self.recovery_start),
            (SEQNUM_AT as usize, self.seqnum),
            (MAGIC1_HASH_AT, self.magic_hashes[0]),
            (MAGIC2_HASH_AT, self.magic_hashes[1]),
            (FEATURES_AT, self.features),
            (MUTEX_SIZE_AT, self.mutex_size),
        ];
        for (at, word) in words {
            bytes[at..at + 4].copy_from_slice(&self.order.bytes(word));
        }
        bytes
    }

    /// The header from its bytes, or `None` if these are no TDB file's.
    pub fn from_bytes(bytes: &[u8; HEADER_SIZE]) -> Option<Header> {
        // libtdb compares the text up to its NUL only, and so do we.
        if bytes[..MAGIC_TEXT_HASHED] != MAGIC_TEXT[..MAGIC_TEXT_HASHED] {
            return None;
        }
        let order = [ByteOrder::Little, ByteOrder::Big]
            .into_iter()
            .find(|order| order.word_at(bytes, VERSION_AT) == VERSION)?;
        let word = |at| order.word_at(bytes, at);
        Some(Header {
            order,
            hash_size: word(HASH_SIZE_AT),
            rwlocks: word(RWLOCKS_AT),
            recovery_start: word(RECOVERY_START_AT as usize),
            seqnum: word(SEQNUM_AT as usize),
            magic_hashes: [word(MAGIC1_HASH_AT), word(MAGIC2_HASH_AT)],
            features: word(FEATURES_AT),
            mutex_size: word(MUTEX_SIZE_AT),
        })
    }

    /// The feature bits of this file, 0 if it uses none.
    pub fn feature_bits(&self) -> u32 {
        if self.rwlocks == RWLOCKS_FEATURES { self.features } else { 0 }
    }

    /// Whether the file was made with `hash`. Old files do not say and were made with [`HashFunction::Old`].
    pub fn was_made_with(&self, hash: &HashFunction) -> bool {
        self.magic_hashes == magic_hashes(hash, self.order)
    }

    /// Whether the file says which hash function made it.
    pub fn names_hash(&self) -> bool {
        self.magic_hashes != [0, 0]
    }
}

/// What a hash function makes of the two magics: how a file tells which function made it.
fn magic_hashes(hash: &HashFunction, order: ByteOrder) -> [u32; 2] {
    let hashes = [hash.hash(&MAGIC_TEXT[..MAGIC_TEXT_HASHED]), hash.hash(&order.bytes(RECORD_USED))];
    // Both 0 would mean "an old file".
    if hashes == [0, 0] { [1, 0] } else { hashes }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T1: the offsets that libtdb's files have.
    #[test]
    fn offsets_are_those_of_libtdb() {
        assert_eq!(HEADER_SIZE, 168);
        assert_eq!(RECOVERY_START_AT, 44);
        assert_eq!(SEQNUM_AT, 48);
        assert_eq!(FEATURES_AT, 60);
        assert_eq!(first_record(131), 172 + 4 * 131);
    }

    /// T1: what is written is read, in both orders.
    #[test]
    fn a_header_survives_its_bytes_in_both_orders() {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let header =
                Header { recovery_start: 7, seqnum: 9, ..Header::new(order, 77, &HashFunction::Jenkins) };
            assert_eq!(Header::from_bytes(&header.to_bytes()), Some(header));
            let record =
                Record { next: 1, record_len: 2, key_len: 3, data_len: 4, hash: 5, magic: RECORD_DEAD };
            assert_eq!(Record::from_bytes(&record.to_bytes(order), order), record);
        }
    }
}
