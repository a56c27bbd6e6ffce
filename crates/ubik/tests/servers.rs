//! Several shipped servers in one process (U41), joined by a network of function calls that can be cut.

#[path = "shared/gate.rs"]
mod gate;
mod shared;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ubik::application::{AppCache, BeginError, CommitError};
use ubik::driver::{PeerService, Server};
use ubik::effect::{Answer, CallError, ReadKind, Reply, WriteError};
use ubik::locks::Held;
use ubik::phys::files::FileStore;
use ubik::phys::memory::MemoryStore;
use ubik::phys::{PhysicalStore, Replacement};
use ubik::server_state::Config;
use ubik::snapshot::Snapshot;
use ubik::transport::Transport;
use ubik_proto::cell::{Cell, Dialect, Server as Member, ServerId, ServerKind};
use ubik_proto::election::beacon::VoteReply;
use ubik_proto::messages::{Beacon, DiskCall, VoteCall};
use ubik_proto::profile::Profile;
use ubik_proto::version::Version;

use gate::GatedStore;
use shared::{PATIENCE, read_newest};

#[derive(Default)]
struct Wires {
    ears: Mutex<HashMap<ServerId, PeerService>>,
    cut: Mutex<Vec<ServerId>>,
}

/// One server's end of the wires.
struct Loopback {
    wires: Arc<Wires>,
    me: ServerId,
}

impl Loopback {
    fn peers(&self, to: ServerId) -> Option<PeerService> {
        let cut = self.wires.cut.lock().unwrap();
        if cut.contains(&self.me) || cut.contains(&to) {
            None
        } else {
            self.wires.ears.lock().unwrap().get(&to).cloned()
        }
    }

    fn reached(&self, to: ServerId) -> Result<PeerService, CallError> {
        self.peers(to).ok_or(CallError::Unreachable)
    }
}

fn bytes_of(snapshot: &Snapshot) -> Vec<u8> {
    let mut bytes = vec![0; snapshot.length() as usize];
    snapshot.read(0, &mut bytes).unwrap();
    bytes
}

impl Transport for Loopback {
    fn beacon(&self, to: ServerId, series: u64, beacon: &Beacon) -> VoteReply {
        self.peers(to)
            .and_then(|peers| peers.serve_beacon(self.me, series, beacon))
            .unwrap_or(VoteReply::Failed)
    }

    fn probe(&self, to: ServerId) -> bool {
        self.peers(to).is_some()
    }

    fn call(&self, to: ServerId, call: &DiskCall) -> Result<Reply, CallError> {
        match self.reached(to)?.serve_call(self.me, call.clone()).map_err(CallError::Aborted)? {
            Answer::Version(version) => Ok(Reply::Version(version)),
            _ => Ok(Reply::Done),
        }
    }

    fn send(&self, to: ServerId, database: &Snapshot) -> Result<(), CallError> {
        let peers = self.reached(to)?;
        let mut received = peers.begin_receive(self.me, database.version()).map_err(CallError::Aborted)?;
        received.append(&bytes_of(database)).map_err(|error| CallError::Local(error.to_string()))?;
        peers.serve_database(self.me, database.version(), received).map(drop).map_err(CallError::Aborted)
    }

    fn fetch(&self, to: ServerId, into: &mut dyn Replacement) -> Result<Version, CallError> {
        match self
            .reached(to)?
            .serve_call(self.me, DiskCall::GetFile { file: 0 })
            .map_err(CallError::Aborted)?
        {
            Answer::Database(snapshot) => {
                into.append(&bytes_of(&snapshot)).map_err(|error| CallError::Local(error.to_string()))?;
                Ok(snapshot.version())
            }
            _ => Err(CallError::Unreachable),
        }
    }
}

struct TestCell {
    wires: Arc<Wires>,
    servers: Vec<Option<Server>>,
    stores: Vec<Arc<dyn PhysicalStore>>,
}

impl TestCell {
    fn start(stores: Vec<Arc<dyn PhysicalStore>>) -> Self {
        let mut cell = TestCell { wires: Arc::default(), servers: Vec::new(), stores };
        for index in 0..cell.stores.len() {
            cell.servers.push(None);
            cell.start_server(index);
        }
        cell
    }

    fn in_memory(count: usize) -> Self {
        Self::start((0..count).map(|_| Arc::new(MemoryStore::new()) as Arc<dyn PhysicalStore>).collect())
    }

    fn start_server(&mut self, index: usize) {
        let member = |nth| Member { address: nth, kind: ServerKind::Voter, dialect: Dialect::Quorate };
        let cell = Cell::new((0..self.stores.len() as u32).map(member).collect(), index as u32).unwrap();
        let me = cell.me();
        let config = Config { cell, profile: Profile::brisk(), cache_pages: 20, bootstrap: false };
        let transport = Arc::new(Loopback { wires: self.wires.clone(), me });
        let server = Server::start(config, self.stores[index].clone(), transport).unwrap();
        self.wires.ears.lock().unwrap().insert(me, server.peer_service());
        self.servers[index] = Some(server);
    }

