//! The shipped server: threads around [`ServerState`].
//!
//! * one thread keeps the time of votes and beacons, and one a peer carries beacons and probes: none of them ever takes
//!   the database lock or waits for the disk, but to write a new promise;
//! * one thread takes what votes have to tell the copy, and keeps the copy's time;
//! * one a peer carries the calls of transactions and transfers, in order;
//! * one does the disk's work that comes of these; what comes of a peer's call or a client's is done by the thread of that.
//!
//! What peers ask comes in through the `serve_` functions, from the transport's threads. Applications use
//! [`Server::begin_read`] and [`Server::begin_write`].
//!
//! [`Server::start`] returns when everything is ready to be called; the threads begin after that.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use ubik_proto::cell::ServerId;
use ubik_proto::code::AbortCode;
use ubik_proto::election::promise::PromiseRecord;
use ubik_proto::election::{Command, Event};
use ubik_proto::messages::Beacon;
use ubik_proto::time::{Moment, Now};

use crate::disk_work::DiskWork;
use crate::effect::{Answer, AnswerId, CallError, CallToken, ClientEvent, ClientId, Effect, Reply};
use crate::locks::{AbortOnPanic, Held, Nothing};
use crate::phys::PhysicalStore;
use crate::server_state::{Clock, Config, ServerState, StartError};
use crate::transport::Transport;
use crate::watch::{self, Log, Watch};

mod peer_service;

pub use peer_service::PeerService;

/// No wait is longer, so that a server that is told to stop does.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// The machine's clocks: the monotonic one goes on while the machine sleeps.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let boot = clock_gettime(ClockId::Boottime);
        let moment = Moment::from_micros(boot.tv_sec as u64 * 1_000_000 + boot.tv_nsec as u64 / 1000);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        Now { moment, wall }
    }
}

/// The wall clock, in seconds since 1970.
pub(crate) fn wall_seconds() -> i64 {
    SystemClock.now().wall
}

/// What a peer's vote thread has to do.
enum VoteJob {
    Beacon { series: u64, number: u64, beacon: Beacon },
    Probe,
}

/// What the copy's thread has to do.
enum CopyJob {
    Event(Event),
    /// Its deadline may have changed.
    LookAgain,
}

pub(crate) struct Shared {
    pub(crate) state: ServerState,
    watch: Watch,
    transport: Arc<dyn Transport>,
    /// The queues of the peers' vote threads.
    votes: HashMap<ServerId, Sender<VoteJob>>,
    copy: Sender<CopyJob>,
    disk: Sender<DiskWork>,
    clients: Mutex<HashMap<ClientId, Sender<ClientEvent>>>,
    /// The peers' calls that wait for their answers.
    answers: Mutex<HashMap<AnswerId, Sender<Result<Answer, AbortCode>>>>,
    next_answer: AtomicU64,
    next_client: AtomicU64,
    stopped: AtomicBool,
    /// Called when this server has ended by itself.
    failed: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Notified when the deadline of the votes may have changed, by whoever changed them.
    election_changed: (Mutex<bool>, Condvar),
    /// Notified when the copy may show another version, by whoever worked on it; the number of those who wait.
    version_changed: (Mutex<()>, Condvar),
    version_waiters: AtomicU64,
    /// Until when the copy's thread sleeps, in microseconds, and what of the copy it has seen.
    copy_sleeps_until: AtomicU64,
    copy_seen: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no code here panics while it holds this lock")
}

