//! The extended form, and the lines that the writer prints.

use std::io::{Read, Write};
use std::path::PathBuf;

use tdb_replay::trace::calls::call_of;
use tdb_replay::trace::line::{OpenedWith, line, open_line};
use tdb_replay::trace::records::Records;
use tdb_replay::trace::{History, Tolerance, source};
use tdb_trace::{Call, Op, Opened, Stamp, print};

const KEY: Option<&[u8]> = Some(b"k");
const VALUE: Option<&[u8]> = Some(b"ab");

/// The lines of docs/trace-extended.md: what is written, and the text.
fn golden() -> Vec<(Call<'static>, &'static str)> {
    let mut lines = vec![
        (Call::Bare(Op::TransactionStart), "7 tdb_transaction_start"),
        (Call::Bare(Op::TraverseEnd), "7 tdb_traverse_end"),
        (Call::Bare(Op::Traversefn), "7 traversefn"),
        (Call::Result(Op::TraverseEnd, 3), "7 tdb_traverse_end = 3"),
        (Call::Result(Op::LockallNonblock, -1), "7 tdb_lockall_nonblock = -1"),
        (Call::Key(Op::Chainlock, KEY), "7 tdb_chainlock 1:6b"),
        (Call::Key(Op::ChainunlockRead, Some(b"")), "7 tdb_chainunlock_read 0:"),
        (Call::KeyResult(Op::Delete, KEY, -1), "7 tdb_delete 1:6b = -1"),
        (Call::KeyResult(Op::Exists, KEY, 1), "7 tdb_exists 1:6b = 1"),
        (Call::KeyRecord(Op::Fetch, KEY, VALUE), "7 tdb_fetch 1:6b = 2:6162"),
        (Call::KeyRecord(Op::Fetch, None, None), "7 tdb_fetch NULL = NULL"),
        (Call::KeyRecord(Op::Nextkey, KEY, Some(b"\xff\x00")), "7 tdb_nextkey 1:6b = 2:ff00"),
        (Call::Firstkey(None), "7 tdb_firstkey = NULL"),
        (Call::Store { key: KEY, value: VALUE, flag: 2, result: 0 }, "7 tdb_store 1:6b 2:6162 0x2 = 0"),
        (Call::Store { key: KEY, value: Some(b""), flag: 0, result: 0 }, "7 tdb_store 1:6b 0: 0 = 0"),
        (Call::Append { key: KEY, before: None, appended: VALUE }, "7 tdb_append 1:6b NULL = 2:6162"),
    ];
    const PIECES: &[Option<&[u8]>] = &[Some(b"a"), Some(b"b")];
    lines.push((Call::Storev { key: KEY, pieces: PIECES, flag: 1 }, "7 tdb_storev 1:6b 1:61 1:62 0x1 = -1"));
    lines
}

fn text(seq: u32, call: &Call, stamp: Option<Stamp>) -> String {
    let mut out = Vec::new();
    print::line(seq, call, stamp, &mut out);
    String::from_utf8(out).expect("the writer prints ASCII")
}

/// R4: every shape of line comes out as libtdb 1.4 writes it, and the reader takes it back.
#[test]
fn every_shape_of_line_is_printed_as_libtdb_prints_it() {
    for (call, expected) in golden() {
        let printed = text(7, &call, None);
        assert_eq!(printed.strip_suffix('\n'), Some(expected));
        let (row, stamp) = line(expected.as_bytes(), &mut Records::default())
            .unwrap_or_else(|bad| panic!("{expected}: {bad:?}"));
        assert_eq!((row.seq, stamp), (7, None));
    }
    let opened = Opened { seq: 0, hash_size: 131, tdb_flags: 0x801, open_flags: 0x42 };
    assert_eq!(text(0, &Call::Open(opened), None), "0 tdb_open 131 0x801 0x42\n");
    assert_eq!(
        open_line(b"0 tdb_open 131 0x801 0x42").expect("a tdb_open line"),
        (opened, OpenedWith::Nothing)
    );
    assert_eq!(
        open_line(b"0 tdb_open 131 0x801 0x42 #v").expect("a tdb_open line"),
        (opened, OpenedWith::Exact)
    );
}

/// R4: an extended line is its plain line and the addition; the reader keeps both, and the plain form is what stands
/// before " #".
#[test]
fn an_extended_line_is_the_plain_line_and_its_stamp() {
    for version in [None, Some(6)] {
        let stamp = Stamp { start_ns: 1000, duration_ns: 250, version };
        for (call, expected) in golden() {
            let printed = text(7, &call, Some(stamp));
            let printed = printed.trim_end_matches('\n');
            assert_eq!(printed.split(" #").next(), Some(expected));
            let mut records = Records::default();
            let (row, read) =
                line(printed.as_bytes(), &mut records).unwrap_or_else(|bad| panic!("{printed}: {bad:?}"));
            assert_eq!(read, Some(stamp));
            assert_eq!(row, line(expected.as_bytes(), &mut records).expect("it was read above").0);
        }
    }
    let (_, with) = open_line(b"0 tdb_open 131 0x801 0x42 #5+6").expect("an extended tdb_open line");
    assert_eq!(with, OpenedWith::Stamp(Stamp { start_ns: 5, duration_ns: 6, version: None }));
}

