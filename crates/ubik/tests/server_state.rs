//! One server, step by step: what it does for what it is told, with the clock in the test's hands.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ubik::effect::{
    Answer, AnswerId, CallError, CallToken, ClientEvent, ClientId, Effect, ReadKind, Reply, WriteError,
};
use ubik::locks::Held;
use ubik::overlay::Overlay;
use ubik::phys::PhysicalStore;
use ubik::phys::memory::MemoryStore;
use ubik::server_state::{Clock, Config, ServerState};
use ubik::snapshot::Snapshot;
use ubik_proto::cell::{Cell, Dialect, Server, ServerId, ServerKind};
use ubik_proto::code::AbortCode;
use ubik_proto::election::beacon::VoteReply;
use ubik_proto::election::promise::PromiseRecord;
use ubik_proto::election::vote::Vote;
use ubik_proto::election::{Command, Event, Standing};
use ubik_proto::messages::{Beacon, DiskCall, LOCK_WRITE, Write};
use ubik_proto::profile::Profile;
use ubik_proto::replica::recovery::Progress;
use ubik_proto::time::{Moment, Now};
use ubik_proto::version::{TransactionId, Version};

#[path = "server_state/disk.rs"]
mod disk;

/// Longer than anything here takes; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Hand(AtomicU64);

impl Hand {
    fn set(&self, seconds: u64) {
        self.0.store(seconds * 1_000_000, Ordering::Relaxed);
    }
}

impl Clock for Hand {
    fn now(&self) -> Now {
        Now { moment: Moment::from_micros(1_000_000 + self.0.load(Ordering::Relaxed)), wall: 1_700_000_000 }
    }
}

fn id(index: usize) -> ServerId {
    ServerId::new(index)
}

fn state(me: u32) -> (ServerState, Arc<Hand>) {
    let (state, hand, _) = state_on_disk(me);
    (state, hand)
}

fn config(me: u32) -> Config {
    let server = |address| Server { address, kind: ServerKind::Voter, dialect: Dialect::Quorate };
    let cell = Cell::new((0..3).map(server).collect(), me).unwrap();
    Config { cell, profile: Profile::openafs(), cache_pages: 20, bootstrap: false }
}

fn state_on_disk(me: u32) -> (ServerState, Arc<Hand>, MemoryStore) {
    start(config(me))
}

fn start(config: Config) -> (ServerState, Arc<Hand>, MemoryStore) {
    let hand = Arc::new(Hand::default());
    let store = MemoryStore::new();
    // It has promised before; without a promise it would agree to nothing below the clock.
    store.save_promise(PromiseRecord { max_epoch: 1, to: None }.kept(&config.cell)).unwrap();
    (ServerState::start(config, Arc::new(store.clone()), hand.clone()).unwrap(), hand, store)
}

fn held() -> Held<'static, ubik::locks::Nothing> {
    Held::thread_entry()
}

/// A candidate proposes `epoch`.
fn candidate(epoch: u32) -> Beacon {
    let transaction = TransactionId::default();
    Beacon { claims_sync_site: false, start: epoch as i32, version: Version::NONE, transaction }
}

fn agrees(state: &ServerState, to: ServerId, epoch: u32) -> bool {
    match state.on_beacon(&mut held(), to, 1, &candidate(epoch)).0 {
        Vote::Yes { persist: Some(record) } => state.save_promise(&mut held(), record).unwrap(),
        Vote::Yes { persist: None } => true,
        Vote::No(_) => false,
    }
}

/// The name of the only call that is under way.
const ANSWER: AnswerId = AnswerId(1);

/// Lets the disk do what it is asked to, until the call is answered; `None` if it is not.
fn answer_in(state: &ServerState, effects: Vec<Effect>) -> Option<Result<Answer, AbortCode>> {
    let mut waiting = VecDeque::from(effects);
    while let Some(effect) = waiting.pop_front() {
        match effect {
            Effect::Disk(work) => waiting.extend(state.on_disk(&mut held(), state.work(work))),
            Effect::Answer(ANSWER, answer) => return Some(answer),
            _ => {}
        }
    }
    None
}

