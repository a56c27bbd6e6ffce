//! Recording: many processes do everything to one database, each is recorded, and the traces are checked and replayed.
#![allow(clippy::unwrap_used)]

use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use fastrand::Rng;
use tdb::compat::Tdb;
use tdb::{LockKind, OpenOptions, StoreMode, Wait};
use tdb_trace::{Recording, TraceForm};

/// Set for the worker processes: folder, form, seed and number of operations.
const WORKER: &str = "QUORATE_TEST_WORKER";
const KEYS: u32 = 30;

fn long() -> bool {
    std::env::var_os("QUORATE_LONG").is_some()
}

fn open(folder: &Path, form: TraceForm) -> Tdb {
    let mut options = OpenOptions::new();
    options.create(true).hash_size(7).no_sync(true);
    options.observe(Recording::to(folder.join("traces")).form(form));
    Tdb::open(&options, folder.join("db.tdb")).unwrap()
}

/// One process's work: everything that the grammar has.
struct Work {
    database: Tdb,
    rng: Rng,
    values: u32,
}

impl Work {
    fn key(&mut self) -> Vec<u8> {
        format!("key{}", self.rng.u32(..KEYS)).into_bytes()
    }

    /// Mostly a value that nobody else stores.
    fn value(&mut self) -> Vec<u8> {
        self.values += 1;
        match self.rng.u8(..10) {
            0 => Vec::new(),
            1 => b"the same".to_vec(),
            _ => {
                let more = vec![b'x'; self.rng.usize(..60)];
                [format!("{}.{} ", std::process::id(), self.values).into_bytes(), more].concat()
            }
        }
    }

    fn mode(&mut self) -> StoreMode {
        match self.rng.u8(..4) {
            0 => StoreMode::Insert,
            1 => StoreMode::Modify,
            _ => StoreMode::Replace,
        }
    }

    fn single(&mut self, key: &[u8]) {
        let value = self.value();
        match self.rng.u8(..10) {
            0..2 => drop(self.database.fetch(key).unwrap()),
            2 => drop(self.database.exists(key).unwrap()),
            3 => drop(self.database.parse_record(key, <[u8]>::len).unwrap()),
            4 => self.database.append(key, &value[..value.len().min(9)]).unwrap(),
            5..7 => drop(self.database.delete(key)),
            7 => {
                let mode = self.mode();
                let (first, rest) = value.split_at(value.len() / 2);
                drop(self.database.store_parts(key, &[first, rest], mode));
            }
            _ => {
                let mode = self.mode();
                drop(self.database.store(key, &value, mode));
            }
        }
    }

    fn any_single(&mut self) {
        let key = self.key();
        self.single(&key);
    }

    fn chain_lock(&mut self) {
        let key = self.key();
        let kind = if self.rng.bool() { LockKind::Write } else { LockKind::Read };
        let wait = if self.rng.u8(..3) == 0 { Wait::No } else { Wait::Yes };
        if self.database.lock_chain(&key, kind, wait).is_err() {
            return;
        }
        for _ in 0..self.rng.u8(1..4) {
            if kind == LockKind::Write {
                self.single(&key);
            } else {
                self.database.fetch(&key).unwrap();
            }
        }
        self.database.unlock_chain(&key, kind).unwrap();
    }

    fn lock_all(&mut self) {
        let kind = if self.rng.bool() { LockKind::Write } else { LockKind::Read };
        let wait = if self.rng.bool() { Wait::No } else { Wait::Yes };
        if self.database.lock_all(kind, wait).is_err() {
            return;
        }
        for _ in 0..self.rng.u8(1..5) {
            if kind == LockKind::Write {
                self.any_single();
            } else {
                let key = self.key();
                self.database.fetch(&key).unwrap();
            }
        }
        self.database.unlock_all(kind).unwrap();
    }

