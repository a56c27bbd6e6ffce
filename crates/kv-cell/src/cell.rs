//! A running server: its UDP port, and for each database the Ubik server, the queues and the threads.
//!
//! Steps are handed over by [`Store::submit`], which puts them into a queue: writes into one, reads into another. Stopping
//! ends what waits with an error that says that nothing was done.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kv::keyspace::Totals;
use kv::status::Status;
use kv::{Done, Step, StepError, Store};
use rx::keys::{KeyError, Keys};
use rx::{Port, PortConfig};
use ubik::driver::Server;
use ubik::hosts::Hosts;
use ubik::over_rx::{self, RxTransport, Services};
use ubik::phys::files::FileStore;
use ubik::server_state::Config;
use ubik_proto::cell::ServerId;
use ubik_proto::profile::Profile;
use ubik_proto::version::Version;

use crate::clock::CellClock;
use crate::observer::{self, Seen};
use crate::pages::OpenImage;
use crate::peers::{Peers, StepService};
use crate::queue::{Item, Queue};
use crate::reader::Reader;
use crate::settings::{Membership, OpenError, Settings};
use crate::standing::{self, Happenings};
use crate::wire::LARGEST_STEP;
use crate::writer::Writer;

/// Pages of the page cache of each database: 32 MiB.
const CACHE_PAGES: usize = 32 << 10;
/// How long a step waits for a sync site: longer than an election takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a sync site that stops waits for another: longer than an election takes.
const HANDOVER: Duration = Duration::from_secs(8);
/// How often it looks whether there is one.
const LOOK: Duration = Duration::from_millis(10);

/// A running server. It stops when dropped.
pub struct Cell {
    replicas: Vec<Replica>,
    cell: ubik_proto::cell::Cell,
    names: Vec<String>,
    happenings: Happenings,
    keys: Option<Arc<Keys>>,
    /// After the replicas: their last calls go out by it.
    _port: Arc<Port>,
}

/// Starts a server: it takes steps from now on, and takes part in the elections of its cell.
///
/// # Errors
/// The settings make no cell, the port is taken, or a database cannot be opened.
pub fn open(settings: &Settings) -> Result<Arc<Cell>, OpenError> {
    let members = settings.membership()?;
    if !settings.data.is_dir() {
        return Err(OpenError::NoDirectory(settings.data.clone()));
    }
    let happenings = Happenings::default();
    let settings = &Settings { log: happenings.before(settings.log.clone()), ..settings.clone() };
    let port = Arc::new(Port::open(SocketAddr::V4(members.own), PortConfig::default())?);
    let start = |nth| Replica::start(settings, &members, &port, nth);
    let replicas = (0..settings.databases as u16).map(start).collect::<Result<_, _>>()?;
    let Membership { cell, names, keys, .. } = members;
    Ok(Arc::new(Cell { replicas, cell, names, happenings, keys, _port: port }))
}

/// What a server knows of one of its databases.
#[derive(Clone, Debug)]
pub struct DatabaseStatus {
    /// The name of the sync site, if one is known.
    pub sync_site: Option<String>,
    /// Whether that is this server.
    pub is_sync_site: bool,
    /// The version that readers see here.
    pub version: Option<Version>,
    /// Keys, the last revision and the clock of the last commit that was looked at.
    pub totals: Totals,
    /// The cell's clock as this server has it, in milliseconds.
    pub clock: u64,
    /// Steps that wait: writes, and reads.
    pub waiting: (usize, usize),
}

impl Cell {
    /// Reads the file of the keys that the servers have among themselves again; the version that this server presents from now
    /// on, or `None` if it has no such file. Connections that are open go on.
    ///
    /// # Errors
    /// The file cannot be used; what was read before stays in use.
    pub fn reload_keys(&self) -> Option<Result<i32, KeyError>> {
        self.keys.as_ref().map(|keys| keys.reload())
    }

    /// What is known of database `nth`.
    pub fn database_status(&self, nth: usize) -> Option<DatabaseStatus> {
        let replica = self.replicas.get(nth)?;
        let sync_site = replica.server.sync_site();
        Some(DatabaseStatus {
            sync_site: sync_site.and_then(|id| self.names.get(id.index()).cloned()),
            is_sync_site: sync_site == Some(replica.me),
            version: replica.server.version(),
            totals: replica.seen.totals(),
            clock: replica.clock.now().cell,
            waiting: (replica.writes.len(), replica.reads.len()),
        })
    }

    /// The names of the cell's servers, by address.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Takes no more steps, and ends those that wait: nothing was done for them. What is being committed is seen to its end.
    /// Then a sync site gives its mandate up and stays until another server is sync site, some seconds at most: meanwhile it
    /// votes, and tells other servers that what they send was not done, rather than leaving them without an answer.
    pub fn stop(&self) {
        self.replicas.iter().for_each(Replica::close);
        let begun = Instant::now();
        let handing_over: Vec<&Replica> =
            self.replicas.iter().filter(|replica| replica.resigns(self.cell.len())).collect();
        while begun.elapsed() < HANDOVER && handing_over.iter().any(|replica| replica.has_no_successor()) {
            std::thread::sleep(LOOK);
        }
    }
}

