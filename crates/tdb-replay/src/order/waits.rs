//! What rows have to wait for.
//!
//! Owns the waits that were found so far and what each trace knows: a dependency becomes a wait unless the waits before it
//! imply it. Also the length of the longest chain of dependencies that ends with each trace.

use std::cmp::Reverse;

use super::clock::{Clocks, Mark};
use super::conflicts::Needs;
use super::traversals::{Traversals, Waiting};

/// Before its row `row`, a trace waits until `rows` rows of trace `on` have finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The row that waits.
    pub row: u32,
    /// How many rows of the other trace must have finished.
    pub rows: u32,
    /// The other trace.
    pub on: u16,
}

/// The waits of all traces.
pub struct Waits {
    /// What each trace knows of the others.
    pub clocks: Clocks,
    /// What the event that is looked at depends on.
    pub needs: Needs,
    found: Vec<Vec<Wait>>,
    /// Length of the longest chain that ends with each trace's last row.
    depths: Vec<u32>,
    critical_path: u32,
    scratch: Vec<(u16, Mark)>,
}

impl Waits {
    /// Nobody waits.
    pub fn new(traces: usize) -> Waits {
        Waits {
            clocks: Clocks::new(traces),
            needs: Needs::new(traces),
            found: vec![Vec::new(); traces],
            depths: vec![0; traces],
            critical_path: 0,
            scratch: Vec::new(),
        }
    }

    /// Before `row`, `trace` waits for what it needs; in the callbacks of which traversals that is, they hear.
    pub fn settle(&mut self, trace: usize, row: u32, traversals: &mut Traversals) {
        self.needs.take(&mut self.scratch);
        self.open_traversals_wait(trace, row, traversals);
        // What was known before is not deeper than the trace's own rows.
        let mut depth = self.depths[trace];
        // Latest first: what the latest has seen makes earlier ones superfluous.
        self.scratch.sort_unstable_by_key(|&(_, mark)| Reverse(mark.rank));
        let mut waited = false;
        for &(on, mark) in &self.scratch {
            depth = depth.max(mark.depth);
            if self.clocks.known(trace)[on as usize] >= mark.finished {
                continue;
            }
            self.clocks.learn(trace, on as usize, mark);
            self.found[trace].push(Wait { row, rows: mark.finished, on });
            waited = true;
        }
        if waited {
            self.clocks.keep(trace);
        }
        self.depths[trace] = depth + 1;
        self.critical_path = self.critical_path.max(depth + 1);
    }

    /// If `trace` will wait before `row` for what is in `scratch`, then its traversals in whose callbacks that is come after
    /// the commits before them.
    fn open_traversals_wait(&mut self, trace: usize, row: u32, traversals: &mut Traversals) {
        let known = self.clocks.known(trace);
        if self.scratch.iter().all(|&(on, mark)| known[on as usize] >= mark.finished) {
            return;
        }
        while let Some(Waiting { first_step, commit }) = traversals.waits(trace, row) {
            let Some((on, commit)) = commit else { continue };
            if self.clocks.known(trace)[on as usize] < commit.finished {
                // Since that step it has not waited, so what it waits for there stands last.
                let waits = &mut self.found[trace];
                let there = waits.split_off(waits.partition_point(|wait| wait.row < first_step));
                let implied =
                    |wait: &Wait| wait.on == on || self.clocks.implies(commit, wait.on as usize, wait.rows);
                waits.extend(there.into_iter().filter(|wait| !implied(wait)));
                waits.push(Wait { row: first_step, rows: commit.finished, on });
                self.clocks.learn(trace, on as usize, commit);
                self.clocks.keep(trace);
                self.depths[trace] = self.depths[trace].max(commit.depth + 1);
            }
            self.clocks.let_go(commit);
        }
    }

    /// The event of `trace` that runs now, at `rank`, and ends at row `end`, as those see it who come after.
    pub fn mark(&self, trace: usize, end: u32, rank: u32) -> Mark {
        self.clocks.mark(trace, end + 1, rank, self.depths[trace])
    }

    /// The waits of each trace, how many dependencies were named, and how long their longest chain is.
    pub fn into_parts(self) -> (Vec<Vec<Wait>>, u64, u32) {
        (self.found, self.needs.named, self.critical_path)
    }
}
