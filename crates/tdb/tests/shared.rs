//! One file, many at work: threads, forked children, and live processes of libtdb.
#![allow(clippy::unwrap_used)]
#![allow(unsafe_code)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::ops::ControlFlow;
use std::process::Child;

use fastrand::Rng;
use tdb::{Database, LockError, LockKind, OpenOptions, StoreMode, TransactionError, Wait};

fn counter(database: &Database, key: &[u8]) -> u64 {
    database.fetch(key).unwrap().map_or(0, |value| String::from_utf8(value).unwrap().parse().unwrap())
}

fn increment(database: &Database, key: &[u8]) {
    let lock = database.chain_lock(key, LockKind::Write, Wait::Yes).unwrap();
    let next = counter(database, key) + 1;
    database.store(key, next.to_string().as_bytes(), StoreMode::Replace).unwrap();
    drop(lock);
}

fn increment_two(database: &mut Database, keys: [&[u8]; 2]) {
    let transaction = database.transaction().unwrap();
    for key in keys {
        let now = transaction.fetch(key).unwrap();
        let next = now.map_or(0, |value| String::from_utf8(value).unwrap().parse().unwrap()) + 1_u64;
        transaction.store(key, next.to_string().as_bytes(), StoreMode::Replace).unwrap();
    }
    transaction.commit().unwrap();
}

/// Changes of all kinds that others must survive.
fn disturb(database: &Database, rng: &mut Rng, name: &str) {
    let key = format!("{name}{}", rng.u32(..40)).into_bytes();
    match rng.u8(..8) {
        0..3 => database.store(&key, vec![rng.u8(..); rng.usize(..400)], StoreMode::Replace).unwrap(),
        3 => database.append(&key, b"and some more").unwrap(),
        4..6 => drop(database.delete(&key)),
        6 => {
            let walked = if rng.u8(..8) == 0 {
                database.traverse(|_, _| ControlFlow::Continue(()))
            } else {
                database.traverse_read(|_, _| ControlFlow::Continue(()))
            };
            walked.unwrap();
        }
        _ => drop(database.fetch(&key).unwrap()),
    }
}

/// T8, T9: handles of one file in many threads exclude each other, in single changes and in transactions.
#[test]
fn threads_lose_nothing() {
    let seed = testbed::seed("threads_lose_nothing");
    let folder = common::folder();
    let database = OpenOptions::new()
        .create(true)
        .hash_size(7)
        .no_sync(true)
        .open(folder.path().join("threads"))
        .unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let mut database = database.another().unwrap();
            scope.spawn(move || {
                let mut rng = Rng::with_seed(seed + thread);
                for round in 0..400 {
                    increment(&database, b"one");
                    if round % 8 == 0 {
                        increment_two(&mut database, [b"two", b"three"]);
                    }
                    disturb(&database, &mut rng, "k");
                }
            });
        }
    });
    assert_eq!(counter(&database, b"one"), 1600);
    assert_eq!(counter(&database, b"two"), 200);
    assert_eq!(counter(&database, b"three"), 200);
    common::must_be_sound(&database);
}

const PEER: &str = "import random\n\
    random.seed(int(sys.stdin.readline()))\n\
    db = tdb.Tdb(path, flags=os.O_RDWR, tdb_flags=tdb.NOSYNC)\n\
    def inc(key):\n\
    \x20 db.store(key, b'%d' % (int(db.get(key) or b'0') + 1))\n\
    for i in range(400):\n\
    \x20 db.transaction_start()\n\
    \x20 inc(b'two'); inc(b'three')\n\
    \x20 if i % 10 == 9: db.transaction_cancel()\n\
    \x20 else: db.transaction_commit()\n\
    \x20 for j in range(12):\n\
    \x20\x20 key = b'k%d' % random.randrange(40)\n\
    \x20\x20 what = random.randrange(6)\n\
    \x20\x20 if what < 3: db.store(key, b'p' * random.randrange(400))\n\
    \x20\x20 elif what == 3: db.append(key, b'peer')\n\
    \x20\x20 elif what == 4: \n\
    \x20\x20\x20 try: db.delete(key)\n\
    \x20\x20\x20 except RuntimeError: pass\n\
    \x20\x20 else: len(list(db))\n\
    print('done')";

