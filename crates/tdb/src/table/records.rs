//! The operations on single records: fetch, parse, exists, store, append, delete.
//!
//! Each takes its chain's lock, and the freelist's inside it only when a record changes its place. Writes are
//! ordered so that whoever looks at the chain without our help (after we were killed) finds the old or the new
//! record: a body is complete before a word points at it, and a length grows after the bytes it covers.

use crate::error::{AccessError, ErrorCode, MAX_RECORD, ReadError, StoreError};
use crate::file::bytes::{Bytes, advance};
use crate::file::format::{
    DATA_LEN_IN_RECORD, Length, MAGIC_IN_RECORD, Offset, RECORD_DEAD, RECORD_HEADER, RECORD_LEN_IN_RECORD,
    RECORD_USED, Record, chain_head,
};
use crate::lock::ChainIndex;
use crate::lock::proof::Write;
use crate::observe::{Operation, When};
use crate::table::Table;
use crate::table::chain::{DeadSeen, Found};
use crate::table::freelist::record_len_for;

/// What a store does with a key that is, or is not, there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreMode {
    /// Stores in either case.
    #[default]
    Replace,
    /// Fails with [`StoreError::Exists`] if the key is there.
    Insert,
    /// Fails with [`StoreError::NoSuchRecord`] if the key is not there.
    Modify,
}

/// A value that is replaced by a shorter one leaves room for a longer one, but not more than half of the record and this.
const LEAST_SPARE: Length = 512;
/// A deleted record up to this long may wait on its chain for the next change there, which saves the freelist's lock.
const SMALL_DEAD: Length = 512;
/// One may wait in any case, and one more for so many records that a search has met on the chain.
const LIVE_FOR_DEAD: u32 = 3;
/// A longer buffer is freed rather than kept for the next value.
const LONGEST_BUFFER: usize = 64 << 10;