/// R4: the document's examples are the writer's lines.
#[test]
fn the_document_shows_the_lines_that_are_written() {
    let path = testbed::repository().join("docs/trace-extended.md");
    let document = std::fs::read_to_string(path).expect("the document is in the repository");
    let shown =
        ["7 tdb_transaction_start", "7 tdb_fetch 1:6b = 2:6162", "7 tdb_storev 1:6b 1:61 1:62 0x1 = -1"];
    for shown in shown {
        assert!(document.contains(shown), "{shown}");
        assert!(golden().iter().any(|(_, text)| *text == shown), "{shown}");
    }
}

/// R1, R4: every line of real traces of today's libtdb comes out of its row as it went in, but for what two texts say
/// equally: the pieces of a storev, and null pointers that were stored.
#[test]
fn lines_of_real_traces_are_printed_as_they_were_read() {
    let folder = testbed::test_data("traces/gen-full-n2-ops5k");
    let paths = source::expand(&folder).expect("a folder of traces");
    let history = History::read(&paths, Tolerance::default(), |_| {}).expect("real traces are read");
    let mut compared = 0;
    for (trace, path) in history.traces.iter().zip(&paths) {
        let mut original = String::new();
        source::open(path)
            .and_then(|mut file| file.read_to_string(&mut original))
            .expect("it was read before");
        let lines: Vec<&str> = original.lines().collect();
        assert_eq!(text(trace.opened.seq, &Call::Open(trace.opened), None).trim_end(), lines[0]);
        for index in 0..trace.rows.len() {
            let row = trace.rows.row(index);
            let mut room = [None];
            let printed = text(row.seq, &call_of(row, &history.records, &mut room), None);
            let recorded = lines[trace.rows.line(index) as usize - 1];
            if row.op == Op::Storev || recorded.contains("NULL 0") {
                continue;
            }
            assert_eq!(printed.trim_end(), recorded);
            compared += 1;
        }
    }
    assert!(compared > 10_000, "only {compared} lines were compared");
}

fn read(text: &str) -> Result<History, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path: PathBuf = folder.path().join("a.trace");
    std::fs::File::create(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .expect("a temporary file");
    History::read(&[path], Tolerance::default(), |_| {}).map_err(|error| error.to_string())
}

/// R4: traces may mix lines with and without stamps, and each row keeps its own.
#[test]
fn lines_with_and_without_stamps_mix() {
    let text = "0 tdb_open 131 0x1 0x42 #1+2\n0 tdb_fetch 1:6b = NULL\n1 tdb_store 1:6b 1:61 0 = 0 #10+5 v1\n\
        1 tdb_traverse_read_start\n1 traversefn #20+1\n1 traversefn #30+1\n1 tdb_traverse_end #40+1\n1 tdb_close\n";
    let history = read(text).expect("a trace in the extended form");
    let rows = &history.traces[0].rows;
    let starts: Vec<Option<u64>> =
        (0..rows.len()).map(|row| rows.stamp(row).map(|stamp| stamp.start_ns)).collect();
    assert_eq!(starts, [None, Some(10), None, Some(20), Some(30), Some(40), None]);
    assert_eq!(rows.stamp(1).and_then(|stamp| stamp.version), Some(1));
    assert!(
        !read("0 tdb_open 131 0x1 0x42\n0 tdb_close\n").expect("a plain trace").traces[0].rows.is_timed()
    );
}

/// R2: a damaged stamp is refused with the file, the line and what was expected.
#[test]
fn a_damaged_stamp_is_refused() {
    let error = read("0 tdb_open 131 0x1 0x42\n0 tdb_fetch 1:6b = NULL #12\n0 tdb_close\n")
        .map(|_| ())
        .expect_err("no duration");
    assert!(error.contains("a.trace:2: expected \" #START+DURATION\", found \" #12\""), "{error}");
}

/// R4: where the first line says that numbers are versions, the lines that have one in the extended form have it, and no other.
#[test]
fn numbers_are_versions_where_the_first_line_says_so() {
    let lines = [
        "1 tdb_store 1:6b 1:61 0x1 = 0",
        "1 tdb_exists 1:6b = 1",
        "1 tdb_parse_record 1:6c = -1",
        "1 tdb_get_seqnum = 1",
        "1 tdb_transaction_start",
        "2 tdb_store 1:6b 1:62 0x1 = 0",
        "2 tdb_transaction_commit",
        "2 tdb_chainlock 1:6b",
        "3 tdb_append 1:6b 1:62 = 1:63",
        "3 tdb_chainunlock 1:6b",
        "3 tdb_traverse_read_start",
        "3 traverse 1:6b = 2:6263",
        "3 tdb_traverse_end",
        "3 tdb_firstkey = 1:6b",
        "3 tdb_nextkey 1:6b = NULL",
        "4 tdb_delete 1:6b = 0",
    ];
    let unfinished = "?5 tdb_store 1:6b 1:61 0x1 = 0";
    let versions = |first: &str| {
        let text = format!("0 tdb_open 7 0x800 0x42{first}\n{}\n{unfinished}\n", lines.join("\n"));
        let history = History::read_texts(&[text.as_bytes()], Tolerance::default()).expect("a trace");
        let rows = &history.traces[0].rows;
        assert_eq!(rows.len(), lines.len() + 1);
        assert!(!rows.is_timed());
        (0..rows.len()).filter_map(|row| Some((row, rows.version(row)?))).collect::<Vec<_>>()
    };
    let expected = [(0, 1), (1, 1), (2, 1), (8, 3), (11, 3), (13, 3), (15, 4)];
    assert_eq!(versions(" #v"), expected);
    assert_eq!(versions(""), []);
    for wrong in [" #v1", " #v ", " #w", "  #v"] {
        open_line(format!("0 tdb_open 7 0x800 0x42{wrong}").as_bytes()).expect_err(wrong);
    }
}
