//! R16, R35: no replay hangs. One that stands still is ended, with the lines that wait for each other; one that is only slow is
//! not.

use std::path::Path;
use std::time::{Duration, Instant};

use tdb_replay::engine::libtdb::Libtdb;
use tdb_replay::engine::memory::Memory;
use tdb_replay::engine::tdb::{Settings, TdbFile};
use tdb_replay::engine::{Engine, Key, StoreMode};
use tdb_replay::order::explain::explain;
use tdb_replay::order::waits::Wait;
use tdb_replay::replay::worker::Point;
use tdb_replay::replay::{Options, RunError, run};
use tdb_replay::schedule::Schedule;
use tdb_replay::trace::chain::Hashing;
use tdb_replay::trace::{History, Tolerance};

const SETTINGS: Settings = Settings { hashing: Hashing { hash_size: 7, jenkins: true }, sync: false };

fn planned(texts: &[&str]) -> (History, Schedule) {
    let texts: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
    let history = History::read_texts(&texts, Tolerance::default()).unwrap_or_else(|error| panic!("{error}"));
    let mut explained =
        explain(&history, Hashing::recorded(&history), Default::default()).expect("it has an order");
    let schedule = Schedule::new(&history, &mut explained);
    (history, schedule)
}

/// Every engine with a file in `folder`.
fn on_files(test: &str, folder: &Path) -> Vec<(Box<dyn Engine>, std::path::PathBuf)> {
    let mut engines: Vec<(Box<dyn Engine>, _)> = Vec::new();
    let path = folder.join("libtdb.tdb");
    match Libtdb::create(&path, SETTINGS) {
        Ok(engine) => engines.push((Box::new(engine), path)),
        Err(error) => testbed::skip(test, &error.message),
    }
    let path = folder.join("scratch.tdb");
    let file = TdbFile::create(&path, SETTINGS).unwrap_or_else(|error| panic!("{error}"));
    engines.push((Box::new(file), path));
    engines
}

fn patient_for(patience: Duration) -> Options<'static> {
    Options { patience, ..Options::default() }
}

fn failure(history: &History, schedule: &Schedule, engine: &dyn Engine) -> String {
    match run(history, schedule, engine, &patient_for(Duration::from_millis(600))) {
        Ok(_) => panic!("{}: it cannot end well", engine.name()),
        Err(error @ RunError::StandsStill { .. }) => error.to_string(),
        Err(error) => panic!("{}: {error}", engine.name()),
    }
}

const ONE: &str =
    "0 tdb_open 7 0x800 0x42\n1 tdb_store 1:61 1:30 0x1 = 0\n1 tdb_fetch 1:61 = 1:30\n1 tdb_close\n";
const OTHER: &str =
    "0 tdb_open 7 0x800 0x42\n2 tdb_store 1:62 1:30 0x1 = 0\n2 tdb_fetch 1:62 = 1:30\n2 tdb_close\n";