fn answer(state: &ServerState, from: ServerId, call: DiskCall) -> Result<Answer, AbortCode> {
    let effects = state.on_call(&mut held(), from, ANSWER, call);
    answer_in(state, effects).expect("every call is answered")
}

fn transaction(epoch: u32) -> TransactionId {
    TransactionId { epoch, counter: 1 }
}

fn write_call(epoch: u32) -> DiskCall {
    let write = Write { file: 0, position: 0, bytes: vec![7] };
    DiskCall::WriteV { transaction: transaction(epoch), writes: vec![write] }
}

/// U29, U31, U35, U49: a server does the calls of the one that has its promise, in the epoch it agreed to, and of nobody else:
/// not of another server, not of the same in an older epoch, and not of the old one when it has promised a new one, also
/// for a transaction that was begun before.
#[test]
fn only_the_server_with_the_promise_is_served() {
    let (state, hand) = state(2);
    hand.set(76);
    assert!(agrees(&state, id(0), 100));
    let call = |from, call| answer(&state, id(from), call);
    let refused = |answer: Result<Answer, AbortCode>| answer.err() == Some(AbortCode::OUT_OF_SYNC);
    assert!(refused(call(1, DiskCall::Begin(transaction(100)))), "another server");
    assert!(refused(call(0, DiskCall::Begin(transaction(97)))), "an older epoch");
    assert!(call(0, DiskCall::Begin(transaction(100))).is_ok());
    assert!(call(0, write_call(100)).is_ok());
    hand.set(152);
    assert!(agrees(&state, id(1), 101));
    assert!(refused(call(0, write_call(100))), "the promise went to another");
    assert!(refused(call(0, DiskCall::Commit(transaction(100)))), "though it had begun");
    let mut received = state.database().receive().unwrap();
    received.append(&[1; 8]).unwrap();
    let sent = state.on_database(&mut held(), id(0), ANSWER, Version::new(100, 2), received);
    let sent = answer_in(&state, sent).expect("no disk is asked");
    assert!(refused(sent), "whole databases too");
    let begun = |from| state.receive(&mut held(), id(from), Version::new(101, 2)).0.err();
    assert_eq!(begun(0), Some(AbortCode::OUT_OF_SYNC), "before a byte of them is received");
    assert_eq!(begun(1), None);
    assert_eq!(state.database().version(), Version::FRESH, "nothing was changed");
}

/// U29, K12: OpenAFS's sync site does not look at the answer to SetVersion; a server that refused the label commits nothing of
/// that transaction.
#[test]
fn a_transaction_whose_label_was_refused_is_over() {
    let (state, hand) = state(2);
    hand.set(76);
    assert!(agrees(&state, id(0), 100));
    let call = |call| answer(&state, id(0), call);
    assert!(call(DiskCall::Begin(transaction(100))).is_ok() && call(write_call(100)).is_ok());
    let (old, new) = (Version::new(50, 3), Version::new(100, 1));
    let label = DiskCall::SetVersion { transaction: transaction(100), old, new };
    assert_eq!(call(label).err(), Some(AbortCode::OUT_OF_SYNC), "it holds another version");
    assert_eq!(call(DiskCall::Commit(transaction(100))).err(), Some(AbortCode::OUT_OF_SYNC));
    assert_eq!(state.database().version(), Version::FRESH);
}

/// Plays the two other servers: they vote, have fresh databases, and do what they are told.
struct Play {
    state: ServerState,
    hand: Arc<Hand>,
    store: MemoryStore,
    epoch: u32,
    /// What the server wants done.
    effects: VecDeque<Effect>,
    /// What it told its clients.
    told: Vec<ClientEvent>,
    /// What it told the operator.
    failures: Vec<String>,
    /// What each server holds.
    versions: [Version; 3],
    /// A server that answers no `Commit`.
    deaf: Option<ServerId>,
    /// Nobody answers a `Begin`.
    cut_off: bool,
}

impl Play {
    /// Server 0 is elected; nothing more has happened.
    fn elected() -> Self {
        Play::elected_in(Profile::openafs())
    }

