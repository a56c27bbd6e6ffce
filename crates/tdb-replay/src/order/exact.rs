//! Versions: windows made exact where traces of the extended form say so.
//!
//! Owns the reading of docs/trace-extended.md, "What a version says", as windows. A version was read under the lock of
//! the key's chain, so a read happened exactly at its version, a change after the version of whatever came before it
//! on its key and not after its own. A key whose units all have versions leaves the solver no choice.
//!
//! Wipes and transactions have no version, and need none: they lie in one cell, which is theirs alone since they exclude every
//! other change. What came after one on its key, by the versions, came after that cell.
//!
//! Versions are believed: where one is not between the plain numbers around it, those are set aside.

use super::units::{UnitRow, Units};
use crate::trace::op::Op;
use crate::trace::{History, Trace};
use crate::verdict::{Contradiction, Kind, Line};

/// Narrows the windows of all units whose lines have versions; these windows are firm.
pub fn narrow(history: &History, units: &mut Units) {
    if !history.traces.iter().any(|trace| trace.rows.has_versions()) {
        return;
    }
    let mut versioned = Vec::new();
    let Units { rows, miscounts, .. } = units;
    for (index, unit) in (0u32..).zip(rows.iter_mut()) {
        let trace = &history.traces[usize::from(unit.trace)];
        let Some(version) = trace.rows.version(unit.row as usize) else {
            if is_alone(trace, unit) {
                versioned.push(index);
            }
            continue;
        };
        let lowest = unit.low.saturating_add(u32::from(unit.advances()));
        if unit.is_uncertain() && version < lowest {
            // It did not happen: its window is empty.
            continue;
        }
        unit.make_firm();
        if !(lowest..=unit.high).contains(&version) {
            // The plain numbers around it are wrong, or versions contradict each other.
            unit.low = unit.low.min(version.saturating_sub(u32::from(unit.advances())));
            if miscounts.len() < NAMED {
                miscounts.push(contradicted(trace, unit, version));
            }
        }
        unit.high = version;
        if !unit.advances() {
            unit.low = version;
        }
        versioned.push(index);
    }
    versioned.sort_unstable_by_key(|&index| {
        let unit = &rows[index as usize];
        (unit.key, unit.high, !unit.advances(), index)
    });
    for pair in versioned.windows(2) {
        let [before, after] = [pair[0] as usize, pair[1] as usize];
        let (key, version) = (rows[before].key, rows[before].high);
        let after = &mut rows[after];
        if after.key == key && after.advances() && version < after.high {
            after.low = after.low.max(version);
        }
    }
}

/// Contradictions that are named; more say nothing new.
const NAMED: usize = 10;

/// A version that does not lie between the numbers around it.
fn contradicted(trace: &Trace, unit: &UnitRow, version: u32) -> Contradiction {
    let version = trace.written(version);
    let why = format!("has the version {version}, which is not between the numbers around it");
    let line = Line { trace: unit.trace, row: unit.row, why };
    Contradiction { minimal: true, lines: vec![line], ..Contradiction::of_rows(Kind::Numbers, []) }
}

/// Whether no other change can lie where this unit does: it held every lock, and that is where the line says.
fn is_alone(trace: &Trace, unit: &UnitRow) -> bool {
    matches!(trace.rows.op(unit.row as usize), Op::WipeAll | Op::TransactionStart)
}