    fn transaction(&mut self) {
        let wait = if self.rng.u8(..4) == 0 { Wait::No } else { Wait::Yes };
        if self.database.transaction_start(wait).is_err() {
            return;
        }
        for _ in 0..self.rng.u8(..8) {
            self.any_single();
        }
        if self.rng.u8(..6) == 0 {
            self.database.transaction_start(Wait::Yes).unwrap();
            self.any_single();
            if self.rng.u8(..3) == 0 {
                self.database.transaction_cancel().unwrap();
                self.database.transaction_commit().unwrap_err();
                return;
            }
            self.database.transaction_commit().unwrap();
        }
        if self.rng.u8(..4) == 0 {
            return self.database.transaction_cancel().unwrap();
        }
        if self.rng.bool() {
            self.database.transaction_prepare_commit().unwrap();
        }
        self.database.transaction_commit().unwrap();
    }

    fn traverse(&mut self) {
        let reads = self.rng.bool();
        let stop = self.rng.u8(..3) == 0;
        let mut rng = self.rng.fork();
        let mut number = self.values * 1000;
        let database = &self.database;
        let show = |key: &[u8], _: &[u8]| {
            number += 1;
            match rng.u8(..8) {
                0 => drop(database.fetch(key).unwrap()),
                1 => drop(database.exists(format!("key{}", rng.u32(..KEYS)).as_bytes()).unwrap()),
                2 if !reads => drop(database.delete(key)),
                3 if !reads => {
                    let value = format!("{}.t{number}", std::process::id());
                    database.store(key, value.as_bytes(), StoreMode::Replace).unwrap();
                }
                4 if stop => return ControlFlow::Break(()),
                _ => {}
            }
            ControlFlow::Continue(())
        };
        if reads {
            self.database.traverse_read(show).unwrap();
        } else {
            self.database.traverse(show).unwrap();
        }
    }

    fn walk(&mut self) {
        let mut key = self.database.first_key().unwrap();
        for _ in 0..self.rng.u8(..20) {
            let Some(last) = &key else { return };
            key = self.database.next_key(last).unwrap();
            if self.rng.u8(..6) == 0 {
                self.any_single();
            }
        }
    }

    fn step(&mut self) {
        match self.rng.u8(..100) {
            0..70 => self.any_single(),
            70..78 => self.chain_lock(),
            78..82 => self.lock_all(),
            82..90 => self.transaction(),
            90..94 => self.traverse(),
            94..97 => self.walk(),
            97 => drop(self.database.seqnum().unwrap()),
            98 if self.rng.u8(..4) == 0 => self.database.wipe_all().unwrap(),
            99 if self.rng.u8(..4) == 0 => self.database.repack().unwrap(),
            _ => {}
        }
    }
}

/// What a worker process runs; nothing when it is run as a test.
#[test]
fn worker() {
    let Ok(order) = std::env::var(WORKER) else { return };
    let mut words = order.split_whitespace();
    let mut next = || words.next().unwrap();
    let (folder, form, seed, count) = (Path::new(next()), next(), next(), next());
    let database = open(folder, form.parse().unwrap());
    let mut work = Work { database, rng: Rng::with_seed(seed.parse().unwrap()), values: 0 };
    for _ in 0..count.parse::<u32>().unwrap() {
        work.step();
    }
}

