//! Locks as the library takes them: which lines speak of one that was not held, and what cannot have been held together.
//!
//! Each test orders a few lines written by hand and replays them on every engine there is.

use tdb_replay::engine::Engine;
use tdb_replay::engine::libtdb::Libtdb;
use tdb_replay::engine::memory::Memory;
use tdb_replay::engine::tdb::{Settings, TdbFile};
use tdb_replay::order::explain::{Explained, explain};
use tdb_replay::replay::{Options, run};
use tdb_replay::schedule::Schedule;
use tdb_replay::trace::chain::Hashing;
use tdb_replay::trace::{History, Tolerance};
use tdb_replay::verdict::{Kind, Verdict};

/// A trace of these lines, with an open line and a close around them.
fn trace(lines: &[&str]) -> String {
    let last = lines.last().and_then(|line| line.split(' ').next()).unwrap_or("0");
    format!("0 tdb_open 1009 0x800 0x42\n{}\n{last} tdb_close\n", lines.join("\n"))
}

fn read(texts: &[String]) -> Result<History, String> {
    let texts: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
    History::read_texts(&texts, Tolerance::default()).map_err(|error| error.to_string())
}

/// Orders the history and replays it on every engine; all results must be the recorded ones, and no lock given up.
fn replay(test: &str, texts: &[String]) -> Explained {
    let history = read(texts).unwrap_or_else(|error| panic!("{error}"));
    let hashing = Hashing::recorded(&history);
    let mut explained = explain(&history, hashing, Default::default())
        .unwrap_or_else(|failure| panic!("{}", tdb_replay::report::explain_failure(&history, &failure)));
    let schedule = Schedule::new(&history, &mut explained);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings = Settings { hashing, sync: false };
    let memory = Memory::new(&history);
    let file = TdbFile::create(&folder.path().join("scratch.tdb"), settings)
        .unwrap_or_else(|error| panic!("{error}"));
    let mut engines: Vec<&dyn Engine> = vec![&memory, &file];
    let libtdb = Libtdb::create(&folder.path().join("libtdb.tdb"), settings);
    match &libtdb {
        Ok(engine) => engines.push(engine),
        Err(error) => testbed::skip(test, &error.message),
    }
    for engine in engines {
        let name = engine.name();
        let run = run(&history, &schedule, engine, &Options::default())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(run.tally.mismatches, 0, "{name}: {:?}", run.tally.kept);
    }
    assert_eq!(explained.merged.given_up, []);
    explained
}

/// R30: the line of a lock is written before the lock is had, and the call can fail. What came after it is then no single
/// step, and others may come between.
#[test]
fn a_lock_that_was_never_released_may_not_have_been_taken() {
    let test = "a_lock_that_was_never_released_may_not_have_been_taken";
    for lock in ["tdb_lockall", "tdb_lockall_read", "tdb_chainlock 1:6b", "tdb_chainlock_read 1:6b"] {
        let asks = trace(&[&format!("0 {lock}"), "1 tdb_store 1:6b 1:61 0 = 0", "2 tdb_fetch 1:6b = 1:62"]);
        replay(test, &[asks, trace(&["2 tdb_store 1:6b 1:62 0 = 0"])]);
    }
}

/// R30: a process that died holding a lock, or may have: nobody else is kept out for the rest of the history.
#[test]
fn a_lock_of_a_process_that_died_may_not_have_been_taken() {
    let dies = "0 tdb_open 1009 0x800 0x42\n0 tdb_lockall\n1 tdb_store 1:6b 1:61 0 = 0\n".to_owned();
    let goes_on = trace(&["1 tdb_fetch 1:6b = 1:61", "2 tdb_store 1:6b 1:62 0 = 0"]);
    replay("a_lock_of_a_process_that_died_may_not_have_been_taken", &[dies, goes_on]);
}

/// R30: one that was released was taken: nobody comes between what was done under it.
#[test]
fn a_lock_that_was_released_was_taken() {
    let between = trace(&["2 tdb_store 1:6b 1:62 0 = 0"]);
    for (lock, unlock) in [("tdb_lockall", "tdb_unlockall"), ("tdb_chainlock 1:6b", "tdb_chainunlock 1:6b")] {
        let lines = [
            &*format!("0 {lock}"),
            "1 tdb_store 1:6b 1:61 0 = 0",
            "2 tdb_fetch 1:6b = 1:62",
            &*format!("2 {unlock}"),
        ];
        let history = read(&[trace(&lines), between.clone()]).expect("it is grammatical");
        assert!(explain(&history, Hashing::recorded(&history), Default::default()).is_err(), "{lock}");
    }
    // The same without a lock, and with one that the line itself says was taken.
    let lines = ["0 tdb_lockall_nonblock = 0", "1 tdb_store 1:6b 1:61 0 = 0", "2 tdb_fetch 1:6b = 1:62"];
    let history = read(&[trace(&lines), between]).expect("it is grammatical");
    assert!(explain(&history, Hashing::recorded(&history), Default::default()).is_err());
}

