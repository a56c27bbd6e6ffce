//! The history that is left when units are forgotten.

use crate::register::{Effect, Need, Unit, ValueId};

/// The values that units outside `kept` write, in ascending order: at any time, any number of times.
///
/// `kept` are ascending indexes into `units`.
pub fn background(units: &[Unit], kept: &[u32]) -> Vec<ValueId> {
    let mut values = vec![];
    let mut next = 0;
    for (index, unit) in units.iter().enumerate() {
        if kept.get(next) == Some(&(index as u32)) {
            next += 1;
        } else if let Effect::Put(value) = unit.effect {
            values.push(value);
        }
    }
    values.sort_unstable();
    values.dedup();
    values
}

/// The kept units, changed so that an order of them is an order in which the forgotten ones may write whatever they
/// write whenever it is asked for.
///
/// A need for a value that someone forgotten writes is always met, and leaves that value. A need that several values
/// meet is always met if someone forgotten writes one of them, and leaves the state as it was.
pub fn after_forgetting(units: &[Unit], kept: &[u32]) -> Vec<Unit> {
    let background = background(units, kept);
    let mut left: Vec<Unit> = Vec::with_capacity(kept.len());
    for (nth, &index) in kept.iter().enumerate() {
        let mut unit = units[index as usize];
        match unit.need {
            Need::Exactly(value) if background.binary_search(&value).is_ok() => {
                unit.need = Need::Anything;
                if unit.effect == Effect::Keep {
                    unit.effect = Effect::Put(value);
                }
            }
            Need::Present | Need::AbsentOrEmpty
                if background.iter().any(|&value| unit.need.is_met_by(value)) =>
            {
                unit.need = Need::Anything;
            }
            _ => {}
        }
        // A group stays together if its next kept unit follows without a break in the group.
        unit.joined = kept.get(nth + 1).is_some_and(|&next| same_group(units, index, next));
        left.push(unit);
    }
    left
}

fn same_group(units: &[Unit], from: u32, to: u32) -> bool {
    let process = units[from as usize].process;
    units[from as usize..to as usize].iter().all(|unit| unit.joined && unit.process == process)
        && units[to as usize].process == process
}
