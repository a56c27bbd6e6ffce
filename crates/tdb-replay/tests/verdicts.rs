//! Small histories with a right verdict that a store, or a checker, could get wrong; each once was.

use history::solver::Limits;
use tdb_replay::check::check;
use tdb_replay::check::hints::hints;
use tdb_replay::check::report::Report;
use tdb_replay::order::attempt::Question;
use tdb_replay::order::explain::explain;
use tdb_replay::trace::chain::Hashing;
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
    Report::of(&history, &check(&history, Default::default()))
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
        let lock = format!("0 {lock}");
        let group = |second: &str| {
            let unlock = format!("{} {unlock}", &second[..1]);
            trace(&[&lock, "0 tdb_fetch 1:61 = NULL", second, &unlock])
        };
        let other = trace(&["1 tdb_store 1:61 1:7a 0 = 0"]);
        let report = is(&[group("1 tdb_fetch 1:61 = 1:7a"), other.clone()], Verdict::Impossible);
        assert_eq!(places(&report)[..2], ["0:3", "0:4"], "{report}");
        is(&[group("0 tdb_fetch 1:61 = NULL"), other.clone()], Verdict::Explained);
        // The store took the number to 1, which it could not under the lock.
        is(&[group("1 tdb_fetch 1:61 = NULL"), other], Verdict::NumbersDisbelieved);
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

/// R32: numbers that traces call exact are believed, so a stale read stays impossible.
#[test]
fn exact_numbers_are_never_set_aside() {
    let writer = ["1 tdb_store 1:6b 1:61 0 = 0", "2 tdb_store 1:6b 1:62 0 = 0"];
    let reader = ["2 tdb_fetch 1:6a = NULL", "2 tdb_fetch 1:6b = 1:61"];
    is(&[exact(&writer), exact(&reader)], Verdict::Impossible);
    let report = is(&[trace(&writer), trace(&reader)], Verdict::NumbersDisbelieved);
    assert_eq!(report.contradictions[0].kind, Kind::Numbers);
    assert!(!report.contradictions[0].operations.is_empty(), "the lines are named: {report}");
    let late = ["1 tdb_fetch 1:6a = NULL", "2 tdb_fetch 1:6b = 1:61"];
    is(&[trace(&writer), trace(&late)], Verdict::Explained);
    is(&[exact(&writer), exact(&late)], Verdict::Impossible);
}

/// R32: a store that does not count: a change that moves no number, and one that moves it for the first of two only.
#[test]
fn changes_that_do_not_count_are_named() {
    let never = is(&[trace(&["0 tdb_store 1:6b 1:61 0 = 0"])], Verdict::NumbersDisbelieved);
    assert_eq!(places(&never), ["0:2"]);
    let lost = [
        "1 tdb_store 1:6b 1:61 0 = 0",
        "2 tdb_store 1:6b 1:62 0 = 0",
        "2 tdb_store 1:6b 1:63 0 = 0",
        "3 tdb_fetch 1:6b = 1:63",
    ];
    let report = is(&[trace(&lost)], Verdict::NumbersDisbelieved);
    assert_eq!(places(&report), ["0:3", "0:4"], "{report}");
    is(&[exact(&lost)], Verdict::Impossible);
    is(&[trace(&["1 tdb_delete 1:6b = -1", "1 tdb_store 1:6b 1:61 0x3 = -1"])], Verdict::Explained);
}

/// R32: the number of a trace goes back, outside of cancelled transactions.
#[test]
fn a_number_that_goes_back_is_named() {
    let back = ["7 tdb_store 1:6b 1:61 0 = 0", "6 tdb_fetch 1:6b = 1:61", "7 tdb_fetch 1:6b = 1:61"];
    let report = is(&[trace(&back)], Verdict::NumbersDisbelieved);
    assert_eq!(places(&report), ["0:2", "0:3"], "{report}");
    let cancelled = [
        "1 tdb_store 1:6b 1:61 0 = 0",
        "1 tdb_transaction_start",
        "2 tdb_store 1:6b 1:62 0 = 0",
        "2 tdb_transaction_cancel",
        "1 tdb_fetch 1:6b = 1:61",
    ];
    is(&[trace(&cancelled)], Verdict::Explained);
    // A process that died in a commit had its numbers taken back, after somebody may have seen them.
    let died = "0 tdb_open 131 0x800 0x42\n0 tdb_transaction_start\n3 tdb_store 1:6b 1:62 0 = 0\n".to_owned();
    let saw = ["3 tdb_fetch 1:6a = NULL", "0 tdb_fetch 1:6b = NULL", "1 tdb_store 1:6b 1:61 0 = 0"];
    is(&[died, trace(&saw)], Verdict::Explained);
}

