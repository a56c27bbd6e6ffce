//! Who waits for whom: processes of libtdb, which the kernel refuses when they wait for each other, and handles of ours,
//! of which it knows nothing.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader, Lines, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread::{Scope, ScopedJoinHandle};

use tdb::{Coded, Database, ErrorCode, LockError, LockKind, OpenOptions, ReadError, StoreMode, Wait};

/// The bytes that stand for locks.
const TRANSACTION: u64 = 8;
const CHAIN: u64 = 168;

/// A process that asks for classic locks, as libtdb does: one byte for each line, and waits as long as it must.
struct Classic {
    process: Child,
    asks: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Classic {
    fn start(python: &Path, path: &Path) -> Classic {
        // A hang ends the process, and with it the wait for its answer.
        let script = "import fcntl, signal\n\
                      signal.alarm(60)\n\
                      file = open(path, 'r+b')\n\
                      for line in sys.stdin:\n\
                      \x20 print('asking', flush=True)\n\
                      \x20 try: fcntl.lockf(file, fcntl.LOCK_EX, 1, int(line)); print('locked', flush=True)\n\
                      \x20 except OSError as error: print(error.errno, flush=True)";
        let mut process = common::start_python(python, path, script);
        let asks = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap()).lines();
        Classic { process, asks, answers }
    }

    fn ask(&mut self, byte: u64) {
        writeln!(self.asks, "{byte}").unwrap();
        assert_eq!(self.answer(), "asking");
    }

    fn answer(&mut self) -> String {
        self.answers.next().expect("the process answers before its time is up").unwrap()
    }
}

impl Drop for Classic {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits until a thread or process sleeps: `task` is its folder in `/proc`.
fn wait_until_asleep(task: &Path) {
    let state = || {
        let text = std::fs::read_to_string(task.join("stat")).unwrap();
        text.rsplit_once(") ").unwrap().1.starts_with('S')
    };
    while !state() {
        std::thread::yield_now();
    }
}

/// T2: libtdb relies on the kernel to refuse one of two processes that wait for each other, as a traverse and a lock of
/// everything do. The kernel must still see it when one of them waits behind us.
#[test]
fn processes_of_libtdb_that_wait_for_each_other_are_refused_while_we_wait_too() {
    let Some(python) = common::python() else {
        return testbed::skip("interop", "no python3-tdb");
    };
    let folder = common::folder();
    let path = folder.path().join("waited-for");
    let database = OpenOptions::new().create(true).hash_size(1).open(&path).unwrap();
    const RECORD: u64 = 1 << 20;
    let (mut left, mut right) = (Classic::start(&python, &path), Classic::start(&python, &path));
    for (process, byte) in [(&mut left, CHAIN), (&mut right, RECORD)] {
        process.ask(byte);
        assert_eq!(process.answer(), "locked");
    }
    std::thread::scope(|scope| {
        let (says, hears) = mpsc::channel();
        let ours = database.another().unwrap();
        let stored = scope.spawn(move || {
            says.send(std::fs::read_link("/proc/thread-self").unwrap()).unwrap();
            ours.store(b"key", b"value", StoreMode::Insert)
        });
        wait_until_asleep(&Path::new("/proc").join(hears.recv().unwrap()));
        right.ask(CHAIN);
        wait_until_asleep(Path::new(&format!("/proc/{}", right.process.id())));
        left.ask(RECORD);
        assert_eq!(left.answer(), libc::EDEADLK.to_string());
        drop(left);
        assert_eq!(right.answer(), "locked");
        drop(right);
        stored.join().unwrap().unwrap();
    });
    assert_eq!(database.fetch(b"key").unwrap().as_deref(), Some(&b"value"[..]));
}

/// Starts a traverse in a thread of its own and returns once that waits for a lock.
fn start_traverse<'scope>(
    scope: &'scope Scope<'scope, '_>,
    database: &Database,
) -> ScopedJoinHandle<'scope, Result<u64, ReadError>> {
    let (says, hears) = mpsc::channel();
    let another = database.another().unwrap();
    let traverse = scope.spawn(move || {
        says.send(std::fs::read_link("/proc/thread-self").unwrap()).unwrap();
        another.traverse(|_, _| ControlFlow::Continue(()))
    });
    wait_until_asleep(&Path::new("/proc").join(hears.recv().unwrap()));
    traverse
}

