//! Which keys expire when: an index in memory at the sync site, made of the image when it takes office, and kept with every
//! commit. Nothing depends on it but promptness: whether a key has expired is decided by its record.

use std::collections::{BTreeSet, HashMap};

use kv::keyspace::{Change, Event};
use kv::{Keyspace, StorageError};

/// The times of expiry of all keys that have one.
#[derive(Debug, Default)]
pub struct Timetable {
    by_time: BTreeSet<(u64, Vec<u8>)>,
    by_key: HashMap<Vec<u8>, u64>,
}

impl Timetable {
    /// That of the keys in `keyspace`.
    ///
    /// # Errors
    /// The records cannot be read.
    pub fn of(keyspace: &Keyspace<'_>) -> Result<Timetable, StorageError> {
        let mut table = Timetable::default();
        for slice in 0..keyspace.slices() {
            keyspace.for_each(slice, &mut |key, entry| table.set(key, entry.expires))?;
        }
        Ok(table)
    }

    /// A transaction was committed that changed this.
    pub fn note(&mut self, changes: &[Change]) {
        for Change { key, event } in changes {
            match event {
                Event::Written { expires } => self.set(key, *expires),
                Event::Deleted | Event::Expired => self.set(key, None),
            }
        }
    }

    fn set(&mut self, key: &[u8], expires: Option<u64>) {
        if let Some(old) = self.by_key.remove(key) {
            self.by_time.remove(&(old, key.to_vec()));
        }
        if let Some(expires) = expires {
            self.by_key.insert(key.to_vec(), expires);
            self.by_time.insert((expires, key.to_vec()));
        }
    }

    /// The keys whose time has come at `now`, the longest overdue first, at most `most`.
    pub fn due(&self, now: u64, most: usize) -> Vec<Vec<u8>> {
        let due = self.by_time.iter().take_while(|(expires, _)| *expires < now).take(most);
        due.map(|(_, key)| key.clone()).collect()
    }

    /// When the next key expires.
    pub fn next(&self) -> Option<u64> {
        self.by_time.first().map(|(expires, _)| *expires)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S17: a key is due at its last time of expiry only, and no more once it is gone.
    #[test]
    fn a_key_is_due_at_its_last_time_of_expiry() {
        let mut table = Timetable::default();
        let written = |key: &str, expires| Change { key: key.into(), event: Event::Written { expires } };
        table.note(&[written("a", Some(50)), written("b", Some(40)), written("c", None)]);
        table.note(&[written("a", Some(70)), written("d", Some(60))]);
        assert_eq!((table.next(), table.due(40, 9).len()), (Some(40), 0));
        assert_eq!(table.due(61, 9), [b"b", b"d"]);
        assert_eq!(table.due(100, 1), [b"b"]);
        table.note(&[Change { key: b"b".to_vec(), event: Event::Expired }, written("d", None)]);
        assert_eq!(table.due(100, 9), [b"a"]);
        table.note(&[Change { key: b"a".to_vec(), event: Event::Deleted }]);
        assert_eq!(table.next(), None);
    }
}
