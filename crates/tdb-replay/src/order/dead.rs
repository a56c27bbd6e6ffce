//! Traces whose database died under them.
//!
//! When a lock fails inside libtdb, every later call on that database fails too, and a failed lock looks like "not
//! found". From such a line on a trace says nothing. The rule: a tail of more than twenty lines, all with one sequence
//! number, all with negative results. It is a guess, so it is made only after a history could not be explained
//! without it, and it is reported.

use crate::trace::columns::NONE;
use crate::trace::op::Op;
use crate::trace::{History, Trace};

/// The shortest tail that counts: a quiet process may look up a few absent keys at its end.
const SHORTEST: u32 = 20;

/// For each trace the row from which it says nothing: its length, if it always says something.
pub fn tails(history: &History) -> Vec<u32> {
    history.traces.iter().map(tail).collect()
}

/// Every row of every trace counts.
pub fn none(history: &History) -> Vec<u32> {
    history.traces.iter().map(|trace| trace.rows.len() as u32).collect()
}

fn tail(trace: &Trace) -> u32 {
    let rows = &trace.rows;
    let length = rows.len();
    let Some(seq) = length.checked_sub(1).map(|last| rows.seq(last)) else {
        return 0;
    };
    let mut start = length;
    while start > 0 && rows.seq(start - 1) == seq && !succeeded(trace, start - 1) {
        start -= 1;
    }
    // The first line with this number may be one that worked and found nothing; the next one is the first sure one.
    if (length - start) as u32 > SHORTEST { start as u32 } else { length as u32 }
}

/// Whether a row could not have come out like this on a dead database.
fn succeeded(trace: &Trace, index: usize) -> bool {
    let row = trace.rows.row(index);
    match row.op {
        Op::Append | Op::WipeAll | Op::TransactionStart => true,
        Op::Traversefn => true,
        Op::Firstkey | Op::Nextkey => row.a != NONE,
        Op::Fetch
        | Op::Traverse
        | Op::Exists
        | Op::ParseRecord
        | Op::Delete
        | Op::Store
        | Op::LockallNonblock
        | Op::LockallReadNonblock
        | Op::ChainlockNonblock
        | Op::ChainlockReadNonblock => !row.failed(),
        _ => false,
    }
}