fn one_record(path: &Path) -> Database {
    let database = OpenOptions::new().create(true).hash_size(1).open(path).unwrap();
    database.store(b"key", b"value", StoreMode::Insert).unwrap();
    database
}

fn is_deadlock(result: &Result<u64, ReadError>) -> bool {
    matches!(result, Err(error @ ReadError::Lock(LockError::Deadlock { .. })) if error.code() == ErrorCode::Lock)
}

/// T20: a traverse against the order fails at once while one that keeps it waits, and that one goes on afterwards.
#[test]
fn a_traverse_against_the_order_is_refused() {
    let folder = common::folder();
    for mutexes in [false, true] {
        let (database, [key, _]) = two_chains(&folder.path().join(format!("{mutexes}")), mutexes);
        database.store(key, b"value", StoreMode::Insert).unwrap();
        std::thread::scope(|scope| {
            for everything in [true, false] {
                let all = everything.then(|| database.all_record_lock(LockKind::Write, Wait::Yes).unwrap());
                let chain =
                    (!everything).then(|| database.chain_lock(key, LockKind::Write, Wait::Yes).unwrap());
                let waits = start_traverse(scope, &database);
                let refused = database.traverse(|_, _| ControlFlow::Continue(()));
                // Where nobody sees the deadlock, it takes a second.
                let deadlock = matches!(refused, Err(ReadError::Lock(LockError::Deadlock { seconds: 0 })));
                assert!(deadlock, "{mutexes}, {everything}: {refused:?}");
                drop((all, chain));
                assert_eq!(waits.join().unwrap().unwrap(), 1);
            }
        });
    }
}

/// T20: the same where libtdb keeps the order and waits for our chain.
#[test]
fn a_traverse_against_the_order_of_a_libtdb_process_is_refused() {
    let Some(python) = common::python() else {
        return testbed::skip("deadlocks", "no python3-tdb");
    };
    let folder = common::folder();
    let path = folder.path().join("theirs-waits");
    let database = one_record(&path);
    let mut theirs = Classic::start(&python, &path);
    theirs.ask(TRANSACTION);
    assert_eq!(theirs.answer(), "locked");
    let chain = database.chain_lock(b"key", LockKind::Write, Wait::Yes).unwrap();
    theirs.ask(CHAIN);
    wait_until_asleep(Path::new(&format!("/proc/{}", theirs.process.id())));
    let refused = database.traverse(|_, _| ControlFlow::Continue(()));
    assert!(is_deadlock(&refused), "{refused:?}");
    drop(chain);
    assert_eq!(theirs.answer(), "locked");
}

/// T20: a process of libtdb that is against the order sleeps in the kernel, which does not refuse it because the lock is ours.
/// Our traverse, for which it waits, sees that and gives way.
#[test]
fn a_libtdb_process_against_the_order_does_not_hang() {
    let Some(python) = common::python() else {
        return testbed::skip("deadlocks", "no python3-tdb");
    };
    let folder = common::folder();
    let path = folder.path().join("ours-waits");
    let database = one_record(&path);
    let mut theirs = Classic::start(&python, &path);
    theirs.ask(CHAIN);
    assert_eq!(theirs.answer(), "locked");
    std::thread::scope(|scope| {
        let waits = start_traverse(scope, &database);
        theirs.ask(TRANSACTION);
        let gave_way = waits.join().unwrap();
        assert!(is_deadlock(&gave_way), "{gave_way:?}");
        assert_eq!(theirs.answer(), "locked");
    });
}

