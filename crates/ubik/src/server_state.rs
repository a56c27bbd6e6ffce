//! One server for one database: its votes, its copy, and the order in which they are locked.
//!
//! What is decided is decided by [`Election`] and [`Replica`], which touch nothing. Here is what they need of the world: locks, a
//! clock, the database. Every function may be called from any thread. Each takes the locks it needs, reads the clock, lets them decide, and
//! returns what is to be done; nothing is waited for inside, the disk least of all: what that has to do is an effect, which
//! [`ServerState::work`] carries out without a lock and [`ServerState::on_disk`] tells of the end of. What concerns votes and beacons takes only the lock of
//! votes, so neither a transfer nor a slow disk delays a beacon; the events it causes for the database's side come
//! out as [`Command::Notify`] and are brought back through [`ServerState::on_event`] when the caller sees fit.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use thiserror::Error;
use ubik_proto::cell::{Cell, ServerId};
use ubik_proto::changed::Written;
use ubik_proto::code::AbortCode;
use ubik_proto::election::epochs::{self, EpochRange};
use ubik_proto::election::promise::PromiseRecord;
use ubik_proto::election::vote::Vote;
use ubik_proto::election::{Command, Election, Event, Resignation};
use ubik_proto::messages::{Beacon, DiskCall};
use ubik_proto::profile::{Profile, ProfileError};
use ubik_proto::replica::Context;
use ubik_proto::replica::outputs::{self, DiskFailure, Output};
use ubik_proto::time::{Moment, Now};
use ubik_proto::version::Version;

use crate::database::{Database, OpenError};
use crate::disk_work::{DiskDone, DiskWork};
use crate::effect::{Answer, AnswerId, CallError, CallToken, ClientEvent, ClientId, Effect, ReadKind, Reply};
use crate::hosts::Hosts;
use crate::locks::{DatabaseLock, ElectionLock, Held, Nothing, Ordered};
use crate::overlay::View;
use crate::phys::{PhysicalStore, Replacement};

/// The clocks of the machine, or the simulator's.
pub trait Clock: Send + Sync {
    /// Both, now.
    fn now(&self) -> Now;
}

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The servers, and which of them this is.
    pub cell: Cell,
    /// The timing.
    pub profile: Profile,
    /// Pages in the page cache.
    pub cache_pages: usize,
    /// Whether a quorum of servers with empty databases may begin an empty cell, instead of all voters.
    pub bootstrap: bool,
}

/// Why a server could not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The timing is not safe.
    #[error("the timing is refused: {0}")]
    Profile(#[from] ProfileError),
    /// The database could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The promise could not be read: without it this server might promise the same epoch twice.
    #[error("cannot read the promise: {0}")]
    Promise(#[source] std::io::Error),
    /// Nobody could be elected above it.
    #[error(
        "{what} has epoch {epoch}, and too few are left above it to elect servers in (the last is {}); stop all servers \
         of the cell, write a lower epoch into the newest copy's label, and remove the promises and the other copies",
        epochs::LAST
    )]
    EpochsUsedUp {
        /// What has it.
        what: &'static str,
        /// Which.
        epoch: u32,
    },
}

fn check_epochs(database: &Database, record: PromiseRecord) -> Result<(), StartError> {
    let found = [("the database", database.version().epoch), ("the promise", record.max_epoch)];
    match found.into_iter().find(|&(_, epoch)| epoch > epochs::LAST_USABLE) {
        Some((what, epoch)) => Err(StartError::EpochsUsedUp { what, epoch }),
        None => Ok(()),
    }
}

/// The decisions about one server's copy; a database that is received whole is a [`Replacement`].
pub type Replica = ubik_proto::replica::Replica<Box<dyn Replacement>>;

/// Takes the effects that must leave in the order in which they were decided, and hands back the others.
pub type Outbox = Box<dyn Fn(Effect) -> Option<Effect> + Send + Sync>;

/// One server for one database.
pub struct ServerState {
    outbox: OnceLock<Outbox>,
    /// The other servers' processes, if they have addresses.
    hosts: OnceLock<Arc<Hosts>>,
    clock: Arc<dyn Clock>,
    cell: Cell,
    database: Arc<Database>,
    election: Ordered<ElectionLock, Election>,
    replica: Ordered<DatabaseLock, Replica>,
    /// When the copy wants to be called next, in microseconds, as of the last work on it.
    copy_deadline: AtomicU64,
    /// What of the copy is worth a line in the log, in one number.
    copy_outlook: AtomicU64,
}

