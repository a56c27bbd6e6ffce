//! Every line of the grammar, in both dialects, and what is said about lines that break it.

use std::path::PathBuf;

use tdb_replay::check::check;
use tdb_replay::trace::columns::{ABSENT, ABSENT_OR_EMPTY, EMPTY, NONE};
use tdb_replay::trace::dialect::Dialect;
use tdb_replay::trace::op::Op;
use tdb_replay::trace::{History, ReadError, Tolerance};
use tdb_replay::verdict::Verdict;

/// Writes each text to a file and reads them as one history.
fn read(texts: &[&str]) -> Result<History, ReadError> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let paths: Vec<PathBuf> =
        (0..texts.len()).map(|number| folder.path().join(format!("p{number}.trace"))).collect();
    for (path, text) in paths.iter().zip(texts) {
        std::fs::write(path, text).expect("a small file can be written");
    }
    History::read(&paths, Tolerance::default(), |_| {})
}

fn good(text: &str) -> History {
    read(&[text]).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

const OPEN: &str = "0 tdb_open 131 0x0 0x42\n";
const KEY: &str = "3:616263";

/// Every operation, in an order in which nothing misses its partner.
const LINES: &[&str] = &[
    "tdb_lockall",
    "tdb_unlockall",
    "tdb_lockall_mark",
    "tdb_lockall_unmark",
    "tdb_lockall_read",
    "tdb_unlockall_read",
    "tdb_lockall_nonblock = -1",
    "tdb_lockall_nonblock = 0",
    "tdb_unlockall",
    "tdb_lockall_read_nonblock = 0",
    "tdb_unlockall_read",
    "tdb_chainlock 3:616263",
    "tdb_chainunlock 3:616263",
    "tdb_chainlock_nonblock 3:616263 = 0",
    "tdb_chainunlock 3:616263",
    "tdb_chainlock_nonblock 3:616263 = -1",
    "tdb_chainlock_read 3:616263",
    "tdb_chainunlock_read 3:616263",
    "tdb_chainlock_read_nonblock 3:616263 = 0",
    "tdb_chainunlock_read 3:616263",
    "tdb_chainlock_mark 3:616263",
    "tdb_chainlock_unmark 3:616263",
    "tdb_fetch 3:616263 = NULL",
    "tdb_fetch 3:616263 = 0:",
    "tdb_fetch NULL = NULL",
    "tdb_parse_record 3:616263 = 0",
    "tdb_parse_record 3:616263 = -1",
    "tdb_exists 3:616263 = 1",
    "tdb_delete 3:616263 = -1",
    "tdb_store 3:616263 2:ff00 0 = 0",
    "tdb_store 3:616263 NULL 0x1 = 0",
    "tdb_store 3:616263 0: 0x2 = -1",
    "tdb_storev 3:616263 1:61 2:6263 0x3 = -1",
    "tdb_append 3:616263 NULL = 1:61",
    "tdb_wipe_all",
    "tdb_repack",
    "tdb_transaction_start",
    "tdb_transaction_cancel",
    "tdb_transaction_start",
    "tdb_transaction_prepare_commit",
    "tdb_transaction_commit",
    "tdb_traverse_read_start",
    "traversefn",
    "traversefn",
    "traverse 3:616263 = 1:61",
    "tdb_traverse_end",
    "tdb_traverse_start",
    "tdb_traverse_end = 0",
    "tdb_firstkey = 3:616263",
    "tdb_nextkey 3:616263 = NULL",
    "tdb_firstkey = NULL",
    "tdb_get_seqnum = 7",
    "tdb_close",
];

/// R1: every operation of the grammar is read, with its arguments.
#[test]
fn every_operation_is_read() {
    let lines = LINES;
    let text: String = lines.iter().map(|line| format!("7 {line}\n")).collect();
    let history = good(&format!("{OPEN}{text}"));
    let rows = &history.traces[0].rows;
    let read: Vec<&str> = (0..rows.len()).map(|row| rows.op(row).name()).collect();
    let mut written: Vec<&str> = lines.iter().map(|line| line.split(' ').next().unwrap_or(line)).collect();
    // The two traversefn lines are one row.
    written.remove(lines.iter().position(|line| *line == "traversefn").expect("it is in the list"));
    assert_eq!(read, written);
    assert_eq!(history.lines(), lines.len() as u64 + 1);
    assert!(history.warnings.is_empty());
    let named: std::collections::BTreeSet<Op> = (0..rows.len()).map(|row| rows.op(row)).collect();
    let missing: Vec<_> = Op::ALL.iter().filter(|op| !named.contains(op) && **op != Op::Open).collect();
    assert!(missing.is_empty(), "operations without an example: {missing:?}");
}

/// R1: what a store, a storev, a fetch and a next key say ends up where it belongs.
#[test]
fn arguments_keep_their_meaning() {
    let history = good(&format!(
        "{OPEN}1 tdb_store {KEY} 2:ff00 0x2 = 0\n1 tdb_store {KEY} NULL 0x3 = -1\n1 tdb_storev {KEY} 1:ff NULL 1:00 0x1 = -1\n\
         1 tdb_fetch {KEY} = 2:ff00\n1 tdb_fetch {KEY} = NULL\n1 tdb_fetch {KEY} = 0:\n1 tdb_nextkey {KEY} = NULL\n1 tdb_close\n"
    ));
    let rows = &history.traces[0].rows;
    let value = rows.row(0).a;
    assert_eq!(history.records.values.bytes(value), [0xff, 0]);
    assert_eq!((rows.row(0).store_flag(), rows.row(0).failed()), (2, false));
    assert_eq!((rows.row(1).a, rows.row(1).store_flag(), rows.row(1).failed()), (EMPTY, 3, true));
    assert_eq!((rows.row(2).a, rows.row(2).failed()), (value, false));
    assert_eq!((rows.row(3).a, rows.row(4).a, rows.row(5).a), (value, ABSENT, EMPTY));
    assert_eq!(rows.row(6).a, NONE);
    assert_eq!(history.records.keys.len(), 1);
}

/// R1: the classic tracer writes what was appended and the new value.
#[test]
fn a_classic_append_says_what_was_there_before() {
    let history = good(&format!(
        "{OPEN}1 tdb_append {KEY} 1:61 = 1:61\n2 tdb_append {KEY} 1:62 = 2:6162\n3 tdb_append {KEY} NULL = 2:6162\n3 tdb_close\n"
    ));
    assert_eq!(history.dialect, Dialect::Classic);
    let rows = &history.traces[0].rows;
    let bytes = |id| history.records.values.bytes(id);
    assert_eq!(rows.row(0).a, ABSENT_OR_EMPTY);
    assert_eq!(
        (bytes(rows.row(0).b), bytes(rows.row(1).a), bytes(rows.row(1).b)),
        (&b"a"[..], &b"a"[..], &b"ab"[..])
    );
    assert_eq!(rows.row(2).a, rows.row(2).b);
}

/// R1: today's tracer writes the old value and what was appended; one append that cannot be classic settles it.
#[test]
fn an_append_of_today_is_recognized() {
    let history = good(&format!(
        "{OPEN}1 tdb_append {KEY} NULL = 1:61\n2 tdb_append {KEY} 1:61 = 1:62\n3 tdb_append {KEY} 2:6162 = 0:\n3 tdb_close\n"
    ));
    assert_eq!(history.dialect, Dialect::Today);
    let rows = &history.traces[0].rows;
    let bytes = |id| history.records.values.bytes(id);
    assert_eq!((rows.row(0).a, bytes(rows.row(0).b)), (ABSENT, &b"a"[..]));
    assert_eq!(bytes(rows.row(1).b), b"ab");
    assert_eq!(rows.row(2).a, rows.row(2).b);
}

/// R1: where NULL is the first record of every append, it is what absent keys had.
#[test]
fn appends_to_absent_keys_alone_are_of_today() {
    let history =
        good(&format!("{OPEN}0 tdb_fetch {KEY} = NULL\n1 tdb_append {KEY} NULL = 1:7a\n1 tdb_close\n"));
    assert_eq!(history.dialect, Dialect::Today);
    assert_eq!(check(&history, Default::default()).verdict(), Verdict::Explained);
}

/// R1: appends mean the same whether the first line tells whose they are, or only a later one does.
#[test]
fn appends_mean_the_same_settled_early_and_late() {
    let lines = format!(
        "1 tdb_append {KEY} NULL = 1:61\n2 tdb_append {KEY} 1:61 = 2:6263\n3 tdb_append {KEY} 3:616263 = 0:\n\
         4 tdb_append {KEY} 0: = NULL\n5 tdb_append {KEY} NULL = NULL\n6 tdb_append {KEY} 3:616263 = NULL\n\
         6 tdb_fetch {KEY} = 3:616263\n6 tdb_close\n"
    );
    for opening in [OPEN, "0 tdb_open 131 0x800 0x42\n"] {
        let history = good(&format!("{opening}{lines}"));
        assert_eq!(history.dialect, Dialect::Today);
        let (rows, values) = (&history.traces[0].rows, &history.records.values);
        let bytes = |id| values.bytes(id).to_vec();
        let appends: Vec<_> = (0..6).map(|row| (bytes(rows.row(row).a), bytes(rows.row(row).b))).collect();
        let expected: [(&[u8], &[u8]); 6] =
            [(b"", b"a"), (b"a", b"abc"), (b"abc", b"abc"), (b"", b""), (b"", b""), (b"abc", b"abc")];
        for (append, (before, after)) in appends.iter().zip(expected) {
            assert_eq!((&append.0[..], &append.1[..]), (before, after), "{opening}");
        }
        assert_eq!([0, 3, 4].map(|row| rows.row(row).a), [ABSENT, EMPTY, ABSENT]);
        assert_eq!([3, 4].map(|row| rows.row(row).b), [EMPTY; 2]);
        assert_eq!([1, 2, 5].map(|row| rows.row(row).b), [rows.row(6).a; 3], "equal bytes are equal numbers");
    }
}

/// A file (`@` stands for a good first line), the line at fault, what is expected, what is found.
const BAD_LINES: &[(&str, u32, &str, &str)] = &[
    ("", 1, "a tdb_open line", "an empty file"),
    ("0 tdb_close\n", 1, "\"tdb_open\" on the first line", "\"tdb_close\""),
    ("x\n", 1, "a sequence number", "\"x\""),
    ("0 tdb_open 131 0x0\n", 1, "a space and open flags", "the end of the line"),
    ("0 tdb_open 131 zz 0x42\n", 1, "TDB flags, 0 or 0xHEX", "\"zz\""),
    ("0 tdb_open x 0x0 0x42\n", 1, "a hash size", "\"x 0x0 0x42\""),
    ("@1 tdb_frobnicate\n", 2, "an operation", "\"tdb_frobnicate\""),
    ("@1 tdb_close\r\n", 2, "an operation", "\"tdb_close\\r\""),
    ("@1  tdb_close\n", 2, "an operation", "the end of the line"),
    ("@\n", 2, "a sequence number", "the end of the line"),
    ("@-1 tdb_close\n", 2, "a sequence number", "\"-1 tdb_close\""),
    ("@4294967296 tdb_close\n", 2, "a sequence number below 2^32", "\"4294967296 tdb_close\""),
    ("@1 tdb_fetch\n", 2, "a space and a key", "the end of the line"),
    ("@1 tdb_fetch 3:61626 = NULL\n", 2, "6 lower-case hexadecimal digits", "\"61626 \""),
    ("@1 tdb_fetch 3:6162\n", 2, "6 hexadecimal digits", "\"6162\""),
    ("@1 tdb_fetch 1:6G = NULL\n", 2, "2 lower-case hexadecimal digits", "\"6G\""),
    ("@1 tdb_fetch 1:6A = NULL\n", 2, "2 lower-case hexadecimal digits", "\"6A\""),
    ("@1 tdb_fetch nil = NULL\n", 2, "a record (NULL or LEN:HEX)", "\"nil = NULL\""),
    ("@1 tdb_fetch 1:61\n", 2, "\" = \" and a value", "the end of the line"),
    ("@1 tdb_fetch 1:61 = NULL more\n", 2, "the end of the line", "\" more\""),
    (
        "@1 tdb_fetch 99999999999:61 = NULL\n",
        2,
        "a record (NULL or LEN:HEX) below 2^32",
        "\"99999999999:61 = NULL\"",
    ),
    ("@1 tdb_store 1:61 1:62 = 0\n", 2, "a flag, 0 or 0xHEX", "\"=\""),
    ("@1 tdb_store 1:61 1:62 0x1 = 5\n", 2, "a result of 0 or -1", "\"5\""),
    ("@1 tdb_exists 1:61 = -1\n", 2, "a result of 0 or 1", "\"-1\""),
    ("@1 tdb_wipe_all now\n", 2, "the end of the line", "\" now\""),
    ("@1 tdb_open 131 0x0 0x42\n", 2, "\"tdb_open\" on the first line only", "\"tdb_open\""),
    (
        "@1 tdb_close\n1 tdb_fetch 1:61 = NULL\n",
        3,
        "the end of the file after tdb_close",
        "\"1 tdb_fetch 1:61 = NULL\"",
    ),
    (
        "@1 tdb_traverse_end\n",
        2,
        "a tdb_traverse_start or tdb_traverse_read_start before it",
        "\"tdb_traverse_end\" without one",
    ),
    (
        "@1 traversefn\n",
        2,
        "a tdb_traverse_start or tdb_traverse_read_start before it",
        "\"traversefn\" without one",
    ),
    (
        "@1 tdb_transaction_commit\n",
        2,
        "a tdb_transaction_start before it",
        "\"tdb_transaction_commit\" without one",
    ),
    (
        "@1 tdb_transaction_cancel\n",
        2,
        "a tdb_transaction_start before it",
        "\"tdb_transaction_cancel\" without one",
    ),
    ("@1 tdb_unlockall\n", 2, "a tdb_lockall before it", "\"tdb_unlockall\" without one"),
    (
        "@1 tdb_chainunlock 1:61\n",
        2,
        "a tdb_chainlock of its chain before it",
        "\"tdb_chainunlock\" without one",
    ),
    (
        "@1 tdb_chainlock 1:61\n1 tdb_chainunlock_read 1:62\n",
        3,
        "a tdb_chainlock_read of its chain before it",
        "\"tdb_chainunlock_read\" without one",
    ),
];

/// R2: what is wrong, where, what was expected and what was found.
#[test]
fn a_bad_line_is_named() {
    for &(text, line, expected, found) in BAD_LINES {
        let text = text.replace('@', OPEN);
        match read(&[&text]).map(|_| ()) {
            Err(ReadError::Line { line: at, expected: wanted, found: got, .. }) => {
                assert_eq!((at, wanted.as_str(), got.as_str()), (line, expected, found), "{text}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
}

/// R2: a file that ends within a line is refused, or, when the caller says that its process was killed, loses it.
#[test]
fn a_cut_last_line_is_refused_unless_allowed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("p1.trace");
    std::fs::write(&path, format!("{OPEN}1 tdb_fetch {KEY} = NULL\n1602 "))
        .expect("a small file can be written");
    let refused = History::read(std::slice::from_ref(&path), Tolerance::default(), |_| {}).map(|_| ());
    assert!(
        matches!(&refused, Err(ReadError::Line { line: 3, expected, .. }) if expected == "a line end"),
        "{refused:?}"
    );
    let history =
        History::read(&[path], Tolerance { cut_last_line: true }, |_| {}).expect("a cut line is allowed");
    assert_eq!(history.traces[0].rows.len(), 1);
    assert_eq!(history.warnings.len(), 2, "{:?}", history.warnings);
}

/// R2: no close is worth a warning, an open transaction a word more.
#[test]
fn a_missing_close_is_a_warning() {
    let history = good(&format!("{OPEN}1 tdb_fetch {KEY} = NULL\n"));
    assert!(history.warnings[0].ends_with(":2: no tdb_close at the end"), "{:?}", history.warnings);
    let history = good(&format!("{OPEN}1 tdb_transaction_start\n1 tdb_store {KEY} 1:61 0x1 = 0\n"));
    assert!(history.warnings[0].contains("the open transaction is cancelled"), "{:?}", history.warnings);
}

/// R3: gzip and zstd are known by their first bytes, and lines may be longer than the reader's buffer.
#[test]
fn packed_files_and_very_long_lines_are_read() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let long = 3_000_000;
    let text = format!("{OPEN}1 tdb_store {KEY} {long}:{} 0x1 = 0\n1 tdb_close\n", "ab".repeat(long));
    let zstd = folder.path().join("a.trace");
    std::fs::write(&zstd, zstd::encode_all(text.as_bytes(), 1).expect("zstd")).expect("written");
    let gzip = folder.path().join("b.trace");
    // Two members, as `cat a.gz b.gz` makes them.
    let (one, two) = text.as_bytes().split_at(1000);
    let mut packed = Vec::new();
    for part in [one, two] {
        let mut encoder = flate2::write::GzEncoder::new(&mut packed, flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, part).expect("gzip");
        encoder.finish().expect("gzip");
    }
    std::fs::write(&gzip, packed).expect("written");
    let plain = folder.path().join("c.trace");
    std::fs::write(&plain, &text).expect("written");
    let history =
        History::read(&[zstd, gzip, plain], Tolerance::default(), |_| {}).expect("all three are read");
    for trace in &history.traces {
        assert_eq!(trace.lines, 3);
        assert_eq!(history.records.values.bytes(trace.rows.row(0).a).len(), long);
    }
    assert_eq!(history.text_bytes, 3 * text.len() as u64);
}

/// R2, R3: a packed file that ends too early is an error.
#[test]
fn a_truncated_packed_file_is_an_error() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = format!("{OPEN}{}", "1 tdb_fetch 3:616263 = NULL\n".repeat(1000));
    let packed = zstd::encode_all(text.as_bytes(), 1).expect("zstd");
    let path = folder.path().join("a.trace.zst");
    std::fs::write(&path, &packed[..packed.len() / 2]).expect("written");
    let error = History::read(&[path], Tolerance::default(), |_| {}).map(|_| ()).expect_err("half a file");
    assert!(!error.is_io(), "{error}: the file is at fault, not the system");
}

/// P9: what is kept of a trace is smaller than the trace.
#[test]
fn memory_stays_below_seven_tenths_of_the_text() {
    let sets = ["gen-n2-ops10k", "gen-full-n2-ops5k"].map(|set| testbed::test_data(&format!("traces/{set}")));
    for folder in sets.into_iter().chain([testbed::repository().join("examples/traces/four-processes")]) {
        let paths = tdb_replay::trace::source::expand(&folder).expect("the folder is readable");
        let history = History::read(&paths, Tolerance::default(), |_| {}).expect("a real set is read");
        let share = history.memory() as f64 / history.text_bytes as f64;
        assert!(share <= 0.7, "{}: {share}", folder.display());
    }
}
