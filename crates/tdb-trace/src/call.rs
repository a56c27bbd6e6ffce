//! What one line says, apart from its numbers and times.
//!
//! Owns the shapes of lines: docs/trace-extended.md has them with an example each.

use crate::op::Op;

/// What a `tdb_open` line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The sequence number when it was opened.
    pub seq: u32,
    /// The hash size that the caller asked for.
    pub hash_size: u32,
    /// `TDB_*` flags.
    pub tdb_flags: u32,
    /// `O_*` flags.
    pub open_flags: u32,
}

/// A record on a line: bytes, or a null pointer.
pub type Bytes<'a> = Option<&'a [u8]>;

/// What stands on a line after the sequence number, by shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call<'a> {
    /// `tdb_open HASHSIZE 0xTDBFLAGS 0xOPENFLAGS`; the sequence number in it is not looked at.
    Open(Opened),
    /// The same with ` #v` behind it: the numbers of the lines are versions.
    OpenExact(Opened),
    /// A name alone: locks of all chains, transactions, starts and ends of traversals, `tdb_close`.
    Bare(Op),
    /// `NAME = NUMBER`: `tdb_lockall_nonblock`, `tdb_get_seqnum`, a traversal stopped by its callback.
    Result(Op, i32),
    /// `NAME KEY`: chain locks.
    Key(Op, Bytes<'a>),
    /// `NAME KEY = NUMBER`: `tdb_delete`, `tdb_exists`, `tdb_parse_record`, chain locks that do not wait.
    KeyResult(Op, Bytes<'a>, i32),
    /// `NAME KEY = RECORD`: `tdb_fetch`, `traverse`, `tdb_nextkey`.
    KeyRecord(Op, Bytes<'a>, Bytes<'a>),
    /// `tdb_firstkey = RECORD`.
    Firstkey(Bytes<'a>),
    /// `tdb_store KEY VALUE FLAG = RESULT`.
    Store {
        /// The key.
        key: Bytes<'a>,
        /// What was to be stored.
        value: Bytes<'a>,
        /// 0, or `TDB_REPLACE` 1, `TDB_INSERT` 2, `TDB_MODIFY` 3.
        flag: u32,
        /// 0 or -1.
        result: i32,
    },
    /// A store whose value is the parts end to end.
    StoreParts {
        /// The key.
        key: &'a [u8],
        /// What was to be stored.
        parts: &'a [&'a [u8]],
        /// As of a store.
        flag: u32,
        /// 0 or -1.
        result: i32,
    },
    /// `tdb_storev KEY PIECE.. FLAG = -1`: the result is always printed as -1 and says nothing.
    Storev {
        /// The key.
        key: Bytes<'a>,
        /// The pieces of the value.
        pieces: &'a [Bytes<'a>],
        /// As of a store.
        flag: u32,
    },
    /// `tdb_append KEY BEFORE = APPENDED`, as today's libtdb writes it.
    Append {
        /// The key.
        key: Bytes<'a>,
        /// The value before; none if there was no record.
        before: Bytes<'a>,
        /// What was appended.
        appended: Bytes<'a>,
    },
}

/// The longest that a line can be but for its records: a number, a name, a flag, a result, a stamp.
const AROUND: usize = 192;
/// The most that a record takes besides its digits.
const RECORD: usize = 24;

impl Call<'_> {
    /// More bytes than its line can have.
    #[inline(always)]
    pub fn bound(&self) -> usize {
        let of = |record: &Bytes<'_>| record.map_or(0, <[u8]>::len);
        let records = match self {
            Call::Key(_, key) | Call::KeyResult(_, key, _) => of(key),
            Call::KeyRecord(_, key, found) => of(key) + of(found),
            Call::Firstkey(found) => of(found),
            Call::Store { key, value, .. } => of(key) + of(value),
            Call::StoreParts { key, parts, .. } => {
                key.len() + parts.iter().map(|part| part.len()).sum::<usize>()
            }
            Call::Storev { key, pieces, .. } => {
                of(key) + pieces.iter().map(|piece| of(piece) + RECORD / 2).sum::<usize>()
            }
            Call::Append { key, before, appended } => of(key) + of(before) + of(appended),
            Call::Open(_) | Call::OpenExact(_) | Call::Bare(_) | Call::Result(..) => 0,
        };
        AROUND + 3 * RECORD + 2 * records
    }

    /// Whether it says that it was done: a result, if there is one, is 0.
    pub fn succeeded(&self) -> bool {
        matches!(
            self,
            Call::KeyResult(_, _, 0)
                | Call::Store { result: 0, .. }
                | Call::StoreParts { result: 0, .. }
                | Call::Append { .. }
                | Call::Bare(_)
        )
    }
}
