//! Parts of histories: they parse, and those by key and by trace still have an order.

use std::path::{Path, PathBuf};

use history::generate::Shape;
use tdb_replay::generate::{Order, generate};
use tdb_replay::order::explain::explain;
use tdb_replay::slice::{Selection, files};
use tdb_replay::stat::keys::{changes, key_of};
use tdb_replay::trace::chain::Hashing;
use tdb_replay::trace::{History, Tolerance, source};

fn read(folder: &Path) -> History {
    let paths = source::expand(folder).expect("a folder of traces");
    History::read(&paths, Tolerance::default(), |_| {}).unwrap_or_else(|error| panic!("{error}"))
}

/// Completes and writes a part, and reads it back.
fn part(history: &History, mut selection: Selection) -> (History, tempfile::TempDir) {
    selection.complete(history);
    let folder = tempfile::tempdir().expect("a temporary folder");
    files::write(history, &selection, folder.path()).expect("the lines are copied");
    let part = read(folder.path());
    assert_eq!(part.dialect, history.dialect);
    let rows: usize = part.traces.iter().map(|trace| trace.rows.len()).sum();
    assert_eq!(rows, selection.len());
    (part, folder)
}

fn assert_ordered(history: &History, what: &str) {
    let explained = explain(history, Hashing::recorded(history), Default::default());
    assert!(explained.is_ok(), "{what}: {:?}", explained.err());
}

/// Recorded sets, and a generated one.
fn sets(test: &str) -> Vec<(History, Option<tempfile::TempDir>)> {
    let mut sets = Vec::new();
    for name in ["gen-full-n2-ops5k", "samba-n2-l5000", "ccan-n2-l5000"] {
        sets.push((read(&testbed::test_data(&format!("traces/{name}"))), None));
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shape = Shape { seed: testbed::seed(test), ..Shape::default() };
    generate(&Order { shape, violation: None, extended: true, zstd: false }, folder.path())
        .expect("a history");
    sets.push((read(folder.path()), Some(folder)));
    sets
}

fn count(history: &History, fits: impl Fn(usize, u32, bool) -> bool) -> usize {
    let rows = |trace: usize| {
        let rows = &history.traces[trace].rows;
        (0..rows.len())
            .filter_map(move |index| key_of(rows.row(index)).map(|key| (key, changes(rows.row(index)))))
    };
    (0..history.traces.len())
        .map(|trace| rows(trace).filter(|&(key, changes)| fits(trace, key, changes)).count())
        .sum()
}

/// R26: a part by keys holds every operation on them, parses, and has an order.
#[test]
fn a_part_by_keys_still_has_an_order() {
    for (history, _folder) in sets("part_by_keys") {
        let keys = history.records.keys.len();
        let mut random = fastrand::Rng::with_seed(testbed::seed("part_by_keys"));
        for share in [1, 10, keys / 2] {
            let mut wanted = vec![false; keys];
            (0..share).for_each(|_| wanted[random.usize(..keys)] = true);
            let mut selection = Selection::all(&history);
            selection.narrow_to_keys(&history, &wanted);
            if selection.is_empty() {
                continue;
            }
            let (part, _out) = part(&history, selection);
            let expected = count(&history, |_, key, _| wanted[key as usize]);
            let found = count(&part, |_, _, _| true);
            // A line that shows the dialect may come along.
            assert!((expected..=expected + 1).contains(&found), "{found} operations, not {expected}");
            assert_ordered(&part, "part by keys");
        }
    }
}

/// R26: a part by trace has all operations of that trace and the changes that it needs of the others.
#[test]
fn a_part_by_trace_still_has_an_order() {
    for (history, _folder) in sets("part_by_trace") {
        for trace in 0..history.traces.len() {
            let wanted: Vec<bool> = (0..history.traces.len()).map(|other| other == trace).collect();
            let mut selection = Selection::all(&history);
            selection.narrow_to_traces(&history, &wanted, false);
            let (part, _out) = part(&history, selection);
            assert_ordered(&part, "part by trace");
            let own = count(&history, |number, _, _| number == trace);
            let whole = count(&history, |_, _, _| true);
            let found = count(&part, |_, _, _| true);
            assert!(found >= own && found < whole, "{found} of {whole} operations, {own} its own");
        }
    }
}

/// R26: a part by sequence numbers or times parses wherever it is cut, and holds what is in the range.
#[test]
fn a_part_by_range_parses_wherever_it_is_cut() {
    for (history, _folder) in sets("part_by_range") {
        let last = history.traces.iter().map(|trace| trace.rows.seq(trace.rows.len() - 1)).max().unwrap_or(0);
        let mut random = fastrand::Rng::with_seed(testbed::seed("part_by_range"));
        for _ in 0..8 {
            let from = random.u32(..last);
            let range = from..=random.u32(from..=last);
            let mut selection = Selection::all(&history);
            selection.narrow_to_sequence(&history, &range);
            if selection.is_empty() {
                continue;
            }
            let chosen = selection.len();
            let (part, _out) = part(&history, selection);
            let rows: usize = part.traces.iter().map(|trace| trace.rows.len()).sum();
            assert!(rows > 0 && rows + 200 > chosen, "{rows} rows of {chosen}");
        }
    }
}

/// R26: a part by time holds the operations that ran in it.
#[test]
fn a_part_by_time_holds_what_ran_then() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shape = Shape { seed: testbed::seed("part_by_time"), ..Shape::default() };
    generate(&Order { shape, violation: None, extended: true, zstd: false }, folder.path())
        .expect("a history");
    let history = read(folder.path());
    let range = 200_000..=400_000;
    let mut selection = Selection::all(&history);
    selection.narrow_to_times(&history, &range);
    let chosen = selection.len();
    assert!(chosen > 20 && chosen < 500, "{chosen} rows ran then");
    let (part, _out) = part(&history, selection);
    for trace in &part.traces {
        let rows = &trace.rows;
        // But for tdb_close, and the parts of a transaction that began in the range.
        let stamps = (0..rows.len() - 1).map(|row| rows.stamp(row).expect("every line has times"));
        let outside = stamps.filter(|stamp| stamp.end_ns() < 200_000 || stamp.start_ns > 450_000).count();
        assert_eq!(outside, 0);
    }
}

