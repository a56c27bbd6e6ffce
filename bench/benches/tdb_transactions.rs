//! P5: transactions on a database of 100,000 records, ours and the system's libtdb through the same C interface.

use std::path::Path;

use anyhow::{Context, Result};
use bench::library::{Database, Library, Store, flags};
use bench::rounds::{Figures, compare, time};

const KEYS: usize = 100_000;

const SYNCED: &[(&str, f64)] = &[("1 store", 0.75), ("100 stores", 0.35), ("10,000 stores", 0.5)];
const UNSYNCED: &[(&str, f64)] = &[("1 store", 0.2), ("10,000 stores", 0.5)];

fn main() -> Result<()> {
    let (ours, peer) = Library::both()?;
    // A synced commit is about a disk: the temporary folder of the system, not its memory.
    let on_disk = tempfile::tempdir_in(std::env::current_dir().context("no current folder")?)?;
    let in_memory = tempfile::tempdir_in(if Path::new("/dev/shm").exists() { "/dev/shm" } else { "." })?;
    for (title, folder, flags, limits) in [
        ("P5 transactions, synced", on_disk.path(), 0, SYNCED),
        ("P5 transactions, not synced", in_memory.path(), flags::NOSYNC, UNSYNCED),
    ] {
        let file = folder.join("bench.tdb");
        compare(title, limits, || round(&ours, flags, &file), || round(&peer, flags, &file));
    }
    Ok(())
}

fn round(library: &Library, flags: i32, file: &Path) -> Figures {
    let _ = std::fs::remove_file(file);
    let database = library.open(file, 10_007, flags, true).expect("the scratch database opens");
    let mut random = fastrand::Rng::with_seed(11);
    let keys: Vec<[u8; 16]> = (0..KEYS).map(|_| random.u128(..).to_le_bytes()).collect();
    database.start();
    keys.iter().for_each(|key| database.store(key, &[b'v'; 100], Store::Insert));
    database.commit();
    let mut figures = Figures::new();
    for (name, stores, repeats) in
        [("empty", 0, 100), ("1 store", 1, 100), ("100 stores", 100, 25), ("10,000 stores", 10_000, 3)]
    {
        time(&mut figures, name, repeats, || {
            (0..repeats).for_each(|turn| transaction(&database, &keys, &mut random, stores, turn as u8));
        });
    }
    figures
}

fn transaction(database: &Database, keys: &[[u8; 16]], random: &mut fastrand::Rng, stores: usize, turn: u8) {
    database.start();
    for _ in 0..stores {
        database.store(&keys[random.usize(..keys.len())], &[turn; 100], Store::Replace);
    }
    database.commit();
}
