//! From a history without an order to a small one that still has none.
//!
//! Owns the search for what can be left out: all keys but one, then whole traces, then ever smaller runs of
//! operations, until no single operation can go (delta debugging). Transactions go as one; locks and traversals go
//! with what is in them. An operation that needs what went is not believed any more ([`super::support`]), so that a
//! part never fails for the reason that something is missing in it. Whoever calls says what "still has none" means.

use super::Selection;
use super::atoms::{Atom, atoms};
use super::support::{Support, weakened};
use crate::stat::keys::key_of;
use crate::trace::History;

/// What a history was found to be.
pub enum Judged {
    /// It has an order, or nobody knows.
    Fine,
    /// It has none; these keys are suspected.
    Fails {
        /// Keys without an order.
        keys: Vec<u32>,
    },
}

/// What was left.
#[derive(Debug)]
pub struct Reduced {
    /// The rows of the history that still fail together, completed.
    pub selection: Selection,
    /// How many operations that is; ends of groups are not counted.
    pub operations: usize,
    /// How many parts were judged.
    pub tries: u32,
    /// No single operation can be left out; false when the tries were used up before.
    pub minimal: bool,
}

struct Work<'a> {
    base: History,
    atoms: Vec<Atom>,
    support: Support,
    judge: &'a mut dyn FnMut(&History) -> Judged,
    tries: u32,
    most_tries: u32,
}

/// Reduces `history`, judging at most `most_tries` parts; none if `judge` finds the whole fine.
pub fn reduce(
    history: &History,
    most_tries: u32,
    judge: &mut dyn FnMut(&History) -> Judged,
) -> Option<Reduced> {
    let Judged::Fails { keys } = judge(history) else {
        return None;
    };
    let mut tries = 1;
    let whole = beginning(history, &keys, &mut tries, judge);
    let base = history.restricted(&whole.keep).ok()?;
    let atoms = atoms(&base);
    let support = Support::of(&base, &atoms);
    let mut work = Work { atoms, support, base, judge, tries, most_tries };
    let mut kept: Vec<usize> = (0..work.atoms.len()).collect();
    work.drop_traces(&mut kept);
    let minimal = work.drop_runs(&mut kept);
    let selection = work.in_whole(history, &whole, &kept);
    Some(Reduced { selection, operations: kept.len(), tries: work.tries, minimal })
}

/// One suspected key, if that alone fails; otherwise everything.
fn beginning(
    history: &History,
    keys: &[u32],
    tries: &mut u32,
    judge: &mut dyn FnMut(&History) -> Judged,
) -> Selection {
    const MOST_KEYS: usize = 8;
    for &key in keys.iter().take(MOST_KEYS) {
        let mut wanted = vec![false; history.records.keys.len()];
        wanted[key as usize] = true;
        let mut part = Selection::all(history);
        part.narrow_to_keys(history, &wanted);
        part.complete(history);
        *tries += 1;
        let failing =
            history.restricted(&part.keep).is_ok_and(|part| matches!(judge(&part), Judged::Fails { .. }));
        if failing {
            return part;
        }
    }
    Selection::all(history)
}

impl Work<'_> {
    fn selection(&self, kept: &[usize]) -> Selection {
        let mut keep: Vec<Vec<bool>> =
            self.base.traces.iter().map(|trace| vec![false; trace.rows.len()]).collect();
        for &atom in kept {
            let Atom { trace, rows } = &self.atoms[atom];
            rows.iter().for_each(|&row| keep[*trace][row] = true);
        }
        let mut selection = Selection { keep };
        selection.complete(&self.base);
        selection
    }

    fn fails(&mut self, kept: &[usize]) -> bool {
        self.tries += 1;
        let mut gone = vec![true; self.atoms.len()];
        kept.iter().for_each(|&atom| gone[atom] = false);
        let doubted = self.support.doubted(&mut gone);
        let kept: Vec<usize> = kept.iter().copied().filter(|&atom| !gone[atom]).collect();
        let mut keep = self.selection(&kept).keep;
        for &(trace, row) in &doubted {
            keep[trace][row] &= weakened(self.base.traces[trace].rows.row(row)).is_some();
        }
        let change = |trace, index, row| {
            if doubted.contains(&(trace, index)) { weakened(row).unwrap_or(row) } else { row }
        };
        let part = self.base.restricted_and(&keep, change);
        part.is_ok_and(|part| matches!((self.judge)(&part), Judged::Fails { .. }))
    }

    /// Leaves out the atoms that `leave` names if what remains still fails.
    fn drop(&mut self, kept: &mut Vec<usize>, leave: impl Fn(usize, &Atom) -> bool) -> bool {
        let staying = kept.iter().enumerate().filter(|&(place, &atom)| !leave(place, &self.atoms[atom]));
        let without: Vec<usize> = staying.map(|(_, &atom)| atom).collect();
        let smaller = without.len() < kept.len() && self.fails(&without);
        if smaller {
            *kept = without;
        }
        smaller
    }

    fn drop_traces(&mut self, kept: &mut Vec<usize>) {
        for trace in 0..self.base.traces.len() {
            if self.tries < self.most_tries {
                self.drop(kept, |_, atom| atom.trace == trace);
            }
        }
    }

    /// Drops runs of operations, half of all at first, ever shorter ones then; true when not one more can go.
    fn drop_runs(&mut self, kept: &mut Vec<usize>) -> bool {
        let mut run = kept.len().div_ceil(2);
        while run > 0 {
            let mut dropped = false;
            let mut at = 0;
            while at < kept.len() {
                if self.tries >= self.most_tries {
                    return false;
                }
                if self.drop(kept, |place, _| (at..at + run).contains(&place)) {
                    dropped = true;
                } else {
                    at += run;
                }
            }
            // What could not go may go once something else has.
            if run > 1 || !dropped {
                run /= 2;
            }
        }
        true
    }

    /// The same rows in the history that the base is a part of.
    fn in_whole(&self, history: &History, whole: &Selection, kept: &[usize]) -> Selection {
        let part = self.selection(kept);
        let mut keep = Vec::new();
        for (whole, part) in whole.keep.iter().zip(&part.keep) {
            let mut part = part.iter();
            keep.push(whole.iter().map(|&kept| kept && part.next().copied().unwrap_or(false)).collect());
        }
        let mut selection = Selection { keep };
        selection.complete(history);
        selection
    }
}

/// The keys that the rows of a history name, for a caller who suspects rows.
pub fn keys_of(history: &History, rows: &[(usize, usize)]) -> Vec<u32> {
    let mut keys: Vec<u32> =
        rows.iter().filter_map(|&(trace, row)| key_of(history.traces[trace].rows.row(row))).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}
