//! What a commit costs those beside it, in a cell of three servers of ours in one process, over Rx on the loopback, in `brisk`
//! timing, on files.
//!
//! * `reads`: how long a read takes at the sync site and at a follower, alone and while commits go on whose every sync takes
//!   1.5 s; at all servers, and at the sync site only.
//! * `writes`: writes a second with 1, 8 and 64 clients, each of which begins, writes 100 bytes at a place of its own and commits.
//! * `large`: transactions of a megabyte, from 1 and 8 clients.
//!
//! `cargo bench -p bench --bench ubik_commits -- reads` measures one part.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rx::security::{NullSecurity, SecurityClass};
use rx::{Port, PortConfig};
use ubik::driver::Server;
use ubik::effect::ReadKind;
use ubik::hosts::Hosts;
use ubik::over_rx::{Membership, RxTransport, Services, serve};
use ubik::phys::files::FileStore;
use ubik::phys::{PhysicalStore, ReplaceError, Replacement, StoreFile};
use ubik::server_state::Config;
use ubik_proto::cell::{Cell, Dialect, Server as Member, ServerId, ServerKind, ServerSet};
use ubik_proto::election::promise::KeptPromise;
use ubik_proto::profile::Profile;
use ubik_proto::version::Version;

/// Elections end sooner.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long each figure is measured.
const MEASURED: Duration = Duration::from_secs(6);
/// What a slow sync takes.
const SLOW_SYNC: Duration = Duration::from_millis(1500);

fn main() -> anyhow::Result<()> {
    let parts: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|arg| arg == part);
    let cell = TestCell::start()?;
    if wanted("writes") {
        for clients in [1, 8, 64] {
            let (writes, worst) = cell.writes(clients, 100);
            println!("{clients:2} clients: {writes:7.0} writes/s, the longest {worst:?}");
        }
    }
    if wanted("large") {
        for clients in [1, 8] {
            let (writes, worst) = cell.writes(clients, 1 << 20);
            println!("{clients:2} clients of a megabyte: {writes:5.1} writes/s, the longest {worst:?}");
        }
    }
    if wanted("reads") {
        cell.reads();
    }
    Ok(())
}

/// A store on files whose syncs can be made to take longer.
#[derive(Clone)]
struct SlowStore {
    files: FileStore,
    /// In microseconds.
    delay: Arc<AtomicU64>,
}

impl SlowStore {
    fn wait(&self) {
        std::thread::sleep(Duration::from_micros(self.delay.load(Ordering::Relaxed)));
    }
}

impl PhysicalStore for SlowStore {
    fn open(&self) -> io::Result<(Arc<dyn StoreFile>, Option<Version>)> {
        let (file, label) = self.files.open()?;
        Ok((Arc::new(SlowFile { file, store: self.clone() }), label))
    }

    fn write_log(&self, bytes: &[u8]) -> io::Result<()> {
        self.wait();
        self.files.write_log(bytes)
    }

    fn clear_log(&self) -> io::Result<()> {
        self.files.clear_log()
    }

    fn read_log(&self) -> io::Result<Vec<u8>> {
        self.files.read_log()
    }

    fn begin_replacement(&self) -> io::Result<Box<dyn Replacement>> {
        let into = self.files.begin_replacement()?;
        Ok(Box::new(SlowReplacement { into, store: self.clone() }))
    }

    fn load_promise(&self) -> io::Result<Option<KeptPromise>> {
        self.files.load_promise()
    }

    fn save_promise(&self, promise: KeptPromise) -> io::Result<()> {
        self.files.save_promise(promise)
    }
}

/// A file of that store.
struct SlowFile {
    file: Arc<dyn StoreFile>,
    store: SlowStore,
}

impl StoreFile for SlowFile {
    fn read_at(&self, position: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(position, buffer)
    }

    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(position, bytes)
    }

    fn reserve(&self, position: u64, length: u64) -> io::Result<()> {
        self.file.reserve(position, length)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }

    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn set_label(&self, version: Version) -> io::Result<()> {
        self.file.set_label(version)
    }

    fn sync(&self) -> io::Result<()> {
        self.store.wait();
        self.file.sync()
    }
}

/// A database that such a store receives.
#[derive(Debug)]
struct SlowReplacement {
    into: Box<dyn Replacement>,
    store: SlowStore,
}

impl std::fmt::Debug for SlowStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SlowStore").field("delay", &self.delay).finish_non_exhaustive()
    }
}

impl Replacement for SlowReplacement {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.into.append(bytes)
    }

    fn commit(self: Box<Self>, version: Version) -> Result<Arc<dyn StoreFile>, ReplaceError> {
        let file = self.into.commit(version)?;
        Ok(Arc::new(SlowFile { file, store: self.store }))
    }
}

struct TestCell {
    servers: Vec<Server>,
    delays: Vec<Arc<AtomicU64>>,
    sync_site: usize,
    _ports: Vec<Arc<Port>>,
    _directory: tempfile::TempDir,
}

fn address(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 78, 1 + index as u8)
}