impl<B: Bytes> Table<'_, B> {
    /// The value of `key`, if it is there.
    pub fn fetch(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let called = self.called();
        let fetched = self.untold_value(key);
        let operation = |value| Operation::Fetch { key, value };
        self.tell(called, When::Under, fetched.as_ref().ok().map(Option::as_deref).map(operation));
        fetched
    }

    /// Puts the value of `key` into `value`, whose memory serves many fetches; `false`, and `value` empty, if it is not there.
    ///
    /// # Errors
    /// As [`Table::fetch`].
    pub fn fetch_into(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool, ReadError> {
        value.clear();
        let called = self.called();
        let fetched = self.core.noted(self.read_value(key, |found| {
            let (at, len) = value_place(found)?;
            self.space.append_to(at, len, value)
        }));
        let operation =
            |found: &Option<()>| Operation::Fetch { key, value: found.map(|()| value.as_slice()) };
        self.tell(called, When::Under, fetched.as_ref().ok().map(operation));
        fetched.map(|found| found.is_some())
    }

    /// Shows the value of `key` to `parse`; `None` if the key is not there.
    ///
    /// It is a copy, in memory that this handle keeps for the next call: another process may change the file's own bytes
    /// at any moment. No lock is held any more when `parse` runs, so it may use the database in every way.
    ///
    /// # Errors
    /// As [`Table::fetch`].
    pub fn parse_record<T>(
        &self,
        key: &[u8],
        parse: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, ReadError> {
        let mut value = self.core.buffer.take();
        value.clear();
        let called = self.called();
        let found = self.core.noted(self.read_value(key, |found| {
            let (at, len) = value_place(found)?;
            self.space.append_to(at, len, &mut value)
        }));
        self.tell_parsed(called, key, found.as_ref().map(Option::is_some));
        let parsed = found.map(|found| found.map(|()| parse(&value)));
        self.keep_buffer(value);
        parsed
    }

    /// [`Table::parse_record`] on a copy in `buffer`, so that `parse` may use this database in every way that the lock
    /// of the chain for reading allows: store, delete, and lock this chain for writing. What it changes does not show in
    /// the copy.
    ///
    /// # Errors
    /// As [`Table::parse_record`].
    pub fn parse_record_copy<T>(
        &self,
        key: &[u8],
        buffer: &mut Vec<u8>,
        parse: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, ReadError> {
        let called = self.called();
        let parsed = self.core.noted(self.read_value(key, |found| {
            let (at, len) = value_place(found)?;
            buffer.clear();
            self.space.append_to(at, len, buffer)?;
            // The line must not carry the number that a change made by `parse` leads to.
            self.note_version();
            self.tell_parsed(called, key, Ok(true));
            Ok(parse(buffer))
        }));
        if !matches!(parsed, Ok(Some(_))) {
            self.tell_parsed(called, key, parsed.as_ref().map(Option::is_some));
        }
        parsed
    }

    /// Whether `key` is there.
    pub fn exists(&self, key: &[u8]) -> Result<bool, ReadError> {
        let called = self.called();
        let exists = self.is_there(key);
        let operation = |&found: &bool| Operation::Exists { key, found };
        self.tell(called, When::Under, exists.as_ref().ok().map(operation));
        exists
    }

    /// [`Table::exists`], for the engine's own use: it is not recorded.
    pub(crate) fn is_there(&self, key: &[u8]) -> Result<bool, ReadError> {
        self.core.noted(self.read_value(key, |_| Ok(()))).map(|found| found.is_some())
    }

    /// [`Table::fetch`], for the engine's own use: it is not recorded.
    pub(crate) fn untold_value(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.core.noted(self.read_value(key, |found| {
            let (at, len) = value_place(found)?;
            self.space.bytes(at, len)
        }))
    }

    fn read_value<T>(
        &self,
        key: &[u8],
        read: impl FnOnce(&Found) -> Result<T, AccessError>,
    ) -> Result<Option<T>, ReadError> {
        self.core.space.check_truncation(self.read_value_unguarded(key, read))
    }

    fn read_value_unguarded<T>(
        &self,
        key: &[u8],
        read: impl FnOnce(&Found) -> Result<T, AccessError>,
    ) -> Result<Option<T>, ReadError> {
        let hash = self.core.hash.hash(key);
        let chain = self.core.read(self.core.chain_of(hash))?;
        let found = self.find(&chain, hash, key)?;
        let value = match &found {
            Some(found) => Some(read(found)?),
            None => {
                self.core.last_error.set(ErrorCode::NoSuchRecord);
                None
            }
        };
        self.note_version();
        Ok(value)
    }

    /// Changes the chain of a hash under its lock.
    fn under_lock(
        &self,
        hash: u32,
        change: impl FnOnce(&Write<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let chain = self.core.write(self.core.chain_of(hash))?;
        let changed = change(&chain);
        self.note_version();
        changed
    }

    /// Stores `value` under `key`.
    pub fn store(&self, key: &[u8], value: &[u8], mode: StoreMode) -> Result<(), StoreError> {
        self.store_parts(key, &[value], mode)
    }

    /// Stores the concatenation of `parts` under `key`.
    pub fn store_parts(&self, key: &[u8], parts: &[&[u8]], mode: StoreMode) -> Result<(), StoreError> {
        let called = self.called();
        self.about_to_store(called, key, parts, mode);
        let stored = self.core.noted(self.core.space.check_truncation(self.put_parts(key, parts, mode)));
        self.tell_store(called, (key, parts, mode), &stored);
        stored
    }

    fn put_parts(&self, key: &[u8], parts: &[&[u8]], mode: StoreMode) -> Result<(), StoreError> {
        self.must_be_writable()?;
        let new = NewRecord::of(self.core.hash.hash(key), key, parts)?;
        self.under_lock(new.hash, |chain| {
            let (found, dead) = self.find_noting_dead(chain, new.hash, key, new.bytes)?;
            match (&found, mode) {
                (Some(_), StoreMode::Insert) => return Err(StoreError::Exists),
                (None, StoreMode::Modify) => return Err(StoreError::NoSuchRecord),
                (Some(found), _) if found.record.room() >= new.bytes => self.overwrite(chain, found, &new)?,
                (Some(found), _) => self.replace(chain, found, &new)?,
                (None, _) => self.insert(chain, &new, &dead)?,
            }
            self.finish_change()
        })
    }

    /// Appends `more` to the value of `key`, which begins empty if it is not there.
    pub fn append(&self, key: &[u8], more: &[u8]) -> Result<(), StoreError> {
        let called = self.called();
        let appended = self.core.noted(self.core.space.check_truncation(self.append_to_record(key, more)));
        self.tell_append(called, key, more, &appended);
        appended
    }

    fn append_to_record(&self, key: &[u8], more: &[u8]) -> Result<(), StoreError> {
        self.must_be_writable()?;
        let hash = self.core.hash.hash(key);
        let parts = [more];
        let added = NewRecord::of(hash, key, &parts)?;
        self.under_lock(hash, |chain| {
            let (found, dead) = self.find_noting_dead(chain, hash, key, added.bytes)?;
            self.about_to_append(key, found.as_ref(), more)?;
            match found {
                Some(found) => self.lengthen_value(chain, &found, key, more)?,
                None => self.insert(chain, &added, &dead)?,
            }
            self.finish_change()
        })
    }

    /// Appends to the value of a record, in place where it has the room.
    fn lengthen_value(
        &self,
        chain: &Write<'_>,
        found: &Found,
        key: &[u8],
        more: &[u8],
    ) -> Result<(), StoreError> {
        let (at, len) = value_place(found)?;
        if u64::from(found.record.room()) < (key.len() + more.len()) as u64 + u64::from(len) {
            let mut old = self.core.buffer.take();
            old.clear();
            self.space.append_to(at, len, &mut old)?;
            let replaced = self.replace(chain, found, &NewRecord::of(found.record.hash, key, &[&old, more])?);
            self.keep_buffer(old);
            return replaced;
        }
        self.space.write(at + len, more)?;
        Ok(self.space.set_word(found.at + DATA_LEN_IN_RECORD, len + more.len() as Length)?)
    }

    /// Keeps memory for the next value.
    fn keep_buffer(&self, buffer: Vec<u8>) {
        if buffer.capacity() <= LONGEST_BUFFER {
            self.core.buffer.set(buffer);
        }
    }

    /// Deletes `key`; [`StoreError::NoSuchRecord`] if it is not there.
    pub fn delete(&self, key: &[u8]) -> Result<(), StoreError> {
        let called = self.called();
        self.about_to(called, Operation::Delete { key, done: true });
        let deleted = self.core.noted(self.core.space.check_truncation(self.delete_record(key)));
        self.tell_delete(called, key, &deleted);
        deleted
    }

    fn delete_record(&self, key: &[u8]) -> Result<(), StoreError> {
        self.must_be_writable()?;
        let hash = self.core.hash.hash(key);
        self.under_lock(hash, |chain| {
            let (found, dead) = self.find_noting_dead(chain, hash, key, Length::MAX)?;
            let found = found.ok_or(StoreError::NoSuchRecord)?;
            let may_wait = self.dead_allowed(&found.record, dead.live) > dead.count;
            if !may_wait && dead.count > 0 {
                self.mark_dead(found.at)?;
                self.purge_chain(chain, hash)?;
            } else if may_wait || self.core.locks.record_is_stood_on(found.at)? {
                self.mark_dead(found.at)?;
            } else {
                self.unlink_and_free(chain, &found)?;
            }
            self.finish_change()
        })
    }

    /// How many deleted records the chain of this one may keep, beside `live` others at least.
    fn dead_allowed(&self, record: &Record, live: u32) -> u32 {
        let locks_cost = !self.core.locks.has_no_lock() && !self.core.locks.holds_everything();
        let waits = if locks_cost && record.record_len <= SMALL_DEAD { 1 + live / LIVE_FOR_DEAD } else { 0 };
        self.core.max_dead.get().max(waits)
    }

    fn mark_dead(&self, at: Offset) -> Result<(), AccessError> {
        self.space.set_word(at + MAGIC_IN_RECORD, RECORD_DEAD)
    }

    fn unlink_and_free(&self, _chain: &Write<'_>, found: &Found) -> Result<(), StoreError> {
        let freelist = self.core.write(ChainIndex::FREELIST)?;
        self.space.set_word(found.link, found.record.next)?;
        Ok(self.free(&freelist, found.at, found.record.record_len)?)
    }

    /// Frees the deleted records of a chain, those that a traverse stands on excepted.
    fn purge_chain(&self, _chain: &Write<'_>, hash: u32) -> Result<(), StoreError> {
        let freelist = self.core.write(ChainIndex::FREELIST)?;
        let stood_on = self.core.locks.some_record_is_stood_on()?;
        let mut link = chain_head(hash % self.core.hash_size);
        let mut at = self.space.word(link)?;
        let mut steps = 0;
        while at != 0 {
            let record = self.space.record(at)?;
            steps += 1;
            self.must_be_on_chain(at, &record, steps)?;
            if record.magic == RECORD_DEAD && !(stood_on && self.core.locks.record_is_stood_on(at)?) {
                self.space.set_word(link, record.next)?;
                self.free(&freelist, at, record.record_len)?;
            } else {
                link = at;
            }
            at = record.next;
        }
        Ok(())
    }

    /// Puts a value into a record that has the room.
    fn overwrite(&self, _chain: &Write<'_>, found: &Found, new: &NewRecord<'_>) -> Result<(), StoreError> {
        let (at, len) = value_place(found)?;
        if let [value] = new.parts
            && len == new.data_len
            && self.space.equals(at, value)?
        {
            return Ok(());
        }
        self.write_parts(at, new.parts)?;
        if len != new.data_len {
            self.space.set_word(found.at + DATA_LEN_IN_RECORD, new.data_len)?;
        }
        let spare = found.record.room() - new.bytes;
        if spare >= LEAST_SPARE && spare > new.bytes / 2 {
            self.give_spare_back(found, new.bytes)
        } else {
            Ok(())
        }
    }

    /// Makes a free record of what a record has beyond `bytes` of key and value. A process that is killed between the two
    /// loses that space.
    fn give_spare_back(&self, found: &Found, bytes: Length) -> Result<(), StoreError> {
        let freelist = self.core.write(ChainIndex::FREELIST)?;
        let record_len = record_len_for(bytes);
        let spare_len = found.record.record_len - record_len - RECORD_HEADER;
        self.space.set_word(found.at + RECORD_LEN_IN_RECORD, record_len)?;
        self.write_tailer(found.at, record_len)?;
        Ok(self.free(&freelist, found.at + RECORD_HEADER + record_len, spare_len)?)
    }

    /// Puts a longer record in the place of one on its chain.
    fn replace(&self, _chain: &Write<'_>, found: &Found, new: &NewRecord<'_>) -> Result<(), StoreError> {
        let stood_on = self.core.locks.record_is_stood_on(found.at)?;
        let freelist = self.core.write(ChainIndex::FREELIST)?;
        // What grew once will grow again: leave it room.
        let comfortable = new.bytes.saturating_add(new.bytes / 8).min(MAX_RECORD);
        let (at, record_len) = self.allocate_beside(&freelist, found, record_len_for(comfortable))?;
        if stood_on {
            let head = chain_head(new.hash % self.core.hash_size);
            self.write_record(at, record_len, self.space.word(head)?, new)?;
            self.space.set_word(head, at)?;
            return Ok(self.mark_dead(found.at)?);
        }
        self.write_record(at, record_len, found.record.next, new)?;
        // One word turns the chain from the old record to the new.
        self.space.set_word(found.link, at)?;
        Ok(self.free(&freelist, found.at, found.record.record_len)?)
    }

    fn insert(&self, _chain: &Write<'_>, new: &NewRecord<'_>, dead: &DeadSeen) -> Result<(), StoreError> {
        if let Some((at, record)) = &dead.fitting {
            return Ok(self.revive(*at, record, new)?);
        }
        let (at, record_len) = {
            let freelist = self.core.write(ChainIndex::FREELIST)?;
            self.allocate(&freelist, record_len_for(new.bytes))?
        };
        let head = chain_head(new.hash % self.core.hash_size);
        self.write_record(at, record_len, self.space.word(head)?, new)?;
        Ok(self.space.set_word(head, at)?)
    }

    /// Makes a deleted record of the chain a new one, in place.
    fn revive(&self, at: Offset, dead: &Record, new: &NewRecord<'_>) -> Result<(), AccessError> {
        self.must_have_body(at, dead)?;
        self.space.write(at + RECORD_HEADER, new.key)?;
        self.write_parts(at + RECORD_HEADER + new.key_len(), new.parts)?;
        self.space.set_record(at, &new.header(dead.next, dead.record_len))
    }

    /// Writes a whole record, but its tailer, to where nothing points yet.
    fn write_record(
        &self,
        at: Offset,
        record_len: Length,
        next: Offset,
        new: &NewRecord<'_>,
    ) -> Result<(), AccessError> {
        self.space.set_record(at, &new.header(next, record_len))?;
        self.space.write(at + RECORD_HEADER, new.key)?;
        self.write_parts(at + RECORD_HEADER + new.key_len(), new.parts)
    }

    fn write_parts(&self, at: Offset, parts: &[&[u8]]) -> Result<(), AccessError> {
        let mut at = at;
        for part in parts {
            self.space.write(at, part)?;
            at = advance(at, part.len())?;
        }
        Ok(())
    }

    fn finish_change(&self) -> Result<(), StoreError> {
        Ok(self.count_change()?)
    }

    pub(crate) fn must_be_writable(&self) -> Result<(), StoreError> {
        if self.core.read_only {
            return Err(StoreError::ReadOnly { why: "it was opened for reading only" });
        }
        if self.core.locks.is_reading() {
            return Err(StoreError::ReadOnly { why: "a traverse that only reads is running" });
        }
        Ok(())
    }
}

/// Where the value of a record is, and how long.
pub(crate) fn value_place(found: &Found) -> Result<(Offset, Length), AccessError> {
    let at = advance(found.at, (RECORD_HEADER + found.record.key_len) as usize)?;
    Ok((at, found.record.data_len))
}

/// A key and a value on their way into the file.
struct NewRecord<'a> {
    hash: u32,
    key: &'a [u8],
    parts: &'a [&'a [u8]],
    data_len: Length,
    /// Key and value together.
    bytes: Length,
}

impl<'a> NewRecord<'a> {
    fn of(hash: u32, key: &'a [u8], parts: &'a [&'a [u8]]) -> Result<Self, StoreError> {
        let data_len: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let length = key.len() as u64 + data_len;
        if length > u64::from(MAX_RECORD) {
            return Err(StoreError::TooLong { length });
        }
        Ok(NewRecord { hash, key, parts, data_len: data_len as Length, bytes: length as Length })
    }

    fn key_len(&self) -> Length {
        self.key.len() as Length
    }

    fn header(&self, next: Offset, record_len: Length) -> Record {
        Record {
            next,
            record_len,
            key_len: self.key_len(),
            data_len: self.data_len,
            hash: self.hash,
            magic: RECORD_USED,
        }
    }
}
