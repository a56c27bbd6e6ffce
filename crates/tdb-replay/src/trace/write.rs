//! Operations to lines, byte for byte as Samba's libtdb 1.4 writes them.
//!
//! Owns the formatting rules, which docs/trace-extended.md lists with an example each, and nothing of what must follow
//! what. The generator writes whole traces with this; reports print single operations.

use super::columns::{ABSENT, ABSENT_OR_EMPTY, NONE, Row};
use super::line::Opened;
use super::op::Op;
use super::records::Records;
use super::stamp::Stamp;

/// A record on a line: bytes, or a null pointer.
pub type Bytes<'a> = Option<&'a [u8]>;

/// What stands on a line after the sequence number, by shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call<'a> {
    /// `tdb_open HASHSIZE 0xTDBFLAGS 0xOPENFLAGS`; the sequence number in it is not looked at.
    Open(Opened),
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

/// Appends one line to `out`, its end included; with a stamp in the extended form.
pub fn line(seq: u32, call: &Call, stamp: Option<Stamp>, out: &mut Vec<u8>) {
    decimal(u64::from(seq), out);
    out.push(b' ');
    print(call, out);
    if let Some(stamp) = stamp {
        stamp.print(out);
    }
    out.push(b'\n');
}

/// Appends what stands on a line between the sequence number and the line end.
pub fn print(call: &Call, out: &mut Vec<u8>) {
    match *call {
        Call::Open(opened) => {
            name(Op::Open, out);
            out.extend_from_slice(
                format!(" {} 0x{:x} 0x{:x}", opened.hash_size, opened.tdb_flags, opened.open_flags)
                    .as_bytes(),
            );
        }
        Call::Bare(op) => name(op, out),
        Call::Result(op, number) => {
            name(op, out);
            result(number, out);
        }
        Call::Key(op, key) => {
            name(op, out);
            argument(key, out);
        }
        Call::KeyResult(op, key, number) => {
            name(op, out);
            argument(key, out);
            result(number, out);
        }
        Call::KeyRecord(op, key, found) => {
            name(op, out);
            argument(key, out);
            out.extend_from_slice(b" =");
            argument(found, out);
        }
        Call::Firstkey(found) => {
            name(Op::Firstkey, out);
            out.extend_from_slice(b" =");
            argument(found, out);
        }
        Call::Store { key, value, flag, result } => store(Op::Store, key, &[value], flag, result, out),
        Call::Storev { key, pieces, flag } => store(Op::Storev, key, pieces, flag, -1, out),
        Call::Append { key, before, appended } => {
            name(Op::Append, out);
            argument(key, out);
            argument(before, out);
            out.extend_from_slice(b" =");
            argument(appended, out);
        }
    }
}

fn store(op: Op, key: Bytes, pieces: &[Bytes], flag: u32, number: i32, out: &mut Vec<u8>) {
    name(op, out);
    argument(key, out);
    for &piece in pieces {
        argument(piece, out);
    }
    // C's `%#x`: no prefix before a zero.
    out.extend_from_slice(
        if flag == 0 { b" 0".to_vec() } else { format!(" {flag:#x}").into_bytes() }.as_slice(),
    );
    result(number, out);
}

fn name(op: Op, out: &mut Vec<u8>) {
    out.extend_from_slice(op.name().as_bytes());
}

fn result(number: i32, out: &mut Vec<u8>) {
    out.extend_from_slice(if number < 0 { b" = -" } else { b" = " });
    decimal(u64::from(number.unsigned_abs()), out);
}

/// A space and a record: `NULL` or `LEN:HEX`.
fn argument(record: Bytes, out: &mut Vec<u8>) {
    out.push(b' ');
    let Some(bytes) = record else {
        return out.extend_from_slice(b"NULL");
    };
    decimal(bytes.len() as u64, out);
    out.push(b':');
    out.extend(bytes.iter().flat_map(|&byte| PAIRS[usize::from(byte)]));
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";
/// Both digits of every byte.
const PAIRS: [[u8; 2]; 256] = {
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    pairs
};

/// Appends a decimal number.
pub(super) fn decimal(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

impl<'a> Call<'a> {
    /// What a row says, as today's libtdb would have written it.
    ///
    /// The pieces of a storev come out as one; a null pointer stored or used as a key comes out as no bytes, which is
    /// what both mean. `pieces` is room for one piece.
    pub fn of(row: Row, records: &'a Records, pieces: &'a mut [Bytes<'a>; 1]) -> Call<'a> {
        let key = (row.key != NONE).then(|| records.keys.bytes(row.key));
        let found_key = |id: u32| (id != NONE).then(|| records.keys.bytes(id));
        let value = |id: u32| match id {
            ABSENT | ABSENT_OR_EMPTY => None,
            id => Some(records.values.bytes(id)),
        };
        match row.op {
            Op::Fetch | Op::Traverse => Call::KeyRecord(row.op, key, value(row.a)),
            Op::Nextkey => Call::KeyRecord(row.op, key, found_key(row.a)),
            Op::Firstkey => Call::Firstkey(found_key(row.a)),
            Op::Store => {
                let result = if row.failed() { -1 } else { 0 };
                Call::Store {
                    key,
                    value: Some(value(row.a).unwrap_or_default()),
                    flag: row.store_flag(),
                    result,
                }
            }
            Op::Storev => {
                pieces[0] = Some(value(row.a).unwrap_or_default());
                Call::Storev { key, pieces, flag: row.store_flag() }
            }
            Op::Append => {
                let (before, after) = (value(row.a), value(row.b).unwrap_or_default());
                let appended = after.get(before.map_or(0, <[u8]>::len)..);
                Call::Append { key, before, appended }
            }
            Op::Delete | Op::ParseRecord | Op::Exists | Op::ChainlockNonblock | Op::ChainlockReadNonblock => {
                Call::KeyResult(row.op, key, row.a as i32)
            }
            Op::Chainlock
            | Op::Chainunlock
            | Op::ChainlockRead
            | Op::ChainunlockRead
            | Op::ChainlockMark
            | Op::ChainlockUnmark => Call::Key(row.op, key),
            Op::LockallNonblock | Op::LockallReadNonblock => Call::Result(row.op, row.a as i32),
            Op::TraverseEnd | Op::GetSeqnum if row.b == 1 => Call::Result(row.op, row.a as i32),
            op => Call::Bare(op),
        }
    }
}
