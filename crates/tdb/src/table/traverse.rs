//! Going through all records with a callback.
//!
//! A whole chain is copied under its read lock, then the callback runs on the copy, unlocked, so it may store and
//! delete. A record that this handle changed meanwhile is looked up again before it is shown; a change by another
//! process to a chain that is being shown appears in the next traverse. A chain longer than [`BATCH_BYTES`] is
//! copied in parts: the traverse then stands on the next record (a lock on the record's own byte, as libtdb has
//! it), which keeps every process from freeing it.

use std::ops::{ControlFlow, Range};

use crate::core::Core;
use crate::error::{AccessError, ReadError};
use crate::file::bytes::Bytes;
use crate::file::format::{Offset, RECORD_HEADER, RECORD_USED, chain_head};
use crate::lock::{ChainIndex, LockByte, LockKind, Wait};
use crate::observe::{Copied, Operation, When};
use crate::table::Table;
use crate::table::records::value_place;

/// How much of a chain is copied at once; one longer record is still copied whole.
const BATCH_BYTES: usize = 1 << 20;

/// The records of a chain have at most this many times the file's bytes.
const MOST_PASSES: u64 = 2;

/// Copies of records of one chain, in chain order.
#[derive(Default)]
pub(crate) struct Batch {
    pub(super) bytes: Vec<u8>,
    /// Where in `bytes` each record's key and value are.
    pub(super) records: Vec<(Range<usize>, Range<usize>)>,
    /// The record to go on with.
    resume: Option<Offset>,
    /// Bytes of the records of this chain so far, in earlier copies of it, too.
    passed: u64,
}

/// Whether values are wanted, too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copying {
    Keys,
    Records,
}

/// A traverse that may write: counted, and with the transaction lock held, until this is dropped.
struct Writing<'a>(&'a Core);

impl<'a> Writing<'a> {
    fn start(core: &'a Core) -> Result<Self, ReadError> {
        core.lock_byte(LockByte::Transaction, LockKind::Write, Wait::Yes)?;
        core.writing.set(core.writing.get() + 1);
        Ok(Writing(core))
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.writing.set(self.0.writing.get() - 1);
        self.0.locks.unlock_byte(LockByte::Transaction);
    }
}

/// Leaves a record at the end of its life.
struct Standing<'a>(&'a Core, Offset);

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.0.locks.leave_record(self.1);
    }
}

