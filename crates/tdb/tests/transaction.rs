//! Transactions: nesting, and what every crash leaves, for us and for libtdb.
#![allow(clippy::unwrap_used)]

mod common;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use fastrand::Rng;
use tdb::compat::Tdb;
use tdb::storage::MemoryStorage;
use tdb::{
    Database, LockError, LockKind, OpenOptions, ReadError, Storage, StoreError, StoreMode, Transaction,
    TransactionError, Wait,
};

/// What the engine asked its storage for.
#[derive(Clone, Debug)]
enum Event {
    Write(u64, Vec<u8>),
    Grow(u64),
    Sync,
}

/// Memory that remembers what was done to it.
struct Recorder {
    memory: MemoryStorage,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Recorder {
    fn note(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }
}

impl Storage for Recorder {
    fn size(&self) -> io::Result<u64> {
        self.memory.size()
    }
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.memory.read_at(offset, out)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.note(Event::Write(offset, bytes.to_vec()));
        self.memory.write_at(offset, bytes)
    }
    fn grow(&self, from: u64, to: u64) -> io::Result<()> {
        self.note(Event::Grow(to));
        self.memory.grow(from, to)
    }
    fn truncate(&self, to: u64) -> io::Result<()> {
        self.memory.truncate(to)
    }
    fn sync(&self) -> io::Result<()> {
        self.note(Event::Sync);
        Ok(())
    }
}

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

