//! What a transaction makes of the keys that it touches.
//!
//! Owns the joining of a transaction's operations, key by key, to one action, and with it the results that exclude each
//! other. A conditional `tdb_storev` leaves more than one answer open.

use hashbrown::HashMap;
use history::action::{ANYTHING, Action};
use smallvec::{SmallVec, smallvec};

use super::meaning::{Meaning, refusal};
use crate::trace::columns::ABSENT;

/// A key whose records are all gone.
pub(super) const WIPED: Action = Action { need: ANYTHING, effect: ABSENT };

/// What the operations of a transaction on one key come to. Whether a conditional `tdb_storev` took effect is not
/// recorded, so there may be several answers; the first is that each did.
pub(super) struct Worlds(SmallVec<[Action; 1]>);

impl Worlds {
    pub(super) fn first(&self) -> Action {
        self.0.first().copied().unwrap_or(Action::NOTHING)
    }

    pub(super) fn is_uncertain(&self) -> bool {
        self.0.len() > 1
    }

    pub(super) fn act(&mut self, action: Action) {
        self.0.iter_mut().for_each(|world| *world = world.then(action));
    }

    /// False when no world is left, for the first time.
    fn add(&mut self, meaning: &Meaning) -> bool {
        // Once one has gone either way its key is known to be there or not, and so the next ones go but one way.
        if meaning.is_uncertain() {
            let other = refusal(meaning.action);
            let others: SmallVec<[Action; 1]> = self.0.iter().map(|world| world.then(other)).collect();
            self.act(meaning.action);
            self.0.extend(others);
        } else {
            self.act(meaning.action);
        }
        let before = self.0.len();
        self.0.retain(|world| !world.is_contradiction());
        before == 0 || !self.0.is_empty()
    }
}

#[derive(Default)]
pub(super) struct Touched {
    pub(super) states: HashMap<u32, Worlds>,
    pub(super) order: Vec<u32>,
    pub(super) wiped: bool,
}

impl Touched {
    /// False when what the transaction said of the key before makes this impossible.
    pub(super) fn add(&mut self, meaning: &Meaning) -> bool {
        let start = if self.wiped { WIPED } else { Action::NOTHING };
        let worlds = self.states.entry(meaning.key).or_insert_with(|| {
            self.order.push(meaning.key);
            Worlds(smallvec![start])
        });
        worlds.add(meaning)
    }
}