    fn stop_server(&mut self, index: usize) {
        self.wires.ears.lock().unwrap().remove(&ServerId::new(index));
        self.servers[index] = None;
    }

    fn server(&self, index: usize) -> &Server {
        self.servers[index].as_ref().expect("the test did not stop it")
    }

    /// Writes at whoever is sync site, trying until one takes it.
    fn write(&self, position: u64, bytes: &[u8]) -> (usize, Version) {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < PATIENCE, "no server took the write");
            for (index, server) in self.servers.iter().enumerate() {
                let Some(server) = server else { continue };
                match server.begin_write(PATIENCE) {
                    Ok(mut transaction) => {
                        transaction.seek(position);
                        transaction.write(bytes).unwrap();
                        match transaction.commit(PATIENCE) {
                            Ok(version) => return (index, version),
                            Err(CommitError::Failed(_) | CommitError::Undecided { .. }) => {}
                        }
                    }
                    Err(BeginError::Write(WriteError::NotSyncSite { .. } | WriteError::LostMandate)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            std::thread::yield_now();
        }
    }

    /// Reads the newest version at one server, trying until it may.
    fn read(&self, index: usize, position: u64, length: usize) -> (Version, Vec<u8>) {
        read_newest(self.server(index), position, length)
    }
}

/// U19, U32, U34, U37, U41: three servers elect, take a write, and every one of them reads it.
#[test]
fn three_servers_elect_write_and_read_everywhere() {
    let cell = TestCell::in_memory(3);
    let (sync_site, version) = cell.write(3000, b"hello");
    for index in 0..3 {
        assert_eq!(cell.read(index, 3000, 5), (version, b"hello".to_vec()));
        assert_eq!(cell.server(index).sync_site(), Some(ServerId::new(sync_site)));
    }
    let follower = (sync_site + 1) % 3;
    let refused = cell.server(follower).begin_write(PATIENCE).err().expect("only the sync site takes writes");
    let named = Some(ServerId::new(sync_site));
    assert!(
        matches!(refused, BeginError::Write(WriteError::NotSyncSite { sync_site }) if sync_site == named)
    );
}

/// U12, U46: while every server's disk syncs a commit, for as long as it likes, reads of any kind begin and end everywhere, and
/// show what was before. (They waited for the database's lock once, 1.3 s of a sync of 1.5 s.)
#[test]
fn reads_wait_for_nobodys_sync() {
    let stores = [0; 3].map(|_| GatedStore::default());
    let cell = TestCell::start(
        stores.iter().map(|store| Arc::new(store.clone()) as Arc<dyn PhysicalStore>).collect(),
    );
    let (site, before) = cell.write(0, b"before");
    (0..3).for_each(|index| drop(cell.read(index, 0, 6)));
    std::thread::scope(|scope| {
        let mut transaction = cell.server(site).begin_write(PATIENCE).unwrap();
        transaction.write(b"behind").unwrap();
        let closed = stores.each_ref().map(GatedStore::close);
        let writer = scope.spawn(move || transaction.commit(PATIENCE));
        for (index, store) in stores.iter().enumerate() {
            store.await_sync();
            let mut any = cell.server(index).begin_read(ReadKind::Any, PATIENCE).unwrap();
            let mut bytes = [0; 6];
            any.read(&mut bytes).unwrap();
            assert_eq!((any.version(), &bytes), (before, b"before"));
            assert_eq!(cell.read(index, 0, 6), (before, b"before".to_vec()));
            assert!(cell.server(index).peer_service().serve_debug(VoteCall::DebugWithKind).is_some());
        }
        drop(closed);
        let version = writer.join().unwrap().unwrap();
        (0..3).for_each(|index| assert_eq!(cell.read(index, 0, 6), (version, b"behind".to_vec())));
    });
}

/// U12, U34: a follower that has a commit which is not decided keeps readers waiting, also when a beacon has named the version
/// before it meanwhile. (It called itself without a lease then.)
#[test]
fn a_reader_waits_for_a_commit_that_is_being_decided() {
    let stores = [0; 3].map(|_| GatedStore::default());
    let cell = TestCell::start(
        stores.iter().map(|store| Arc::new(store.clone()) as Arc<dyn PhysicalStore>).collect(),
    );
    let (site, before) = cell.write(0, b"before");
    let follower = cell.server((site + 1) % 3);
    drop(cell.read((site + 1) % 3, 0, 6));
    let closed = stores[site].close();
    let mut transaction = cell.server(site).begin_write(PATIENCE).unwrap();
    transaction.write(b"behind").unwrap();
    let submitted = transaction.submit();
    let begun = Instant::now();
    let leased = || {
        let held = &mut Held::thread_entry();
        follower.state().with_election(held, |now, election| election.voter().may_read(now.moment))
    };
    while follower.state().database().version() == before || leased() != Some(before) {
        assert!(begun.elapsed() < PATIENCE, "no beacon named the version before");
        std::thread::yield_now();
    }
    let tried = follower.begin_read(ReadKind::Newest, Duration::ZERO);
    assert!(matches!(tried, Err(BeginError::TimedOut(_))), "{:?}", tried.map(|read| read.version()));
    drop(closed);
    let version = submitted.wait(PATIENCE).unwrap();
    assert_eq!(cell.read((site + 1) % 3, 0, 6), (version, b"behind".to_vec()));
}

/// U8, U9, U32: a transaction reads its own changes; dropped, it never was; the next one gets its turn.
#[test]
fn a_dropped_transaction_never_was() {
    let cell = TestCell::in_memory(1);
    let (_, version) = cell.write(0, b"kept");
    let mut transaction = cell.server(0).begin_write(PATIENCE).unwrap();
    transaction.write(b"lost").unwrap();
    transaction.truncate(2).unwrap();
    transaction.seek(0);
    let mut bytes = [9; 4];
    transaction.read(&mut bytes).unwrap();
    assert_eq!(&bytes, b"lo\0\0");
    drop(transaction);
    assert_eq!(cell.read(0, 0, 4), (version, b"kept".to_vec()));
    assert!(cell.write(0, b"next").1 > version);
}

/// U25, U26, U35: with the sync site gone another is elected and has everything; the lost one comes back and catches up.
#[test]
fn a_lost_sync_site_is_replaced_and_catches_up() {
    let mut cell = TestCell::in_memory(3);
    let (first, version) = cell.write(0, b"before");
    cell.stop_server(first);
    let (second, later) = cell.write(10, b"after");
    assert!(second != first && later.epoch > version.epoch, "a new epoch");
    cell.start_server(first);
    assert!(cell.server(first).wait_for_version(version, PATIENCE).is_some());
    let (_, bytes) = cell.read(first, 0, 15);
    assert_eq!(&bytes, b"before\0\0\0\0after");
}

/// U21, U34: a sync site that is cut off takes no write and answers no read of the newest version once its mandate ends.
#[test]
fn a_server_that_is_cut_off_serves_nothing_new() {
    let cell = TestCell::in_memory(3);
    let (first, _) = cell.write(0, b"x");
    cell.wires.cut.lock().unwrap().push(ServerId::new(first));
    let begun = Instant::now();
    while cell.server(first).begin_read(ReadKind::Newest, PATIENCE).is_ok() {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
    let any = cell
        .server(first)
        .begin_read(ReadKind::Any, PATIENCE)
        .expect("what was committed stays readable as such");
    assert!(any.length() > 0);
    cell.wires.cut.lock().unwrap().clear();
    cell.read(first, 0, 1);
}

/// U4, U5: a server on files has after a restart what it had.
#[test]
fn a_server_on_files_keeps_its_database() {
    let directory = tempfile::tempdir().unwrap();
    let store: Arc<dyn PhysicalStore> = Arc::new(FileStore::new(directory.path().join("testdb")));
    let mut cell = TestCell::start(vec![store]);
    let (_, version) = cell.write(100, b"durable");
    cell.stop_server(0);
    cell.start_server(0);
    let (later, bytes) = cell.read(0, 100, 7);
    assert_eq!(bytes, b"durable");
    assert!(later > version, "a new epoch");
}

/// U13: writers that ask together get their turns one after the other, and none is lost.
#[test]
fn many_writers_take_turns() {
    let cell = TestCell::in_memory(3);
    let (sync_site, _) = cell.write(0, &0u64.to_be_bytes());
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let mut transaction = cell.server(sync_site).begin_write(PATIENCE).unwrap();
                    let mut bytes = [0; 8];
                    transaction.read(&mut bytes).unwrap();
                    transaction.seek(0);
                    transaction.write(&(u64::from_be_bytes(bytes) + 1).to_be_bytes()).unwrap();
                    transaction.commit(PATIENCE).unwrap();
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    let (_, bytes) = cell.read((sync_site + 1) % 3, 0, 8);
    assert_eq!((done.into_inner(), bytes), (80, 80u64.to_be_bytes().to_vec()));
}

/// U33: what was made of a version is made once, stays valid for whoever has it, and moves with the version.
#[test]
fn an_application_cache_follows_the_version() {
    let cell = TestCell::in_memory(1);
    cell.write(0, b"a");
    let cache = AppCache::default();
    let made = AtomicUsize::new(0);
    let read = |transaction: &mut ubik::application::ReadTransaction| {
        made.fetch_add(1, Ordering::Relaxed);
        let mut byte = [0];
        transaction.seek(0);
        transaction.read(&mut byte).map(|()| byte[0])
    };
    let mut old = cell.server(0).begin_read(ReadKind::Newest, PATIENCE).unwrap();
    let first = cache.of(&mut old, read).unwrap();
    assert!(Arc::ptr_eq(&first, &cache.of(&mut old, read).unwrap()));
    cell.write(0, b"b");
    let mut new = cell.server(0).begin_read(ReadKind::Newest, PATIENCE).unwrap();
    assert_eq!((*cache.of(&mut new, read).unwrap(), *first), (b'b', b'a'));
    assert_eq!(*cache.of(&mut old, read).unwrap(), b'a', "made again for the old transaction, and not kept");
    assert_eq!((made.into_inner(), cache.cached_version()), (3, Some(new.version())));
}

/// U30: a commit needs nothing of the application's cache, so one that is being made from an older version, for as long as
/// that takes, holds up no commit; and what is made of the newer version stays.
#[test]
fn a_commit_passes_a_cache_that_is_being_made() {
    let cell = TestCell::in_memory(1);
    cell.write(0, b"a");
    let cache = AppCache::default();
    let (making, is_making) = std::sync::mpsc::channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let first_byte = |transaction: &mut ubik::application::ReadTransaction| {
        let mut byte = [0];
        transaction.read(&mut byte).map(|()| byte[0])
    };
    std::thread::scope(|scope| {
        let (cache, cell) = (&cache, &cell);
        scope.spawn(move || {
            let mut old = cell.server(0).begin_read(ReadKind::Newest, PATIENCE).unwrap();
            let made = cache.of(&mut old, |transaction| {
                making.send(()).unwrap();
                may_go_on.recv_timeout(PATIENCE).unwrap();
                first_byte(transaction)
            });
            assert_eq!(*made.unwrap(), b'a', "it reads the version that it began with");
        });
        is_making.recv().unwrap();
        let (_, version) = cell.write(0, b"b");
        go_on.send(()).unwrap();
        let mut new = cell.server(0).begin_read(ReadKind::Newest, PATIENCE).unwrap();
        assert_eq!(*cache.of(&mut new, first_byte).unwrap(), b'b');
        assert_eq!(cache.cached_version(), Some(version));
    });
}

/// U13, U34, U35: writers that come while a commit is under way go on, each over what the one before it left, and are
/// committed together after it, in one version; until then nobody reads anything of it.
#[test]
fn writers_go_on_while_a_commit_is_under_way() {
    let stores = [0; 3].map(|_| GatedStore::default());
    let cell = TestCell::start(
        stores.iter().map(|store| Arc::new(store.clone()) as Arc<dyn PhysicalStore>).collect(),
    );
    let (site, before) = cell.write(0, b"0000");
    let closed = stores.each_ref().map(GatedStore::close);
    let mut submitted = Vec::new();
    for nth in 1..=4_u8 {
        let mut transaction = cell.server(site).begin_write(PATIENCE).unwrap();
        let mut bytes = [0; 4];
        transaction.read(&mut bytes).unwrap();
        assert_eq!(bytes.iter().filter(|&&byte| byte == b'1').count(), usize::from(nth) - 1);
        assert_eq!(transaction.base().is_certain(), nth == 1, "whether something is undecided");
        transaction.seek(u64::from(nth) - 1);
        transaction.write(b"1").unwrap();
        submitted.push(transaction.submit());
        stores[site].await_sync();
    }
    assert_eq!(cell.read(site, 0, 4), (before, b"0000".to_vec()));
    drop(closed);
    let versions: Vec<Version> =
        submitted.into_iter().map(|submitted| submitted.wait(PATIENCE).unwrap()).collect();
    assert_eq!(versions[0], before.next().unwrap());
    assert_eq!(versions[1..], [before.next().unwrap().next().unwrap(); 3]);
    (0..3).for_each(|index| assert_eq!(cell.read(index, 0, 4), (versions[3], b"1111".to_vec())));
}

/// U18: every server says who is sync site, and all say the same.
#[test]
fn every_server_knows_the_sync_site() {
    let cell = TestCell::in_memory(3);
    let (site, _) = cell.write(0, b"a");
    let begun = Instant::now();
    for index in 0..3 {
        while cell.server(index).sync_site() != Some(ServerId::new(site)) {
            assert!(begun.elapsed() < PATIENCE, "server {index} does not know");
            std::thread::yield_now();
        }
    }
}