/// R35: workers that wait for each other's turn, which no order makes them do, are named with what they wait for.
#[test]
fn workers_that_wait_for_each_other_are_named() {
    let (history, mut schedule) = planned(&[ONE, OTHER]);
    for (own, on) in [(0, 1), (1, 0)] {
        schedule.traces[own].waits = vec![Wait { row: 0, rows: 2, on }];
        schedule.traces[own].announce = vec![2];
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut engines = on_files("workers_that_wait_for_each_other_are_named", folder.path());
    engines.push((Box::new(Memory::new(&history)), "".into()));
    for (engine, _) in &engines {
        let told = failure(&history, &schedule, &**engine);
        assert!(told.contains("0:2 waits for 1:3; 1:2 waits for 0:3"), "{}: {told}", engine.name());
    }
}

/// R35: who stands in the engine, for a lock that somebody else never gives back, is named, and those who wait for it; alone,
/// too, and when records are put there first.
#[test]
fn a_worker_that_the_engine_holds_up_is_named() {
    let reads = "0 tdb_open 7 0x800 0x42\n1 tdb_fetch 1:61 = 1:30\n1 tdb_close\n";
    let planted = "0 tdb_open 7 0x800 0x42\n0 tdb_fetch 1:61 = 1:30\n0 tdb_close\n";
    let told = [
        (vec![ONE, reads], "0:2 waits for a lock of the database; 1:2 waits for 0:2"),
        (vec![ONE], "0:2 waits for a lock of the database"),
        (vec![planted], "what puts records there before the traces"),
    ];
    for (texts, expected) in told {
        let (history, schedule) = planned(&texts);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let engines = on_files("a_worker_that_the_engine_holds_up_is_named", folder.path());
        for (engine, path) in &engines {
            if engine.name() == "libtdb" && texts.len() == 1 {
                // Alone it would be this process that has to end.
                continue;
            }
            let other = tdb::OpenOptions::new().hash_size(7).open(path).expect("the file is there");
            let _lock =
                other.chain_lock(b"a", tdb::LockKind::Write, tdb::Wait::Yes).expect("nobody has it yet");
            let told = failure(&history, &schedule, &**engine);
            assert!(told.contains(expected), "{}: {told}", engine.name());
        }
    }
}

/// R35: after it was ended a file can be used again: what stopped the waits of one replay does not stop the next one's.
#[test]
fn an_ended_replay_leaves_nothing_behind() {
    let (history, schedule) = planned(&[ONE]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("scratch.tdb");
    let create = || TdbFile::create(&path, SETTINGS).unwrap_or_else(|error| panic!("{error}"));
    {
        let engine = create();
        let other = tdb::OpenOptions::new().hash_size(7).open(&path).expect("the file is there");
        let _lock = other.chain_lock(b"a", tdb::LockKind::Write, tdb::Wait::Yes).expect("nobody has it yet");
        failure(&history, &schedule, &engine);
    }
    // The lock is held for a moment only, so that the engine waits and looks whether it is to go on.
    let engine = create();
    let other = tdb::OpenOptions::new().hash_size(7).open(&path).expect("the file is there");
    let lock = other.chain_lock(b"a", tdb::LockKind::Write, tdb::Wait::Yes).expect("nobody has it yet");
    std::thread::scope(|scope| {
        let replay = scope.spawn(|| run(&history, &schedule, &engine, &Options::default()).map(|_| ()));
        let mut session = engine.session(&history.traces[0]).unwrap_or_else(|error| panic!("{error}"));
        let key = Key::new(0, &history.records.keys);
        drop(lock);
        session.store(key, b"1", StoreMode::Replace).unwrap_or_else(|error| panic!("{error}"));
        drop(session);
        replay.join().expect("it does not panic").unwrap_or_else(|error| panic!("{error}"));
    });
}

/// R35: what takes long without standing still is not ended: rows that follow one another slowly.
#[test]
fn what_is_only_slow_goes_on() {
    let lines: String = (1..=6).map(|nth| format!("{nth} tdb_store 1:6{nth} 1:30 0x1 = 0\n")).collect();
    let text = format!(
        "0 tdb_open 7 0x800 0x42\n{lines}6 tdb_traverse_read_start\n6 traversefn\n6 tdb_traverse_end\n6 tdb_close\n"
    );
    let (history, schedule) = planned(&[&text, OTHER.replace('2', "7").as_str()]);
    let patience = Duration::from_millis(1500);
    let pause = |trace: usize, _: u32, point: Point| {
        if trace == 0 && point == Point::BeforeRow {
            // Slowness is the purpose.
            std::thread::sleep(patience / 5);
        }
    };
    let options = Options { pause: Some(&pause), ..patient_for(patience) };
    let begun = Instant::now();
    run(&history, &schedule, &Memory::new(&history), &options).unwrap_or_else(|error| panic!("{error}"));
    assert!(begun.elapsed() > patience, "it was slow");
}