impl Store for Cell {
    fn submit(&self, step: Step, done: Done) {
        let Some(replica) = self.replicas.get(step.database) else {
            return done(Err(StepError::Refused(format!("there is no database {}", step.database))));
        };
        let queue = if step.writes() { &replica.writes } else { &replica.reads };
        let item = Item::new(step, done, None);
        if item.bytes() > LARGEST_STEP {
            return item.answer(Err(StepError::Refused(format!("a command may have {LARGEST_STEP} bytes"))));
        }
        queue.push(item);
    }

    fn databases(&self) -> usize {
        self.replicas.len()
    }

    /// Of the first database: each is elected on its own, and most cells have one.
    fn status(&self) -> Status {
        match self.replicas.first() {
            Some(first) => standing::status(&first.server, &self.cell, &self.names, &self.happenings),
            None => Status::default(),
        }
    }
}

/// One database.
struct Replica {
    server: Arc<Server>,
    me: ServerId,
    writes: Arc<Queue>,
    reads: Arc<Queue>,
    clock: Arc<CellClock>,
    seen: Arc<Seen>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Replica {
    fn start(
        settings: &Settings,
        members: &Membership,
        port: &Arc<Port>,
        nth: u16,
    ) -> Result<Replica, OpenError> {
        let (cell, profile) = (&members.cell, Profile::brisk());
        let services = Services::nth(nth);
        let listed = cell.ids().zip(members.listed.iter().copied()).collect();
        let hosts = Arc::new(Hosts::new(listed, vec![u32::from(*members.own.ip())]));
        let transport = RxTransport::new(
            port.clone(),
            services,
            cell.clone(),
            hosts.clone(),
            members.client.clone(),
            &profile,
        );
        let transport = transport.telling(settings.log.clone());
        let config = Config { cell: cell.clone(), profile, cache_pages: CACHE_PAGES, bootstrap: false };
        let path = settings.data.join(format!("kv{nth}"));
        let store = Arc::new(FileStore::new(&path));
        let server = Server::start_logging(config, store, Arc::new(transport), settings.log.clone());
        let server = Arc::new(server.map_err(|source| OpenError::Database { path, source })?);
        // What its disk holds is known after a restart, which is for whoever watches this process to do.
        server.on_failure(|| std::process::exit(1));
        let sealed = if members.keys.is_some() { cell.ids().collect() } else { Default::default() };
        let called_by =
            over_rx::Membership { hosts: hosts.clone(), needs_key: members.keys.is_some(), sealed };
        let security = std::slice::from_ref(&members.service);
        over_rx::serve(port, services, server.peer_service(), called_by.clone(), security, security);
        let (writes, reads) = (Arc::new(Queue::default()), Arc::new(Queue::default()));
        let service = StepService::new(called_by, writes.clone(), reads.clone());
        port.serve(services.application, security.to_vec(), Arc::new(service));
        let peers = Peers::new(
            cell.peers().collect(),
            port.dialer(),
            hosts,
            services.application,
            members.client.clone(),
        );
        let mut replica = Replica {
            server,
            me: cell.me(),
            writes,
            reads,
            clock: Arc::new(CellClock::new()),
            seen: Arc::default(),
            threads: Mutex::default(),
        };
        replica.start_threads(Arc::new(peers), settings.quota).map_err(OpenError::Thread)?;
        Ok(replica)
    }

    fn start_threads(&mut self, peers: Arc<Peers>, quota: u64) -> std::io::Result<()> {
        let reader = Reader {
            server: self.server.clone(),
            me: self.me,
            queue: self.reads.clone(),
            writes: self.writes.clone(),
            peers: peers.clone(),
            clock: self.clock.clone(),
            patience: PATIENCE,
            image: OpenImage::new(),
            version: None,
        };
        self.spawn("kv reads", move || reader.run())?;
        let writer = Writer {
            server: self.server.clone(),
            me: self.me,
            queue: self.writes.clone(),
            peers,
            clock: self.clock.clone(),
            quota,
            patience: PATIENCE,
            image: OpenImage::new(),
            office: None,
        };
        self.spawn("kv writes", move || writer.run())?;
        let (server, clock, seen) = (self.server.clone(), self.clock.clone(), self.seen.clone());
        self.spawn("kv clock", move || observer::observe(&server, &clock, &seen))
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body)?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    fn close(&self) {
        self.writes.close();
        self.reads.close();
        self.seen.stop();
    }
}

impl Replica {
    /// Waits until its last step is over.
    fn join(&self) {
        for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }

    /// Gives the mandate up after the last commit; false if there is nobody who could take it, or no mandate.
    fn resigns(&self, servers: usize) -> bool {
        self.join();
        let is_sync_site = servers > 1 && self.server.sync_site() == Some(self.me);
        if is_sync_site {
            self.server.resign();
        }
        is_sync_site
    }

    fn has_no_successor(&self) -> bool {
        self.server.sync_site().is_none_or(|site| site == self.me)
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.close();
        self.join();
    }
}
