//! The thread that answers reads from this server's copy, while it holds a lease; otherwise it has the sync site do so.
//!
//! A snapshot that was taken after a read came shows every write that was acknowledged before it (Ubik's lease: no commit
//! is acknowledged while a server that lacks it may vouch for its copy), so one snapshot serves all reads that wait. It is
//! of committed bytes, and nothing that a commit does waits for it or is waited for, but one thing: a follower that has
//! been told to commit, and not yet whether that was decided, waits for that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kv::{StepError, View};
use ubik::application::BeginError;
use ubik::driver::Server;
use ubik::effect::{ReadError, ReadKind};
use ubik::snapshot::Snapshot;
use ubik_proto::cell::ServerId;
use ubik_proto::version::Version;

use crate::clock::CellClock;
use crate::pages::OpenImage;
use crate::peers::{Peers, Sent};
use crate::plant::{Fault, planted};
use crate::queue::{Item, Queue, Work, fail};
use crate::wire::{MANY_BYTES, MOST_STEPS};

/// How long a read waits for a commit to be decided before the thread looks again.
const BEGIN: Duration = Duration::from_millis(500);
/// The pause before reads are tried again that nobody can answer now.
const PAUSE: Duration = Duration::from_millis(10);
/// How long the thread sleeps when nothing comes.
const IDLE: Duration = Duration::from_secs(1);

/// What the thread works with.
pub struct Reader {
    /// The Ubik server.
    pub server: Arc<Server>,
    /// This server.
    pub me: ServerId,
    /// What waits.
    pub queue: Arc<Queue>,
    /// Where reads go that meet a key whose time has come: it has to be removed.
    pub writes: Arc<Queue>,
    /// The way to the sync site.
    pub peers: Arc<Peers>,
    /// The cell's clock.
    pub clock: Arc<CellClock>,
    /// How long a read may wait for somebody who can answer it.
    pub patience: Duration,
    /// The image, and the version that it is of.
    pub image: OpenImage,
    /// `None` before the first.
    pub version: Option<Version>,
}

impl Reader {
    /// The thread: until the queue is closed.
    pub fn run(mut self) {
        loop {
            match self.queue.take(MOST_STEPS, MANY_BYTES, IDLE) {
                Work::Steps(items) => self.serve(items),
                Work::Nothing => {}
                Work::End => return,
            }
        }
    }

    /// Sees these reads to their end.
    fn serve(&mut self, mut items: Vec<Item>) {
        loop {
            let mut last;
            let kind = if planted(Fault::LeaseNotChecked) { ReadKind::Any } else { ReadKind::Newest };
            match self.server.begin_read(kind, BEGIN) {
                Ok(transaction) => return self.answer(transaction.snapshot(), items),
                Err(error) => {
                    let sync_site = match &error {
                        BeginError::Read(ReadError::NoLease { sync_site }) => *sync_site,
                        // A commit is being decided for long: the sync site shows what was before it.
                        _ => self.server.sync_site(),
                    };
                    last = error.to_string();
                    items = self.elsewhere(sync_site, items, &mut last);
                }
            }
            let now = Instant::now();
            let over = |item: &Item| now.saturating_duration_since(item.since) > self.patience;
            let (over, left): (Vec<Item>, Vec<Item>) = items.into_iter().partition(over);
            fail(over, &StepError::Unavailable(format!("{last}; try again")));
            if left.is_empty() {
                return;
            }
            items = left;
            std::thread::sleep(PAUSE);
        }
    }

    /// Answers from a snapshot.
    fn answer(&mut self, snapshot: &Snapshot, items: Vec<Item>) {
        if self.version != Some(snapshot.version()) {
            if let Err(error) = self.image.at(&snapshot.clone().into()) {
                self.version = None;
                return fail(items, &StepError::Refused(error.to_string()));
            }
            self.version = Some(snapshot.version());
        }
        let Some(database) = self.image.current() else {
            return fail(items, &StepError::Unavailable("there is no image yet; try again".to_owned()));
        };
        let now = self.clock.now();
        for item in items {
            match kv::read(&item.step, &mut View::new(database), now) {
                Ok(Some(reply)) => item.answer(Ok(reply)),
                Ok(None) => self.writes.push(item),
                Err(error) => item.answer(Err(error)),
            }
        }
    }

    /// Has the sync site answer those that came here first; what is left was not answered.
    fn elsewhere(&self, sync_site: Option<ServerId>, items: Vec<Item>, last: &mut String) -> Vec<Item> {
        let (of_peers, own): (Vec<Item>, Vec<Item>) =
            items.into_iter().partition(|item| item.from_peer.is_some());
        fail(of_peers, &StepError::Unavailable(last.clone()));
        let site = sync_site.filter(|&site| site != self.me).or_else(|| self.peers.next_other());
        let Some(site) = site.filter(|_| !own.is_empty()) else {
            return own;
        };
        let outcomes = match self.queue.while_forwarding(|| self.peers.carry_out(site, &own)) {
            Sent::Answered(outcomes) => outcomes,
            Sent::Unsent(why) | Sent::Lost(why) => {
                *last = why;
                return own;
            }
        };
        let mut left = Vec::new();
        for (item, outcome) in own.into_iter().zip(outcomes) {
            match outcome {
                Err(StepError::Unavailable(why)) => {
                    *last = why;
                    left.push(item);
                }
                outcome => item.answer(outcome),
            }
        }
        left
    }
}
