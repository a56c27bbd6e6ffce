//! What makes real traces differ from the plain rule, one small history each.
//!
//! Each test replays a few lines written by hand and looks at the order that was found.

use std::path::PathBuf;

use tdb_replay::engine::Engine;
use tdb_replay::engine::memory::Memory;
use tdb_replay::engine::tdb::{Settings, TdbFile};
use tdb_replay::order::explain::{Explained, Unexplained, explain};
use tdb_replay::replay::{Options, Run, run};
use tdb_replay::schedule::Schedule;
use tdb_replay::trace::chain::Hashing;
use tdb_replay::trace::{History, Tolerance};
use tdb_replay::verdict::{Contradiction, Kind, Verdict};

/// A trace of these lines, with an open line and a close around them.
fn trace(lines: &[&str]) -> String {
    with_flags("0x0", lines)
}

fn with_flags(flags: &str, lines: &[&str]) -> String {
    let first = lines.first().and_then(|line| line.split(' ').next()).unwrap_or("0");
    let last = lines.last().and_then(|line| line.split(' ').next()).unwrap_or("0");
    let first = first.parse::<u32>().expect("lines begin with a number").saturating_sub(1);
    format!("{first} tdb_open 7 {flags} 0x42\n{}\n{last} tdb_close\n", lines.join("\n"))
}

fn read(texts: &[String]) -> History {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let paths: Vec<PathBuf> =
        (1..=texts.len()).map(|number| folder.path().join(format!("p{number}.trace"))).collect();
    for (path, text) in paths.iter().zip(texts) {
        std::fs::write(path, text).expect("a small file can be written");
    }
    History::read(&paths, Tolerance::default(), |_| {}).unwrap_or_else(|error| panic!("{error}"))
}

struct Done {
    explained: Explained,
    planted: usize,
    run: Run,
}

