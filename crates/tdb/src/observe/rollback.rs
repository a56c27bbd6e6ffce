//! Telling of a rollback inside a transaction, for which observers have no operation.
//!
//! It is told as changes that lead to the same records: each key that was changed after the savepoint is stored as it was,
//! or deleted. The sequence number goes on with them instead of going back, so that what is told stays in its order.
//! Owns the list of what was changed since the oldest savepoint; without a savepoint nothing is kept.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::{Moment, Operation, Stopped, When};
use crate::error::ReadError;
use crate::file::bytes::Bytes;
use crate::file::format::SEQNUM_AT;
use crate::table::Table;
use crate::table::records::StoreMode;
use crate::table::traverse::{Batch, Copying};

/// What was changed in the open transaction since its oldest savepoint.
#[derive(Default)]
pub(super) struct ChangedKeys {
    changed: RefCell<Vec<Changed>>,
    /// The savepoints that can be gone back to, by number, and how many changes came before each.
    points: RefCell<Vec<(u64, usize)>>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Changed {
    Key(Vec<u8>),
    /// All records were deleted.
    Everything,
}

impl ChangedKeys {
    fn note(&self, changed: impl FnOnce() -> Changed) {
        if !self.points.borrow().is_empty() {
            self.changed.borrow_mut().push(changed());
        }
    }

    /// The transaction has ended.
    pub(super) fn clear(&self) {
        self.changed.borrow_mut().clear();
        self.points.borrow_mut().clear();
    }

    /// How many changes came before a savepoint.
    fn before(&self, serial: u64) -> Option<usize> {
        self.points.borrow().iter().find(|point| point.0 == serial).map(|point| point.1)
    }

    fn forget_after(&self, serial: u64) {
        let Some(before) = self.before(serial) else { return };
        self.changed.borrow_mut().truncate(before);
        let mut points = self.points.borrow_mut();
        if let Some(nth) = points.iter().position(|point| point.0 == serial) {
            points.truncate(nth + 1);
        }
    }

    fn remove_point(&self, serial: u64) {
        let mut points = self.points.borrow_mut();
        if let Some(nth) = points.iter().position(|point| point.0 == serial) {
            points.truncate(nth);
        }
        if points.is_empty() {
            self.changed.borrow_mut().clear();
        }
    }
}

/// A rollback that is about to be made.
pub(crate) struct Rollback {
    called: Moment,
    serial: u64,
    /// The sequence number before it.
    number: u32,
    /// The keys whose records it may change, and whether they are there before it.
    keys: Vec<(Vec<u8>, bool)>,
}

impl<B: Bytes> Table<'_, B> {
    /// A key was changed.
    #[inline]
    pub(super) fn note_changed_key(&self, key: &[u8]) {
        if let Some(observed) = &self.core.observed
            && self.core.locks.in_transaction()
        {
            observed.changed_keys.note(|| Changed::Key(key.to_vec()));
        }
    }

    /// All records were deleted.
    pub(super) fn note_wiped(&self) {
        if let Some(observed) = &self.core.observed
            && self.core.locks.in_transaction()
        {
            observed.changed_keys.note(|| Changed::Everything);
        }
    }

    /// A savepoint was made.
    pub(crate) fn note_savepoint(&self, serial: u64) {
        if let Some(observed) = &self.core.observed
            && observed.is_active()
        {
            let before = observed.changed_keys.changed.borrow().len();
            observed.changed_keys.points.borrow_mut().push((serial, before));
        }
    }

    /// A savepoint and later ones were given up, and the changes stay.
    pub(crate) fn note_no_savepoint(&self, serial: u64) {
        if let Some(observed) = &self.core.observed {
            observed.changed_keys.remove_point(serial);
        }
    }

    /// What comes after a savepoint is about to be undone; nothing if nobody is told.
    pub(crate) fn before_rollback(&self, serial: u64) -> Option<Rollback> {
        let called = self.called()?;
        let observed = self.core.observed.as_ref()?;
        let before = observed.changed_keys.before(serial)?;
        let keys = self.keys_to_roll_back(&observed.changed_keys.changed.borrow()[before..]);
        let number = self.space.word(SEQNUM_AT).map_err(ReadError::from);
        match number.and_then(|number| Ok((number, keys?))) {
            Ok((number, keys)) => Some(Rollback { called, serial, number, keys }),
            Err(error) => {
                self.cannot_tell(&error);
                None
            }
        }
    }

    /// The keys, with whether they are there at present.
    fn keys_to_roll_back(&self, changed: &[Changed]) -> Result<Vec<(Vec<u8>, bool)>, ReadError> {
        let mut keys: BTreeSet<Vec<u8>> = BTreeSet::new();
        for changed in changed {
            match changed {
                Changed::Key(key) => drop(keys.insert(key.clone())),
                Changed::Everything => keys.extend(self.all_keys()?),
            }
        }
        let there = |key: Vec<u8>| self.is_there(&key).map(|there| (key, there));
        keys.into_iter().map(there).collect()
    }

    fn all_keys(&self) -> Result<Vec<Vec<u8>>, ReadError> {
        let mut batch = Batch::default();
        let mut keys = Vec::new();
        for chain in 0..self.core.hash_size {
            self.copy_chain(chain, None, Copying::Keys, &mut batch)?;
            keys.extend(batch.keys().map(<[u8]>::to_vec));
        }
        Ok(keys)
    }

    /// It was undone.
    pub(crate) fn after_rollback(&self, rollback: Option<Rollback>) {
        let (Some(rollback), Some(observed)) = (rollback, &self.core.observed) else {
            return;
        };
        let wiped = observed.changed_keys.before(rollback.serial).is_some_and(|before| {
            observed.changed_keys.changed.borrow()[before..].contains(&Changed::Everything)
        });
        observed.changed_keys.forget_after(rollback.serial);
        if let Err(error) = self.tell_rollback(rollback, wiped) {
            self.cannot_tell(&error);
        }
    }

    fn tell_rollback(&self, rollback: Rollback, wiped: bool) -> Result<(), ReadError> {
        let Rollback { called, number, mut keys, .. } = rollback;
        if wiped {
            // What was deleted with everything is there again, and was not found by looking before.
            let known: BTreeSet<Vec<u8>> = keys.iter().map(|(key, _)| key.clone()).collect();
            let all = self.all_keys()?.into_iter();
            keys.extend(all.filter(|key| !known.contains(key)).map(|key| (key, false)));
        }
        self.space.set_word(SEQNUM_AT, number)?;
        for (key, was_there) in keys {
            let value = self.untold_value(&key)?;
            let parts = [value.as_deref().unwrap_or_default()];
            let operation = if value.is_some() {
                Operation::Store { key: &key, parts: &parts, mode: StoreMode::Replace, done: true }
            } else if was_there {
                Operation::Delete { key: &key, done: true }
            } else {
                continue;
            };
            self.add_to_seqnum()?;
            self.tell(Some(called), When::Under, Some(operation));
        }
        Ok(())
    }

    /// A rollback that cannot be told of is the end of what can be told.
    fn cannot_tell(&self, error: &ReadError) {
        if let Some(observed) = &self.core.observed {
            let why = format!("a rollback cannot be told of, disbelieve the transaction's end: {error}");
            self.stop_observing(observed, &Stopped { why });
        }
    }
}
