//! Linearizability of each key, from the times of the extended form.
//!
//! Owns the windows: an operation happened between its call and its answer, a transaction between the call of its
//! start and the answer of its end, an operation without times at any time. Cells are twice the nanoseconds.

use history::register::{Unit, Window};
use history::solver::{Limits, Method, Rules, Solver, Windows};
use serde::Serialize;

use crate::order::solve::{contradiction, divide, problem_of};
use crate::order::units::Units;
use crate::trace::History;
use crate::trace::chain::Hashing;
use crate::verdict::{Contradiction, Kind};

/// What the times of a history say.
#[derive(Debug)]
pub struct Timed {
    /// What it took.
    pub effort: TimedEffort,
    /// Keys that are not linearizable, and keys of which it is not known.
    pub conflicts: Vec<Contradiction>,
}

/// What the search took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TimedEffort {
    /// Keys with operations.
    pub keys: u32,
    /// Keys whose times left no choice.
    pub no_choice: u32,
    /// Keys where choices were taken back.
    pub searched: u32,
    /// States that all searches visited.
    pub states: u64,
    /// Operations without times.
    pub without_times: u64,
}

impl Timed {
    /// Checks every key of `history`; from row `dead[t]` on trace `t` says nothing.
    pub fn of(history: &History, dead: &[u32], limits: Limits) -> Timed {
        let chains = Hashing::recorded(history).chains(history);
        let units = Units::build(history, &chains, dead);
        let (by_key, starts) = divide(&units, chains.len());
        let rules = Rules { windows: Windows::Require, limits, ..Rules::default() };
        let mut timed = Timed { effort: TimedEffort::default(), conflicts: Vec::new() };
        let mut solver = Solver::new();
        let mut problem = Vec::new();
        for (key, range) in (0u32..).zip(starts.windows(2)) {
            let ids = &by_key[range[0] as usize..range[1] as usize];
            if ids.is_empty() {
                continue;
            }
            timed.compile(history, &units, ids, &mut problem);
            timed.effort.keys += 1;
            match solver.solve(&problem, &rules) {
                Ok(order) => {
                    timed.effort.states += order.effort.states;
                    timed.effort.no_choice += u32::from(order.effort.method == Method::Forced);
                    timed.effort.searched += u32::from(order.effort.method == Method::Search);
                }
                Err(failure) => {
                    timed.conflicts.push(contradiction(Kind::Times, key, failure, &problem, &units));
                }
            }
        }
        timed
    }

    fn compile(&mut self, history: &History, units: &Units, ids: &[u32], problem: &mut Vec<Unit>) {
        problem_of(units, ids, problem);
        for unit in problem {
            let row = &units.rows[unit.id as usize];
            let times = times(history, usize::from(row.trace), row.row as usize);
            self.effort.without_times += u64::from(times.is_none());
            (unit.window, unit.advances) = (times.unwrap_or(Window::ANYWHERE), false);
        }
    }
}

/// Between which cells a row, or the transaction that starts there, happened.
fn times(history: &History, trace: usize, row: usize) -> Option<Window> {
    let trace = &history.traces[trace];
    let first = trace.rows.stamp(row)?;
    let mut latest = first.end_ns();
    let at = trace.groups.partition_point(|group| (group.start as usize) < row);
    let starting = trace.groups[at..].iter().take_while(|group| group.start as usize == row);
    for group in starting.filter(|group| group.is_transaction()) {
        // One that its process left open ended with the process.
        latest = if group.open { u64::MAX / 2 } else { trace.rows.stamp(group.end as usize)?.end_ns() };
    }
    Some(Window { earliest: 2 * first.start_ns, latest: 2 * latest })
}
