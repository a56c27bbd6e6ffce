//! P1, P2, P3, P6, P7: single operations on one database, ours and the system's libtdb through the same C interface.
//!
//! 16-byte random keys, 100-byte values, random order. Arguments choose modes by name; none means all.

use std::path::Path;

use anyhow::Result;
use bench::library::{Database, Library, Store, flags};
use bench::rounds::{Figures, compare, time};

/// One way to open the database, and the ratios asked for.
struct Mode {
    name: &'static str,
    flags: i32,
    hash_size: i32,
    keys: usize,
    limits: &'static [(&'static str, f64)],
}

const P1: &[(&str, f64)] = &[
    ("fetch", 0.9),
    ("exists", 0.9),
    ("store in place", 0.9),
    ("insert", 0.8),
    ("delete", 0.6),
    ("traverse", 0.2),
    ("traverse_read", 0.2),
    ("store that grows", 0.05),
    ("file size (bytes)", 0.7),
];
const P2: &[(&str, f64)] = &[
    ("fetch", 0.7),
    ("parse_record", 0.7),
    ("exists", 0.7),
    ("exists, miss", 0.7),
    ("store in place", 0.7),
    ("store the same", 0.7),
    ("insert", 0.7),
    ("append", 0.7),
    ("store that grows", 0.7),
    ("delete", 0.7),
    ("store after delete", 0.7),
    ("traverse", 0.7),
    ("traverse_read", 0.7),
];
const P3: &[(&str, f64)] = &[
    ("fetch", 0.7),
    ("exists", 0.7),
    ("store in place", 0.7),
    ("insert", 0.7),
    ("append", 0.7),
    ("store that grows", 0.7),
    ("delete", 0.6),
    ("traverse", 0.2),
    ("traverse_read", 0.2),
];
const P6: &[(&str, f64)] = &[("fetch", 1.0), ("store in place", 1.0), ("insert", 1.0), ("delete", 1.0)];

const MODES: &[Mode] = &[
    Mode { name: "P1 default locks", flags: 0, hash_size: 10_007, keys: 100_000, limits: P1 },
    Mode { name: "P2 no locks", flags: flags::NOLOCK, hash_size: 10_007, keys: 100_000, limits: P2 },
    Mode { name: "P2 internal memory", flags: flags::INTERNAL, hash_size: 10_007, keys: 100_000, limits: P2 },
    Mode {
        name: "P3 robust mutexes",
        flags: flags::MUTEX_LOCKING | flags::CLEAR_IF_FIRST | flags::INCOMPATIBLE_HASH,
        hash_size: 10_007,
        keys: 100_000,
        limits: P3,
    },
    Mode { name: "P6 long chains, no locks", flags: flags::NOLOCK, hash_size: 131, keys: 30_000, limits: P6 },
];

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let (ours, peer) = Library::both()?;
    println!("ours: {}\npeer: {}", ours.path().display(), peer.path().display());
    let folder = tempfile::tempdir_in(if Path::new("/dev/shm").exists() { "/dev/shm" } else { "." })?;
    for mode in
        MODES.iter().filter(|mode| wanted.is_empty() || wanted.iter().any(|word| mode.name.contains(word)))
    {
        let file = folder.path().join("bench.tdb");
        compare(mode.name, mode.limits, || round(&ours, mode, &file), || round(&peer, mode, &file));
    }
    Ok(())
}

fn round(library: &Library, mode: &Mode, file: &Path) -> Figures {
    let _ = std::fs::remove_file(file);
    let database = library.open(file, mode.hash_size, mode.flags, true).expect("the scratch database opens");
    operations(&database, mode.keys)
}

fn operations(database: &Database, count: usize) -> Figures {
    let mut random = fastrand::Rng::with_seed(7);
    let keys: Vec<[u8; 16]> = (0..2 * count).map(|_| random.u128(..).to_le_bytes()).collect();
    let (present, absent) = keys.split_at(count);
    let mut turn: Vec<usize> = (0..count).collect();
    let mut shuffled = || {
        random.shuffle(&mut turn);
        turn.clone()
    };
    let (value, other, tail, large) = ([b'v'; 100], [b'w'; 100], [b't'; 20], [b'l'; 240]);
    let mut figures = Figures::new();
    let mut each = |name: &str, part: usize, body: &dyn Fn(usize)| {
        let order = shuffled();
        let part = &order[..part];
        time(&mut figures, name, part.len() as u64, || part.iter().for_each(|&index| body(index)));
    };
    each("insert", count, &|i| database.store(&present[i], &value, Store::Insert));
    each("store in place", count, &|i| database.store(&present[i], &other, Store::Replace));
    each("store the same", count, &|i| database.store(&present[i], &other, Store::Replace));
    each("fetch", count, &|i| assert_eq!(database.fetch(&present[i]), Some(b'w')));
    each("parse_record", count, &|i| assert_eq!(database.parse_record(&present[i]), u64::from(b'w')));
    each("exists", count, &|i| assert!(database.exists(&present[i])));
    each("exists, miss", count, &|i| assert!(!database.exists(&absent[i])));
    time(&mut figures, "traverse_read", count as u64, || assert_eq!(database.traverse(true), count as u64));
    time(&mut figures, "traverse", count as u64, || assert_eq!(database.traverse(false), count as u64));
    time(&mut figures, "firstkey/nextkey", count as u64, || assert_eq!(database.walk(), count as u64));
    figures.push(("file size (bytes)".to_owned(), database.size() as f64));
    let order = shuffled_part(&mut random, count);
    let mut each = |name: &str, part: usize, body: &dyn Fn(usize)| {
        time(&mut figures, name, part as u64, || order[..part].iter().for_each(|&index| body(index)));
    };
    each("append", count, &|i| database.append(&present[i], &tail));
    each("store that grows", count / 4, &|i| database.store(&present[i], &large, Store::Replace));
    each("delete", count, &|i| assert!(database.delete(&present[i])));
    each("store after delete", count, &|i| database.store(&present[i], &value, Store::Replace));
    figures
}

fn shuffled_part(random: &mut fastrand::Rng, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    random.shuffle(&mut order);
    order
}