/// R32: `tdb_get_seqnum` answers the number.
#[test]
fn get_seqnum_answers_the_number() {
    is(&[trace(&["0 tdb_get_seqnum = 999"])], Verdict::NumbersDisbelieved);
    is(&[trace(&["3 tdb_get_seqnum = 2"])], Verdict::Explained);
    is(&[trace(&["3 tdb_fetch 1:6b = NULL", "3 tdb_get_seqnum = 2"])], Verdict::NumbersDisbelieved);
}

/// R32: no two changes have one number, on one key or on several, and a transaction has all of its own.
#[test]
fn each_change_has_a_number_of_its_own() {
    let store = |key: &str| trace(&[&format!("1 tdb_store {key} 1:61 0 = 0")]);
    let report = is(&[store("1:6b"), store("1:6a")], Verdict::NumbersDisbelieved);
    assert_eq!(places(&report).len(), 2, "{report}");
    let exactly = |key: &str| exact(&[&format!("1 tdb_store {key} 1:61 0 = 0")]);
    is(&[exactly("1:6b"), exactly("1:6a")], Verdict::Impossible);
    let within = |high: u32, key: &str| trace(&[&format!("{high} tdb_store {key} 1:61 0 = 0")]);
    is(&[within(2, "1:6b"), within(2, "1:6a")], Verdict::Explained);
    is(&[within(2, "1:6b"), within(2, "1:6a"), within(2, "1:69")], Verdict::NumbersDisbelieved);
    let transaction = trace(&[
        "0 tdb_transaction_start",
        "1 tdb_store 1:6b 1:61 0 = 0",
        "2 tdb_store 1:6a 1:61 0 = 0",
        "2 tdb_transaction_commit",
    ]);
    is(&[transaction.clone(), within(2, "1:69")], Verdict::NumbersDisbelieved);
    is(&[transaction, within(3, "1:69")], Verdict::Explained);
}

/// R32, R10: a wipe has the number after its line's for itself, so a change that would need that one comes after it.
#[test]
fn what_comes_after_a_wipe_by_its_number_stays() {
    let wipe = trace(&["0 tdb_lockall", "0 tdb_wipe_all", "1 tdb_unlockall"]);
    let append = trace(&["2 tdb_append 1:61 NULL = 1:7a"]);
    is(&[wipe.clone(), append.clone()], Verdict::Explained);
    let history = read(&[wipe, append]);
    let explained = explain(&history, Hashing::recorded(&history), Default::default());
    let explained = explained.expect("it has an order");
    assert!(explained.merged.ranks[0][1] < explained.merged.ranks[1][0], "the wipe comes first");
    let left = explained.merged.last_values[0];
    assert_eq!(history.records.values.bytes(left), b"z");
}

/// R32, R36: orders of single keys that fit the windows but leave a change no number are not the last word.
#[test]
fn counting_and_results_are_satisfied_together() {
    // By its window alone, k's first store may come before or after j's; by the numbers it can only come after.
    let one = trace(&["3 tdb_store 1:6b 1:61 0 = 0", "3 tdb_fetch 1:6b = 1:61"]);
    let two = trace(&["1 tdb_store 1:6a 1:61 0 = 0", "2 tdb_store 1:6b 1:62 0 = 0"]);
    is(&[one.clone(), two.clone()], Verdict::Explained);
    // It cannot, if the second store of k must be seen after the first.
    let seen = trace(&["3 tdb_fetch 1:6b = 1:62"]);
    let three = trace(&["3 tdb_fetch 1:6b = 1:61", "3 tdb_fetch 1:6b = 1:62"]);
    is(&[one.clone(), two.clone(), seen], Verdict::Explained);
    is(&[one, two, three], Verdict::NumbersDisbelieved);
}

