//! Going through all records: traverse with a callback, and one key after the other.
//!
//! A whole chain is copied under its read lock, then the callback runs on the copy, unlocked, so it may store and
//! delete. A record that this handle changed meanwhile is looked up again before it is shown; a change by another
//! process to a chain that is being shown appears in the next traverse. A chain longer than [`BATCH_BYTES`] is
//! copied in parts: the traverse then stands on the next record (a lock on the record's own byte, as libtdb has
//! it), which keeps every process from freeing it.

use std::cell::{Cell, RefCell};
use std::ops::{ControlFlow, Range};

use crate::database::Database;
use crate::error::{AccessError, ErrorCode, ReadError};
use crate::file::format::{Offset, RECORD_HEADER, RECORD_USED, chain_head};
use crate::lock::{ChainIndex, LockByte, LockKind, Wait};
use crate::observe::{Copied, Operation, When};
use crate::table::records::value_place;

/// How much of a chain is copied at once; one longer record is still copied whole.
const BATCH_BYTES: usize = 1 << 20;

/// What traverses of this handle are under way.
#[derive(Default)]
pub(crate) struct Traverses {
    /// Those that only read: no writes meanwhile.
    pub reading: Cell<u32>,
    /// Those that may write.
    pub writing: Cell<u32>,
    /// Where `first_key` and `next_key` are.
    cursor: RefCell<Option<Cursor>>,
}

impl Traverses {
    /// Whether any is under way, the key cursor not counted.
    pub fn any(&self) -> bool {
        self.reading.get() + self.writing.get() > 0
    }
}

/// Copies of records of one chain, in chain order.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Where in `bytes` each record's key and value are.
    records: Vec<(Range<usize>, Range<usize>)>,
    /// The record to go on with.
    resume: Option<Offset>,
}

/// The place of `first_key` and `next_key`: the keys of one chain, and the one given out last.
struct Cursor {
    chain: u32,
    batch: Batch,
    nth: usize,
    changes: u64,
    copied: Option<Copied>,
}

/// Whether values are wanted, too.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Copying {
    Keys,
    Records,
}

/// Adds 1 to a counter while it lives, and gives the transaction lock back if it was taken.
struct Running<'a> {
    database: &'a Database,
    count: &'a Cell<u32>,
    locked: bool,
}

impl<'a> Running<'a> {
    fn start(database: &'a Database, count: &'a Cell<u32>, locked: bool) -> Self {
        count.set(count.get() + 1);
        Running { database, count, locked }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.count.set(self.count.get() - 1);
        if self.locked {
            self.database.unlock_byte(LockByte::Transaction);
        }
    }
}

/// Leaves a record at the end of its life.
struct Standing<'a>(&'a Database, Offset);

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.0.leave_record(self.1);
    }
}

