//! What of a part is to be believed once something else was left out.
//!
//! Owns the rule that makes a reduction honest. If an operation of the part needs a value, and something that writes
//! this value to the key was left out, then its need is not held against the part (likewise "exists" and "does not
//! exist"). Then, if the whole has an order, the part has the same one: what wrote last in the whole before an
//! operation that is believed has also written last before it in the part. So a part without an order proves that the
//! whole has none, whatever else is in it.

use hashbrown::{HashMap, HashSet};
use history::action::{ABSENT_OR_EMPTY, ANYTHING, PRESENT};

use super::atoms::Atom;
use crate::order::meaning::meaning;
use crate::stat::keys::changes;
use crate::trace::History;
use crate::trace::columns::{ABSENT, EMPTY, Row};
use crate::trace::op::Op;

/// Who needs what, and who provides it. A *state* is a key and a value, "present" or "absent or empty".
pub struct Support {
    needed_by: Vec<Vec<Needing>>,
    /// For each atom, the states that it writes.
    provides: Vec<Vec<u32>>,
}

/// A row that needs a state.
#[derive(Clone, Copy)]
struct Needing {
    atom: u32,
    trace: usize,
    row: usize,
    /// It may not have taken effect, so it cannot be made to.
    conditional: bool,
}

impl Support {
    /// What the atoms of `base` need of each other.
    pub fn of(base: &History, atoms: &[Atom]) -> Support {
        let mut support = Support { needed_by: Vec::new(), provides: vec![Vec::new(); atoms.len()] };
        let mut states: HashMap<(u32, u32), u32> = HashMap::new();
        for (number, atom) in (0..).zip(atoms) {
            for &index in &atom.rows {
                let row = base.traces[atom.trace].rows.row(index);
                let Some(meaning) = meaning(row, false).filter(|meaning| meaning.action.need != ANYTHING)
                else {
                    continue;
                };
                let state = *states.entry((meaning.key, meaning.action.need)).or_insert_with(|| {
                    support.needed_by.push(Vec::new());
                    support.needed_by.len() as u32 - 1
                });
                let conditional = row.op == Op::Storev;
                let needing = Needing { atom: number, trace: atom.trace, row: index, conditional };
                support.needed_by[state as usize].push(needing);
            }
        }
        let nothing = |value: u32| matches!(value, ABSENT | ABSENT_OR_EMPTY);
        let wiped: Vec<u32> =
            states.iter().filter(|((_, value), _)| nothing(*value)).map(|(_, state)| *state).collect();
        for (atom, provides) in atoms.iter().zip(&mut support.provides) {
            for &row in &atom.rows {
                let row = base.traces[atom.trace].rows.row(row);
                if row.op == Op::WipeAll {
                    provides.extend_from_slice(&wiped);
                }
                let Some(meaning) = meaning(row, false).filter(|meaning| !meaning.action.keeps()) else {
                    continue;
                };
                for value in values(meaning.action.effect) {
                    provides.extend(states.get(&(meaning.key, value)));
                }
            }
        }
        support
    }

    /// The rows (of a trace, with a number) that are not to be believed when what is marked in `gone` is not there.
    /// Marks what has to go with that.
    pub fn doubted(&self, gone: &mut [bool]) -> HashSet<(usize, usize)> {
        let mut doubted = HashSet::new();
        let mut broken = vec![false; self.needed_by.len()];
        let mut work: Vec<u32> = (0..).zip(&*gone).filter(|(_, gone)| **gone).map(|(atom, _)| atom).collect();
        while let Some(atom) = work.pop() {
            for &state in &self.provides[atom as usize] {
                if std::mem::replace(&mut broken[state as usize], true) {
                    continue;
                }
                for needing in &self.needed_by[state as usize] {
                    let atom = &mut gone[needing.atom as usize];
                    if needing.conditional && !*atom {
                        *atom = true;
                        work.push(needing.atom);
                    } else if !*atom {
                        doubted.insert((needing.trace, needing.row));
                    }
                }
            }
        }
        doubted
    }
}

/// The needs that a value meets.
fn values(effect: u32) -> impl Iterator<Item = u32> {
    let present = (effect != ABSENT).then_some(PRESENT);
    let nothing = matches!(effect, ABSENT | EMPTY).then_some(ABSENT_OR_EMPTY);
    [Some(effect), present, nothing].into_iter().flatten()
}

/// The row that has the effect of `row` and needs nothing; none if it has no effect.
pub fn weakened(row: Row) -> Option<Row> {
    match row.op {
        _ if !changes(row) => None,
        Op::Delete => Some(Row { b: 1, ..row }),
        Op::Append => Some(Row { op: Op::Store, a: row.b, b: 0, ..row }),
        _ => Some(Row { b: 0, ..row }),
    }
}