/// R30: locks that the library refuses whatever the program does afterwards, each with lines that show it.
#[test]
fn a_lock_that_the_library_refuses_was_not_taken() {
    let test = "a_lock_that_the_library_refuses_was_not_taken";
    let stores = || trace(&["2 tdb_store 1:6b 1:62 0 = 0"]);
    let both = |before: &str, lock: &str, unlock: &str, after: &str| {
        let lines = [
            &*format!("0 {before}"),
            &*format!("0 {lock}"),
            "1 tdb_store 1:6b 1:61 0 = 0",
            "2 tdb_fetch 1:6b = 1:62",
            &*format!("2 {unlock}"),
            &*format!("2 {after}"),
        ];
        replay(test, &[trace(&lines), stores()]);
    };
    // All chains, while one is locked.
    both("tdb_chainlock 1:7a", "tdb_lockall", "tdb_unlockall", "tdb_chainunlock 1:7a");
    // A change under what would have refused it: so it was not held.
    both("tdb_get_seqnum = 0", "tdb_lockall_read", "tdb_unlockall_read", "tdb_get_seqnum = 2");
    // A transaction is not started under a lock.
    let transaction = trace(&[
        "0 tdb_chainlock 1:6b",
        "0 tdb_transaction_start",
        "1 tdb_store 1:6b 1:61 0 = 0",
        "1 tdb_transaction_commit",
        "2 tdb_fetch 1:6b = 1:62",
        "2 tdb_chainunlock 1:6b",
    ]);
    replay(test, &[transaction, stores()]);
}

/// R30: a delete fails under one's own lock of all records for reading, whatever is there, and under a traversal for
/// reading a store of any kind does.
#[test]
fn what_a_lock_refuses_says_nothing_of_the_key() {
    let test = "what_a_lock_refuses_says_nothing_of_the_key";
    let lines = |lock: &str, unlock: &[&str]| {
        let lock = format!("1 {lock}");
        let mut lines = vec!["1 tdb_store 1:6b 1:61 0 = 0", &*lock, "1 tdb_delete 1:6b = -1"];
        lines.extend(unlock);
        lines.push("1 tdb_fetch 1:6b = 1:61");
        trace(&lines)
    };
    replay(test, &[lines("tdb_lockall_read", &["1 tdb_unlockall_read"])]);
    replay(test, &[lines("tdb_lockall_read", &[])]);
    let storev = trace(&[
        "1 tdb_store 1:6b 1:61 0 = 0",
        "1 tdb_traverse_read_start",
        "1 traverse 1:6b = 1:61",
        "1 tdb_storev 1:6b 1:62 0 = -1",
        "1 tdb_traverse_end",
        "1 tdb_fetch 1:6b = 1:61",
    ]);
    replay(test, &[storev]);
    let reader = "1 tdb_open 1009 0x800 0x0\n1 tdb_store 1:6b 1:62 0x2 = -1\n1 tdb_close\n".to_owned();
    replay(test, &[trace(&["1 tdb_store 1:61 1:61 0 = 0"]), reader]);
}

/// R30: a commit's line is written before it acts. Where the numbers go back behind it, it failed.
#[test]
fn a_commit_whose_numbers_are_taken_back_failed() {
    let fails = trace(&[
        "1 tdb_store 1:6b 1:61 0 = 0",
        "1 tdb_transaction_start",
        "2 tdb_store 1:6b 1:62 0 = 0",
        "2 tdb_transaction_commit",
        "1 tdb_fetch 1:6b = 1:61",
    ]);
    replay("a_commit_whose_numbers_are_taken_back_failed", &[fails]);
}

