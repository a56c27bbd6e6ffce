//! One server's copy of the database, under the database lock.
//!
//! [`Replica`] is the follower's side (the calls of the sync site are in `disk_service`), the readers who wait, and,
//! while this server is sync site, [`SyncSite`]. Everything that happens comes in through one of its `on_` functions;
//! each ends in [`Replica::settle`], which does whatever the new state allows.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use ubik_proto::cell::{Cell, Dialect, ServerId, ServerSet};
use ubik_proto::election::{Election, Event, Standing};
use ubik_proto::messages::DiskCall;
use ubik_proto::plant::{Fault, planted};
use ubik_proto::profile::Profile;
use ubik_proto::remote::Remote;
use ubik_proto::time::{Moment, Now};
use ubik_proto::version::{TransactionId, Version};

use crate::database::Database;
use crate::disk_work::{DiskDone, DiskWork};
use crate::effect::{
    AnswerId, CallError, CallToken, ClientEvent, ClientId, Effect, ReadError, ReadKind, Reply, WriteError,
};
use crate::locks::{DatabaseLock, ElectionLock, Guard, Held, Ordered};
use crate::phys::Replacement;
use crate::server_state::Outbox;
use crate::snapshot::Snapshot;
use crate::sync_site::{Purpose, SyncSite};

/// What an `on_` function works with: the time, the votes, and where its effects go.
pub struct Context<'a, 'h> {
    /// Read after the database lock was taken.
    pub now: Now,
    election: &'a Ordered<ElectionLock, Election>,
    held: &'a mut Held<'h, DatabaseLock>,
    /// What is to be done, in order.
    pub effects: Vec<Effect>,
    outbox: Option<&'a Outbox>,
}

impl<'a, 'h> Context<'a, 'h> {
    /// The context of one event.
    pub fn new(
        now: Now,
        election: &'a Ordered<ElectionLock, Election>,
        held: &'a mut Held<'h, DatabaseLock>,
        outbox: Option<&'a Outbox>,
    ) -> Self {
        Context { now, election, held, effects: Vec::new(), outbox }
    }

    /// Lets the calls that were decided leave, in that order; without an outbox they leave with the rest.
    pub(crate) fn post_now(&mut self) {
        if let Some(outbox) = self.outbox {
            self.effects = std::mem::take(&mut self.effects).into_iter().filter_map(outbox).collect();
        }
    }

    /// The votes, locked; let go of it before any I/O.
    pub fn election(&mut self) -> Guard<'_, ElectionLock, Election> {
        self.election.lock(self.held)
    }

    pub(crate) fn tell(&mut self, client: ClientId, event: ClientEvent) {
        self.effects.push(Effect::Client(client, event));
    }
}

/// One server's copy.
pub struct Replica {
    pub(crate) cell: Cell,
    pub(crate) profile: Profile,
    pub(crate) bootstrap: bool,
    pub(crate) database: Arc<Database>,
    pub(crate) remote: Remote,
    pub(crate) role: Option<SyncSite>,
    /// Writers that wait for their turn, in order.
    pub(crate) writers: VecDeque<ClientId>,
    readers: Vec<ClientId>,
    /// What follows the work of the disk that is under way.
    then: Option<Then>,
    /// What has come since that work began and must not overtake it.
    deferred: VecDeque<Deferred>,
    pub(crate) calls: HashMap<CallToken, Outstanding>,
    next_token: u64,
}

/// A call to a peer whose answer is awaited.
#[derive(Debug)]
pub(crate) struct Outstanding {
    pub(crate) to: ServerId,
    /// The mandate it was made under.
    pub(crate) epoch: u32,
    pub(crate) purpose: Purpose,
}

/// What is done when the disk has done its work.
#[derive(Debug)]
pub(crate) enum Then {
    /// This sync site's own commit is in its log.
    OwnCommit,
    /// The adopted database has this mandate's label; it had this one.
    OwnLabel(Version),
    /// A newer database, which was fetched, is in place.
    Adopted,
    /// A peer's call moved the database from one version to another.
    Moved(AnswerId, Version, Version),
    /// A peer's database is in place.
    Placed(AnswerId),
}

