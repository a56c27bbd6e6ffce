//! Which tracer wrote a history, and what its appends mean.
//!
//! The classic tracer writes `tdb_append KEY APPENDED = NEW`, today's `tdb_append KEY OLD = APPENDED`. Nothing in the
//! file says which it is, but an APPENDED that is not an end of NEW can only be an OLD, if NULL is all that was ever
//! appended it was the OLD of absent keys, some operations exist in
//! today's dialect only, and our own recorder's times and marks do, too. After [`settle`] every append row has the value before in `a` and the value after in `b`.

use tdb_trace::{Op, Opened};

use super::Trace;
use super::columns::{ABSENT, ABSENT_OR_EMPTY, EMPTY};
use super::records::{Column, Full, Records};

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

/// Whether the first line of a trace says that today's tracer wrote it. Then its appends are settled as they are read.
pub(super) fn says_today(opened: &Opened) -> bool {
    opened.tdb_flags & INCOMPATIBLE_HASH != 0
}

/// Finds the dialect and rewrites the appends.
///
/// # Errors
/// There is no room for so many distinct values.
pub fn settle(traces: &mut [Trace], records: &mut Records) -> Result<Dialect, Full> {
    let dialect =
        if traces.iter().any(|trace| written_today(trace, records)) || appends_to_absent_keys(traces) {
            Dialect::Today
        } else {
            Dialect::Classic
        };
    for trace in traces.iter_mut().filter(|trace| !says_today(&trace.opened)) {
        rewrite(trace, records, dialect)?;
    }
    Ok(dialect)
}

/// Gives the appends of a trace the values before and after. Looking at records waits for memory, so appends are looked
/// at some rows ahead.
fn rewrite(trace: &mut Trace, records: &mut Records, dialect: Dialect) -> Result<(), Full> {
    let rows = &mut trace.rows;
    let appends: Vec<u32> =
        (0..rows.len()).filter(|&row| rows.op(row) == Op::Append).map(|row| row as u32).collect();
    for (index, &row) in appends.iter().enumerate() {
        if let Some(&soon) = appends.get(index + AHEAD) {
            let soon = rows.row(soon as usize);
            records.values.approach(soon.a);
            records.values.approach(soon.b);
        }
        let index = row as usize;
        let row = rows.row(index);
        match dialect {
            Dialect::Today => today(index, row.a, row.b, records),
            Dialect::Classic => {
                let (before, after) = classic(index, row.a, row.b, records);
                rows.settle_append(index, before, after);
            }
        }
        if records.is_full() {
            records.settle(|row, column, id| rows.place(row, column, id))?;
        }
    }
    records.settle(|row, column, id| rows.place(row, column, id))
}

/// Appends that are looked at ahead.
const AHEAD: usize = 16;

fn written_today(trace: &Trace, records: &Records) -> bool {
    if says_today(&trace.opened) || trace.is_recorded() {
        return true;
    }
    (0..trace.rows.len()).map(|index| trace.rows.row(index)).any(|row| match row.op {
        Op::Append => row.b == ABSENT || !records.values.bytes(row.b).ends_with(records.values.bytes(row.a)),
        Op::Storev | Op::ChainlockReadNonblock => true,
        _ => false,
    })
}

/// Whether every append has NULL for its first record. No program appends NULL and nothing else.
fn appends_to_absent_keys(traces: &[Trace]) -> bool {
    let rows = || traces.iter().flat_map(|trace| (0..trace.rows.len()).map(|index| trace.rows.row(index)));
    let mut appends = rows().filter(|row| row.op == Op::Append).peekable();
    appends.peek().is_some() && appends.all(|row| row.a == ABSENT)
}

/// OLD and APPENDED, to before and after. OLD is the value before.
fn today(row: usize, old: u32, appended: u32, records: &mut Records) {
    records.join_values(row, Column::B, &[old, appended], usize::MAX);
}

/// APPENDED and NEW, to before and after; the value before, if it has bytes, is left to be settled.
fn classic(row: usize, appended: u32, new: u32, records: &mut Records) -> (u32, u32) {
    let after = if new == ABSENT { EMPTY } else { new };
    let before = records.values.bytes(after).len() - records.values.bytes(appended).len();
    if before == 0 {
        return (ABSENT_OR_EMPTY, after);
    }
    records.join_values(row, Column::A, &[after], before);
    (ABSENT, after)
}