/// R37, R2: what is not held is not released, whichever command reads the trace.
#[test]
fn releasing_what_is_not_held_is_refused_with_its_line() {
    let wrong: &[(&[&str], u32)] = &[
        (&["0 tdb_chainlock 1:61", "0 tdb_chainunlock 1:62"], 3),
        (&["0 tdb_chainlock 1:61", "0 tdb_chainunlock 1:61", "0 tdb_chainunlock 1:61"], 4),
        (&["0 tdb_chainlock_nonblock 1:61 = -1", "0 tdb_chainunlock 1:61"], 3),
        (&["0 tdb_chainunlock_read 1:61"], 2),
        (&["0 tdb_unlockall"], 2),
        (&["0 tdb_lockall_read", "0 tdb_unlockall"], 3),
        (&["0 tdb_lockall", "0 tdb_unlockall_read"], 3),
        (&["0 tdb_lockall_nonblock = -1", "0 tdb_unlockall"], 3),
        (&["0 tdb_traverse_end"], 2),
        (&["0 traverse 1:61 = 1:62"], 2),
        (&["0 tdb_transaction_commit"], 2),
        (&["0 tdb_transaction_prepare_commit"], 2),
        (&["0 tdb_transaction_cancel"], 2),
    ];
    for (lines, line) in wrong {
        let refused = read(&[trace(lines)]).err().unwrap_or_else(|| panic!("{lines:?} was read"));
        assert!(refused.starts_with(&format!("0:{line}: expected ")), "{lines:?}: {refused}");
    }
}

/// R1, R37: a chain counts how often it is locked, not how and with which of its keys. The keys 6163 and 6272 share a chain.
#[test]
fn a_chain_is_released_by_any_of_its_keys_and_in_either_way() {
    let lines: &[&[&str]] = &[
        &["0 tdb_chainlock 2:6163", "0 tdb_chainunlock 2:6272"],
        &["0 tdb_chainlock 1:61", "0 tdb_chainunlock_read 1:61"],
        &["0 tdb_chainlock_read 1:61", "0 tdb_chainunlock 1:61"],
        &[
            "0 tdb_chainlock_read 1:61",
            "0 tdb_chainlock 1:61",
            "0 tdb_chainunlock 1:61",
            "0 tdb_chainunlock 1:61",
        ],
    ];
    for lines in lines {
        replay("a_chain_is_released_by_any_of_its_keys_and_in_either_way", &[trace(lines)]);
    }
}

/// R16, R35: what a process changes while it has the chain locked for reading it has locked for writing from then on, also
/// if the change is refused. A reader that is still to come would wait for the release, and that for the reader; so he
/// comes before.
#[test]
fn a_change_under_a_read_lock_upgrades_the_lock() {
    let test = "a_change_under_a_read_lock_upgrades_the_lock";
    let changes: &[&[&str]] = &[
        &["0 tdb_store 1:62 1:79 0x3 = -1"],
        &["0 tdb_delete 1:62 = -1"],
        &["0 tdb_chainlock 1:62", "0 tdb_chainunlock 1:62"],
        &["0 tdb_chainlock_nonblock 1:62 = 0", "0 tdb_chainunlock_read 1:62"],
        &["0 tdb_traverse_start", "0 tdb_traverse_end"],
    ];
    for change in changes {
        let reads = trace(&["1 tdb_fetch 1:62 = NULL", "2 tdb_store 1:61 1:78 0 = 0"]);
        let mut lines = vec!["0 tdb_chainlock_read 1:62"];
        lines.extend(*change);
        lines.extend([
            "1 tdb_store 1:63 1:78 0 = 0",
            "2 tdb_fetch 1:61 = 1:78",
            "2 tdb_chainunlock_read 1:62",
        ]);

        let explained = replay(test, &[reads, trace(&lines)]);

        let merged = &explained.merged;
        assert!(merged.ranks[0][0] < merged.ranks[1][change.len()], "{change:?}: {:?}", merged.ranks);
    }
}

/// R35: of two that have a chain locked for reading and then change something there, one comes after the other's release: both
/// at once would each wait for the other before their changes.
#[test]
fn two_that_upgrade_the_same_lock_follow_each_other() {
    let one = trace(&[
        "0 tdb_chainlock_read 1:62",
        "0 tdb_fetch 1:61 = NULL",
        "0 tdb_delete 1:62 = -1",
        "0 tdb_chainunlock_read 1:62",
    ]);
    let other = trace(&[
        "0 tdb_chainlock_read 1:62",
        "1 tdb_store 1:61 1:61 0 = 0",
        "1 tdb_delete 1:62 = -1",
        "1 tdb_chainunlock_read 1:62",
    ]);
    for texts in [[one.clone(), other.clone()], [other, one]] {
        replay("two_that_upgrade_the_same_lock_follow_each_other", &texts);
    }
}

