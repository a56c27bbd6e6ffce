//! What types do not show of several threads at once, under a scheduler that tries a thousand interleavings of each case:
//! `cargo test -p quorate-ubik --features controlled --lib schedules`. What fails prints the schedule that did it.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use shuttle::sync::Mutex;
use shuttle::thread;
use ubik_proto::cell::{Cell, Dialect, Server, ServerId, ServerKind};
use ubik_proto::code::AbortCode;
use ubik_proto::election::promise::PromiseRecord;
use ubik_proto::election::vote::Vote;
use ubik_proto::log::Change;
use ubik_proto::messages::{Beacon, DiskCall, Write};
use ubik_proto::profile::Profile;
use ubik_proto::time::{Moment, Now};
use ubik_proto::version::{TransactionId, Version};

use crate::application::{AppCache, ReadTransaction};
use crate::database::Database;
use crate::effect::{Answer, AnswerId, Effect};
use crate::locks::Held;
use crate::phys::PhysicalStore;
use crate::phys::memory::MemoryStore;
use crate::server_state::{Clock, Config, ServerState};

/// Interleavings of each case by chance, and by a scheduler that looks for rare orders of few switches.
fn explore(case: impl Fn() + Send + Sync + Clone + 'static) {
    shuttle::check_random(case.clone(), 1000);
    shuttle::check_pct(case, 500, 3);
}

fn version(counter: u32) -> Version {
    Version::new(5, counter)
}

/// Commit `n` writes `n` into two pages, and one page more than the commit before has.
fn commit(database: &Database, n: u32) {
    let word = |page: u32| Change::Write { position: page * 1024, bytes: n.to_be_bytes().to_vec() };
    database.apply(&[word(0), word(1), word(1 + n)], version(n)).expect("memory does not fail");
    database.reveal();
}

fn database() -> Arc<Database> {
    let database = Arc::new(Database::open(Arc::new(MemoryStore::new()), 1).expect("memory does not fail"));
    commit(&database, 1);
    database
}

/// U6, U7, U12: a snapshot is one version to its last page, with that version's length, however commits, other readers and
/// a page cache of one page interleave; taken of what is shown and of the tail alike.
#[test]
fn a_snapshot_is_whole_beside_commits() {
    explore(|| {
        let database = database();
        let writer = database.clone();
        let writes = thread::spawn(move || (2..4).for_each(|n| commit(&writer, n)));
        let readers = [false, true].map(|of_tail| {
            let database = database.clone();
            thread::spawn(move || {
                for _ in 0..3 {
                    let shown = || database.visible().expect("the first commit was shown");
                    let snapshot = if of_tail { database.tail() } else { shown() };
                    let n = snapshot.version().counter;
                    assert_eq!(
                        snapshot.length().div_ceil(1024),
                        u64::from(n) + 2,
                        "the length of version {n}"
                    );
                    for page in [0, 1] {
                        let mut word = [0; 4];
                        snapshot.read(page * 1024, &mut word).expect("memory does not fail");
                        assert_eq!(u32::from_be_bytes(word), n, "page {page}");
                    }
                }
            })
        });
        writes.join().expect("the thread does not panic");
        readers.into_iter().for_each(|reader| reader.join().expect("the thread does not panic"));
    });
}

/// U33: whoever asks the application's cache first, what it makes belongs to the version that was asked for; the newest is
/// kept, and made once.
#[test]
fn an_application_cache_makes_each_version_once() {
    explore(|| {
        let database = database();
        let old = database.tail();
        commit(&database, 2);
        let new = database.tail();
        let cache = Arc::new(AppCache::default());
        let made = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let users = [old, new.clone(), new].map(|snapshot| {
            let (cache, made) = (cache.clone(), made.clone());
            thread::spawn(move || {
                let wanted = snapshot.version().counter;
                let mut transaction = ReadTransaction::of(snapshot);
                let value = cache.of(&mut transaction, |transaction| {
                    made[wanted as usize - 1].fetch_add(1, Ordering::Relaxed);
                    Ok::<_, Infallible>(transaction.version().counter)
                });
                assert_eq!(value.map(|value| *value), Ok(wanted));
            })
        });
        users.into_iter().for_each(|user| user.join().expect("the thread does not panic"));
        assert_eq!(cache.cached_version(), Some(version(2)));
        assert_eq!(made[1].load(Ordering::Relaxed), 1);
    });
}

