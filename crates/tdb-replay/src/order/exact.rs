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

/// Narrows the windows of all units whose lines have versions; without numbers, windows are those of the times.
pub fn narrow(history: &History, units: &mut Units) {
    if !history.traces.iter().any(|trace| trace.rows.has_versions()) {
        return;
    }
    if history.traces.iter().any(|trace| trace.rows.is_timed()) && has_no_numbers(history) {
        return take_times(history, units);
    }
    let mut versioned = Vec::new();
    for (index, unit) in (0u32..).zip(&mut units.rows) {
        let trace = &history.traces[usize::from(unit.trace)];
        let Some(version) = trace.rows.version(unit.row as usize) else {
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

/// Whether every line of every trace has the number 0.
fn has_no_numbers(history: &History) -> bool {
    let none =
        |trace: &Trace| trace.opened.seq == 0 && (0..trace.rows.len()).all(|row| trace.rows.seq(row) == 0);
    history.traces.iter().all(none)
}

/// Windows from when an operation was called to when it was answered, as places among all these times. The windows of one
/// trace follow one another as those of numbers do, and so the orders of the keys fit together. What was under way when its
/// process died may happen at any time after the line before it.
fn take_times(history: &History, units: &mut Units) {
    let stamps = || {
        history.traces.iter().flat_map(|trace| (0..trace.rows.len()).filter_map(|row| trace.rows.stamp(row)))
    };
    let mut times: Vec<u64> = stamps().flat_map(|stamp| [stamp.start_ns, stamp.end_ns()]).collect();
    times.sort_unstable();
    times.dedup();
    let place = |time: u64| times.partition_point(|&other| other < time) as u32;
    for unit in &mut units.rows {
        let trace = &history.traces[usize::from(unit.trace)];
        let row = unit.row as usize;
        match trace.rows.stamp(row) {
            Some(stamp) => {
                unit.low = place(stamp.start_ns);
                unit.high = place(stamp.end_ns()).max(unit.low + 1);
            }
            None => {
                let before = row.checked_sub(1).and_then(|row| trace.rows.stamp(row));
                unit.low = before.map_or(0, |stamp| place(stamp.end_ns()));
                unit.high = u32::MAX;
            }
        }
    }
}

/// Whether no other change can lie where this unit does: it held every lock, and that is where the line says.
fn is_alone(trace: &Trace, unit: &UnitRow) -> bool {
    matches!(trace.rows.op(unit.row as usize), Op::WipeAll | Op::TransactionStart)
}