/// R36: where the numbers say nothing, all keys are searched together: no order of one key alone is the last word.
#[test]
fn equal_numbers_are_no_contradiction() {
    let one = trace(&["0 tdb_store 1:63 1:79 0 = 0", "0 tdb_fetch 1:62 = NULL"]);
    let two =
        trace(&["0 tdb_store 1:63 1:78 0 = 0", "0 tdb_store 1:62 1:78 0 = 0", "0 tdb_fetch 1:63 = 1:78"]);
    let report = is(&[one.clone(), two.clone()], Verdict::Explained);
    assert!(report.notes.iter().any(|note| note.contains("the numbers say nothing")), "{report}");
    // Each key has an order; all of them have none.
    let three = trace(&["0 tdb_fetch 1:62 = 1:78", "0 tdb_fetch 1:63 = NULL"]);
    is(&[one, two, three], Verdict::Impossible);
}

/// R33: one order has to satisfy numbers and times, from one beginning.
#[test]
fn numbers_and_times_are_satisfied_together() {
    let timed = |opened: &str, lines: &[&str]| format!("{opened}\n{}\n", lines.join("\n"));
    let late = |version: &str| {
        let store = format!("1 tdb_store 1:6b 1:61 0 = 0 #6000+10{version}");
        timed("0 tdb_open 131 0x800 0x42 #5000+10", &[&store, "1 tdb_close #7000+10"])
    };
    let early = |version: &str| {
        let fetch = format!("1 tdb_fetch 1:6b = 1:61 #300+10{version}");
        timed("1 tdb_open 131 0x800 0x42 #0+10", &[&fetch, "1 tdb_close #500+10"])
    };
    let report = is(&[late(" v1"), early(" v1")], Verdict::Impossible);
    assert!(report.to_string().contains("do the clocks differ?"), "{report}");
    let report = is(&[late(""), early("")], Verdict::NumbersDisbelieved);
    assert!(!report.contradictions.is_empty(), "{report}");
}

/// R34: a database that was truncated, is private to its process or is cleared by its first user begins empty.
#[test]
fn a_beginning_that_is_stated_is_empty() {
    let found = ["0 tdb_fetch 1:6b = 1:61"];
    is(&[opened("0x800 0x42", &found)], Verdict::Explained);
    for flags in ["0x800 0x242", "0x802 0x42", "0x801 0x42"] {
        is(&[opened(flags, &found)], Verdict::Impossible);
        is(&[opened(flags, &["0 tdb_fetch 1:6b = NULL"])], Verdict::Explained);
    }
    // The first user need not have been the one that clears.
    is(
        &[opened("0x801 0x42", &["0 tdb_fetch 1:6a = NULL"]), opened("0x800 0x42", &found)],
        Verdict::Explained,
    );
    let history = read(&[opened("0x800 0x42", &found)]);
    let checked = check(&history, Question { empty: true, ..Question::default() });
    assert_eq!(checked.verdict(), Verdict::Impossible);
}

/// R36: where only plain numbers are at fault, an order without them is found, however the keys' orders meet.
#[test]
fn plain_numbers_alone_make_nothing_impossible() {
    let histories: &[&[&[&str]]] = &[
        &[
            &["1 tdb_fetch 1:62 = NULL"],
            &["0 tdb_fetch 1:62 = 1:79", "0 tdb_delete 1:63 = 0"],
            &[
                "0 tdb_store 1:63 1:78 0x1 = 0",
                "0 tdb_store 1:63 0: 0x1 = 0",
                "0 tdb_store 1:62 1:79 0x1 = 0",
            ],
        ],
        &[
            &["0 tdb_parse_record 1:62 = -1", "0 tdb_fetch 1:63 = NULL"],
            &["0 tdb_firstkey = 1:62", "0 tdb_wipe_all"],
        ],
        &[
            &["0 tdb_store 1:61 1:78 0x1 = 0", "0 tdb_delete 1:61 = 0", "1 tdb_fetch 1:62 = 1:78"],
            &["0 tdb_delete 1:62 = 0", "0 tdb_fetch 1:61 = NULL"],
        ],
    ];
    for traces in histories {
        let texts: Vec<String> = traces.iter().map(|lines| trace(lines)).collect();
        let report = is(&texts, Verdict::NumbersDisbelieved);
        assert!(!report.contradictions.is_empty(), "{report}");
    }
    let late =
        "1 tdb_open 131 0x800 0x42\n2 tdb_store 1:62 1:78 0x2 = 0\n2 tdb_exists 1:61 = 1\n2 tdb_close\n";
    is(
        &[trace(&["0 tdb_wipe_all", "1 tdb_fetch 1:63 = NULL"]), late.to_owned()],
        Verdict::NumbersDisbelieved,
    );
}

