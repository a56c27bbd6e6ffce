//! Numbers that begin again: behind the last one, and when the first process that opens a database clears it.

use tdb_replay::check::check;
use tdb_replay::check::report::{Report, Said};
use tdb_replay::engine::Engine;
use tdb_replay::engine::memory::Memory;
use tdb_replay::engine::tdb::{Settings, TdbFile};
use tdb_replay::order::explain::explain;
use tdb_replay::replay::{Options, run};
use tdb_replay::schedule::Schedule;
use tdb_replay::trace::chain::Hashing;
use tdb_replay::trace::{History, Tolerance};
use tdb_replay::verdict::Verdict;

/// Replays in memory and on a file, with no key solved against its numbers; gives the warnings, and the values at the end.
fn replayed(texts: &[&str]) -> (Vec<String>, Vec<Option<Vec<u8>>>) {
    let texts: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
    let history = History::read_texts(&texts, Tolerance::default()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(check(&history, Default::default()).verdict(), Verdict::Explained);
    let hashing = Hashing::recorded(&history);
    let mut explained = explain(&history, hashing, Default::default())
        .unwrap_or_else(|failure| panic!("{}", tdb_replay::report::explain_failure(&history, &failure)));
    assert_eq!(explained.effort.without_windows, 0);
    let schedule = Schedule::new(&history, &mut explained);
    assert_eq!(schedule.planted, []);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = TdbFile::create(&folder.path().join("scratch.tdb"), Settings { hashing, sync: false })
        .unwrap_or_else(|error| panic!("{error}"));
    let engines: [&dyn Engine; 2] = [&Memory::new(&history), &file];
    for engine in engines {
        let run =
            run(&history, &schedule, engine, &Options::default()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(run.tally.mismatches, 0, "{}: {:?}", engine.name(), run.tally.kept);
    }
    let value = |&value: &u32| (value != 0).then(|| history.records.values.bytes(value).to_vec());
    (history.warnings.clone(), schedule.last_values.iter().map(value).collect())
}

/// R8, R10: numbers go on behind the last one there is, also the versions of the extended form.
#[test]
fn numbers_go_past_their_end() {
    let first = "4294967293 tdb_open 7 0x800 0x42 #1+1\n4294967294 tdb_store 1:61 1:31 0x1 = 0 #5+1 v4294967294\n\
        4294967295 tdb_store 1:61 1:32 0x1 = 0 #7+1 v4294967295\n1 tdb_fetch 1:61 = 1:33 #20+1 v1\n1 tdb_close #30+1\n";
    let second = "4294967295 tdb_open 7 0x800 0x42 #8+1\n0 tdb_store 1:61 1:33 0x1 = 0 #10+1 v0\n\
        1 tdb_store 1:62 1:34 0x1 = 0 #12+1 v1\n1 tdb_close #14+1\n";
    let (warnings, last) = replayed(&[first, second]);
    assert_eq!(warnings, ["the sequence number went past 2^32: it is counted from 4294967293"]);
    assert_eq!(last, [Some(b"3".to_vec()), Some(b"4".to_vec())]);
}

/// R10, R11: a process that opens a database that nobody has open any more clears it: what was there is gone, and what is
/// missing later was not planted. Times show it.
#[test]
fn a_database_lives_again_when_it_is_cleared() {
    let first = "0 tdb_open 7 0x801 0x42 #1+1\n1 tdb_store 1:61 1:31 0x2 = 0 #5+1 v1\n2 tdb_store 1:62 1:31 0x2 = 0 #7+1 v2\n\
        2 tdb_close #9+1\n";
    let second = "0 tdb_open 7 0x801 0x42 #20+1\n0 tdb_fetch 1:61 = NULL #22+1 v0\n1 tdb_store 1:61 1:32 0x2 = 0 #24+1 v1\n\
        1 tdb_close #30+1\n";
    let third = "1 tdb_open 7 0x801 0x42 #25+1\n1 tdb_fetch 1:61 = 1:32 #26+1 v1\n1 tdb_fetch 1:62 = NULL #27+1 v1\n1 tdb_close #40+1\n";
    for texts in [[first, second, third], [third, second, first], [second, first, third]] {
        let (warnings, last) = replayed(&texts);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].ends_with(":1: the database was cleared here, and its numbers began again"));
        assert_eq!(last.iter().flatten().collect::<Vec<_>>(), [b"2"]);
    }
}