/// What waits for the disk.
#[derive(Debug)]
enum Deferred {
    Event(Event),
    Call(ServerId, AnswerId, DiskCall),
    Database(ServerId, AnswerId, Version, Box<dyn Replacement>),
}

impl Replica {
    /// The copy in `database`.
    pub fn new(cell: Cell, profile: Profile, bootstrap: bool, database: Arc<Database>) -> Self {
        Replica {
            cell,
            profile,
            bootstrap,
            database,
            remote: Remote::default(),
            role: None,
            writers: VecDeque::new(),
            readers: Vec::new(),
            then: None,
            deferred: VecDeque::new(),
            calls: HashMap::new(),
            next_token: 0,
        }
    }

    /// Whether the disk works on this copy. What the copy holds is not known then: nobody is told its version, it is no
    /// sync site anew, and nothing is decided that depends on it.
    pub(crate) fn disk_is_busy(&self) -> bool {
        self.then.is_some()
    }

    pub(crate) fn start_disk(&mut self, cx: &mut Context<'_, '_>, work: DiskWork, then: Then) {
        assert!(self.then.is_none(), "one piece of work at a time");
        self.then = Some(then);
        cx.effects.push(Effect::Disk(work));
    }

    /// The disk has done its work: what follows from it, and then whatever waited, in the order in which it came.
    pub fn on_disk(&mut self, cx: &mut Context<'_, '_>, done: DiskDone) {
        let Some(then) = self.then.take() else { return };
        match then {
            Then::OwnCommit => self.own_commit_logged(cx, done.0),
            Then::OwnLabel(old) => self.own_label_written(cx, old, done.0),
            Then::Adopted => self.adopted(cx, done.0),
            Then::Moved(answer, old, new) => self.moved(cx, answer, (old, new), done.0),
            Then::Placed(answer) => self.placed(cx, answer, done.0),
        }
        self.settle(cx);
        while let (false, Some(next)) = (self.disk_is_busy(), self.deferred.pop_front()) {
            match next {
                Deferred::Event(event) => self.on_event(cx, event),
                Deferred::Call(from, answer, call) => self.on_call(cx, from, answer, call),
                Deferred::Database(from, answer, version, received) => {
                    self.on_database(cx, from, answer, version, received);
                }
            }
        }
    }

    /// Keeps a peer's call until the disk is done.
    pub(crate) fn defer_call(&mut self, from: ServerId, answer: AnswerId, call: DiskCall) {
        self.deferred.push_back(Deferred::Call(from, answer, call));
    }

    /// As [`Replica::defer_call`], for a database that was received.
    pub(crate) fn defer_database(
        &mut self,
        from: ServerId,
        answer: AnswerId,
        version: Version,
        received: Box<dyn Replacement>,
    ) {
        self.deferred.push_back(Deferred::Database(from, answer, version, received));
    }

    /// Something happened to votes or promises.
    pub fn on_event(&mut self, cx: &mut Context<'_, '_>, event: Event) {
        if self.disk_is_busy() {
            // The newest of a kind says it all, so a disk that hangs gathers no heap of them.
            self.deferred.retain(|old| !matches!(old, Deferred::Event(old) if old.is_outdated_by(&event)));
            self.deferred.push_back(Deferred::Event(event));
            return;
        }
        match event {
            Event::Elected { epoch } => self.elected(cx, epoch),
            Event::SteppedDown { epoch } => self.stepped_down(cx, epoch),
            Event::Follows { .. } => self.follows(cx),
            Event::Heard { host, version, transaction } => self.heard(cx, host, version, transaction),
            Event::Voted { peer } => {
                self.unbound_voted(cx, peer);
                self.beginner_told(peer);
            }
            Event::Down { peer } => {
                if let Some(role) = &mut self.role {
                    role.recovery.forget(peer);
                }
            }
        }
        self.settle(cx);
    }

