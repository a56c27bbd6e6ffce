//! Random operations on every kind of storage, against an ordered map.
#![allow(clippy::unwrap_used)]

mod common;

use common::Dialect;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use fastrand::Rng;
use tdb::compat::Tdb;
use tdb::storage::MemoryStorage;
use tdb::{ByteOrder, Flags, HashFunction, OpenOptions, StoreError, StoreMode, TransactionError};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn random_value(rng: &mut Rng) -> Vec<u8> {
    let len = if rng.u8(..) < 4 { rng.usize(..20_000) } else { rng.usize(..180) };
    (0..len).map(|_| rng.u8(..)).collect()
}

fn step(database: &Tdb, model: &mut Model, rng: &mut Rng) {
    let key = format!("key{}", rng.u32(..120)).into_bytes();
    match rng.u32(..100) {
        0..30 => {
            let value = random_value(rng);
            database.store(&key, &value, StoreMode::Replace).unwrap();
            model.insert(key, value);
        }
        30..38 => {
            let value = random_value(rng);
            match database.store(&key, &value, StoreMode::Insert) {
                Ok(()) => assert_eq!(model.insert(key, value), None),
                Err(StoreError::Exists) => assert!(model.contains_key(&key)),
                Err(error) => panic!("{error}"),
            }
        }
        38..46 => {
            let value = random_value(rng);
            match database.store(&key, &value, StoreMode::Modify) {
                Ok(()) => assert!(model.insert(key, value).is_some()),
                Err(StoreError::NoSuchRecord) => assert!(!model.contains_key(&key)),
                Err(error) => panic!("{error}"),
            }
        }
        46..56 => {
            let more = random_value(rng);
            database.append(&key, &more).unwrap();
            model.entry(key).or_default().extend(more);
        }
        56..78 => match database.delete(&key) {
            Ok(()) => assert!(model.remove(&key).is_some()),
            Err(StoreError::NoSuchRecord) => assert!(!model.contains_key(&key)),
            Err(error) => panic!("{error}"),
        },
        78..96 => {
            assert_eq!(database.fetch(&key).unwrap().as_ref(), model.get(&key));
            assert_eq!(database.parse_record(&key, <[u8]>::len).unwrap(), model.get(&key).map(Vec::len));
            assert_eq!(database.exists(&key).unwrap(), model.contains_key(&key));
        }
        96 => traverse_and_change(database, model, rng),
        97 if rng.u8(..) < 60 => {
            database.wipe_all().unwrap();
            model.clear();
        }
        _ => must_match(database, model),
    }
}

/// T6: what a callback deletes or stores is seen by the same traverse as libtdb's is.
fn traverse_and_change(database: &Tdb, model: &mut Model, rng: &mut Rng) {
    let mut seen = Model::new();
    let mut deleted = Vec::new();
    let mut changed = Model::new();
    database
        .traverse(|key, value| {
            assert!(!deleted.contains(&key.to_vec()), "a deleted record was shown");
            assert!(seen.insert(key.to_vec(), value.to_vec()).is_none(), "a record was shown twice");
            let expected = changed.get(key).or(model.get(key)).expect("only what is there is shown");
            assert_eq!(value, expected);
            let other = format!("key{}", rng.u32(..120)).into_bytes();
            match rng.u8(..4) {
                0 if database.delete(&other).is_ok() => deleted.push(other),
                1 => {
                    let value = random_value(rng);
                    if database.store(&other, &value, StoreMode::Modify).is_ok() {
                        changed.insert(other, value);
                    }
                }
                _ => {}
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    model.extend(changed);
    for key in deleted {
        model.remove(&key);
    }
}

fn must_match(database: &Tdb, model: &Model) {
    let mut seen = Model::new();
    let count = database.traverse_read(|key, value| {
        seen.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    });
    assert_eq!(count.unwrap(), model.len() as u64);
    assert_eq!(&seen, model);
    let mut keys = Vec::new();
    let mut next = database.first_key().unwrap();
    while let Some(key) = next {
        next = database.next_key(&key).unwrap();
        keys.push(key);
    }
    keys.sort();
    assert!(keys.iter().eq(model.keys()));
    assert_eq!(database.check(|_, _| true).unwrap().used, model.len() as u64);
}

fn run(name: &str, database: &Tdb, steps: u32, transactions: bool) {
    let seed = testbed::seed(name);
    let mut rng = Rng::with_seed(seed);
    let mut model = Model::new();
    let mut before = None;
    // Miri is a thousand times slower.
    let steps = if cfg!(miri) { steps / 60 } else { steps };
    for _ in 0..steps {
        if transactions && before.is_none() && rng.u8(..) < 8 {
            database.transaction_start(tdb::Wait::Yes).unwrap();
            before = Some(model.clone());
        }
        step(database, &mut model, &mut rng);
        if before.is_some() && rng.u8(..) < 8 {
            let old = before.take().unwrap();
            if rng.bool() {
                database.transaction_commit().unwrap();
            } else {
                database.transaction_cancel().unwrap();
                model = old;
            }
            must_match(database, &model);
        }
        if transactions && before.is_none() && rng.u16(..) < 30 {
            database.repack().unwrap();
            must_match(database, &model);
        }
    }
    if before.is_some() {
        database.transaction_commit().unwrap();
    }
    must_match(database, &model);
}

/// T5, T6: on a mapped file.
#[test]
fn a_mapped_file_behaves_as_a_map() {
    let folder = common::folder();
    let database =
        OpenOptions::new().create(true).hash_size(11).open_in_dialect(folder.path().join("a")).unwrap();
    run("a_mapped_file_behaves_as_a_map", &database, 6000, true);
    common::must_be_sound(&database);
}

/// T1, T5: on a file of the other byte order, without mapping, with the other hash.
#[test]
fn a_foreign_file_without_mapping_behaves_as_a_map() {
    let folder = common::folder();
    let database = OpenOptions::new()
        .create(true)
        .no_mmap(true)
        .byte_order(ByteOrder::FOREIGN)
        .hash(HashFunction::Jenkins)
        .hash_size(5)
        .open_in_dialect(folder.path().join("a"))
        .unwrap();
    run("a_foreign_file_without_mapping_behaves_as_a_map", &database, 3000, true);
    common::must_be_sound(&database);
}

/// T5: with deleted records kept on their chains, and without locks.
#[test]
fn volatile_and_lockless_files_behave_as_maps() {
    let folder = common::folder();
    for flags in [Flags::VOLATILE, Flags::NOLOCK, Flags::NOSYNC | Flags::SEQNUM] {
        let path = folder.path().join(format!("{flags:?}"));
        let database =
            OpenOptions::new().flags(flags).create(true).hash_size(11).open_in_dialect(path).unwrap();
        run("volatile_and_lockless_files_behave_as_maps", &database, 3000, true);
        common::must_be_sound(&database);
    }
}

/// T5: in memory.
#[test]
fn a_database_in_memory_behaves_as_a_map() {
    let database = OpenOptions::new().internal(true).open_in_dialect("memory").unwrap();
    run("a_database_in_memory_behaves_as_a_map", &database, 6000, false);
    assert!(matches!(database.transaction_start(tdb::Wait::Yes), Err(TransactionError::NotPossible { .. })));
}

/// T15: in bytes that someone else keeps.
#[test]
fn a_database_in_given_storage_behaves_as_a_map() {
    let storage = Box::new(MemoryStorage::default());
    let options = OpenOptions::new().create(true).hash_size(3).clone();
    let database = Tdb::open_storage(&options, "given", storage).unwrap();
    run("a_database_in_given_storage_behaves_as_a_map", &database, 3000, true);
}
