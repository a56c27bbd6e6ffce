//! Files with any bytes in them, files that shrink, and storage that fails.
#![allow(clippy::unwrap_used)]

mod common;

use std::cell::Cell;
use std::io;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use common::Dialect;
use fastrand::Rng;
use tdb::storage::MemoryStorage;
use tdb::{AccessError, Database, Flags, OpenError, OpenOptions, ReadError, Storage, StoreError, StoreMode};

fn sample() -> Vec<u8> {
    let folder = common::folder();
    let path = folder.path().join("sample");
    let mut database = OpenOptions::new().create(true).hash_size(5).no_sync(true).open(&path).unwrap();
    for number in 0..60 {
        database.store(format!("key{number}").as_bytes(), [7; 40], StoreMode::Insert).unwrap();
    }
    for number in (0..60).step_by(4) {
        database.delete(format!("key{number}").as_bytes()).unwrap();
    }
    let transaction = database.transaction().unwrap();
    transaction.store(b"key1", [9; 300], StoreMode::Replace).unwrap();
    transaction.commit().unwrap();
    std::fs::read(&path).unwrap()
}

/// Every operation once; errors are welcome, anything else is not.
fn try_everything(database: &mut Database, rng: &mut Rng) {
    let _ = database.check(|_, _| true);
    let _ = database.summary();
    let _ = database.validate_freelist();
    let _ = database.freelist_size();
    let mut rescued = 0;
    let _ = database.rescue(|_, _| rescued += 1);
    let _ = database.traverse_read(|_, _| ControlFlow::Continue(()));
    for _ in 0..20 {
        let key = format!("key{}", rng.u32(..70)).into_bytes();
        let _ = database.fetch(&key);
        let _ = database.parse_record(&key, <[u8]>::len);
        let _ = database.append(&key, b"some more bytes than fit");
        let _ = database.delete(&key);
        let _ = database.store(&key, [1; 90], StoreMode::Replace);
    }
    let mut steps = 0;
    let mut next = database.first_key();
    while let Ok(Some(key)) = next {
        steps += 1;
        assert!(steps < 10_000, "the keys never end");
        next = database.next_key(&key);
    }
    if let Ok(transaction) = database.transaction() {
        let _ = transaction.store(b"more", [3; 500], StoreMode::Replace);
        let _ = transaction.wipe_all();
        let _ = transaction.commit();
    }
    let _ = database.repack();
    let _ = database.traverse(|key, _| {
        let _ = database.delete(key);
        ControlFlow::Continue(())
    });
}