    /// The promise went to another server, or to the same in another epoch. The event may be late: look at the promise.
    fn follows(&mut self, cx: &mut Context<'_, '_>) {
        let running = self.remote.current().unwrap_or_default();
        if let Some(host) = cx.election().voter().promised_to() {
            self.remote.check_stale(host, running);
        }
    }

    /// The sync site vouches for `version`: if that is the tail, it was committed.
    fn heard(
        &mut self,
        cx: &mut Context<'_, '_>,
        host: ServerId,
        version: Version,
        transaction: TransactionId,
    ) {
        self.remote.check_stale(host, transaction);
        let established =
            version.epoch == transaction.epoch || self.cell.server(host).dialect == Dialect::OpenAfs;
        let listened_to = cx.election().voter().promised_to() == Some(host);
        if established && listened_to && version == self.database.version() && self.database.is_pending() {
            self.database.reveal();
        }
    }

    fn elected(&mut self, cx: &mut Context<'_, '_>, epoch: u32) {
        self.drop_role(cx);
        // The event may come after that of the mandate's end, from another thread.
        if cx.election().standing() != (Standing::SyncSite { epoch }) {
            return;
        }
        self.remote.clear();
        self.role = Some(SyncSite::new(&self.cell, epoch, self.bootstrap));
    }

    fn stepped_down(&mut self, cx: &mut Context<'_, '_>, epoch: u32) {
        if self.role.as_ref().is_some_and(|role| role.epoch() == epoch) {
            self.drop_role(cx);
        }
    }

    /// Everything that ran as sync site ends; what was logged and not committed is undecided.
    fn drop_role(&mut self, cx: &mut Context<'_, '_>) {
        if let Some(role) = self.role.take() {
            role.end(cx);
        }
        let sync_site = self.sync_site(cx);
        for client in std::mem::take(&mut self.writers) {
            cx.tell(client, ClientEvent::WriteFailed(WriteError::NotSyncSite { sync_site }));
        }
    }

    pub(crate) fn sync_site(&self, cx: &mut Context<'_, '_>) -> Option<ServerId> {
        let now = cx.now.moment;
        cx.election().sync_site(now)
    }

    /// A peer answered a call.
    pub fn on_reply(&mut self, cx: &mut Context<'_, '_>, token: CallToken, reply: Result<Reply, CallError>) {
        let Some(call) = self.calls.remove(&token) else {
            return;
        };
        if matches!(reply, Err(CallError::Unreachable)) {
            let now = cx.now;
            cx.election().on_peer_failed(now, call.to);
        }
        if self.role.as_ref().is_some_and(|role| role.epoch() == call.epoch) {
            self.peer_answered(cx, call, reply);
        }
        self.settle(cx);
    }

    /// A peer says that it has started anew: nothing that was known of it holds.
    pub fn on_peer_restarted(&mut self, cx: &mut Context<'_, '_>, peer: ServerId) {
        if let Some(role) = &mut self.role {
            role.recovery.forget(peer);
        }
        self.settle(cx);
    }

    /// Time has passed.
    pub fn on_time(&mut self, cx: &mut Context<'_, '_>) {
        self.settle(cx);
    }

    /// When [`Replica::on_time`] is wanted.
    pub fn next_deadline(&self, now: Moment) -> Option<Moment> {
        self.role.as_ref().and_then(|role| role.next_deadline(now))
    }

    /// An application wants to read.
    pub fn begin_read(&mut self, cx: &mut Context<'_, '_>, client: ClientId, kind: ReadKind) {
        let outcome = match kind {
            ReadKind::Any => Some(self.database.visible().ok_or(ReadError::Unconfirmed)),
            ReadKind::Newest => self.newest(cx),
        };
        match outcome {
            Some(outcome) => answer_reader(cx, client, outcome),
            None => self.readers.push(client),
        }
    }

