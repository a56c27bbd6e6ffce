//! P8: what recording costs: the same operations on two databases of the engine, one of them recorded, in turn, a few
//! hundred operations at a time; in each form, of which P8 asks for the cheapest.
//!
//! Processor time, since others' work would hide the difference: all of it, with that for the growth of the trace's file, which
//! few of the turns have. 16-byte random keys, 100-byte values, default locks, memory file system; the database that is not
//! recorded does not count changes either. "ours" is with recording, "peer" without. The line asked for is about the mix. In the packed
//! forms a thread of the recorder's own writes what the ring has; "mix, all threads" has its time, too.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use bench::clock::{on_processor, on_processors};
use bench::rounds::{Figures, compare};
use tdb::{Database, OpenOptions, StoreMode};
use tdb_trace::{Recording, TraceForm};

/// 95 % of the throughput is a nineteenth more time.
const P8: &[(&str, f64)] = &[("mix", 1.0 / 0.95)];
const KEYS: usize = 20_000;
/// Operations before the other database has its turn.
const SLICE: usize = 200;
const SLICES: usize = 150;

fn main() -> Result<()> {
    let folder = tempfile::tempdir_in(if Path::new("/dev/shm").exists() { "/dev/shm" } else { "." })?;
    for (title, form, asked) in [
        ("P8 recording in the packed form (ours: with, peer: without)", TraceForm::Packed, P8),
        ("Recording in the packed extended form (ours: with, peer: without)", TraceForm::PackedExtended, &[]),
        ("Recording in the plain form (ours: with, peer: without)", TraceForm::Plain, &[]),
        ("Recording in the extended form (ours: with, peer: without)", TraceForm::Extended, &[]),
    ] {
        // Both are measured in the first's turn.
        let without = RefCell::new(Figures::new());
        let recorded = || {
            let (recorded, unrecorded) = round(folder.path(), form).expect("the scratch databases work");
            without.replace(unrecorded);
            recorded
        };
        compare(title, asked, recorded, || without.take());
    }
    Ok(())
}

/// The figures with and without recording.
fn round(folder: &Path, form: TraceForm) -> Result<(Figures, Figures)> {
    let folder = tempfile::tempdir_in(folder)?;
    let open = |name: &str, record: bool| {
        let mut options = OpenOptions::new();
        options.create(true).hash_size(10_007);
        if record {
            options.observe(Recording::to(folder.path().join("traces")).form(form));
        }
        options.open(folder.path().join(name))
    };
    let databases = [open("recorded", true)?, open("plain", false)?];
    let mut random = fastrand::Rng::with_seed(7);
    let keys: Vec<[u8; 16]> = (0..KEYS).map(|_| random.u128(..).to_le_bytes()).collect();
    for (database, key) in databases.iter().flat_map(|database| keys.iter().map(move |key| (database, key))) {
        database.store(key, [b'v'; 100], StoreMode::Replace)?;
    }
    let mut figures = [Figures::new(), Figures::new()];
    for (name, operation) in OPERATIONS {
        let all = (on_processor(), on_processors());
        let times = in_turn(&databases, &keys, &mut random, *operation);
        for (figures, time) in figures.iter_mut().zip(times) {
            figures.push(((*name).to_owned(), time));
        }
        if *name == "mix" {
            // What this thread has not taken was the recorder's.
            let others = (on_processors() - all.1).saturating_sub(on_processor() - all.0);
            let others = others.as_nanos() as f64 / (SLICES * SLICE) as f64;
            figures[0].push(("mix, all threads".to_owned(), times[0] + others));
            figures[1].push(("mix, all threads".to_owned(), times[1]));
        }
    }
    for (figures, time) in figures.iter_mut().zip(traverses(&databases)) {
        figures.push(("traverse_read, a record".to_owned(), time));
    }
    let [recorded, plain] = figures;
    Ok((recorded, plain))
}

/// An operation on a key; the number is the same for both databases and differs from call to call.
type Operation = fn(&Database, &[u8; 16], u32);

const OPERATIONS: &[(&str, Operation)] = &[
    ("fetch", fetch),
    ("exists", |database, key, _| drop(database.exists(key))),
    ("store in place", store),
    ("delete, then insert", |database, key, number| {
        drop(database.delete(key));
        store(database, key, number);
    }),
    ("mix", |database, key, number| match number % 20 {
        0..12 => fetch(database, key, number),
        12..15 => drop(database.exists(key)),
        15..19 => store(database, key, number),
        _ => {
            drop(database.delete(key));
            store(database, key, number);
        }
    }),
];

fn fetch(database: &Database, key: &[u8; 16], _: u32) {
    assert!(matches!(database.fetch(key), Ok(Some(_))));
}

fn store(database: &Database, key: &[u8; 16], number: u32) {
    let stored = database.store(key, [number as u8; 100], StoreMode::Replace);
    assert!(stored.is_ok(), "{stored:?}");
}

/// The nanoseconds of one operation, all slices together, for each database.
fn in_turn(
    databases: &[Database; 2],
    keys: &[[u8; 16]],
    random: &mut fastrand::Rng,
    operation: Operation,
) -> [f64; 2] {
    let mut times = [Duration::ZERO; 2];
    for slice in 0..SLICES {
        let work: Vec<(usize, u32)> =
            (0..SLICE).map(|_| (random.usize(..keys.len()), random.u32(..))).collect();
        // Who goes first finds the caches cold.
        for side in [slice % 2, 1 - slice % 2] {
            let start = on_processor();
            work.iter().for_each(|&(key, number)| operation(&databases[side], &keys[key], number));
            times[side] += on_processor() - start;
        }
    }
    times.map(|time| time.as_nanos() as f64 / (SLICES * SLICE) as f64)
}

fn traverses(databases: &[Database; 2]) -> [f64; 2] {
    const TURNS: usize = 10;
    let mut times = [Duration::ZERO; 2];
    for turn in 0..TURNS {
        for side in [turn % 2, 1 - turn % 2] {
            let start = on_processor();
            let shown = databases[side].traverse_read(|_, _| ControlFlow::Continue(()));
            assert!(matches!(shown, Ok(count) if count == KEYS as u64));
            times[side] += on_processor() - start;
        }
    }
    times.map(|time| time.as_nanos() as f64 / (TURNS * KEYS) as f64)
}
