//! Real traces: each set is read, ordered and replayed in memory; every result must be the recorded one.

use std::path::PathBuf;

use tdb_replay::engine::memory::Memory;
use tdb_replay::order::explain::{Explained, explain};
use tdb_replay::replay::{Options, Run, run};
use tdb_replay::schedule::Schedule;
use tdb_replay::trace::chain::Hashing;
use tdb_replay::trace::{History, Tolerance, source};

/// What docs/ordering.md says of a set.
struct Set {
    name: &'static str,
    lines: u64,
    keys: u32,
    planted: usize,
    /// Keys without a choice, if the solver's count is comparable.
    no_choice: Option<u32>,
    splits: bool,
    /// Whether the repository carries it; CCAN's own sets are read where `QUORATE_CCAN_TRACES` says.
    ours: bool,
}

const fn set(name: &'static str, lines: u64, keys: u32) -> Set {
    Set { name, lines, keys, planted: 0, no_choice: None, splits: false, ours: true }
}

const fn ccan(name: &'static str, lines: u64, keys: u32) -> Set {
    Set { ours: false, ..set(name, lines, keys) }
}

fn replay(paths: &[PathBuf]) -> (History, Explained, Schedule, Run) {
    let history =
        History::read(paths, Tolerance::default(), |_| {}).unwrap_or_else(|error| panic!("{error}"));
    let mut explained = explain(&history, Hashing::recorded(&history), Default::default())
        .unwrap_or_else(|failure| panic!("{}", tdb_replay::report::explain_failure(&history, &failure)));
    let schedule = Schedule::new(&history, &mut explained);
    let engine = Memory::new(&history);
    let run =
        run(&history, &schedule, &engine, &Options::default()).unwrap_or_else(|error| panic!("{error}"));
    (history, explained, schedule, run)
}

fn check(sets: &[Set]) {
    for set in sets {
        let path = match set.ours {
            true => testbed::test_data(&format!("traces/{}", set.name)),
            false => match testbed::ccan_traces(set.name) {
                Some(path) => path,
                None => continue,
            },
        };
        let paths = source::expand(&path).expect("the set is readable");
        let (history, explained, schedule, run) = replay(&paths);
        let name = set.name;
        assert_eq!(run.tally.mismatches, 0, "{name}: {:?}", run.tally.kept);
        assert!(run.tally.compared > 0, "{name}");
        assert_eq!((history.lines(), explained.effort.keys), (set.lines, set.keys), "{name}");
        assert_eq!(explained.effort.without_windows, 0, "{name}");
        assert_eq!(explained.merged.given_up, [], "{name}");
        assert_eq!(explained.merged.splits.is_empty(), !set.splits, "{name}: {:?}", explained.merged.splits);
        if let Some(no_choice) = set.no_choice {
            assert_eq!(explained.effort.no_choice, no_choice, "{name}");
        }
        assert!(schedule.planted.len() == set.planted, "{name}: {} planted", schedule.planted.len());
    }
}

/// R6, R8, R12, R15: CCAN's torture sets of 2009, with and without transactions.
#[test]
fn the_torture_sets_of_2009_replay_without_a_mismatch() {
    let sets = [
        Set { no_choice: Some(5331), ..ccan("torture-2009-1", 588_442, 5351) },
        Set { no_choice: Some(5104), ..ccan("torture-2009-2", 435_532, 5117) },
        Set { no_choice: Some(2848), ..ccan("torture-2009-4", 165_225, 2863) },
        Set { no_choice: Some(5139), ..ccan("torture-2009-5", 466_868, 5158) },
    ];
    check(&sets);
}

/// R11: one process each, on databases that were not empty: what was there is planted.
#[test]
fn traces_of_existing_databases_replay_on_planted_records() {
    let sets = [
        Set { planted: 6, ..ccan("ldb/configuration.trace.zst", 2023, 6) },
        Set { planted: 8, ..ccan("ldb/sam.trace.zst", 2045, 8) },
        Set { planted: 5, ..ccan("ldb/templates.trace.zst", 2011, 6) },
    ];
    check(&sets);
}

/// R6, R9, R10, R12: today's tracer and a fresh recording of the classic one, with chain locks and transactions.
#[test]
fn fresh_sets_of_two_processes_replay_without_a_mismatch() {
    let sets = [
        set("ccan-n2-l5000", 206_012, 3300),
        Set { splits: true, ..set("samba-n2-l5000", 210_383, 3136) },
        set("gen-n2-ops10k", 22_502, 2000),
    ];
    check(&sets);
}

/// R1, R9, R10: every traced call, wipes and nested transactions among them, and a database that died.
#[test]
fn a_set_with_every_call_replays_without_its_dead_tail() {
    let path = testbed::test_data("traces/gen-full-n2-ops5k");
    let (history, explained, _, run) = replay(&source::expand(&path).expect("the set is readable"));
    assert_eq!(run.tally.mismatches, 0, "{:?}", run.tally.kept);
    assert_eq!(explained.effort.without_windows, 0);
    // Its line 1617 is the first that fails for no reason but a dead database.
    assert_eq!(history.traces[1].rows.line(explained.dead[1] as usize), 1617);
    assert_eq!(explained.notes.len(), 1);
}

/// R6, R14, R15: the set in the repository, four processes in transactions.
#[test]
fn the_example_replays_without_a_mismatch() {
    let paths =
        source::expand(&testbed::repository().join("examples/traces/four-processes")).expect("it is there");
    let (history, explained, _, run) = replay(&paths);
    assert_eq!(run.tally.mismatches, 0, "{:?}", run.tally.kept);
    assert_eq!((history.traces.len(), history.lines()), (4, 106_200));
    assert_eq!((explained.effort.keys, explained.effort.no_choice), (2869, 2869));
}

/// R15: a replay that compares is able to fail: one changed value is found, at its line.
#[test]
fn a_changed_result_is_found() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("p1.trace");
    let text =
        "0 tdb_open 131 0x0 0x42\n1 tdb_store 1:61 1:62 0x1 = 0\n1 tdb_fetch 1:61 = 1:62\n1 tdb_close\n";
    std::fs::write(&path, text).expect("written");
    let history = History::read(&[path], Tolerance::default(), |_| {}).expect("read");
    let mut explained =
        explain(&history, Hashing::recorded(&history), Default::default()).expect("it has an order");
    let mut schedule = Schedule::new(&history, &mut explained);
    // The database is not what the traces leave: as if an engine had lost the store.
    schedule.last_values[0] = 0;
    let run = run(&history, &schedule, &Memory::new(&history), &Options::default()).expect("it runs");
    assert_eq!(run.tally.mismatches, 2, "the key and the number of records: {:?}", run.tally.kept);
}