fn content(database: &Database) -> Content {
    let content = RefCell::new(Content::new());
    database
        .traverse_read(|key, value| {
            content.borrow_mut().insert(key.to_vec(), value.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
    content.into_inner()
}

fn open_bytes(bytes: Vec<u8>) -> Database {
    OpenOptions::new().open_storage("crashed", Box::new(MemoryStorage::new(bytes))).unwrap()
}

fn apply(bytes: &mut Vec<u8>, event: &Event) {
    match event {
        Event::Write(at, new) => bytes[*at as usize..*at as usize + new.len()].copy_from_slice(new),
        Event::Grow(to) => bytes.resize(*to as usize, 0),
        Event::Sync => {}
    }
}

/// A database after some transactions, and the events of one more: its bytes before, its content before and after.
struct Crash {
    bytes: Vec<u8>,
    events: Vec<Event>,
    before: Content,
    after: Content,
}

fn change_randomly(database: &Transaction<'_>, rng: &mut Rng, many: u32) {
    for _ in 0..many {
        let key = format!("key{}", rng.u32(..60)).into_bytes();
        let longest = if rng.u8(..) < 10 { 9000 } else { 300 };
        let value = vec![rng.u8(..); rng.usize(..longest)];
        match rng.u8(..4) {
            0 => drop(database.delete(&key)),
            1 => database.append(&key, &value).unwrap(),
            _ => database.store(&key, &value, StoreMode::Replace).unwrap(),
        }
    }
}

fn recorded_commit(rng: &mut Rng) -> Crash {
    let events = Arc::new(Mutex::new(Vec::new()));
    let recorder = Recorder { memory: MemoryStorage::default(), events: Arc::clone(&events) };
    let mut database =
        OpenOptions::new().create(true).hash_size(7).open_storage("recorded", Box::new(recorder)).unwrap();
    let mut bytes = Vec::new();
    for _ in 0..rng.u32(..6) {
        let transaction = database.transaction().unwrap();
        let many = rng.u32(..30);
        change_randomly(&transaction, rng, many);
        transaction.commit().unwrap();
    }
    if rng.bool() {
        let transaction = database.transaction().unwrap();
        change_randomly(&transaction, rng, 20);
        transaction.commit().unwrap();
    }
    let before = content(&database);
    for event in events.lock().unwrap().drain(..) {
        apply(&mut bytes, &event);
    }
    let transaction = database.transaction().unwrap();
    let many = rng.u32(1..40);
    change_randomly(&transaction, rng, many);
    if rng.u8(..) < 20 {
        transaction.wipe_all().unwrap();
    }
    transaction.commit().unwrap();
    let after = content(&database);
    let events = events.lock().unwrap().clone();
    if events.is_empty() {
        // Deleting what was not there changes nothing.
        return recorded_commit(rng);
    }
    Crash { bytes, events, before, after }
}

/// T13: killed at any write, a process leaves the old database or, after the last sync, the new one.
#[test]
fn a_process_killed_at_any_write_leaves_all_or_nothing() {
    let mut rng = Rng::with_seed(testbed::seed("a_process_killed_at_any_write_leaves_all_or_nothing"));
    for _ in 0..30 {
        let crash = recorded_commit(&mut rng);
        let mut bytes = crash.bytes.clone();
        for (nth, event) in crash.events.iter().enumerate() {
            apply(&mut bytes, event);
            let database = open_bytes(bytes.clone());
            let found = content(&database);
            assert!(
                found == crash.before || found == crash.after,
                "event {nth} of {}: {:?}\n{}",
                crash.events.len(),
                brief(&crash),
                differences(&crash, &found)
            );
            database.check(|_, _| true).unwrap();
        }
        assert_eq!(content(&open_bytes(bytes)), crash.after);
    }
}

/// T13: when the power goes, any of the writes since the last sync may be missing, or torn at a sector's edge.
#[test]
fn power_lost_with_any_unsynced_writes_missing_leaves_all_or_nothing() {
    let mut rng =
        Rng::with_seed(testbed::seed("power_lost_with_any_unsynced_writes_missing_leaves_all_or_nothing"));
    for _ in 0..60 {
        let crash = recorded_commit(&mut rng);
        let mut synced = crash.bytes.clone();
        let syncs = crash.events.iter().filter(|event| matches!(event, Event::Sync)).count();
        for (nth, epoch) in crash.events.split_inclusive(|event| matches!(event, Event::Sync)).enumerate() {
            for _ in 0..6 {
                let bytes = lose_some(&synced, epoch, &mut rng);
                let database = open_bytes(bytes);
                let found = content(&database);
                assert!(
                    found == crash.before || found == crash.after,
                    "between syncs {nth} and {}: {:?}\n{}",
                    nth + 1,
                    brief(&crash),
                    differences(&crash, &found)
                );
                let report = database.check(|_, _| true);
                assert!(report.is_ok(), "between syncs {nth} and {} of {syncs}: {report:?}", nth + 1);
            }
            epoch.iter().for_each(|event| apply(&mut synced, event));
        }
    }
}

/// The bytes with each sector of each write of the epoch either there or not.
fn lose_some(synced: &[u8], epoch: &[Event], rng: &mut Rng) -> Vec<u8> {
    const SECTOR: u64 = 512;
    let mut bytes = synced.to_vec();
    let chance = rng.u8(1..=10);
    for event in epoch {
        match event {
            // A file's length may be durable before what was written there.
            Event::Grow(to) => bytes.resize(*to as usize, 0),
            Event::Sync => {}
            Event::Write(at, new) => {
                let mut done = 0;
                while done < new.len() {
                    let place = at + done as u64;
                    let len = ((SECTOR - place % SECTOR) as usize).min(new.len() - done);
                    if rng.u8(..10) < chance {
                        bytes[place as usize..place as usize + len].copy_from_slice(&new[done..done + len]);
                    }
                    done += len;
                }
            }
        }
    }
    bytes
}

/// T4, T13: libtdb recovers what we left half-done, and its check passes.
#[test]
fn libtdb_recovers_our_half_done_commit() {
    let Some(python) = common::python() else {
        return testbed::skip("recovery", "no python3-tdb");
    };
    let mut rng = Rng::with_seed(testbed::seed("libtdb_recovers_our_half_done_commit"));
    let folder = common::folder();
    for round in 0..6 {
        let crash = recorded_commit(&mut rng);
        let mut bytes = crash.bytes.clone();
        let killed_at: Vec<usize> = (0..4).map(|_| rng.usize(..crash.events.len())).collect();
        for (nth, event) in crash.events.iter().enumerate() {
            apply(&mut bytes, event);
            if !killed_at.contains(&nth) {
                continue;
            }
            let path = folder.path().join(format!("{round}-{nth}"));
            std::fs::write(&path, &bytes).unwrap();
            let printed = common::run_python(&python, &path, "db = tdb.open(path)\nprint(len(list(db)))");
            let said = common::peer_check(&path).unwrap_or_default();
            assert!(
                said.is_empty() || said.contains("integrity is OK"),
                "event {nth}: {said} {:?}",
                brief(&crash)
            );
            let found = content(&Database::open(&path).unwrap());
            assert_eq!(printed.trim(), found.len().to_string());
            assert!(found == crash.before || found == crash.after, "event {nth} of {}", crash.events.len());
        }
    }
}

/// What the found content has in common with neither.
fn differences(crash: &Crash, found: &Content) -> String {
    let brief = |value: Option<&Vec<u8>>| value.map(|value| (value.len(), value.first().copied()));
    let keys: std::collections::BTreeSet<_> =
        crash.before.keys().chain(crash.after.keys()).chain(found.keys()).collect();
    let line = |key: &&Vec<u8>| {
        let [before, after, found] =
            [&crash.before, &crash.after, found].map(|content| brief(content.get(*key)));
        (before != found || after != found)
            .then(|| format!("{key:?}: {before:?} {after:?} found {found:?}\n"))
    };
    keys.iter().filter_map(line).collect()
}

/// The events without their bytes, for messages.
fn brief(crash: &Crash) -> Vec<String> {
    let brief = |event: &Event| match event {
        Event::Write(at, bytes) => format!("write {at}+{}", bytes.len()),
        Event::Grow(to) => format!("grow {to}"),
        Event::Sync => "sync".to_owned(),
    };
    crash.events.iter().map(brief).collect()
}

/// T4: we recover what libtdb left half-done.
#[test]
fn we_recover_a_half_done_commit_of_libtdb() {
    let Some(python) = common::python() else {
        return testbed::skip("recovery", "no python3-tdb");
    };
    let folder = common::folder();
    for (flags, stores) in [("0", 3), ("0", 900), ("tdb.CONVERT", 900)] {
        let path = folder.path().join(format!("{flags}-{stores}"));
        let script = format!(
            "db = tdb.Tdb(path, 0, {flags}, os.O_RDWR | os.O_CREAT)\n\
             for i in range(300): db.store(b'k%d' % i, b'old' * 20)\n\
             db.transaction_start()\n\
             for i in range({stores}): db.store(b'k%d' % i, b'new' * 30)\n\
             db.transaction_prepare_commit()\n\
             os._exit(0)"
        );
        common::run_python(&python, &path, &script);
        let database = Database::open(&path).unwrap();
        assert_eq!(database.fetch(b"k1").unwrap(), Some(b"old".repeat(20)));
        assert_eq!(common::must_be_sound(&database), 300, "{flags} {stores}");
        database.store(b"more", b"work", StoreMode::Insert).unwrap();
        assert_eq!(common::must_be_sound(&database), 301, "{flags} {stores}");
    }
}

fn new_file(folder: &tempfile::TempDir, options: &mut OpenOptions) -> Database {
    options.create(true).no_sync(true).open(folder.path().join("file.tdb")).unwrap()
}

fn new_opening(folder: &tempfile::TempDir) -> Tdb {
    let mut options = OpenOptions::new();
    Tdb::open(options.create(true).no_sync(true), folder.path().join("file.tdb")).unwrap()
}

/// T5: in C's interface an inner cancel condemns the outer transaction; an inner commit does nothing yet.
#[test]
fn transactions_nest_as_libtdb_lets_them() {
    let folder = common::folder();
    let database = new_opening(&folder);
    database.transaction_start(Wait::Yes).unwrap();
    database.transaction_start(Wait::Yes).unwrap();
    database.store(b"a", b"1", StoreMode::Insert).unwrap();
    database.transaction_commit().unwrap();
    assert!(database.transaction_active());
    database.transaction_commit().unwrap();
    assert!(database.exists(b"a").unwrap());

    database.transaction_start(Wait::Yes).unwrap();
    database.store(b"b", b"1", StoreMode::Insert).unwrap();
    database.transaction_start(Wait::Yes).unwrap();
    database.transaction_cancel().unwrap();
    assert!(matches!(database.transaction_commit(), Err(TransactionError::InnerCancelled)));
    assert!(!database.transaction_active());
    assert!(!database.exists(b"b").unwrap());

    database.remove_flags(tdb::Flags::ALLOW_NESTING);
    database.transaction_start(Wait::Yes).unwrap();
    assert!(matches!(database.transaction_start(Wait::Yes), Err(TransactionError::Nesting)));
    database.transaction_cancel().unwrap();
}

/// T5: after an inner cancel, what ends inside ends alone: an inner commit fails and leaves the outer transaction open,
/// condemned, so that what is stored next does not reach the file. It once ended the outer one, and the store was written for good.
#[test]
fn what_ends_inside_a_condemned_transaction_leaves_the_outer_one_open() {
    let folder = common::folder();
    let database = new_opening(&folder);
    for prepare_inner in [false, true] {
        for prepare_outer in [false, true] {
            database.transaction_start(Wait::Yes).unwrap();
            if prepare_outer {
                database.transaction_prepare_commit().unwrap();
            }
            database.transaction_start(Wait::Yes).unwrap();
            database.transaction_cancel().unwrap();
            database.transaction_start(Wait::Yes).unwrap();
            if prepare_inner {
                database.transaction_prepare_commit().unwrap_err();
            } else {
                let refused = database.transaction_commit();
                assert!(matches!(refused, Err(TransactionError::InnerCancelled)), "{refused:?}");
            }
            assert!(database.transaction_active(), "prepared: {prepare_outer}");
            let _ = database.store(b"x", b"must not stay", StoreMode::Replace);
            database.transaction_commit().unwrap_err();
            assert!(!database.transaction_active());
            assert!(!database.exists(b"x").unwrap());
        }
    }
}

/// T17: an inner transaction is part of the outer one when it is committed, and undone when it is not; so is what comes
/// after a savepoint.
#[test]
fn inner_transactions_and_savepoints_undo_their_own() {
    let folder = common::folder();
    let mut database = new_file(&folder, &mut OpenOptions::new());
    let mut other = database.another().unwrap();
    let mut outer = database.transaction().unwrap();
    let stale = outer.savepoint();
    outer.store("a", "1", StoreMode::Insert).unwrap();
    let inner = outer.nested();
    inner.store("b", "1", StoreMode::Insert).unwrap();
    inner.commit();
    let mut inner = outer.nested();
    inner.store("a", "2", StoreMode::Modify).unwrap();
    inner.delete("b").unwrap();
    assert!(matches!(inner.rollback_to(&stale), Err(TransactionError::StaleSavepoint)));
    let within = inner.savepoint();
    inner.store("c", vec![1; 90_000], StoreMode::Insert).unwrap();
    inner.rollback_to(&within).unwrap();
    assert!(!inner.exists("c").unwrap() && !inner.exists("b").unwrap());
    drop(inner);
    assert_eq!(outer.fetch("a").unwrap().as_deref(), Some(&b"1"[..]));
    assert!(outer.exists("b").unwrap());
    assert!(matches!(outer.rollback_to(&within), Err(TransactionError::StaleSavepoint)));

    let point = outer.savepoint();
    for round in 0..3 {
        outer.store("d", vec![round; 1000], StoreMode::Replace).unwrap();
        outer.store("a", vec![round; 50], StoreMode::Replace).unwrap();
        outer.rollback_to(&point).unwrap();
        assert!(!outer.exists("d").unwrap());
        assert_eq!(outer.fetch("a").unwrap().as_deref(), Some(&b"1"[..]));
    }
    outer.commit().unwrap();
    assert_eq!(content(&database).len(), 2);
    common::must_be_sound(&database);
    assert!(matches!(
        other.transaction().unwrap().rollback_to(&point),
        Err(TransactionError::StaleSavepoint)
    ));
}

/// T9: a forgotten transaction is cancelled, and its locks are gone.
#[test]
fn a_dropped_transaction_is_cancelled() {
    let folder = common::folder();
    let mut database = new_file(&folder, &mut OpenOptions::new());
    let mut other = database.another().unwrap();
    {
        let transaction = database.transaction().unwrap();
        transaction.store(b"a", b"1", StoreMode::Insert).unwrap();
        assert!(matches!(other.try_transaction(), Err(TransactionError::Lock(LockError::WouldBlock))));
    }
    assert!(!database.exists(b"a").unwrap());
    other.try_transaction().unwrap().commit().unwrap();
}

/// T5: between prepare and commit nothing can change, and a cancel still leaves the old database.
#[test]
fn a_prepared_transaction_only_ends() {
    let folder = common::folder();
    let database = new_opening(&folder);
    database.store(b"a", b"old", StoreMode::Insert).unwrap();
    database.transaction_start(Wait::Yes).unwrap();
    database.store(b"a", b"new", StoreMode::Modify).unwrap();
    database.transaction_prepare_commit().unwrap();
    assert!(matches!(database.store(b"b", b"", StoreMode::Insert), Err(StoreError::Access(_))));
    database.transaction_cancel().unwrap();
    assert_eq!(database.fetch(b"a").unwrap().as_deref(), Some(&b"old"[..]));
    common::must_be_sound(&database);
    drop(database);

    let mut database = new_file(&folder, &mut OpenOptions::new());
    for (cancelled, value) in [(true, &b"old"[..]), (false, b"new")] {
        let transaction = database.transaction().unwrap();
        transaction.store(b"a", b"new", StoreMode::Modify).unwrap();
        let prepared = transaction.prepare_commit().unwrap();
        if cancelled { prepared.cancel() } else { prepared.commit() }.unwrap();
        assert_eq!(database.fetch(b"a").unwrap().as_deref(), Some(value));
        common::must_be_sound(&database);
    }
}

/// T5: what libtdb refuses inside locks and traverses is refused.
#[test]
fn locks_and_traverses_exclude_what_they_must() {
    let folder = common::folder();
    let database = new_opening(&folder);
    database.store(b"a", b"1", StoreMode::Insert).unwrap();
    let refused = || {
        let started = database.transaction_start(Wait::Yes);
        matches!(started, Err(TransactionError::Lock(LockError::Conflict { .. })))
    };
    database.lock_chain(b"a", LockKind::Write, Wait::Yes).unwrap();
    assert!(refused());
    assert!(matches!(database.lock_all(LockKind::Write, Wait::Yes), Err(LockError::Conflict { .. })));
    database.unlock_chain(b"a", LockKind::Write).unwrap();
    let going_on = |good: bool| {
        assert!(good);
        ControlFlow::Continue(())
    };
    database.traverse(|_, _| going_on(refused())).unwrap();
    database
        .traverse_read(|key, _| going_on(matches!(database.delete(key), Err(StoreError::ReadOnly { .. }))))
        .unwrap();
    let stored = database.parse_record(b"a", |_| database.store(b"b", b"", StoreMode::Insert));
    assert!(matches!(stored, Ok(Some(Ok(())))), "{stored:?}");
    assert!(matches!(
        database.traverse_chain(131, |_, _| ControlFlow::Continue(())),
        Err(ReadError::NoSuchChain { .. })
    ));
}

/// T4, T21: a reader without locks sees the database as before a commit that another process is at, the next one too, and as it is
/// once that has ended; without being asked for, it is refused.
#[test]
fn a_reader_without_locks_sees_no_half_of_a_commit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tdb");
    let mut database = Database::create_new(&path).unwrap();
    database.store("key", "0", StoreMode::Insert).unwrap();
    let reader = OpenOptions::new().read_only(true).undo_in_memory(true).open(&path).unwrap();
    let refused = OpenOptions::new().read_only(true).open(&path).unwrap();
    for round in 1..4u32 {
        let transaction = database.transaction().unwrap();
        let value = format!("{round} {}", "x".repeat(2000 * round as usize));
        transaction.store("key", &value, StoreMode::Replace).unwrap();
        let prepared = transaction.prepare_commit().unwrap();

        let before = reader.fetch("key").unwrap().unwrap();
        assert_eq!(before[0], b'0' + round as u8 - 1, "the commit before this one");
        assert_eq!(reader.check(|_, _| true).unwrap().used, 1);
        assert!(matches!(refused.fetch("key"), Err(ReadError::Lock(LockError::Recovery(_)))));

        prepared.commit().unwrap();
        assert_eq!(reader.fetch("key").unwrap().unwrap(), value.as_bytes());
        assert_eq!(reader.check(|_, _| true).unwrap().used, 1);
    }
}