/// R36: a conditional `tdb_storev` in a transaction need not have happened, in one that was cancelled neither.
#[test]
fn a_conditional_storev_that_could_not_happen_is_no_contradiction() {
    let insert = "0 tdb_storev 1:61 1:78 0x2 = -1";
    let modify = "0 tdb_storev 1:62 1:78 0x3 = -1";
    let killed = |lines: &[&str]| format!("0 tdb_open 131 0x800 0x42\n{}\n", lines.join("\n"));
    is(&[killed(&["0 tdb_fetch 1:61 = 1:78", "0 tdb_transaction_start", insert])], Verdict::Explained);
    is(
        &[killed(&["0 tdb_transaction_start", modify]), trace(&["0 tdb_exists 1:62 = 0"])],
        Verdict::Explained,
    );
    let committed = ["0 tdb_transaction_start", insert, "0 tdb_transaction_commit"];
    is(&[killed(&["0 tdb_fetch 1:61 = 1:78"]), trace(&committed)], Verdict::Explained);
}

/// R32: numbers inside a transaction count its changes, and lines without a version are plain even in an exact trace.
#[test]
fn numbers_inside_transactions_count_and_only_versions_are_exact() {
    let stores = |number: u32| {
        let second = format!("{number} tdb_store 1:6a 1:61 0 = 0");
        trace(&[
            "0 tdb_transaction_start",
            "1 tdb_store 1:6b 1:61 0 = 0",
            &second,
            "2 tdb_transaction_cancel",
        ])
    };
    is(&[stores(2)], Verdict::Explained);
    is(&[stores(1)], Verdict::NumbersDisbelieved);
    is(&[exact(&["0 tdb_wipe_all", "0 tdb_fetch 1:6b = NULL"])], Verdict::NumbersDisbelieved);
    is(&[exact(&["0 tdb_storev 1:6b 1:61 0x2 = -1", "0 tdb_fetch 1:6b = 1:62"])], Verdict::Explained);
    let twice = "0 tdb_open 131 0x800 0x42 #3+1\n1 tdb_store 1:6b 1:61 0 = 0 #11+3 v1\n\
        1 tdb_store 1:6b 1:61 0 = 0 #15+3 v1\n1 tdb_close #20+1\n";
    is(&[twice.to_owned()], Verdict::Impossible);
}

/// R33: a walk waits in the merge for every lock that it may meet on another database. That later lines go first there says
/// nothing against the times: they are kept by the positions, without a search of all keys.
#[test]
fn a_step_that_waits_for_a_lock_it_did_not_meet_is_not_against_the_times() {
    let holder = [
        "1 tdb_chainlock 1:61 #10+5",
        "2 tdb_store 1:61 1:31 0x1 = 0 #90+5 v2",
        "2 tdb_chainunlock 1:61 #100+1",
    ];
    let walker = ["1 tdb_store 1:62 1:31 0x1 = 0 #1+1 v1", "1 tdb_firstkey = 1:62 #20+2 v1"];
    let reader = ["1 tdb_fetch 1:62 = 1:31 #30+1 v1"];
    is_in_time_without_a_search(&[&holder, &walker, &reader]);
}

