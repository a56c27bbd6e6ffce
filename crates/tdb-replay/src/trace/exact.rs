//! The exact form: a plain trace whose first line says that its numbers are versions.
//!
//! Owns which of its lines have one: those that the extended form gives a version (docs/trace-extended.md), outside of transactions.

use tdb_trace::Op;

use super::columns::{Columns, NONE};
use super::structure::Group;

/// Gives the rows of such a trace their versions; what was under way when its process died has none.
pub(super) fn number(rows: &mut Columns, groups: &[Group], unfinished: bool) {
    let mut transactions = groups.iter().filter(|group| group.is_transaction()).peekable();
    for index in 0..rows.len() - usize::from(unfinished) {
        while transactions.next_if(|group| (group.end as usize) < index).is_some() {}
        let inside = transactions.peek().is_some_and(|group| group.start as usize <= index);
        let row = rows.row(index);
        if !inside && is_versioned(row.op, row.a) {
            rows.set_version(index, row.seq);
        }
    }
}

fn is_versioned(op: Op, a: u32) -> bool {
    match op {
        Op::Fetch
        | Op::ParseRecord
        | Op::Exists
        | Op::Store
        | Op::Storev
        | Op::Delete
        | Op::Append
        | Op::Traverse => true,
        // A key that was found existed then; that there is none was seen chain by chain.
        Op::Firstkey | Op::Nextkey => a != NONE,
        _ => false,
    }
}
