//! One step of a problem: what is done at one moment.
//!
//! Owns the cells that a step can be entered in and ends in. It knows neither the other steps nor who compiled it.

use crate::action::{KEEP, NEVER};
use crate::register::Unit;

/// No alternative form.
pub(super) const NONE: u32 = u32::MAX;

/// One atomic step: a unit, or a joined group of units.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// The first cell in which it can be entered.
    pub opens: u64,
    /// The cell in which it ends when entered as early as possible.
    pub earliest: u64,
    /// The last cell in which it can be entered.
    pub limit: u64,
    /// The last cell in which the process must have got here: later and it, or one behind it, is late.
    pub deadline: u64,
    /// Up to this cell waiting costs nothing: like `deadline`, but counting what may be dropped, too.
    pub patience: u64,
    /// What it needs (a code, local values).
    pub need: u32,
    /// What it leaves (a code, local values).
    pub effect: u32,
    /// When it should be done, for choosing only.
    pub hint: u64,
    /// First of its units.
    pub first: u32,
    /// One past the last of its units.
    pub end: u32,
    /// Its other form, in which its uncertain units did not happen.
    pub alternative: u32,
    /// It, or a unit of it, takes an odd cell.
    pub advances: bool,
    /// Cells that it takes besides, where every advancing unit takes one of its own: up to the even one after the last.
    pub beyond: u64,
}

impl Step {
    /// It reads only: nothing is left, no cell is taken.
    #[inline]
    pub fn only_reads(&self) -> bool {
        self.effect == KEEP && !self.advances
    }

    /// The cell after it, entered at `cell`.
    #[inline]
    pub fn after(&self, cell: u64) -> u64 {
        (cell | u64::from(self.advances)).saturating_add(self.beyond).max(self.earliest)
    }

    /// Lets it go on through the window of `unit`.
    pub fn pass(&mut self, unit: &Unit, apart: bool) {
        if self.limit == u64::MAX && self.earliest == 0 {
            self.opens = unit.window.earliest | u64::from(unit.advances);
        }
        self.advances |= unit.advances;
        self.earliest =
            (self.earliest | u64::from(unit.advances)).max(unit.window.earliest | u64::from(unit.advances));
        if self.earliest > unit.window.latest {
            self.need = NEVER;
        }
        let taken_before = self.beyond + u64::from(self.beyond > 0 && unit.advances);
        // Entered at an even cell, a step that has advanced by now is one cell further.
        self.limit = self.limit.min(even_out(unit.window.latest.saturating_sub(taken_before), self.advances));
        if apart && unit.advances {
            self.earliest += 1;
            self.beyond = taken_before + 1;
        }
    }
}

/// The last cell that something which takes an odd cell can be entered at.
pub(super) fn even_out(cell: u64, advances: bool) -> u64 {
    if advances && cell.is_multiple_of(2) { cell.saturating_sub(1) } else { cell }
}