impl<B: Bytes> Table<'_, B> {
    /// Calls `with` for every record, until it breaks off; returns how many it was called for.
    ///
    /// `with` may store and delete, and no transaction of another process commits
    /// meanwhile. Records are in no particular order; those stored meanwhile may appear or not.
    pub fn traverse(&self, with: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<u64, ReadError> {
        if self.core.read_only || self.core.locks.is_reading() {
            return self.traverse_read(with);
        }
        self.core.noted(self.traverse_for_writing(with))
    }

    fn traverse_for_writing(
        &self,
        with: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<u64, ReadError> {
        let called = self.called();
        let _writing = Writing::start(self.core)?;
        if called.is_some() && !matches!(self.core.needs_recovery(), Ok(false)) {
            // Somebody died in his commit. The walk's first lock takes that back; the number on the line must not be one
            // of those that are taken back with it.
            drop(self.core.read(ChainIndex::chain(0))?);
        }
        self.tell(called, When::Now, Some(Operation::TraverseStart { write: true }));
        self.walk(with)
    }

    /// Like [`Table::traverse`], for callbacks that only read: changes are refused meanwhile.
    pub fn traverse_read(&self, with: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<u64, ReadError> {
        let _reading = self.core.locks.begin_reading();
        self.tell(self.called(), When::Last, Some(Operation::TraverseStart { write: false }));
        self.core.noted(self.walk(with))
    }

    /// Calls `with` for every record of one chain, which stays locked for reading all the time.
    pub fn traverse_chain(
        &self,
        chain: u32,
        mut with: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<u64, ReadError> {
        if chain >= self.core.hash_size {
            return self.core.noted(Err(ReadError::NoSuchChain { chain, hash_size: self.core.hash_size }));
        }
        let _reading = self.core.locks.begin_reading();
        let mut run = || {
            let _chain = self.core.read(ChainIndex::chain(chain))?;
            let mut count = 0;
            let _ = self.show_chain(chain, &mut Batch::default(), &mut count, &mut with, false)?;
            Ok(count)
        };
        self.core.noted(run())
    }

    /// Calls `with` for every record of the chain that `key` belongs to, see [`Table::traverse_chain`].
    pub fn traverse_key_chain(
        &self,
        key: &[u8],
        with: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<u64, ReadError> {
        self.traverse_chain(self.core.hash.hash(key) % self.core.hash_size, with)
    }

    fn walk(&self, mut with: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<u64, ReadError> {
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
        with: &mut impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let mut batch = Batch::default();
        for chain in 0..self.core.hash_size {
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
        with: &mut impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
        recorded: bool,
    ) -> Result<ControlFlow<()>, ReadError> {
        let mut from = None;
        loop {
            let layout_epoch = self.core.layout_epoch.get();
            let called = if recorded { self.called() } else { None };
            self.copy_chain(chain, from.as_ref().map(|Standing(_, at)| *at), Copying::Records, batch)?;
            let copied = self.copied(called);
            from = batch.resume.map(|at| Standing(self.core, at));
            if self.show_batch(batch, count, with, copied)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            // After a wipe the place where we stand means nothing.
            if from.is_none() || layout_epoch != self.core.layout_epoch.get() {
                return Ok(ControlFlow::Continue(()));
            }
        }
    }

    fn show_batch(
        &self,
        batch: &Batch,
        count: &mut u64,
        with: &mut impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
        mut copied: Option<Copied>,
    ) -> Result<ControlFlow<()>, ReadError> {
        let changes = self.core.changes.get();
        for (key, value) in &batch.records {
            let key = &batch.bytes[key.clone()];
            let flow = if self.core.changes.get() == changes && !self.is_old(copied) {
                let value = &batch.bytes[value.clone()];
                self.tell_shown(copied, key, value);
                self.told(&mut copied, 0);
                with(key, value)
            } else {
                let called = copied.and_then(|_| self.called());
                let Some(fresh) = self.look_up_again(key)? else {
                    continue;
                };
                self.tell_shown(self.copied(called), key, &fresh);
                with(key, &fresh)
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
        let hash = self.core.hash.hash(key);
        let chain = self.core.read(self.core.chain_of(hash))?;
        let found = self.find(&chain, hash, key)?;
        self.note_version();
        let Some(found) = found else {
            return Ok(None);
        };
        let (at, len) = value_place(&found)?;
        Ok(Some(self.space.bytes(at, len)?))
    }

    /// Copies a chain's records from its head or `from` into `batch`; if it gets too long, stands on the next.
    pub(crate) fn copy_chain(
        &self,
        chain: u32,
        from: Option<Offset>,
        copying: Copying,
        batch: &mut Batch,
    ) -> Result<(), ReadError> {
        batch.bytes.clear();
        batch.records.clear();
        batch.resume = None;
        self.core.space.check_truncation(self.copy_chain_unguarded(chain, from, copying, batch))
    }

    fn copy_chain_unguarded(
        &self,
        chain: u32,
        from: Option<Offset>,
        copying: Copying,
        batch: &mut Batch,
    ) -> Result<(), ReadError> {
        let _chain = self.core.read(ChainIndex::chain(chain))?;
        let mut at = match from {
            Some(at) => at,
            None => {
                batch.passed = 0;
                self.space.word(chain_head(chain))?
            }
        };
        let mut steps = 0;
        while at != 0 {
            let record = self.space.record(at)?;
            steps += 1;
            self.must_be_on_chain(at, &record, steps)?;
            self.must_have_room_for(at, batch.passed)?;
            if record.magic == RECORD_USED {
                if copying == Copying::Records && batch.bytes.len() >= BATCH_BYTES {
                    self.core.locks.stand_on_record(at)?;
                    batch.resume = Some(at);
                    break;
                }
                self.must_have_body(at, &record)?;
                let value_len = if copying == Copying::Keys { 0 } else { record.data_len };
                batch.add(record.key_len, value_len, |len, out| {
                    self.space.append_to(at + RECORD_HEADER, len, out)
                })?;
            }
            batch.passed += u64::from(RECORD_HEADER) + u64::from(record.record_len);
            at = record.next;
        }
        self.note_version();
        Ok(())
    }

    /// Fails if the records of a chain have more bytes than the file by far: copied in parts, a circle of a few long
    /// records would otherwise be shown for ever. Others may move records while they are shown, so some may count twice.
    fn must_have_room_for(&self, at: Offset, passed: u64) -> Result<(), AccessError> {
        if passed > MOST_PASSES * u64::from(self.space.size()) {
            return Err(AccessError::Corrupt { offset: at, what: "a chain goes in a circle" });
        }
        Ok(())
    }
}

impl Batch {
    /// The keys that were copied.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.records.iter().map(|(place, _)| &self.bytes[place.clone()])
    }

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
