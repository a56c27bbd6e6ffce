//! Which operations may be left out together without making a lie of those that stay.
//!
//! Owns the rule that makes a reduction honest. If an operation that stays needs a value, everything that ever writes
//! this value to the key stays too (likewise "exists" and "does not exist"). Then, if the whole has an order, the part
//! has the same one: what wrote last before an operation in the whole has also written last before it in the part. So
//! a part without an order proves that the whole has none, whatever else is in it.

use hashbrown::HashMap;

use super::reduce::Atom;
use crate::order::units::{ANYTHING, KEEP, PRESENT, meaning};
use crate::trace::History;
use crate::trace::columns::{ABSENT, ABSENT_OR_EMPTY, EMPTY};
use crate::trace::op::Op;

/// Who needs what, and who provides it. A *state* is a key and a value, "present" or "absent or empty".
pub struct Support {
    /// For each state, the atoms that need it.
    needed_by: Vec<Vec<u32>>,
    /// For each atom, the states that it writes.
    provides: Vec<Vec<u32>>,
}

impl Support {
    /// What the atoms of `base` need of each other.
    pub fn of(base: &History, atoms: &[Atom]) -> Support {
        let mut support = Support {
            needed_by: Vec::new(),
            provides: vec![Vec::new(); atoms.len()],
        };
        let mut states: HashMap<(u32, u32), u32> = HashMap::new();
        for (number, atom) in (0..).zip(atoms) {
            for meaning in atom
                .rows
                .iter()
                .filter_map(|&row| meaning(base.traces[atom.trace].rows.row(row), false))
            {
                if meaning.need == ANYTHING {
                    continue;
                }
                let state = *states.entry((meaning.key, meaning.need)).or_insert_with(|| {
                    support.needed_by.push(Vec::new());
                    support.needed_by.len() as u32 - 1
                });
                support.needed_by[state as usize].push(number);
            }
        }
        let gone: Vec<u32> = states
            .iter()
            .filter(|((_, value), _)| matches!(*value, ABSENT | ABSENT_OR_EMPTY))
            .map(|(_, state)| *state)
            .collect();
        for (atom, provides) in atoms.iter().zip(&mut support.provides) {
            for &row in &atom.rows {
                let row = base.traces[atom.trace].rows.row(row);
                if row.op == Op::WipeAll {
                    provides.extend_from_slice(&gone);
                }
                let Some(meaning) = meaning(row, false).filter(|meaning| meaning.effect != KEEP) else {
                    continue;
                };
                for value in values(meaning.effect) {
                    provides.extend(states.get(&(meaning.key, value)));
                }
            }
        }
        support
    }

    /// Marks everything that cannot stay once what is marked in `gone` is not there.
    pub fn spread(&self, gone: &mut [bool]) {
        let mut broken = vec![false; self.needed_by.len()];
        let mut work: Vec<u32> = (0..)
            .zip(&*gone)
            .filter(|(_, gone)| **gone)
            .map(|(atom, _)| atom)
            .collect();
        while let Some(atom) = work.pop() {
            for &state in &self.provides[atom as usize] {
                if std::mem::replace(&mut broken[state as usize], true) {
                    continue;
                }
                for &needing in &self.needed_by[state as usize] {
                    if !std::mem::replace(&mut gone[needing as usize], true) {
                        work.push(needing);
                    }
                }
            }
        }
    }
}

/// The needs that a value meets.
fn values(effect: u32) -> impl Iterator<Item = u32> {
    let present = (effect != ABSENT).then_some(PRESENT);
    let nothing = matches!(effect, ABSENT | EMPTY).then_some(ABSENT_OR_EMPTY);
    [Some(effect), present, nothing].into_iter().flatten()
}
