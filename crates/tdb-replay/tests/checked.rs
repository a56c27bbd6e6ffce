//! Verdicts: true histories pass, planted violations are found, and what is found is reduced to a few lines.

use std::path::{Path, PathBuf};

use history::generate::{Mix, Shape, Values, Violation};
use tdb_replay::check::report::Report;
use tdb_replay::check::{Checked, check};
use tdb_replay::generate::{Order, Written, generate};
use tdb_replay::slice::files;
use tdb_replay::slice::reduce::{Judged, Reduced, reduce};
use tdb_replay::trace::{History, Tolerance, source};
use tdb_replay::verdict::{Kind, Verdict};

fn read(folder: &Path) -> History {
    let paths = source::expand(folder).expect("a folder of traces");
    History::read(&paths, Tolerance::default(), |_| {}).unwrap_or_else(|error| panic!("{error}"))
}

fn verdict(history: &History) -> Checked {
    check(history, Default::default())
}

fn write(order: &Order) -> (tempfile::TempDir, Written) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let written = generate(order, folder.path()).unwrap_or_else(|error| panic!("{error}: {order:?}"));
    (folder, written)
}

/// How many seeds each random test takes; QUORATE_LONG takes many.
fn seeds(test: &str) -> std::ops::Range<u64> {
    let first = testbed::seed(test);
    first..first + if std::env::var_os("QUORATE_LONG").is_some() { 500 } else { 15 }
}

/// The shape of the `nth` random history: a bit of everything.
fn shape(seed: u64) -> Shape {
    Shape {
        processes: 2 + (seed % 7) as u32,
        operations: 400 + (seed % 5) as u32 * 300,
        keys: 1 + (seed % 9) as u32,
        skew: (seed % 3) as f64 * 0.6,
        mix: Mix { append: 20, cancelled: 4, ..Mix::MIXED },
        seed,
        ..Shape::default()
    }
}

/// R27, R28: histories known to be right pass, in order and in time, plain and extended, whatever their values.
#[test]
fn true_histories_are_explained() {
    for seed in seeds("true_histories") {
        let values = if seed % 2 == 0 { Values::Distinct } else { Values::Few(2 + (seed % 4) as u32) };
        for extended in [false, true] {
            let shape = Shape { values, ..shape(seed) };
            let (folder, _) = write(&Order { shape, violation: None, extended, zstd: false });
            let history = read(folder.path());
            let verdict = verdict(&history);
            assert_eq!(
                verdict.verdict(),
                Verdict::Explained,
                "seed {seed}: {}",
                Report::of(&history, &verdict)
            );
            assert_eq!(verdict.answer.as_ref().is_ok_and(|explained| explained.timed), extended);
        }
    }
}

/// R32, R33: where one key's changes take every number, an order is found that gives each change its own, and nothing stays unsettled.
#[test]
fn a_dense_key_is_explained_with_a_number_for_each_change() {
    for seed in seeds("dense_key") {
        let shape = Shape { processes: 16, operations: 4000, keys: 1, seed, ..Shape::default() };
        let (folder, _) = write(&Order { shape, violation: None, extended: false, zstd: false });
        let history = read(folder.path());
        let verdict = verdict(&history);
        let report = Report::of(&history, &verdict);
        assert_eq!(verdict.verdict(), Verdict::Explained, "seed {seed}: {report}");
        assert!(report.notes.is_empty(), "seed {seed}: {report}");
    }
}

/// R28: each kind of violation is found, in the plain form and in the extended one, and on the key where it is.
#[test]
fn planted_violations_are_found() {
    for seed in seeds("planted_violations") {
        for violation in Violation::ALL {
            for extended in [false, true] {
                let order = Order { shape: shape(seed), violation: Some(violation), extended, zstd: false };
                let (folder, written) = write(&order);
                let (_, _, key) = written.planted.expect("a violation was ordered");
                let history = read(folder.path());
                let verdict = verdict(&history);
                let report = Report::of(&history, &verdict);
                assert_eq!(verdict.verdict(), Verdict::Impossible, "seed {seed}, {violation:?}: {report}");
                let keys: Vec<_> = report.contradictions.iter().map(|found| found.key.clone()).collect();
                assert_eq!(keys, [Some(format!("\"{key}\""))], "seed {seed}, {violation:?}");
                assert!(!report.contradictions[0].operations.is_empty());
            }
        }
    }
}

