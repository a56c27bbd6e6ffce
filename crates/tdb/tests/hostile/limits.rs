//! What the format and the system allow: 4 GiB, a full disk, a file system for reading only, signals.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicI32, Ordering};

use tdb::{
    AccessError, Database, LockError, LockKind, OpenError, OpenOptions, StoreError, StoreMode,
    TransactionError, Wait,
};

use crate::common;

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

fn content(database: &Database) -> Content {
    let mut content = Content::new();
    database
        .traverse_read(|key, value| {
            content.insert(key.to_vec(), value.to_vec());
            ControlFlow::Continue(())
        })
        .expect("the database can be traversed");
    content
}

/// Stores until an error; the map has what was stored.
fn fill(
    store: impl Fn(&[u8], &[u8]) -> Result<(), StoreError>,
    content: &mut Content,
    len: usize,
) -> StoreError {
    for number in 0.. {
        let (key, value) = (format!("fill{number}").into_bytes(), vec![number as u8; len]);
        if let Err(error) = store(&key, &value) {
            return error;
        }
        content.insert(key, value);
    }
    unreachable!("nothing is endless")
}

const PAGE: u64 = 4096;
const LIMIT: u64 = 1 << 32;

/// A file with a few records and so many bytes in all, nearly all of them a hole.
fn nearly_full(folder: &Path, len: u64) -> (PathBuf, Content) {
    let path = folder.join("large.tdb");
    let _ = std::fs::remove_file(&path);
    let database = OpenOptions::new().create(true).open(&path).expect("a new database");
    for number in 0..50 {
        database.store(format!("key{number}").as_bytes(), [1; 90], StoreMode::Insert).expect("store");
    }
    let content = content(&database);
    drop(database);
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("the file opens");
    file.set_len(len).expect("a file can have a hole");
    (path, content)
}

/// T12: at 4 GiB a store, and a transaction, fail with an error; what was there stays, and a deleted record makes room.
#[test]
fn a_file_of_four_gibibytes_takes_no_more_and_stays_sound() {
    let folder = common::folder();
    for no_mmap in [true, false] {
        let (path, mut expected) = nearly_full(folder.path(), LIMIT - 64 * PAGE);
        let mut database = OpenOptions::new().no_mmap(no_mmap).no_sync(true).open(&path).expect("it opens");
        let transaction = database.transaction().expect("a transaction");
        let error =
            fill(|key, value| transaction.store(key, value, StoreMode::Insert), &mut Content::new(), 9000);
        assert!(matches!(error, StoreError::Access(AccessError::Full { .. })), "{error}");
        let committed = transaction.commit();
        assert!(
            matches!(committed, Err(TransactionError::Access(AccessError::Full { .. }))),
            "{committed:?}"
        );
        assert!(content(&database) == expected);
        let error = fill(|key, value| database.store(key, value, StoreMode::Insert), &mut expected, 1000);
        assert!(matches!(error, StoreError::Access(AccessError::Full { .. })), "{error}");
        assert!(content(&database) == expected);
        assert!(expected.len() > 100, "the last pages were used");
        database.delete(b"fill3").expect("delete");
        database.store(b"again", [2; 900], StoreMode::Insert).expect("there is room again");
        // Every byte is read; through a mapping that would take memory for the hole.
        if no_mmap {
            let report = database.check(|_, _| true).expect("the check passes");
            assert_eq!(report.used, expected.len() as u64);
        }
    }
}

/// T12: a file that is longer than offsets reach is refused, not misread.
#[test]
fn a_file_longer_than_four_gibibytes_is_refused() {
    let folder = common::folder();
    let (path, _) = nearly_full(folder.path(), LIMIT + PAGE);
    let error = Database::open(&path).expect_err("no offset reaches its end");
    assert!(error.to_string().contains("4 GiB"), "{error}");
}

/// T12: a value that no file can hold is refused before anything is done.
#[test]
fn a_value_longer_than_any_file_is_refused() {
    let database = OpenOptions::new().internal(true).open("memory").expect("in memory");
    let part = vec![0; 1 << 20];
    let parts = vec![&part[..]; 4096];
    let error = database.store_parts(b"key", &parts, StoreMode::Replace).expect_err("too long");
    assert!(matches!(error, StoreError::TooLong { length } if length > 1 << 32), "{error}");
    assert!(content(&database).is_empty());
}

/// A small file system in memory, until this is dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Result<SmallDisk, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let disk = folder.path().to_owned();
        let mounted = mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], &disk)?;
        if mounted {
            Ok(SmallDisk(folder))
        } else {
            Err("mount was refused: root and its rights are needed".into())
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "the small disk is unmounted");
    }
}

fn mount(arguments: &[&str], at: &Path) -> Result<bool, String> {
    let output = Command::new("mount").args(arguments).arg(at).output();
    output.map(|output| output.status.success()).map_err(|error| format!("no mount command: {error}"))
}

