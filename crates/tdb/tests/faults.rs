//! Every operation, with the system failing at every single call it makes.

mod common;
#[path = "support/faulty.rs"]
mod faulty;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use faulty::{CALLS, Call, Fault, Faulty};
use tdb::{ByteOrder, Database, OpenOptions, StoreMode, Transaction};

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// An operation that is all or nothing, or one that a failed write can leave half-done.
struct Case {
    name: &'static str,
    atomic: bool,
    run: fn(&mut Database) -> Result<(), String>,
}

fn text<E: std::fmt::Display>(error: E) -> String {
    error.to_string()
}

fn store(database: &Database, key: &[u8], len: usize) -> Result<(), String> {
    database.store(key, vec![9; len], StoreMode::Replace).map_err(text)
}

fn put(transaction: &Transaction<'_>, key: &[u8], len: usize) -> Result<(), String> {
    transaction.store(key, vec![9; len], StoreMode::Replace).map_err(text)
}

fn transact(
    database: &mut Database,
    run: impl FnOnce(&mut Transaction<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let mut transaction = database.transaction().map_err(text)?;
    run(&mut transaction)?;
    transaction.commit().map_err(text)
}

const CASES: [Case; 14] = [
    Case { name: "store in place", atomic: false, run: |database| store(database, b"key3", 30) },
    Case { name: "store that grows", atomic: false, run: |database| store(database, b"key3", 900) },
    Case { name: "insert", atomic: false, run: |database| store(database, b"new", 20) },
    Case { name: "insert of much", atomic: false, run: |database| store(database, b"new", 70_000) },
    Case { name: "append", atomic: false, run: |database| database.append(b"key4", [8; 200]).map_err(text) },
    Case { name: "delete", atomic: false, run: |database| database.delete(b"key5").map_err(text) },
    Case { name: "wipe", atomic: false, run: |database| database.wipe_all().map_err(text) },
    Case {
        name: "small transaction",
        atomic: true,
        run: |database| transact(database, |inner| put(inner, b"key3", 31)),
    },
    Case {
        name: "transaction that grows the file",
        atomic: true,
        run: |database| transact(database, |inner| (0..9).try_for_each(|nth| put(inner, &[nth], 20_000))),
    },
    Case {
        name: "transaction that deletes all",
        atomic: true,
        run: |database| {
            transact(database, |inner| {
                (0..30).try_for_each(|nth| inner.delete(format!("key{nth}").as_bytes()).map_err(text))
            })
        },
    },
    Case {
        name: "nested transaction",
        atomic: true,
        run: |database| {
            transact(database, |outer| {
                put(outer, b"outer", 100)?;
                let inner = outer.nested();
                put(&inner, b"inner", 2000)?;
                inner.commit();
                put(&outer.nested(), b"undone", 2000)
            })
        },
    },
    Case {
        name: "prepared transaction",
        atomic: true,
        run: |database| {
            let transaction = database.transaction().map_err(text)?;
            put(&transaction, b"key3", 1000)?;
            transaction.prepare_commit().map_err(text)?.commit().map_err(text)
        },
    },
    Case {
        name: "wipe in a transaction",
        atomic: true,
        run: |database| transact(database, |inner| inner.wipe_all().map_err(text)),
    },
    Case { name: "repack", atomic: true, run: |database| database.repack().map_err(text) },
];

fn content(database: &Database) -> Result<Content, String> {
    let mut content = Content::new();
    let shown = database.traverse_read(|key, value| {
        content.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    });
    shown.map_err(text)?;
    Ok(content)
}

/// A database to begin with; `with_area` after a commit, so that it has a recovery area.
fn base(order: ByteOrder, with_area: bool) -> Vec<u8> {
    let storage = Faulty::default();
    let mut options = OpenOptions::new();
    options.create(true).hash_size(3).byte_order(order);
    let mut database = options.open_storage("base", Box::new(storage.clone())).expect("a new database");
    for number in 0..30 {
        store(&database, format!("key{number}").as_bytes(), number * 7).expect("store");
    }
    if with_area {
        transact(&mut database, |inner| put(inner, b"key7", 500)).expect("a transaction");
    }
    drop(database);
    storage.bytes()
}

#[derive(Debug, Default)]
struct Tally {
    failures: u32,
    /// Of plain operations whose read or write failed: the check found damage.
    damaged: u32,
}

/// Runs a case with each single call of a kind failing.
fn fail_everywhere(case: &Case, base: &[u8], call: Call, lasting: bool, tally: &mut Tally) {
    let open = |storage: &Faulty| OpenOptions::new().open_storage("faulty", Box::new(storage.clone()));
    let before =
        content(&open(&Faulty::new(base.to_vec())).expect("the base opens")).expect("the base is read");
    for after in 0.. {
        let context =
            format!("{}: {call:?} {after} fails{}", case.name, if lasting { " for good" } else { "" });
        let storage = Faulty::new(base.to_vec());
        let mut database = open(&storage).expect("the base opens");
        storage.set(Some(Fault { call, after, lasting }));
        let done = (case.run)(&mut database);
        if storage.set(None) == 0 {
            done.unwrap_or_else(|error| panic!("{context}: nothing failed, but: {error}"));
            return;
        }
        tally.failures += 1;
        // Nothing here may go on as if nothing had happened: not one of these calls is made for its own sake.
        assert!(done.is_err(), "{context}, and nobody was told");
        if !case.atomic && call != Call::Grow {
            judge_plain(&database, &before, &context, tally);
            continue;
        }
        // The handle that saw the failure, and whoever opens the file next.
        for (who, database) in [("same handle", database), ("next opener", open(&storage).expect("it opens"))]
        {
            let after = content(&database).unwrap_or_else(|error| panic!("{context}, {who}: {error}"));
            let checked = database.check(|_, _| true);
            checked.unwrap_or_else(|error| panic!("{context}, {who}: {error}"));
            assert!(after == before, "{context}, {who}: an error, and the database has changed");
        }
    }
}

/// A plain operation that could not go on may be half-done, but only its own record may be other than before.
fn judge_plain(database: &Database, before: &Content, context: &str, tally: &mut Tally) {
    if database.check(|_, _| true).is_err() {
        tally.damaged += 1;
    }
    let Ok(after) = content(database) else { return };
    let touched = [&b"key3"[..], b"new", b"key4", b"key5"];
    let lost = before
        .iter()
        .filter(|(key, value)| !touched.contains(&&key[..]) && after.get(*key) != Some(value))
        .count();
    assert!(lost == 0 || context.starts_with("wipe"), "{context}: {lost} other records were lost");
}

/// T14: a read, write, short write, growth or sync that fails gives an error (swallowing one, a sync above all, fails this test)
/// and leaves the database as before; for a plain store whose read or write fails in the middle that is promised of all
/// other records only.
#[test]
fn every_single_failure_gives_an_error_and_changes_nothing() {
    for order in [ByteOrder::NATIVE, ByteOrder::FOREIGN] {
        for with_area in [false, true] {
            let base = base(order, with_area);
            for call in CALLS {
                let mut tally = Tally::default();
                for case in &CASES {
                    for lasting in [false, true] {
                        fail_everywhere(case, &base, call, lasting, &mut tally);
                    }
                }
                println!("faults: {order:?}, recovery area {with_area}, {call:?}: {tally:?}");
            }
        }
    }
}

/// A database whose file a failed commit has left longer: what it grew by belongs to nothing.
fn with_a_lost_end(bytes: Vec<u8>) -> Faulty {
    for after in 0.. {
        let storage = Faulty::new(bytes.clone());
        let mut database =
            OpenOptions::new().open_storage("lost", Box::new(storage.clone())).expect("it opens");
        storage.set(Some(Fault { call: Call::Write, after, lasting: true }));
        let done = transact(&mut database, |inner| put(inner, b"key3", 20));
        assert!(storage.set(None) > 0, "nothing failed, and no commit had made the file longer: {done:?}");
        if storage.bytes().len() > bytes.len() {
            return storage;
        }
    }
    unreachable!("the numbers do not end")
}

/// T11, T13: what failed commits leave at the end of a file is used by the next commit, and records that were stored
/// behind such a hole are not taken for a part of it.
#[test]
fn what_a_failed_commit_left_at_the_end_is_no_danger_to_later_ones() {
    let open = |storage: &Faulty| OpenOptions::new().open_storage("lost", Box::new(storage.clone()));
    let storage = with_a_lost_end(base(ByteOrder::NATIVE, false));
    let mut database = open(&storage).expect("it opens");
    assert!(database.check(|_, _| true).expect("the check passes").lost_bytes > 0, "nothing was left over");
    transact(&mut database, |inner| put(inner, b"key3", 20)).expect("nothing fails");
    assert_eq!(database.check(|_, _| true).expect("the check passes").lost_bytes, 0);

    let storage = with_a_lost_end(base(ByteOrder::NATIVE, false));
    let database = open(&storage).expect("it opens");
    store(&database, b"behind the hole", 70_000).expect("nothing fails");
    let lost_twice = with_a_lost_end(storage.bytes()).bytes();
    let mut failed = 0;
    for after in 0.. {
        let storage = Faulty::new(lost_twice.clone());
        let mut database = open(&storage).expect("it opens");
        let before = content(&database).expect("it can be read");
        storage.set(Some(Fault { call: Call::Write, after, lasting: false }));
        let done = transact(&mut database, |inner| put(inner, b"key3", 20_000));
        if storage.set(None) == 0 {
            done.expect("nothing failed");
            break;
        }
        failed += 1;
        assert_eq!(content(&database).expect("it can be read"), before, "after write {after} failed");
        database.check(|_, _| true).unwrap_or_else(|error| panic!("after write {after} failed: {error}"));
    }
    assert!(failed > 5, "a commit writes more often than that");
}
