//! Workers that are processes: libtdb as an engine, and workers that die.

use std::path::Path;
use std::sync::mpsc;

use tdb_replay::engine::libtdb::{self, Libtdb};
use tdb_replay::engine::tdb::Settings;
use tdb_replay::engine::{Answer, Engine, EngineError, Key, Session, StoreMode, Visit};
use tdb_replay::order::explain::explain;
use tdb_replay::replay::{Options, RunError, run};
use tdb_replay::schedule::Schedule;
use tdb_replay::trace::chain::Hashing;
use tdb_replay::trace::{History, Tolerance, Trace, source};

const HASHING: Hashing = Hashing { hash_size: 3, jenkins: false };

fn planned(history: &History) -> Schedule {
    let mut explained = explain(history, Hashing::recorded(history), Default::default())
        .unwrap_or_else(|failure| panic!("{}", tdb_replay::report::explain_failure(history, &failure)));
    Schedule::new(history, &mut explained)
}

/// R14, R16, R20: traces replay on the libtdb that wrote them, a process each, with every result as recorded.
#[test]
fn traces_replay_on_the_systems_libtdb() {
    let test = "traces_replay_on_the_systems_libtdb";
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut sets = vec![testbed::repository().join("examples/traces/four-processes")];
    sets.push(testbed::test_data("traces/gen-full-n2-ops5k"));
    for set in sets {
        let paths = source::expand(&set).unwrap_or_else(|error| panic!("{error}"));
        let history =
            History::read(&paths, Tolerance::default(), |_| {}).unwrap_or_else(|error| panic!("{error}"));
        let settings = Settings { hashing: Hashing::recorded(&history), sync: false };
        let engine = match Libtdb::create(&folder.path().join("scratch.tdb"), settings) {
            Ok(engine) => engine,
            Err(error) => return testbed::skip(test, &error.message),
        };
        let run = run(&history, &planned(&history), &engine, &Options::default())
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(run.tally.mismatches, 0, "{:?}", run.tally.kept);
        assert!(run.tally.compared > 3000 && run.tally.latency.iter().any(Option::is_some));
    }
}

/// R20: libtdb guards its list of open databases by nothing. Threads of one process (those of tests) change it in turn, and none
/// forks meanwhile: otherwise one of ten thousand openings met what another thread had freed.
#[test]
fn databases_are_opened_and_closed_one_at_a_time() {
    let test = "databases_are_opened_and_closed_one_at_a_time";
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (path, settings) = (folder.path().join("a.tdb"), Settings { hashing: HASHING, sync: false });
    if let Err(error) = Libtdb::create(&path, settings) {
        return testbed::skip(test, &error.message);
    }
    let (says, hears) = mpsc::channel();
    std::thread::scope(|scope| {
        let list = libtdb::library::alone();
        let opens = scope.spawn(|| {
            says.send(std::fs::read_link("/proc/thread-self").expect("proc")).expect("it is heard");
            Libtdb::create(&path, settings).map(drop).unwrap_or_else(|error| panic!("{error}"));
        });
        let stat = Path::new("/proc").join(hears.recv().expect("it begins")).join("stat");
        let sleeps = || {
            let stat = std::fs::read_to_string(&stat).expect("it waits for the list and has not ended");
            stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('S'))
        };
        while !sleeps() {
            std::thread::yield_now();
        }
        assert!(!opens.is_finished());
        drop(list);
    });
}

/// What the third operation of the first worker does.
#[derive(Clone, Copy)]
enum Accident {
    Abort,
    Panic,
    Exit,
    Error,
}

/// An engine that knows nothing, and has an accident.
struct Fragile(Accident);

struct FragileSession {
    accident: Option<Accident>,
    calls: u32,
}

impl Engine for Fragile {
    fn name(&self) -> &'static str {
        "fragile"
    }

    fn session(&self, trace: &Trace) -> Result<Box<dyn Session + '_>, EngineError> {
        let accident = (trace.path.as_os_str() == "0").then_some(self.0);
        Ok(Box::new(FragileSession { accident, calls: 0 }))
    }

    fn wants_processes(&self) -> bool {
        true
    }
}

