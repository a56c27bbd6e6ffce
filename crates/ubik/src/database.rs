//! DISK: one database's versions, log and transactions on a physical store.
//!
//! A commit here has three steps, which [`Database::apply`] and [`Database::reveal`] keep apart:
//!
//! 1. the log is written and synced: from here on a restart makes the commit (what a crash leaves before is the old
//!    version, whole);
//! 2. the pages, then the label, are written, and synced together: a crash before the sync leaves the log, and replaying
//!    it over any mixture of old and new pages gives the new version; the log is emptied after that, unsynced, since
//!    replaying it again changes nothing;
//! 3. the version becomes visible to readers. Between 2 and 3 a quorum decides; until then readers see the version
//!    before, from the pages that step 2 kept.
//!
//! [`Database::version`] is the *tail*: what step 1 made last, decided or not. It is what this server tells others.
//! All changes are made by one caller at a time, as work of the disk ([`crate::disk_work`]) that holds no lock; snapshots are
//! taken by anybody, and neither taking one nor reading it waits for a change.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;
use ubik_proto::changed::PAGE_LEN;
use ubik_proto::election::promise::KeptPromise;
use ubik_proto::log::{self, Change, Replay};
use ubik_proto::plant::{Fault, planted};
use ubik_proto::version::Version;

use crate::overlay::Overlay;
use crate::pages::CacheStatistics;
use crate::phys::{PhysicalStore, ReplaceError, Replacement, StoreFile};
use crate::snapshot::{Generation, Snapshot};
use crate::sync::{Mutex, MutexGuard};