/// Replays in memory and on a file; both must give the recorded results.
fn replay(texts: &[String]) -> Done {
    let history = read(texts);
    let hashing = Hashing::recorded(&history);
    let mut explained = explain(&history, hashing, Default::default())
        .unwrap_or_else(|failure| panic!("{}", tdb_replay::report::explain_failure(&history, &failure)));
    let schedule = Schedule::new(&history, &mut explained);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = TdbFile::create(&folder.path().join("scratch.tdb"), Settings { hashing, sync: false })
        .unwrap_or_else(|error| panic!("{error}"));
    let engines: [&dyn Engine; 2] = [&Memory::new(&history), &file];
    let mut last = None;
    for engine in engines {
        let run =
            run(&history, &schedule, engine, &Options::default()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(run.tally.mismatches, 0, "{}: {:?}", engine.name(), run.tally.kept);
        last = Some(run);
    }
    Done { explained, planted: schedule.planted.len(), run: last.expect("two engines ran") }
}

fn fails(texts: &[String]) -> Unexplained {
    let history = read(texts);
    match explain(&history, Hashing::recorded(&history), Default::default()) {
        Ok(_) => panic!("this has no order"),
        Err(failure) => failure,
    }
}

/// R6, R8: a read's line may carry a number that others advanced after it had read.
#[test]
fn a_late_line_is_ordered_by_its_value() {
    let done = replay(&[
        trace(&["1 tdb_store 1:61 1:01 0x1 = 0", "5 tdb_fetch 1:61 = 1:01"]),
        trace(&[
            "2 tdb_store 1:61 1:02 0x1 = 0",
            "3 tdb_store 1:61 1:03 0x1 = 0",
            "4 tdb_store 1:61 1:04 0x1 = 0",
            "5 tdb_store 1:61 1:05 0x1 = 0",
        ]),
    ]);
    assert!(done.explained.merged.ranks[0][1] < done.explained.merged.ranks[1][0]);
}

/// R9: the tracer of 2009 repeats the number from before the transaction until its end.
#[test]
fn a_constant_number_inside_a_transaction_is_no_contradiction() {
    replay(&[
        trace(&[
            "3 tdb_transaction_start",
            "3 tdb_store 1:61 1:01 0x1 = 0",
            "3 tdb_store 1:62 1:01 0x1 = 0",
            "3 tdb_transaction_commit",
            "6 tdb_fetch 1:61 = 1:02",
        ]),
        trace(&["3 tdb_fetch 1:61 = NULL", "6 tdb_store 1:61 1:02 0x3 = 0"]),
    ]);
}

/// R9: a cancelled transaction changes nothing, and its numbers go back.
#[test]
fn a_cancel_takes_its_numbers_back() {
    replay(&[
        trace(&[
            "1 tdb_transaction_start",
            "2 tdb_store 1:61 1:01 0x1 = 0",
            "2 tdb_fetch 1:61 = 1:01",
            "2 tdb_transaction_cancel",
            "1 tdb_fetch 1:61 = NULL",
        ]),
        trace(&["2 tdb_store 1:61 1:02 0x2 = 0"]),
    ]);
}

/// R9: nested transactions: written out, and with the inner start missing.
#[test]
fn nested_transactions_are_part_of_the_outermost() {
    let inner_written = trace(&[
        "1 tdb_transaction_start",
        "2 tdb_store 1:61 1:01 0x1 = 0",
        "2 tdb_transaction_start",
        "3 tdb_store 1:62 1:01 0x1 = 0",
        "3 tdb_transaction_commit",
        "3 tdb_fetch 1:62 = 1:01",
        "3 tdb_transaction_prepare_commit",
        "3 tdb_transaction_commit",
    ]);
    let inner_missing = trace(&[
        "3 tdb_transaction_start",
        "4 tdb_store 1:61 1:02 0x1 = 0",
        "5 tdb_store 1:62 1:02 0x1 = 0",
        "5 tdb_transaction_commit",
        "5 tdb_transaction_prepare_commit",
        "5 tdb_transaction_commit",
        "5 tdb_fetch 1:61 = 1:02",
    ]);
    replay(&[inner_written, inner_missing]);
}

/// R9: what a transaction reads is checked against its own writes.
#[test]
fn a_transaction_that_contradicts_itself_is_refused() {
    let failure = fails(&[trace(&[
        "1 tdb_transaction_start",
        "2 tdb_store 1:61 1:01 0x1 = 0",
        "2 tdb_fetch 1:61 = 1:02",
        "2 tdb_transaction_commit",
    ])]);
    let Contradiction { kind, lines, .. } = &failure.contradictions[0];
    assert_eq!((*kind, lines[0].row, lines[1].row), (Kind::Transaction, 1, 2), "{failure:?}");
}

/// R2: a process that died in a transaction cancelled it.
#[test]
fn an_open_transaction_at_the_end_is_cancelled() {
    let killed = "1 tdb_open 7 0x0 0x42\n1 tdb_transaction_start\n2 tdb_store 1:61 1:01 0x1 = 0\n".to_owned();
    replay(&[killed, trace(&["1 tdb_fetch 1:61 = NULL", "2 tdb_store 1:61 1:02 0x2 = 0"])]);
}

/// R10: a wipe is an operation on every key.
#[test]
fn a_wipe_leaves_nothing() {
    replay(&[
        trace(&["1 tdb_store 1:61 1:01 0x1 = 0", "2 tdb_store 1:62 1:01 0x1 = 0", "3 tdb_fetch 1:61 = NULL"]),
        trace(&["2 tdb_lockall", "2 tdb_wipe_all", "3 tdb_unlockall", "3 tdb_exists 1:62 = 0"]),
    ]);
}

/// R10, R1: a repack's own lines follow it.
#[test]
fn a_repack_is_its_inner_lines() {
    replay(&[trace(&[
        "1 tdb_store 1:61 1:01 0x1 = 0",
        "1 tdb_repack",
        "1 tdb_transaction_start",
        "1 tdb_traverse_read_start",
        "1 traverse 1:61 = 1:01",
        "1 tdb_traverse_end",
        "1 tdb_lockall",
        "1 tdb_wipe_all",
        "2 tdb_unlockall",
        "3 tdb_store 1:61 1:01 0x2 = 0",
        "3 tdb_transaction_commit",
        "3 tdb_fetch 1:61 = 1:01",
    ])]);
}

/// R9: nobody comes between the operations of a chain lock.
#[test]
fn a_chainlock_group_is_one_step() {
    let done = replay(&[
        trace(&[
            "1 tdb_store 1:61 1:01 0x1 = 0",
            "1 tdb_chainlock 1:61",
            "5 tdb_fetch 1:61 = 1:01",
            "6 tdb_store 1:61 1:02 0x1 = 0",
            "6 tdb_chainunlock 1:61",
        ]),
        trace(&["8 tdb_store 1:61 1:03 0x1 = 0", "8 tdb_fetch 1:61 = 1:03"]),
    ]);
    assert!(done.explained.merged.ranks[1][0] > done.explained.merged.ranks[0][4]);
}

/// R10: locks that do not wait: taken, and refused.
#[test]
fn a_refused_lock_is_not_run() {
    let done = replay(&[
        trace(&["1 tdb_lockall_nonblock = 0", "1 tdb_store 1:61 1:01 0x1 = 0", "1 tdb_unlockall"]),
        trace(&[
            "1 tdb_lockall_nonblock = -1",
            "1 tdb_chainlock_nonblock 1:61 = -1",
            "1 tdb_lockall_read_nonblock = -1",
        ]),
    ]);
    assert_eq!(done.run.tally.not_run, 3);
}

/// R1: inside a read traversal changes are refused, whatever is there.
#[test]
fn changes_in_a_read_traversal_fail_without_a_need() {
    replay(&[trace(&[
        "1 tdb_store 1:61 1:01 0x1 = 0",
        "1 tdb_traverse_read_start",
        "1 traversefn",
        "1 tdb_delete 1:61 = -1",
        "1 tdb_store 1:61 1:02 0x1 = -1",
        "1 tdb_fetch 1:61 = 1:01",
        "1 tdb_traverse_end",
        "2 tdb_delete 1:61 = 0",
    ])]);
}

/// R1: a read traversal in the callback of a write traversal, which changes records.
#[test]
fn traversals_nest() {
    replay(&[trace(&[
        "1 tdb_store 1:61 1:01 0x1 = 0",
        "2 tdb_store 1:62 1:02 0x1 = 0",
        "2 tdb_traverse_start",
        "2 traverse 1:61 = 1:01",
        "2 tdb_traverse_read_start",
        "2 traversefn",
        "2 traversefn",
        "2 tdb_traverse_end",
        "3 tdb_delete 1:61 = 0",
        "3 traverse 1:62 = 1:02",
        "4 tdb_store 1:62 1:03 0x3 = 0",
        "4 tdb_traverse_end",
        "4 tdb_traverse_start",
        "4 traversefn",
        "4 tdb_traverse_end = 1",
    ])]);
}

/// R1, R16: a traversal that failed has no end; those after it have.
#[test]
fn a_traversal_without_an_end_ends_after_its_last_callback() {
    replay(&[
        trace(&[
            "1 tdb_store 1:61 1:01 0x1 = 0",
            "1 tdb_traverse_start",
            "1 traversefn",
            "1 tdb_fetch 1:62 = NULL",
            "1 tdb_traverse_read_start",
            "1 traversefn",
            "1 tdb_traverse_end",
        ]),
        trace(&["1 tdb_transaction_start", "2 tdb_store 1:62 1:02 0x2 = 0", "2 tdb_transaction_commit"]),
    ]);
}

/// R11: what the first reader needs was there before.
#[test]
fn what_nobody_stored_is_planted() {
    let done = replay(&[trace(&[
        "9 tdb_fetch 1:61 = 1:01",
        "9 tdb_exists 1:62 = 1",
        "10 tdb_delete 1:63 = 0",
        "10 tdb_fetch 1:64 = NULL",
    ])]);
    assert_eq!(done.planted, 3);
}

/// R1: a storev's result is not recorded: insert of a key that exists did nothing, of one that does not, something.
#[test]
fn a_conditional_storev_may_or_may_not_have_happened() {
    replay(&[trace(&[
        "1 tdb_store 1:61 1:01 0x1 = 0",
        "1 tdb_storev 1:61 1:05 1:06 0x2 = -1",
        "1 tdb_fetch 1:61 = 1:01",
        "2 tdb_storev 1:62 1:05 1:06 0x2 = -1",
        "2 tdb_fetch 1:62 = 2:0506",
        "3 tdb_storev 1:62 NULL 0x1 = -1",
        "3 tdb_fetch 1:62 = 0:",
    ])]);
}

/// R1: firstkey and nextkey show keys that exist.
#[test]
fn a_walk_by_keys_finds_existing_keys() {
    replay(&[trace(&[
        "1 tdb_store 1:61 1:01 0x1 = 0",
        "2 tdb_store 1:62 1:01 0x1 = 0",
        "2 tdb_firstkey = 1:61",
        "2 tdb_nextkey 1:61 = 1:62",
        "2 tdb_nextkey 1:62 = NULL",
    ])]);
}

/// R7: a value that nobody can have left is refused, with the lines concerned.
#[test]
fn an_impossible_value_is_refused() {
    let failure = fails(&[
        trace(&["1 tdb_store 1:61 1:01 0x1 = 0", "1 tdb_fetch 1:61 = 1:07"]),
        trace(&["1 tdb_fetch 1:62 = NULL"]),
    ]);
    assert_eq!((failure.contradictions.len(), failure.verdict()), (1, Verdict::Impossible));
    let Contradiction { kind, lines, gave_up, .. } = &failure.contradictions[0];
    assert!(*kind == Kind::Key && !lines.is_empty() && gave_up.is_none());
}

/// R2, facts of dead databases: a long tail of failures says nothing, but only if it explains something.
#[test]
fn a_dead_tail_is_left_out_only_when_it_contradicts() {
    let tail: Vec<String> = (0..30).map(|_| "1 tdb_fetch 1:61 = NULL".to_owned()).collect();
    let mut lines = vec!["1 tdb_store 1:61 1:01 0x1 = 0"];
    lines.extend(tail.iter().map(String::as_str));
    let done = replay(&[trace(&lines)]);
    assert_eq!(
        (done.explained.notes.len(), done.run.tally.not_run),
        (1, 31),
        "the close is part of the tail"
    );
    // A quiet process that looked for something absent says the truth.
    let honest: Vec<String> = (0..30).map(|_| "1 tdb_fetch 1:62 = NULL".to_owned()).collect();
    lines.truncate(1);
    lines.extend(honest.iter().map(String::as_str));
    let done = replay(&[trace(&lines)]);
    assert_eq!((done.explained.notes.len(), done.run.tally.not_run), (0, 0));
}

/// R9, R10: a wipe and a transaction have their cell for themselves. An append that follows by its version is not put into that
/// cell, before the wipe, where it would need a chain while all are locked.
#[test]
fn a_version_puts_a_change_behind_a_wipe() {
    let wipes = trace(&[
        "1 tdb_store 1:61 1:01 0x1 = 0 #10+1 v1",
        "1 tdb_lockall #20+1",
        "1 tdb_wipe_all #20+5",
        "2 tdb_unlockall #20+6",
    ]);
    let appends = trace(&["1 tdb_get_seqnum = 1 #12+1", "5 tdb_append 1:61 1:01 = 1:03 #15+30 v5"]);
    let inserts = trace(&[
        "2 tdb_transaction_start #30+1",
        "3 tdb_store 1:61 1:01 0x2 = 0 #32+1",
        "3 tdb_transaction_commit #34+1",
    ]);

    let done = replay(&[wipes, appends, inserts]);

    let ranks = &done.explained.merged.ranks;
    assert!(ranks[0][2] < ranks[1][1], "{ranks:?}");
    assert!(done.explained.merged.given_up.is_empty());
}

/// R16: a step of a walk went past while somebody held the lock of another chain, under which he then saw what came after the
/// step. The engine's step could meet just that chain, so that it waits, and the one with the lock for it. No lock is given up for
/// that: the walk is not run, or not held open, and what it showed is looked up.
#[test]
fn a_walk_that_went_past_a_lock_is_taken_apart() {
    let locks = trace(&[
        "1 tdb_store 1:61 1:01 0x1 = 0 #5+1 v1",
        "2 tdb_chainlock 1:61 #20+1",
        "3 tdb_fetch 1:62 = 1:03 #50+1 v3",
        "3 tdb_chainunlock 1:61 #60+1",
    ]);
    let changes =
        trace(&["2 tdb_store 1:62 1:02 0x1 = 0 #10+1 v2", "3 tdb_store 1:62 1:03 0x1 = 0 #40+1 v3"]);
    let first_step = trace(&[
        "2 tdb_traverse_read_start #29+1",
        "2 traverse 1:62 = 1:02 #30+1 v2",
        "3 tdb_exists 1:61 = 1 #70+1 v3",
        "3 tdb_traverse_end #71+1",
    ]);
    let later_step = trace(&[
        "1 tdb_traverse_start #7+1",
        "1 traverse 1:61 = 1:01 #8+1 v1",
        "2 tdb_fetch 1:62 = 1:02 #28+1 v2",
        "2 traverse 1:62 = 1:02 #30+1 v2",
        "2 tdb_traverse_end #31+1",
    ]);
    let by_keys = trace(&["2 tdb_firstkey = 1:62 #30+1 v2", "2 tdb_nextkey 1:62 = NULL #31+1"]);

    for (walk, unwalked, splits) in [(first_step, 1, 0), (later_step, 0, 1), (by_keys, 2, 0)] {
        let done = replay(&[locks.clone(), changes.clone(), walk]);

        let merged = &done.explained.merged;
        assert_eq!(merged.given_up, []);
        assert_eq!((merged.unwalked.len(), merged.splits.len()), (unwalked, splits));
        assert_eq!((done.run.tally.not_run, done.explained.notes.len()), (unwalked as u64, unwalked.min(1)));
    }
}