    /// The newest committed state, if this server can vouch for it; `None` if that is about to be decided.
    fn newest(&self, cx: &mut Context<'_, '_>) -> Option<Result<Snapshot, ReadError>> {
        let now = cx.now.moment;
        let visible = self.database.visible();
        let (serves, leased) = {
            let election = cx.election();
            (election.holds_mandate(now), election.voter().may_read(now))
        };
        let established = self.role.as_ref().is_some_and(SyncSite::is_established);
        if established && serves {
            return Some(visible.ok_or(ReadError::Unconfirmed));
        }
        let sync_site = self.sync_site(cx);
        match leased {
            Some(version) if version == self.database.version() || planted(Fault::ReadsBehind) => {
                if self.database.is_pending() { None } else { Some(visible.ok_or(ReadError::Unconfirmed)) }
            }
            // A beacon came while the commit after that version is being decided.
            Some(version) if visible.is_some() && version.next() == Some(self.database.version()) => None,
            _ => Some(Err(ReadError::NoLease { sync_site })),
        }
    }

    /// The application has lost interest in a read that has not begun, or in a write, begun or not.
    pub fn abandon(&mut self, cx: &mut Context<'_, '_>, client: ClientId) {
        self.readers.retain(|&reader| reader != client);
        self.writers.retain(|&writer| writer != client);
        if let Some(role) = &mut self.role {
            role.abandon(client);
        }
        self.settle(cx);
    }

    /// Does what the state allows.
    pub(crate) fn settle(&mut self, cx: &mut Context<'_, '_>) {
        self.settle_role(cx);
        for client in std::mem::take(&mut self.readers) {
            match self.newest(cx) {
                Some(outcome) => answer_reader(cx, client, outcome),
                None => self.readers.push(client),
            }
        }
    }

    pub(crate) fn call(
        &mut self,
        cx: &mut Context<'_, '_>,
        epoch: u32,
        to: ServerId,
        purpose: Purpose,
        call: DiskCall,
    ) {
        let token = self.token(epoch, to, purpose);
        cx.effects.push(Effect::Call { to, token, call });
    }

    pub(crate) fn token(&mut self, epoch: u32, to: ServerId, purpose: Purpose) -> CallToken {
        self.next_token += 1;
        let token = CallToken(self.next_token);
        self.calls.insert(token, Outstanding { to, epoch, purpose });
        token
    }

    /// After a failure of the own disk, a full one too: a sync site that cannot log gives its mandate up, so that one that
    /// can takes over.
    pub(crate) fn note_disk_failure(&mut self, cx: &mut Context<'_, '_>, error: &dyn std::fmt::Display) {
        let now = cx.now;
        cx.effects.push(Effect::DiskFailed(error.to_string()));
        let commands = cx.election().resign(now);
        cx.effects.extend(commands.into_iter().map(Effect::Election));
    }

    /// The cell.
    pub fn cell(&self) -> &Cell {
        &self.cell
    }

    /// The copy.
    pub fn database(&self) -> &Arc<Database> {
        &self.database
    }

    /// What this server does as sync site, if it is one.
    pub fn role(&self) -> Option<&SyncSite> {
        self.role.as_ref()
    }

    /// The transaction that the sync site runs here.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// The peers that are up and have promised this mandate.
    pub(crate) fn voted(&self, cx: &mut Context<'_, '_>) -> ServerSet {
        let election = cx.election();
        self.cell
            .peers()
            .filter(|&id| election.has_vote_of(id) || planted(Fault::VersionsOfTheUnbound))
            .collect()
    }
}

fn answer_reader(cx: &mut Context<'_, '_>, client: ClientId, outcome: Result<Snapshot, ReadError>) {
    match outcome {
        Ok(snapshot) => cx.tell(client, ClientEvent::ReadBegun(snapshot)),
        Err(error) => cx.tell(client, ClientEvent::ReadFailed(error)),
    }
}