/// R10: without times two lives are told by changes that cannot both have led from one number to the next.
#[test]
fn lives_without_times_are_told_by_their_numbers() {
    let life = |value: &str| {
        format!(
            "0 tdb_open 7 0x801 0x42\n0 tdb_fetch 1:61 = NULL\n1 tdb_store 1:61 1:{value} 0x2 = 0\n1 tdb_fetch 1:61 = 1:{value}\n1 tdb_close\n"
        )
    };
    let (warnings, last) = replayed(&[&life("31"), &life("32"), &life("33")]);
    assert_eq!((warnings.len(), last), (2, vec![Some(b"3".to_vec())]));
}

/// R10: processes that open a database together clear it once, though all do it with clear-if-first and see no change yet.
#[test]
fn who_opens_a_database_together_with_others_shares_its_life() {
    let first =
        "0 tdb_open 7 0x801 0x42\n1 tdb_store 1:61 1:31 0x2 = 0\n3 tdb_fetch 1:61 = 1:32\n3 tdb_close\n";
    let second = "0 tdb_open 7 0x801 0x42\n2 tdb_store 1:61 1:32 0x3 = 0\n2 tdb_store 1:62 1:32 0x3 = -1\n3 tdb_store 1:62 0: 0x2 = 0\n3 tdb_close\n";
    let (warnings, last) = replayed(&[first, second]);
    assert_eq!((warnings.len(), last), (0, vec![Some(b"2".to_vec()), Some(vec![])]));
}

/// R10: lives that have more numbers together than there are stay as they are, and that is said.
#[test]
fn lives_without_room_for_all_their_numbers_are_left_as_they_stand() {
    let life = |at: u32| {
        format!(
            "0 tdb_open 7 0x801 0x42 #{at}+1\n3000000000 tdb_store 1:61 1:31 0x1 = 0 #{}+1\n3000000000 tdb_close #{}+1\n",
            at + 2,
            at + 4
        )
    };
    let texts = [life(1), life(20)];
    let texts: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();

    let history = History::read_texts(&texts, Tolerance::default()).unwrap_or_else(|error| panic!("{error}"));

    assert_eq!(history.warnings.len(), 1, "{:?}", history.warnings);
    assert!(history.warnings[0].contains("pass 2^32 together"), "{:?}", history.warnings);
    assert!(history.traces.iter().all(|trace| trace.rows.seq(0) == 3_000_000_000));
}

/// R10, R32: the answer of `tdb_get_seqnum` is a number like those of the lines, also where these are counted anew.
#[test]
fn answers_that_are_numbers_are_counted_with_the_lines() {
    let past = "4294967294 tdb_open 7 0x800 0x42\n4294967295 tdb_store 1:61 1:31 0x1 = 0\n4294967295 tdb_get_seqnum = -1\n\
        0 tdb_store 1:61 1:32 0x1 = 0\n0 tdb_get_seqnum = 0\n0 tdb_close\n";
    assert_eq!(replayed(&[past]).1, [Some(b"2".to_vec())]);
    let life = |value: &str| {
        format!(
            "0 tdb_open 7 0x801 0x42\n1 tdb_store 1:61 1:{value} 0x2 = 0\n1 tdb_get_seqnum = 1\n1 tdb_close\n"
        )
    };
    let (warnings, last) = replayed(&[&life("31"), &life("32")]);
    assert_eq!((warnings.len(), last), (1, vec![Some(b"2".to_vec())]));
}

/// The lines of a history's first contradiction.
fn contradicted(texts: &[&str], expected: Verdict) -> Vec<Said> {
    let texts: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
    let history = History::read_texts(&texts, Tolerance::default()).unwrap_or_else(|error| panic!("{error}"));
    let report = Report::of(&history, &check(&history, Default::default()));
    assert_eq!(report.verdict, expected);
    report.contradictions.into_iter().next().expect("there is one").operations
}

