//! What each worker needs beside its trace: where to wait, what to announce, what to run differently.
//!
//! Owns the plan of a replay, made once from the order and used for every run.

use hashbrown::HashSet;

use crate::order::explain::{Explained, Planted};
use crate::order::merge::GroupOf;
use crate::order::waits::Wait;
use crate::trace::op::Op;
use crate::trace::structure::{Group, GroupKind};
use crate::trace::{History, Trace};

/// One trace's part of the plan.
#[derive(Default)]
pub struct TracePlan {
    /// Where it waits, by row.
    pub waits: Vec<Wait>,
    /// The numbers of finished rows that some other trace waits for, ascending.
    pub announce: Vec<u32>,
    /// Start rows of traversals that are run to their end before their callbacks' work is done.
    pub split: HashSet<u32>,
    /// Rows of walks that are not run: starts of traversals, steps of walks by keys.
    pub unwalked: HashSet<u32>,
    /// Rows that are not run: they take or release a lock that was not held, or cannot be as recorded, or they were
    /// refused on account of a lock.
    pub skip: HashSet<u32>,
    /// Start rows of transactions that are committed, though the trace says that they failed.
    pub turned: HashSet<u32>,
    /// The row from which the trace says nothing.
    pub end: u32,
}

impl TracePlan {
    /// Does not take the lock of this group.
    fn leave_out(&mut self, &Group { kind, start, end, open, .. }: &Group) {
        match kind {
            // Not held open, and read-only: the engine's own traversal would take the lock whatever is wanted.
            GroupKind::Traverse { .. } => {
                self.split.insert(start);
                self.skip.insert(start);
            }
            // The last row of one that its process's death released is not a release.
            _ if open => self.skip.extend([start]),
            _ => self.skip.extend([start, end]),
        }
    }

    /// A delete fails while its own process has all records locked for reading, whatever is there.
    fn skip_refused_deletes(&mut self, trace: &Trace) {
        let reading = |group: &&Group| group.kind == GroupKind::AllRecord { write: false };
        for group in trace.groups.iter().filter(reading) {
            let refused = |&row: &u32| {
                let row = trace.rows.row(row as usize);
                row.op == Op::Delete && row.failed()
            };
            self.skip.extend((group.start + 1..=group.end).filter(refused));
        }
    }
}

/// The whole plan.
pub struct Schedule {
    /// By trace.
    pub traces: Vec<TracePlan>,
    /// Keys that exist before the first row.
    pub planted: Vec<Planted>,
    /// The value of each key after the last row.
    pub last_values: Vec<u32>,
}

impl Schedule {
    /// The plan that follows from an order.
    pub fn new(history: &History, explained: &mut Explained) -> Schedule {
        let merged = &mut explained.merged;
        let mut traces: Vec<TracePlan> = std::mem::take(&mut merged.waits)
            .into_iter()
            .zip(&explained.dead)
            .map(|(waits, &end)| TracePlan { waits, end, ..TracePlan::default() })
            .collect();
        for number in 0..traces.len() {
            for wait in std::mem::take(&mut traces[number].waits) {
                traces[wait.on as usize].announce.push(wait.rows);
                traces[number].waits.push(wait);
            }
        }
        for plan in &mut traces {
            plan.announce.sort_unstable();
            plan.announce.dedup();
        }
        let group = |of: &GroupOf| history.traces[of.trace as usize].groups[of.group as usize];
        for of in &merged.splits {
            traces[of.trace as usize].split.insert(group(of).start);
        }
        for of in &merged.turned {
            traces[of.trace as usize].turned.insert(group(of).start);
        }
        for of in &merged.unwalked {
            traces[of.trace as usize].unwalked.insert(of.row);
        }
        for of in &merged.given_up {
            traces[of.trace as usize].leave_out(&group(of));
        }
        for (plan, trace) in traces.iter_mut().zip(&history.traces) {
            trace.groups.iter().filter(|group| !group.taken).for_each(|group| plan.leave_out(group));
            plan.skip_refused_deletes(trace);
        }
        Schedule {
            traces,
            planted: std::mem::take(&mut explained.planted),
            last_values: std::mem::take(&mut merged.last_values),
        }
    }
}
