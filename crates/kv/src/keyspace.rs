//! The keys of a database within one transaction: found, changed, expired, counted, numbered.
//!
//! Owns the record of totals: how many keys there are, the last revision, the cell's clock. Keys of clients have a
//! prefix of their own, so that no client can name that record.

use std::cell::RefCell;
use std::time::Duration;

use tdb::Savepoint;

use crate::deletions::Deletions;
use crate::entry::{Entry, Kind};
use crate::error::{CommandError, StorageError};
use crate::fields::Fields;
use crate::records::Records;

/// The time, as the sync site sees it when it carries a transaction out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clocks {
    /// Milliseconds on the cell's clock, which never goes back and runs at the rate of time: what expiry is counted on.
    pub cell: u64,
    /// Milliseconds since 1970: what clients mean by a date. It may jump.
    pub wall: u64,
}

impl Clocks {
    /// Both in milliseconds. What the cell's clock leaves out of one is left out of the date, too: so the same date is the same moment
    /// whenever it is asked for, as long as no wall clock is stepped.
    pub fn new(cell: Duration, wall: Duration) -> Clocks {
        let left_out = Duration::from_nanos(u64::from(cell.subsec_nanos() % 1_000_000));
        let wall = (wall + Duration::from_micros(500)).saturating_sub(left_out);
        Clocks { cell: cell.as_millis() as u64, wall: wall.as_millis() as u64 }
    }

    /// The moment on the cell's clock that is `wall` now.
    pub fn cell_at(self, wall: i64) -> u64 {
        self.cell.saturating_add_signed(wall.saturating_sub_unsigned(self.wall))
    }

    /// The date that the moment `cell` has now.
    pub fn wall_at(self, cell: u64) -> u64 {
        self.wall.saturating_add(cell).saturating_sub(self.cell)
    }
}

/// What the record of totals holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Keys of clients, those included that have expired and are not removed yet.
    pub keys: u64,
    /// The revision of the last write.
    pub revision: u64,
    /// The cell's clock at the last write.
    pub clock: u64,
}

impl Totals {
    fn decode(record: &[u8]) -> Option<Totals> {
        let ([VERSION], rest) = record.split_first_chunk()? else {
            return None;
        };
        let (numbers, []) = rest.as_chunks() else {
            return None;
        };
        let [keys, revision, clock] =
            numbers.try_into().ok().map(|numbers: [[u8; 8]; 3]| numbers.map(u64::from_le_bytes))?;
        Some(Totals { keys, revision, clock })
    }

    fn encode(self) -> Vec<u8> {
        let numbers = [self.keys, self.revision, self.clock].map(u64::to_le_bytes);
        [&[VERSION], numbers.as_flattened()].concat()
    }
}

const VERSION: u8 = 1;
const TOTALS: &[u8] = b"\0totals";
const CLIENTS: u8 = b'k';

/// A key that a command changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Vec<u8>,
    /// What happened to it.
    pub event: Event,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It has a new value or another time of expiry.
    Written {
        /// When it expires, in milliseconds on the cell's clock.
        expires: Option<u64>,
    },
    /// A command removed it.
    Deleted,
    /// Its time had come.
    Expired,
}

/// The keys of one database in one transaction.
pub struct Keyspace<'a> {
    records: &'a mut dyn Records,
    clocks: Clocks,
    totals: Totals,
    /// The present command has its revision.
    numbered: bool,
    changed: bool,
    changes: Vec<Change>,
    deletions: Deletions,
    /// Keys that reads found although their time had come.
    stale: RefCell<Vec<Vec<u8>>>,
    /// How many bytes the database may have.
    quota: u64,
    /// Why the records are not those of any number of whole steps.
    broken: Option<StorageError>,
    /// How long scripts of the present step have run.
    #[cfg(feature = "scripts")]
    script_time: std::time::Duration,
}

/// A place for [`Keyspace::roll_back`] to go back to.
pub struct Point {
    savepoint: Option<Savepoint>,
    totals: Totals,
    changed: bool,
    changes: usize,
    deletions: usize,
    size: u64,
}

