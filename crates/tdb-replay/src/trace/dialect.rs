//! Which tracer wrote a history, and what its appends mean.
//!
//! The classic tracer writes `tdb_append KEY APPENDED = NEW`, today's `tdb_append KEY OLD = APPENDED`. Nothing in the
//! file says which it is, but an APPENDED that is no end of NEW can only be an OLD, and some operations exist in
//! today's dialect only. After [`settle`] every append row has the value before in `a` and the value after in `b`.

use super::Trace;
use super::columns::{ABSENT, ABSENT_OR_EMPTY, EMPTY};
use super::line::Records;
use super::op::Op;

/// Who wrote a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// CCAN's tracer of 2009, and Samba's old one.
    Classic,
    /// Samba's tracer since then.
    Today,
}

/// `TDB_INCOMPATIBLE_HASH`: a flag that the classic library did not know.
const INCOMPATIBLE_HASH: u32 = 0x800;

/// Finds the dialect and rewrites the appends.
pub fn settle(traces: &mut [Trace], records: &mut Records) -> Dialect {
    let dialect = if traces.iter().any(|trace| written_today(trace, records)) {
        Dialect::Today
    } else {
        Dialect::Classic
    };
    let mut scratch = Vec::new();
    for trace in traces {
        for index in 0..trace.rows.len() {
            let row = trace.rows.row(index);
            if row.op != Op::Append {
                continue;
            }
            let (before, after) = match dialect {
                Dialect::Today => today(row.a, row.b, records, &mut scratch),
                Dialect::Classic => classic(row.a, row.b, records, &mut scratch),
            };
            trace.rows.settle_append(index, before, after);
        }
    }
    dialect
}

fn written_today(trace: &Trace, records: &Records) -> bool {
    if trace.opened.tdb_flags & INCOMPATIBLE_HASH != 0 {
        return true;
    }
    (0..trace.rows.len()).map(|index| trace.rows.row(index)).any(|row| match row.op {
        Op::Append => row.b == ABSENT || !records.values.bytes(row.b).ends_with(records.values.bytes(row.a)),
        Op::Storev | Op::ChainlockReadNonblock => true,
        _ => false,
    })
}

/// OLD and APPENDED, to before and after.
fn today(old: u32, appended: u32, records: &mut Records, scratch: &mut Vec<u8>) -> (u32, u32) {
    scratch.clear();
    scratch.extend_from_slice(records.values.bytes(old));
    scratch.extend_from_slice(records.values.bytes(appended));
    (old, records.values.intern(scratch))
}

/// APPENDED and NEW, to before and after.
fn classic(appended: u32, new: u32, records: &mut Records, scratch: &mut Vec<u8>) -> (u32, u32) {
    let after = if new == ABSENT { EMPTY } else { new };
    scratch.clear();
    scratch.extend_from_slice(records.values.bytes(after));
    scratch.truncate(scratch.len() - records.values.bytes(appended).len());
    if scratch.is_empty() {
        return (ABSENT_OR_EMPTY, after);
    }
    (records.values.intern(scratch), after)
}
