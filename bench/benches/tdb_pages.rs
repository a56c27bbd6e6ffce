//! T18: what does a fetch of a small record cost through pages that a storage has lent, compared with a mapped file?
//!
//! Both without locks, from one run. The pages are those of a snapshot in memory, as a replicated database has them.

use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use tdb::{Database, OpenOptions, Storage, StoreMode};

const PAGE: usize = 1024;
const RECORDS: u32 = 2_000;
const ROUNDS: u32 = 60;
/// At most so many times the mapped one.
const LIMIT: f64 = 2.0;

/// Pages that nobody changes.
struct Snapshot {
    pages: Vec<Arc<[u8]>>,
    size: u64,
}

impl Storage for Snapshot {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        for (nth, byte) in out.iter_mut().enumerate() {
            let at = offset as usize + nth;
            *byte = self.pages.get(at / PAGE).ok_or(io::ErrorKind::UnexpectedEof)?[at % PAGE];
        }
        Ok(())
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn grow(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn page_len(&self) -> Option<u32> {
        Some(PAGE as u32)
    }

    fn page(&self, number: u32) -> io::Result<Arc<[u8]>> {
        self.pages.get(number as usize).cloned().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

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
    let mut padded = bytes.clone();
    padded.resize(bytes.len().next_multiple_of(PAGE), 0);
    let pages = padded.chunks(PAGE).map(Arc::from).collect();
    // Without locks, as the other.
    let mapped = OpenOptions::new().read_only(true).open(&path)?;
    let lent =
        OpenOptions::new().open_storage("lent", Box::new(Snapshot { pages, size: bytes.len() as u64 }))?;
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
