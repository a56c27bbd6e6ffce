//! How long the file gets, and how much is looked at to keep it short.
#![allow(clippy::unwrap_used)]

#[path = "support/faulty.rs"]
mod faulty;

use std::collections::HashMap;

use faulty::Faulty;
use tdb::{Database, OpenOptions, StoreMode};

/// A database, the bytes that it should need, and the most that it has needed.
struct Measured {
    database: Database,
    storage: Faulty,
    lengths: HashMap<u32, usize>,
    live: usize,
    most_live: usize,
    operations: u64,
}

impl Measured {
    fn new(hash_size: u32) -> Measured {
        let storage = Faulty::default();
        let given = Box::new(storage.clone());
        let database =
            OpenOptions::new().create(true).hash_size(hash_size).open_storage("given", given).unwrap();
        Measured { database, storage, lengths: HashMap::new(), live: 0, most_live: 0, operations: 0 }
    }

    fn note(&mut self, key: u32, len: Option<usize>) {
        // Header, key and tailer of a record.
        const OVERHEAD: usize = 24 + 4 + 4;
        self.live += len.map_or(0, |len| len + OVERHEAD);
        let was = match len {
            Some(len) => self.lengths.insert(key, len),
            None => self.lengths.remove(&key),
        };
        self.live -= was.map_or(0, |len| len + OVERHEAD);
        self.most_live = self.most_live.max(self.live);
        self.operations += 1;
    }

    fn store(&mut self, key: u32, len: usize) {
        self.database.store(key.to_ne_bytes(), vec![7; len], StoreMode::Replace).unwrap();
        self.note(key, Some(len));
    }

    fn append(&mut self, key: u32, len: usize) {
        self.database.append(key.to_ne_bytes(), vec![7; len]).unwrap();
        let was = self.lengths.get(&key).copied().unwrap_or(0);
        self.note(key, Some(was + len));
    }

    fn delete(&mut self, key: u32) {
        let there = self.lengths.contains_key(&key);
        assert_eq!(self.database.delete(key.to_ne_bytes()).is_ok(), there);
        self.note(key, None);
    }

    fn size(&self) -> usize {
        self.database.map_size() as usize
    }

    /// The file's length in hundredths of the most that was live.
    fn percent(&self) -> usize {
        self.size() * 100 / self.most_live
    }

    /// How often the bytes were read or written, an operation.
    fn calls_an_operation(&self, since: (u64, u64)) -> u64 {
        (self.storage.calls() - since.0) / (self.operations - since.1)
    }

    fn now(&self) -> (u64, u64) {
        (self.storage.calls(), self.operations)
    }
}

/// P7: small and large values in one file, stored and deleted for a long time. The file used to grow without end, since
/// large free records were passed over and records kept the room of the longest value that they ever held.
#[test]
fn mixed_sizes_do_not_lengthen_the_file_for_ever() {
    let mut random = fastrand::Rng::with_seed(testbed::seed("mixed_sizes_do_not_lengthen_the_file_for_ever"));
    let mut measured = Measured::new(1009);
    let mut sizes = Vec::new();
    for _ in 0..3 {
        for _ in 0..20_000 {
            let key = random.u32(..1400);
            match random.u32(..10) {
                0..3 => measured.delete(key),
                3..9 => measured.store(key, random.usize(..3000)),
                _ => measured.store(key, random.usize(..60_000)),
            }
        }
        sizes.push(measured.size());
    }
    measured.database.check(|_, _| true).unwrap();
    assert!(measured.percent() <= 300, "{} % of the most that was live; {sizes:?}", measured.percent());
    assert!(sizes[2] <= sizes[1] + sizes[1] / 10, "still growing: {sizes:?}");
    let calls = measured.calls_an_operation((0, 0));
    assert!(calls <= 60, "{calls} reads and writes an operation");
}

/// P7: records that grow leave gaps, which later ones use.
#[test]
fn the_gaps_of_records_that_grew_are_used() {
    let mut measured = Measured::new(1009);
    let mut random = fastrand::Rng::with_seed(testbed::seed("the_gaps_of_records_that_grew_are_used"));
    let mut keys: Vec<u32> = (0..10_000).collect();
    for key in &keys {
        measured.store(*key, 112);
    }
    random.shuffle(&mut keys);
    let since = measured.now();
    for key in &keys {
        measured.append(*key, 20);
    }
    let calls = measured.calls_an_operation(since);
    random.shuffle(&mut keys);
    for key in &keys[..2500] {
        measured.store(*key, 252);
    }
    measured.database.check(|_, _| true).unwrap();
    assert!(measured.percent() <= 150, "{} % of the most that was live", measured.percent());
    assert!(calls <= 85, "{calls} reads and writes an append");
}

/// P7: values of changing length.
#[test]
fn random_churn_does_not_lengthen_the_file_for_ever() {
    let mut random =
        fastrand::Rng::with_seed(testbed::seed("random_churn_does_not_lengthen_the_file_for_ever"));
    let mut measured = Measured::new(1009);
    for _ in 0..100_000 {
        let key = random.u32(..20_000);
        if random.bool() { measured.delete(key) } else { measured.store(key, random.usize(..250)) }
    }
    measured.database.check(|_, _| true).unwrap();
    assert!(measured.percent() <= 200, "{} % of the most that was live", measured.percent());
}