/// A running server of one database. Dropping it stops its threads.
pub struct Server {
    pub(crate) shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Opens the database in `store`, makes everything ready, and starts the threads. Put its [`Server::peer_service`] into the
    /// services that peers call.
    ///
    /// # Errors
    /// If the timing is unsafe or the store cannot be read.
    pub fn start(
        config: Config,
        store: Arc<dyn PhysicalStore>,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, StartError> {
        Self::start_logging(config, store, transport, watch::silent())
    }

    /// As [`Server::start`], and says what happens to `log`.
    ///
    /// # Errors
    /// As there.
    pub fn start_logging(
        config: Config,
        store: Arc<dyn PhysicalStore>,
        transport: Arc<dyn Transport>,
        log: Log,
    ) -> Result<Self, StartError> {
        let cell = config.cell.clone();
        let state = ServerState::start(config, store, Arc::new(SystemClock))?;
        let (copy, copy_jobs) = channel();
        let (disk, disk_jobs) = channel();
        let (mut votes, mut calls) = (HashMap::new(), HashMap::new());
        let mut receivers = Vec::new();
        for peer in cell.peers() {
            let (vote_queue, vote_jobs) = channel();
            let (call_queue, call_jobs) = channel();
            votes.insert(peer, vote_queue);
            calls.insert(peer, call_queue);
            receivers.push((peer, vote_jobs, call_jobs));
        }
        state.post_calls_to(Box::new(move |effect| post(&calls, effect)));
        let shared = Arc::new(Shared {
            state,
            watch: Watch::new(log),
            transport,
            votes,
            copy,
            disk,
            clients: Mutex::default(),
            answers: Mutex::default(),
            next_answer: AtomicU64::new(0),
            next_client: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            failed: OnceLock::new(),
            election_changed: Default::default(),
            version_changed: Default::default(),
            version_waiters: AtomicU64::new(0),
            copy_sleeps_until: AtomicU64::new(0),
            copy_seen: AtomicU64::new(0),
        });
        let mut server = Server { shared, threads: Vec::new() };
        server.spawn("ubik votes", keep_election_time);
        server.spawn("ubik copy", move |shared| work_on_copy(shared, &copy_jobs));
        server.spawn("ubik disk", move |shared| work_on_disk(shared, &disk_jobs));
        for (peer, votes, calls) in receivers {
            server.spawn("ubik beacon", move |shared| carry_votes(shared, peer, &votes));
            server.spawn("ubik call", move |shared| carry_calls(shared, peer, calls));
        }
        Ok(server)
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce(&Arc<Shared>) + Send + 'static) {
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            // A server that lacks a thread would go on with the others, and vote, say, though it serves nothing (U50).
            let _alive = AbortOnPanic;
            body(&shared);
        });
        self.threads.push(thread.expect("a thread can be started when a server starts"));
    }

    /// The server as its peers' calls see it.
    pub fn peer_service(&self) -> PeerService {
        PeerService(Arc::downgrade(&self.shared))
    }

    /// Calls `hook` if this server ends by itself, since its disk failed within a commit and only a restart can tell what it
    /// holds. A process whose task is this server should end then. Only the first hook counts.
    pub fn on_failure(&self, hook: impl Fn() + Send + Sync + 'static) {
        let _ = self.shared.failed.set(Box::new(hook));
    }

    /// Gives the mandate up, if this server has one: for a server that is about to end and has made its last commit. It votes
    /// on, so that another can be sync site once the promises made to this one are over, and does not stand itself meanwhile.
    pub fn resign(&self) {
        let mut held = Held::thread_entry();
        let commands = self.shared.state.resign(&mut held);
        self.shared.perform(&mut held, commands);
    }

    /// The server's state.
    pub fn state(&self) -> &ServerState {
        &self.shared.state
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.shared.wake_election();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so; stopping goes on.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn wake_election(&self) {
        *lock(&self.election_changed.0) = true;
        self.election_changed.1.notify_all();
    }

    /// Writes a promise; returns whether the yes that waits for it may be sent.
    fn save_promise(&self, held: &mut Held<'_, Nothing>, record: PromiseRecord) -> bool {
        let saved = self.state.save_promise(held, record);
        let failure = saved.as_ref().err();
        self.watch
            .disk("votes", failure.map(|error| format!("cannot save a vote, so none is given: {error}")));
        saved.unwrap_or(false)
    }

    /// The disk failed in the middle of a commit: only a restart, which replays the log, knows what this server holds. It ends,
    /// answers nobody any more, and says so.
    fn end_if_broken(&self) {
        if self.state.database().is_broken() && !self.stopped.swap(true, Ordering::Relaxed) {
            self.wake_election();
            if let Some(hook) = self.failed.get() {
                hook();
            }
        }
    }

    /// Carries out what the votes ask for.
    fn perform(&self, held: &mut Held<'_, Nothing>, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Beacon { to, series, number, beacon } => {
                    self.queue_vote(to, VoteJob::Beacon { series, number, beacon });
                }
                Command::Probe { to } => self.queue_vote(to, VoteJob::Probe),
                Command::PersistOwnVote(record) => {
                    if self.save_promise(held, record) {
                        let commands = self.state.on_own_vote_persisted(held, record);
                        self.perform(held, commands);
                    }
                }
                // The receiver lives as long as its thread, which ends only when the server stops.
                Command::Notify(event) => drop(self.copy.send(CopyJob::Event(event))),
                Command::Clock { of, ahead_secs } => self.watch.clock(&self.state, held, of, ahead_secs),
            }
        }
        self.wake_election();
    }

    fn queue_vote(&self, to: ServerId, job: VoteJob) {
        if let Some(votes) = self.votes.get(&to) {
            let _ = votes.send(job);
        }
    }

    /// Lets a peer's call in, and waits for its answer, which may have to wait for the disk.
    fn answer_when(
        &self,
        held: &mut Held<'_, Nothing>,
        call: impl FnOnce(&ServerState, &mut Held<'_, Nothing>, AnswerId) -> Vec<Effect>,
    ) -> Result<Answer, AbortCode> {
        let id = AnswerId(self.next_answer.fetch_add(1, Ordering::Relaxed));
        let (sender, answer) = channel();
        lock(&self.answers).insert(id, sender);
        let effects = call(&self.state, held, id);
        self.carry_out(held, effects);
        loop {
            match answer.recv_timeout(LONGEST_WAIT) {
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Timeout) if !self.is_stopped() => {}
                Err(_) => {
                    lock(&self.answers).remove(&id);
                    return Err(AbortCode::NO_QUORUM);
                }
            }
        }
    }

    /// Carries out what the copy asks for. Work of the disk is done by this thread, last, and holding no lock: it must be one
    /// that nobody waits for, that of a peer's call or of a client.
    pub(crate) fn carry_out(&self, held: &mut Held<'_, Nothing>, effects: Vec<Effect>) {
        let mut work = self.carry_out_but_disk(held, effects);
        while let Some(next) = work {
            let done = self.state.work(next);
            if done.is_ok() {
                self.watch.disk("database", None);
            }
            let effects = self.state.on_disk(held, done);
            work = self.carry_out_but_disk(held, effects);
        }
    }

    /// As [`Shared::carry_out`], for threads that have other things to do than to wait for the disk: an application's, and those that carry a peer's calls, the next of which may be
    /// the commit that this server's disk is to do as well.
    pub(crate) fn carry_out_aside(&self, held: &mut Held<'_, Nothing>, effects: Vec<Effect>) {
        if let Some(work) = self.carry_out_but_disk(held, effects) {
            // The receiver lives as long as its thread, which ends only when the server stops.
            let _ = self.disk.send(work);
        }
    }

    fn carry_out_but_disk(&self, held: &mut Held<'_, Nothing>, effects: Vec<Effect>) -> Option<DiskWork> {
        let mut work = None;
        for effect in effects {
            match effect {
                Effect::Election(command) => self.perform(held, vec![command]),
                Effect::Client(client, event) => self.tell(client, event),
                Effect::Answer(id, answer) => self.answer(id, answer),
                Effect::Disk(next) => work = Some(next),
                Effect::DiskFailed(error) => {
                    self.watch.disk("database", Some(error));
                    self.end_if_broken();
                }
                // They went to the outbox.
                Effect::Call { .. } | Effect::Send { .. } | Effect::Fetch { .. } => {}
            }
        }
        self.wake_copy_if_needed();
        if self.version_waiters.load(Ordering::SeqCst) > 0 {
            drop(lock(&self.version_changed.0));
            self.version_changed.1.notify_all();
        }
        work
    }

    fn answer(&self, id: AnswerId, answer: Result<Answer, AbortCode>) {
        if let Some(caller) = lock(&self.answers).remove(&id) {
            let _ = caller.send(answer);
        }
    }

    /// The copy's thread is woken only if it would sleep too long, or has something to say: whoever works on a commit
    /// would wait for it at the database lock otherwise, once a call.
    fn wake_copy_if_needed(&self) {
        let (deadline, outlook) = self.state.copy_outlook();
        let late = deadline.is_some_and(|at| at.as_micros() < self.copy_sleeps_until.load(Ordering::SeqCst));
        if late || outlook != self.copy_seen.load(Ordering::SeqCst) {
            let _ = self.copy.send(CopyJob::LookAgain);
        }
    }

    fn tell(&self, client: ClientId, event: ClientEvent) {
        if let Some(client) = lock(&self.clients).get(&client) {
            let _ = client.send(event);
        }
    }

    /// A new transaction of the application, and where it hears.
    pub(crate) fn enter(&self) -> (ClientId, Receiver<ClientEvent>) {
        let id = ClientId(self.next_client.fetch_add(1, Ordering::Relaxed));
        let (sender, receiver) = channel();
        lock(&self.clients).insert(id, sender);
        (id, receiver)
    }

    /// The transaction is over.
    pub(crate) fn leave(&self, client: ClientId) {
        lock(&self.clients).remove(&client);
    }

    /// Waits until `done` or until `patience` is over; looks again whenever the copy was worked on.
    pub(crate) fn wait_for_version(&self, patience: Duration, done: impl Fn() -> bool) -> bool {
        let guard = lock(&self.version_changed.0);
        // Whoever works on the copy counts after that; what came before is seen by the first look.
        self.version_waiters.fetch_add(1, Ordering::SeqCst);
        let waited = self.version_changed.1.wait_timeout_while(guard, patience, |()| !done());
        self.version_waiters.fetch_sub(1, Ordering::SeqCst);
        let (_guard, timeout) = waited.expect("no code here panics while it holds this lock");
        !timeout.timed_out()
    }
}