/// R33: a transaction has no version, but its number is as exact: what was called after it was answered comes after it.
#[test]
fn what_was_called_after_a_commit_comes_after_it() {
    let commits = [
        "1 tdb_store 1:62 1:31 0x1 = 0 #1+1 v1",
        "1 tdb_transaction_start #10+1",
        "2 tdb_store 1:63 1:31 0x1 = 0 #11+1",
        "2 tdb_transaction_commit #12+1",
        "2 tdb_transaction_start #14+1",
        "3 tdb_store 1:63 1:32 0x1 = 0 #15+1",
        "3 tdb_transaction_commit #16+1",
    ];
    is_in_time_without_a_search(&[&commits, &["4 tdb_store 1:61 1:31 0x1 = 0 #30+1 v4"]]);
}

fn is_in_time_without_a_search(traces: &[&[&str]]) {
    let open = |lines: &&[&str]| format!("0 tdb_open 131 0x800 0x42 #0+1\n{}\n", lines.join("\n"));
    let history = read(&traces.iter().map(open).collect::<Vec<_>>());
    let question = Question { limits: Limits { states: 1 }, ..Question::default() };
    let explained = explain(&history, Hashing::recorded(&history), question)
        .unwrap_or_else(|failure| panic!("{}", tdb_replay::report::explain_failure(&history, &failure)));
    assert_eq!((explained.verdict(), explained.timed), (Verdict::Explained, true));
    assert_eq!(explained.merged.given_up, []);
}

/// What is said of traces that have no order, beside the verdict.
#[track_caller]
fn hinted(texts: &[String], expected: Verdict) -> Vec<String> {
    let history = read(texts);
    let checked = check(&history, Question::default());
    assert_eq!(checked.verdict(), expected, "{}", Report::of(&history, &checked));
    hints(&history, checked.contradictions(), checked.verdict(), Question::default())
}

/// R39: a trace that is given twice makes changes twice; that is said, and nothing of a history that is explained.
#[test]
fn a_trace_given_twice_is_a_hint() {
    let adds = trace(&["1 tdb_store 1:6b 1:61 0x2 = 0", "2 tdb_store 1:6b 1:62 0 = 0"]);
    let reads = trace(&["2 tdb_fetch 1:6b = 1:62"]);
    assert_eq!(hinted(&[adds.clone(), reads.clone()], Verdict::Explained), [""; 0]);
    let said = hinted(&[adds.clone(), reads, adds], Verdict::Impossible);
    assert_eq!(said, ["0 and 2 are the same, line by line; was one trace given twice?"]);
}

/// R39: a value that nobody wrote, or numbers that nobody's changes account for, are what a missing trace leaves.
#[test]
fn a_missing_trace_is_a_hint() {
    let whole = [
        exact(&["1 tdb_store 1:6b 1:61 0 = 0"]),
        exact(&["1 tdb_fetch 1:6b = 1:61", "2 tdb_delete 1:6b = 0"]),
    ];
    let reader = exact(&["2 tdb_fetch 1:6b = NULL", "2 tdb_fetch 1:6b = 1:7a"]);
    assert_eq!(hinted(&whole, Verdict::Explained), [""; 0]);
    let said = hinted(&[&whole[..], std::slice::from_ref(&reader)].concat(), Verdict::Impossible);
    assert_eq!(
        said,
        ["2:3 shows a value that no trace wrote; a trace may be missing, or the database held it before"]
    );
    let far = exact(&["9 tdb_fetch 1:6b = NULL", "9 tdb_fetch 1:6b = 1:7a"]);
    let said = hinted(&[&whole[..], &[far]].concat(), Verdict::Impossible);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[1].starts_with("the sequence number went from 0 to 9, further than"), "{said:?}");
    let cleared = opened("0x800 0x242 #v", &["1 tdb_store 1:6c 1:61 0 = 0"]);
    let said = hinted(&[cleared, exact(&["1 tdb_fetch 1:6b = 1:7a"])], Verdict::Impossible);
    assert_eq!(said, ["1:2 shows a value that no trace wrote; a trace may be missing"]);
}

