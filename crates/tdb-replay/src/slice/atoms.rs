//! What of a history goes or stays as one.
//!
//! Owns the cut: a transaction is one part, every other operation one by itself; the ends of locks and traversals are parts of
//! nothing, since they come and go with what is between them.

use crate::trace::History;
use crate::trace::op::Op;

/// A part of a history that goes or stays as one: rows of one trace.
pub(super) struct Atom {
    pub(super) trace: usize,
    pub(super) rows: Vec<usize>,
}

/// The parts of `base`, by trace and row.
pub(super) fn atoms(base: &History) -> Vec<Atom> {
    let mut atoms = Vec::new();
    for (number, trace) in base.traces.iter().enumerate() {
        let mut boundary = vec![false; trace.rows.len()];
        let mut inside = vec![false; trace.rows.len()];
        for group in &trace.groups {
            let (start, end) = (group.start as usize, group.end as usize);
            if group.is_transaction() {
                atoms.push(Atom { trace: number, rows: (start..=end).collect() });
                inside[start..=end].fill(true);
            } else {
                boundary[start] = true;
                // The last row of a group without an end is one of its operations.
                boundary[end] |= !group.open;
            }
        }
        for index in 0..trace.rows.len() {
            if !inside[index] && !boundary[index] && trace.rows.op(index) != Op::Close {
                atoms.push(Atom { trace: number, rows: vec![index] });
            }
        }
    }
    atoms.sort_by_key(|atom| (atom.trace, atom.rows[0]));
    atoms
}
