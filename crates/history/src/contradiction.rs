//! Why a key's units cannot be ordered.

use crate::register::Unit;
use crate::solver::Rules;

/// The few units that cannot be ordered together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// The units, as indexes into what was to be solved, with what each needs.
    pub conflicts: Vec<Conflict>,
}

/// One unit of a contradiction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Index of the unit.
    pub unit: u32,
    /// Its part in the contradiction, as text.
    pub why: String,
}

impl Contradiction {
    /// All units: not yet made small.
    pub(crate) fn of(units: &[Unit], _rules: &Rules) -> Self {
        let conflicts = (0..units.len() as u32)
            .map(|unit| Conflict {
                unit,
                why: String::new(),
            })
            .collect();
        Contradiction { conflicts }
    }
}
