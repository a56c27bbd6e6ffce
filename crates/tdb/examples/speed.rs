//! The phases of a well-known C benchmark of libtdb, on this engine: nanoseconds an operation, one line a phase.
//!
//! `speed TAG FLAGS HASH_SIZE PATH ops|txn [RECORDS] [REPEATS]`; FLAGS are libtdb's numbers.

use std::hint::black_box;
use std::ops::ControlFlow;
use std::time::Instant;

use tdb::compat::{Tdb, set_flags};
use tdb::{Flags, OpenOptions, StoreMode, Wait};

struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

struct Bench {
    tag: String,
    keys: Vec<[u8; 16]>,
    order: Vec<usize>,
    rng: Xorshift,
}

impl Bench {
    fn phase(&mut self, name: &str, count: usize, mut run: impl FnMut(&[u8])) {
        for i in (1..self.order.len()).rev() {
            let j = self.rng.next() as usize % (i + 1);
            self.order.swap(i, j);
        }
        let start = Instant::now();
        for nth in &self.order[..count] {
            run(&self.keys[*nth]);
        }
        let spent = start.elapsed().as_nanos() as f64;
        println!("{} {name} {:.1}", self.tag, spent / count as f64);
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let flags = Flags(parse(&arguments[2]));
    let records = arguments.get(6).map_or(100_000, |text| parse(text) as usize);
    let repeats = arguments.get(7).map_or(20, |text| parse(text) as usize);
    let path = &arguments[4];
    let _ = std::fs::remove_file(path);
    let mut options = OpenOptions::new();
    set_flags(&mut options, flags).create(true).hash_size(parse(&arguments[3]));
    let database = Tdb::open(&options, path).expect("opens");
    let mut rng = Xorshift(88_172_645_463_325_252);
    let keys = (0..2 * records)
        .map(|_| {
            let mut key = [0; 16];
            key[..8].copy_from_slice(&rng.next().to_ne_bytes());
            key[8..].copy_from_slice(&rng.next().to_ne_bytes());
            key
        })
        .collect();
    let mut bench = Bench { tag: arguments[1].clone(), keys, order: (0..records).collect(), rng };
    match arguments[5].as_str() {
        "ops" => operations(&mut bench, &database, records),
        _ => transactions(&mut bench, &database, records, repeats),
    }
}

fn parse(text: &str) -> u32 {
    text.parse().expect("a number")
}

fn operations(bench: &mut Bench, database: &Tdb, records: usize) {
    let value = [b'v'; 256];
    let mut other = value;
    other[5] += 1;
    let store = |key: &[u8], value: &[u8], mode| database.store(key, value, mode).expect("stores");
    bench.phase("store_insert", records, |key| store(key, &value[..100], StoreMode::Insert));
    println!("{} insertedsize {}", bench.tag, database.map_size());
    bench.phase("store_replace_same", records, |key| store(key, &other[..100], StoreMode::Replace));
    bench.phase("store_dup", records, |key| store(key, &other[..100], StoreMode::Replace));
    bench.phase("fetch", records, |key| {
        black_box(database.fetch(key).expect("fetches").expect("is there"));
    });
    bench.phase("parse", records, |key| {
        black_box(database.parse_record(key, |value| value[0]).expect("fetches"));
    });
    bench.phase("exists", records, |key| assert!(database.exists(key).expect("looks")));
    let misses: Vec<[u8; 16]> = bench.keys[records..].to_vec();
    let mut nth = 0;
    bench.phase("exists_miss", records, |_| {
        assert!(!database.exists(&misses[nth * 7919 % records]).expect("looks"));
        nth += 1;
    });
    walks(bench, database);
    bench.phase("append20", records, |key| database.append(key, &value[..20]).expect("appends"));
    bench.phase("store_grow240", records / 4, |key| store(key, &other[..240], StoreMode::Replace));
    bench.phase("delete", records, |key| database.delete(key).expect("deletes"));
    if std::env::var_os("SUMMARY").is_some() {
        println!("{}", database.summary().expect("looks"));
    }
    bench.phase("store_after_delete", records, |key| store(key, &other[..100], StoreMode::Replace));
    println!("{} filesize {}", bench.tag, database.map_size());
    if std::env::var_os("SUMMARY").is_some() {
        println!("{}", database.summary().expect("looks"));
    }
}

fn walks(bench: &Bench, database: &Tdb) {
    for (name, reading) in [("traverse_read", true), ("traverse", false)] {
        let mut sum = 0;
        let start = Instant::now();
        let add = |_: &[u8], value: &[u8]| {
            sum += u64::from(value[0]);
            ControlFlow::Continue(())
        };
        let count = if reading { database.traverse_read(add) } else { database.traverse(add) };
        println!(
            "{} {name} {:.1}",
            bench.tag,
            start.elapsed().as_nanos() as f64 / count.expect("walks") as f64
        );
        black_box(sum);
    }
    let start = Instant::now();
    let mut count = 0;
    let mut next = database.first_key().expect("walks");
    while let Some(key) = next {
        next = database.next_key(&key).expect("walks");
        count += 1;
    }
    println!("{} firstnext {:.1}", bench.tag, start.elapsed().as_nanos() as f64 / f64::from(count));
}

fn transactions(bench: &mut Bench, database: &Tdb, records: usize, repeats: usize) {
    let mut value = [b'v'; 256];
    database.transaction_start(Wait::Yes).expect("starts");
    for nth in 0..records {
        database.store(&bench.keys[nth], &value[..100], StoreMode::Insert).expect("stores");
    }
    database.transaction_commit().expect("commits");
    for stores in [0, 1, 100, 10_000] {
        let rounds = match stores {
            0 | 1 => repeats,
            100 => (repeats / 4).max(1),
            _ => (repeats / 50).max(2),
        };
        let [mut start_us, mut store_us, mut commit_us] = [0.0; 3];
        for round in 0..rounds {
            value[0] = round as u8;
            let begin = Instant::now();
            database.transaction_start(Wait::Yes).expect("starts");
            start_us += begin.elapsed().as_nanos() as f64 / 1e3;
            let begin = Instant::now();
            for _ in 0..stores {
                let key = bench.keys[bench.rng.next() as usize % records];
                database.store(&key, &value[..100], StoreMode::Replace).expect("stores");
            }
            store_us += begin.elapsed().as_nanos() as f64 / 1e3;
            let begin = Instant::now();
            database.transaction_commit().expect("commits");
            commit_us += begin.elapsed().as_nanos() as f64 / 1e3;
        }
        let rounds = rounds as f64;
        println!("{} txn{stores}_start_us {:.2}", bench.tag, start_us / rounds);
        println!(
            "{} txn{stores}_perstore_ns {:.1}",
            bench.tag,
            store_us * 1e3 / rounds / f64::from(stores.max(1))
        );
        println!("{} txn{stores}_commit_us {:.2}", bench.tag, commit_us / rounds);
        println!("{} txn{stores}_total_us {:.2}", bench.tag, (start_us + store_us + commit_us) / rounds);
    }
}
