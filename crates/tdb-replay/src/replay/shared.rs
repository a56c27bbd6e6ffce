//! The progress of workers that are processes: [`super::turn`]'s counters in memory that they share.
//!
//! Owns the mapping and the sleeping. A worker that must wait spins for a moment, then sleeps in the kernel (a futex)
//! until the trace it waits for announces something; one that finds its wait satisfied loads one word.
#![allow(unsafe_code)]

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use super::turn::{SPINS, Stopped};

/// One trace's progress, on a cache line of its own.
#[repr(C, align(128))]
struct Counter {
    /// Rows finished, as far as anybody waits for them.
    finished: AtomicU32,
    /// Changes with every announcement: what sleepers sleep on.
    announcements: AtomicU32,
    sleepers: AtomicU32,
}

/// Where all begin together, and end.
#[repr(C, align(128))]
struct Gate {
    ready: AtomicU32,
    open: AtomicU32,
    stopped: AtomicU32,
}

/// The memory: a gate, and a counter for each trace.
pub struct SharedTurns {
    memory: NonNull<libc::c_void>,
    traces: usize,
}

// SAFETY: the memory holds atomics only, and lives as long as the value.
unsafe impl Send for SharedTurns {}
// SAFETY: as above.
unsafe impl Sync for SharedTurns {}

fn size(traces: usize) -> usize {
    size_of::<Gate>() + traces * size_of::<Counter>()
}

impl SharedTurns {
    /// Nothing has finished. Children made by fork share it.
    pub fn new(traces: usize) -> io::Result<SharedTurns> {
        // SAFETY: a new mapping of zeros wherever the kernel likes; it replaces nothing.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size(traces),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        match NonNull::new(memory).filter(|_| memory != libc::MAP_FAILED) {
            Some(memory) => Ok(SharedTurns { memory, traces }),
            None => Err(io::Error::last_os_error()),
        }
    }

    fn gate(&self) -> &Gate {
        // SAFETY: the memory begins with a gate; zeros are one, and a page's start is aligned for it.
        unsafe { self.memory.cast::<Gate>().as_ref() }
    }

    fn counters(&self) -> &[Counter] {
        // SAFETY: behind the gate there is a counter for each trace; zeros are counters.
        unsafe {
            let first = self.memory.cast::<Gate>().add(1).cast::<Counter>();
            std::slice::from_raw_parts(first.as_ptr(), self.traces)
        }
    }

    /// Whether the first `rows` rows of `trace` have finished.
    pub fn reached(&self, trace: usize, rows: u32) -> bool {
        self.counters()[trace].finished.load(Ordering::Acquire) >= rows
    }

    /// The first `rows` rows of `trace` have finished.
    pub fn finish(&self, trace: usize, rows: u32) {
        let counter = &self.counters()[trace];
        counter.finished.store(rows, Ordering::SeqCst);
        announce(counter);
    }

    /// Waits until the first `rows` rows of `trace` have finished; true if it had to sleep.
    pub fn wait(&self, trace: usize, rows: u32) -> Result<bool, Stopped> {
        let counter = &self.counters()[trace];
        for _ in 0..SPINS {
            if counter.finished.load(Ordering::Acquire) >= rows || self.is_stopped() {
                return self.going(false);
            }
            std::hint::spin_loop();
        }
        counter.sleepers.fetch_add(1, Ordering::SeqCst);
        loop {
            // Loaded before the look at what is waited for: an announcement after that look changes it.
            let seen = counter.announcements.load(Ordering::SeqCst);
            if counter.finished.load(Ordering::SeqCst) >= rows || self.is_stopped() {
                break;
            }
            sleep_on(&counter.announcements, seen);
        }
        counter.sleepers.fetch_sub(1, Ordering::SeqCst);
        self.going(true)
    }

    /// Ends every wait, now and later.
    pub fn stop(&self) {
        self.gate().stopped.store(1, Ordering::SeqCst);
        self.counters().iter().for_each(announce);
        for word in [&self.gate().ready, &self.gate().open] {
            word.fetch_add(1, Ordering::SeqCst);
            wake_all(word);
        }
    }

    fn is_stopped(&self) -> bool {
        self.gate().stopped.load(Ordering::SeqCst) != 0
    }

    fn going(&self, slept: bool) -> Result<bool, Stopped> {
        if self.is_stopped() { Err(Stopped) } else { Ok(slept) }
    }

    /// A worker is ready; returns when all are.
    pub fn meet(&self) {
        self.gate().ready.fetch_add(1, Ordering::SeqCst);
        wake_all(&self.gate().ready);
        while self.gate().open.load(Ordering::SeqCst) == 0 && !self.is_stopped() {
            sleep_on(&self.gate().open, 0);
        }
    }

    /// Lets the workers begin once all of them are ready, or one has failed.
    pub fn begin(&self) {
        loop {
            let ready = self.gate().ready.load(Ordering::SeqCst);
            if ready as usize >= self.traces || self.is_stopped() {
                break;
            }
            sleep_on(&self.gate().ready, ready);
        }
        self.gate().open.fetch_add(1, Ordering::SeqCst);
        wake_all(&self.gate().open);
    }
}

impl Drop for SharedTurns {
    fn drop(&mut self) {
        // SAFETY: the mapping made by `new`, to which no reference is alive.
        unsafe { libc::munmap(self.memory.as_ptr(), size(self.traces)) };
    }
}

fn announce(counter: &Counter) {
    counter.announcements.fetch_add(1, Ordering::SeqCst);
    if counter.sleepers.load(Ordering::SeqCst) > 0 {
        wake_all(&counter.announcements);
    }
}

/// Sleeps unless `word` is not `seen` any more; may wake for no reason.
fn sleep_on(word: &AtomicU32, seen: u32) {
    // SAFETY: a word that outlives the call; no time limit.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            seen,
            std::ptr::null::<libc::timespec>(),
        )
    };
}

fn wake_all(word: &AtomicU32) {
    // SAFETY: a word that outlives the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}
