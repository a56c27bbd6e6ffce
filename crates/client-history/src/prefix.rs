//! How far a history that cannot be explained can be.
//!
//! A history cut off at a moment keeps what was called until then; what had not returned by then is unknown, as it was to its client. If
//! it can be explained up to one moment, then also up to every earlier one, so the last such moment is found by halving.

use history::solver::Limits;

use crate::check::check;
use crate::operation::{History, Operation, Outcome};

/// The part of a history before its contradiction shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefix {
    /// The last time of a call or return up to which it can be explained; none if not even the first can.
    pub until: Option<u64>,
    /// An order of the operations (indexes) that explains it: those that took effect.
    pub order: Vec<u32>,
}

/// The longest part from the beginning on of what was done to register `key` that can be explained.
pub fn longest_explained(history: &History, key: u32, limits: Limits) -> Prefix {
    let of_key = || history.operations.iter().filter(|operation| operation.key == key);
    let mut times: Vec<u64> =
        of_key().flat_map(|operation| [Some(operation.call), operation.end]).flatten().collect();
    times.sort_unstable();
    times.dedup();
    let explained = times.partition_point(|&time| order_until(history, key, time, limits).is_some());
    match explained.checked_sub(1).map(|last| times[last]) {
        None => Prefix::default(),
        Some(until) => {
            Prefix { until: Some(until), order: order_until(history, key, until, limits).unwrap_or_default() }
        }
    }
}

/// An order of what was done to `key` until `time`, if there is one.
fn order_until(history: &History, key: u32, time: u64, limits: Limits) -> Option<Vec<u32>> {
    let mut sources = Vec::new();
    let mut part = history.clone_without_operations();
    for (index, operation) in (0u32..).zip(&history.operations) {
        if operation.key == key && operation.call <= time {
            let returned = operation.end.is_some_and(|end| end <= time);
            let outcome = if returned { operation.outcome } else { Outcome::Unknown };
            part.operations.push(Operation { outcome, ..*operation });
            sources.push(index);
        }
    }
    let checked = check(&part, limits);
    if !checked.findings.is_empty() {
        return None;
    }
    let order = checked.witness.first().map_or(&[][..], |(_, order)| order);
    Some(order.iter().map(|(operation, _)| sources[*operation as usize]).collect())
}
