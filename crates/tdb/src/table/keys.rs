//! One key after the other: the walk of a handle that has no callback.
//!
//! The keys of one chain at a time are copied; a key that this handle has deleted since is not shown.

use crate::error::{ErrorCode, ReadError};
use crate::file::bytes::Bytes;
use crate::file::format::chain_head;
use crate::observe::{Copied, Operation, When};
use crate::table::Table;
use crate::table::traverse::{Batch, Copying};

/// The place of `first_key` and `next_key`: the keys of one chain, and the one given out last.
pub(crate) struct Cursor {
    chain: u32,
    batch: Batch,
    nth: usize,
    changes: u64,
    copied: Option<Copied>,
}

impl<B: Bytes> Table<'_, B> {
    /// The first key, in no particular order; `None` if the database is empty.
    ///
    /// One such walk per handle: it begins anew here. It copies the keys of one chain at a time.
    pub fn first_key(&self) -> Result<Option<Vec<u8>>, ReadError> {
        *self.core.cursor.borrow_mut() = None;
        let called = self.called();
        let first = self.core.noted(self.key_from_chain(0));
        let operation = |found| Operation::FirstKey { found };
        let when = shown_when(&first);
        self.tell(self.since(called), when, first.as_ref().ok().map(Option::as_deref).map(operation));
        first
    }

    /// The key after `key`; `None` at the end. `key` may have been deleted meanwhile if it was the last one returned.
    pub fn next_key(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let called = self.called();
        let next = self.core.noted(self.key_after(key));
        let operation = |found| Operation::NextKey { key, found };
        let when = shown_when(&next);
        self.tell(self.since(called), when, next.as_ref().ok().map(Option::as_deref).map(operation));
        next
    }

    fn key_after(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let cursor = self.core.cursor.borrow_mut().take();
        let cursor = match cursor {
            Some(cursor) if cursor.last_key() == Some(key) => cursor,
            _ => match self.cursor_at(key)? {
                Some(cursor) => cursor,
                None => {
                    self.core.last_error.set(ErrorCode::NoSuchRecord);
                    return Ok(None);
                }
            },
        };
        let chain = cursor.chain;
        match self.step(cursor)? {
            Some(key) => Ok(Some(key)),
            None => self.key_from_chain(chain + 1),
        }
    }

    /// Where `key` is, if it is there.
    fn cursor_at(&self, key: &[u8]) -> Result<Option<Cursor>, ReadError> {
        let chain = self.core.hash.hash(key) % self.core.hash_size;
        let mut batch = Batch::default();
        let changes = self.core.changes.get();
        let called = self.called();
        self.copy_chain(chain, None, Copying::Keys, &mut batch)?;
        let copied = self.copied(called);
        let nth = batch.records.iter().position(|(place, _)| &batch.bytes[place.clone()] == key);
        Ok(nth.map(|nth| Cursor { chain, batch, nth, changes, copied }))
    }

    /// The cursor's next key on the same chain; keeps the cursor if there is one.
    fn step(&self, mut cursor: Cursor) -> Result<Option<Vec<u8>>, ReadError> {
        loop {
            cursor.nth += 1;
            let Some(key) = cursor.last_key().map(<[u8]>::to_vec) else {
                return Ok(None);
            };
            // A key that this handle has deleted since the copy is not shown.
            let fresh = cursor.changes == self.core.changes.get() && !self.is_old(cursor.copied);
            if fresh {
                self.speak_of(cursor.copied);
                self.told(&mut cursor.copied, 1);
            }
            if fresh || self.is_there(&key)? {
                *self.core.cursor.borrow_mut() = Some(cursor);
                return Ok(Some(key));
            }
        }
    }

    fn key_from_chain(&self, first: u32) -> Result<Option<Vec<u8>>, ReadError> {
        for chain in first..self.core.hash_size {
            if chain > 0 && self.space.word(chain_head(chain))? == 0 {
                continue;
            }
            let mut batch = Batch::default();
            let changes = self.core.changes.get();
            let called = self.called();
            self.copy_chain(chain, None, Copying::Keys, &mut batch)?;
            let mut copied = self.copied(called);
            if let Some((place, _)) = batch.records.first() {
                self.told(&mut copied, 1);
                let key = batch.bytes[place.clone()].to_vec();
                *self.core.cursor.borrow_mut() = Some(Cursor { chain, batch, nth: 0, changes, copied });
                return Ok(Some(key));
            }
        }
        Ok(None)
    }
}

/// A key that was found was there at the number of its chain's copy; that there is none was seen chain by chain.
fn shown_when(found: &Result<Option<Vec<u8>>, ReadError>) -> When {
    if matches!(found, Ok(Some(_))) { When::Under } else { When::Until }
}

impl Cursor {
    fn last_key(&self) -> Option<&[u8]> {
        self.batch.records.get(self.nth).map(|(place, _)| &self.batch.bytes[place.clone()])
    }
}