/// Puts calls into the queue of the peer's thread; called under the database lock, and never waits.
fn post(calls: &HashMap<ServerId, Sender<Effect>>, effect: Effect) -> Option<Effect> {
    let (Effect::Call { to, .. } | Effect::Send { to, .. } | Effect::Fetch { to, .. }) = effect else {
        return Some(effect);
    };
    if let Some(queue) = calls.get(&to) {
        // The receiver lives as long as its thread, which ends only when the server stops.
        let _ = queue.send(effect);
    }
    None
}

/// The thread that keeps the time of votes and beacons.
fn keep_election_time(shared: &Arc<Shared>) {
    let mut held = Held::thread_entry();
    while !shared.is_stopped() {
        let commands = shared.state.on_election_time(&mut held);
        if !commands.is_empty() {
            shared.perform(&mut held, commands);
        }
        shared.watch.look_at_votes(&shared.state, &mut held);
        let wait =
            shared.state.election_deadline(&mut held).since(SystemClock.now().moment).min(LONGEST_WAIT);
        let changed = lock(&shared.election_changed.0);
        let waited = shared.election_changed.1.wait_timeout_while(changed, wait, |changed| !*changed);
        let (mut changed, _) = waited.expect("no code here panics while it holds this lock");
        *changed = false;
    }
}