/// T2: processes of libtdb and threads of ours share a live file and lose nothing.
#[test]
fn live_processes_of_libtdb_and_we_lose_nothing() {
    let Some(python) = common::python() else {
        return testbed::skip("live", "no python3-tdb");
    };
    let seed = testbed::seed("live_processes_of_libtdb_and_we_lose_nothing");
    let folder = common::folder();
    let path = folder.path().join("live");
    let database = OpenOptions::new().create(true).hash_size(7).no_sync(true).open(&path).unwrap();
    let mut peers: Vec<Child> = (0..2).map(|_| common::start_python(&python, &path, PEER)).collect();
    for (nth, peer) in peers.iter_mut().enumerate() {
        writeln!(peer.stdin.take().unwrap(), "{}", seed + nth as u64).unwrap();
    }
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let mut database = database.another().unwrap();
            scope.spawn(move || {
                let mut rng = Rng::with_seed(seed + thread);
                for round in 0..1500 {
                    increment(&database, b"one");
                    if round % 5 == 0 {
                        increment_two(&mut database, [b"two", b"three"]);
                    }
                    disturb(&database, &mut rng, "k");
                }
            });
        }
    });
    for mut peer in peers {
        let said = BufReader::new(peer.stdout.take().unwrap()).lines().next().unwrap().unwrap();
        assert_eq!(said, "done");
        assert!(peer.wait().unwrap().success());
    }
    assert_eq!(counter(&database, b"one"), 3000);
    assert_eq!(counter(&database, b"two"), 600 + 720);
    assert_eq!(counter(&database, b"three"), 600 + 720);
    common::must_be_sound(&database);
}

/// T2: libtdb's locks and ours exclude each other.
#[test]
fn locks_of_libtdb_keep_us_out() {
    let Some(python) = common::python() else {
        return testbed::skip("locks", "no python3-tdb");
    };
    let folder = common::folder();
    let path = folder.path().join("locks");
    let mut database = OpenOptions::new().create(true).open(&path).unwrap();
    let script = "db = tdb.Tdb(path, flags=os.O_RDWR)\n\
        print('start', flush=True)\n\
        for line in sys.stdin:\n\
        \x20 getattr(db, line.strip())()\n\
        \x20 print('done', flush=True)";
    let mut peer = common::start_python(&python, &path, script);
    let mut commands = peer.stdin.take().unwrap();
    let mut answers = BufReader::new(peer.stdout.take().unwrap()).lines();
    answers.next().unwrap().unwrap();
    let mut tell = |command: &str| {
        writeln!(commands, "{command}").unwrap();
        answers.next().unwrap().unwrap();
    };
    let would_block = |result: Result<(), LockError>| matches!(result, Err(LockError::WouldBlock));
    tell("lock_all");
    assert!(would_block(database.chain_lock(b"a", LockKind::Read, Wait::No).map(drop)));
    assert!(would_block(database.all_record_lock(LockKind::Read, Wait::No).map(drop)));
    tell("unlock_all");
    tell("read_lock_all");
    let reading = database.chain_lock(b"a", LockKind::Read, Wait::No).unwrap();
    assert!(would_block(database.chain_lock(b"a", LockKind::Write, Wait::No).map(drop)));
    drop(reading);
    tell("read_unlock_all");
    tell("transaction_start");
    assert!(matches!(database.try_transaction(), Err(TransactionError::Lock(LockError::WouldBlock))));
    assert!(would_block(database.chain_lock(b"a", LockKind::Write, Wait::No).map(drop)));
    assert_eq!(database.fetch(b"a").unwrap(), None);
    tell("transaction_cancel");
    database.try_transaction().unwrap().commit().unwrap();
    drop(commands);
    assert!(peer.wait().unwrap().success());
}