fn reduced(history: &History) -> Option<Reduced> {
    reduce(history, 3000, &mut |part| verdict(part).judged(part))
}

/// R7, R26: a history with one lie is reduced to a few lines that still have no order, from which none can go.
#[test]
fn a_failing_history_is_reduced_to_a_few_lines_that_still_fail() {
    let first = testbed::seed("reduced_history");
    for (nth, violation) in (0..).zip(Violation::ALL) {
        let order =
            Order { shape: shape(first + nth), violation: Some(violation), extended: false, zstd: true };
        let (folder, _) = write(&order);
        let history = read(folder.path());
        let reduced = reduced(&history).expect("a history with a violation fails");
        let Reduced { operations, tries, minimal, .. } = reduced;
        assert!(minimal && operations <= 12, "{violation:?}: {operations} operations, {tries} tries");
        let out = folder.path().join("reduced");
        files::write(&history, &reduced.selection, &out).expect("the lines are copied");
        let small = read(&out);
        assert_eq!(verdict(&small).verdict(), Verdict::Impossible);
        assert_eq!(small.dialect, history.dialect);
    }
}

/// R26: what has an order is not reduced.
#[test]
fn a_history_with_an_order_is_not_reduced() {
    let (folder, _) =
        write(&Order { shape: Shape::default(), violation: None, extended: false, zstd: false });
    assert!(reduced(&read(folder.path())).is_none());
}

fn traces(texts: &[&str]) -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let paths: Vec<PathBuf> =
        (0..texts.len()).map(|nth| folder.path().join(format!("{nth}.trace"))).collect();
    for (path, text) in paths.iter().zip(texts) {
        std::fs::write(path, text).expect("a temporary file");
    }
    (folder, paths)
}

fn checked(texts: &[&str]) -> (Verdict, Report) {
    let (_folder, paths) = traces(texts);
    let history =
        History::read(&paths, Tolerance::default(), |_| {}).unwrap_or_else(|error| panic!("{error}"));
    let verdict = verdict(&history);
    (verdict.verdict(), Report::of(&history, &verdict))
}

/// R27: a read that comes after an answered write in time but misses it has an order, and no linearization.
#[test]
fn times_show_a_stale_read_that_sequence_numbers_allow() {
    let writer = "0 tdb_open 131 0x880 0x42 #0+1\n9 tdb_store 1:6b 1:61 0 = 0 #10+5\n9 tdb_close #90+1\n";
    let late = "0 tdb_open 131 0x880 0x42 #0+1\n9 tdb_fetch 1:6b = NULL #20+5\n9 tdb_close #90+1\n";
    let overlapping = "0 tdb_open 131 0x880 0x42 #0+1\n9 tdb_fetch 1:6b = NULL #15+5\n9 tdb_close #90+1\n";
    let (answer, report) = checked(&[writer, late]);
    assert_eq!((answer, report.contradictions[0].kind), (Verdict::Impossible, Kind::Times), "{report}");
    let text = report.to_string();
    // Reasons name operations by their numbers in the list.
    assert!(text.contains("#1 ") && text.contains("#2 ") && !text.contains("#3"), "{text}");
    assert!(text.contains("0.trace:2: 9 tdb_store 1:6b 1:61 0 = 0"), "{text}");
    assert!(text.contains("1.trace:2: 9 tdb_fetch 1:6b = NULL"), "{text}");
    assert_eq!(checked(&[writer, overlapping]).0, Verdict::Explained);
    let plain = |text: &str| {
        text.lines().map(|line| line.split(" #").next().unwrap_or(line).to_owned() + "\n").collect::<String>()
    };
    assert_eq!(checked(&[&plain(writer), &plain(late)]).0, Verdict::Explained);
}

