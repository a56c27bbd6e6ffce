//! Samba's servers on this library: the results of its own test programs are those on Samba's library.
//!
//! * [`smbd`]: a file server and its tests, `smbtorture`.
//! * [`ctdb`]: three daemons that keep databases together.
//! * [`suites`]: which tests of smbtorture, in the test run and in `cargo xtask samba`.

mod ctdb;
#[path = "../library/mod.rs"]
mod library;
mod smbd;
mod suites;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Mutex;

use library::{Stage, Which, built};
use smbd::Smbd;

/// Servers that share the tests of one run.
const SERVERS: usize = 4;
/// How often a test whose results differ is run again on both libraries.
const REPEATS: usize = 3;

type Results = BTreeMap<String, Vec<String>>;

/// T10, T19: smbd serves, and its own torture tests have the results that they have on libtdb. Locks inside parsers, robust
/// mutexes, traverses and clear-if-first are all in use.
#[test]
fn smbtorture_has_the_results_that_it_has_on_libtdb() {
    let name = "smbtorture_has_the_results_that_it_has_on_libtdb";
    if let Some(missing) = missing(&["/usr/sbin/smbd", "/usr/bin/smbtorture", "/usr/bin/smbclient"]) {
        return testbed::skip(name, &missing);
    }
    let folder = tempfile::tempdir().expect("a scratch folder");
    let stage = Stage::new();
    let tests = suites::tests();
    let (ours, theirs) = match on_both(&stage, folder.path(), &tests) {
        Ok(results) => results,
        Err(reason) => return testbed::skip(name, &reason),
    };
    report(&tests, &ours, &theirs);
    let differing: Vec<String> =
        tests.iter().filter(|test| ours[*test] != theirs[*test]).map(String::clone).collect();
    assert!(differing.len() <= 3 + tests.len() / 20, "too many differ to blame their timing: {differing:?}");
    let mut seen: Vec<(Results, Results)> = vec![(ours, theirs)];
    for repeat in 0..if differing.is_empty() { 0 } else { REPEATS } {
        let folder = folder.path().join(format!("again-{repeat}"));
        seen.push(on_both(&stage, &folder, &differing).expect("it was possible before"));
    }
    // Some tests depend on time: what counts is whether libtdb ever has a result that this library has.
    for test in &differing {
        let ours: Vec<_> = seen.iter().map(|(ours, _)| &ours[test]).collect();
        let theirs: Vec<_> = seen.iter().map(|(_, theirs)| &theirs[test]).collect();
        eprintln!("{test} is unsteady:\n  ours {ours:?}\n  libtdb {theirs:?}");
        assert!(ours.iter().any(|result| theirs.contains(result)), "{test} differs every time");
    }
}

/// Runs the tests on both libraries at the same time.
fn on_both(stage: &Stage, folder: &Path, tests: &[String]) -> Result<(Results, Results), String> {
    std::thread::scope(|scope| {
        let ours = scope.spawn(|| on_one(stage, Which::Ours, &folder.join("ours"), tests));
        let theirs = on_one(stage, Which::System, &folder.join("system"), tests);
        Ok((ours.join().expect("it does not panic")?, theirs?))
    })
}

/// Runs the tests on several servers with one library.
fn on_one(stage: &Stage, which: Which, folder: &Path, tests: &[String]) -> Result<Results, String> {
    let waiting = Mutex::new(tests.iter().collect::<VecDeque<_>>());
    let results = Mutex::new(Results::new());
    let serve = |nth: usize| -> Result<(), String> {
        let smbd = Smbd::start(stage, which, &folder.join(nth.to_string()))?;
        let library = smbd.library();
        let is_ours = Path::new(&library) == built().canonicalize().expect("it exists");
        assert_eq!(is_ours, which == Which::Ours, "smbd runs on {library}");
        loop {
            let next = waiting.lock().expect("nobody panics with it").pop_front();
            let Some(test) = next else { return Ok(()) };
            let result = smbd.torture(test);
            results.lock().expect("nobody panics with it").insert(test.clone(), result);
        }
    };
    std::thread::scope(|scope| {
        let servers: Vec<_> = (0..SERVERS).map(|nth| scope.spawn(move || serve(nth))).collect();
        servers.into_iter().try_for_each(|server| server.join().expect("it does not panic"))
    })?;
    Ok(results.into_inner().expect("nobody panics with it"))
}

/// Prints the counts of both libraries, and fails if so little succeeded that nothing was compared.
fn report(tests: &[String], ours: &Results, theirs: &Results) {
    let count = |results: &Results, word: &str| {
        results.values().flatten().filter(|line| line.starts_with(word)).count()
    };
    for (name, results) in [("ours", ours), ("libtdb", theirs)] {
        let [success, failure, skip] = ["success", "failure", "skip"].map(|word| count(results, word));
        let silent: Vec<_> =
            results.iter().filter(|(_, lines)| lines.is_empty()).map(|(test, _)| test).collect();
        eprintln!("{name}: {success} succeeded, {failure} failed, {skip} skipped, no result from {silent:?}");
    }
    assert!(count(theirs, "success") > tests.len() / 2, "smbd does not work here: {theirs:?}");
}

/// T2, T3, T4, T10, T19: three daemons of ctdb attach databases, move records, commit persistent transactions on all nodes,
/// survive the death of a node and of the leader, recover, and vacuum; then all their files are sound to both libraries.
#[test]
fn ctdb_keeps_its_databases_as_on_libtdb() {
    let name = "ctdb_keeps_its_databases_as_on_libtdb";
    if let Some(missing) = missing(&["/usr/sbin/ctdbd", "/usr/bin/ctdb", "/usr/bin/tdbtool"]) {
        return testbed::skip(name, &missing);
    }
    let stage = Stage::new();
    let lives = std::thread::scope(|scope| {
        let ours = scope.spawn(|| ctdb::live_and_die(&stage, Which::Ours));
        let theirs = ctdb::live_and_die(&stage, Which::System);
        theirs.and(ours.join().expect("the cluster on this library does as the one on libtdb"))
    });
    if let Err(reason) = lives {
        testbed::skip(name, &reason);
    }
}

/// Which of these programs are not installed.
fn missing(programs: &[&str]) -> Option<String> {
    let missing: Vec<_> = programs.iter().filter(|program| !Path::new(program).exists()).collect();
    (!missing.is_empty())
        .then(|| format!("{missing:?} not there; install samba, smbclient, samba-testsuite, ctdb"))
}