/// R39: if one trace's times alone stand against an order, its clock is the suspect.
#[test]
fn a_skewed_clock_is_a_hint() {
    let open = |lines: &[&str]| format!("0 tdb_open 131 0x800 0x42 #0+1\n{}\n", lines.join("\n"));
    let store = |times: &str| open(&[&format!("1 tdb_store 1:6b 1:61 0 = 0 {times} v1")]);
    let reads = ["0 tdb_fetch 1:6b = NULL #300+10 v0", "1 tdb_fetch 1:6b = 1:61 #500+10 v1"];
    let others = [open(&reads), open(&["0 tdb_fetch 1:6b = NULL #320+10 v0"])];
    assert_eq!(hinted(&[&others[..], &[store("#400+10")]].concat(), Verdict::Explained), [""; 0]);
    let said = hinted(&[&others[..], &[store("#100+10")]].concat(), Verdict::Impossible);
    assert_eq!(said, ["without the times of 2 there is an order; its clock may differ"]);
}

/// R30, R37: a lock of a chain that is held already is only counted, and cannot fail: one unlock of two leaves the chain locked until the
/// database is closed.
#[test]
fn a_chain_locked_twice_and_released_once_is_held_until_the_close() {
    let holder = |keys: [&str; 3], end: u32| {
        let [first, second, released] = keys;
        format!(
            "0 tdb_open 1 0x800 0x42\n0 tdb_chainlock_nonblock {first} = 0\n0 tdb_chainlock {second}\n\
             0 tdb_chainunlock {released}\n{end} tdb_close\n"
        )
    };
    let writer = "0 tdb_open 1 0x800 0x42\n1 tdb_store 1:61 1:79 0x1 = 0\n".to_owned();
    for released in ["1:63", "1:61"] {
        is(&[holder(["1:63", "1:61", released], 1), writer.clone()], Verdict::NumbersDisbelieved);
        is(&[holder(["1:63", "1:61", released], 0), writer.clone()], Verdict::Explained);
    }
}

