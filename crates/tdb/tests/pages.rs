//! A database inside another system's pages: they are lent, exchanged under an open handle, and changed by taking a
//! transaction's changes out of it.
#![allow(clippy::unwrap_used)]

#[path = "support/snapshot.rs"]
mod snapshot;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use fastrand::Rng;
use snapshot::Snapshot;
use tdb::storage::MemoryStorage;
use tdb::{Database, OpenOptions, StoreMode};

/// The bytes of a new, empty database.
fn empty(hash_size: u32) -> Vec<u8> {
    let mut options = OpenOptions::new();
    let database = options.create(true).hash_size(hash_size);
    let database = database.open_storage("new", Box::<MemoryStorage>::default()).unwrap();
    let mut bytes = vec![0; database.map_size() as usize];
    let storage = database.into_storage().expect("it was opened in one");
    storage.read_at(0, &mut bytes).unwrap();
    bytes
}

fn content(database: &Database) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut content = BTreeMap::new();
    let shown = database.traverse_read(|key, value| {
        content.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    });
    assert_eq!(shown.unwrap(), content.len() as u64);
    content
}

/// T17, T18: versions follow each other, each the one before with a transaction's changes, and a reader that is given
/// them one after the other sees each whole; the writer's own handle stays as it is until it is given the next.
#[test]
fn a_handle_follows_the_versions_of_its_storage() {
    let mut rng = Rng::with_seed(testbed::seed("a_handle_follows_the_versions_of_its_storage"));
    let mut snapshot = Snapshot::of(&empty(11));
    let open =
        |snapshot: &Snapshot| OpenOptions::new().open_storage("kv", Box::new(snapshot.clone())).unwrap();
    let (mut writer, mut reader) = (open(&snapshot), open(&snapshot));
    let mut model = BTreeMap::new();
    for version in 0..60_u32 {
        let before = model.clone();
        let mut transaction = writer.transaction().unwrap();
        for _ in 0..rng.u32(1..12) {
            let key = format!("key{}", rng.u32(..40)).into_bytes();
            let point = transaction.savepoint();
            let value = vec![rng.u8(..); rng.usize(..3000)];
            let kept = rng.u8(..4) > 0;
            if rng.u8(..4) == 0 && model.contains_key(&key) {
                transaction.delete(&key).unwrap();
                if kept {
                    model.remove(&key);
                }
            } else {
                transaction.store(&key, &value, StoreMode::Replace).unwrap();
                if kept {
                    model.insert(key, value);
                }
            }
            if !kept {
                transaction.rollback_to(&point).unwrap();
            }
        }
        let changes = transaction.into_changes().unwrap();
        for pair in changes.ranges.windows(2) {
            assert!(pair[0].offset as usize + pair[0].bytes.len() < pair[1].offset as usize);
        }
        assert_eq!(content(&writer), before, "version {version} is not there yet");

        snapshot = snapshot.with(&changes);
        writer.exchange(Box::new(snapshot.clone())).unwrap();
        assert_eq!(content(&reader), before, "the reader keeps its version");
        reader.exchange(Box::new(snapshot.clone())).unwrap();
        assert_eq!(content(&reader), model, "version {version}");
        writer.check(|_, _| true).unwrap();
        for (key, value) in &model {
            assert_eq!(writer.fetch(key).unwrap().as_ref(), Some(value));
        }
    }
}

/// T18: a page is lent once, however often it is looked at, until the storage is exchanged.
#[test]
fn a_page_that_was_lent_is_not_asked_for_again() {
    let mut database = OpenOptions::new().open_storage("kv", Box::new(Snapshot::of(&empty(11)))).unwrap();
    let transaction = database.transaction().unwrap();
    transaction.store("key", "value", StoreMode::Insert).unwrap();
    let snapshot = Snapshot::of(&empty(11)).with(&transaction.into_changes().unwrap());
    database.exchange(Box::new(snapshot.clone())).unwrap();
    assert_eq!(database.fetch("key").unwrap().as_deref(), Some(&b"value"[..]));
    let lent = snapshot.lent.load(Ordering::Relaxed);
    assert!(lent > 0);
    for _ in 0..100 {
        database.fetch("key").unwrap();
    }
    assert_eq!(snapshot.lent.load(Ordering::Relaxed), lent);
    database.exchange(Box::new(snapshot.clone())).unwrap();
    database.fetch("key").unwrap();
    assert!(snapshot.lent.load(Ordering::Relaxed) > lent);
}

/// T18: a storage with another kind of database is refused, and the handle stays as it is.
#[test]
fn only_a_storage_of_the_same_shape_is_taken_in_exchange() {
    let folder = tempfile::tempdir().unwrap();
    let mut database = OpenOptions::new().open_storage("kv", Box::new(Snapshot::of(&empty(11)))).unwrap();
    for other in [empty(13), vec![7; 5000], vec![]] {
        assert!(database.exchange(Box::new(Snapshot::of(&other))).is_err());
        assert!(content(&database).is_empty());
    }
    let mut in_file = OpenOptions::new().create(true).hash_size(11).open(folder.path().join("a")).unwrap();
    assert!(in_file.exchange(Box::new(Snapshot::of(&empty(11)))).is_err());
    in_file.store("k", "v", StoreMode::Insert).unwrap();
}

/// T17: a commit to a storage that cannot be written is an error, and changes nothing.
#[test]
fn a_commit_to_pages_that_cannot_be_written_is_refused() {
    let mut database = OpenOptions::new().open_storage("kv", Box::new(Snapshot::of(&empty(11)))).unwrap();
    let transaction = database.transaction().unwrap();
    transaction.store("key", "value", StoreMode::Insert).unwrap();
    assert!(transaction.commit().is_err());
    assert!(content(&database).is_empty());
}