/// T5: the first opener with clear-if-first empties the database, the second one does not, here and with libtdb.
#[test]
fn clear_if_first_counts_all_openers() {
    let folder = common::folder();
    let path = folder.path().join("first");
    let mut options = OpenOptions::new();
    options.create(true).clear_if_first(true);
    let first = options.open(&path).unwrap();
    first.store(b"a", b"1", StoreMode::Insert).unwrap();
    let second = options.open(&path).unwrap();
    assert!(second.exists(b"a").unwrap());
    let third = second.another().unwrap();
    drop(first);
    drop(second);
    if let Some(python) = common::python() {
        let script = "db = tdb.Tdb(path, 0, tdb.CLEAR_IF_FIRST, os.O_RDWR)\nprint(db.get(b'a'))";
        assert_eq!(common::run_python(&python, &path, script).trim(), "b'1'");
    }
    drop(third);
    let again = options.open(&path).unwrap();
    assert!(!again.exists(b"a").unwrap());
}

/// T5: the locks of a process that dies die with it, also if it has a child that never touches the database again.
#[test]
fn a_dead_process_leaves_no_locks_to_its_children() {
    for mutexes in [false, true] {
        let folder = common::folder();
        let path = folder.path().join("fork");
        let mut options = OpenOptions::new();
        options.create(true).clear_if_first(mutexes);
        // SAFETY: this file is used by this test's processes alone.
        unsafe { options.mutex_locking(mutexes) };
        let (children_wait, go) = std::io::pipe().unwrap();
        let (mut is_locked, tell) = std::io::pipe().unwrap();
        // SAFETY: the child makes system calls and calls a database of its own.
        let parent = unsafe { libc::fork() };
        if parent == 0 {
            drop((go, is_locked));
            let database = options.open(&path).unwrap();
            database.store("a", "1", StoreMode::Replace).unwrap();
            // SAFETY: as above.
            if unsafe { libc::fork() } == 0 {
                drop(tell);
                let _ = (&children_wait).read(&mut [0]);
            } else {
                std::mem::forget(database.chain_lock(b"a", LockKind::Write, Wait::Yes).unwrap());
                (&tell).write_all(b"x").unwrap();
                // SAFETY: ends this process, as it stands.
                unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
            }
            // SAFETY: ends this process.
            unsafe { libc::_exit(0) };
        }
        drop(tell);
        is_locked.read_exact(&mut [0]).unwrap();
        let mut status = 0;
        // SAFETY: our child, and room for its status.
        assert_eq!(unsafe { libc::waitpid(parent, &mut status, 0) }, parent);
        let database = options.clear_if_first(false).open(&path).unwrap();
        assert!(database.chain_lock(b"a", LockKind::Write, Wait::No).is_ok(), "mutexes: {mutexes}");
        drop(go);
    }
}

/// T5: a forked child neither has nor loses the parent's locks, and works without opening the file itself.
#[test]
fn a_forked_child_has_locks_of_its_own() {
    let folder = common::folder();
    let database = OpenOptions::new().create(true).open(folder.path().join("fork")).unwrap();
    database.store(b"a", b"1", StoreMode::Insert).unwrap();
    let lock = database.chain_lock(b"a", LockKind::Write, Wait::Yes).unwrap();
    // SAFETY: the child makes system calls and a few allocations only, and leaves by _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused =
            matches!(database.chain_lock(b"a", LockKind::Read, Wait::No), Err(LockError::WouldBlock));
        let other = (0..100u32)
            .map(u32::to_le_bytes)
            .find(|key| database.chain_index(key) != database.chain_index(b"a"));
        let stored = database.store(other.unwrap(), b"child", StoreMode::Insert).is_ok();
        // SAFETY: nothing of the parent's is run at exit.
        unsafe { libc::_exit(if refused && stored { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: waits for the child made above.
    unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(status, 0, "the child got a lock that the parent holds, or could not store");
    let other = database.another().unwrap();
    assert!(matches!(other.chain_lock(b"a", LockKind::Read, Wait::No), Err(LockError::WouldBlock)));
    drop(lock);
    drop(other.chain_lock(b"a", LockKind::Read, Wait::No).unwrap());
    let report = database.check(|_, _| true).unwrap();
    assert_eq!(report.used, 2);
}

/// T8: what the types say: a handle may move to another thread. (That it is not `Sync` is in its doc test.)
#[test]
fn a_database_is_send() {
    fn is_send<T: Send>() {}
    is_send::<Database>();
}