    fn elected_in(profile: Profile) -> Self {
        let (state, hand, store) = start(Config { profile, ..config(0) });
        hand.set(90);
        let beacons = beacons(&state.on_election_time(&mut held()));
        let epoch = beacons[0].2.start as u32;
        let (effects, told, failures) = Default::default();
        let versions = [Version::FRESH; 3];
        let mut play =
            Play { state, hand, store, epoch, effects, told, failures, versions, deaf: None, cut_off: false };
        for (to, number, beacon) in beacons {
            let commands = play.state.on_vote(&mut held(), to, number, VoteReply::Yes(beacon.start));
            play.election(commands);
        }
        play
    }

    /// Carries out what votes want; beacons are answered with yes.
    fn election(&mut self, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::PersistOwnVote(record) => {
                    self.state.save_promise(&mut held(), record).unwrap();
                    let more = self.state.on_own_vote_persisted(&mut held(), record);
                    self.election(more);
                }
                Command::Beacon { to, number, beacon, .. } => {
                    let yes = VoteReply::Yes(beacon.start);
                    let more = self.state.on_vote(&mut held(), to, number, yes);
                    self.election(more);
                }
                Command::Notify(event) => self.event(event),
                Command::Probe { .. } | Command::Clock { .. } => {}
            }
        }
    }

    fn event(&mut self, event: Event) {
        let effects = self.state.on_event(&mut held(), event);
        self.effects.extend(effects);
    }

    fn answer(&mut self, token: CallToken, reply: Result<Reply, CallError>) {
        let effects = self.state.on_reply(&mut held(), token, reply);
        self.effects.extend(effects);
    }

    /// Does the next thing that the server wants; returns the call, if it was one.
    fn step(&mut self) -> Option<DiskCall> {
        match self.effects.pop_front()? {
            Effect::Call { to, token, call } => {
                let version = &mut self.versions[to.index()];
                let reply = match call {
                    DiskCall::GetVersion => Ok(Reply::Version(*version)),
                    DiskCall::Begin(_) if self.cut_off => Err(CallError::Unreachable),
                    DiskCall::Commit(_) if self.deaf == Some(to) => Err(CallError::Unreachable),
                    DiskCall::Commit(_) => {
                        *version = version.next().unwrap();
                        Ok(Reply::Done)
                    }
                    DiskCall::SetVersion { new, .. } => {
                        *version = new;
                        Ok(Reply::Done)
                    }
                    _ => Ok(Reply::Done),
                };
                self.answer(token, reply);
                Some(call)
            }
            Effect::Election(command) => {
                self.election(vec![command]);
                None
            }
            Effect::Client(_, event) => {
                self.told.push(event);
                None
            }
            Effect::Disk(work) => {
                let effects = self.state.on_disk(&mut held(), self.state.work(work));
                self.effects.extend(effects);
                None
            }
            Effect::Answer(..) => None,
            Effect::DiskFailed(error) => {
                self.failures.push(error);
                None
            }
            Effect::Send { .. } | Effect::Fetch { .. } => None,
        }
    }

    fn run(&mut self) {
        while !self.effects.is_empty() {
            self.step();
        }
    }

    fn progress(&self) -> Option<Progress> {
        self.state.with_replica(&mut held(), |replica| replica.role().map(|role| role.progress()))
    }

    /// Established, with everything done that was wanted.
    fn established() -> Self {
        Play::established_in(Profile::openafs())
    }

    fn established_in(profile: Profile) -> Self {
        let mut play = Play::elected_in(profile);
        play.run();
        assert_eq!(play.progress(), Some(Progress::Established));
        play
    }

    fn write(&mut self) {
        self.begin(ClientId(7));
        self.run();
        self.submit(ClientId(7), 0);
        self.run();
    }

    fn begin(&mut self, client: ClientId) {
        let effects = self.state.begin_write(&mut held(), client);
        self.hear(effects);
    }

    /// Completes a transaction that writes eight bytes over what it began with.
    fn submit(&mut self, client: ClientId, position: u32) {
        let begun = self.told.iter().rev().find_map(|event| match event {
            ClientEvent::WriteBegun(view) => Some(view.clone()),
            _ => None,
        });
        let mut overlay = Overlay::new(begun.unwrap_or_else(|| self.state.database().tail().into()));
        overlay.write(position, &[1; 8]).unwrap();
        let effects = self.state.commit(&mut held(), client, overlay.finish());
        self.hear(effects);
    }

    /// What clients are told they hear at once; the rest waits for its turn.
    fn hear(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Client(_, event) => self.told.push(event),
                other => self.effects.push_back(other),
            }
        }
    }
}

