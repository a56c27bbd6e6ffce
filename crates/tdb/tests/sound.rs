//! T16: what programs without `unsafe` may do with values, handles and guards.
#![allow(clippy::unwrap_used)]

use tdb::{Database, LockKind, OpenOptions, StoreMode, Wait};

/// T16: a value that is being looked at stays as it is, whoever stores, through whatever handle.
#[test]
fn a_shown_value_does_not_change() {
    let folder = tempfile::tempdir().unwrap();
    let database = OpenOptions::new().create(true).open(folder.path().join("a.tdb")).unwrap();
    let other = database.another().unwrap();
    database.store(b"k", b"AAAA", StoreMode::Replace).unwrap();

    let shown = database.parse_record(b"k", |value| {
        other.store(b"k", b"BBBB", StoreMode::Replace).unwrap();
        let seen = value.to_vec();
        database.store(b"k", b"CCCC", StoreMode::Replace).unwrap();
        let inner = database.parse_record(b"k", <[u8]>::to_vec).unwrap().unwrap();
        (seen, value.to_vec(), inner)
    });

    assert_eq!(shown.unwrap().unwrap(), (b"AAAA".to_vec(), b"AAAA".to_vec(), b"CCCC".to_vec()));
}

/// T16: the file may grow, and its mapping move, while a value is looked at.
#[test]
fn a_shown_value_survives_the_growth_of_the_file() {
    for internal in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tdb");
        let database = OpenOptions::new().create(true).internal(internal).open(path).unwrap();
        database.store(b"k", [7; 5000], StoreMode::Replace).unwrap();
        let same = database.parse_record(b"k", |value| {
            for nth in 0..200_u32 {
                database.store(nth.to_le_bytes(), vec![1; 100_000], StoreMode::Replace).unwrap();
            }
            value == [7; 5000]
        });
        assert_eq!(same.unwrap(), Some(true));
    }
}

fn with_mutexes(path: &std::path::Path) -> Database {
    let mut options = OpenOptions::new();
    // SAFETY: these tests alone write to their files, by the rules.
    unsafe { options.mutex_locking(true) };
    options.create(true).hash_size(7).open(path).expect("a database with mutexes")
}

/// T16: a handle that is dropped with a lock of its own forgotten gives it back, be it a mutex or a byte range; the thread
/// locks others afterwards, which the C library's list of mutexes must survive.
#[test]
fn a_forgotten_guard_ends_with_its_handle() {
    let folder = tempfile::tempdir().unwrap();
    let open = |mutexes: bool, name: &str| {
        let path = folder.path().join(format!("{name}.{mutexes}"));
        if mutexes { with_mutexes(&path) } else { OpenOptions::new().create(true).open(path).unwrap() }
    };
    for mutexes in [false, true] {
        for everything in [false, true] {
            let (a, b) = (open(mutexes, "a"), open(mutexes, "b"));
            if everything {
                std::mem::forget(a.all_record_lock(LockKind::Write, Wait::Yes).unwrap());
            } else {
                std::mem::forget(a.chain_lock("k", LockKind::Write, Wait::Yes).unwrap());
            }
            drop(a);
            b.store("x", "y", StoreMode::Replace).unwrap();
            let again = open(mutexes, "a");
            drop(again.chain_lock("k", LockKind::Write, Wait::No).unwrap());
        }
    }
}

/// T16: the same where another thread drops the handle, which cannot give a mutex back: the thread that took it goes on
/// locking, and its end frees the mutex.
#[test]
fn a_handle_with_a_forgotten_guard_may_end_in_another_thread() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("a"), folder.path().join("b"));
    let mine = with_mutexes(&path);
    let kept = with_mutexes(&path);
    std::thread::spawn(move || {
        let others = with_mutexes(&other);
        let taken = with_mutexes(&path);
        std::mem::forget(taken.chain_lock("k", LockKind::Write, Wait::Yes).unwrap());
        std::thread::spawn(move || drop(taken)).join().unwrap();
        for _ in 0..3 {
            others.store("x", "y", StoreMode::Replace).unwrap();
        }
        let refused = kept.chain_lock("k", LockKind::Write, Wait::No);
        assert!(refused.is_err(), "it is this thread's");
    })
    .join()
    .unwrap();
    mine.store("k", "v", StoreMode::Insert).expect("its holder is gone");
}

/// T16, T17: nothing of a forgotten transaction is stored, and the handle's next operation gives its locks back.
#[test]
fn a_forgotten_transaction_is_over_at_the_next_operation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let mut database = OpenOptions::new().create(true).open(&path).unwrap();
    let mut other = database.another().unwrap();
    let transaction = database.transaction().unwrap();
    transaction.store("k", "v", StoreMode::Insert).unwrap();
    std::mem::forget(transaction);
    assert!(other.try_transaction().is_err(), "its locks are held");

    assert_eq!(database.fetch("k").unwrap(), None);
    other.try_transaction().unwrap().commit().unwrap();

    std::mem::forget(database.transaction().unwrap());
    let again = database.transaction().unwrap();
    again.store("k", "w", StoreMode::Insert).unwrap();
    again.commit().unwrap();
    assert_eq!(other.fetch("k").unwrap().as_deref(), Some(&b"w"[..]));

    std::mem::forget(database.transaction().unwrap().prepare_commit().unwrap());
    drop(database);
    other.store("k", "x", StoreMode::Modify).unwrap();
}
