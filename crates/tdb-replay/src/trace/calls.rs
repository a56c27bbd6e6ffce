//! Rows to what their lines said, for those who print them.

use tdb_trace::Op;
use tdb_trace::call::{Bytes, Call};
use tdb_trace::print::print;

use super::History;
use super::columns::{ABSENT, ABSENT_OR_EMPTY, NONE, Row};
use super::records::Records;

/// What a row says, as today's libtdb would have written it.
///
/// The pieces of a storev come out as one; a null pointer stored or used as a key comes out as no bytes, which is
/// what both mean. `pieces` is room for one piece.
pub fn call_of<'a>(row: Row, records: &'a Records, pieces: &'a mut [Bytes<'a>; 1]) -> Call<'a> {
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
            Call::Store { key, value: Some(value(row.a).unwrap_or_default()), flag: row.store_flag(), result }
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

/// Of a longer line only so much is shown.
const LONGEST_LINE: usize = 160;

/// What a row's line says, without its end where that is long.
pub fn line(history: &History, trace: usize, row: usize) -> String {
    let trace = &history.traces[trace];
    let (mut text, mut room) = (Vec::new(), [None]);
    let number = if trace.rows.line(row) == 1 {
        // The database was cleared, and this line counts as the wipe. It found the number 0.
        print(&Call::Open(trace.opened), &mut text);
        0
    } else {
        let row = trace.written_row(row);
        print(&call_of(row, &history.records, &mut room), &mut text);
        row.seq
    };
    let mut text = format!("{number} {}", String::from_utf8_lossy(&text));
    if text.len() > LONGEST_LINE {
        text.truncate(LONGEST_LINE);
        text.push_str("...");
    }
    text
}