impl ServerState {
    /// Opens the database and the promise in `store`. Everything is complete when this returns; nothing is sent
    /// before [`ServerState::on_election_time`] is first called.
    ///
    /// # Errors
    /// If the timing is unsafe or the store cannot be read.
    pub fn start(
        config: Config,
        store: Arc<dyn PhysicalStore>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        config.profile.check()?;
        let Config { cell, profile, cache_pages, bootstrap } = config;
        let database = Arc::new(Database::open(store, cache_pages)?);
        let kept = database.load_promise().map_err(StartError::Promise)?;
        let now = clock.now();
        let record = PromiseRecord::found(kept, &cell, now.wall);
        check_epochs(&database, record)?;
        let election = Election::new(cell.clone(), profile.clone(), record, database.version(), now.moment);
        let replica = Replica::new(cell.clone(), profile, bootstrap, database.version());
        Ok(ServerState {
            outbox: OnceLock::new(),
            hosts: OnceLock::new(),
            clock,
            cell,
            database,
            election: Ordered::new(election),
            replica: Ordered::new(replica),
            copy_deadline: AtomicU64::new(u64::MAX),
            copy_outlook: AtomicU64::new(0),
        })
    }

    /// Calls to peers go to `outbox` from now on, under the database lock: two threads that carry out what they were given
    /// could otherwise send one transaction's beginning before the end of the one before it.
    pub fn post_calls_to(&self, outbox: Outbox) {
        // Only the first one counts; a server has one driver.
        let _ = self.outbox.set(outbox);
    }

    /// Debug calls tell the addresses of these from now on.
    pub fn know_hosts(&self, hosts: Arc<Hosts>) {
        // Only the first ones count; a server has one transport.
        let _ = self.hosts.set(hosts);
    }

    /// The hosts, if any are known.
    pub(crate) fn hosts(&self) -> Option<&Hosts> {
        self.hosts.get().map(|hosts| &**hosts)
    }

    /// The copy.
    pub fn database(&self) -> &Arc<Database> {
        &self.database
    }

    /// Looks at the votes.
    pub fn with_election<R>(
        &self,
        held: &mut Held<'_, Nothing>,
        look: impl FnOnce(Now, &Election) -> R,
    ) -> R {
        let election = self.election.lock(held);
        look(self.clock.now(), &election)
    }

    /// Looks at the copy.
    pub fn with_replica<R>(&self, held: &mut Held<'_, Nothing>, look: impl FnOnce(&Replica) -> R) -> R {
        look(&self.replica.lock(held))
    }

    fn election<R>(&self, held: &mut Held<'_, Nothing>, act: impl FnOnce(Now, &mut Election) -> R) -> R {
        let mut election = self.election.lock(held);
        act(self.clock.now(), &mut election)
    }