impl Database {
    /// Calls `with` for every record, until it breaks off; returns how many it was called for.
    ///
    /// `with` may store and delete through the database it is given, and no transaction of another process commits
    /// meanwhile. Records are in no particular order; those stored meanwhile may appear or not.
    pub fn traverse(
        &self,
        with: impl FnMut(&Database, &[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<u64, ReadError> {
        if self.read_only || self.traverses.reading.get() > 0 {
            return self.traverse_read(with);
        }
        self.noted(self.traverse_for_writing(with))
    }

    fn traverse_for_writing(
        &self,
        with: impl FnMut(&Database, &[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<u64, ReadError> {
        let called = self.called();
        self.lock_byte(LockByte::Transaction, LockKind::Write, Wait::Yes)?;
        let _running = Running::start(self, &self.traverses.writing, true);
        if called.is_some() && !matches!(self.needs_recovery(), Ok(false)) {
            // Somebody died in his commit. The walk's first lock takes that back; the number on the line must not be one
            // of those that are taken back with it.
            drop(self.locked(ChainIndex::chain(0), LockKind::Read, Wait::Yes)?);
        }
        self.tell(called, When::Now, Some(Operation::TraverseStart { write: true }));
        self.walk(with)
    }

    /// Like [`Database::traverse`], for callbacks that only read: changes are refused meanwhile.
    pub fn traverse_read(
        &self,
        with: impl FnMut(&Database, &[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<u64, ReadError> {
        let _running = Running::start(self, &self.traverses.reading, false);
        self.tell(self.called(), When::Last, Some(Operation::TraverseStart { write: false }));
        self.noted(self.walk(with))
    }

    /// Calls `with` for every record of one chain, which stays locked for reading all the time.
    pub fn traverse_chain(
        &self,
        chain: u32,
        mut with: impl FnMut(&Database, &[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<u64, ReadError> {
        if chain >= self.hash_size {
            return self.noted(Err(ReadError::NoSuchChain { chain, hash_size: self.hash_size }));
        }
        let _running = Running::start(self, &self.traverses.reading, false);
        let mut run = || {
            let _chain = self.locked(ChainIndex::chain(chain), LockKind::Read, Wait::Yes)?;
            let mut count = 0;
            let _ = self.show_chain(chain, &mut Batch::default(), &mut count, &mut with, false)?;
            Ok(count)
        };
        self.noted(run())
    }

    /// Calls `with` for every record of the chain that `key` belongs to, see [`Database::traverse_chain`].
    pub fn traverse_key_chain(
        &self,
        key: &[u8],
        with: impl FnMut(&Database, &[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<u64, ReadError> {
        self.traverse_chain(self.chain_index(key), with)
    }

    fn walk(
        &self,
        mut with: impl FnMut(&Database, &[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<u64, ReadError> {
        let mut count = 0;
        let mut stopped = false;
        let walked = self.walk_chains(&mut count, &mut stopped, &mut with).map(|()| count);
        self.tell_traversed(&walked, stopped);
        walked
    }

    fn walk_chains(
        &self,
        count: &mut u64,
        stopped: &mut bool,
        with: &mut impl FnMut(&Database, &[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let mut batch = Batch::default();
        for chain in 0..self.hash_size {
            // An empty chain is empty without its lock, too: a record stored right now need not be seen. But the first
            // lock is what recovers a half-done commit, and before that nothing is to be believed.
            if chain > 0 && self.space.word(chain_head(chain))? == 0 {
                continue;
            }
            if self.show_chain(chain, &mut batch, count, with, true)?.is_break() {
                *stopped = true;
                break;
            }
        }
        Ok(())
    }

    fn show_chain(
        &self,
        chain: u32,
        batch: &mut Batch,
        count: &mut u64,
        with: &mut impl FnMut(&Database, &[u8], &[u8]) -> ControlFlow<()>,
        recorded: bool,
    ) -> Result<ControlFlow<()>, ReadError> {
        let mut from = None;
        loop {
            let upheavals = self.upheavals.get();
            let called = if recorded { self.called() } else { None };
            self.copy_chain(chain, from.as_ref().map(|Standing(_, at)| *at), Copying::Records, batch)?;
            let copied = self.copied(called);
            from = batch.resume.map(|at| Standing(self, at));
            if self.show_batch(batch, count, with, copied)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            // After a wipe the place where we stand means nothing.
            if from.is_none() || upheavals != self.upheavals.get() {
                return Ok(ControlFlow::Continue(()));
            }
        }
    }

    fn show_batch(
        &self,
        batch: &Batch,
        count: &mut u64,
        with: &mut impl FnMut(&Database, &[u8], &[u8]) -> ControlFlow<()>,
        mut copied: Option<Copied>,
    ) -> Result<ControlFlow<()>, ReadError> {
        let changes = self.changes.get();
        for (key, value) in &batch.records {
            let key = &batch.bytes[key.clone()];
            let flow = if self.changes.get() == changes && !self.is_old(copied) {
                let value = &batch.bytes[value.clone()];
                self.tell_shown(copied, key, value);
                self.told(&mut copied, 0);
                with(self, key, value)
            } else {
                let called = copied.and_then(|_| self.called());
                let Some(fresh) = self.look_up_again(key)? else {
                    continue;
                };
                self.tell_shown(self.copied(called), key, &fresh);
                with(self, key, &fresh)
            };
            *count += 1;
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The value of a key whose copy may be old.
    fn look_up_again(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let hash = self.hash.hash(key);
        let _chain = self.locked(ChainIndex::chain(self.chain_of(hash)), LockKind::Read, Wait::Yes)?;
        let Some(found) = self.find(hash, key)? else {
            return Ok(None);
        };
        let (at, len) = value_place(&found)?;
        Ok(Some(self.space.bytes(at, len)?))
    }

    /// Copies a chain's records from its head or `from` into `batch`; if it gets too long, stands on the next.
    fn copy_chain(
        &self,
        chain: u32,
        from: Option<Offset>,
        copying: Copying,
        batch: &mut Batch,
    ) -> Result<(), ReadError> {
        batch.bytes.clear();
        batch.records.clear();
        batch.resume = None;
        self.space.whole(self.copy_chain_unguarded(chain, from, copying, batch))
    }

    fn copy_chain_unguarded(
        &self,
        chain: u32,
        from: Option<Offset>,
        copying: Copying,
        batch: &mut Batch,
    ) -> Result<(), ReadError> {
        let _chain = self.locked(ChainIndex::chain(chain), LockKind::Read, Wait::Yes)?;
        let mut at = match from {
            Some(at) => at,
            None => self.space.word(chain_head(chain))?,
        };
        let mut steps = 0;
        while at != 0 {
            let record = self.space.record(at)?;
            steps += 1;
            self.must_be_on_chain(at, &record, steps)?;
            if record.magic == RECORD_USED {
                if copying == Copying::Records && batch.bytes.len() >= BATCH_BYTES {
                    self.stand_on_record(at)?;
                    batch.resume = Some(at);
                    break;
                }
                self.must_have_body(at, &record)?;
                let value_len = if copying == Copying::Keys { 0 } else { record.data_len };
                batch.add(record.key_len, value_len, |len, out| {
                    self.space.append_to(at + RECORD_HEADER, len, out)
                })?;
            }
            at = record.next;
        }
        Ok(())
    }

    /// The first key, in no particular order; `None` if the database is empty.
    ///
    /// One such walk per handle: it begins anew here. It copies the keys of one chain at a time.
    pub fn first_key(&self) -> Result<Option<Vec<u8>>, ReadError> {
        *self.traverses.cursor.borrow_mut() = None;
        let called = self.called();
        let first = self.noted(self.key_from_chain(0));
        let operation = |found| Operation::FirstKey { found };
        let when = shown_when(&first);
        self.tell(self.since(called), when, first.as_ref().ok().map(Option::as_deref).map(operation));
        first
    }

    /// The key after `key`; `None` at the end. `key` may have been deleted meanwhile if it was the last one returned.
    pub fn next_key(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let called = self.called();
        let next = self.noted(self.key_after(key));
        let operation = |found| Operation::NextKey { key, found };
        let when = shown_when(&next);
        self.tell(self.since(called), when, next.as_ref().ok().map(Option::as_deref).map(operation));
        next
    }

    fn key_after(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let cursor = self.traverses.cursor.borrow_mut().take();
        let cursor = match cursor {
            Some(cursor) if cursor.last_key() == Some(key) => cursor,
            _ => match self.cursor_at(key)? {
                Some(cursor) => cursor,
                None => {
                    self.last_error.set(ErrorCode::NoSuchRecord);
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
        let chain = self.chain_index(key);
        let mut batch = Batch::default();
        let changes = self.changes.get();
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
            let fresh = cursor.changes == self.changes.get() && !self.is_old(cursor.copied);
            if fresh {
                self.speak_of(cursor.copied);
                self.told(&mut cursor.copied, 1);
            }
            if fresh || self.is_there(&key)? {
                *self.traverses.cursor.borrow_mut() = Some(cursor);
                return Ok(Some(key));
            }
        }
    }

    fn key_from_chain(&self, first: u32) -> Result<Option<Vec<u8>>, ReadError> {
        for chain in first..self.hash_size {
            if chain > 0 && self.space.word(chain_head(chain))? == 0 {
                continue;
            }
            let mut batch = Batch::default();
            let changes = self.changes.get();
            let called = self.called();
            self.copy_chain(chain, None, Copying::Keys, &mut batch)?;
            let mut copied = self.copied(called);
            if let Some((place, _)) = batch.records.first() {
                self.told(&mut copied, 1);
                let key = batch.bytes[place.clone()].to_vec();
                *self.traverses.cursor.borrow_mut() = Some(Cursor { chain, batch, nth: 0, changes, copied });
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

impl Batch {
    fn add(
        &mut self,
        key_len: u32,
        value_len: u32,
        append: impl FnOnce(u32, &mut Vec<u8>) -> Result<(), AccessError>,
    ) -> Result<(), AccessError> {
        let start = self.bytes.len();
        append(key_len + value_len, &mut self.bytes)?;
        let middle = start + key_len as usize;
        self.records.push((start..middle, middle..self.bytes.len()));
        Ok(())
    }
}

impl Cursor {
    fn last_key(&self) -> Option<&[u8]> {
        self.batch.records.get(self.nth).map(|(place, _)| &self.batch.bytes[place.clone()])
    }
}
