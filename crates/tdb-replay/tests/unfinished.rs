//! Traces of processes that died: what their recorder leaves, and whether what was under way happened.

use history::solver::Limits;
use tdb_replay::check::check;
use tdb_replay::engine::memory::Memory;
use tdb_replay::order::attempt::Question;
use tdb_replay::order::explain::explain;
use tdb_replay::replay::{Options, run};
use tdb_replay::schedule::Schedule;
use tdb_replay::trace::chain::Hashing;
use tdb_replay::trace::op::Op;
use tdb_replay::trace::{History, Tolerance};
use tdb_replay::verdict::Verdict;

const OPEN: &str = "0 tdb_open 7 0x0 0x42 #1+0\n";

fn read(texts: &[String]) -> Result<History, String> {
    let texts: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
    History::read_texts(&texts, Tolerance::default()).map_err(|error| error.to_string())
}

fn trace(lines: &[&str], end: &str) -> String {
    format!("{OPEN}{}{end}", lines.iter().map(|line| format!("{line}\n")).collect::<String>())
}

/// The notes of an order that replays with no mismatch; the database is `last` at the end.
fn replayed(texts: &[String], last: &[Option<&[u8]>]) -> Vec<String> {
    let history = read(texts).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(check(&history, Default::default()).verdict(), Verdict::Explained);
    let mut explained = explain(&history, Hashing::recorded(&history), Default::default())
        .unwrap_or_else(|failure| panic!("{}", tdb_replay::report::explain_failure(&history, &failure)));
    assert_eq!(explained.merged.given_up, []);
    let schedule = Schedule::new(&history, &mut explained);
    let values: Vec<Option<&[u8]>> = schedule
        .last_values
        .iter()
        .map(|&value| (value != 0).then(|| history.records.values.bytes(value)))
        .collect();
    assert_eq!(values, last);
    let run = run(&history, &schedule, &Memory::new(&history), &Options::default())
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(run.tally.mismatches, 0, "{:?}", run.tally.kept);
    explained.notes
}

