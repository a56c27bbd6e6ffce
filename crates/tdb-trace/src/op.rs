//! The operations of the grammar, by name.
//!
//! Owns the list of names that a trace may contain, and what of each the rest of the program asks: which rows carry
//! a key, open or close a group, change a key.

macro_rules! ops {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// One operation of a trace.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Op { $($(#[$doc])* $variant,)* }

        impl Op {
            /// All operations, in the order of the list.
            pub const ALL: &[Op] = &[$(Op::$variant,)*];

            /// The name as a trace spells it.
            #[inline(always)]
            pub const fn name(self) -> &'static str {
                // A list, not a match: that would be a jump which cannot be foretold.
                const NAMES: [&str; Op::COUNT] = [$($name,)*];
                NAMES[self as usize]
            }

            /// The operation of this name.
            #[inline]
            pub fn from_name(name: &[u8]) -> Option<Op> {
                let op = Op::ALL.get(BY_NAME[slot(name)] as usize)?;
                (op.name().as_bytes() == name).then_some(*op)
            }
        }
    };
}

/// A name's place in [`BY_NAME`]: its last eight bytes and its length, multiplied by a number that was searched for
/// until no two names shared a place.
const fn slot(name: &[u8]) -> usize {
    let Some(end) = name.last_chunk::<8>() else {
        return 0;
    };
    let word = u64::from_le_bytes(*end).wrapping_add(name.len() as u64);
    (word.wrapping_mul(0xf009_d5f0_d5ed_a283) >> 57) as usize
}

/// For each [`slot`] the number of the operation that may be meant.
const BY_NAME: [u8; 128] = {
    let mut table = [u8::MAX; 128];
    let mut number = 0;
    while number < Op::COUNT {
        let slot = slot(Op::ALL[number].name().as_bytes());
        assert!(table[slot] == u8::MAX, "two names in one place: search for another multiplier");
        table[slot] = number as u8;
        number += 1;
    }
    table
};

/// A name of at most eleven bytes without its `tdb_`, as a word.
const fn short(name: &[u8]) -> Option<u64> {
    let [b't', b'd', b'b', b'_', end @ ..] = name else {
        return None;
    };
    let (mut word, mut at) = (0, 0);
    while at < end.len() {
        word |= (end[at] as u64).unbounded_shl(8 * at as u32);
        at += 1;
    }
    if end.len() < 8 { Some(word) } else { None }
}

/// A short name's place in [`SHORT`], with another number that was searched for.
#[inline(always)]
const fn short_slot(word: u64) -> usize {
    (word.wrapping_mul(0x834c_1b69_573a_c59b) >> 60) as usize
}

/// The [`short`] names, each in its place, and the numbers of their operations. No name is the one where there is none.
const SHORT: [(u64, u8); 16] = {
    let mut table = [(u64::MAX, u8::MAX); 16];
    let mut number = 0;
    while number < Op::COUNT {
        if let Some(word) = short(Op::ALL[number].name().as_bytes()) {
            let slot = short_slot(word);
            assert!(table[slot].0 == u64::MAX, "two names in one place: search for another multiplier");
            table[slot] = (word, number as u8);
        }
        number += 1;
    }
    table
};

ops! {
    /// A reduced record of a traversal: a callback ran.
    Traversefn = "traversefn",
    /// `tdb_fetch`.
    Fetch = "tdb_fetch",
    /// `tdb_store`.
    Store = "tdb_store",
    /// `tdb_delete`.
    Delete = "tdb_delete",
    /// `tdb_append`.
    Append = "tdb_append",
    /// `tdb_exists`.
    Exists = "tdb_exists",
    /// A callback ran on this record.
    Traverse = "traverse",
    /// `tdb_parse_record`.
    ParseRecord = "tdb_parse_record",
    /// `tdb_chainlock`.
    Chainlock = "tdb_chainlock",
    /// `tdb_chainunlock`.
    Chainunlock = "tdb_chainunlock",
    /// `tdb_transaction_start` (the form that does not wait shows under this name too).
    TransactionStart = "tdb_transaction_start",
    /// `tdb_transaction_cancel`.
    TransactionCancel = "tdb_transaction_cancel",
    /// `tdb_transaction_commit`.
    TransactionCommit = "tdb_transaction_commit",
    /// `tdb_transaction_prepare_commit`.
    TransactionPrepareCommit = "tdb_transaction_prepare_commit",
    /// `tdb_traverse_read_start`.
    TraverseReadStart = "tdb_traverse_read_start",
    /// `tdb_traverse_start`.
    TraverseStart = "tdb_traverse_start",
    /// `tdb_traverse_end`.
    TraverseEnd = "tdb_traverse_end",
    /// `tdb_storev`.
    Storev = "tdb_storev",
    /// `tdb_chainlock_read`.
    ChainlockRead = "tdb_chainlock_read",
    /// `tdb_chainunlock_read`.
    ChainunlockRead = "tdb_chainunlock_read",
    /// `tdb_chainlock_nonblock`.
    ChainlockNonblock = "tdb_chainlock_nonblock",
    /// `tdb_chainlock_read_nonblock`.
    ChainlockReadNonblock = "tdb_chainlock_read_nonblock",
    /// `tdb_chainlock_mark`.
    ChainlockMark = "tdb_chainlock_mark",
    /// `tdb_chainlock_unmark`.
    ChainlockUnmark = "tdb_chainlock_unmark",
    /// `tdb_lockall`.
    Lockall = "tdb_lockall",
    /// `tdb_unlockall`.
    Unlockall = "tdb_unlockall",
    /// `tdb_lockall_read`.
    LockallRead = "tdb_lockall_read",
    /// `tdb_unlockall_read`.
    UnlockallRead = "tdb_unlockall_read",
    /// `tdb_lockall_nonblock`.
    LockallNonblock = "tdb_lockall_nonblock",
    /// `tdb_lockall_read_nonblock`.
    LockallReadNonblock = "tdb_lockall_read_nonblock",
    /// `tdb_lockall_mark`.
    LockallMark = "tdb_lockall_mark",
    /// `tdb_lockall_unmark`.
    LockallUnmark = "tdb_lockall_unmark",
    /// `tdb_firstkey`.
    Firstkey = "tdb_firstkey",
    /// `tdb_nextkey`.
    Nextkey = "tdb_nextkey",
    /// `tdb_wipe_all`.
    WipeAll = "tdb_wipe_all",
    /// `tdb_repack`.
    Repack = "tdb_repack",
    /// `tdb_get_seqnum`.
    GetSeqnum = "tdb_get_seqnum",
    /// `tdb_open`.
    Open = "tdb_open",
    /// `tdb_close`.
    Close = "tdb_close",
}

