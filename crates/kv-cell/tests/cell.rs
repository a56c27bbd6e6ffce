//! Servers of a cell in one process: what is written at one is read at every other, through restarts and elections.
#![allow(clippy::unwrap_used)]

mod shared;

use std::time::{Duration, Instant};

use kv::StepError;
use resp::Value;
use shared::{Three, alone, ask, ok, one, submit, text};

/// S14, S22: a directory is one server's at a time; another is refused before it touches anything, and may have it afterwards.
#[test]
fn a_directory_is_one_servers_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let cell = alone(folder.path());
    ask(&cell, "set k 1").unwrap();
    let refused = kv_cell::open(&kv_cell::Settings::alone(folder.path())).map(drop).unwrap_err().to_string();
    assert!(refused.contains("another server uses these files"), "{refused}");
    ask(&cell, "set k 2").unwrap();
    drop(cell);
    assert_eq!(ask(&alone(folder.path()), "get k").unwrap(), text("2"));
}

/// S3: a single server is a cell of one: it keeps what was written, and its revisions, over a restart.
#[test]
fn a_single_server_keeps_its_keys() {
    let folder = tempfile::tempdir().unwrap();
    let revision = |cell: &_| {
        let answer = ask(cell, "quorate.revision k").unwrap();
        answer.as_elements().unwrap()[0].as_integer().unwrap()
    };
    let cell = alone(folder.path());
    assert_eq!(ask(&cell, "get k"), Ok(Value::Null));
    assert_eq!(ask(&cell, "set k v1"), Ok(ok()));
    let before = revision(&cell);
    drop(cell);
    let cell = alone(folder.path());
    assert_eq!(ask(&cell, "get k"), Ok(text("v1")));
    assert_eq!(ask(&cell, "set k v2"), Ok(ok()));
    assert!(revision(&cell) > before);
    assert_eq!(ask(&cell, "dbsize"), Ok(Value::Integer(1)));
}

/// S5, S6: any server takes any command, and a read at any shows every write that was answered before it, wherever.
#[test]
fn every_server_takes_writes_and_reads_the_newest() {
    let three = Three::start();
    for round in 0..30 {
        let written = format!("v{round}");
        assert_eq!(ask(three.cell(round % 3), &format!("set k {written}")), Ok(ok()));
        for reader in 0..3 {
            assert_eq!(ask(three.cell((round + reader) % 3), "get k"), Ok(text(&written)), "round {round}");
        }
    }
}

/// S5: writes that one server is given one after the other happen in that order, though they are on their way together.
#[test]
fn writes_handed_over_in_order_happen_in_order() {
    let three = Three::start();
    for server in 0..3 {
        let key = format!("list{server}");
        let submitted: Vec<_> =
            (0..200).map(|nth| submit(three.cell(server), one(&format!("append {key} {nth},")))).collect();
        submitted.into_iter().for_each(|done| drop(done.recv().unwrap().unwrap()));
        let expected: String = (0..200).map(|nth| format!("{nth},")).collect();
        assert_eq!(ask(three.cell((server + 1) % 3), &format!("get {key}")), Ok(text(&expected)));
    }
}

/// S5, S6, S18: another sync site goes on with the same keys, and with higher revisions; the first comes back and follows. A
/// write that was sent to a server which ended is called undecided, never failed.
#[test]
fn another_sync_site_goes_on() {
    let mut three = Three::start();
    assert_eq!(ask(three.cell(0), "set k 1"), Ok(ok()));
    let first = three.sync_site();
    let others: Vec<usize> = (0..3).filter(|&nth| nth != first).collect();
    let revision = |three: &Three, at: usize| {
        let answer = ask(three.cell(at), "quorate.revision k").unwrap();
        answer.as_elements().unwrap()[0].as_integer().unwrap()
    };
    let write = |three: &Three, at: usize, command: &str| loop {
        match ask(three.cell(at), command) {
            Err(StepError::Undecided(_) | StepError::Unavailable(_)) => {}
            answer => break assert_eq!(answer, Ok(ok())),
        }
    };
    let before = revision(&three, others[0]);
    three.stop(first);
    write(&three, others[0], "set k 2");
    assert_eq!(ask(three.cell(others[1]), "get k"), Ok(text("2")));
    assert!(revision(&three, others[1]) > before);
    three.restart(first);
    write(&three, first, "set k 3");
    assert_eq!(ask(three.cell(others[1]), "get k"), Ok(text("3")));
}

