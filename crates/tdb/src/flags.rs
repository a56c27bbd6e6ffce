//! libtdb's open flags, which handles keep and the C interface passes through.

use std::fmt;
use std::ops::{BitAnd, BitOr, Sub};

/// A set of flags, with libtdb's numbers.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags(pub u32);

impl Flags {
    /// The first opener empties the database.
    pub const CLEAR_IF_FIRST: Flags = Flags(1);
    /// In memory, without a file.
    pub const INTERNAL: Flags = Flags(2);
    /// Without locks.
    pub const NOLOCK: Flags = Flags(4);
    /// By reading and writing instead of mapping.
    pub const NOMMAP: Flags = Flags(8);
    /// The file's byte order is not this machine's.
    pub const CONVERT: Flags = Flags(16);
    /// The file is big-endian.
    pub const BIGENDIAN: Flags = Flags(32);
    /// Transactions are atomic against other processes, but not against a crash of the machine.
    pub const NOSYNC: Flags = Flags(64);
    /// Count changes in the sequence number.
    pub const SEQNUM: Flags = Flags(128);
    /// Records come and go: keep some deleted ones on their chains.
    pub const VOLATILE: Flags = Flags(256);
    /// Transactions nest (the default).
    pub const ALLOW_NESTING: Flags = Flags(512);
    /// Transactions do not nest.
    pub const DISALLOW_NESTING: Flags = Flags(1024);
    /// The Jenkins hash.
    pub const INCOMPATIBLE_HASH: Flags = Flags(2048);
    /// Robust mutexes instead of byte-range locks for chains.
    pub const MUTEX_LOCKING: Flags = Flags(4096);
    /// What may change while the database is open.
    pub const CHANGEABLE: Flags = Flags(4 | 8 | 64 | 128 | 256 | 512 | 1024);

    /// Whether all of `flags` are set.
    #[inline]
    pub const fn has(self, flags: Flags) -> bool {
        self.0 & flags.0 == flags.0
    }
}

impl BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl BitAnd for Flags {
    type Output = Flags;
    fn bitand(self, other: Flags) -> Flags {
        Flags(self.0 & other.0)
    }
}

/// The flags without those of the right side.
impl Sub for Flags {
    type Output = Flags;
    fn sub(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(Flags, &str); 13] = [
            (Flags::CLEAR_IF_FIRST, "CLEAR_IF_FIRST"),
            (Flags::INTERNAL, "INTERNAL"),
            (Flags::NOLOCK, "NOLOCK"),
            (Flags::NOMMAP, "NOMMAP"),
            (Flags::CONVERT, "CONVERT"),
            (Flags::BIGENDIAN, "BIGENDIAN"),
            (Flags::NOSYNC, "NOSYNC"),
            (Flags::SEQNUM, "SEQNUM"),
            (Flags::VOLATILE, "VOLATILE"),
            (Flags::ALLOW_NESTING, "ALLOW_NESTING"),
            (Flags::DISALLOW_NESTING, "DISALLOW_NESTING"),
            (Flags::INCOMPATIBLE_HASH, "INCOMPATIBLE_HASH"),
            (Flags::MUTEX_LOCKING, "MUTEX_LOCKING"),
        ];
        let set: Vec<&str> =
            NAMES.iter().filter(|(flag, _)| self.has(*flag)).map(|(_, name)| *name).collect();
        write!(out, "Flags({})", if set.is_empty() { "none".to_owned() } else { set.join(" | ") })
    }
}