fn beacons(commands: &[Command]) -> Vec<(ServerId, u64, Beacon)> {
    let beacon = |command: &Command| match command {
        Command::Beacon { to, number, beacon, .. } => Some((*to, *number, *beacon)),
        _ => None,
    };
    commands.iter().filter_map(beacon).collect()
}

/// U10: a new sync site labels its database with its epoch, notes that it did, and only then tells the others; the empty
/// commit makes counter 2, and each commit after it the next.
#[test]
fn a_new_sync_site_labels_first_and_counts_from_there() {
    let mut play = Play::elected();
    let mut labels_told = 0;
    while !play.effects.is_empty() {
        let next_is_label =
            matches!(play.effects.front(), Some(Effect::Call { call: DiskCall::SetVersion { .. }, .. }));
        if next_is_label {
            assert_eq!(play.state.database().version(), Version::new(play.epoch, 1));
            assert_eq!(play.progress(), Some(Progress::Labelled));
            labels_told += 1;
        }
        play.step();
    }
    assert_eq!(labels_told, 2);
    assert_eq!(play.state.database().visible_version(), Some(Version::new(play.epoch, 2)));
    play.write();
    assert_eq!(play.state.database().visible_version(), Some(Version::new(play.epoch, 3)));
}

/// U16: the version that is shown and the one that beacons vouch for move in one step with each commit; with the mandate both
/// are over, and no writer begins, before the copy has heard of its end.
#[test]
fn what_a_sync_site_vouches_for_ends_with_its_mandate() {
    let mut play = Play::established();
    let read = |play: &Play| play.state.begin_read(&mut held(), ClientId(1), ReadKind::Newest);
    for (seconds, counter) in [(110, 2), (130, 3)] {
        play.hand.set(seconds);
        let commands = play.state.on_election_time(&mut held());
        let version = Version::new(play.epoch, counter);
        let told = beacons(&commands);
        assert!(told.len() == 2 && told.iter().all(|(.., beacon)| beacon.version == version), "{told:?}");
        play.election(commands);
        let shown = |view: &Snapshot| view.version() == version;
        assert!(matches!(&read(&play)[..], [Effect::Client(_, ClientEvent::ReadBegun(view))] if shown(view)));
        play.write();
    }
    play.hand.set(600);
    assert!(matches!(read(&play)[..], [Effect::Client(_, ClientEvent::ReadFailed(_))]));
    play.told.clear();
    play.begin(ClientId(2));
    assert!(play.told.is_empty(), "{:?}", play.told);
}

/// U28: nothing is looked at again and again: an idle sync site has no time at which it wants to be called, and a commit
/// that waits for a lease wants to be called when that is over.
#[test]
fn nobody_polls() {
    let mut play = Play::established();
    assert_eq!(play.state.replica_deadline(&mut held()), None, "idle");
    play.deaf = Some(id(2));
    play.write();
    let told = std::mem::take(&mut play.told);
    assert!(matches!(told[..], [ClientEvent::WriteBegun(_)]), "server 2 may still be read: {told:?}");
    let lease = play.state.with_election(&mut held(), |_, election| election.beaconer().obligation(id(2)));
    let lease = lease.expect("it was let read").as_micros() + 1;
    let retry = play.state.replica_deadline(&mut held()).expect("the commit waits").as_micros();
    assert!(retry <= lease, "{retry} is later than {lease}");
    // The failed server is tried again before that, which ends nothing.
    play.hand.0.store(lease - 1_000_000, Ordering::Relaxed);
    let effects = play.state.on_replica_time(&mut held());
    play.effects.extend(effects);
    play.run();
    assert!(matches!(play.told[..], [ClientEvent::Committed(_)]), "{:?}", play.told);
}