/// R32: contradictions quote lines and numbers as the traces have them, though they were counted anew.
#[test]
fn contradictions_quote_the_numbers_that_the_lines_have() {
    let back = "4294967294 tdb_open 7 0x800 0x42\n4294967295 tdb_store 1:61 1:31 0x1 = 0\n1 tdb_store 1:61 1:32 0x1 = 0\n\
        0 tdb_fetch 1:61 = 1:32\n0 tdb_close\n";
    let said = contradicted(&[back], Verdict::NumbersDisbelieved);
    let last = said.last().expect("a line");
    assert_eq!(
        (last.line.as_str(), last.why.as_str()),
        ("0 tdb_fetch 1:61 = 1:32", "shows 0 after 1 was reached")
    );

    let one = "4294967295 tdb_open 7 0x800 0x42\n0 tdb_store 1:61 1:31 0x1 = 0\n0 tdb_close\n";
    let other = "4294967295 tdb_open 7 0x800 0x42\n0 tdb_store 1:62 1:31 0x1 = 0\n0 tdb_close\n";
    let said = contradicted(&[one, other], Verdict::NumbersDisbelieved);
    assert!(said.iter().all(|said| said.why == "takes a number above 4294967295 up to 0"), "{said:?}");

    let first = "0 tdb_open 7 0x801 0x42 #1+1\n1 tdb_store 1:61 1:31 0x2 = 0 #5+1 v1\n1 tdb_close #9+1\n";
    let second = "0 tdb_open 7 0x801 0x42 #20+1\n0 tdb_fetch 1:61 = 1:31 #22+1 v0\n0 tdb_close #30+1\n";
    let said = contradicted(&[first, second], Verdict::Impossible);
    let lines: Vec<&str> = said.iter().map(|said| said.line.as_str()).collect();
    assert!(
        lines.contains(&"0 tdb_open 7 0x801 0x42") && lines.contains(&"0 tdb_fetch 1:61 = 1:31"),
        "{lines:?}"
    );
}

/// R32: inside a transaction numbers are its own, and none of them goes back.
#[test]
fn numbers_inside_a_transaction_do_not_go_back() {
    let text = |fetched: u32| {
        format!(
            "0 tdb_open 7 0x800 0x42\n0 tdb_transaction_start\n3 tdb_store 1:61 1:31 0x1 = 0\n{fetched} tdb_fetch 1:61 = 1:31\n\
             3 tdb_transaction_commit\n3 tdb_close\n"
        )
    };
    replayed(&[&text(3)]);
    let said = contradicted(&[&text(2)], Verdict::NumbersDisbelieved);
    let whys: Vec<_> = said.iter().map(|said| (said.line.as_str(), said.why.as_str())).collect();
    let expected = [
        ("3 tdb_store 1:61 1:31 0x1 = 0", "shows that 3 was reached"),
        ("2 tdb_fetch 1:61 = 1:31", "shows 2 after 3 was reached"),
    ];
    assert_eq!(whys, expected);
}

/// R33: where no lock is held our recorder tells the number that its process knew last, as at `tdb_close`: that is not against the times
/// of others, who took the number further meanwhile. (Short recordings of real runs came out as numbers-disbelieved.)
#[test]
fn a_number_that_was_known_before_is_not_against_the_times() {
    let changes = "0 tdb_open 7 0x800 0x42 #1+1\n1 tdb_store 1:61 1:31 0x1 = 0 #5+1 v1\n2 tdb_store 1:61 1:32 0x1 = 0 #40+1 v2\n\
        2 tdb_close #50+1\n";
    let beginning = "0 tdb_open 7 0x800 0x42 #2+1\n1 tdb_fetch 1:61 = 1:31 #10+1 v1\n";
    let verdict = |more: &str| {
        let reads = format!("{beginning}{more}");
        let history =
            History::read_texts(&[changes.as_bytes(), reads.as_bytes()], Tolerance::default()).unwrap();
        check(&history, Default::default()).verdict()
    };
    for known in [
        "1 tdb_close #60+1\n",
        "1 tdb_traverse_read_start #54+1\n1 tdb_traverse_end #56+1\n1 tdb_close #60+1\n",
        "2 tdb_traverse_start #54+1\n2 tdb_traverse_end #56+1\n2 tdb_close #60+1\n",
        "1 tdb_chainlock_nonblock 1:61 = -1 #54+1\n1 tdb_repack #56+1\n1 tdb_close #60+1\n",
        "1 tdb_nextkey 1:61 = NULL #54+1\n1 tdb_close #60+1\n",
    ] {
        assert_eq!(verdict(known), Verdict::Explained, "{known}");
    }
    // Where a lock is held the number is the present one.
    assert_eq!(
        verdict("1 tdb_chainlock 1:61 #54+1\n1 tdb_chainunlock 1:61 #56+1\n"),
        Verdict::NumbersDisbelieved
    );
}

