//! P7: how long does the file get after appends and growth, after random churn, and after mixed sizes, and what does keeping
//! it short cost? Ours beside the system's libtdb, in one run.
//!
//! `-- long` makes the mixed sizes 1,500,000 operations instead of 300,000.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Result;
use bench::library::{Database, Library, Store, flags};
use bench::rounds::{Figures, compare, time};

const RECORDS: u32 = 50_000;
const HASH_SIZE: i32 = 10_007;
/// Header and tailer of a record.
const OVERHEAD: usize = 28;

const LIMITS: &[(&str, f64)] = &[("file size (bytes)", 1.0), ("append", 0.7)];

fn main() -> Result<()> {
    let (ours, peer) = Library::both()?;
    let folder = tempfile::tempdir_in(if Path::new("/dev/shm").exists() { "/dev/shm" } else { "." })?;
    let long = std::env::args().any(|argument| argument == "long");
    let mixed = if long { 1_500_000 } else { 300_000 };
    for (title, pattern) in [
        ("P7 appends and growth", &appends_and_growth as &dyn Fn(&mut Measured)),
        ("P7 random churn", &random_churn),
        ("P7 mixed sizes", &|measured: &mut Measured| mixed_sizes(measured, mixed)),
    ] {
        let round = |library: &Library| {
            let file = folder.path().join("space.tdb");
            let _ = std::fs::remove_file(&file);
            let database =
                library.open(&file, HASH_SIZE, flags::NOLOCK, true).expect("the scratch database opens");
            let mut measured =
                Measured { database, lengths: HashMap::new(), live: 0, most: 0, figures: Figures::new() };
            pattern(&mut measured);
            measured.finish()
        };
        compare(title, LIMITS, || round(&ours), || round(&peer));
    }
    Ok(())
}

/// A database and what it should need at least.
struct Measured {
    database: Database,
    lengths: HashMap<u32, usize>,
    live: usize,
    most: usize,
    figures: Figures,
}

impl Measured {
    fn timed(&mut self, name: &str, operations: u32, body: impl FnOnce(&mut Measured)) {
        let mut figures = Figures::new();
        time(&mut figures, name, operations.into(), || body(self));
        self.figures.extend(figures);
    }

    fn note(&mut self, key: u32, len: Option<usize>) {
        let was = match len {
            Some(len) => self.lengths.insert(key, len),
            None => self.lengths.remove(&key),
        };
        self.live += len.map_or(0, |len| len + 4 + OVERHEAD);
        self.live -= was.map_or(0, |len| len + 4 + OVERHEAD);
        self.most = self.most.max(self.live);
    }

    fn store(&mut self, key: u32, len: usize) {
        self.database.store(&key.to_ne_bytes(), &vec![7; len], Store::Replace);
        self.note(key, Some(len));
    }

    fn append(&mut self, key: u32, len: usize) {
        self.database.append(&key.to_ne_bytes(), &vec![7; len]);
        let was = self.lengths.get(&key).copied().unwrap_or(0);
        self.note(key, Some(was + len));
    }

    fn delete(&mut self, key: u32) {
        self.database.delete(&key.to_ne_bytes());
        self.note(key, None);
    }

    fn finish(mut self) -> Figures {
        let size = self.database.size() as f64;
        self.figures.push(("file size (bytes)".to_owned(), size));
        self.figures.push((
            "file size (hundredths of the most that was live)".to_owned(),
            size * 100.0 / self.most as f64,
        ));
        self.figures
    }
}

fn shuffled(random: &mut fastrand::Rng) -> Vec<u32> {
    let mut keys: Vec<u32> = (0..RECORDS).collect();
    random.shuffle(&mut keys);
    keys
}

fn appends_and_growth(measured: &mut Measured) {
    let mut random = fastrand::Rng::with_seed(1);
    measured.timed("insert", RECORDS, |on| shuffled(&mut random).iter().for_each(|key| on.store(*key, 112)));
    measured.timed("append", RECORDS, |on| shuffled(&mut random).iter().for_each(|key| on.append(*key, 20)));
    let grown = RECORDS / 4;
    measured.timed("store that grows", grown, |on| {
        shuffled(&mut random).iter().take(grown as usize).for_each(|key| on.store(*key, 252));
    });
}

fn random_churn(measured: &mut Measured) {
    let mut random = fastrand::Rng::with_seed(2);
    measured.timed("store or delete", 4 * RECORDS, |on| {
        for _ in 0..4 * RECORDS {
            let key = random.u32(..2 * RECORDS);
            if random.bool() { on.delete(key) } else { on.store(key, random.usize(..250)) }
        }
    });
}

fn mixed_sizes(measured: &mut Measured, operations: u32) {
    let mut random = fastrand::Rng::with_seed(3);
    measured.timed("store or delete", operations, |on| {
        for _ in 0..operations {
            let key = random.u32(..14_000);
            match random.u32(..10) {
                0..3 => on.delete(key),
                3..9 => on.store(key, random.usize(..3_000)),
                _ => on.store(key, random.usize(..60_000)),
            }
        }
    });
}
