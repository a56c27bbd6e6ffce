//! One server's copy of the database: everything that is decided about it, and nothing that is done.
//!
//! A commit passes through the files in this order:
//!
//! * `writers`: whose turn it is to write; [`outputs`]: what the world is asked for and what it tells;
//! * `commit`: the commit as a value, and at its head the numbered steps with what a crash leaves at each;
//! * `spread`: the sync site tells the servers in step; `follower`: what each of those does for it, and the fence;
//! * `disk`: one piece of the disk's work at a time, and what waits for it;
//! * `decide`: when the sync site logs, when a quorum has it, when no lease is in its way; then it is revealed;
//! * `readers`: what may be read, here and now.
//!
//! Before its first commit a new sync site goes through `recover`, as [`recovery`]'s table says. `sync_site` is what it knows
//! for as long as its mandate lasts; [`remote`] is the transaction that another sync site runs here.
//!
//! [`Replica`] touches no disk, lock, clock or thread: peers' calls, replies, clients' requests, the end of the disk's work and
//! the time are arguments of its `on_` functions, and what is to be done comes out in [`Context::outputs`], in order. Whoever
//! calls one has the election locked together with the copy, so each decision sees one state of both; what votes tell the copy
//! comes as [`Event`]s, so that votes never wait for it. Each function ends in `settle`, which does whatever the new state allows.

mod commit;
mod decide;
mod disk;
mod follower;
pub mod outputs;
mod readers;
mod recover;
pub mod recovery;
pub mod remote;
mod spread;
mod sync_site;
mod writers;

use std::collections::{BTreeMap, VecDeque};

use crate::cell::{Cell, ServerId, ServerSet};
use crate::election::{Command, Election, Event, Standing};
use crate::messages::DiskCall;
use crate::plant::{Fault, planted};
use crate::profile::Profile;
use crate::time::{Moment, Now};
use crate::version::{TransactionId, Version};

use self::disk::{Deferred, Work};
use self::outputs::{CallError, CallToken, ClientId, Output, Reply, Told, WriteError};
use self::remote::Remote;

use self::sync_site::Purpose;
pub use self::sync_site::SyncSite;

/// What an `on_` function works with: the time, the votes, and where its outputs go.
#[derive(Debug)]
pub struct Context<'a, R> {
    /// Read after the copy was locked.
    pub now: Now,
    /// The votes of this server for this database.
    pub election: &'a mut Election,
    /// What is to be done, in order.
    pub outputs: Vec<Output<R>>,
}

impl<'a, R> Context<'a, R> {
    /// The context of one input.
    pub fn new(now: Now, election: &'a mut Election) -> Self {
        Context { now, election, outputs: Vec::new() }
    }

    pub(crate) fn tell(&mut self, client: ClientId, told: Told) {
        self.outputs.push(Output::Tell(client, told));
    }

    pub(crate) fn extend(&mut self, commands: Vec<Command>) {
        self.outputs.extend(commands.into_iter().map(Output::Election));
    }
}

/// One server's copy. `R` is a database that was received whole.
#[derive(Clone, Debug)]
pub struct Replica<R> {
    cell: Cell,
    profile: Profile,
    bootstrap: bool,
    /// The newest version that is durable here, decided or not: what this server tells others.
    tail: Version,
    /// What readers see; nothing, until a quorum has confirmed what was found at start.
    visible: Option<Version>,
    remote: Remote,
    role: Option<SyncSite>,
    /// Writers that wait for their turn, in order.
    writers: VecDeque<ClientId>,
    readers: Vec<ClientId>,
    /// What the disk is at, and what follows from it.
    work: Option<Work>,
    /// What has come since that began and must not overtake it.
    deferred: VecDeque<Deferred<R>>,
    calls: BTreeMap<CallToken, Outstanding>,
    next_token: u64,
}

/// A call to a peer whose answer is awaited.
#[derive(Clone, Debug)]
struct Outstanding {
    to: ServerId,
    /// The mandate it was made under.
    epoch: u32,
    purpose: Purpose,
}

impl<R> Replica<R> {
    /// The copy of a server that starts, and whose disk holds `tail`.
    pub fn new(cell: Cell, profile: Profile, bootstrap: bool, tail: Version) -> Self {
        Replica {
            cell,
            profile,
            bootstrap,
            tail,
            visible: None,
            remote: Remote::default(),
            role: None,
            writers: VecDeque::new(),
            readers: Vec::new(),
            work: None,
            deferred: VecDeque::new(),
            calls: BTreeMap::new(),
            next_token: 0,
        }
    }

    /// Something happened to votes or promises.
    pub fn on_event(&mut self, cx: &mut Context<'_, R>, event: Event) {
        if self.disk_is_busy() {
            return self.defer_event(event);
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
            Event::Down { peer } => self.forget(peer),
        }
        self.settle(cx);
    }

    /// The promise went to another server, or to the same in another epoch. The event may be late: look at the promise.
    fn follows(&mut self, cx: &mut Context<'_, R>) {
        let running = self.remote.current().unwrap_or_default();
        if let Some(host) = cx.election.voter().promised_to() {
            self.remote.check_stale(host, running);
        }
    }

