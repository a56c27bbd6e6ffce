//! The progress of workers that are threads: one counter a trace.
//!
//! Owns the counters and the parking. A counter is written only at rows that some other trace waits for, and only by its
//! own worker. A wait that is already satisfied is one load. One that is not spins for a moment, then parks; the
//! worker that satisfies it unparks exactly those whose number is reached.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};

use super::stop::{SPINS, Stopped};

/// On a cache line of its own, so that traces do not slow each other down.
#[repr(align(128))]
struct Counter {
    /// Rows finished, as far as anybody waits for them.
    finished: AtomicU32,
    /// The smallest number that a parked worker waits for.
    wanted: AtomicU32,
    parked: Mutex<Vec<(u32, Thread)>>,
}

impl Counter {
    fn parked(&self) -> MutexGuard<'_, Vec<(u32, Thread)>> {
        // Held for a push or a drain only, neither of which leaves it half done.
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The progress of workers that are threads.
pub struct ThreadTurns {
    counters: Vec<Counter>,
    stopped: AtomicBool,
    gate: Mutex<Gate>,
    /// Notified when a worker is ready, when all may begin, and when all are to stop.
    gate_changed: Condvar,
}

/// Where all begin together.
#[derive(Default)]
struct Gate {
    ready: usize,
    open: bool,
}

impl ThreadTurns {
    /// Nothing has finished.
    pub fn new(traces: usize) -> ThreadTurns {
        let counter = |_| Counter {
            finished: AtomicU32::new(0),
            wanted: AtomicU32::new(u32::MAX),
            parked: Mutex::new(Vec::new()),
        };
        ThreadTurns {
            counters: (0..traces).map(counter).collect(),
            stopped: AtomicBool::new(false),
            gate: Mutex::default(),
            gate_changed: Condvar::new(),
        }
    }

    /// A worker is ready; returns when all are.
    pub fn meet(&self) {
        let mut gate = self.gate();
        gate.ready += 1;
        self.gate_changed.notify_all();
        let closed = |gate: &mut Gate| !gate.open && !self.stopped.load(Ordering::SeqCst);
        drop(self.gate_changed.wait_while(gate, closed));
    }

    /// Lets the workers begin once all of them are ready, or one has failed.
    pub fn begin(&self) {
        let missing =
            |gate: &mut Gate| gate.ready < self.counters.len() && !self.stopped.load(Ordering::SeqCst);
        let gate = self.gate_changed.wait_while(self.gate(), missing);
        gate.unwrap_or_else(PoisonError::into_inner).open = true;
        self.gate_changed.notify_all();
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        // A count and a flag: nothing leaves them half done.
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the first `rows` rows of `trace` have finished.
    pub fn reached(&self, trace: usize, rows: u32) -> bool {
        self.counters[trace].finished.load(Ordering::Acquire) >= rows
    }

    /// The first `rows` rows of `trace` have finished.
    pub fn finish(&self, trace: usize, rows: u32) {
        let counter = &self.counters[trace];
        // Sequentially consistent with the store to `wanted` and the load after it in `wait`: either this load sees
        // the waiter, or the waiter's second look sees this store.
        counter.finished.store(rows, Ordering::SeqCst);
        if counter.wanted.load(Ordering::SeqCst) <= rows {
            wake(counter, rows);
        }
    }

    /// Waits until the first `rows` rows of `trace` have finished; true if it had to park.
    pub fn wait(&self, trace: usize, rows: u32) -> Result<bool, Stopped> {
        let counter = &self.counters[trace];
        for _ in 0..SPINS {
            if counter.finished.load(Ordering::Acquire) >= rows || self.stopped.load(Ordering::Relaxed) {
                return self.going(false);
            }
            std::hint::spin_loop();
        }
        {
            let mut parked = counter.parked();
            parked.push((rows, thread::current()));
            counter.wanted.fetch_min(rows, Ordering::SeqCst);
        }
        while counter.finished.load(Ordering::SeqCst) < rows && !self.stopped.load(Ordering::SeqCst) {
            thread::park();
        }
        self.going(true)
    }

    /// Ends every wait, now and later.
    pub fn stop(&self) {
        // Under the gate's lock: who looks at it before it waits there sees this, or is notified.
        let gate = self.gate();
        self.stopped.store(true, Ordering::SeqCst);
        self.gate_changed.notify_all();
        drop(gate);
        for counter in &self.counters {
            // Who parks after this drain sees `stopped` before it sleeps.
            wake(counter, u32::MAX);
        }
    }

    fn going(&self, parked: bool) -> Result<bool, Stopped> {
        if self.stopped.load(Ordering::Acquire) { Err(Stopped) } else { Ok(parked) }
    }
}

/// Unparks those who wait for `rows` or less.
fn wake(counter: &Counter, rows: u32) {
    let mut parked = counter.parked();
    let mut wanted = u32::MAX;
    parked.retain(|(wants, thread)| {
        if *wants <= rows {
            thread.unpark();
            return false;
        }
        wanted = wanted.min(*wants);
        true
    });
    counter.wanted.store(wanted, Ordering::SeqCst);
}
