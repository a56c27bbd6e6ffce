//! R16, R17: whoever is delayed, and wherever, a replay ends, and with the recorded results.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use history::solver::Limits;
use tdb_replay::engine::Engine;
use tdb_replay::engine::libtdb::Libtdb;
use tdb_replay::engine::memory::Memory;
use tdb_replay::engine::tdb::{Settings, TdbFile};
use tdb_replay::order::attempt::Question;
use tdb_replay::order::explain::explain;
use tdb_replay::replay::worker::Point;
use tdb_replay::replay::{Options, run};
use tdb_replay::schedule::Schedule;
use tdb_replay::trace::chain::Hashing;
use tdb_replay::trace::{History, Tolerance, source};
use tdb_replay::verdict::Verdict;

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
fn delays_anywhere_neither_block_nor_change_the_recorded_sets() {
    let seed = testbed::seed("delays_anywhere_neither_block_nor_change_the_recorded_sets");
    let sets = ["samba-n2-l5000", "ccan-n2-l5000", "gen-full-n2-ops5k"];
    let sets = sets.map(|set| testbed::test_data(&format!("traces/{set}")));
    for folder in sets.into_iter().chain(testbed::ccan_traces("torture-2009-4")) {
        with_adversaries(&source::expand(&folder).expect("the set is readable"), seed, 2);
    }
}

/// R16, R20: a commit that belongs before a traversal, but is still under way when that starts, needs the record that a
/// callback stands on; if the callback waits for what comes after the commit, all would stand still. So the
/// traversal comes after the commit, and need not be split.
#[test]
fn a_traversal_that_waits_comes_after_the_commits_before_it() {
    let commits = "0 tdb_open 7 0x800 0x42\n1 tdb_store 1:61 1:30 0x1 = 0\n1 tdb_transaction_start\n\
        2 tdb_store 1:62 1:31 0x1 = 0\n2 tdb_transaction_commit\n2 tdb_close\n";
    let between =
        "0 tdb_open 7 0x800 0x42\n2 tdb_fetch 1:62 = 1:31\n3 tdb_store 1:63 1:32 0x1 = 0\n3 tdb_close\n";
    let traverses = "0 tdb_open 7 0x800 0x42\n2 tdb_traverse_read_start\n2 traverse 1:61 = 1:30\n\
        3 tdb_fetch 1:63 = 1:32\n3 tdb_traverse_end\n3 tdb_close\n";
    let texts = [commits, between, traverses].map(str::as_bytes);
    let history = History::read_texts(&texts, Tolerance::default()).unwrap_or_else(|error| panic!("{error}"));
    let hashing = Hashing::recorded(&history);
    let mut explained = explain(&history, hashing, Default::default()).expect("it has an order");
    let schedule = Schedule::new(&history, &mut explained);
    // The traversal's first step is row 1; the commit ends with the fourth row.
    let waits = &schedule.traces[2].waits;
    assert!(waits.iter().any(|wait| (wait.row, wait.on, wait.rows) == (1, 0, 4)), "{waits:?}");
    assert!(schedule.traces[2].split.is_empty());

    // The commit is held up until the traversal stands in its callback, or has had the time to get there. A file tells, as
    // libtdb's workers are processes.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let arrived = folder.path().join("arrived");
    let pause = |trace: usize, row: u32, point: Point| match (trace, row, point) {
        (2, 1.., Point::BeforeWait) => std::fs::write(&arrived, "").expect("a small file can be written"),
        (0, 3, Point::BeforeRow) => {
            while !arrived.exists() {
                std::thread::yield_now();
            }
            std::fs::remove_file(&arrived).expect("it is there");
            std::thread::sleep(Duration::from_millis(50));
        }
        _ => {}
    };
    let options = Options { pause: Some(&pause), ..Options::default() };
    replay_on_files(
        "a_traversal_that_waits_comes_after_the_commits_before_it",
        &history,
        &schedule,
        &options,
    );
}

/// Replays on libtdb, if it is there, which is given up after a while if all stand still, and on ours.
fn replay_on_files(test: &str, history: &History, schedule: &Schedule, options: &Options<'_>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings = Settings { hashing: Hashing::recorded(history), sync: false };
    let mut engines: Vec<Box<dyn Engine>> = Vec::new();
    match Libtdb::create(&folder.path().join("libtdb.tdb"), settings) {
        Ok(engine) => engines.push(Box::new(engine)),
        Err(error) => testbed::skip(test, &error.message),
    }
    let file = TdbFile::create(&folder.path().join("scratch.tdb"), settings);
    engines.push(Box::new(file.unwrap_or_else(|error| panic!("{error}"))));
    for engine in engines {
        let run = run(history, schedule, &*engine, options).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(run.tally.mismatches, 0, "{}: {:?}", engine.name(), run.tally.kept);
    }
}

/// R16, R20: two traversals for writing that cannot have overlapped, and did by what they saw: one's lock is given up. The engine's
/// own traversal must not take it all the same while the other one waits.
#[test]
fn a_traversal_whose_lock_is_given_up_takes_none() {
    let stores = "0 tdb_open 7 0x800 0x42\n1 tdb_store 1:61 1:30 0x1 = 0\n1 tdb_traverse_start\n1 traverse 1:61 = 1:30\n\
        2 tdb_store 1:62 1:31 0x1 = 0\n3 tdb_fetch 1:63 = 1:32\n3 tdb_traverse_end\n3 tdb_close\n";
    let answers = "0 tdb_open 7 0x800 0x42\n2 tdb_traverse_start\n2 traverse 1:61 = 1:30\n2 tdb_fetch 1:62 = 1:31\n\
        3 tdb_store 1:63 1:32 0x1 = 0\n3 tdb_traverse_end\n3 tdb_close\n";
    let texts = [stores, answers].map(str::as_bytes);
    let history = History::read_texts(&texts, Tolerance::default()).unwrap_or_else(|error| panic!("{error}"));
    // No order has both; what is replayed is that of a search which gave up.
    let unsettled = Question { limits: Limits { states: 1 }, ..Question::default() };
    let mut explained =
        explain(&history, Hashing::recorded(&history), unsettled).expect("each key has an order");
    assert_eq!(explained.verdict(), Verdict::GaveUp);
    let settled = explain(&history, Hashing::recorded(&history), Question::default());
    assert_eq!(settled.map(|found| found.verdict()).ok(), Some(Verdict::NumbersDisbelieved));
    let given_up = explained.merged.given_up.clone();
    assert_eq!(given_up.iter().map(|group| group.trace).collect::<Vec<_>>(), [0]);
    let schedule = Schedule::new(&history, &mut explained);

    // The first one's traversal begins when the other one stands in its callback.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let stands = folder.path().join("stands");
    let pause = |trace: usize, row: u32, point: Point| match (trace, row, point) {
        (1, 0, Point::BeforeWait) => drop(std::fs::remove_file(&stands)),
        (1, 2, Point::BeforeWait) => std::fs::write(&stands, "").expect("a small file can be written"),
        (0, 2, Point::BeforeRow) => {
            while !stands.exists() {
                std::thread::yield_now();
            }
        }
        _ => {}
    };
    let options = Options { pause: Some(&pause), ..Options::default() };
    replay_on_files("a_traversal_whose_lock_is_given_up_takes_none", &history, &schedule, &options);
}