/// R1: a store that insists on nothing and failed, as on a full disk, changed nothing and is not run.
#[test]
fn a_store_that_failed_for_no_reason_of_its_own_is_not_run() {
    let fails = trace(&["0 tdb_store 1:62 1:78 0x1 = -1", "0 tdb_fetch 1:62 = NULL"]);
    replay("a_store_that_failed_for_no_reason_of_its_own_is_not_run", &[fails]);
}

/// R10, R37: under a lock for reading others read meanwhile, so what is done under it is not a single step for them.
#[test]
fn readers_come_between_the_operations_under_a_read_lock() {
    let test = "readers_come_between_the_operations_under_a_read_lock";
    let changes =
        trace(&["1 tdb_store 1:61 1:30 0 = 0", "2 tdb_store 1:7a 1:31 0 = 0", "3 tdb_store 1:7a 1:32 0 = 0"]);
    let holds = trace(&[
        "1 tdb_chainlock_read 1:61",
        "1 tdb_fetch 1:61 = 1:30",
        "3 tdb_get_seqnum = 3",
        "3 tdb_fetch 1:61 = 1:30",
        "3 tdb_chainunlock_read 1:61",
    ]);
    let reads = trace(&["2 tdb_get_seqnum = 2", "2 tdb_fetch 1:61 = 1:30", "2 tdb_get_seqnum = 2"]);

    let explained = replay(test, &[changes, holds, reads]);

    assert_eq!(explained.effort.without_windows, 0);
}

/// R16, R35: an upgrade among transactions, with times: the transactions and the reader keep to where the lock lets them be.
#[test]
fn an_upgrade_keeps_its_place_among_transactions() {
    let upgrades = "0 tdb_open 1009 0x800 0x42 #3+1\n0 tdb_chainlock_read 1:62 #7+7\n0 tdb_exists 1:61 = 1 #15+7 v0\n\
        0 tdb_store 1:62 2:7878 0x2 = -1 #23+27 v0\n0 tdb_fetch 1:61 = 2:785f #69+5 v0\n\
        0 tdb_store 1:62 2:7878 0x2 = -1 #77+13 v0\n0 tdb_chainunlock_read 1:62 #105+1\n0 tdb_close #117+21\n";
    let cancels = "0 tdb_open 1009 0x800 0x42 #5+1\n0 tdb_transaction_start #17+9\n1 tdb_storev 1:62 0: 0x3 = -1 #35+3\n\
        1 tdb_transaction_cancel #39+5\n0 tdb_exists 1:62 = 1 #51+85 v0\n0 tdb_fetch 1:62 = 1:78 #141+45 v0\n0 tdb_close #195+1\n";
    let commits = "0 tdb_open 1009 0x800 0x42 #53+1\n0 tdb_transaction_start #55+53\n0 tdb_transaction_commit #109+1\n\
        0 tdb_close #111+3\n";
    let texts = [upgrades, cancels, commits].map(str::to_owned);
    replay("an_upgrade_keeps_its_place_among_transactions", &texts);
}

/// The lines that `order` and `check` name for a history that is impossible, as trace and line.
fn broken(texts: &[String]) -> Vec<(u16, u32)> {
    let history = read(texts).unwrap_or_else(|error| panic!("{error}"));
    let Err(failure) = explain(&history, Hashing::recorded(&history), Default::default()) else {
        panic!("this has no order: {texts:?}");
    };
    assert_eq!(failure.verdict(), Verdict::Impossible);
    let contradiction = &failure.contradictions[0];
    assert_eq!(contradiction.kind, Kind::Locks);
    let line = |trace: u16, row: u32| history.traces[usize::from(trace)].rows.line(row as usize);
    contradiction.lines.iter().map(|at| (at.trace, line(at.trace, at.row))).collect()
}