fn start(folder: &Path, form: &str, seed: u64, count: u32) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "worker", "--nocapture"])
        .env(WORKER, format!("{} {form} {seed} {count}", folder.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn must_have_worked(worker: Child) {
    let output = worker.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn quorate(arguments: &[&str], paths: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quorate")).args(arguments).args(paths).output().unwrap()
}

/// The traces in `folder` have an order, also by their times, and replay as recorded, with every lock that was held. Gives the
/// replay's report.
fn must_be_explained(folder: &Path) -> serde_json::Value {
    let traces = folder.join("traces");
    let kept = |output: &Output| {
        let mut kept = folder.as_os_str().to_owned();
        kept.push("-unexplained");
        let _ = std::fs::rename(&traces, &kept);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        panic!("{}: {}{}", Path::new(&kept).display(), text(&output.stdout), text(&output.stderr));
    };
    let checked = quorate(&["check", "--json"], &[&traces]);
    if !checked.status.success() {
        kept(&checked);
    }
    let scratch = folder.join("scratch.tdb");
    let on = |engines: &str| {
        quorate(&["replay", "--json", "--force", &format!("--engine={engines}")], &[&scratch, &traces])
    };
    let mut replayed = on("tdb,memory,libtdb");
    if String::from_utf8_lossy(&replayed.stderr).contains("libtdb cannot be loaded") {
        testbed::skip("the replay of recorded sets on libtdb", "it is not installed");
        replayed = on("tdb,memory");
    }
    if !replayed.status.success() {
        kept(&replayed);
    }
    let all: serde_json::Value = serde_json::from_slice(&replayed.stdout).unwrap();
    for engine in all["engines"].as_array().unwrap() {
        for nothing in ["mismatches", "planted", "locks_given_up"] {
            if engine[nothing] != 0 {
                kept(&replayed);
            }
        }
    }
    all["engines"][0].clone()
}

fn sixteen_processes(form: &str, seed: u64) {
    let mut random = Rng::with_seed(seed);
    let (rounds, count) = if long() { (10, 20_000) } else { (1, 300) };
    for _ in 0..rounds {
        let folder = tempfile::tempdir().unwrap();
        let workers: Vec<Child> =
            (0..16).map(|_| start(folder.path(), form, random.u64(..), count)).collect();
        workers.into_iter().for_each(must_have_worked);
        let report = must_be_explained(folder.path());
        assert_eq!(report["traces"], 16);
        assert!(report["operations"].as_u64() > Some(16 * u64::from(count) / 2), "{report}");
    }
}

/// R4, R20, R27: sixteen processes do everything at once; their traces are a history that is explained and replays.
#[test]
fn sixteen_recorded_processes_are_explained_and_replay() {
    sixteen_processes("extended", testbed::seed("sixteen_recorded_processes_are_explained_and_replay"));
}

/// R4, R20, R27: so are traces without times.
#[test]
fn sixteen_processes_recorded_without_times_are_explained_and_replay() {
    let seed = testbed::seed("sixteen_processes_recorded_without_times_are_explained_and_replay");
    sixteen_processes("exact", seed);
}

/// R4, R20, R27: so are packed traces, with times and without.
#[test]
fn sixteen_processes_recorded_as_bytes_are_explained_and_replay() {
    let seed = testbed::seed("sixteen_processes_recorded_as_bytes_are_explained_and_replay");
    sixteen_processes("packed", seed);
    sixteen_processes("packed-extended", seed);
}

fn killed_processes(form: &str, seed: u64) {
    let mut random = Rng::with_seed(seed);
    let rounds = if long() { 300 } else { 2 };
    for _ in 0..rounds {
        let folder = tempfile::tempdir().unwrap();
        let mut workers: Vec<Child> =
            (0..16).map(|_| start(folder.path(), form, random.u64(..), 1_000_000)).collect();
        random.shuffle(&mut workers);
        while let Some(mut worker) = workers.pop() {
            // Not a wait for something: the moment of a death is the random input here.
            std::thread::sleep(Duration::from_micros(random.u64(..20_000)));
            worker.kill().unwrap();
            worker.wait().unwrap();
        }
        must_be_explained(folder.path());
    }
}

/// R2, R4, R15, R16, R20: processes are killed in the middle; what each had written is there, and what was under way is decided.
#[test]
fn traces_of_killed_processes_are_explained_and_replay() {
    killed_processes("extended", testbed::seed("traces_of_killed_processes_are_explained_and_replay"));
}

/// R2, R4, R20: so are traces without times.
#[test]
fn traces_without_times_of_killed_processes_are_explained_and_replay() {
    let seed = testbed::seed("traces_without_times_of_killed_processes_are_explained_and_replay");
    killed_processes("exact", seed);
}

/// R2, R4, R20: so are packed traces.
#[test]
fn packed_traces_of_killed_processes_are_explained_and_replay() {
    let seed = testbed::seed("packed_traces_of_killed_processes_are_explained_and_replay");
    killed_processes("packed", seed);
    killed_processes("packed-extended", seed);
}