/// R32: a process knows that its own wipe counted, also where the line after it is written without a lock: in short histories,
/// which are proved, as in long ones.
#[test]
fn a_process_knows_that_its_wipe_counted() {
    for reads in [0, 1_001] {
        let reads = "0 tdb_exists 1:61 = 0\n".repeat(reads);
        let verdict = |end: &str| {
            let text = format!("0 tdb_open 7 0x800 0x42\n{reads}0 tdb_wipe_all\n{end} tdb_close\n");
            let history = History::read_texts(&[text.as_bytes()], Tolerance::default()).unwrap();
            check(&history, Default::default()).verdict()
        };
        assert_eq!((verdict("1"), verdict("0")), (Verdict::Explained, Verdict::NumbersDisbelieved));
    }
}

/// R10: what began a life is told by times, not by the files' names, and nobody clears what another has open.
#[test]
fn a_life_begins_with_who_opened_it_first() {
    let first = "0 tdb_open 7 0x801 0x42 #1+1\n1 tdb_store 1:61 1:31 0x1 = 0 #5+1 v1\n1 tdb_close #9+1\n";
    let second = "0 tdb_open 7 0x801 0x42 #20+1\n0 tdb_fetch 1:61 = NULL #22+1 v0\n0 tdb_close #24+1\n";
    let third = "0 tdb_open 7 0x801 0x42 #30+1\n0 tdb_fetch 1:61 = NULL #32+1 v0\n0 tdb_close #34+1\n";
    for texts in [[first, second, third], [third, second, first], [first, third, second]] {
        assert_eq!(replayed(&texts).0.len(), 1);
    }
    // Its number is older than its time: the database was open.
    let stays = "0 tdb_open 7 0x801 0x42 #1+1\n1 tdb_store 1:61 1:31 0x1 = 0 #5+1 v1\n1 tdb_close #60+1\n";
    let late = "0 tdb_open 7 0x801 0x42 #20+1\n1 tdb_fetch 1:61 = 1:31 #22+1 v1\n1 tdb_close #24+1\n";
    for texts in [[stays, late], [late, stays]] {
        assert_eq!(replayed(&texts).0.len(), 0);
    }
}

/// R10, R36: without times a trace belongs to the life in which it read what it read; where that is not known and no order is
/// found, it is not known either whether there is one.
#[test]
fn a_trace_without_times_belongs_where_it_read_what_was_there() {
    let verdict = |texts: &[&str]| {
        let texts: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
        check(&History::read_texts(&texts, Tolerance::default()).unwrap(), Default::default()).verdict()
    };
    for mark in ["", " #v"] {
        let open = format!("0 tdb_open 7 0x801 0x42{mark}\n");
        let life = |value: &str| {
            format!("{open}0 tdb_fetch 1:61 = NULL\n1 tdb_store 1:61 1:{value} 0x1 = 0\n1 tdb_close\n")
        };
        let reads = |value: &str| {
            format!("{open}0 tdb_fetch 1:61 = NULL\n1 tdb_fetch 1:61 = 1:{value}\n1 tdb_close\n")
        };
        for value in ["31", "32"] {
            let (first, second, reader) = (life("31"), life("32"), reads(value));
            assert_eq!(verdict(&[&first, &reader, &second]), Verdict::Explained, "{value}");
            assert_eq!(verdict(&[&reader, &second, &first]), Verdict::Explained, "{value}");
        }
        assert_eq!(verdict(&[&life("31"), &reads("33"), &life("32")]), Verdict::GaveUp);
    }
}
