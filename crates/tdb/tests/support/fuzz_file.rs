//! Any bytes as a database file: opened, read, checked, rescued, written to. The body of the fuzz target `tdb_file`, and
//! of the plain tests that replay its seeds and mutate valid files.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use tdb::{Database, OpenOptions, Storage, StoreMode};

/// What a file may grow by while it is written to.
const MOST_GROWTH: usize = 4 << 20;

/// Bytes in memory that refuse to grow without bound.
#[derive(Clone)]
struct Bounded {
    bytes: Arc<Mutex<Vec<u8>>>,
    most: usize,
}

impl Storage for Bounded {
    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().expect("not poisoned").len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes.lock().expect("not poisoned");
        let place = (offset as usize).checked_add(out.len()).and_then(|end| bytes.get(offset as usize..end));
        out.copy_from_slice(place.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, new: &[u8]) -> io::Result<()> {
        let mut bytes = self.bytes.lock().expect("not poisoned");
        let end = (offset as usize).checked_add(new.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.get_mut(offset as usize..end).ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(new);
        Ok(())
    }

    fn grow(&self, _from: u64, to: u64) -> io::Result<()> {
        if to as usize > self.most {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut bytes = self.bytes.lock().expect("not poisoned");
        let len = bytes.len().max(to as usize);
        bytes.resize(len, 0);
        Ok(())
    }

    fn truncate(&self, to: u64) -> io::Result<()> {
        self.bytes.lock().expect("not poisoned").truncate(to as usize);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// What reading a file gave; the same for every storage.
#[derive(Debug, PartialEq, Eq)]
struct Reading {
    sound: bool,
    shown: Option<u64>,
    keys: usize,
    rescued: Option<u64>,
}

/// Works on a file with these bytes in every way. Panics if a sound file is not treated as one.
pub fn file(bytes: &[u8]) {
    let storage = Bounded { bytes: Arc::new(Mutex::new(bytes.to_vec())), most: bytes.len() + MOST_GROWTH };
    let given = OpenOptions::new().open_storage("given", Box::new(storage)).ok();
    let in_memory = given.as_ref().map(read);
    let folder =
        if std::path::Path::new("/dev/shm").exists() { "/dev/shm".into() } else { std::env::temp_dir() };
    let mut temporary = tempfile::NamedTempFile::new_in(folder).expect("a temporary file can be made");
    io::Write::write_all(&mut temporary, bytes).expect("the temporary file can be written");
    let mapped = OpenOptions::new().no_sync(true).open(temporary.path()).ok();
    let from_map = mapped.as_ref().map(read);
    assert_eq!(in_memory, from_map, "the file reads otherwise when it is mapped");
    for (database, reading) in [(given, in_memory), (mapped, from_map)] {
        if let (Some(mut database), Some(reading)) = (database, reading) {
            write(&mut database, reading.sound);
        }
    }
}

fn read(database: &Database) -> Reading {
    let sound = database.check(|_, _| true).ok();
    let mut content = BTreeMap::new();
    let shown = database.traverse_read(|key, value| {
        content.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    });
    let shown = shown.ok();
    if let Some(report) = sound {
        assert_eq!(shown, Some(report.used), "a sound file shows each record");
        for (key, value) in &content {
            let found = database.fetch(key).expect("a sound file is read");
            assert!(
                content.len() as u64 != report.used || found.as_ref() == Some(value),
                "what is shown is found"
            );
        }
    }
    for key in content.keys().take(20) {
        let _ = (database.fetch(key), database.exists(key), database.parse_record(key, <[u8]>::len));
    }
    let _ =
        (database.fetch(b"key1"), database.seqnum(), database.summary().map(|summary| summary.to_string()));
    let _ = (database.freelist_size(), database.validate_freelist());
    let rescued = database.rescue(|_, _| {}).ok();
    Reading { sound: sound.is_some(), shown, keys: count_keys(database), rescued }
}

fn count_keys(database: &Database) -> usize {
    let limit = database.map_size() as usize / 24 + 2;
    let mut count = 0;
    let mut next = database.first_key().ok().flatten();
    while let Some(key) = next {
        count += 1;
        if count > limit {
            // A damaged chain may show one key again and again; a caller's own loop would notice nothing.
            return usize::MAX;
        }
        next = database.next_key(&key).ok().flatten();
    }
    count
}

fn write(database: &mut Database, sound: bool) {
    let must = |ok: bool, what: &str| assert!(ok || !sound, "{what} on a sound file");
    let value = vec![7; 700];
    must(database.store(b"key1", &value, StoreMode::Replace).is_ok(), "store");
    must(matches!(database.fetch(b"key1"), Ok(Some(found)) if found == value), "fetch after store");
    must(database.append(b"key2", b"more").is_ok(), "append");
    must(database.delete(b"key2").is_ok(), "delete");
    let _ = database.traverse(|key, _| {
        let _ = (database.delete(key), database.store(key, b"again", StoreMode::Replace));
        ControlFlow::Continue(())
    });
    let checked = database.check(|_, _| true);
    must(checked.is_ok(), &format!("check after changes ({:?})", checked.err()));
    if let Ok(transaction) = database.transaction() {
        let _ = transaction.store(b"key3", &value, StoreMode::Insert);
        let _ = transaction.append(b"key1", &value);
        let committed = transaction.commit();
        must(committed.is_ok(), &format!("commit ({:?})", committed.err()));
    }
    let repacked = database.repack();
    must(repacked.is_ok(), &format!("repack ({:?})", repacked.err()));
    let checked = database.check(|_, _| true);
    must(checked.is_ok(), &format!("check after repack ({:?})", checked.err()));
    if database.wipe_all().is_ok() {
        assert_eq!(database.traverse_read(|_, _| ControlFlow::Continue(())).ok(), Some(0), "wiped");
        let stored = database.store(b"key1", &value, StoreMode::Replace);
        must(stored.is_ok(), "store after wiping");
        if stored.is_ok() {
            assert!(
                matches!(database.fetch(b"key1"), Ok(Some(found)) if found == value),
                "fetch after wiping"
            );
        }
    }
}