/// S17: a key is there until its time has come and not after it, wherever one asks; it ends by a committed delete.
#[test]
fn keys_expire_everywhere_at_once() {
    let three = Three::start();
    assert_eq!(ask(three.cell(0), "set k v px 400"), Ok(ok()));
    let left = ask(three.cell(1), "pttl k").unwrap().as_integer().unwrap();
    assert!((1..=400).contains(&left), "{left}");
    let mut nth = 0;
    while ask(three.cell(nth % 3), "get k") != Ok(Value::Null) {
        nth += 1;
    }
    for server in 0..3 {
        assert_eq!(ask(three.cell(server), "exists k"), Ok(Value::Integer(0)), "gone everywhere");
        assert_eq!(ask(three.cell(server), "dbsize"), Ok(Value::Integer(0)));
    }
    // Nobody asks for this one: the sync site removes it by itself.
    assert_eq!(ask(three.cell(0), "set l v px 50"), Ok(ok()));
    while ask(three.cell(1), "dbsize") != Ok(Value::Integer(0)) {
        std::thread::yield_now();
    }
}

/// S17: the cell's clock goes on with another sync site: a key neither ends early nor begins its time anew.
#[test]
fn a_key_keeps_its_time_through_an_election() {
    const LASTS: Duration = Duration::from_millis(9_000);
    let mut three = Three::start();
    assert_eq!(ask(three.cell(0), "set warm up"), Ok(ok()));
    let first = three.sync_site();
    let other = (first + 1) % 3;
    let begun = Instant::now();
    assert_eq!(ask(three.cell(other), &format!("set k v px {}", LASTS.as_millis())), Ok(ok()));
    three.stop(first);
    let mut left = LASTS.as_millis() as i64;
    loop {
        let Ok(Value::Integer(now)) = ask(three.cell(other), "pttl k") else { continue };
        if now == -2 {
            assert!(begun.elapsed() >= LASTS, "not early");
            break;
        }
        // It may be late by what nobody has seen of the clock, never by all of the time that has gone.
        assert!(now <= left + 1_000, "{now} after {left}: its time began anew");
        left = now.min(left);
    }
}

/// S17: a server that is started anew goes on from what its disk tells of the clock, and then from what the sync site's next commit
/// tells.
#[test]
fn a_restarted_server_has_the_cells_clock() {
    let mut three = Three::start();
    assert_eq!(ask(three.cell(0), "set k 1"), Ok(ok()));
    let (first, clock) =
        (three.sync_site(), |three: &Three, nth| three.cell(nth).database_status(0).unwrap().clock);
    let other = (first + 1) % 3;
    while three.cell(other).database_status(0).unwrap().totals.clock == 0 {
        std::thread::yield_now();
    }
    three.stop(other);
    let before = clock(&three, first);
    // Time that the stopped server cannot know of.
    while clock(&three, first) < before + 1_000 {
        std::thread::yield_now();
    }
    three.restart(other);
    // Behind by what a commit took, and by what goes between two looks at it: a busy machine may need several.
    let is_behind = |three: &Three| clock(three, other) + 500 < clock(three, first);
    assert_eq!(ask(three.cell(first), "set k 2"), Ok(ok()));
    while is_behind(&three) {
        assert_eq!(ask(three.cell(first), "set k 3"), Ok(ok()));
    }
}
