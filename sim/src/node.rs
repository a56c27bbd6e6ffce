//! One machine: its clocks, its disk, and the server on it while it is up.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use ubik::phys::memory::MemoryStore;
use ubik::server_state::{Clock, Config, ServerState, StartError};
use ubik_proto::cell::Dialect;
use ubik_proto::time::{Moment, Now};
use ubik_proto::version::Version;

use crate::openafs::{Act, Disk, Peer};

/// What the server reads: set by the machine before each event.
#[derive(Debug, Default)]
pub struct Reading {
    moment: AtomicU64,
    wall: AtomicI64,
}

impl Clock for Reading {
    fn now(&self) -> Now {
        let moment = Moment::from_micros(self.moment.load(Ordering::Relaxed));
        Now { moment, wall: self.wall.load(Ordering::Relaxed) }
    }
}

/// Real time of a run's start on the wall clock.
const WALL_START: i64 = 1_700_000_000;

/// A monotonic clock with a rate of its own, and a wall clock with an error.
#[derive(Debug)]
pub struct Clocks {
    base_real: u64,
    base_local: u64,
    /// Parts per million by which it runs fast.
    rate_ppm: i64,
    /// How far the wall clock is ahead, in seconds.
    pub wall_error: i64,
}

impl Clocks {
    /// Clocks that show `local` at `real`.
    pub fn new(real: u64, local: u64) -> Self {
        Clocks { base_real: real, base_local: local, rate_ppm: 0, wall_error: 0 }
    }

    /// The monotonic clock at `real`.
    pub fn local(&self, real: u64) -> u64 {
        let passed = (real - self.base_real) as i128;
        self.base_local + (passed * (1_000_000 + i128::from(self.rate_ppm)) / 1_000_000) as u64
    }

    /// The real time at which the monotonic clock shows `local`, or a moment after.
    pub fn real(&self, local: u64) -> u64 {
        let ahead = i128::from(local.saturating_sub(self.base_local));
        self.base_real + (ahead * 1_000_000 / (1_000_000 + i128::from(self.rate_ppm))) as u64 + 1
    }

    /// Parts per million by which it runs fast.
    pub fn rate_ppm(&self) -> i64 {
        self.rate_ppm
    }

    /// Changes the rate from `real` on.
    pub fn set_rate(&mut self, real: u64, rate_ppm: i64) {
        self.base_local = self.local(real);
        self.base_real = real;
        self.rate_ppm = rate_ppm;
    }

    /// Puts the monotonic clock ahead.
    pub fn jump(&mut self, micros: u64) {
        self.base_local += micros;
    }

    /// The wall clock at `real`, in seconds.
    pub fn wall(&self, real: u64) -> i64 {
        WALL_START + (real / 1_000_000) as i64 + self.wall_error
    }
}

/// One machine.
pub struct Node {
    /// What it runs, while it is up.
    pub state: Option<ServerState>,
    /// OpenAFS's server instead, while it is up.
    pub openafs: Option<Peer>,
    /// What that leaves on its disk.
    pub openafs_disk: Disk,
    /// Its disk.
    pub store: MemoryStore,
    /// Its clocks.
    pub clocks: Clocks,
    reading: Arc<Reading>,
    /// Counts its lives.
    pub life: u64,
    /// When its timers are set to, so that one is not set twice.
    pub election_timer: u64,
    /// As above, of the copy.
    pub replica_timer: u64,
    /// Its tail after the last event.
    pub tail: Version,
    /// What it last showed.
    pub visible: Option<Version>,
    /// Whether its disk is full.
    pub full_disk: bool,
    /// How many times as long as usual its disk takes now.
    pub slow_disk: u64,
    config: Config,
}

impl Node {
    /// A machine that is off.
    pub fn new(config: Config) -> Self {
        Node {
            state: None,
            openafs: None,
            openafs_disk: Disk::default(),
            store: MemoryStore::new(),
            clocks: Clocks::new(0, 0),
            reading: Arc::default(),
            life: 0,
            election_timer: u64::MAX,
            replica_timer: u64::MAX,
            tail: Version::FRESH,
            visible: None,
            full_disk: false,
            slow_disk: 1,
            config,
        }
    }

    /// Whether it runs OpenAFS's program.
    pub fn is_openafs(&self) -> bool {
        let cell = &self.config.cell;
        cell.server(cell.me()).dialect == Dialect::OpenAfs
    }

    /// Whether its server runs.
    pub fn is_up(&self) -> bool {
        self.state.is_some() || self.openafs.is_some()
    }

    /// Whether it has a vote.
    pub fn is_voter(&self) -> bool {
        self.config.cell.is_voter(self.config.cell.me())
    }

    /// Sets what its server reads from its clocks.
    pub fn set_time(&self, real: u64) {
        self.reading.moment.store(self.clocks.local(real), Ordering::Relaxed);
        self.reading.wall.store(self.clocks.wall(real), Ordering::Relaxed);
    }

    /// Starts its server.
    ///
    /// # Errors
    /// If the store cannot be opened.
    pub fn start(&mut self, real: u64) -> Result<(), StartError> {
        self.set_time(real);
        self.life += 1;
        self.election_timer = u64::MAX;
        self.replica_timer = u64::MAX;
        let state =
            ServerState::start(self.config.clone(), Arc::new(self.store.clone()), self.reading.clone())?;
        self.visible = None;
        self.state = Some(state);
        Ok(())
    }

    /// Starts OpenAFS's server on it.
    pub fn start_openafs(&mut self, real: u64) -> Vec<Act> {
        self.life += 1;
        let now = self.clocks.wall(real);
        let (peer, acts) = Peer::start(self.config.cell.clone(), self.openafs_disk.clone(), now);
        self.openafs = Some(peer);
        acts
    }

    /// Stops it as a power failure would: of what was not synced, anything may be lost.
    pub fn crash(&mut self, random: &mut fastrand::Rng) {
        if let Some(peer) = self.openafs.take() {
            self.openafs_disk = peer.disk;
        }
        self.state = None;
        self.visible = None;
        self.store.disarm();
        self.store.crash(&mut || random.bool());
    }
}