impl<'a> Keyspace<'a> {
    /// The keys in `records`.
    ///
    /// The cell's clock does not go back behind the last write: then it stands still until the time has come again.
    ///
    /// # Errors
    /// The records cannot be read, or those of totals is damaged.
    pub fn new(records: &'a mut dyn Records, clocks: Clocks) -> Result<Keyspace<'a>, StorageError> {
        let totals = match records.get(TOTALS)? {
            None => Totals::default(),
            Some(record) => Totals::decode(&record)
                .ok_or(StorageError::Damaged { key: "(totals)".into(), what: "it has another form" })?,
        };
        let clocks = Clocks { cell: clocks.cell.max(totals.clock), ..clocks };
        Ok(Keyspace {
            records,
            clocks,
            totals,
            numbered: false,
            changed: false,
            changes: Vec::new(),
            deletions: Deletions::default(),
            stale: RefCell::default(),
            quota: u64::MAX,
            broken: None,
            #[cfg(feature = "scripts")]
            script_time: std::time::Duration::ZERO,
        })
    }

    /// The next step begins, if it is not the first: its scripts have their whole time.
    pub(crate) fn begin_step(&mut self) {
        #[cfg(feature = "scripts")]
        (self.script_time = std::time::Duration::ZERO);
    }

    /// How long scripts of the present step have run; what one takes is added by whoever runs it.
    #[cfg(feature = "scripts")]
    pub(crate) fn script_time(&mut self) -> &mut std::time::Duration {
        &mut self.script_time
    }

    /// The next command begins: what it writes gets the next revision.
    pub fn begin_command(&mut self) {
        self.numbered = false;
    }

    /// From here on a step that lets the database grow beyond `quota` bytes is refused. What needs no more room, as deletes,
    /// is carried out above it too.
    pub fn limit(&mut self, quota: u64) {
        self.quota = quota;
    }

    /// By how many bytes the database has grown since `begin`.
    pub(crate) fn grown_since(&self, begin: &Point) -> u64 {
        self.records.size().saturating_sub(begin.size)
    }

    /// The quota, if the database has grown since `begin` and is above it.
    pub(crate) fn outgrown(&self, begin: &Point) -> Option<u64> {
        let size = self.records.size();
        (size > begin.size && size > self.quota).then_some(self.quota)
    }

    /// Writes the clock into the totals, also if nothing else is written: whoever is started from them goes on from there.
    pub fn keep_clock(&mut self) {
        self.changed = true;
    }

    /// A place to go back to, so that a step that fails spoils none of the others in its transaction.
    pub fn savepoint(&mut self) -> Point {
        Point {
            savepoint: self.records.savepoint(),
            totals: self.totals,
            changed: self.changed,
            changes: self.changes.len(),
            deletions: self.deletions.len(),
            size: self.records.size(),
        }
    }

    /// Undoes what came after `point`.
    ///
    /// # Errors
    /// The records cannot be brought back; the transaction is of no use then.
    pub fn roll_back(&mut self, point: &Point) -> Result<(), StorageError> {
        if let Some(savepoint) = &point.savepoint {
            self.records.roll_back(savepoint)?;
        }
        (self.totals, self.changed) = (point.totals, point.changed);
        self.changes.truncate(point.changes);
        self.deletions.truncate(point.deletions);
        self.numbered = false;
        Ok(())
    }

    /// As [`Keyspace::roll_back`]; where that fails, so does [`Keyspace::finish`].
    pub(crate) fn undo(&mut self, point: &Point) {
        self.stale.take();
        if let Err(error) = self.roll_back(point) {
            self.broken = Some(error);
        }
    }

    /// The keys that reads have found since the last call although their time had come. What was read is not to be
    /// answered: remove them ([`Keyspace::expire`]), and read again.
    pub fn take_stale(&mut self) -> Vec<Vec<u8>> {
        self.stale.take()
    }

    /// Writes the totals, after the last command; what was changed.
    ///
    /// # Errors
    /// The records cannot be written, or a step that failed could not be undone.
    pub fn finish(self) -> Result<Vec<Change>, StorageError> {
        if let Some(error) = self.broken {
            return Err(error);
        }
        if self.changed {
            let totals = Totals { clock: self.clocks.cell, ..self.totals };
            self.records.put(TOTALS, &totals.encode())?;
            self.deletions.write(self.records)?;
        }
        Ok(self.changes)
    }

    /// The time.
    pub fn clocks(&self) -> Clocks {
        self.clocks
    }

    /// Keys, the last revision, the clock.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The entry of `key`, as committed: until the delete of an expired key is committed, it is there, and this notes it
    /// for [`Keyspace::take_stale`].
    ///
    /// # Errors
    /// The records cannot be read.
    pub fn find(&self, key: &[u8]) -> Result<Option<Entry>, StorageError> {
        let record = self.records.get(&client_key(key))?;
        let entry = record.map(|record| Entry::decode(key, record)).transpose()?;
        self.note_stale(key, entry.as_ref());
        Ok(entry)
    }

    /// A number that changes whenever `key` does, also when it comes and goes again: what WATCH compares.
    ///
    /// # Errors
    /// The records cannot be read.
    pub fn mark(&self, key: &[u8]) -> Result<u64, StorageError> {
        match self.find(key)? {
            Some(entry) => Ok(entry.revision),
            None => self.deletions.last(self.records, key),
        }
    }

    /// The entry of `key` for a command that writes: an expired one is removed first.
    ///
    /// # Errors
    /// The records cannot be read or written.
    pub fn find_live(&mut self, key: &[u8]) -> Result<Option<Entry>, StorageError> {
        let record = self.records.get(&client_key(key))?;
        let entry = record.map(|record| Entry::decode(key, record)).transpose()?;
        if entry.as_ref().is_some_and(|entry| self.has_expired(entry)) {
            self.take_away(key, Event::Expired)?;
            return Ok(None);
        }
        Ok(entry)
    }

    /// Gives `key` a value; `was_there` as [`Keyspace::find_live`] said.
    ///
    /// # Errors
    /// The records cannot be written.
    pub fn put(
        &mut self,
        key: &[u8],
        was_there: bool,
        kind: Kind,
        expires: Option<u64>,
        value: &[u8],
    ) -> Result<(), StorageError> {
        let revision = self.next_revision();
        self.records.put(&client_key(key), &Entry::encode(kind, revision, expires, value))?;
        self.totals.keys += u64::from(!was_there);
        self.note(key, Event::Written { expires });
        Ok(())
    }

    /// Removes `key`; false if it was not there, or had expired.
    ///
    /// # Errors
    /// The records cannot be written.
    pub fn remove(&mut self, key: &[u8]) -> Result<bool, StorageError> {
        let found = self.find_live(key)?.is_some();
        if found {
            self.take_away(key, Event::Deleted)?;
        }
        Ok(found)
    }

    /// Removes `key` if its time has come; true if so.
    ///
    /// # Errors
    /// The records cannot be read or written.
    pub fn expire(&mut self, key: &[u8]) -> Result<bool, StorageError> {
        let before = self.totals.keys;
        self.find_live(key)?;
        Ok(self.totals.keys < before)
    }

    /// Removes every key.
    ///
    /// # Errors
    /// The records cannot be written.
    pub fn clear(&mut self) -> Result<(), StorageError> {
        let revision = self.next_revision();
        let mut keys = Vec::new();
        for slice in 0..self.slices() {
            self.for_each(slice, &mut |key, _| keys.push(key.to_vec()))?;
        }
        self.stale.take();
        self.records.clear()?;
        self.deletions.note_all(revision);
        self.totals.keys = 0;
        keys.iter().for_each(|key| self.note(key, Event::Deleted));
        Ok(())
    }

    /// Into how many slices the keys fall; a key stays in its slice.
    pub fn slices(&self) -> u32 {
        self.records.slices()
    }

    /// Shows the keys of a slice and their entries. What cannot be read is passed over here; commands that name the
    /// key say so.
    ///
    /// # Errors
    /// The records cannot be read.
    pub fn for_each(&self, slice: u32, each: &mut dyn FnMut(&[u8], Entry)) -> Result<(), StorageError> {
        self.records.for_each(slice, &mut |key, record| {
            if let [CLIENTS, key @ ..] = key
                && let Ok(entry) = Entry::decode(key, record.to_vec())
            {
                self.note_stale(key, Some(&entry));
                each(key, entry);
            }
        })
    }

    /// The string that `key` holds.
    pub(crate) fn string(&self, key: &[u8]) -> Result<Option<Entry>, CommandError> {
        of_kind(self.find(key)?, Kind::String)
    }

    /// The string that `key` holds, for a command that writes.
    pub(crate) fn live_string(&mut self, key: &[u8]) -> Result<Option<Entry>, CommandError> {
        of_kind(self.find_live(key)?, Kind::String)
    }

    /// The fields of the hash `key`; none if it is not there.
    pub(crate) fn fields(&self, key: &[u8]) -> Result<Fields, CommandError> {
        match of_kind(self.find(key)?, Kind::Hash)? {
            Some(entry) => Ok(Fields::decode(key, entry.value())?),
            None => Ok(Fields::default()),
        }
    }

    /// The millisecond of its end is its own: both moments are cut to whole milliseconds, and it must not end early.
    fn has_expired(&self, entry: &Entry) -> bool {
        entry.expires.is_some_and(|expires| expires < self.clocks.cell)
    }

    fn note_stale(&self, key: &[u8], entry: Option<&Entry>) {
        if entry.is_some_and(|entry| self.has_expired(entry)) {
            self.stale.borrow_mut().push(key.to_vec());
        }
    }

    fn take_away(&mut self, key: &[u8], event: Event) -> Result<(), StorageError> {
        let revision = self.next_revision();
        self.records.delete(&client_key(key))?;
        self.deletions.note(key, revision);
        self.totals.keys = self.totals.keys.saturating_sub(1);
        self.note(key, event);
        Ok(())
    }

    fn next_revision(&mut self) -> u64 {
        if !self.numbered {
            self.numbered = true;
            self.changed = true;
            self.totals.revision += 1;
        }
        self.totals.revision
    }

    fn note(&mut self, key: &[u8], event: Event) {
        self.changes.push(Change { key: key.to_vec(), event });
    }
}

fn of_kind(entry: Option<Entry>, kind: Kind) -> Result<Option<Entry>, CommandError> {
    match entry {
        Some(entry) if entry.kind != kind => Err(CommandError::WRONG_TYPE),
        entry => Ok(entry),
    }
}

fn client_key(key: &[u8]) -> Vec<u8> {
    [&[CLIENTS], key].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S17: a date that is made a moment and a date again is the same, at whatever part of a millisecond that happens.
    #[test]
    fn a_date_stays_the_same() {
        let apart = Duration::from_nanos(1_700_000_000_000_400_123);
        let at = |nanos: u64| {
            let cell = Duration::from_nanos(7_000_000 + nanos);
            Clocks::new(cell, cell + apart)
        };
        let moment = at(0).cell_at(1_700_000_100_000);
        for nanos in (0..3_000_000).step_by(9_973) {
            assert_eq!(at(nanos).wall_at(moment), 1_700_000_100_000, "{nanos}");
        }
    }
}