/// R2, R4: behind the last line a dead process's recorder leaves zeros, half a line, or what was under way.
#[test]
fn what_stands_behind_a_dead_process_is_told_from_its_lines() {
    let lines = ["1 tdb_store 1:61 1:31 0x1 = 0 #5+1 v1"];
    let leftovers = ["\0\0\0\0", "\0 tdb_sto\0\0", "\x000 half #\n?1 tdb_delete 1:61 = 0 #7+?\n\0", "\0"];
    for end in leftovers {
        let history = read(&[trace(&lines, end)]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((history.traces[0].rows.len(), history.traces[0].unfinished), (1, false), "{end:?}");
        assert!(history.warnings.iter().any(|text| text.contains("no tdb_close")), "{:?}", history.warnings);
    }
    for end in
        ["? tdb_delete 1:61 = 0 #7+?\n\0\0\0", "?7 tdb_delete 1:61 = 0 #7+13\0\0", "?0 tdb_delete 1:61 = 0 #"]
    {
        let history = read(&[trace(&lines, end)]).unwrap_or_else(|error| panic!("{error}"));
        let rows = &history.traces[0].rows;
        assert_eq!((rows.len(), rows.op(1), history.traces[0].unfinished), (2, Op::Delete, true), "{end:?}");
        assert!(history.warnings.iter().any(|text| text.contains("0:3: its process died during")));
    }
    for text in
        [trace(&["1 tdb_close"], "? tdb_delete 1:61 = 0 #7+?\n"), "\0\0\0".into(), trace(&lines, "?x")]
    {
        read(&[text]).err().unwrap_or_else(|| panic!("this is not a trace"));
    }
}

/// R2, R7: a change of one key that was under way happened if somebody saw it, and not if somebody saw that it did not.
#[test]
fn a_change_that_was_under_way_happened_or_not() {
    let dead = trace(&["1 tdb_store 1:61 1:31 0x1 = 0 #5+1 v1"], "? tdb_store 1:61 1:32 0x1 = 0 #7+?\n\0");
    let saw = |value: &str| trace(&["2 tdb_store 1:62 0: 0x1 = 0 #8+1 v2", value, "3 tdb_close"], "");
    let notes = replayed(&[dead.clone(), saw("3 tdb_fetch 1:61 = 1:32 #20+1 v3")], &[Some(b"2"), Some(b"")]);
    assert!(notes.is_empty(), "{notes:?}");
    let notes = replayed(&[dead, saw("3 tdb_append 1:61 1:31 = 1:39 #20+1 v3")], &[Some(b"19"), Some(b"")]);
    assert!(notes.is_empty() || notes[0].contains("0:3: this did not happen"), "{notes:?}");
    let dead = trace(&["1 tdb_store 1:61 1:31 0x1 = 0 #5+1 v1"], "? tdb_delete 1:61 = 0 #7+?\n\0");
    let notes = replayed(&[dead, saw("2 tdb_fetch 1:61 = 1:31 #20+1 v2")], &[Some(b"1"), Some(b"")]);
    assert!(notes.len() <= 1, "{notes:?}");
}

/// R2, R12: a process may die between a change and the number that counts it: others see the one without the other. That is no
/// contradiction, and the numbers go on to place what the key has beside.
#[test]
fn a_change_may_not_have_been_counted_any_more() {
    let dead = trace(&["1 tdb_store 1:61 1:31 0x1 = 0 #5+1 v1"], "? tdb_store 1:61 1:32 0x3 = 0 #7+?\n\0");
    let saw = ["1 tdb_fetch 1:61 = 1:32 #10+1 v1", "2 tdb_store 1:61 1:33 0x1 = 0 #12+1 v2", "3 tdb_close"];
    let texts = [dead, trace(&saw, "")];

    assert!(replayed(&texts, &[Some(b"3")]).is_empty());

    let history = read(&texts).unwrap_or_else(|error| panic!("{error}"));
    let explained = explain(&history, Hashing::recorded(&history), Default::default());
    let explained = explained.unwrap_or_else(|failure| panic!("{failure:?}"));
    assert_eq!(explained.effort.without_windows, 0);
}

/// R2, R9: a commit that was under way happened with all its keys or not at all; its numbers tell, or what others saw.
#[test]
fn a_commit_that_was_under_way_happened_whole_or_not() {
    let lines = [
        "0 tdb_transaction_start #5+1",
        "1 tdb_store 1:61 1:31 0x1 = 0 #7+1",
        "2 tdb_store 1:62 1:31 0x1 = 0 #9+1",
    ];
    let dead = trace(&lines, "? tdb_transaction_commit #11+?\n\0");
    let other = |lines: &[&str]| trace(lines, "9 tdb_close\n");
    let seen = other(&["2 tdb_fetch 1:61 = 1:31 #30+1 v2", "2 tdb_fetch 1:62 = 1:31 #40+1 v2"]);
    assert!(replayed(&[dead.clone(), seen], &[Some(b"1"), Some(b"1")]).is_empty());
    let unseen = other(&["0 tdb_fetch 1:61 = NULL #30+1 v0", "1 tdb_store 1:62 1:39 0x2 = 0 #40+1 v1"]);
    let notes = replayed(&[dead.clone(), unseen], &[None, Some(b"9")]);
    assert!(notes[0].contains("0:5: this did not happen any more"), "{notes:?}");
    // Without versions only what was seen tells.
    let lines = ["1 tdb_store 1:63 0: 0x1 = 0", "3 tdb_store 1:63 1:39 0x1 = 0", "3 tdb_fetch 1:61 = NULL"];
    let notes = replayed(&[dead, other(&lines)], &[None, None, Some(b"9")]);
    assert_eq!(notes.len(), 1, "{notes:?}");
}

/// R6: what is done under a lock for reading is not a single step: others read meanwhile.
#[test]
fn readers_under_a_lock_do_not_exclude_each_other() {
    let locked = trace(
        &[
            "1 tdb_store 1:61 1:31 0x1 = 0 #5+1 v1",
            "1 tdb_chainlock_read 1:61 #10+1",
            "1 tdb_fetch 1:61 = 1:31 #20+1 v1",
            "3 tdb_fetch 1:61 = 1:31 #60+1 v3",
            "3 tdb_chainunlock_read 1:61 #70+1",
            "3 tdb_close #80+1",
        ],
        "",
    );
    let other = trace(
        &[
            "2 tdb_store 1:62 0: 0x1 = 0 #30+1 v2",
            "2 tdb_fetch 1:61 = 1:31 #40+1 v2",
            "3 tdb_store 1:62 1:32 0x1 = 0 #50+1 v3",
            "3 tdb_close #90+1",
        ],
        "",
    );
    assert!(replayed(&[locked, other], &[Some(b"1"), Some(b"2")]).is_empty());
}

/// R2, R7, R16: what was under way under a lock is over when others are let in, who show that it did not happen.
#[test]
fn what_was_under_way_under_a_lock_comes_before_those_whom_it_kept_out() {
    let other = [
        "2 tdb_transaction_start #20+1",
        "3 tdb_store 1:62 1:33 0x1 = 0 #22+1",
        "3 tdb_transaction_commit #24+1",
        "3 tdb_fetch 1:61 = 1:31 #30+1 v3",
        // Whatever was there before.
        "4 tdb_store 1:61 1:34 0x1 = 0 #32+1 v4",
        "4 tdb_close #40+1",
    ];
    for (lock, another) in [
        ("1 tdb_chainlock 1:61 #7+1", "2 tdb_store 1:68 0: 0x1 = 0 #16+1 v2"),
        ("1 tdb_lockall #7+1", "2 tdb_store 1:63 0: 0x1 = 0 #16+1 v2"),
    ] {
        let lines = ["1 tdb_store 1:61 1:31 0x1 = 0 #5+1 v1", lock];
        let dead = trace(&lines, "?1 tdb_append 1:61 1:31 = 1:39 #9+?\n\0");
        let others = [&[another], &other[..]].concat();
        let notes = replayed(&[dead, trace(&others, "")], &[Some(b"4"), Some(b""), Some(b"3")]);
        assert!(notes[0].contains("0:4: this did not happen any more"), "{notes:?}");
    }
}

/// R2, R16: a lock that is given up and that its process's death released has no row that releases it: the last one is an
/// operation, and is run.
#[test]
fn the_last_row_under_a_lock_that_is_given_up_is_run() {
    let dead = [
        "1 tdb_lockall #10+1",
        "2 tdb_store 1:62 1:31 0x1 = 0 #12+1 v2",
        "3 tdb_fetch 1:63 = 1:32 #30+1 v3",
        "4 tdb_store 1:64 1:33 0x1 = 0 #32+1 v4",
    ];
    let other = [
        "2 tdb_lockall #14+1",
        "2 tdb_fetch 1:62 = 1:31 #16+1 v2",
        "3 tdb_store 1:63 1:32 0x1 = 0 #18+1 v3",
        "3 tdb_unlockall #20+1",
        "3 tdb_close #22+1",
    ];
    let texts = [
        trace(&["1 tdb_store 1:61 1:30 0x1 = 0 #5+1 v1"], "1 tdb_close #6+1\n"),
        trace(&dead, "\0"),
        trace(&other, ""),
    ];
    let history = read(&texts).unwrap_or_else(|error| panic!("{error}"));
    // The two locks exclude each other; an order that was not proved gives one up.
    let limits = Limits { states: 1 };
    let without_times = Question { limits, times: false, ..Question::default() };
    let mut explained = explain(&history, Hashing::recorded(&history), without_times)
        .unwrap_or_else(|failure| panic!("{}", tdb_replay::report::explain_failure(&history, &failure)));
    assert_eq!(explained.merged.given_up.iter().map(|group| group.trace).collect::<Vec<_>>(), [1]);
    let schedule = Schedule::new(&history, &mut explained);
    let run = run(&history, &schedule, &Memory::new(&history), &Options::default())
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(run.tally.mismatches, 0, "{:?}", run.tally.kept);
}

/// R2, R15: what was under way and can only be left out in one order of all keys is not run either. Here nobody counts, so
/// the orders of single keys need not fit together: `a` alone would let the insert come first.
#[test]
fn what_the_search_of_all_keys_leaves_out_is_not_run() {
    let writer = ["0 tdb_store 1:61 1:31 0x1 = 0", "0 tdb_store 1:62 1:31 0x1 = 0"];
    let dead = trace(&["0 tdb_fetch 1:62 = 1:31"], "?0 tdb_store 1:61 1:32 0x2 = 0\n\0");
    let other = ["0 tdb_store 1:63 1:31 0x1 = 0", "0 tdb_fetch 1:62 = NULL"];
    let texts = [trace(&writer, "0 tdb_close\n"), dead, trace(&other, "0 tdb_close\n")];
    let notes = replayed(&texts, &[Some(b"1"), Some(b"1"), Some(b"1")]);
    assert!(notes.iter().any(|note| note.contains("1:3: this did not happen any more")), "{notes:?}");
}

/// R30: a commit after which the number goes back may have been made all the same: a replay makes it where nothing else explains what
/// others read, and not where that is left open.
#[test]
fn a_commit_after_which_the_number_goes_back_is_replayed_where_it_was_made() {
    let open = "0 tdb_open 1009 0x800 0x42\n";
    let first = format!(
        "{open}0 tdb_transaction_start\n1 tdb_delete 1:63 = 0\n1 tdb_transaction_commit\n0 tdb_close\n"
    );
    let reads = format!("{open}0 tdb_fetch 1:63 = 1:78\n2 tdb_fetch 1:63 = NULL\n2 tdb_close\n");
    replayed(&[first.clone(), reads], &[None]);
    replayed(&[first, format!("{open}2 tdb_delete 1:62 = 0\n")], &[Some(b""), None]);
}
