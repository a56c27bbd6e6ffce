//! A store whose log takes as long to sync as the test wants.

use std::io;
use std::sync::{Arc, Condvar, Mutex};

use ubik::phys::memory::MemoryStore;
use ubik::phys::{PhysicalStore, Replacement, StoreFile};
use ubik_proto::election::promise::KeptPromise;
use ubik_proto::version::Version;

/// Who waits at a gate, and whether it is closed.
#[derive(Default)]
struct State {
    closed: bool,
    waiting: usize,
}

/// A store in memory, with a gate before each sync of its log. Clones share both.
#[derive(Clone, Default)]
pub struct GatedStore {
    store: MemoryStore,
    gate: Arc<(Mutex<State>, Condvar)>,
}

impl GatedStore {
    /// Closes the gate: what is to be synced waits until what this returns is dropped, also by a test that fails.
    pub fn close(&self) -> Closed<'_> {
        self.gate.0.lock().unwrap().closed = true;
        Closed(self)
    }

    /// Waits until somebody waits at the gate.
    pub fn await_sync(&self) {
        let state = self.gate.0.lock().unwrap();
        drop(self.gate.1.wait_while(state, |state| state.waiting == 0).unwrap());
    }
}

/// A gate that is closed.
pub struct Closed<'a>(&'a GatedStore);

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.gate.0.lock().unwrap().closed = false;
        self.0.gate.1.notify_all();
    }
}

impl PhysicalStore for GatedStore {
    fn open(&self) -> io::Result<(Arc<dyn StoreFile>, Option<Version>)> {
        self.store.open()
    }

    fn write_log(&self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.gate.0.lock().unwrap();
        state.waiting += 1;
        self.gate.1.notify_all();
        state = self.gate.1.wait_while(state, |state| state.closed).unwrap();
        state.waiting -= 1;
        drop(state);
        self.store.write_log(bytes)
    }

    fn clear_log(&self) -> io::Result<()> {
        self.store.clear_log()
    }

    fn read_log(&self) -> io::Result<Vec<u8>> {
        self.store.read_log()
    }

    fn begin_replacement(&self) -> io::Result<Box<dyn Replacement>> {
        self.store.begin_replacement()
    }

    fn load_promise(&self) -> io::Result<Option<KeptPromise>> {
        self.store.load_promise()
    }

    fn save_promise(&self, promise: KeptPromise) -> io::Result<()> {
        self.store.save_promise(promise)
    }
}