/// A set of operations.
#[derive(Clone, Copy, Debug)]
pub struct Ops(u64);

impl Ops {
    /// The set of these operations.
    pub const fn of(list: &[Op]) -> Ops {
        let (mut bits, mut at) = (0, 0);
        while at < list.len() {
            bits |= 1 << list[at] as u8;
            at += 1;
        }
        Ops(bits)
    }

    /// Whether the set has this operation.
    #[inline(always)]
    pub const fn has(self, op: Op) -> bool {
        self.has_number(op as u8)
    }

    /// Whether the set has the operation of this number.
    #[inline(always)]
    pub const fn has_number(self, number: u8) -> bool {
        self.0.unbounded_shr(number as u32) & 1 == 1
    }
}

/// How many bytes stand before the first space in a word; 8 if there is none.
#[inline(always)]
fn spaceless(word: u64) -> usize {
    const LOW: u64 = 0x0101_0101_0101_0101;
    // The upper bit of each byte that is a space; a carry may set others, but later ones only.
    let others = word ^ (LOW * u64::from(b' '));
    let found = others.wrapping_sub(LOW) & !others & (LOW * 0x80);
    (found.trailing_zeros() / 8) as usize
}

impl Op {
    /// How many operations there are.
    pub const COUNT: usize = Op::ALL.len();

    /// The operation whose name `text` begins with, if the name is a short one and a space follows, and what follows the
    /// name. These are the names of nearly all lines.
    #[inline(always)]
    pub fn short_at(text: &[u8]) -> Option<(Op, &[u8])> {
        let (lead, rest) = text.split_first_chunk::<4>()?;
        let word = u64::from_le_bytes(*rest.first_chunk()?);
        let length = spaceless(word);
        let name = word & 1_u64.unbounded_shl(8 * length as u32).wrapping_sub(1);
        let (expected, number) = SHORT[short_slot(name)];
        (name == expected && lead == b"tdb_" && length < 8)
            .then(|| (Op::from_number(number), &rest[length..]))
    }

    /// The operation of a number made by `op as u8`.
    ///
    /// # Panics
    /// No operation has this number.
    pub fn from_number(number: u8) -> Op {
        Op::ALL[number as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R1: the first space in a word is found wherever it is, and none is seen where there is none.
    #[test]
    fn the_first_space_is_found() {
        for at in 0..8 {
            let mut word = [b'!'; 8];
            word[at..].fill(b' ');
            assert_eq!(spaceless(u64::from_le_bytes(word)), at);
        }
        assert_eq!(spaceless(u64::from_le_bytes([0x1f, 0x21, 0, 0xa0, 0xdf, 0x7f, 0xff, 0x80])), 8);
    }

    /// R1, R2: each name is found, with what follows it, and what only resembles one is none.
    #[test]
    fn names_are_found_and_what_resembles_them_is_not() {
        for &op in Op::ALL {
            let name = op.name();
            assert_eq!(Op::from_name(name.as_bytes()), Some(op));
            let line = format!("{name} 1:61 2:6162");
            let at = Op::short_at(line.as_bytes());
            if name.len() < 12 && name.starts_with("tdb_") {
                assert_eq!(at, Some((op, &line.as_bytes()[name.len()..])));
            } else {
                assert_eq!(at, None, "{name}");
            }
            for at in 0..name.len() {
                let mut wrong = line.clone().into_bytes();
                wrong[at] ^= 0x20;
                assert_eq!(Op::short_at(&wrong), None, "{}", wrong.escape_ascii());
                assert_eq!(Op::from_name(&wrong[..name.len()]), None);
            }
            assert_eq!(Op::from_name(&name.as_bytes()[1..]), None);
        }
        for text in ["tdb_store", "tdb_", "tdb_ 1:61 2:6162", "tdb_close\n4 x", "tdb_storevv 1:61", ""] {
            assert_eq!(Op::short_at(text.as_bytes()), None, "{text}");
        }
    }
}
