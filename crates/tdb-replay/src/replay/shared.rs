//! The progress of workers that are processes: [`super::threads`]' counters in memory that they share.
//!
//! Owns the mappings and the sleeping. A worker that must wait spins for a moment, then sleeps in the kernel (a futex)
//! until the trace it waits for announces something; one that finds its wait satisfied loads one word.
#![allow(unsafe_code)]

use std::io;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use super::stop::{SPINS, Stopped};

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

/// Types of which any number may be zero bytes that several processes change at once.
///
/// # Safety
/// The type consists of atomics only, for which zeros are valid.
pub(super) unsafe trait Zeroed: Sync {}

// SAFETY: three atomic numbers.
unsafe impl Zeroed for Counter {}
// SAFETY: three atomic numbers.
unsafe impl Zeroed for Gate {}

/// Numbers on a cache line of their own.
#[repr(C, align(128))]
pub(super) struct Line<const N: usize>(pub [AtomicU32; N]);

// SAFETY: atomic numbers.
unsafe impl<const N: usize> Zeroed for Line<N> {}

/// Values in memory that this process shares with the children that it forks.
pub(super) struct Shared<T: Zeroed> {
    memory: NonNull<libc::c_void>,
    len: usize,
    of: PhantomData<T>,
}

// SAFETY: the memory holds atomics only, and lives as long as the value.
unsafe impl<T: Zeroed> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Zeroed> Sync for Shared<T> {}

impl<T: Zeroed> Shared<T> {
    /// `len` values, all of zeros; at least one.
    pub fn new(len: usize) -> io::Result<Shared<T>> {
        let len = len.max(1);
        // SAFETY: a new mapping of zeros wherever the kernel likes; it replaces nothing.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len * size_of::<T>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        match NonNull::new(memory).filter(|_| memory != libc::MAP_FAILED) {
            Some(memory) => Ok(Shared { memory, len, of: PhantomData }),
            None => Err(io::Error::last_os_error()),
        }
    }

    /// The values.
    pub fn all(&self) -> &[T] {
        // SAFETY: the mapping has room for this many, zeros are valid, and a page's start is aligned for them.
        unsafe { std::slice::from_raw_parts(self.memory.cast::<T>().as_ptr(), self.len) }
    }
}

impl<T: Zeroed> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping made by `new`, to which no reference is alive.
        unsafe { libc::munmap(self.memory.as_ptr(), self.len * size_of::<T>()) };
    }
}

/// The memory: a gate, and a counter for each trace.
pub struct SharedTurns {
    gate: Shared<Gate>,
    counters: Shared<Counter>,
    traces: usize,
}

impl SharedTurns {
    /// Nothing has finished. Children made by fork share it.
    pub fn new(traces: usize) -> io::Result<SharedTurns> {
        Ok(SharedTurns { gate: Shared::new(1)?, counters: Shared::new(traces)?, traces })
    }

    fn gate(&self) -> &Gate {
        &self.gate.all()[0]
    }

    fn counters(&self) -> &[Counter] {
        self.counters.all()
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