impl TestCell {
    fn start() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut ports: Vec<Arc<Port>> = Vec::new();
        let (mut servers, mut delays) = (Vec::new(), Vec::new());
        for index in 0..3 {
            let number = ports.first().map_or(Ok(0), |port| port.local_addr().map(|at| at.port()))?;
            let port =
                Arc::new(Port::open(SocketAddr::new(address(index).into(), number), PortConfig::default())?);
            let delay = Arc::new(AtomicU64::new(0));
            let files = FileStore::new(directory.path().join(index.to_string()));
            let store = SlowStore { files, delay: delay.clone() };
            servers.push(start_server(index, &port, store)?);
            delays.push(delay);
            ports.push(port);
        }
        let mut cell = TestCell { servers, delays, sync_site: 0, _ports: ports, _directory: directory };
        cell.find_sync_site();
        // Longer than what any part writes, so that a read finds something.
        cell.writes(1, 1 << 20);
        Ok(cell)
    }

    fn find_sync_site(&mut self) {
        loop {
            let found = self.servers.iter().position(|server| server.begin_write(PATIENCE).is_ok());
            if let Some(found) = found {
                self.sync_site = found;
                return;
            }
            std::thread::yield_now();
        }
    }

    /// Writes a second, and the longest write.
    fn writes(&self, clients: u32, bytes: usize) -> (f64, Duration) {
        let begun = Instant::now();
        let done: Vec<(u64, Duration)> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..clients).map(|client| scope.spawn(move || self.write_on(client, bytes, begun))).collect();
            threads.into_iter().map(|thread| thread.join().expect("a client panicked")).collect()
        });
        let writes: u64 = done.iter().map(|(count, _)| count).sum();
        let worst = done.iter().map(|&(_, worst)| worst).max().unwrap_or_default();
        (writes as f64 / begun.elapsed().as_secs_f64(), worst)
    }

    fn write_on(&self, client: u32, bytes: usize, begun: Instant) -> (u64, Duration) {
        let (mut count, mut worst) = (0, Duration::ZERO);
        while begun.elapsed() < MEASURED {
            let asked = Instant::now();
            self.write(u64::from(client) * bytes as u64, &vec![count as u8; bytes]);
            worst = worst.max(asked.elapsed());
            count += 1;
        }
        (count, worst)
    }

    fn write(&self, position: u64, bytes: &[u8]) {
        let mut transaction = self.servers[self.sync_site].begin_write(PATIENCE).expect("it is sync site");
        transaction.seek(position);
        transaction.write(bytes).expect("it is not too large");
        transaction.commit(PATIENCE).expect("a quorum is there");
    }

    /// Reads at the sync site and at a follower, alone and beside commits.
    fn reads(&self) {
        let follower = (self.sync_site + 1) % 3;
        let places = [("sync site", self.sync_site), ("follower", follower)];
        for (beside, slow) in [
            ("no commit", vec![]),
            ("commits, all servers slow", vec![0, 1, 2]),
            ("commits, sync site slow", vec![self.sync_site]),
        ] {
            for index in &slow {
                self.delays[*index].store(SLOW_SYNC.as_micros() as u64, Ordering::Relaxed);
            }
            let stop = AtomicBool::new(slow.is_empty());
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        self.write(0, b"a small write");
                    }
                });
                for (name, index) in places {
                    for kind in [ReadKind::Newest, ReadKind::Any] {
                        let (count, figures) = self.read_on(index, kind);
                        println!("reads at the {name} ({kind:?}), {beside}: {count} reads, {figures}");
                    }
                }
                stop.store(true, Ordering::Relaxed);
            });
            self.delays.iter().for_each(|delay| delay.store(0, Ordering::Relaxed));
        }
    }

    fn read_on(&self, index: usize, kind: ReadKind) -> (usize, String) {
        let begun = Instant::now();
        let mut took = Vec::new();
        while begun.elapsed() < MEASURED {
            let asked = Instant::now();
            if let Ok(mut transaction) = self.servers[index].begin_read(kind, PATIENCE) {
                let mut bytes = [0; 100];
                transaction.read(&mut bytes).expect("the store is whole");
                took.push(asked.elapsed());
            }
            // A client between two reads; without it the reader is all that the machine does.
            std::thread::sleep(Duration::from_micros(500));
        }
        took.sort_unstable();
        let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
        let figures = format!("median {:?}, p99 {:?}, longest {:?}", at(0.5), at(0.99), at(1.0));
        (took.len(), figures)
    }
}

fn start_server(index: usize, port: &Arc<Port>, store: SlowStore) -> anyhow::Result<Server> {
    let member =
        |nth| Member { address: address(nth).into(), kind: ServerKind::Voter, dialect: Dialect::Quorate };
    let cell = Cell::new((0..3).map(member).collect(), address(index).into())?;
    let number = port.local_addr()?.port();
    let listed =
        (0..3).map(|nth| (ServerId::new(nth), SocketAddr::new(address(nth).into(), number))).collect();
    let hosts = Arc::new(Hosts::new(listed, vec![address(index).into()]));
    let members = Membership { hosts: hosts.clone(), needs_key: false, sealed: ServerSet::EMPTY };
    let security: Arc<dyn SecurityClass> = Arc::new(NullSecurity);
    let profile = Profile::brisk();
    let services = Services::STOCK;
    let transport = RxTransport::new(port.clone(), services, cell.clone(), hosts, security.clone(), &profile);
    let config = Config { cell, profile, cache_pages: 4000, bootstrap: false };
    let server = Server::start(config, Arc::new(store), Arc::new(transport))?;
    let classes = std::slice::from_ref(&security);
    serve(port, services, server.peer_service(), members, classes, classes);
    Ok(server)
}
