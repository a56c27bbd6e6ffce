//! A database in memory: a slot for each key of the history.
//!
//! Owns the slots. There are no locks beyond the one around each slot, since the schedule already keeps apart what
//! excludes each other; a schedule that did not would show here as mismatches. A transaction's changes stay in its
//! session until the commit.

use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::{Answer, Engine, EngineError, Key, Session, StoreMode, Visit};
use crate::prefetch;
use crate::trace::intern::Keys;
use crate::trace::{History, Trace};

/// Most values are short: they lie in their slots, and a look is one wait for memory.
type Value = SmallVec<[u8; SHORT]>;
const SHORT: usize = 40;

/// A key's value, in a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Slot(Mutex<Option<Value>>);

const _: () = assert!(size_of::<Slot>() == 64, "a slot is one cache line");

/// The database.
pub struct Memory<'a> {
    keys: &'a Keys,
    slots: Vec<Slot>,
}

impl<'a> Memory<'a> {
    /// An empty database with room for the keys of `history`.
    pub fn new(history: &'a History) -> Memory<'a> {
        let keys = &history.records.keys;
        Memory { keys, slots: (0..keys.len()).map(|_| Slot::default()).collect() }
    }

    fn slot(&self, id: u32) -> MutexGuard<'_, Option<Value>> {
        // A worker that panicked is reported as such; the value it left is as good as any.
        self.slots[id as usize].0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for Memory<'_> {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn session(&self, _trace: &Trace) -> Result<Box<dyn Session + '_>, EngineError> {
        Ok(Box::new(MemorySession { database: self, transaction: None, scratch: Vec::new() }))
    }
}

struct MemorySession<'a> {
    database: &'a Memory<'a>,
    /// What the open transaction changed.
    transaction: Option<HashMap<u32, Option<Value>>>,
    scratch: Vec<u8>,
}

impl MemorySession<'_> {
    /// Calls `look` with the value as this session sees it.
    fn look<T>(&self, id: u32, look: impl FnOnce(Option<&Value>) -> T) -> T {
        match self.transaction.as_ref().and_then(|changes| changes.get(&id)) {
            Some(changed) => look(changed.as_ref()),
            None => look(self.database.slot(id).as_ref()),
        }
    }

    fn change<T>(&mut self, id: u32, change: impl FnOnce(&mut Option<Value>) -> T) -> T {
        let database = self.database;
        match &mut self.transaction {
            Some(changes) => change(changes.entry(id).or_insert_with(|| database.slot(id).clone())),
            None => change(&mut database.slot(id)),
        }
    }

    fn from(&self, first: u32, key: &mut Vec<u8>) -> bool {
        let found =
            (first..self.database.slots.len() as u32).find(|&id| self.look(id, |value| value.is_some()));
        if let Some(id) = found {
            key.clear();
            key.extend_from_slice(self.database.keys.bytes(id));
        }
        found.is_some()
    }
}

fn replace(slot: &mut Option<Value>, value: &[u8]) {
    let room = slot.get_or_insert_default();
    room.clear();
    room.extend_from_slice(value);
}

impl Session for MemorySession<'_> {
    fn foresee(&self, key: Key<'_>) {
        prefetch::element(&self.database.slots, key.id as usize);
    }

    fn approach(&self, _: Key<'_>) {}

    fn fetch(&mut self, key: Key<'_>, value: &mut Vec<u8>) -> Answer<bool> {
        value.clear();
        Ok(self.look(key.id, |found| found.map(|found| value.extend_from_slice(found)).is_some()))
    }

    fn exists(&mut self, key: Key<'_>) -> Answer<bool> {
        Ok(self.look(key.id, |found| found.is_some()))
    }

    fn store(&mut self, key: Key<'_>, value: &[u8], mode: StoreMode) -> Answer<bool> {
        Ok(self.change(key.id, |slot| {
            let allowed = match mode {
                StoreMode::Replace => true,
                StoreMode::Insert => slot.is_none(),
                StoreMode::Modify => slot.is_some(),
            };
            if allowed {
                replace(slot, value);
            }
            allowed
        }))
    }

    fn append(&mut self, key: Key<'_>, more: &[u8]) -> Answer<()> {
        self.change(key.id, |slot| slot.get_or_insert_default().extend_from_slice(more));
        Ok(())
    }

    fn delete(&mut self, key: Key<'_>) -> Answer<bool> {
        Ok(self.change(key.id, |slot| slot.take().is_some()))
    }

    fn wipe_all(&mut self) -> Answer<()> {
        for id in 0..self.database.slots.len() as u32 {
            self.change(id, |slot| *slot = None);
        }
        Ok(())
    }

    fn lock_chain(&mut self, _key: Key<'_>, _write: bool) -> Answer<()> {
        Ok(())
    }

    fn unlock_chain(&mut self, _key: Key<'_>, _write: bool) -> Answer<()> {
        Ok(())
    }

    fn lock_all(&mut self, _write: bool) -> Answer<()> {
        Ok(())
    }

    fn unlock_all(&mut self, _write: bool) -> Answer<()> {
        Ok(())
    }

    fn start_transaction(&mut self) -> Answer<()> {
        self.transaction = Some(HashMap::new());
        Ok(())
    }

    fn prepare_commit(&mut self) -> Answer<()> {
        Ok(())
    }

    fn commit(&mut self) -> Answer<()> {
        for (id, value) in self.transaction.take().into_iter().flatten() {
            *self.database.slot(id) = value;
        }
        Ok(())
    }

    fn cancel(&mut self) -> Answer<()> {
        self.transaction = None;
        Ok(())
    }

    fn traverse(&mut self, _write: bool, visit: Visit<'_>) -> Answer<u64> {
        let mut shown = 0;
        let database = self.database;
        let mut value = std::mem::take(&mut self.scratch);
        for id in 0..database.slots.len() as u32 {
            value.clear();
            if !self.look(id, |found| found.map(|found| value.extend_from_slice(found)).is_some()) {
                continue;
            }
            shown += 1;
            if visit(self, database.keys.bytes(id), &value) == ControlFlow::Break(()) {
                break;
            }
        }
        self.scratch = value;
        Ok(shown)
    }

    fn first_key(&mut self, key: &mut Vec<u8>) -> Answer<bool> {
        Ok(self.from(0, key))
    }

    fn next_key(&mut self, after: Key<'_>, key: &mut Vec<u8>) -> Answer<bool> {
        Ok(self.from(after.id + 1, key))
    }
}
