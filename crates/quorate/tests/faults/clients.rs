//! Clients that read and write registers, and everything they saw.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use history::linearizability::Call;
use history::register::{Effect, Need, ValueId};
use ubik::client::ClientError;

use crate::cluster::Cluster;

/// Registers in use: few enough that clients meet on them.
const KEYS: u32 = 16;
/// How long a client tries one call.
const PATIENCE: Duration = Duration::from_secs(4);
/// The pause between two calls of a client: the servers share a machine with other work.
const PAUSE: Duration = Duration::from_millis(15);

/// What the clients share.
struct Shared {
    begun: Instant,
    calls: Mutex<Vec<Call>>,
    /// Numbers the values: no value is ever written twice.
    values: AtomicU32,
    /// Numbers the processes: whoever does not know what became of its call goes on as another.
    processes: AtomicU32,
    /// When the last acknowledged write was called that is known of, and the longest wait for one; microseconds.
    last_write_called: AtomicU64,
    ended: AtomicBool,
}

/// A running load.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Shared {
    fn now(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }

    fn record(&self, call: Call) {
        self.calls.lock().unwrap().push(call);
    }
}

impl Load {
    /// Starts so many clients, each with a port of its own.
    pub fn start(cluster: &Cluster, clients: u32) -> Load {
        let shared = Arc::new(Shared {
            begun: Instant::now(),
            calls: Mutex::default(),
            values: AtomicU32::new(1),
            processes: AtomicU32::new(clients),
            last_write_called: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        let threads = (0..clients).map(|process| {
            let (shared, client) = (shared.clone(), cluster.client(PATIENCE));
            std::thread::spawn(move || work(&shared, &client, process))
        });
        let threads = threads.collect();
        Load { shared, threads }
    }

    /// Microseconds since the load began.
    pub fn now(&self) -> u64 {
        self.shared.now()
    }

    /// Whether a write that was called after `moment` has been acknowledged.
    pub fn has_written_since(&self, moment: u64) -> bool {
        self.shared.last_write_called.load(Ordering::Relaxed) > moment
    }

    /// Ends the load with one read of every register; returns everything that was called.
    pub fn end(self) -> Vec<Call> {
        self.shared.ended.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        let mut calls = std::mem::take(&mut *self.shared.calls.lock().unwrap());
        calls.sort_by_key(|call| call.invoked_at);
        calls
    }
}

fn work(shared: &Shared, client: &ubik::client::Client, mut process: u32) {
    let mut random = fastrand::Rng::new();
    while !shared.ended.load(Ordering::Relaxed) {
        let key = random.u32(..KEYS);
        if random.bool() {
            read(shared, client, process, key);
        } else {
            write(shared, client, &mut process, key);
        }
        std::thread::sleep(PAUSE);
    }
    // What is left at the end must be what was written last.
    for key in 0..KEYS {
        read(shared, client, process, key);
    }
}

fn value_id(value: u64) -> ValueId {
    // 0 is what a register holds that was never written; 1 is the solver's own.
    if value == 0 { ValueId::ABSENT } else { ValueId(value as u32 + 1) }
}

fn read(shared: &Shared, client: &ubik::client::Client, process: u32, key: u32) {
    let invoked_at = shared.now();
    if let Ok(reading) = client.read_register(key) {
        let need = Need::Exactly(value_id(reading.value));
        let returned_at = Some(shared.now());
        shared.record(Call { process, key, need, effect: Effect::Keep, invoked_at, returned_at });
    }
}

fn write(shared: &Shared, client: &ubik::client::Client, process: &mut u32, key: u32) {
    let value = u64::from(shared.values.fetch_add(1, Ordering::Relaxed));
    let effect = Effect::Put(value_id(value));
    let invoked_at = shared.now();
    let call =
        |process, returned_at| Call { process, key, need: Need::Anything, effect, invoked_at, returned_at };
    match client.write_register(key, value) {
        Ok(_) => {
            shared.record(call(*process, Some(shared.now())));
            shared.last_write_called.fetch_max(invoked_at, Ordering::Relaxed);
        }
        // Nobody knows whether it happened.
        Err(ClientError::Unknown(_)) => {
            shared.record(call(*process, None));
            *process = shared.processes.fetch_add(1, Ordering::Relaxed);
        }
        // These say that nothing was done; a read of the value would contradict that.
        Err(ClientError::TimedOut { .. } | ClientError::Refused(_)) => {}
    }
}