/// Why a database could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The store failed, or holds something else.
    #[error("cannot open the database: {0}")]
    Store(#[source] io::Error),
    /// The log could not be applied.
    #[error("cannot replay the log over the database: {0}")]
    Replay(#[source] io::Error),
}

/// Why changes were not made.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// Nothing has happened: the log could not be written, or there is no room for what it would bring.
    #[error("the commit was not logged, and nothing was changed: {0}")]
    NotLogged(#[source] io::Error),
    /// The log is safe and the pages are not: the database must be opened again, which replays it.
    #[error("the commit is in the log and could not be completed; restart this server: {0}")]
    Broken(#[source] io::Error),
    /// An earlier failure was of the second kind.
    #[error("an earlier commit could not be completed; restart this server")]
    WasBroken,
}

const PAGE: u64 = PAGE_LEN as u64;

struct State {
    generation: Arc<Generation>,
    /// Counts what was applied in this process.
    point: u64,
    version: Version,
    /// The tail's bytes: the file may have more while a commit is put into it.
    length: u64,
    /// What readers see; nothing, until a quorum has confirmed what was found at start.
    visible: Option<Snapshot>,
    broken: bool,
}

impl State {
    fn tail(&self) -> Snapshot {
        Snapshot::new(self.generation.clone(), self.point, self.version, self.length)
    }
}

/// One database.
pub struct Database {
    store: Arc<dyn PhysicalStore>,
    cache_pages: usize,
    state: Mutex<State>,
    /// The promise on disk, if it is known.
    promise: Mutex<Option<KeptPromise>>,
    /// Counts the databases that were received.
    received: Arc<AtomicU64>,
}

/// A database being received, for as long as no other is.
#[derive(Debug)]
struct Latest {
    into: Box<dyn Replacement>,
    number: u64,
    received: Arc<AtomicU64>,
}

impl Latest {
    fn check(&self) -> io::Result<()> {
        if self.received.load(Ordering::SeqCst) == self.number || planted(Fault::TransfersMixed) {
            return Ok(());
        }
        Err(io::Error::other("another transfer of the database has begun since"))
    }
}

impl Replacement for Latest {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.check()?;
        self.into.append(bytes)
    }

    fn commit(self: Box<Self>, version: Version) -> Result<Arc<dyn StoreFile>, ReplaceError> {
        self.check().map_err(ReplaceError::Kept)?;
        self.into.commit(version)
    }
}

impl Database {
    /// Opens the database, replays its log, and labels it fresh if it has no label.
    ///
    /// # Errors
    /// If the store fails or holds no database.
    pub fn open(store: Arc<dyn PhysicalStore>, cache_pages: usize) -> Result<Self, OpenError> {
        let (file, label) = store.open().map_err(OpenError::Store)?;
        let generation = Arc::new(Generation::new(file, cache_pages).map_err(OpenError::Store)?);
        let version = label.unwrap_or(Version::FRESH);
        let length = generation.length();
        let state = State { generation, point: 0, version, length, visible: None, broken: false };
        let database = Database {
            store,
            cache_pages,
            state: Mutex::new(state),
            promise: Mutex::default(),
            received: Arc::default(),
        };
        database.recover(label).map_err(OpenError::Replay)?;
        Ok(database)
    }

    fn recover(&self, label: Option<Version>) -> io::Result<()> {
        let log = self.store.read_log()?;
        match log::replay(&log, label.unwrap_or(Version::NONE)) {
            Replay::Apply { changes, version } => self.write_pages(&changes, version)?,
            Replay::Nothing(_) if label.is_none() => {
                let state = self.state();
                state.generation.file.set_label(state.version)?;
                state.generation.file.sync()?;
            }
            Replay::Nothing(_) => {}
        }
        self.store.clear_log()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code here panics while it holds this lock")
    }

    /// The tail: the newest version here, decided or not.
    pub fn version(&self) -> Version {
        self.state().version
    }

    /// What readers see, if anything.
    pub fn visible(&self) -> Option<Snapshot> {
        self.state().visible.clone()
    }

    /// The version that readers see.
    pub fn visible_version(&self) -> Option<Version> {
        self.state().visible.as_ref().map(Snapshot::version)
    }

    /// Whether the tail is not what readers see.
    pub fn is_pending(&self) -> bool {
        let state = self.state();
        state.visible.as_ref().is_none_or(|visible| visible.version() != state.version)
    }

    /// The tail, to be sent to another server or to be changed by the sync site's next transaction.
    pub fn tail(&self) -> Snapshot {
        let state = self.state();
        state.tail()
    }

    /// Makes the tail what readers see from now on.
    pub fn reveal(&self) {
        let mut state = self.state();
        let tail = state.tail();
        let before = state.visible.replace(tail);
        drop(state);
        // Dropping a snapshot takes the generation's own locks.
        drop(before);
    }

    /// Hides everything: whether what is here was decided is not known.
    pub fn hide(&self) {
        let before = self.state().visible.take();
        drop(before);
    }

    /// Logs `changes`, syncs, and makes them the tail, `version`. Readers see nothing of it before [`Database::reveal`].
    ///
    /// # Errors
    /// As [`ApplyError`] says; only the first kind leaves the database as it was.
    pub fn apply(&self, changes: &[Change], version: Version) -> Result<(), ApplyError> {
        self.check_whole()?;
        assert!(version > self.version(), "versions only grow");
        if planted(Fault::LogNotSynced) {
            return self.write_pages(changes, version).map_err(|error| self.break_down(error));
        }
        self.reserve(changes).map_err(ApplyError::NotLogged)?;
        if let Err(error) = self.store.write_log(&log::encode(changes, version)) {
            // The log may hold all of it: it must not be found at the next start.
            return match self.store.write_log(&[]) {
                Ok(()) => Err(ApplyError::NotLogged(error)),
                Err(_) => Err(self.break_down(error)),
            };
        }
        self.write_pages(changes, version).map_err(|error| self.break_down(error))?;
        // Left as it is, the log would be replayed to no effect.
        let _ = self.store.clear_log();
        Ok(())
    }

    /// What is in the log must get into the file too, so there is room for it before.
    fn reserve(&self, changes: &[Change]) -> io::Result<()> {
        let file = self.state().generation.file.clone();
        changes.iter().try_for_each(|change| match change {
            Change::Write { position, bytes } => {
                // Whole pages are written.
                let begin = u64::from(*position) / PAGE * PAGE;
                let end = (u64::from(*position) + bytes.len() as u64).next_multiple_of(PAGE);
                file.reserve(begin, end - begin)
            }
            Change::Truncate { .. } => Ok(()),
        })
    }

    fn write_pages(&self, changes: &[Change], version: Version) -> io::Result<()> {
        // Alive until the next point is: whoever takes the tail meanwhile needs what this commit replaces.
        let tail = self.tail();
        let mut overlay = Overlay::new(tail.clone());
        for change in changes {
            overlay.make(change)?;
        }
        let changed = overlay.into_pages();
        let (generation, point) = {
            let state = self.state();
            (state.generation.clone(), state.point + 1)
        };
        generation.install(point, &changed)?;
        generation.file.set_label(version)?;
        if !planted(Fault::LogNotSynced) {
            generation.file.sync()?;
        }
        let mut state = self.state();
        state.point = point;
        state.version = version;
        state.length = changed.length;
        drop(state);
        drop(tail);
        Ok(())
    }

    /// Gives the tail a new label.
    ///
    /// # Errors
    /// As [`ApplyError`] says.
    pub fn relabel(&self, version: Version) -> Result<(), ApplyError> {
        self.check_whole()?;
        assert!(version > self.version(), "versions only grow");
        let file = self.state().generation.file.clone();
        let written = file.set_label(version).and_then(|()| file.sync());
        written.map_err(|error| self.break_down(error))?;
        let mut state = self.state();
        state.point += 1;
        state.version = version;
        Ok(())
    }

    /// Starts receiving a whole database; nothing here changes until [`Database::replace`]. One is received at a time: an
    /// older one that is not complete yet fails from now on.
    ///
    /// # Errors
    /// Those of the store.
    pub fn receive(&self) -> io::Result<Box<dyn Replacement>> {
        let number = self.received.fetch_add(1, Ordering::SeqCst) + 1;
        let into = self.store.begin_replacement()?;
        Ok(Box::new(Latest { into, number, received: self.received.clone() }))
    }

    /// Puts a received database in this one's place. Readers go on with what they see until [`Database::reveal`].
    ///
    /// # Errors
    /// As [`ApplyError`] says; [`ApplyError::NotLogged`] means that the old one is in its place.
    pub fn replace(&self, received: Box<dyn Replacement>, version: Version) -> Result<(), ApplyError> {
        self.check_whole()?;
        // A log that was emptied but not synced must not come back over another database.
        self.store.write_log(&[]).map_err(ApplyError::NotLogged)?;
        if planted(Fault::OldDatabaseDropped) {
            let file = self.state().generation.file.clone();
            file.set_label(Version::NONE).and_then(|()| file.sync()).map_err(ApplyError::NotLogged)?;
        }
        let file = match received.commit(version) {
            Ok(file) => file,
            Err(ReplaceError::Kept(error)) => return Err(ApplyError::NotLogged(error)),
            Err(ReplaceError::Unsafe(error)) => return Err(self.break_down(error)),
        };
        let opened = Generation::new(file, self.cache_pages);
        let generation = opened.map_err(|error| self.break_down(error))?;
        let mut state = self.state();
        state.length = generation.length();
        state.generation = Arc::new(generation);
        state.point += 1;
        state.version = version;
        Ok(())
    }

    fn check_whole(&self) -> Result<(), ApplyError> {
        if self.state().broken { Err(ApplyError::WasBroken) } else { Ok(()) }
    }

    fn break_down(&self, error: io::Error) -> ApplyError {
        self.state().broken = true;
        ApplyError::Broken(error)
    }

    /// Whether it must be opened again.
    pub fn is_broken(&self) -> bool {
        self.state().broken
    }

    /// Readers that have a snapshot of this database, and the replaced pages that are kept for older ones.
    pub fn readers(&self) -> (usize, usize) {
        let (generation, own) = {
            let state = self.state();
            let own = state.visible.as_ref().is_some_and(|visible| visible.is_of(&state.generation));
            (state.generation.clone(), own)
        };
        (generation.snapshots().saturating_sub(usize::from(own)), generation.kept_pages())
    }

    /// How well the page cache does.
    pub fn statistics(&self) -> CacheStatistics {
        self.state().generation.statistics()
    }

    /// The promise on disk.
    ///
    /// # Errors
    /// Those of the store.
    pub fn load_promise(&self) -> io::Result<Option<KeptPromise>> {
        self.store.load_promise()
    }

    /// Writes the promise, one at a time and never an older one over a newer; returns whether it is the one on disk now.
    ///
    /// # Errors
    /// Those of the store.
    pub fn save_promise(&self, promise: KeptPromise) -> io::Result<bool> {
        let mut saved = self.promise.lock().expect("no code here panics while it holds this lock");
        let newer = saved.is_none_or(|saved| promise.max_epoch >= saved.max_epoch);
        if newer || planted(Fault::OldEpochAccepted) {
            // If this fails, anything may be on disk.
            *saved = None;
            self.store.save_promise(promise)?;
            *saved = Some(promise);
        }
        Ok(*saved == Some(promise))
    }

    /// Whether `snapshot` is of the file in place, not of one that was replaced.
    pub fn is_current(&self, snapshot: &Snapshot) -> bool {
        snapshot.is_of(&self.state().generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::phys::memory::MemoryStore;

    /// U35: of two promises that are saved at once the later one stays, in whichever order they get to the disk.
    #[test]
    fn an_older_promise_is_never_written_over_a_newer() {
        let database = Database::open(Arc::new(MemoryStore::new()), 4).unwrap();
        let promise = |max_epoch| KeptPromise { max_epoch, ..KeptPromise::default() };
        assert!(database.save_promise(promise(9)).unwrap());
        assert!(!database.save_promise(promise(8)).unwrap());
        assert_eq!(database.load_promise().unwrap(), Some(promise(9)));
    }

    fn write(position: u32, bytes: &[u8]) -> Change {
        Change::Write { position, bytes: bytes.to_vec() }
    }

    fn bytes(snapshot: &Snapshot) -> Vec<u8> {
        let mut bytes = vec![0; snapshot.length() as usize];
        snapshot.read(0, &mut bytes).unwrap();
        bytes
    }

    fn open(store: &MemoryStore) -> Database {
        Database::open(Arc::new(store.clone()), 8).unwrap()
    }

    /// U7, U12: a snapshot shows one version to its end, through commits, cuts and a replacement.
    #[test]
    fn a_snapshot_never_changes() {
        let database = open(&MemoryStore::new());
        database.apply(&[write(0, b"one"), write(5000, b"far")], Version::new(3, 2)).unwrap();
        database.reveal();
        let one = database.visible().unwrap();
        let before = bytes(&one);
        database.apply(&[write(0, b"two"), Change::Truncate { length: 100 }], Version::new(3, 3)).unwrap();
        assert_eq!(bytes(&database.visible().unwrap()), before, "not visible before it is revealed");
        database.reveal();
        let two = database.visible().unwrap();
        assert_eq!((two.length(), &bytes(&two)[..3]), (100, &b"two"[..]));
        let mut received = database.receive().unwrap();
        received.append(b"three").unwrap();
        database.replace(received, Version::new(4, 2)).unwrap();
        database.reveal();
        assert_eq!(bytes(&database.visible().unwrap()), b"three");
        assert_eq!((bytes(&one), two.length()), (before, 100));
        assert!(database.is_current(&database.tail()) && !database.is_current(&one));
    }

    /// U7, U26: what is copied for a transfer is what a reader of the same version finds, wherever the pieces begin, while
    /// commits change, grow and cut the file; and nothing of it is put into the page cache.
    #[test]
    fn a_copy_of_a_snapshot_is_what_a_reader_finds() {
        let mut random =
            fastrand::Rng::with_seed(testbed::seed("a_copy_of_a_snapshot_is_what_a_reader_finds"));
        let database = open(&MemoryStore::new());
        let mut kept: Vec<(Snapshot, Vec<u8>)> = Vec::new();
        for counter in 2..60 {
            let mut changes = vec![write(random.u32(..9000), &[counter as u8; 1500])];
            if random.u8(..4) == 0 {
                changes.insert(0, Change::Truncate { length: random.u32(..9000) });
            }
            database.apply(&changes, Version::new(3, counter)).unwrap();
            kept.push((database.tail(), bytes(&database.tail())));
            if kept.len() > 6 {
                kept.remove(random.usize(..6));
            }
            let misses = database.statistics().misses;
            for (snapshot, expected) in &kept {
                let mut copied = Vec::new();
                while copied.len() < expected.len() {
                    let mut piece = vec![9; random.usize(1..3000)];
                    snapshot.copy(copied.len() as u64, &mut piece).unwrap();
                    copied.extend(piece);
                }
                assert!(copied[..expected.len()] == expected[..], "commit {counter}");
                assert!(copied[expected.len()..].iter().all(|&byte| byte == 0), "zeros after the end");
            }
            assert_eq!(database.statistics().misses, misses);
        }
    }

    /// U8, U9: a transaction reads what it wrote, however often, and what it cut stays cut.
    #[test]
    fn a_transaction_sees_its_own_changes_in_order() {
        let database = open(&MemoryStore::new());
        database.apply(&[write(0, &[7; 3000])], Version::new(3, 2)).unwrap();
        let mut overlay = Overlay::new(database.tail());
        overlay.write(10, b"first").unwrap();
        overlay.write(12, b"SECOND").unwrap();
        overlay.truncate(1030);
        overlay.write(2048, b"x").unwrap();
        let mut read = vec![0; 3072];
        overlay.read(0, &mut read).unwrap();
        assert_eq!(&read[9..19], b"\x07fiSECOND\x07");
        assert_eq!((read[1029], read[1030], read[2047], read[2048], read[2049]), (7, 0, 0, b'x', 0));
        assert_eq!(overlay.length(), 3072);
        database.apply(&overlay.finish().changes, Version::new(3, 3)).unwrap();
        assert_eq!(bytes(&database.tail()), read);
    }

    /// A random history against plain bytes: what is read is what was written and cut, after a restart too.
    #[test]
    fn random_changes_leave_the_same_bytes_as_a_plain_array() {
        let mut random = fastrand::Rng::with_seed(testbed::seed("random_changes_leave_the_same_bytes"));
        let store = MemoryStore::new();
        let mut database = open(&store);
        let mut model: Vec<u8> = Vec::new();
        for counter in 2..200 {
            let mut changes = Vec::new();
            for _ in 0..random.usize(..5) {
                if random.u8(..4) == 0 {
                    let length = random.usize(..9000);
                    model.resize(length, 0);
                    changes.push(Change::Truncate { length: length as u32 });
                } else {
                    let (at, length) = (random.usize(..9000), random.usize(1..2500));
                    let end = (at + length).next_multiple_of(1024);
                    model.resize(model.len().max(end), 0);
                    let new: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
                    model[at..at + length].copy_from_slice(&new);
                    changes.push(write(at as u32, &new));
                }
            }
            database.apply(&changes, Version::new(3, counter)).unwrap();
            if random.u8(..4) == 0 {
                database.reveal();
            }
            if random.u8(..8) == 0 {
                store.crash(&mut || random.bool());
                database = open(&store);
            }
            assert_eq!(database.version(), Version::new(3, counter));
            assert!(bytes(&database.tail()) == model, "differs after commit {counter}");
        }
    }

    /// U5: crashed at every operation of a commit, with any part of what was unsynced lost, the database is the old
    /// version or the new, whole; and what was acknowledged is there.
    #[test]
    fn a_crash_anywhere_in_a_commit_leaves_the_old_version_or_the_new() {
        let mut random = fastrand::Rng::with_seed(testbed::seed("a_crash_anywhere_in_a_commit"));
        let (old, new) = (Version::new(3, 2), Version::new(3, 3));
        for operations in 0..20 {
            for _ in 0..20 {
                let store = MemoryStore::new();
                let database = open(&store);
                database.apply(&[write(0, &[1; 3000])], old).unwrap();
                store.blow_after(operations);
                let acknowledged = database.apply(&[write(0, &[2; 3000])], new).is_ok();
                store.crash(&mut || random.bool());
                // The replay may crash as well.
                store.blow_after(random.u32(..12));
                let _ = Database::open(Arc::new(store.clone()), 8);
                store.crash(&mut || random.bool());
                let database = open(&store);
                let found = database.version();
                assert!(
                    found == new || (found == old && !acknowledged),
                    "{found} after {operations} operations"
                );
                let expected = if found == new { 2 } else { 1 };
                assert!(bytes(&database.tail())[..3000].iter().all(|&byte| byte == expected), "torn");
            }
        }
    }

    /// U2: crashed at every operation of a replacement, one of the two databases is there, whole, with its label.
    #[test]
    fn a_crash_anywhere_in_a_replacement_leaves_one_of_the_two() {
        let (old, new) = (Version::new(3, 2), Version::new(4, 9));
        for operations in 0..12 {
            let store = MemoryStore::new();
            let database = open(&store);
            database.apply(&[write(0, &[1; 3000])], old).unwrap();
            store.blow_after(operations);
            let replaced = database.receive().and_then(|mut received| {
                received.append(&[2; 5000])?;
                database.replace(received, new).map_err(io::Error::other)
            });
            store.crash(&mut || false);
            let database = open(&store);
            assert!(database.version() == new || replaced.is_err());
            let (length, byte) = if database.version() == new { (5000, 2) } else { (3072, 1) };
            let bytes = bytes(&database.tail());
            assert!(bytes.len() == length && bytes[..3000].iter().all(|&found| found == byte), "torn");
        }
    }

    /// U49: a transfer that another has overtaken ends, however far it was.
    #[test]
    fn one_database_is_received_at_a_time() {
        let database = open(&MemoryStore::new());
        let mut older = database.receive().unwrap();
        older.append(b"old").unwrap();
        let mut newer = database.receive().unwrap();
        assert!(older.append(b"er").is_err());
        newer.append(b"newer").unwrap();
        assert!(database.replace(older, Version::new(5, 2)).is_err());
        database.replace(newer, Version::new(5, 3)).unwrap();
        assert_eq!(bytes(&database.tail()), b"newer");
    }

    /// S14: a full disk is a clean failure, and the next commit works when there is space again.
    #[test]
    fn a_full_disk_changes_nothing() {
        let store = MemoryStore::new();
        let database = open(&store);
        database.apply(&[write(0, b"old")], Version::new(3, 2)).unwrap();
        store.set_full(true);
        assert!(database.apply(&[write(0, b"new")], Version::new(3, 3)).is_err());
        store.set_full(false);
        if !database.is_broken() {
            assert_eq!(&bytes(&database.tail())[..3], b"old");
            database.apply(&[write(0, b"new")], Version::new(3, 3)).unwrap();
        }
    }
}