/// T11: a file with any bytes in it gives errors; nothing panics, hangs or reads elsewhere.
#[test]
fn any_bytes_give_errors_at_worst() {
    let mut rng = Rng::with_seed(testbed::seed("any_bytes_give_errors_at_worst"));
    let good = sample();
    let folder = common::folder();
    for round in 0..400 {
        let mut bytes = good.clone();
        for _ in 0..rng.usize(1..8) {
            let at = rng.usize(..bytes.len() / 4) * 4;
            // Words that mean something are worse than noise.
            let word = match rng.u8(..5) {
                0 => rng.u32(..),
                1 => rng.u32(..bytes.len() as u32) & !3,
                2 => u32::MAX - rng.u32(..64),
                3 => [0x2601_1999, 0xd9fe_e666, 0xfee1_dead, 0xf53b_c0e7][rng.usize(..4)],
                _ => rng.u32(..64),
            };
            let at = if rng.bool() { at } else { (at % 1200).max(36) & !3 };
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        if rng.u8(..) < 30 {
            bytes.truncate(rng.usize(..bytes.len()));
        }
        let path = folder.path().join("hostile");
        std::fs::write(&path, &bytes).unwrap();
        let flags = [Flags::default(), Flags::NOMMAP, Flags::NOLOCK | Flags::VOLATILE][round % 3];
        let Ok(mut database) = OpenOptions::new().flags(flags | Flags::NOSYNC).open(&path) else {
            continue;
        };
        try_everything(&mut database, &mut rng);
    }
}

/// T11: a chain that goes in a circle of a few long records ends in an error, though it is copied in parts; rescue passes
/// it once. Such a chain was once shown for ever.
#[test]
fn a_circle_of_long_records_is_found() {
    let folder = common::folder();
    for (nth, value_len) in [10, 1_000, 100_000, 2_000_000].into_iter().enumerate() {
        let path = folder.path().join(format!("circle{nth}"));
        let database = OpenOptions::new().create(true).hash_size(1).no_sync(true).open(&path).unwrap();
        for key in ["key0", "key1"] {
            database.store(key, vec![7; value_len], StoreMode::Insert).unwrap();
        }
        drop(database);
        let mut bytes = std::fs::read(&path).unwrap();
        let word = |bytes: &[u8], at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        // Header and head of the freelist are 172 bytes; then comes the only chain.
        let second = word(&bytes, word(&bytes, 172) as usize) as usize;
        bytes[second..second + 4].copy_from_slice(&(second as u32).to_ne_bytes());
        std::fs::write(&path, &bytes).unwrap();

        let database = OpenOptions::new().open(&path).unwrap();
        let mut shown = 0;
        let traversed = database.traverse(|_, _| {
            shown += 1;
            if shown < 1_000 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let corrupt = matches!(traversed, Err(ReadError::Access(AccessError::Corrupt { .. })));
        assert!(corrupt, "values of {value_len}: {shown} shown, {traversed:?}");
        let mut calls = 0;
        database.rescue(|_, _| calls += 1).unwrap();
        assert_eq!(calls, 2);
    }
}

/// T11: headers of all kinds are refused with what is wrong.
#[test]
fn a_bad_header_is_refused_by_name() {
    let folder = common::folder();
    let path = folder.path().join("header");
    let good = sample();
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        Database::open(&path).unwrap_err()
    };
    assert!(matches!(refused(&|bytes| bytes[0] = b'X'), OpenError::NotTdb { .. }));
    assert!(matches!(refused(&|bytes| bytes.truncate(100)), OpenError::NotTdb { .. }));
    assert!(matches!(refused(&|bytes| bytes.truncate(180)), OpenError::Corrupt { .. }));
    assert!(matches!(refused(&|bytes| bytes[36..40].fill(0)), OpenError::Corrupt { .. }));
    assert!(matches!(refused(&|bytes| bytes[36..40].fill(0xff)), OpenError::Corrupt { .. }));
    assert!(matches!(refused(&|bytes| bytes[40] = 7), OpenError::Spinlocks { .. }));
    assert!(matches!(refused(&|bytes| bytes[52] ^= 1), OpenError::WrongHash { .. }));
    let features = |bytes: &mut Vec<u8>, bits: u8| {
        bytes[40..44].copy_from_slice(&0x0bad_1a52_u32.to_le_bytes());
        bytes[60] = bits;
    };
    // It claims mutexes, which must be asked for.
    let without_area = refused(&|bytes| features(bytes, 1));
    assert!(matches!(without_area, OpenError::Mutexes { .. }), "{without_area}");
    assert!(matches!(refused(&|bytes| features(bytes, 4)), OpenError::Unsupported { .. }));
    assert!(matches!(Database::open(folder.path().join("none")), Err(OpenError::Io { .. })));
}

/// T1: a file from before headers named their hash is opened with the old one.
#[test]
fn an_old_header_without_hashes_is_read() {
    let folder = common::folder();
    let path = folder.path().join("old");
    let mut bytes = sample();
    bytes[52..60].fill(0);
    std::fs::write(&path, bytes).unwrap();
    let database = Database::open(&path).unwrap();
    assert!(database.exists(b"key1").unwrap());
    common::must_be_sound(&database);
}

/// T12: an offset beyond 32 bits is an error before anything is written.
#[test]
fn the_end_of_32_bits_is_an_error() {
    let folder = common::folder();
    let path = folder.path().join("large");
    let database = OpenOptions::new().create(true).no_mmap(true).open(&path).unwrap();
    database.store(b"a", b"1", StoreMode::Insert).unwrap();
    // A sparse file of nearly 4 GiB whose last record is all that is left.
    let size = 0xffff_e000_u32;
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(size.into()).unwrap();
    let big = vec![0; 40_000];
    let error = database.store(b"b", &big, StoreMode::Insert).unwrap_err();
    assert!(matches!(error, StoreError::Access(AccessError::Full { .. })), "{error}");
    assert!(database.exists(b"a").unwrap());
    file.set_len(u64::from(u32::MAX) + 10).unwrap();
    assert!(matches!(Database::open(&path), Err(OpenError::Corrupt { .. })));
}

/// T11: a mapped file that another process truncates gives an error where the guard is installed.
#[test]
fn a_truncated_mapping_gives_an_error() {
    tdb::sigbus::install().unwrap();
    let folder = common::folder();
    let path = folder.path().join("shrinks");
    let database = OpenOptions::new().create(true).open(&path).unwrap();
    for number in 0..2000u32 {
        database.store(number.to_le_bytes(), [1; 100], StoreMode::Insert).unwrap();
    }
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(4096).unwrap();
    let found = (0..2000u32).map(|number| database.fetch(number.to_le_bytes()));
    let errors =
        found.filter(|found| matches!(found, Err(ReadError::Access(AccessError::Truncated)))).count();
    assert!(errors > 0);
}

/// Memory whose writes fail from some point on.
struct Failing {
    memory: MemoryStorage,
    /// Writes, growths and syncs that still succeed.
    left: Arc<AtomicU32>,
    /// Only one fails.
    recovers: bool,
}

impl Failing {
    fn spend(&self) -> io::Result<()> {
        let spent = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if spent.is_ok() {
            return Ok(());
        }
        if self.recovers {
            self.left.store(u32::MAX, Ordering::Relaxed);
        }
        Err(io::Error::from_raw_os_error(libc::ENOSPC))
    }
}

impl Storage for Failing {
    fn size(&self) -> io::Result<u64> {
        self.memory.size()
    }
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.memory.read_at(offset, out)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.spend()?;
        self.memory.write_at(offset, bytes)
    }
    fn grow(&self, from: u64, to: u64) -> io::Result<()> {
        self.spend()?;
        self.memory.grow(from, to)
    }
    fn truncate(&self, to: u64) -> io::Result<()> {
        self.memory.truncate(to)
    }
    fn sync(&self) -> io::Result<()> {
        self.spend()
    }
}

/// T14: whichever write of a commit fails, the commit fails and the database is as before. Only if the very last sync
/// fails, and nothing can be written after it, the new database may stay, whole.
#[test]
fn a_failed_write_leaves_the_database_as_before() {
    let left = Arc::new(AtomicU32::new(u32::MAX));
    for (fail_at, recovers) in (0..40).flat_map(|fail_at| [(fail_at, true), (fail_at, false)]) {
        left.store(u32::MAX, Ordering::Relaxed);
        let storage = Failing { memory: MemoryStorage::default(), left: Arc::clone(&left), recovers };
        let mut database =
            OpenOptions::new().create(true).open_storage("failing", Box::new(storage)).unwrap();
        database.store(b"a", b"old", StoreMode::Insert).unwrap();
        let transaction = database.transaction().unwrap();
        transaction.store(b"a", [1; 5000], StoreMode::Replace).unwrap();
        transaction.store(b"b", b"new", StoreMode::Replace).unwrap();
        left.store(fail_at, Ordering::Relaxed);
        let committed = transaction.commit();
        let in_last_sync = !recovers && left.load(Ordering::Relaxed) == 0 && database.fetch(b"a").is_ok();
        // The disk works again: whoever comes next recovers.
        left.store(u32::MAX, Ordering::Relaxed);
        drop(database.transaction().unwrap());
        let is_new = database.parse_record(b"a", <[u8]>::len).unwrap() == Some(5000);
        assert!(is_new == committed.is_ok() || (in_last_sync && is_new), "write {fail_at}");
        assert_eq!(database.exists(b"b").unwrap(), is_new);
        database.check(|_, _| true).unwrap();
        database.store(b"c", b"goes on", StoreMode::Insert).unwrap();
    }
}

/// T9, T11: what parse_record lends stays readable while another handle makes the file grow.
#[test]
fn a_lent_value_survives_the_growth_of_the_file() {
    let folder = common::folder();
    let database = OpenOptions::new().create(true).hash_size(2).open(folder.path().join("lent")).unwrap();
    let other = database.another().unwrap();
    let key = (0..).map(|n: u32| n.to_le_bytes()).find(|key| database.chain_index(key) == 0).unwrap();
    database.store(key, [5; 100], StoreMode::Insert).unwrap();
    let grown = Rc::new(Cell::new(0));
    database
        .parse_record(key, |value| {
            for number in (0u32..5000).filter(|number| other.chain_index(number.to_le_bytes()) == 1) {
                other.store(number.to_le_bytes(), [6; 400], StoreMode::Insert).unwrap();
                grown.set(number);
            }
            // Reading through this handle maps what is new.
            assert!(database.exists(grown.get().to_le_bytes()).unwrap());
            assert_eq!(value, [5; 100]);
        })
        .unwrap();
    common::must_be_sound(&database);
}
