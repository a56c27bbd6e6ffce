//! Valid files, damaged at random places and at those where it hurts; and the seeds of the fuzz targets.

use std::path::PathBuf;

use crate::common::Dialect;
use fastrand::Rng;
use tdb::{ByteOrder, Flags, HashFunction, OpenOptions, StoreMode};

use crate::{common, fuzz_file, fuzz_operations, long, most_allocated};

/// More memory than this for files of this size means that the file decides how much is taken.
const MOST_MEMORY: usize = 96 << 20;

/// Files of every kind: used, free, dead records, recovery areas, both orders, both hashes.
fn valid_files(rng: &mut Rng) -> Vec<Vec<u8>> {
    let folder = common::folder();
    let mut files = Vec::new();
    for (nth, (order, hash, flags)) in [
        (ByteOrder::NATIVE, HashFunction::Old, Flags::default()),
        (ByteOrder::FOREIGN, HashFunction::Old, Flags::VOLATILE),
        (ByteOrder::NATIVE, HashFunction::Jenkins, Flags::SEQNUM),
    ]
    .into_iter()
    .enumerate()
    {
        let path = folder.path().join(nth.to_string());
        let mut options = OpenOptions::new();
        options.flags(flags | Flags::NOSYNC).create(true).hash_size(3).byte_order(order).hash(hash);
        let mut database = options.open(&path).expect("a new database");
        files.push(std::fs::read(&path).expect("the file can be read"));
        for number in 0..40 {
            let key = format!("key{number}");
            database.store(key.as_bytes(), vec![b'v'; rng.usize(..120)], StoreMode::Replace).expect("store");
        }
        for number in (0..40).step_by(3) {
            database.delete(format!("key{number}").as_bytes()).expect("delete");
        }
        files.push(std::fs::read(&path).expect("the file can be read"));
        let transaction = database.transaction().expect("a transaction");
        transaction.append(b"key1", [1; 500]).expect("append");
        transaction.delete(b"key2").expect("delete");
        // Prepared: its recovery area is valid, as after a kill.
        let transaction = transaction.prepare_commit().expect("prepare");
        files.push(std::fs::read(&path).expect("the file can be read"));
        transaction.commit().expect("commit");
        files.push(std::fs::read(&path).expect("the file can be read"));
    }
    files
}

/// Words that mean something to the format, or break sums.
const WORDS: [u32; 20] = [
    0,
    1,
    3,
    4,
    23,
    24,
    28,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fff0,
    0xffff_ffff,
    0xffff_ffe8,
    0x2601_1999,
    0xd9fe_e666,
    0xfee1_dead,
    0xf53b_c0e7,
    0x4242_4242,
    168,
    180,
    0x0bad_1a52,
];

fn mutate(file: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..rng.u32(1..5) {
        let at = if rng.u8(..3) == 0 {
            rng.usize(..200.min(file.len().max(1)))
        } else {
            rng.usize(..file.len().max(1))
        };
        match rng.u8(..8) {
            0 => file.truncate(at),
            1 => file.resize(file.len() + rng.usize(..5000), rng.u8(..)),
            2 | 3 if at < file.len() => file[at] ^= 1 << rng.u8(..8),
            4 if at + 8 < file.len() => {
                let from = rng.usize(..file.len() - 4) & !3;
                file.copy_within(from..from + 4, at & !3);
            }
            _ if at + 4 < file.len() => {
                // A word that leads to another place of the file, or one of those above.
                let word = if rng.bool() {
                    *rng.choice(&WORDS).expect("not empty")
                } else {
                    rng.u32(..file.len() as u32) & !3
                };
                let bytes = if rng.u8(..3) == 0 { word.to_be_bytes() } else { word.to_le_bytes() };
                file[at & !3..(at & !3) + 4].copy_from_slice(&bytes);
            }
            _ => {}
        }
    }
}

/// T11: files damaged at random are worked on in every way.
#[test]
fn damaged_files_do_no_harm() {
    let mut rng = Rng::with_seed(testbed::seed("damaged_files_do_no_harm"));
    let files = valid_files(&mut rng);
    files.iter().for_each(|file| fuzz_file::file(file));
    let count = if long() { 300_000 } else { 2_000 };
    for _ in 0..count {
        let mut file = rng.choice(&files).expect("there are files").clone();
        mutate(&mut file, &mut rng);
        fuzz_file::file(&file);
    }
    println!("damaged: {count} files, at most {} KiB allocated at once", most_allocated() / 1024);
    assert!(most_allocated() < MOST_MEMORY);
}

/// T11: a valid file cut off anywhere is worked on in every way.
#[test]
fn files_cut_off_anywhere_do_no_harm() {
    let mut rng = Rng::with_seed(testbed::seed("files_cut_off_anywhere_do_no_harm"));
    for file in valid_files(&mut rng) {
        let step = if long() { 1 } else { 61 };
        for len in (0..file.len()).step_by(step) {
            fuzz_file::file(&file[..len]);
        }
    }
}

fn seeds(target: &str) -> Vec<PathBuf> {
    let folder = testbed::repository().join("fuzz/seeds").join(target);
    let entries = std::fs::read_dir(folder).expect("the seeds are in the repository");
    entries.map(|entry| entry.expect("the seeds can be listed").path()).collect()
}

/// T11: what the fuzzers found worth keeping is replayed.
#[test]
fn the_seeds_of_files_do_no_harm() {
    let files = seeds("tdb_file");
    assert!(!files.is_empty());
    for file in files {
        println!("{}", file.display());
        fuzz_file::file(&std::fs::read(file).expect("a seed"));
    }
}

/// T11, T14: so are sequences of operations with failures of the system.
#[test]
fn the_seeds_of_operations_do_no_harm() {
    let files = seeds("tdb_operations");
    assert!(!files.is_empty());
    for file in files {
        println!("{}", file.display());
        fuzz_operations::operations(&std::fs::read(file).expect("a seed"));
    }
}

/// T5, T14: random operations, with failures of the system at random places, against an ordered map.
#[test]
fn random_operations_with_failures_behave_as_a_map() {
    // The short form always runs the same sequences; the long form and the fuzzer look for new ones.
    let name = "random_operations_with_failures_behave_as_a_map";
    let (seed, count) = if long() { (testbed::seed(name), 200_000) } else { (1, 3_000) };
    let mut rng = Rng::with_seed(seed);
    for _ in 0..count {
        let bytes: Vec<u8> = (0..rng.usize(8..600)).map(|_| rng.u8(..)).collect();
        fuzz_operations::operations(&bytes);
    }
    println!("operations: {count} sequences");
}
