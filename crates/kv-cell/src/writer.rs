//! The thread that carries writes out: at the sync site itself, many in one transaction; elsewhere by sending them there.
//!
//! One thread, so that steps happen in the order in which they came, wherever. All that wait are taken together: one
//! transaction of the engine over one snapshot of the Ubik database, one commit for all of them, and while that runs the
//! next ones gather.
//!
//! A commit that is not known to have happened is told so to every step in it that writes, and nothing is tried again; what
//! was certainly undone is tried again until the steps' patience ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kv::{Clocks, Image, Keyspace, StepError, StorageError, carry_out};
use tdb::Changes;
use ubik::application::{BeginError, ChangeError, CommitError};
use ubik::driver::Server;
use ubik::effect::WriteError;
use ubik::overlay::View;
use ubik_proto::cell::ServerId;
use ubik_proto::version::Version;

use crate::clock::CellClock;
use crate::pages::{self, OpenImage};
use crate::peers::{Peers, Sent};
use crate::plant;
use crate::queue::{Item, Queue, Work, elsewhere, fail};
use crate::timetable::Timetable;
use crate::wire::{MANY_BYTES, MOST_STEPS, Outcomes};

/// How long a commit may take before its steps are told that it is undecided. The server itself says so earlier, when its
/// mandate ends.
const COMMIT: Duration = Duration::from_secs(30);
/// How long a transaction may wait for its turn, before the thread looks again who is sync site.
const BEGIN: Duration = Duration::from_millis(500);
/// The pause before something is tried again that could not be begun: elections take longer.
const PAUSE: Duration = Duration::from_millis(20);
/// How often a sync site without work looks for what is due.
const IDLE: Duration = Duration::from_millis(250);
/// While keys expire, the clock is committed so often, for servers that start anew from their disks.
const KEEP_CLOCK: u64 = 5_000;
/// The most expired keys that one transaction removes beside what its steps do.
const MOST_DUE: usize = 1_000;

/// What the thread works with.
pub struct Writer {
    /// The Ubik server.
    pub server: Arc<Server>,
    /// This server.
    pub me: ServerId,
    /// What waits.
    pub queue: Arc<Queue>,
    /// The way to the sync site.
    pub peers: Arc<Peers>,
    /// The cell's clock.
    pub clock: Arc<CellClock>,
    /// How many bytes the database may have.
    pub quota: u64,
    /// How long a step may wait for a sync site.
    pub patience: Duration,
    /// The image as the last transaction found it.
    pub image: OpenImage,
    /// `None` while this server is not known to be sync site.
    pub office: Option<Office>,
}

/// What a sync site keeps from one transaction to the next.
pub struct Office {
    /// The version that its last commit made, or that it found.
    version: Version,
    timetable: Timetable,
    /// The clock as it was committed last.
    clock: u64,
}

/// Why steps were not carried out here.
enum Failed {
    /// Another server is sync site, or none is known.
    NotHere(Option<ServerId>),
    /// Nothing was done; it may be tried again.
    Undone(String),
    /// Nothing was done; there are too many changes for one commit.
    TooLarge,
    /// Nothing was done; the image cannot be used.
    Broken(String),
    /// It may have happened.
    Undecided(String),
}

impl From<StorageError> for Failed {
    fn from(error: StorageError) -> Failed {
        Failed::Broken(error.to_string())
    }
}

impl Writer {
    /// The thread: until the queue is closed.
    pub fn run(mut self) {
        loop {
            match self.queue.take(MOST_STEPS, MANY_BYTES, self.until_due()) {
                Work::Steps(items) => self.serve(items),
                Work::Nothing => self.look_after_clock(),
                Work::End => return,
            }
        }
    }

    /// How long it may sleep when no step comes.
    fn until_due(&self) -> Duration {
        let next = self.office.as_ref().and_then(|office| office.timetable.next());
        let left = next.map(|at| Duration::from_millis((at + 1).saturating_sub(self.clock.now().cell)));
        left.unwrap_or(IDLE).min(IDLE)
    }