    /// Lets the copy decide something, with the votes locked too; shows what it reveals, and lets the calls that were decided leave in
    /// their order, before anybody else has the copy.
    fn replica<R>(
        &self,
        held: &mut Held<'_, Nothing>,
        act: impl FnOnce(&mut Replica, &mut Context<'_, Box<dyn Replacement>>) -> R,
    ) -> (R, Vec<Effect>) {
        let mut guard = self.replica.lock(held);
        let (replica, held) = guard.parts();
        let (result, outputs) = {
            let mut election = self.election.lock(held);
            let mut cx = Context::new(self.clock.now(), &mut election);
            let result = act(replica, &mut cx);
            self.note_outlook(replica, cx.now.moment);
            (result, cx.outputs)
        };
        let effects = outputs.into_iter().filter_map(|output| self.effect(output));
        let effects = match self.outbox.get() {
            Some(outbox) => effects.filter_map(outbox).collect(),
            None => effects.collect(),
        };
        (result, effects)
    }

    /// What an output means for this database; nothing is left of one that is carried out at once. Called with the copy locked: what is
    /// shown, and what the tail is unless the disk is at work, is as it was decided.
    fn effect(&self, output: Output<Box<dyn Replacement>>) -> Option<Effect> {
        Some(match output {
            Output::Reveal(_) => {
                self.database.reveal();
                return None;
            }
            Output::Append { changes, version } => Effect::Disk(DiskWork::Commit { changes, version }),
            Output::Label(version) => Effect::Disk(DiskWork::Label(version)),
            Output::Install { received, version } => Effect::Disk(DiskWork::Replace { received, version }),
            Output::Call { to, token, call } => Effect::Call { to, token, call },
            Output::Send { to, token, .. } => Effect::Send { to, token, database: self.database.tail() },
            Output::Fetch { to, token } => Effect::Fetch { to, token },
            Output::LetRead(client) => {
                let shown = self.database.visible().expect("only what was revealed may be read");
                Effect::Client(client, ClientEvent::ReadBegun(shown))
            }
            Output::LetWrite { client, over, certain } => {
                let view = View::new(self.database.tail(), over, certain);
                Effect::Client(client, ClientEvent::WriteBegun(view))
            }
            Output::Tell(client, told) => Effect::Client(client, told.into()),
            Output::Answer(id, answer) => Effect::Answer(id, answer.map(|answer| self.answer(answer))),
            Output::Election(command) => Effect::Election(command),
            Output::DiskFailed(why) => Effect::DiskFailed(why),
        })
    }

    fn answer(&self, answer: outputs::Answer) -> Answer {
        match answer {
            outputs::Answer::Done => Answer::Done,
            outputs::Answer::Version(version) => Answer::Version(version),
            outputs::Answer::Tail => Answer::Database(self.database.tail()),
        }
    }

    /// Whoever keeps the copy's time looks at this without the lock, which is wanted by those who work.
    fn note_outlook(&self, replica: &Replica, now: Moment) {
        let deadline = replica.next_deadline(now).map_or(u64::MAX, Moment::as_micros);
        self.copy_deadline.store(deadline, Ordering::Relaxed);
        let progress = replica.role().map_or(0, |role| 1 + role.progress() as u64);
        let broken = u64::from(self.database.is_broken());
        let epoch = u64::from(self.database.version().epoch);
        self.copy_outlook.store(epoch << 8 | progress << 1 | broken, Ordering::Relaxed);
    }

    /// When the copy wants to be called next, if ever, and a number that changes when the log is to hear of it; both as of
    /// the last work on it.
    pub fn copy_outlook(&self) -> (Option<Moment>, u64) {
        let deadline = self.copy_deadline.load(Ordering::Relaxed);
        let deadline = (deadline != u64::MAX).then(|| Moment::from_micros(deadline));
        (deadline, self.copy_outlook.load(Ordering::Relaxed))
    }

    /// A timer of the votes has run out.
    pub fn on_election_time(&self, held: &mut Held<'_, Nothing>) -> Vec<Command> {
        self.election(held, |now, election| election.poll(now))
    }

    /// When it wants to be called next.
    pub fn election_deadline(&self, held: &mut Held<'_, Nothing>) -> Moment {
        self.election(held, |_, election| election.next_deadline())
    }

    /// A peer's beacon. A record in the answer is to be saved with [`ServerState::save_promise`] before the answer is sent.
    pub fn on_beacon(
        &self,
        held: &mut Held<'_, Nothing>,
        from: ServerId,
        series: u64,
        beacon: &Beacon,
    ) -> (Vote, Vec<Command>) {
        self.election(held, |now, election| election.on_beacon(now, from, series, beacon))
    }

    /// What a refusal tells `from`.
    pub fn agreeable(&self, held: &mut Held<'_, Nothing>, from: ServerId) -> Option<EpochRange> {
        self.election(held, |now, election| election.agreeable(now, from))
    }

    /// The answer to a beacon of this server's.
    pub fn on_vote(
        &self,
        held: &mut Held<'_, Nothing>,
        from: ServerId,
        number: u64,
        reply: ubik_proto::election::beacon::VoteReply,
    ) -> Vec<Command> {
        self.election(held, |now, election| election.on_vote(now, from, number, reply))
    }

    /// The answer to a probe.
    pub fn on_probe(&self, held: &mut Held<'_, Nothing>, peer: ServerId, answered: bool) -> Vec<Command> {
        self.election(held, |now, election| election.on_probe(now, peer, answered))
    }

    /// A peer is up, as another database of this process has found.
    pub fn on_peer_seen(&self, held: &mut Held<'_, Nothing>, peer: ServerId) -> Vec<Command> {
        self.election(held, |now, election| election.on_peer_seen(now, peer))
    }

    /// Makes a promise safe; no lock is held meanwhile.
    ///
    /// Returns whether the yes that waits for it may be sent.
    ///
    /// # Errors
    /// Those of the store: the yes must not be sent, and does not bind.
    pub fn save_promise(&self, held: &mut Held<'_, Nothing>, record: PromiseRecord) -> std::io::Result<bool> {
        match self.database.save_promise(record.kept(&self.cell)) {
            Ok(true) => Ok(self.election(held, |_, election| election.on_promise_saved(record))),
            // A newer one is on disk.
            Ok(false) => Ok(false),
            Err(error) => {
                self.election(held, |now, election| election.on_promise_lost(now, record));
                Err(error)
            }
        }
    }

    /// This server's own vote is safe.
    pub fn on_own_vote_persisted(&self, held: &mut Held<'_, Nothing>, record: PromiseRecord) -> Vec<Command> {
        self.election(held, |now, election| election.on_own_vote_persisted(now, record))
    }

    /// See [`Election::resign`].
    pub fn resign(&self, held: &mut Held<'_, Nothing>) -> Vec<Command> {
        self.election(held, |now, election| election.resign(now, Resignation::Stopping))
    }

    /// Something that the votes' side wanted the database's side to know.
    pub fn on_event(&self, held: &mut Held<'_, Nothing>, event: Event) -> Vec<Effect> {
        self.replica(held, |replica, cx| replica.on_event(cx, event)).1
    }

    /// A timer of the database's side has run out.
    pub fn on_replica_time(&self, held: &mut Held<'_, Nothing>) -> Vec<Effect> {
        self.replica(held, |replica, cx| replica.on_time(cx)).1
    }

    /// When it wants to be called next, if ever.
    pub fn replica_deadline(&self, held: &mut Held<'_, Nothing>) -> Option<Moment> {
        self.replica(held, |replica, cx| replica.next_deadline(cx.now.moment)).0
    }

    /// A peer's call; not `SendFile`. Its answer is an effect of this or of a later event.
    pub fn on_call(
        &self,
        held: &mut Held<'_, Nothing>,
        from: ServerId,
        answer: AnswerId,
        call: DiskCall,
    ) -> Vec<Effect> {
        self.replica(held, |replica, cx| replica.on_call(cx, from, answer, call)).1
    }

    /// Does work of the disk, which takes as long as that takes. No lock is held meanwhile.
    pub fn work(&self, work: DiskWork) -> DiskDone {
        work.run(&self.database)
    }

    /// Work of the disk is done.
    pub fn on_disk(&self, held: &mut Held<'_, Nothing>, done: DiskDone) -> Vec<Effect> {
        let done = done.0.map_err(|error| DiskFailure(error.to_string()));
        self.replica(held, |replica, cx| replica.on_disk(cx, done)).1
    }

    /// A peer's `SendFile` of `version` begins: where its bytes go, or what the caller is told.
    pub fn receive(
        &self,
        held: &mut Held<'_, Nothing>,
        from: ServerId,
        version: Version,
    ) -> (Result<Box<dyn Replacement>, AbortCode>, Vec<Effect>) {
        if let Err(code) = self.replica(held, |replica, cx| replica.may_send(cx, from, version)).0 {
            return (Err(code), Vec::new());
        }
        match self.database.receive() {
            Ok(received) => (Ok(received), Vec::new()),
            Err(error) => {
                let failed = Effect::DiskFailed(format!("cannot receive a database: {error}"));
                (Err(AbortCode::IO), vec![failed])
            }
        }
    }

    /// A peer's `SendFile`, received whole into `received`. Its answer is an effect of this or of a later event.
    pub fn on_database(
        &self,
        held: &mut Held<'_, Nothing>,
        from: ServerId,
        answer: AnswerId,
        version: Version,
        received: Box<dyn Replacement>,
    ) -> Vec<Effect> {
        self.replica(held, |replica, cx| replica.on_database(cx, from, answer, version, received)).1
    }

    /// A peer says that it has started anew.
    pub fn on_peer_restarted(&self, held: &mut Held<'_, Nothing>, peer: ServerId) -> Vec<Effect> {
        self.replica(held, |replica, cx| replica.on_peer_restarted(cx, peer)).1
    }

    /// A peer's answer.
    pub fn on_reply(
        &self,
        held: &mut Held<'_, Nothing>,
        token: CallToken,
        reply: Result<Reply, CallError>,
    ) -> Vec<Effect> {
        self.replica(held, |replica, cx| replica.on_reply(cx, token, reply)).1
    }

    /// An application wants to read.
    pub fn begin_read(&self, held: &mut Held<'_, Nothing>, client: ClientId, kind: ReadKind) -> Vec<Effect> {
        self.replica(held, |replica, cx| replica.begin_read(cx, client, kind)).1
    }

    /// An application wants to write.
    pub fn begin_write(&self, held: &mut Held<'_, Nothing>, client: ClientId) -> Vec<Effect> {
        self.replica(held, |replica, cx| replica.begin_write(cx, client)).1
    }

    /// Its transaction is complete.
    pub fn commit(&self, held: &mut Held<'_, Nothing>, client: ClientId, written: Written) -> Vec<Effect> {
        self.replica(held, |replica, cx| replica.commit(cx, client, written)).1
    }

    /// It has lost interest, or aborts.
    pub fn abandon(&self, held: &mut Held<'_, Nothing>, client: ClientId) -> Vec<Effect> {
        self.replica(held, |replica, cx| replica.abandon(cx, client)).1
    }
}
