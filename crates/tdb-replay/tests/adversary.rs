//! R16, R17: whoever is delayed, and wherever, a replay ends, and with the recorded results.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tdb_replay::engine::Engine;
use tdb_replay::engine::memory::Memory;
use tdb_replay::engine::tdb::{Settings, TdbFile};
use tdb_replay::order::chain::Hashing;
use tdb_replay::order::explain::explain;
use tdb_replay::replay::worker::Point;
use tdb_replay::replay::{Options, run};
use tdb_replay::schedule::Schedule;
use tdb_replay::trace::{History, Tolerance, source};

/// Replays a set once for each of `rounds` adversaries, in memory and on a file with its locks.
fn with_adversaries(paths: &[PathBuf], seed: u64, rounds: u64) {
    let history =
        History::read(paths, Tolerance::default(), |_| {}).unwrap_or_else(|error| panic!("{error}"));
    let hashing = Hashing::recorded(&history);
    let mut explained = explain(&history, hashing, Default::default()).expect("it has an order");
    let schedule = Schedule::new(&history, &mut explained);
    for round in 0..rounds {
        let seed = seed + round;
        let delays = AtomicU64::new(0);
        // Sleeping is the purpose here, not a way to wait: one point in a thousand is delayed for as long as many
        // operations take, one in a hundred for a moment. Yielding would starve on a busy machine.
        let pause = |trace: usize, row: u32, point: Point| {
            let mut hasher = DefaultHasher::new();
            (seed, trace, row, point as u8).hash(&mut hasher);
            let draw = hasher.finish() % 1000;
            if draw == 0 {
                delays.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_micros(500));
            } else if draw < 10 {
                std::thread::sleep(Duration::from_micros(20));
            }
        };
        let options = Options { pause: Some(&pause), ..Options::default() };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = TdbFile::create(&folder.path().join("scratch.tdb"), Settings { hashing, sync: false })
            .unwrap_or_else(|error| panic!("{error}"));
        let engines: [&dyn Engine; 2] = [&Memory::new(&history), &file];
        for engine in engines {
            let run = run(&history, &schedule, engine, &options)
                .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            let name = engine.name();
            assert_eq!(run.tally.mismatches, 0, "seed {seed} on {name}: {:?}", run.tally.kept);
        }
        assert!(delays.load(Ordering::Relaxed) > 0, "the adversary did nothing");
    }
}

/// R16: four processes in transactions.
#[test]
fn delays_anywhere_neither_block_nor_change_the_example() {
    let seed = testbed::seed("delays_anywhere_neither_block_nor_change_the_example");
    let paths =
        source::expand(&testbed::repository().join("examples/traces/four-processes")).expect("it is there");
    with_adversaries(&paths, seed, 5);
}

/// R16: chain locks, traversals with work in their callbacks, splits.
#[test]
fn delays_anywhere_neither_block_nor_change_the_shared_sets() {
    let test = "delays_anywhere_neither_block_nor_change_the_shared_sets";
    let seed = testbed::seed(test);
    for set in ["samba-n2-l5000", "ccan-n2-l5000", "torture-2009-4", "gen-full-n2-ops5k"] {
        let Some(folder) = testbed::shared(&format!("data/traces/{set}")) else {
            return testbed::skip(test, "the shared traces are not here");
        };
        with_adversaries(&source::expand(&folder).expect("the set is readable"), seed, 2);
    }
}