/// The thread that has no other task than the disk's work.
fn work_on_disk(shared: &Arc<Shared>, jobs: &Receiver<DiskWork>) {
    let mut held = Held::thread_entry();
    while !shared.is_stopped() {
        match jobs.recv_timeout(LONGEST_WAIT) {
            Ok(work) => shared.carry_out(&mut held, vec![Effect::Disk(work)]),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// The thread that works on the copy.
fn work_on_copy(shared: &Arc<Shared>, jobs: &Receiver<CopyJob>) {
    let mut held = Held::thread_entry();
    while !shared.is_stopped() {
        shared.copy_seen.store(shared.state.copy_outlook().1, Ordering::SeqCst);
        shared.watch.look_at_copy(&shared.state, &mut held);
        let now = SystemClock.now().moment;
        // Said before the deadline is read: whoever makes it earlier after that sees it and sends word.
        shared.copy_sleeps_until.store((now + LONGEST_WAIT).as_micros(), Ordering::SeqCst);
        let deadline = shared.state.replica_deadline(&mut held);
        let wait = deadline.map_or(LONGEST_WAIT, |at| at.since(SystemClock.now().moment).min(LONGEST_WAIT));
        let effects = match jobs.recv_timeout(wait) {
            Ok(CopyJob::Event(event)) => shared.state.on_event(&mut held, event),
            Ok(CopyJob::LookAgain) => continue,
            Err(RecvTimeoutError::Timeout) => {
                let effects = shared.state.on_replica_time(&mut held);
                if effects.is_empty() {
                    continue;
                }
                effects
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        shared.carry_out_aside(&mut held, effects);
    }
}

/// The thread that carries one peer's beacons and probes.
fn carry_votes(shared: &Arc<Shared>, peer: ServerId, jobs: &Receiver<VoteJob>) {
    let mut held = Held::thread_entry();
    while !shared.is_stopped() {
        let commands = match jobs.recv_timeout(LONGEST_WAIT) {
            Ok(VoteJob::Beacon { series, number, beacon }) => {
                let reply = shared.transport.beacon(peer, series, &beacon);
                shared.state.on_vote(&mut held, peer, number, reply)
            }
            Ok(VoteJob::Probe) => {
                let answered = shared.transport.probe(peer);
                shared.state.on_probe(&mut held, peer, answered)
            }
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        shared.perform(&mut held, commands);
    }
}

/// The thread that carries one peer's calls and transfers.
fn carry_calls(shared: &Arc<Shared>, peer: ServerId, jobs: Receiver<Effect>) {
    let mut held = Held::thread_entry();
    while !shared.is_stopped() {
        let Some((token, reply)) = (match jobs.recv_timeout(LONGEST_WAIT) {
            Ok(effect) => carry(shared, &mut held, peer, effect),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        }) else {
            continue;
        };
        let silent = matches!(reply, Err(CallError::Unreachable));
        let effects = shared.state.on_reply(&mut held, token, reply);
        shared.carry_out_aside(&mut held, effects);
        if silent {
            fail_waiting(shared, &mut held, &jobs);
        }
    }
}

/// The calls that waited behind one that was not answered fail with it: a commit would wait for each in turn.
fn fail_waiting(shared: &Arc<Shared>, held: &mut Held<'_, Nothing>, jobs: &Receiver<Effect>) {
    let waiting: Vec<Effect> = jobs.try_iter().collect();
    for effect in waiting {
        let (Effect::Call { token, .. } | Effect::Send { token, .. } | Effect::Fetch { token, .. }) = effect
        else {
            continue;
        };
        let effects = shared.state.on_reply(held, token, Err(CallError::Unreachable));
        shared.carry_out_aside(held, effects);
    }
}

fn carry(
    shared: &Shared,
    held: &mut Held<'_, Nothing>,
    peer: ServerId,
    effect: Effect,
) -> Option<(CallToken, Result<Reply, CallError>)> {
    let (name, token, reply) = match effect {
        Effect::Call { token, call, .. } => (call.name(), token, shared.transport.call(peer, &call)),
        Effect::Send { token, database, .. } => {
            ("SendFile", token, shared.transport.send(peer, &database).map(|()| Reply::Done))
        }
        Effect::Fetch { token, .. } => ("GetFile", token, fetch(shared, peer)),
        Effect::Election(_)
        | Effect::Client(..)
        | Effect::Answer(..)
        | Effect::Disk(_)
        | Effect::DiskFailed(_) => return None,
    };
    // A beacon may have ended the transaction before this did.
    let ends = matches!(name, "ReleaseLocks" | "Abort");
    let refused = match &reply {
        Err(CallError::Aborted(code)) => Some(*code),
        _ => None,
    };
    if !ends {
        shared.watch.answered(&shared.state, held, peer, name, refused);
    }
    Some((token, reply))
}

/// Gets a peer's database into a file of its own.
fn fetch(shared: &Shared, peer: ServerId) -> Result<Reply, CallError> {
    let into = shared.state.database().receive();
    let mut into = into.map_err(|error| CallError::Local(error.to_string()))?;
    let version = shared.transport.fetch(peer, &mut *into)?;
    Ok(Reply::Database(version, into))
}
