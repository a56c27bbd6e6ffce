//! From an impossible set of units to a smallest one.
//!
//! Owns the order of attempts, which is fixed, so that the same history gives the same contradiction: a window around
//! the place where the search was stuck, doubled until it is impossible, then halves, quarters and at last single
//! units left out while the rest stays impossible.
//!
//! All tests of one solver share its patience (`Solver::patience`), so a contradiction of a large history is named after seconds, with more
//! units than it needs if there was no time to find out.

use super::{Limits, Rules, Settled, Solver};
use crate::contradiction::after_forgetting;
use crate::register::Unit;

/// A test of a subset may visit this many states: shrinking asks for small sets, which need few.
const STATES: u64 = 20_000;
/// The first window holds so many units on either side.
const FIRST_RADIUS: usize = 16;

/// Shrinks one key's units.
pub(super) struct Shrinker<'a> {
    units: &'a [Unit],
    rules: Rules,
    solver: &'a mut Solver,
    /// A test was not settled within the bound.
    unsettled: bool,
}

impl<'a> Shrinker<'a> {
    pub fn new(units: &'a [Unit], rules: &Rules, solver: &'a mut Solver) -> Self {
        let limits = Limits { states: STATES.min(rules.limits.states) };
        Shrinker { units, rules: Rules { limits, ..*rules }, solver, unsettled: false }
    }

    /// Whether the kept units (ascending indexes) are impossible though all others are forgotten.
    pub fn is_impossible(&mut self, kept: &[u32]) -> bool {
        if self.solver.patience == 0 {
            self.unsettled = true;
            return false;
        }
        let left = after_forgetting(self.units, kept);
        let (settled, work) = self.solver.settle(&left, &self.rules);
        self.solver.patience = self.solver.patience.saturating_sub(work + self.units.len() as u64);
        match settled {
            Settled::Possible => false,
            Settled::Impossible => true,
            Settled::Unknown => {
                self.unsettled = true;
                false
            }
        }
    }

    /// The smallest window around `cell` that is impossible by itself, if one is.
    pub fn around(&mut self, cell: u64) -> Option<Vec<u32>> {
        let mut by_time: Vec<u32> = (0..self.units.len() as u32).collect();
        by_time.sort_by_key(|&index| self.units[index as usize].window.latest);
        let at = by_time.partition_point(|&index| self.units[index as usize].window.latest < cell);
        let mut radius = FIRST_RADIUS;
        loop {
            let (from, to) = (at.saturating_sub(radius), (at + radius).min(by_time.len()));
            let mut kept = by_time[from..to].to_vec();
            kept.sort_unstable();
            if self.is_impossible(&kept) {
                return Some(kept);
            }
            if from == 0 && to == by_time.len() {
                return None;
            }
            radius *= 4;
        }
    }

    /// Leaves out of an impossible set whatever can be left out; whether the result is known to be minimal.
    pub fn shrink(mut self, mut kept: Vec<u32>) -> (Vec<u32>, bool) {
        self.unsettled = false;
        let mut chunk = kept.len().div_ceil(2);
        while chunk > 0 {
            let mut from = 0;
            while from < kept.len() {
                let to = (from + chunk).min(kept.len());
                let rest: Vec<u32> = kept[..from].iter().chain(&kept[to..]).copied().collect();
                if !rest.is_empty() && self.is_impossible(&rest) {
                    kept = rest;
                } else {
                    from = to;
                }
            }
            // Only the last round decides whether a unit can be left out by itself.
            if chunk > 1 {
                self.unsettled = false;
            }
            chunk /= 2;
        }
        (kept, !self.unsettled)
    }
}