/// A database of seven chains, and two keys of different ones.
fn two_chains(path: &Path, mutexes: bool) -> (Database, [&'static [u8]; 2]) {
    let mut options = OpenOptions::new();
    // SAFETY: this test alone writes to its file, by the rules.
    unsafe { options.mutex_locking(mutexes) };
    let database = options.create(true).hash_size(7).open(path).unwrap();
    let others: [&[u8]; 4] = [b"two", b"three", b"four", b"five"];
    let other = others.into_iter().find(|other| database.chain_index(other) != database.chain_index(b"one"));
    (database, [b"one", other.unwrap()])
}

/// T20: two handles of one process that lock two chains in opposite order: one is refused, by an error that says deadlock,
/// without waiting out its patience, and the other gets both as soon as that one gives its first lock back.
#[test]
fn handles_of_one_process_that_lock_in_opposite_order_do_not_wait_for_each_other() {
    let folder = common::folder();
    for mutexes in [false, true] {
        let (database, [first, second]) = two_chains(&folder.path().join(format!("{mutexes}")), mutexes);
        let both_have_one = std::sync::Barrier::new(2);
        let refused: Vec<Option<LockError>> = std::thread::scope(|scope| {
            let lock_both = |keys: [&'static [u8]; 2]| {
                let handle = database.another().unwrap();
                let both_have_one = &both_have_one;
                scope.spawn(move || {
                    let _one = handle.chain_lock(keys[0], LockKind::Write, Wait::Yes).unwrap();
                    both_have_one.wait();
                    handle.chain_lock(keys[1], LockKind::Write, Wait::Yes).err()
                })
            };
            let threads = [lock_both([first, second]), lock_both([second, first])];
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let refused: Vec<LockError> = refused.into_iter().flatten().collect();
        // Whoever waits out its patience says thirty.
        assert!(matches!(refused[..], [LockError::Deadlock { seconds: 0..30 }]), "{refused:?}");
    }
}

/// Set for the process that locks two chains in the order opposite to its parent's.
const OPPOSITE: &str = "QUORATE_TEST_OPPOSITE";

/// What the other process says when it has its first lock, and when it has both or was refused.
fn lock_in_opposite_order(path: &Path, mutexes: bool) {
    let mut lines = std::io::stdin().lines();
    let (database, [first, second]) = two_chains(path, mutexes);
    let _one = database.chain_lock(second, LockKind::Write, Wait::Yes).unwrap();
    println!("\nlocked");
    lines.next().unwrap().unwrap();
    match database.chain_lock(first, LockKind::Write, Wait::Yes) {
        Ok(_both) => println!("\nboth"),
        Err(LockError::Deadlock { seconds: 0..30 }) => println!("\nrefused"),
        Err(error) => println!("\n{error}"),
    }
}

/// T20: two processes of ours that lock two chains in opposite order: the kernel knows nothing of it, and one of them is
/// refused all the same, without waiting out its patience; the other gets both.
#[test]
fn processes_that_lock_in_opposite_order_do_not_wait_for_each_other() {
    let name = "processes_that_lock_in_opposite_order_do_not_wait_for_each_other";
    if let Some(path) = std::env::var_os(OPPOSITE) {
        let path = Path::new(&path);
        return lock_in_opposite_order(path, path.ends_with("true"));
    }
    let folder = common::folder();
    for mutexes in [false, true] {
        let path = folder.path().join(format!("{mutexes}"));
        let (database, [first, second]) = two_chains(&path, mutexes);
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(OPPOSITE, &path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut asks = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut answers = answers.filter(|line| ["locked", "both", "refused"].contains(&line.as_str()));
        let one = database.chain_lock(first, LockKind::Write, Wait::Yes).unwrap();
        assert_eq!(answers.next().unwrap(), "locked");
        writeln!(asks, "go on").unwrap();

        let ours = database.chain_lock(second, LockKind::Write, Wait::Yes);

        let theirs = match &ours {
            Ok(_) => "refused",
            Err(LockError::Deadlock { seconds: 0..30 }) => "both",
            Err(error) => panic!("{error}"),
        };
        drop((ours.map(drop), one));
        assert_eq!(answers.next().as_deref(), Some(theirs));
        assert!(process.wait().unwrap().success());
    }
}
