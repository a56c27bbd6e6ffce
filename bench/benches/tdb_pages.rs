//! T18: what does a fetch of a small record cost through pages that a storage has lent, compared with a mapped file?
//!
//! Both without locks, from one run. The pages are those of a snapshot in memory, as a replicated database has them.

#[path = "../../crates/tdb/tests/support/snapshot.rs"]
mod snapshot;

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use snapshot::Snapshot;
use tdb::{Database, OpenOptions, StoreMode};

const RECORDS: u32 = 2_000;
const ROUNDS: u32 = 60;
/// At most so many times the mapped one.
const LIMIT: f64 = 2.0;

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("mapped.tdb");
    let mut options = OpenOptions::new();
    options.create(true).hash_size(1009);
    let made = options.open(&path)?;
    for number in 0..RECORDS {
        made.store(key(number), [number as u8; 100], StoreMode::Insert)?;
    }
    drop(made);
    let bytes = std::fs::read(&path)?;
    // Without locks, as the other.
    let mapped = OpenOptions::new().read_only(true).open(&path)?;
    let lent = OpenOptions::new().open_storage("lent", Box::new(Snapshot::of(&bytes)))?;
    let few = 40;
    for (what, records) in [("a few records, again and again", few), ("all records", RECORDS)] {
        let (mut best_mapped, mut best_lent) = (f64::MAX, f64::MAX);
        for _ in 0..ROUNDS {
            best_mapped = best_mapped.min(fetches(&mapped, records)?);
            best_lent = best_lent.min(fetches(&lent, records)?);
        }
        let ratio = best_lent / best_mapped;
        let said = if ratio <= LIMIT { "ok" } else { "above the limit" };
        println!("T18 {what}: mapped {best_mapped:.0} ns, lent {best_lent:.0} ns, ratio {ratio:.2} ({said})");
    }
    Ok(())
}

fn key(number: u32) -> [u8; 16] {
    let mut key = [b'k'; 16];
    key[..4].copy_from_slice(&number.to_le_bytes());
    key
}

/// Nanoseconds a fetch.
fn fetches(database: &Database, records: u32) -> Result<f64> {
    let mut value = Vec::new();
    let count = RECORDS * 4;
    let begun = Instant::now();
    for number in 0..count {
        database.fetch_into(key(number * 7 % records), &mut value)?;
        black_box(&value);
    }
    Ok(begun.elapsed().as_nanos() as f64 / f64::from(count))
}
