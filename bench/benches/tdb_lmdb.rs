//! P6: a hash size that fits the number of keys, beside LMDB, in one run.
//!
//! The same 16-byte random keys and 100-byte values in random order, on a memory file system, nothing synced. Each pair
//! of modes promises the same: a transaction around everything on both sides, or every operation on its own.
#![allow(unsafe_code)]

use std::path::Path;

use anyhow::{Context, Result};
use bench::library::{self, Library, Store};
use bench::rounds::{Figures, compare, time};
use heed::types::Bytes;
use heed::{CommitOrAbort, EnvFlags, EnvOpenOptions};

const KEYS: usize = 100_000;
/// A prime near the number of keys: chains of one record.
const HASH_SIZE: i32 = 100_003;
/// Bytes of address space that LMDB may use.
const MAP_SIZE: usize = 1 << 30;

const LIMITS: &[(&str, f64)] = &[("put", 1.0), ("put again", 1.0), ("get", 1.0)];

type Keys = Vec<[u8; 16]>;

fn main() -> Result<()> {
    let ours = Library::ours()?;
    let folder = tempfile::tempdir_in(if Path::new("/dev/shm").exists() { "/dev/shm" } else { "." })?;
    let mut random = fastrand::Rng::with_seed(5);
    let keys: Keys = (0..KEYS).map(|_| random.u128(..).to_le_bytes()).collect();
    let mut shuffled = keys.clone();
    random.shuffle(&mut shuffled);
    for (title, whole) in [
        ("P6 beside LMDB: one transaction around all puts, one around all gets", true),
        ("P6 beside LMDB: each operation on its own", false),
    ] {
        compare(
            title,
            LIMITS,
            || ours_round(&ours, folder.path(), whole, &keys, &shuffled),
            || lmdb_round(folder.path(), whole, &keys, &shuffled).expect("LMDB works on the scratch folder"),
        );
    }
    Ok(())
}

fn ours_round(ours: &Library, folder: &Path, whole: bool, keys: &Keys, shuffled: &Keys) -> Figures {
    let file = folder.join("bench.tdb");
    let _ = std::fs::remove_file(&file);
    let database =
        ours.open(&file, HASH_SIZE, library::flags::NOSYNC, true).expect("the scratch database opens");
    let mut figures = Figures::new();
    let in_transaction = |body: &dyn Fn()| {
        if whole {
            database.start();
        }
        body();
        if whole {
            database.commit();
        }
    };
    for (name, keys, byte) in [("put", keys, b'v'), ("put again", shuffled, b'w')] {
        time(&mut figures, name, KEYS as u64, || {
            in_transaction(&|| keys.iter().for_each(|key| database.store(key, &[byte; 100], Store::Replace)));
        });
    }
    time(&mut figures, "get", KEYS as u64, || {
        in_transaction(&|| keys.iter().for_each(|key| assert_eq!(database.fetch(key), Some(b'w'))));
    });
    figures
}

fn lmdb_round(folder: &Path, whole: bool, keys: &Keys, shuffled: &Keys) -> Result<Figures> {
    let path = folder.join("bench.mdb");
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir(&path)?;
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_SIZE);
    // SAFETY: the folder is new and this process's alone; without syncs a crash of the machine may lose it, no more.
    let env = unsafe { options.flags(EnvFlags::NO_SYNC).open(&path)? };
    let database: heed::Database<Bytes, Bytes> = env
        .create_databases_and_commit(env.write_txn()?, |databases, transaction| {
            databases.create_database(transaction, None).map(CommitOrAbort::<_, ()>::Commit)
        })?
        .unwrap_commit();
    let mut figures = Figures::new();
    for (name, keys, byte) in [("put", keys, b'v'), ("put again", shuffled, b'w')] {
        let start = std::time::Instant::now();
        for keys in keys.chunks(if whole { KEYS } else { 1 }) {
            let mut transaction = env.write_txn()?;
            for key in keys {
                database.put(&mut transaction, key, &[byte; 100])?;
            }
            transaction.commit()?;
        }
        figures.push((name.to_owned(), start.elapsed().as_nanos() as f64 / KEYS as f64));
    }
    let start = std::time::Instant::now();
    for keys in keys.chunks(if whole { KEYS } else { 1 }) {
        let transaction = env.read_txn()?;
        for key in keys {
            // A copy, as fetch gives one.
            let value = database.get(&transaction, key)?.context("a key is gone")?.to_vec();
            assert_eq!(value.first(), Some(&b'w'));
        }
    }
    figures.push(("get".to_owned(), start.elapsed().as_nanos() as f64 / KEYS as f64));
    Ok(figures)
}