/// T14: on a full disk stores and commits fail, the database is as before, and deleting makes room again.
#[test]
fn a_full_disk_gives_errors_and_changes_nothing() {
    const NAME: &str = "a_full_disk_gives_errors_and_changes_nothing";
    for no_mmap in [false, true] {
        let disk = match SmallDisk::mount("512k") {
            Ok(disk) => disk,
            Err(reason) => return testbed::skip(NAME, &reason),
        };
        let path = disk.path().join("full.tdb");
        let mut database =
            OpenOptions::new().create(true).no_mmap(no_mmap).open(&path).expect("a new database");
        let mut expected = Content::new();
        let error = fill(|key, value| database.store(key, value, StoreMode::Insert), &mut expected, 3000);
        must_say_no_room(&error);
        assert!(expected.len() > 20);
        assert!(content(&database) == expected);
        common::must_be_sound(&database);
        let transaction = database.transaction().expect("a transaction needs no room");
        for number in 0..60 {
            transaction
                .store(format!("more{number}").as_bytes(), [3; 9000], StoreMode::Insert)
                .expect("in memory yet");
        }
        transaction.delete(b"fill1").expect("delete");
        let committed = transaction.commit();
        assert!(matches!(committed, Err(TransactionError::Access(AccessError::Io { .. }))), "{committed:?}");
        assert!(content(&database) == expected);
        common::must_be_sound(&database);
        database.delete(b"fill2").expect("delete");
        database.store(b"fill2", [4; 2900], StoreMode::Insert).expect("there is room again");
        assert!(content(&database).len() == expected.len());
        common::must_be_sound(&database);
    }
}

fn must_say_no_room(error: &StoreError) {
    let StoreError::Access(AccessError::Io { cause, .. }) = error else { panic!("{error}") };
    assert_eq!(cause.raw_os_error(), Some(libc::ENOSPC), "{error}");
    assert!(error.to_string().contains("No space left"), "{error}");
}

/// T14: a file system for reading only: opening for writing says so, reading works.
#[test]
fn a_read_only_file_system_can_be_read() {
    const NAME: &str = "a_read_only_file_system_can_be_read";
    let disk = match SmallDisk::mount("512k") {
        Ok(disk) => disk,
        Err(reason) => return testbed::skip(NAME, &reason),
    };
    let path = disk.path().join("read.tdb");
    let database = OpenOptions::new().create(true).open(&path).expect("a new database");
    database.store(b"key", b"value", StoreMode::Insert).expect("store");
    drop(database);
    assert_eq!(mount(&["-o", "remount,ro"], disk.path()), Ok(true));
    let error = Database::open(&path).expect_err("it cannot be written");
    let OpenError::Io { cause, .. } = &error else { panic!("{error}") };
    assert_eq!(cause.raw_os_error(), Some(libc::EROFS));
    let mut database = OpenOptions::new().read_only(true).open(&path).expect("it can be read");
    assert_eq!(database.fetch(b"key").expect("fetch").as_deref(), Some(&b"value"[..]));
    let stored = database.store(b"key", b"other", StoreMode::Replace);
    assert!(matches!(stored, Err(StoreError::ReadOnly { .. })), "{stored:?}");
    assert!(database.transaction().is_err());
    database.check(|_, _| true).expect("it can be checked");
}

/// T14: a signal does not end a wait for a lock, unless the caller wants that.
#[test]
fn signals_interrupt_a_wait_only_if_asked_to() {
    static STOP: AtomicI32 = AtomicI32::new(0);
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: a handler that does nothing, without SA_RESTART, so that system calls return EINTR.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut());
    }
    let folder = common::folder();
    let holder = OpenOptions::new().create(true).open(folder.path().join("a")).expect("a new database");
    let waiter = holder.another().expect("a second handle");
    waiter.set_interrupt_flag(Some(&STOP));
    for stopped in [false, true] {
        let lock = holder.chain_lock(b"key", LockKind::Write, Wait::Yes).expect("the lock is free");
        STOP.store(0, Ordering::SeqCst);
        let (begin, begun) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let waiter = &mut *Box::leak(Box::new(holder.another().expect("a handle for the thread")));
            waiter.set_interrupt_flag(Some(&STOP));
            let thread = scope.spawn(move || {
                // SAFETY: no arguments, no memory.
                begin.send(unsafe { libc::pthread_self() }).expect("the test waits for this");
                waiter.chain_lock(b"key", LockKind::Write, Wait::Yes).map(drop)
            });
            let id = begun.recv().expect("the thread has begun");
            if stopped {
                STOP.store(1, Ordering::SeqCst);
            }
            // A signal may come before the wait begins, so many are sent: with the flag, until the thread is done.
            for nth in 0.. {
                if thread.is_finished() || (!stopped && nth == 200) {
                    break;
                }
                // SAFETY: the thread is not joined yet, so its id is valid.
                unsafe { libc::pthread_kill(id, libc::SIGUSR1) };
                std::thread::yield_now();
            }
            if !stopped {
                assert!(!thread.is_finished(), "the lock is held, and the wait is over");
            }
            drop(lock);
            let waited = thread.join().expect("the thread does not panic");
            match (stopped, waited) {
                (true, Err(LockError::Interrupted)) | (false, Ok(())) => {}
                other => panic!("{other:?}"),
            }
        });
    }
}
