//! Histories made up by simulated processes that obey the database's locks, written as their tracer would have
//! written them: late lines, numbers read before a lock was held, equal values. Each has an order, so one must be found,
//! and however workers are delayed its replay ends with the recorded results.

mod processes;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use processes::{Simulation, Style};
use tdb_replay::engine::Engine;
use tdb_replay::engine::memory::Memory;
use tdb_replay::engine::tdb::{Settings, TdbFile};
use tdb_replay::order::chain::Hashing;
use tdb_replay::order::explain::explain;
use tdb_replay::replay::worker::Point;
use tdb_replay::replay::{Options, run};
use tdb_replay::schedule::Schedule;
use tdb_replay::trace::{History, Tolerance};

/// How many splits and locks given up a round had.
#[derive(Default)]
struct Seen {
    splits: usize,
    given_up: usize,
    waits: usize,
}

fn round(style: Style, seed: u64, seen: &mut Seen) {
    let texts = Simulation::new(style, seed).run();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let paths: Vec<PathBuf> =
        (0..texts.len()).map(|number| folder.path().join(format!("p{number}.trace"))).collect();
    for (path, text) in paths.iter().zip(&texts) {
        std::fs::write(path, text).expect("a small file can be written");
    }
    let history = History::read(&paths, Tolerance::default(), |_| {})
        .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let hashing = Hashing::recorded(&history);
    let mut explained = explain(&history, hashing, Default::default()).unwrap_or_else(|failure| {
        panic!("seed {seed}, {style:?}: {}", tdb_replay::report::explain_failure(&history, &failure))
    });
    assert_eq!(
        explained.effort.without_windows, 0,
        "seed {seed}, {style:?}: an order within the windows exists"
    );
    let schedule = Schedule::new(&history, &mut explained);
    seen.splits += explained.merged.splits.len();
    seen.given_up += explained.merged.given_up.len();
    seen.waits += schedule.traces.iter().map(|plan| plan.waits.len()).sum::<usize>();
    let pause = |trace: usize, row: u32, point: Point| {
        let mut hasher = DefaultHasher::new();
        (seed, trace, row, point as u8).hash(&mut hasher);
        if hasher.finish().is_multiple_of(20) {
            // The delay is the purpose; yielding instead would starve on a busy machine.
            std::thread::sleep(std::time::Duration::from_micros(20));
        }
    };
    let options = Options { pause: Some(&pause), latency: false, ..Options::default() };
    let file = TdbFile::create(&folder.path().join("scratch.tdb"), Settings { hashing, sync: false })
        .unwrap_or_else(|error| panic!("{error}"));
    let engines: [&dyn Engine; 2] = [&Memory::new(&history), &file];
    for engine in engines {
        let run =
            run(&history, &schedule, engine, &options).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(
            run.tally.mismatches,
            0,
            "seed {seed}, {style:?}, {}: {:?}",
            engine.name(),
            run.tally.kept
        );
    }
}

fn rounds(test: &str, style: Style) {
    let seed = testbed::seed(test);
    let mut seen = Seen::default();
    let count =
        std::env::var("QUORATE_ROUNDS").map_or(6, |text| text.parse().expect("QUORATE_ROUNDS is a number"));
    for number in 0..count {
        round(style, seed.wrapping_add(number), &mut seen);
    }
    assert!(seen.waits > 0, "nobody ever waited");
    eprintln!("{test}: {} waits, {} splits, {} locks given up", seen.waits, seen.splits, seen.given_up);
}

/// R6, R9, R12, R16: single operations, chain locks, locks of everything, transactions, traversals; today's dialect.
#[test]
fn made_up_histories_of_today_replay_under_delays() {
    rounds("made_up_histories_of_today_replay_under_delays", Style { classic: false, values: 200 });
}

/// R6, R8, R16: the same with three values only, so that many orders look alike.
#[test]
fn made_up_histories_with_equal_values_replay_under_delays() {
    rounds("made_up_histories_with_equal_values_replay_under_delays", Style { classic: false, values: 3 });
}

/// R6, R9, R12, R16: the classic dialect, whose read traversals keep transactions out.
#[test]
fn made_up_classic_histories_replay_under_delays() {
    rounds("made_up_classic_histories_replay_under_delays", Style { classic: true, values: 200 });
}
