//! Small histories with a right verdict that a store, or a checker, could get wrong; each once was.

use tdb_replay::check::check;
use tdb_replay::check::report::Report;
use tdb_replay::trace::{History, Tolerance};
use tdb_replay::verdict::{Kind, Verdict};

/// A trace of these lines, opened with these flags at number 0, closed with the last line's number.
fn opened(flags: &str, lines: &[&str]) -> String {
    let last = lines.last().and_then(|line| line.split(' ').next()).unwrap_or("0");
    format!("0 tdb_open 131 {flags}\n{}\n{last} tdb_close\n", lines.join("\n"))
}

fn trace(lines: &[&str]) -> String {
    opened("0x800 0x42", lines)
}

fn exact(lines: &[&str]) -> String {
    opened("0x800 0x42 #v", lines)
}

fn read(texts: &[String]) -> History {
    let texts: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
    History::read_texts(&texts, Tolerance::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn checked(texts: &[String]) -> Report {
    let history = read(texts);
    Report::of(&history, &check(&history, Default::default(), true))
}

/// The verdict, whatever the order of the traces.
#[track_caller]
fn is(texts: &[String], expected: Verdict) -> Report {
    let reversed: Vec<String> = texts.iter().rev().cloned().collect();
    for texts in [reversed.as_slice(), texts] {
        let report = checked(texts);
        assert_eq!(report.verdict, expected, "{}\n{report}", texts.join("\n"));
    }
    checked(texts)
}

/// The places that the first contradiction names, in order.
fn places(report: &Report) -> Vec<&str> {
    report.contradictions[0].operations.iter().map(|said| said.place.as_str()).collect()
}

/// R31: two reads of one transaction that disagree, with nothing written between them, are impossible, and both are named.
#[test]
fn a_transaction_reads_a_key_the_same_way_twice() {
    for end in ["0 tdb_transaction_commit", "0 tdb_transaction_cancel"] {
        let twice = |first: &str, second: &str| trace(&["0 tdb_transaction_start", first, second, end]);
        let report = is(&[twice("0 tdb_fetch 1:61 = NULL", "0 tdb_fetch 1:61 = 1:7a")], Verdict::Impossible);
        assert_eq!(report.contradictions[0].kind, Kind::Transaction);
        assert_eq!(places(&report), ["0:3", "0:4"], "{report}");
        is(&[twice("0 tdb_exists 1:61 = 1", "0 tdb_fetch 1:61 = NULL")], Verdict::Impossible);
        is(&[twice("0 tdb_fetch 1:61 = 0:", "0 tdb_fetch 1:61 = 1:7a")], Verdict::Impossible);
        is(&[twice("0 tdb_exists 1:61 = 1", "0 tdb_fetch 1:61 = 1:7a")], Verdict::Explained);
        is(&[twice("0 tdb_fetch 1:61 = NULL", "0 tdb_fetch 1:62 = 1:7a")], Verdict::Explained);
    }
    let written = ["0 tdb_transaction_start", "1 tdb_store 1:61 1:79 0 = 0", "1 tdb_fetch 1:61 = 1:7a"];
    let report = is(&[trace(&[&written[..], &["1 tdb_transaction_commit"]].concat())], Verdict::Impossible);
    assert_eq!(places(&report), ["0:3", "0:4"], "the write and the read that it makes false: {report}");
    let wiped = ["0 tdb_transaction_start", "0 tdb_wipe_all", "1 tdb_exists 1:61 = 1"];
    let report = is(&[trace(&[&wiped[..], &["1 tdb_transaction_commit"]].concat())], Verdict::Impossible);
    assert_eq!(places(&report), ["0:3", "0:4"], "{report}");
}

/// R31: the same under a lock that keeps others out.
#[test]
fn a_group_under_a_lock_reads_a_key_the_same_way_twice() {
    for (lock, unlock) in [
        ("tdb_chainlock 1:61", "tdb_chainunlock 1:61"),
        ("tdb_lockall", "tdb_unlockall"),
        ("tdb_lockall_read", "tdb_unlockall_read"),
    ] {
        let (lock, unlock) = (format!("0 {lock}"), format!("1 {unlock}"));
        let group = |second: &str| trace(&[&lock, "0 tdb_fetch 1:61 = NULL", second, &unlock]);
        let other = trace(&["1 tdb_store 1:61 1:7a 0 = 0"]);
        let report = is(&[group("1 tdb_fetch 1:61 = 1:7a"), other.clone()], Verdict::Impossible);
        assert_eq!(places(&report)[..2], ["0:3", "0:4"], "{report}");
        is(&[group("1 tdb_fetch 1:61 = NULL"), other], Verdict::Explained);
    }
}

/// R31: whether a conditional `tdb_storev` took effect is not recorded, so what was read before it decides.
#[test]
fn a_conditional_storev_in_a_transaction_does_what_it_could() {
    let group = |before: &str, after: &str| {
        let lines = ["0 tdb_transaction_start", before, "1 tdb_storev 1:61 1:79 0x2 = -1", after];
        trace(&[&lines[..], &["1 tdb_transaction_commit"]].concat())
    };
    is(&[group("0 tdb_fetch 1:61 = 1:7a", "1 tdb_fetch 1:61 = 1:7a")], Verdict::Explained);
    is(&[group("0 tdb_fetch 1:61 = NULL", "1 tdb_fetch 1:61 = 1:79")], Verdict::Explained);
    is(&[group("0 tdb_fetch 1:62 = NULL", "1 tdb_fetch 1:61 = 1:79")], Verdict::Explained);
    is(&[group("0 tdb_fetch 1:62 = NULL", "1 tdb_fetch 1:61 = 1:7a")], Verdict::Explained);
    is(&[group("0 tdb_fetch 1:61 = NULL", "1 tdb_fetch 1:61 = 1:7a")], Verdict::Impossible);
}