/// R37: two processes that hold one lock at once, by exact times, are impossible, whichever locks those are; both lines are
/// named.
#[test]
fn holders_that_exclude_each_other_do_not_overlap() {
    let hold = |lock: &str, unlock: &str, at: u32| {
        let (end, close) = (at + 100, at + 110);
        format!(
            "0 tdb_open 1009 0x800 0x42 #0+1\n0 {lock} #{at}+10\n0 {unlock} #{end}+5\n0 tdb_close #{close}+1\n"
        )
    };
    let locks = [
        ("tdb_chainlock 1:61", "tdb_chainunlock 1:61"),
        ("tdb_chainlock_read 1:61", "tdb_chainunlock_read 1:61"),
        ("tdb_chainlock 1:62", "tdb_chainunlock 1:62"),
        ("tdb_lockall", "tdb_unlockall"),
        ("tdb_lockall_read", "tdb_unlockall_read"),
        ("tdb_traverse_start", "tdb_traverse_end"),
    ];
    // Which of them exclude which, by their places in the list.
    let exclude: &[&[usize]] = &[&[0, 1, 3, 4], &[0, 3], &[2, 3, 4], &[0, 1, 2, 3, 4], &[0, 2, 3], &[5]];
    for (one, (lock, unlock)) in locks.into_iter().enumerate() {
        for (other, (other_lock, other_unlock)) in locks.into_iter().enumerate() {
            let apart = [hold(lock, unlock, 100), hold(other_lock, other_unlock, 300)];
            let history = read(&apart).expect("it is grammatical");
            assert!(explain(&history, Hashing::recorded(&history), Default::default()).is_ok(), "{apart:?}");
            let together = [hold(lock, unlock, 100), hold(other_lock, other_unlock, 150)];
            if exclude[one].contains(&other) {
                assert_eq!(broken(&together), [(0, 2), (1, 2)], "{together:?}");
            } else {
                let history = read(&together).expect("it is grammatical");
                let explained = explain(&history, Hashing::recorded(&history), Default::default());
                assert!(explained.is_ok(), "{together:?}");
            }
        }
    }
}

/// R37: what needs a lock does not begin and end while another process holds it. What only reaches into that time may have waited.
#[test]
fn what_needs_a_lock_is_not_done_while_another_holds_it() {
    let holds = "0 tdb_open 1009 0x800 0x42 #0+1\n0 tdb_chainlock 1:61 #100+10\n0 tdb_chainunlock 1:61 #200+5\n\
        0 tdb_close #300+1\n";
    let reads = |start: u32, duration: u32| {
        format!(
            "0 tdb_open 1009 0x800 0x42 #0+1\n0 tdb_fetch 1:61 = NULL #{start}+{duration} v0\n0 tdb_close #300+1\n"
        )
    };
    assert_eq!(broken(&[holds.to_owned(), reads(120, 10)]), [(0, 2), (1, 2)]);
    for (start, duration) in [(105, 10), (195, 10), (90, 150)] {
        let history = read(&[holds.to_owned(), reads(start, duration)]).expect("it is grammatical");
        assert!(explain(&history, Hashing::recorded(&history), Default::default()).is_ok(), "{start}");
    }
}

/// R15, R16: where only numbers say who was first, a lock of all chains that is kept beyond its number comes after what others did at
/// this number: here in a traversal for reading or for writing, or after a cancelled transaction.
#[test]
fn a_lock_of_all_chains_comes_after_what_others_did_at_its_number() {
    let locker = trace(&[
        "1 tdb_lockall",
        "2 tdb_store 1:61 1:32 0x1 = 0",
        "3 tdb_store 1:62 1:32 0x1 = 0",
        "3 tdb_unlockall",
    ]);
    let traverses = [
        "1 tdb_store 1:61 1:31 0x1 = 0",
        "1 tdb_traverse_read_start",
        "1 traverse 1:61 = 1:31",
        "4 tdb_fetch 1:62 = 1:32",
        "4 tdb_traverse_end = 1",
        "4 tdb_store 1:63 1:31 0x1 = 0",
    ];
    let cancels = [
        "1 tdb_store 1:61 1:31 0x1 = 0",
        "1 tdb_transaction_start",
        "2 tdb_store 1:63 1:31 0x1 = 0",
        "3 tdb_store 1:63 1:32 0x1 = 0",
        "4 tdb_store 1:63 1:33 0x1 = 0",
        "4 tdb_transaction_cancel",
        "1 tdb_fetch 1:61 = 1:31",
        "4 tdb_store 1:63 1:31 0x1 = 0",
    ];
    let writes = traverses.map(|line| line.replace("traverse_read_start", "traverse_start"));
    let writes = writes.each_ref().map(String::as_str);
    for reader in [trace(&traverses), trace(&writes), trace(&cancels)] {
        replay("a_lock_of_all_chains_comes_after_what_others_did_at_its_number", &[locker.clone(), reader]);
    }
}