/// U15, U20: votes have a lock of their own. While somebody holds the database lock for as long as they like, beacons are
/// answered and sent.
#[test]
fn beacons_pass_a_held_database_lock() {
    let (state, hand) = state(2);
    hand.set(76);
    let state = Arc::new(state);
    let (locked, is_locked) = channel();
    let (let_go, may_go) = channel::<()>();
    let may_go = Mutex::new(may_go);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            state.with_replica(&mut held(), |_| {
                locked.send(()).unwrap();
                let _ = may_go.lock().unwrap().recv_timeout(PATIENCE);
            });
        });
        is_locked.recv().unwrap();
        let (answered, answer) = channel();
        let votes = state.clone();
        scope.spawn(move || {
            let agreed = agrees(&votes, id(0), 100);
            votes.on_election_time(&mut held());
            answered.send(agreed).unwrap();
        });
        let agreed = answer.recv_timeout(PATIENCE / 2);
        let_go.send(()).unwrap();
        assert_eq!(agreed, Ok(true), "the beacon waited for the database lock");
    });
}

/// U29: when no server answers, the client is told that there is no quorum and that nothing happened, not what went wrong
/// on the wire; and a sync site is not a follower to ask for its version.
#[test]
fn a_failed_call_is_no_quorum_to_the_client() {
    let mut play = Play::established();
    assert!(matches!(answer(&play.state, id(1), DiskCall::GetVersion), Err(AbortCode::DEADLOCK)));
    play.cut_off = true;
    play.write();
    assert!(
        matches!(play.told[..], [ClientEvent::WriteBegun(_), ClientEvent::WriteFailed(WriteError::NoQuorum)]),
        "{:?}",
        play.told
    );
    assert_eq!(play.state.database().version(), Version::new(play.epoch, 2));
}

/// U13, U35: writers go on while a commit is under way, over what it leaves; when no quorum takes it they fail with it, the one
/// that is not complete too, and nothing of any of them is anywhere.
#[test]
fn what_was_made_over_a_commit_fails_with_it() {
    let mut play = Play::established();
    let before = play.state.database().version();
    for (client, position) in [(1, 0), (2, 8)] {
        play.begin(ClientId(client));
        play.submit(ClientId(client), position);
    }
    play.begin(ClientId(3));
    let Some(ClientEvent::WriteBegun(view)) = play.told.last() else { panic!("{:?}", play.told) };
    let mut bytes = [0; 24];
    view.read(0, &mut bytes).unwrap();
    assert_eq!(bytes, [[1; 8], [1; 8], [0; 8]].concat()[..]);
    play.told.clear();
    play.cut_off = true;
    play.run();
    let no_quorum = |event: &ClientEvent| matches!(event, ClientEvent::WriteFailed(WriteError::NoQuorum));
    assert!(play.told.len() == 3 && play.told.iter().all(no_quorum), "{:?}", play.told);
    play.submit(ClientId(3), 16);
    assert!(matches!(play.told.last(), Some(ClientEvent::WriteFailed(WriteError::Over))));
    assert_eq!(play.state.database().version(), before);
}

/// P16: the followers are told to commit before the sync site writes, and write while it does.
#[test]
fn followers_commit_while_the_sync_site_writes() {
    let mut play = Play::established();
    let before = play.state.database().version();
    let (database, posted) = (play.state.database().clone(), Arc::new(Mutex::new(Vec::new())));
    let outbox = posted.clone();
    play.state.post_calls_to(Box::new(move |effect| match effect {
        Effect::Call { .. } => {
            outbox.lock().unwrap().push((effect, database.version()));
            None
        }
        other => Some(other),
    }));
    play.write();
    let mut commits = 0;
    loop {
        let calls = std::mem::take(&mut *posted.lock().unwrap());
        if calls.is_empty() {
            break;
        }
        for (effect, version) in calls {
            if matches!(effect, Effect::Call { call: DiskCall::Commit(_), .. }) {
                assert_eq!(version, before, "it was written here first");
                commits += 1;
            }
            play.effects.push_back(effect);
        }
        play.run();
    }
    assert_eq!(commits, 2);
    assert!(
        matches!(play.told.last(), Some(ClientEvent::Committed(version)) if Some(*version) == before.next())
    );
}