    /// Removes what is due, and commits the clock now and then.
    fn look_after_clock(&mut self) {
        if self.server.sync_site() != Some(self.me) {
            self.office = None;
            return;
        }
        let now = self.clock.now().cell;
        let idle = self.office.as_ref().is_some_and(|office| match office.timetable.next() {
            Some(next) => next >= now && now < office.clock + KEEP_CLOCK,
            None => true,
        });
        if !idle {
            // What could not be removed now is due the next time.
            let _ = self.carry_out_here(&[]);
        }
    }

    /// Sees these steps to their end.
    fn serve(&mut self, mut items: Vec<Item>) {
        let mut last = "no server is known to be sync site".to_owned();
        loop {
            items = self.without_hopeless(items, &last);
            if items.is_empty() {
                return;
            }
            match self.carry_out_here(&items) {
                Ok(outcomes) => {
                    return items.into_iter().zip(outcomes).for_each(|(item, outcome)| item.answer(outcome));
                }
                Err(Failed::NotHere(sync_site)) => {
                    items = refuse_peers(items);
                    let site = sync_site.filter(|&site| site != self.me);
                    if let Some(site) = site.or_else(|| self.peers.next_other())
                        && !items.is_empty()
                    {
                        items = self.send(site, items, &mut last);
                    }
                }
                Err(Failed::Undone(why)) => last = why,
                Err(Failed::TooLarge) if items.len() > 1 => {
                    return items.into_iter().for_each(|item| self.serve(vec![item]));
                }
                Err(Failed::TooLarge) => {
                    let text = "the command changes more than one commit can hold; split it".to_owned();
                    return fail(items, &StepError::Refused(text));
                }
                Err(Failed::Broken(why)) => return fail(items, &StepError::Refused(why)),
                Err(Failed::Undecided(why)) => return undecided(items, &why),
            }
            if !items.is_empty() {
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// Ends the steps whose patience is over, and those of a peer that must not overtake one that was refused.
    fn without_hopeless(&self, items: Vec<Item>, why: &str) -> Vec<Item> {
        let now = Instant::now();
        let hopeless = |item: &Item| {
            let refused = item.from_peer.as_ref().is_some_and(|together| together.is_refused());
            refused || now.saturating_duration_since(item.since) > self.patience
        };
        let (over, left): (Vec<Item>, Vec<Item>) = items.into_iter().partition(hopeless);
        let why = why.trim_end_matches("; nothing was done");
        fail(over, &StepError::Unavailable(format!("{why}; nothing was done, try again")));
        left
    }

    /// Has the sync site carry them out; what is left was not begun.
    fn send(&self, site: ServerId, items: Vec<Item>, last: &mut String) -> Vec<Item> {
        let outcomes = match self.queue.while_forwarding(|| self.peers.carry_out(site, &items)) {
            Sent::Answered(outcomes) => outcomes,
            Sent::Unsent(why) => {
                *last = why;
                return items;
            }
            Sent::Lost(why) => {
                undecided(items, &why);
                return Vec::new();
            }
        };
        let mut left = Vec::new();
        for (item, outcome) in items.into_iter().zip(outcomes) {
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

    /// Carries steps out in one transaction, with the removal of what is due; their outcomes when it is committed.
    fn carry_out_here(&mut self, items: &[Item]) -> Result<Outcomes, Failed> {
        let begun = self.server.begin_write(BEGIN);
        let mut transaction = begun.map_err(|error| {
            if !matches!(error, BeginError::TimedOut(_)) {
                self.office = None;
            }
            not_begun(error)
        })?;
        let base = transaction.base().clone();
        self.take_office(&base)?;
        let now = self.clock.now();
        let (outcomes, changes, noted) = self.in_image(&base, now, items)?;
        match changes {
            Some(changes) => {
                if base.length() == 0 {
                    transaction.write(&pages::empty_image()?).map_err(not_written)?;
                }
                pages::write(&mut transaction, &changes).map_err(not_written)?;
            }
            None if base.is_certain() => return Ok(outcomes),
            // What was read may not stay. It does if an empty commit after it does.
            None => {}
        }
        if plant::loses_commit() {
            return Ok(outcomes);
        }
        let office = self.office.take();
        let version = transaction.commit(COMMIT).map_err(not_committed)?;
        self.clock.committed(version);
        self.office = office.map(|mut office| {
            office.timetable.note(&noted);
            Office { version, clock: now.cell, ..office }
        });
        Ok(outcomes)
    }

    /// A sync site that finds another version than it left has been none meanwhile, or never before.
    fn take_office(&mut self, base: &View) -> Result<(), Failed> {
        let same = self.office.as_ref().is_some_and(|office| office.version == base.version());
        if same && base.is_certain() {
            return Ok(());
        }
        self.office = None;
        let mut view = kv::View::new(self.image.at(base)?);
        let keyspace = Keyspace::new(&mut view, Clocks::default())?;
        let totals = keyspace.totals();
        self.clock.observe(base.version(), totals);
        let timetable = Timetable::of(&keyspace)?;
        // What is not decided has no version yet; only the commit of what comes next gives it one.
        let version = if base.is_certain() { base.version() } else { Version::NONE };
        self.office = Some(Office { version, timetable, clock: totals.clock });
        Ok(())
    }

    /// Runs the steps on the image; what they changed, if anything.
    fn in_image(
        &mut self,
        base: &View,
        now: Clocks,
        items: &[Item],
    ) -> Result<(Outcomes, Option<Changes>, Vec<kv::keyspace::Change>), Failed> {
        let database = self.image.at(base)?;
        let chains = database.hash_size();
        let mut transaction = database.transaction().map_err(StorageError::engine)?;
        let mut image = Image::new(&mut transaction, chains);
        let mut keyspace = Keyspace::new(&mut image, now)?;
        keyspace.limit(self.quota);
        if let Some(office) = &self.office {
            for key in office.timetable.due(now.cell, MOST_DUE) {
                keyspace.begin_command();
                keyspace.expire(&key)?;
            }
            if office.timetable.next().is_some() && now.cell >= office.clock + KEEP_CLOCK {
                keyspace.keep_clock();
            }
        }
        let outcomes = items.iter().map(|item| carry_out(&item.step, &mut keyspace)).collect();
        let noted = keyspace.finish()?;
        let changes = transaction.into_changes().map_err(StorageError::engine)?;
        Ok((outcomes, Some(changes).filter(|changes| !changes.ranges.is_empty()), noted))
    }
}

/// Steps of other servers go no further: their own server knows where to send them.
fn refuse_peers(items: Vec<Item>) -> Vec<Item> {
    let (of_peers, own): (Vec<Item>, Vec<Item>) =
        items.into_iter().partition(|item| item.from_peer.is_some());
    of_peers.iter().for_each(Item::refuse_together);
    fail(of_peers, &elsewhere());
    own
}

/// What only reads has not happened, whatever became of the rest.
fn undecided(items: Vec<Item>, why: &str) {
    for item in items {
        let error = if item.step.writes() {
            StepError::Undecided(format!("{why}; the write may have happened or not"))
        } else {
            StepError::Unavailable(format!("{why}; try again"))
        };
        item.answer(Err(error));
    }
}

fn not_begun(error: BeginError) -> Failed {
    match error {
        BeginError::Write(WriteError::NotSyncSite { sync_site }) => Failed::NotHere(sync_site),
        error => Failed::Undone(error.to_string()),
    }
}

fn not_written(error: ChangeError) -> Failed {
    match error {
        ChangeError::TooLarge => Failed::TooLarge,
        error => Failed::Broken(error.to_string()),
    }
}

fn not_committed(error: CommitError) -> Failed {
    match error {
        CommitError::Failed(WriteError::NotSyncSite { sync_site }) => Failed::NotHere(sync_site),
        CommitError::Failed(error) => Failed::Undone(error.to_string()),
        CommitError::Undecided { .. } => Failed::Undecided(error.to_string()),
    }
}

#[cfg(test)]
#[path = "../../ubik/tests/shared/gate.rs"]
mod gate;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::mpsc::channel;

    use kv::{Body, Step};
    use rx::security::NullSecurity;
    use rx::{Port, PortConfig};
    use ubik::hosts::Hosts;
    use ubik::locks::Held;
    use ubik::over_rx::{RxTransport, Services};
    use ubik::server_state::Config;
    use ubik_proto::cell::{Cell, Dialect, Server as Member, ServerKind};
    use ubik_proto::profile::Profile;

    use super::gate::GatedStore;
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// The writer of a cell of one.
    fn writer(store: &GatedStore) -> Writer {
        let member = Member { address: 1, kind: ServerKind::Voter, dialect: Dialect::Quorate };
        let cell = Cell::new(vec![member], 1).unwrap();
        let (me, profile) = (cell.me(), Profile::brisk());
        let any = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        let port = Arc::new(Port::open(any, PortConfig::default()).unwrap());
        let hosts = Arc::new(Hosts::new([(me, port.local_addr().unwrap())].into(), vec![1]));
        let (services, security) = (Services::STOCK, Arc::new(NullSecurity));
        let transport =
            RxTransport::new(port.clone(), services, cell.clone(), hosts.clone(), security.clone(), &profile);
        let config = Config { cell, profile, cache_pages: 20, bootstrap: false };
        let server = Server::start(config, Arc::new(store.clone()), Arc::new(transport)).unwrap();
        let peers = Peers::new(Vec::new(), port.dialer(), hosts, services.application, security);
        Writer {
            server: Arc::new(server),
            me,
            queue: Arc::default(),
            peers: Arc::new(peers),
            clock: Arc::new(CellClock::new()),
            quota: 1 << 30,
            patience: PATIENCE,
            image: OpenImage::new(),
            office: None,
        }
    }

    fn item(text: &str) -> Item {
        let words = text.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        let protocol = resp::Version::Resp3;
        let step = Step { database: 0, body: Body::Command(words), watched: Vec::new(), protocol };
        Item::new(step, Box::new(|_| {}), None)
    }

    /// S5, U34, U35: what a step read over a commit that is not decided may not stay, so a step that changed nothing is answered
    /// only when a commit after that one is decided. (It was answered at once.)
    #[test]
    fn a_step_that_changes_nothing_waits_for_what_it_read() {
        let store = GatedStore::default();
        let mut writer = writer(&store);
        while writer.carry_out_here(&[item("set k 1")]).is_err() {
            std::thread::yield_now();
        }
        let closed = store.close();
        let server = writer.server.clone();
        let mut other = server.begin_write(PATIENCE).unwrap();
        let mut byte = [0];
        other.read(&mut byte).unwrap();
        other.seek(0);
        other.write(&byte).unwrap();
        let pending = other.submit();
        store.await_sync();
        std::thread::scope(|scope| {
            let (answered, answer) = channel();
            scope.spawn(move || answered.send(writer.carry_out_here(&[item("set k 2 nx")]).is_ok()));
            let waiting = || {
                let held = &mut Held::thread_entry();
                server.state().with_replica(held, |replica| replica.role().map_or(0, |role| role.waiting()))
            };
            while waiting() == 0 {
                assert!(answer.try_recv().is_err(), "answered before the commit below it was decided");
                std::thread::yield_now();
            }
            drop(closed);
            assert!(answer.recv().unwrap());
        });
        pending.wait(PATIENCE).unwrap();
    }
}
