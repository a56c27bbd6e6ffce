//! Versions: windows made exact where traces of the extended form say so.
//!
//! Owns the reading of docs/trace-extended.md, "What a version says", as windows. A version was read under the lock of
//! the key's chain, so a read happened exactly at its version, a change after the version of whatever came before it
//! on its key and not after its own. A key whose units all have versions leaves the solver no choice.
//!
//! Wipes and transactions have no version, and need none: they lie in one cell, which is theirs alone since they exclude every
//! other change. What came after one on its key, by the versions, came after that cell.
//!
//! A version that contradicts its own trace (it is not between the sequence numbers around it) is not used.

use super::units::{UnitRow, Units};
use crate::trace::op::Op;
use crate::trace::{History, Trace};

/// Narrows the windows of all units whose lines have versions.
pub fn narrow(history: &History, units: &mut Units) {
    if !history.traces.iter().any(|trace| trace.rows.is_timed()) {
        return;
    }
    let mut versioned = Vec::new();
    for (index, unit) in (0u32..).zip(&mut units.rows) {
        let trace = &history.traces[usize::from(unit.trace)];
        let stamp = trace.rows.stamp(unit.row as usize);
        let Some(version) = stamp.and_then(|stamp| stamp.version) else {
            if is_alone(trace, unit) {
                versioned.push(index);
            }
            continue;
        };
        let lowest = unit.low.saturating_add(u32::from(unit.advances()));
        if !(lowest..=unit.high).contains(&version) {
            continue;
        }
        unit.high = version;
        if !unit.advances() {
            unit.low = version;
        }
        versioned.push(index);
    }
    versioned.sort_unstable_by_key(|&index| {
        let unit = &units.rows[index as usize];
        (unit.key, unit.high, !unit.advances(), index)
    });
    for pair in versioned.windows(2) {
        let [before, after] = [pair[0] as usize, pair[1] as usize];
        let (key, version) = (units.rows[before].key, units.rows[before].high);
        let after = &mut units.rows[after];
        if after.key == key && after.advances() && version < after.high {
            after.low = after.low.max(version);
        }
    }
}

/// Whether no other change can lie where this unit does: it held every lock, and that is where the line says.
fn is_alone(trace: &Trace, unit: &UnitRow) -> bool {
    matches!(trace.rows.op(unit.row as usize), Op::WipeAll | Op::TransactionStart)
}
