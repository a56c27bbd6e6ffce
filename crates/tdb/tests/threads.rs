//! Threads, and one file opened more than once in a process.

mod common;

use std::path::Path;

use tdb::{
    Database, Flags, LockError, LockKind, OpenError, OpenOptions, StoreError, StoreMode, TransactionError,
    Wait,
};

const THREADS: u64 = 8;
const ROUNDS: u64 = if cfg!(miri) { 20 } else { 150 };

fn open(path: &Path) -> Database {
    OpenOptions::new().create(true).no_sync(true).hash_size(5).open(path).expect("it opens")
}

fn add(database: &Database, key: &[u8]) -> u64 {
    let old = database.fetch(key).expect("fetch");
    let old = old.map_or(0, |value| u64::from_le_bytes(value.try_into().expect("8 bytes")));
    database.store(key, (old + 1).to_le_bytes(), StoreMode::Replace).expect("store");
    old + 1
}

/// T8: what may go to another thread, and what may be shared, is said by the types; this compiles or it does not.
#[test]
fn the_types_say_what_threads_may_share() {
    const fn send<T: Send>() {}
    const fn share<T: Send + Sync>() {}
    const _: () = send::<Database>();
    const _: () = share::<std::sync::Mutex<Database>>();
    const _: () = share::<OpenOptions>();
    const _: () = share::<Flags>();
    const _: () = share::<OpenError>();
    const _: () = share::<StoreError>();
    const _: () = share::<TransactionError>();

    /// Has two ways to be meant for what is `Sync`, so that naming it fails to compile for that.
    trait NotSync<A> {
        fn holds() {}
    }
    impl<T: ?Sized> NotSync<()> for T {}
    struct Shareable;
    impl<T: ?Sized + Sync> NotSync<Shareable> for T {}
    <Database as NotSync<_>>::holds();
}

/// T8: many threads, each with a handle of its own, lose nothing.
#[test]
fn threads_with_their_own_handles_lose_nothing() {
    let folder = common::folder();
    for mode in 0..3u64 {
        let path = folder.path().join(mode.to_string());
        let database = open(&path);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let mut own =
                    if thread % 2 == 0 { database.another().expect("a handle") } else { open(&path) };
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        work(&mut own, mode, thread, round);
                    }
                });
            }
        });
        let shared = database.fetch(b"shared").expect("fetch").expect("it is there");
        assert_eq!(shared, (THREADS * ROUNDS).to_le_bytes(), "mode {mode}");
        assert_eq!(common::must_be_sound(&database), 1 + THREADS * ROUNDS / 2, "mode {mode}");
    }
}

fn work(database: &mut Database, mode: u64, thread: u64, round: u64) {
    let own = format!("own/{thread}/{round}");
    match mode {
        0 => {
            let _chain = database.chain_lock(b"shared", LockKind::Write, Wait::Yes).expect("chain lock");
            add(database, b"shared");
        }
        1 => {
            let _all = database.all_record_lock(LockKind::Write, Wait::Yes).expect("lock of everything");
            add(database, b"shared");
        }
        _ => {
            let transaction = database.transaction().expect("a transaction");
            let now = transaction.fetch(b"shared").expect("fetch");
            let now = now.map_or(0, |value| u64::from_le_bytes(value.try_into().expect("8 bytes")));
            transaction.store(b"shared", (now + 1).to_le_bytes(), StoreMode::Replace).expect("store");
            transaction.commit().expect("commit");
        }
    }
    database.store(own.as_bytes(), [thread as u8; 50], StoreMode::Insert).expect("store");
    if round % 2 == 1 {
        database.delete(own.as_bytes()).expect("delete");
    }
}

/// T8: one handle, handed around behind a mutex.
#[test]
fn a_database_in_memory_is_shared_behind_a_mutex() {
    let database =
        std::sync::Mutex::new(OpenOptions::new().internal(true).open("memory").expect("in memory"));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    add(&database.lock().expect("not poisoned"), b"shared");
                }
            });
        }
    });
    let database = database.into_inner().expect("not poisoned");
    assert_eq!(database.fetch(b"shared").expect("fetch"), Some((THREADS * ROUNDS).to_le_bytes().to_vec()));
}

/// T8: closing one of several openings leaves the locks of the others, unlike the system's classic locks.
#[test]
fn closing_one_opening_keeps_the_locks_of_another() {
    let folder = common::folder();
    let path = folder.path().join("twice");
    let (first, second, third) = (open(&path), open(&path), open(&path));
    let lock = first.chain_lock(b"key", LockKind::Write, Wait::Yes).expect("it is free");
    drop(third);
    let refused = second.chain_lock(b"key", LockKind::Write, Wait::No);
    assert!(matches!(refused, Err(LockError::WouldBlock)), "{refused:?}");
    drop(lock);
    let lock = second.chain_lock(b"key", LockKind::Write, Wait::No);
    assert!(lock.is_ok(), "it is free again");
}

/// T8: a transaction of one opening is seen by the other only when it is committed, and keeps its transactions out.
#[test]
fn two_openings_in_a_process_isolate_their_transactions() {
    let folder = common::folder();
    let path = folder.path().join("twice");
    let (mut first, mut second) = (open(&path), open(&path));
    let transaction = first.transaction().expect("a transaction");
    transaction.store(b"key", b"value", StoreMode::Insert).expect("store");
    assert_eq!(second.fetch(b"key").expect("fetch"), None);
    let refused = second.try_transaction().map(drop);
    assert!(matches!(refused, Err(TransactionError::Lock(LockError::WouldBlock))), "{refused:?}");
    transaction.commit().expect("commit");
    assert_eq!(second.fetch(b"key").expect("fetch").as_deref(), Some(&b"value"[..]));
}