/// R26: lines are copied byte for byte, runs of traversefn whole, whatever the file was packed in.
#[test]
fn lines_are_copied_byte_for_byte() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = "0 tdb_open 131 0x801 0x42\n0 tdb_storev 1:6b 1:61 1:62 0x1 = -1 #5+6 v1\n1 tdb_traverse_read_start\n\
        1 traversefn\n1 traversefn\n1 tdb_fetch NULL = NULL\n1 tdb_traverse_end\n1 tdb_chainlock 1:6c\n\
        1 tdb_fetch 1:6b = 2:6162\n1 tdb_chainunlock 1:6c\n1 tdb_close\n";
    let path = folder.path().join("packed.zst");
    let packed = zstd::encode_all(text.as_bytes(), 1).expect("zstd packs");
    std::fs::write(&path, packed).expect("a temporary file");
    let history = History::read(&[path], Tolerance::default(), |_| {}).expect("a trace");
    let copy = |selection: Selection, name: &str| {
        let out: PathBuf = folder.path().join(name);
        let written = files::write(&history, &selection, &out).expect("the lines are copied");
        assert_eq!(written, [out.join("packed.trace")]);
        std::fs::read_to_string(&written[0]).expect("it was written")
    };
    let mut all = Selection::all(&history);
    all.complete(&history);
    assert_eq!(copy(all.clone(), "all"), text);
    let key = (0..history.records.keys.len())
        .map(|key| history.records.keys.bytes(key as u32) == b"k")
        .collect::<Vec<_>>();
    all.narrow_to_keys(&history, &key);
    all.complete(&history);
    let expected: String = text
        .lines()
        .enumerate()
        .filter(|(nth, _)| [0, 1, 7, 8, 9, 10].contains(nth))
        .map(|(_, line)| format!("{line}\n"))
        .collect();
    assert_eq!(copy(all, "key"), expected);
}
