//! Generated histories: written, read back, ordered.

use std::path::Path;

use history::generate::{Shape, Values};
use tdb_replay::generate::{GenerateError, Order, generate};
use tdb_replay::order::explain::{Explained, explain};
use tdb_replay::stat::Statistics;
use tdb_replay::trace::chain::Hashing;
use tdb_replay::trace::dialect::Dialect;
use tdb_replay::trace::{History, Tolerance, source};

fn order(shape: &Shape, extended: bool) -> Order {
    Order { shape: shape.clone(), violation: None, extended, zstd: false }
}

fn read(folder: &Path) -> History {
    let paths = source::expand(folder).expect("a folder of traces");
    History::read(&paths, Tolerance::default(), |_| {}).unwrap_or_else(|error| panic!("{error}"))
}

fn explained(history: &History) -> Explained {
    explain(history, Hashing::recorded(history), Default::default()).unwrap_or_else(|why| panic!("{why:?}"))
}

/// R6, R28, R29: what is generated parses without a warning, holds the operations asked for, and has an order.
#[test]
fn a_generated_history_has_an_order() {
    let seed = testbed::seed("generated_history");
    for (nth, values) in [Values::Distinct, Values::Few(3)].into_iter().enumerate() {
        for extended in [false, true] {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let shape =
                Shape { processes: 5, operations: 3000, values, seed: seed + nth as u64, ..Shape::default() };
            let written = generate(&order(&shape, extended), folder.path()).expect("a history is written");
            let history = read(folder.path());
            assert!(history.warnings.is_empty(), "{:?}", history.warnings);
            assert_eq!((history.lines(), history.dialect), (written.lines, Dialect::Today));
            let statistics = Statistics::of(&history, 10);
            // A cancelled store is three lines, one of which names a key.
            assert_eq!(statistics.keys.operations, 3000);
            explained(&history);
        }
    }
}

/// R4, R27: with versions no key leaves the solver a choice, however late the lines are.
#[test]
fn versions_leave_the_solver_no_choice() {
    let shape = Shape {
        processes: 8,
        operations: 5000,
        keys: 3,
        values: Values::Few(2),
        late_per_mille: 500,
        seed: testbed::seed("versions_no_choice"),
        ..Shape::default()
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    generate(&order(&shape, true), folder.path()).expect("a history is written");
    let effort = explained(&read(folder.path())).effort;
    assert_eq!((effort.no_choice, effort.without_windows), (effort.keys, 0), "{effort:?}");
    let plain = tempfile::tempdir().expect("a temporary folder");
    generate(&order(&shape, false), plain.path()).expect("a history is written");
    let effort = explained(&read(plain.path())).effort;
    assert!(effort.no_choice < effort.keys, "the plain form should have left a choice: {effort:?}");
}

/// R4: the extended form without its additions is the plain form, byte for byte; compressed files hold the same.
#[test]
fn the_extended_files_are_the_plain_ones_and_stamps() {
    let shape = Shape { seed: testbed::seed("extended_files"), ..Shape::default() };
    let [plain, extended, packed] = [(false, false), (true, false), (false, true)].map(|(extended, zstd)| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let order = Order { zstd, ..order(&shape, extended) };
        let files = generate(&order, folder.path()).expect("a history is written").files;
        let texts: Vec<String> = files
            .iter()
            .map(|file| std::io::read_to_string(source::open(file).expect("a file")).expect("text"))
            .collect();
        texts
    });
    assert_eq!(plain, packed);
    for (plain, extended) in plain.iter().zip(&extended) {
        assert!(extended.lines().all(|line| line.contains(" #")));
        let stripped: Vec<&str> =
            extended.lines().map(|line| line.split(" #").next().unwrap_or(line)).collect();
        assert_eq!(stripped, plain.lines().collect::<Vec<_>>());
    }
}

/// R2: a folder that holds traces is not mixed with others, and numbers out of range are named.
#[test]
fn wrong_orders_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    generate(&order(&Shape::default(), false), folder.path()).expect("a history is written");
    let again = generate(&order(&Shape::default(), false), folder.path()).expect_err("the folder is in use");
    assert!(matches!(again, GenerateError::InUse { .. }), "{again}");
    for wrong in [
        Shape { processes: 0, ..Shape::default() },
        Shape { processes: 1001, ..Shape::default() },
        Shape { keys: 0, ..Shape::default() },
        Shape { skew: f64::NAN, ..Shape::default() },
        Shape { late_per_mille: 1001, ..Shape::default() },
    ] {
        let error = generate(&order(&wrong, false), &folder.path().join("x")).expect_err("out of range");
        assert!(matches!(error, GenerateError::Range { .. }), "{error}");
    }
}
