//! Who has got how far: the traces' progress, and waiting for it.
//!
//! Owns one counter a trace. It is written only at rows that some other trace waits for, and only by its own worker.
//! A wait that is already satisfied is one load. One that is not spins for a moment, then parks; the worker that
//! satisfies it unparks exactly those whose number is reached. Workers that are processes have no threads to unpark: for
//! them [`super::shared`] does the same with the kernel's words to sleep on, and wakes all who sleep.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};

use super::shared::SharedTurns;

/// Loads before a worker parks. Longer spinning would take the core from the worker that is waited for, when there
/// are more workers than cores.
pub(super) const SPINS: u32 = 200;

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

/// The progress of all traces, for workers of either kind.
pub enum Turns {
    /// They are threads.
    Threads(ThreadTurns),
    /// They are processes.
    Processes(SharedTurns),
}

/// The replay was stopped by another worker.
#[derive(Debug, PartialEq, Eq)]
pub struct Stopped;

impl Turns {
    /// Whether the first `rows` rows of `trace` have finished.
    #[inline]
    pub fn reached(&self, trace: usize, rows: u32) -> bool {
        match self {
            Turns::Threads(turns) => turns.reached(trace, rows),
            Turns::Processes(turns) => turns.reached(trace, rows),
        }
    }

    /// The first `rows` rows of `trace` have finished.
    pub fn finish(&self, trace: usize, rows: u32) {
        match self {
            Turns::Threads(turns) => turns.finish(trace, rows),
            Turns::Processes(turns) => turns.finish(trace, rows),
        }
    }

    /// Waits until the first `rows` rows of `trace` have finished; true if it had to sleep.
    pub fn wait(&self, trace: usize, rows: u32) -> Result<bool, Stopped> {
        match self {
            Turns::Threads(turns) => turns.wait(trace, rows),
            Turns::Processes(turns) => turns.wait(trace, rows),
        }
    }

    /// Ends every wait, now and later.
    pub fn stop(&self) {
        match self {
            Turns::Threads(turns) => turns.stop(),
            Turns::Processes(turns) => turns.stop(),
        }
    }
}

/// The progress of workers that are threads.
pub struct ThreadTurns {
    counters: Vec<Counter>,
    stopped: AtomicBool,
}

impl ThreadTurns {
    /// Nothing has finished.
    pub fn new(traces: usize) -> ThreadTurns {
        let counter = |_| Counter {
            finished: AtomicU32::new(0),
            wanted: AtomicU32::new(u32::MAX),
            parked: Mutex::new(Vec::new()),
        };
        ThreadTurns { counters: (0..traces).map(counter).collect(), stopped: AtomicBool::new(false) }
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
        self.stopped.store(true, Ordering::SeqCst);
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