#[derive(Default)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now(&self) -> Now {
        let moment = Moment::from_micros(self.0.load(Ordering::Relaxed) * 1_000_000);
        Now { moment, wall: 1_700_000_000 }
    }
}

fn agree(state: &ServerState, to: usize, epoch: u32) {
    let transaction = TransactionId::default();
    let beacon = Beacon { claims_sync_site: false, start: epoch as i32, version: Version::NONE, transaction };
    let mut held = Held::thread_entry();
    match state.on_beacon(&mut held, ServerId::new(to), 1, &beacon).0 {
        Vote::Yes { persist: Some(record) } => {
            assert!(state.save_promise(&mut held, record).expect("memory does not fail"));
        }
        other => panic!("{other:?}"),
    }
}

/// The answers to calls, by whose they are; the work that one waits for may be another thread's.
type Answers = Mutex<HashMap<AnswerId, Result<Answer, AbortCode>>>;

fn call(state: &ServerState, answers: &Answers, from: usize, call: DiskCall) -> Option<Answer> {
    let mine = AnswerId(from as u64);
    let mut held = Held::thread_entry();
    let mut waiting = VecDeque::from(state.on_call(&mut held, ServerId::new(from), mine, call));
    while let Some(effect) = waiting.pop_front() {
        match effect {
            Effect::Disk(work) => waiting.extend(state.on_disk(&mut held, state.work(work))),
            Effect::Answer(of, answer) => {
                answers.lock().expect("no thread panics").insert(of, answer);
            }
            _ => {}
        }
    }
    loop {
        if let Some(answer) = answers.lock().expect("no thread panics").remove(&mine) {
            return answer.ok();
        }
        thread::yield_now();
    }
}

/// U15, U35: a commit of the old sync site and a vote for a new one, in any order: whoever asks for the version after the
/// vote is told of the commit, or the commit was refused.
#[test]
fn a_vote_and_a_commit_exclude_each_other() {
    explore(|| {
        let server = |address| Server { address, kind: ServerKind::Voter, dialect: Dialect::Quorate };
        let cell = Cell::new((0..3).map(server).collect(), 2).expect("three servers are a cell");
        let config = Config { cell, profile: Profile::openafs(), cache_pages: 4, bootstrap: false };
        let (hand, store) = (Arc::new(Hand::default()), MemoryStore::new());
        let promise = PromiseRecord { max_epoch: 1, to: None }.kept(&config.cell);
        store.save_promise(promise).expect("memory does not fail");
        let state = Arc::new(
            ServerState::start(config, Arc::new(store), hand.clone()).expect("memory does not fail"),
        );
        hand.0.store(76, Ordering::Relaxed);
        agree(&state, 0, 100);
        let transaction = TransactionId { epoch: 100, counter: 1 };
        let writes = vec![Write { file: 0, position: 0, bytes: vec![7] }];
        let answers = Arc::new(Answers::default());
        call(&state, &answers, 0, DiskCall::Begin(transaction)).expect("it has the promise");
        call(&state, &answers, 0, DiskCall::WriteV { transaction, writes }).expect("it has the promise");
        hand.0.store(152, Ordering::Relaxed);
        let (old, theirs) = (state.clone(), answers.clone());
        let commit = thread::spawn(move || call(&old, &theirs, 0, DiskCall::Commit(transaction)).is_some());
        agree(&state, 1, 101);
        let Some(Answer::Version(told)) = call(&state, &answers, 1, DiskCall::GetVersion) else {
            panic!("a follower tells its version");
        };
        let committed = commit.join().expect("the thread does not panic");
        assert_eq!(
            told,
            state.database().version(),
            "nothing was committed after the new sync site was told"
        );
        assert_eq!(committed, told != Version::FRESH);
    });
}