impl FragileSession {
    fn call(&mut self) -> Answer<()> {
        self.calls += 1;
        match self.accident.filter(|_| self.calls == 3) {
            None => Ok(()),
            Some(Accident::Abort) => std::process::abort(),
            Some(Accident::Panic) => panic!("an accident, as the test wants it"),
            Some(Accident::Exit) => std::process::exit(7),
            Some(Accident::Error) => Err(EngineError { message: "an accident".into(), io: false }),
        }
    }
}

impl Session for FragileSession {
    fn fetch(&mut self, _: Key<'_>, _: &mut Vec<u8>) -> Answer<bool> {
        self.call().map(|()| false)
    }
    fn exists(&mut self, _: Key<'_>) -> Answer<bool> {
        self.call().map(|()| false)
    }
    fn store(&mut self, _: Key<'_>, _: &[u8], _: StoreMode) -> Answer<bool> {
        self.call().map(|()| true)
    }
    fn append(&mut self, _: Key<'_>, _: &[u8]) -> Answer<()> {
        self.call()
    }
    fn delete(&mut self, _: Key<'_>) -> Answer<bool> {
        self.call().map(|()| true)
    }
    fn wipe_all(&mut self) -> Answer<()> {
        self.call()
    }
    fn lock_chain(&mut self, _: Key<'_>, _: bool) -> Answer<()> {
        self.call()
    }
    fn unlock_chain(&mut self, _: Key<'_>, _: bool) -> Answer<()> {
        self.call()
    }
    fn lock_all(&mut self, _: bool) -> Answer<()> {
        self.call()
    }
    fn unlock_all(&mut self, _: bool) -> Answer<()> {
        self.call()
    }
    fn start_transaction(&mut self) -> Answer<()> {
        self.call()
    }
    fn prepare_commit(&mut self) -> Answer<()> {
        self.call()
    }
    fn commit(&mut self) -> Answer<()> {
        self.call()
    }
    fn cancel(&mut self) -> Answer<()> {
        self.call()
    }
    fn traverse(&mut self, _: bool, _: Visit<'_>) -> Answer<u64> {
        self.call().map(|()| 0)
    }
    fn first_key(&mut self, _: &mut Vec<u8>) -> Answer<bool> {
        self.call().map(|()| false)
    }
    fn next_key(&mut self, _: Key<'_>, _: &mut Vec<u8>) -> Answer<bool> {
        self.call().map(|()| false)
    }
}

/// R20: a worker that dies, however it does, ends the run with its name, and nobody waits for it forever.
#[test]
fn a_worker_that_dies_ends_the_run() {
    let first = "0 tdb_open 7 0x0 0x42\n1 tdb_store 1:61 1:31 0x1 = 0\n2 tdb_store 1:61 1:32 0x1 = 0\n\
        3 tdb_store 1:61 1:33 0x1 = 0\n4 tdb_store 1:61 1:34 0x1 = 0\n4 tdb_close\n";
    let second =
        "4 tdb_open 7 0x0 0x42\n4 tdb_fetch 1:61 = 1:34\n5 tdb_store 1:61 1:35 0x1 = 0\n5 tdb_close\n";
    let history = History::read_texts(&[first.as_bytes(), second.as_bytes()], Tolerance::default())
        .unwrap_or_else(|error| panic!("{error}"));
    let schedule = planned(&history);
    let options = Options { check: false, ..Options::default() };
    let failure = |accident| match run(&history, &schedule, &Fragile(accident), &options) {
        Ok(_) => panic!("a worker died"),
        Err(error) => error,
    };
    for (accident, told) in [
        (Accident::Abort, "the worker of 0 was killed by signal 6"),
        (Accident::Panic, "the worker of 0 panicked; this is a bug in quorate"),
        (Accident::Exit, "the worker of 0 ended with exit code 7"),
        (Accident::Error, "0:4: an accident"),
    ] {
        let error = failure(accident);
        assert!(error.to_string().starts_with(told), "{error}");
        assert_eq!(matches!(error, RunError::Died { .. }), !matches!(accident, Accident::Error));
    }
}