/// R30, R36: a commit that failed takes its numbers back, also if the next line is a change that counts the same number again. Our own
/// recorder writes no commit that failed, so there numbers that go back are a lie.
#[test]
fn a_commit_that_failed_is_seen_by_the_number_before_the_next_change() {
    let committed = ["0 tdb_transaction_start", "1 tdb_store 1:61 1:78 0 = 0", "1 tdb_transaction_commit"];
    let then = |lines: &[&'static str]| [&committed[..], lines].concat();
    let failed = then(&["1 tdb_store 1:62 1:79 0 = 0", "1 tdb_fetch 1:61 = NULL"]);
    is(&[opened("0x800 0x242", &failed)], Verdict::Explained);
    let made = then(&["1 tdb_store 1:62 1:79 0 = 0", "1 tdb_fetch 1:61 = 1:78"]);
    is(&[opened("0x800 0x242", &made)], Verdict::NumbersDisbelieved);
    let back = then(&["0 tdb_fetch 1:61 = NULL"]);
    is(&[opened("0x800 0x242", &back)], Verdict::Explained);
    is(&[opened("0x800 0x242 #v", &back)], Verdict::Impossible);
    let timed =
        back.iter().enumerate().map(|(nth, line)| format!("{line} #{}+1", 10 * nth)).collect::<Vec<_>>();
    let timed: Vec<&str> = timed.iter().map(String::as_str).collect();
    let text = format!("0 tdb_open 131 0x800 0x242 #0+1\n{}\n", timed.join("\n"));
    assert_ne!(checked(&[text]).verdict, Verdict::Explained);
    // The number goes back, and what was changed is there: one of the two is wrong, and it is known which.
    let kept = then(&["0 tdb_fetch 1:61 = 1:78"]);
    is(&[opened("0x800 0x242", &kept)], Verdict::NumbersDisbelieved);
}

/// A trace that began empty, with times.
fn stamped(lines: &[&str]) -> String {
    format!("0 tdb_open 131 0x800 0x242 #1+1\n{}\n", lines.join("\n"))
}

/// R27, R37: nobody sees what a transaction changed before its commit is called.
#[test]
fn a_change_is_not_seen_before_its_commit_is_called() {
    let writer = [
        "0 tdb_transaction_start #10+1",
        "1 tdb_store 1:61 1:61 0 = 0 #30+1",
        "1 tdb_transaction_commit #50+5",
        "1 tdb_close #60+1",
    ];
    for (at, expected) in [(20, Verdict::Impossible), (35, Verdict::Impossible), (52, Verdict::Explained)] {
        let fetch = format!("1 tdb_fetch 1:61 = 1:61 #{at}+1 v1");
        is(&[stamped(&writer), stamped(&[&fetch, "1 tdb_close #60+1"])], expected);
        let absent = format!("0 tdb_fetch 1:61 = NULL #{at}+1 v0");
        is(&[stamped(&writer), stamped(&[&absent, "1 tdb_close #60+1"])], Verdict::Explained);
    }
}

/// R37: a transaction keeps others from changing anything and from transactions of their own, by exact times, but not from looking.
#[test]
fn a_transaction_holds_its_locks_from_its_start_to_its_end() {
    for end in ["1 tdb_transaction_commit #50+1", "1 tdb_transaction_cancel #50+1"] {
        let holder = ["0 tdb_transaction_start #10+1", "1 tdb_store 1:62 1:61 0 = 0 #30+1", end];
        let with = |lines: &[&str], expected| is(&[stamped(&holder), stamped(lines)], expected);
        with(
            &[
                "0 tdb_transaction_start #20+1",
                "1 tdb_store 1:61 1:61 0 = 0 #21+1",
                "1 tdb_transaction_commit #23+1",
            ],
            Verdict::Impossible,
        );
        with(&["1 tdb_store 1:61 1:61 0 = 0 #20+1 v1"], Verdict::Impossible);
        with(&["0 tdb_chainlock 1:61 #20+1", "0 tdb_chainunlock 1:61 #22+1"], Verdict::Impossible);
        with(&["0 tdb_lockall #20+1", "0 tdb_unlockall #22+1"], Verdict::Impossible);
        with(&["0 tdb_lockall_read #20+1", "0 tdb_unlockall_read #22+1"], Verdict::Explained);
        with(&["0 tdb_fetch 1:61 = NULL #20+1 v0"], Verdict::Explained);
    }
}

/// R32: the largest number there is is a number like all others.
#[test]
fn the_largest_exact_number_counts() {
    let text =
        |open: u32, lines: &[String]| format!("{open} tdb_open 131 0x800 0x242 #v\n{}\n", lines.join("\n"));
    for last in [1, u32::MAX - 1, u32::MAX] {
        let stores = text(last - 1, &[format!("{last} tdb_store 1:61 1:78 0 = 0")]);
        let misses = text(last - 1, &[format!("{last} tdb_fetch 1:61 = NULL")]);
        is(&[stores.clone(), misses], Verdict::Impossible);
        // Of two changes of different keys one can be shown the other's number, but then the traces cannot both have begun with it.
        let other = text(last - 1, &[format!("{last} tdb_store 1:62 1:78 0 = 0")]);
        is(&[stores, other], if last == 1 { Verdict::Impossible } else { Verdict::NumbersDisbelieved });
    }
    let far = "1 tdb_store 1:61 1:61 0 = 0 #2+1 v4294967295";
    assert_ne!(checked(&[stamped(&[far, "1 tdb_close #4+1"])]).verdict, Verdict::Explained);
}

/// R33: the number of a line was there before its call was answered, also where the line has nothing to do with keys.
#[test]
fn numbers_that_were_asked_for_are_held_against_times() {
    let asks = |number: u32| format!("{number} tdb_get_seqnum = 0 #15+6");
    let stores = stamped(&["1 tdb_store 1:61 1:78 0 = 0 #23+1", "1 tdb_close #31+1"]);
    is(&[stamped(&[&asks(9), "9 tdb_close #43+1"]), stores.clone()], Verdict::NumbersDisbelieved);
    is(&[stamped(&[&asks(0), "1 tdb_close #43+1"]), stores], Verdict::Explained);
}

/// R7: where every order was tried, the lines that none of them gets past are not said to wait for each other.
#[test]
fn lines_that_no_order_gets_past_are_called_so() {
    let report = is(
        &[opened("0x800 0x242", &["0 tdb_storev 1:61 1:61 1:62 0x2 = -1", "0 tdb_fetch 1:61 = NULL"])],
        Verdict::Impossible,
    );
    assert_eq!(report.contradictions[0].kind, Kind::Stuck, "{report}");
}