    /// The sync site vouches for `version`: if that is the tail, it was committed.
    fn heard(
        &mut self,
        cx: &mut Context<'_, R>,
        host: ServerId,
        version: Version,
        transaction: TransactionId,
    ) {
        self.remote.check_stale(host, transaction);
        let established =
            version.epoch == transaction.epoch || !self.cell.server(host).dialect.keeps_epochs();
        let listened_to = cx.election.voter().promised_to() == Some(host);
        if established && listened_to && version == self.tail && self.is_pending() {
            self.reveal(cx);
        }
    }

    fn elected(&mut self, cx: &mut Context<'_, R>, epoch: u32) {
        // The event may come after that of the mandate's end, from another thread, and after that of the next election.
        if cx.election.standing() != (Standing::SyncSite { epoch }) {
            return;
        }
        self.drop_role(cx);
        self.remote.clear();
        self.role = Some(SyncSite::new(&self.cell, epoch, self.bootstrap));
    }

    fn stepped_down(&mut self, cx: &mut Context<'_, R>, epoch: u32) {
        if self.role.as_ref().is_some_and(|role| role.epoch() == epoch) {
            self.drop_role(cx);
        }
    }

    /// Everything that ran as sync site ends; what was logged and not committed is undecided.
    fn drop_role(&mut self, cx: &mut Context<'_, R>) {
        if let Some(role) = self.role.take() {
            role.end(cx);
        }
        let sync_site = self.sync_site(cx);
        for client in std::mem::take(&mut self.writers) {
            cx.tell(client, Told::WriteFailed(WriteError::NotSyncSite { sync_site }));
        }
    }

    /// A peer answered a call, or did not.
    pub fn on_reply(
        &mut self,
        cx: &mut Context<'_, R>,
        token: CallToken,
        reply: Result<Reply<R>, CallError>,
    ) {
        let Some(call) = self.calls.remove(&token) else {
            return;
        };
        if matches!(reply, Err(CallError::Unreachable)) {
            cx.election.on_peer_failed(cx.now, call.to);
        }
        if self.role.as_ref().is_some_and(|role| role.epoch() == call.epoch) {
            self.peer_answered(cx, call, reply);
        }
        self.settle(cx);
    }

    /// A peer says that it has started anew: nothing that was known of it holds.
    pub fn on_peer_restarted(&mut self, cx: &mut Context<'_, R>, peer: ServerId) {
        self.forget(peer);
        self.settle(cx);
    }

    fn forget(&mut self, peer: ServerId) {
        if let Some(role) = &mut self.role {
            role.recovery.forget(peer);
        }
    }

    /// Time has passed.
    pub fn on_time(&mut self, cx: &mut Context<'_, R>) {
        self.settle(cx);
    }

    /// When [`Replica::on_time`] is wanted.
    pub fn next_deadline(&self, now: Moment) -> Option<Moment> {
        self.role.as_ref().and_then(|role| role.next_deadline(now))
    }

    /// The application has lost interest in a read that has not begun, or in a write, begun or not.
    pub fn abandon(&mut self, cx: &mut Context<'_, R>, client: ClientId) {
        self.readers.retain(|&reader| reader != client);
        self.writers.retain(|&writer| writer != client);
        if let Some(role) = &mut self.role {
            role.abandon(client);
        }
        self.settle(cx);
    }

    /// Does what the state allows.
    fn settle(&mut self, cx: &mut Context<'_, R>) {
        self.settle_role(cx);
        self.settle_readers(cx);
    }

    fn call(&mut self, cx: &mut Context<'_, R>, epoch: u32, to: ServerId, purpose: Purpose, call: DiskCall) {
        let token = self.token(epoch, to, purpose);
        cx.outputs.push(Output::Call { to, token, call });
    }

    fn token(&mut self, epoch: u32, to: ServerId, purpose: Purpose) -> CallToken {
        self.next_token += 1;
        let token = CallToken(self.next_token);
        self.calls.insert(token, Outstanding { to, epoch, purpose });
        token
    }

    /// Makes the tail what readers see.
    fn reveal(&mut self, cx: &mut Context<'_, R>) {
        self.visible = Some(self.tail);
        cx.outputs.push(Output::Reveal(self.tail));
    }

    /// Whether the tail is not what readers see.
    fn is_pending(&self) -> bool {
        self.visible != Some(self.tail)
    }

    /// The cell.
    pub fn cell(&self) -> &Cell {
        &self.cell
    }

    /// The newest version that is durable here, decided or not.
    pub fn tail(&self) -> Version {
        self.tail
    }

    /// What readers see, if anything.
    pub fn visible(&self) -> Option<Version> {
        self.visible
    }

    /// What this server does as sync site, if it is one.
    pub fn role(&self) -> Option<&SyncSite> {
        self.role.as_ref()
    }

    /// The transaction that the sync site runs here.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    fn sync_site(&self, cx: &Context<'_, R>) -> Option<ServerId> {
        cx.election.sync_site(cx.now.moment)
    }

    /// The peers that are up and have promised this mandate.
    fn voted(&self, cx: &Context<'_, R>) -> ServerSet {
        let counts = |&id: &ServerId| cx.election.has_vote_of(id) || planted(Fault::VersionsOfTheUnbound);
        self.cell.peers().filter(counts).collect()
    }
}