/// U35, S14: when the sync site's disk refuses a commit that others were told to make, its fate is open; another server is
/// to be sync site.
#[test]
fn a_full_disk_leaves_a_commit_undecided() {
    let mut play = Play::established();
    let before = play.state.database().version();
    play.store.set_full(true);
    play.write();
    assert!(
        matches!(play.told.last(), Some(ClientEvent::Undecided(version)) if Some(*version) == before.next())
    );
    assert_eq!((play.state.database().version(), play.progress()), (before, None));
    play.store.set_full(false);
    assert!(!play.state.database().is_broken(), "it can serve another sync site");
}

/// U48: a sync site that has used the numbers of its epoch up stands again, in the next one, and goes on; and a server whose
/// files leave no epochs does not start, and says why.
#[test]
fn numbers_are_never_used_up() {
    let mut play = Play::established_in(Profile { epoch_commits: 4, ..Profile::openafs() });
    let first = play.epoch;
    (0..5).for_each(|_| play.write());
    let tail = play.state.database().version();
    assert!(tail.epoch > first && tail.counter <= 4, "{tail} after {first}");
    let committed = |event: &ClientEvent| matches!(event, ClientEvent::Committed(_));
    assert!(play.told.iter().filter(|event| committed(event)).count() >= 4, "{:?}", play.told);
    let store = MemoryStore::new();
    let (file, _) = store.open().unwrap();
    file.set_label(Version::new(i32::MAX as u32, 1)).unwrap();
    let started = ServerState::start(config(0), Arc::new(store), Arc::new(Hand::default()));
    let error = started.err().unwrap().to_string();
    assert!(error.contains("the database has epoch 2147483647"), "{error}");
}

/// U12, U13, U34: a write lock that a sync site has taken here keeps no reader waiting, also when that sync site is gone; a
/// version that is not here does.
#[test]
fn a_remote_lock_keeps_no_reader() {
    let (state, hand) = state(2);
    hand.set(76);
    assert!(agrees(&state, id(0), 100));
    let version = Version::new(100, 2);
    let mut received = state.database().receive().unwrap();
    received.append(&[1; 8]).unwrap();
    let effects = state.on_database(&mut held(), id(0), ANSWER, version, received);
    assert!(answer_in(&state, effects).unwrap().is_ok());
    for seconds in [77, 78] {
        hand.set(seconds);
        let beacon = Beacon { claims_sync_site: true, start: 1, version, transaction: transaction(100) };
        for command in state.on_beacon(&mut held(), id(0), 1, &beacon).1 {
            if let Command::Notify(event) = command {
                state.on_event(&mut held(), event);
            }
        }
    }
    let lock =
        DiskCall::Lock { transaction: transaction(100), file: 0, position: 1, length: 1, kind: LOCK_WRITE };
    assert!(answer(&state, id(0), DiskCall::Begin(transaction(100))).is_ok());
    assert!(answer(&state, id(0), lock).is_ok());
    let effects = state.begin_read(&mut held(), ClientId(1), ReadKind::Newest);
    assert!(matches!(effects[..], [Effect::Client(_, ClientEvent::ReadBegun(_))]), "{effects:?}");
    // Told of a version that it does not hold, it reads nothing.
    let beacon = Beacon {
        claims_sync_site: true,
        start: 1,
        version: Version::new(100, 9),
        transaction: transaction(100),
    };
    state.on_beacon(&mut held(), id(0), 1, &beacon);
    let effects = state.begin_read(&mut held(), ClientId(2), ReadKind::Newest);
    assert!(matches!(effects[..], [Effect::Client(_, ClientEvent::ReadFailed(_))]), "{effects:?}");
}