/// R9, R27: a transaction happens between the call of its commit and the answer to that.
#[test]
fn a_transaction_happens_at_its_commit() {
    let writer = "0 tdb_open 131 0x880 0x42\n0 tdb_transaction_start #10+1\n1 tdb_store 1:6b 1:61 0 = 0 #12+1\n\
        1 tdb_transaction_commit #30+10\n1 tdb_close\n";
    let reader = |number: u32, at: u32| {
        format!("0 tdb_open 131 0x880 0x42\n{number} tdb_fetch 1:6b = NULL #{at}+1\n1 tdb_close\n")
    };
    assert_eq!(checked(&[writer, &reader(0, 25)]).0, Verdict::Explained);
    assert_eq!(checked(&[writer, &reader(1, 35)]).0, Verdict::Explained);
    // Its number is that of the commit, which was not called yet.
    assert_eq!(checked(&[writer, &reader(1, 25)]).0, Verdict::NumbersDisbelieved);
    assert_eq!(checked(&[writer, &reader(1, 41)]).0, Verdict::Impossible);
}

/// R9: a transaction that does not read what it wrote is named.
#[test]
fn a_transaction_that_misses_its_own_write_is_found() {
    let text = "0 tdb_open 131 0x880 0x42\n0 tdb_transaction_start\n1 tdb_store 1:6b 1:61 0 = 0\n\
        1 tdb_fetch 1:6b = NULL\n1 tdb_transaction_commit\n1 tdb_close\n";
    let (answer, report) = checked(&[text]);
    assert_eq!((answer, report.contradictions[0].kind), (Verdict::Impossible, Kind::Transaction));
    let said = &report.contradictions[0].operations;
    assert!(said[0].place.ends_with(":3") && said[1].place.ends_with(":4"), "{report}");
}

/// R26: whatever the judge says of parts, a reduction ends within its tries.
#[test]
fn a_reduction_ends_within_its_tries() {
    let (folder, _) =
        write(&Order { shape: Shape::default(), violation: None, extended: false, zstd: false });
    let history = read(folder.path());
    let mut judged = 0;
    let reduced = reduce(&history, 50, &mut |part: &History| {
        judged += 1;
        let odd = part.lines() % 2 == 1;
        if judged == 1 || odd { Judged::Fails { keys: vec![] } } else { Judged::Fine }
    });
    let reduced = reduced.expect("the first judgement was a failure");
    assert!(reduced.tries <= 51 && judged == reduced.tries, "{} tries", reduced.tries);
}

/// R26: no part that a reduction tries is impossible because of what was left out: of a true history every part has
/// an order, in plain form and with times.
#[test]
fn parts_of_a_true_history_are_true() {
    let mut parts = 0;
    for seed in seeds("parts_of_a_true_history") {
        let values = if seed % 2 == 0 { Values::Distinct } else { Values::Few(3) };
        let shape = Shape { values, operations: 300, ..shape(seed) };
        let (folder, _) = write(&Order { shape, violation: None, extended: seed % 3 == 0, zstd: false });
        let history = read(folder.path());
        let mut random = fastrand::Rng::with_seed(seed);
        let mut judged = 0;
        let reduced = reduce(&history, 60, &mut |part: &History| {
            let verdict = verdict(part);
            assert_eq!(verdict.verdict(), Verdict::Explained, "seed {seed}: {}", Report::of(part, &verdict));
            judged += 1;
            if judged == 1 || random.bool() { Judged::Fails { keys: vec![0] } } else { Judged::Fine }
        });
        parts += reduced.map_or(0, |reduced| reduced.tries);
    }
    assert!(parts > 50, "only {parts} parts were judged");
}
