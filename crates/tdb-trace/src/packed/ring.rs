//! The file of a packed trace, as it is written.
//!
//! Owns the file, the mapping of its first pages, and the thread that empties the ring. A record is put into the ring, in memory
//! that stays in the processor's cache, and becomes part of the trace when the head moves past it; so what was recorded outlives a
//! killed process, without a system call. Older records are written behind the ring, a part of it at a time: by a thread
//! of its own, or, if that is behind, by the recording thread. The numbers that count are in this process's memory; those in the file
//! are copies, since another process may cut the file short ([`tdb::sigbus`]).
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tdb::sigbus::{self, Watch};

use super::{ANNOUNCED_AT, DRAINED_AT, HEAD_AT, LAYOUT, LAYOUT_AT, MAGIC, PAGE, RING_AT};
use crate::file;

/// Large enough that a part of it is worth a system call, and small enough for the processor's second cache.
const RING: usize = 1 << 18;
/// The thread empties the ring when it holds so much.
const PART: u64 = RING as u64 / 4;
/// A longer record is written behind the ring at once.
const LONGEST: usize = RING / 2;
/// Enough for one call of the kernel.
const STACK: usize = 1 << 16;

/// What the recording thread and the one that empties the ring share.
struct Shared {
    file: File,
    /// The page of numbers, the ring, and the ring once more, so that no record is in two pieces.
    base: *mut u8,
    /// How many bytes of records there are.
    head: AtomicU64,
    /// How many of them are behind the ring.
    drained: AtomicU64,
    /// Held by the thread that empties the ring; says why that failed.
    draining: Mutex<Option<io::Error>>,
    failed: AtomicBool,
    stop: AtomicBool,
    watch: Option<Watch>,
}

// SAFETY: the mapping belongs to this value. The recording thread writes between head and drained + RING, the other reads
// between drained and head, and both move only their own end, with release and acquire.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

/// A packed trace that is being written.
pub(super) struct Ring {
    shared: Arc<Shared>,
    path: PathBuf,
    /// A record that is too long for the ring.
    long: Vec<u8>,
    is_long: bool,
    thread: Option<JoinHandle<()>>,
    /// No thread could be made.
    alone: bool,
}

impl Ring {
    /// Makes the file, which must not exist.
    pub fn create(path: &Path) -> io::Result<Ring> {
        sigbus::install()?;
        let file = file::create(path)?;
        // Written, so that a full disk is an error here and not a signal later.
        let mut first = vec![0; PAGE + RING];
        first[..MAGIC.len()].copy_from_slice(&MAGIC);
        first[LAYOUT_AT..][..4].copy_from_slice(&LAYOUT.to_le_bytes());
        first[RING_AT..][..4].copy_from_slice(&(RING as u32).to_le_bytes());
        file.write_all_at(&first, 0)?;
        let base = map(&file)?;
        // SAFETY: a mapping of ours alone, of this length; it is unmapped after the watch has gone.
        let watch = unsafe { sigbus::watch_mapping(base, PAGE + 2 * RING) };
        let shared = Shared {
            file,
            base,
            head: AtomicU64::new(0),
            drained: AtomicU64::new(0),
            draining: Mutex::new(None),
            failed: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            watch,
        };
        let (shared, path) = (Arc::new(shared), path.into());
        Ok(Ring { shared, path, long: Vec::new(), is_long: false, thread: None, alone: false })
    }

    /// Gives the file another name, which nothing has.
    pub fn rename(&mut self, path: &Path) -> io::Result<()> {
        file::rename(&self.path, path)?;
        self.path = path.into();
        Ok(())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Room for a record of up to `len` bytes; nothing in it is part of the trace yet.
    ///
    /// # Errors
    /// The trace cannot be written any more.
    #[inline]
    pub fn room(&mut self, len: usize) -> io::Result<&mut [u8]> {
        let shared = &*self.shared;
        let used = shared.head.load(Ordering::Relaxed) - shared.drained.load(Ordering::Acquire);
        if len > LONGEST || used as usize + len > RING || shared.failed.load(Ordering::Relaxed) {
            self.make_room(len)?;
        }
        self.is_long = len > LONGEST;
        Ok(self.record())
    }

    /// What [`Ring::room`] gave last.
    #[inline]
    pub fn record(&mut self) -> &mut [u8] {
        if self.is_long {
            return &mut self.long;
        }
        let head = self.shared.head.load(Ordering::Relaxed);
        let used = (head - self.shared.drained.load(Ordering::Acquire)) as usize;
        // SAFETY: inside the ring's two images, from the head to where the oldest record in it begins; only this thread
        // writes there, through `self`.
        unsafe {
            let at = self.shared.base.add(PAGE + head as usize % RING);
            std::slice::from_raw_parts_mut(at, RING - used)
        }
    }

    /// Says that the first `len` bytes in the room are under way; they stay where they are until [`Ring::publish`].
    pub fn announce(&mut self, len: usize) -> io::Result<()> {
        let head = self.shared.head.load(Ordering::Relaxed);
        if self.is_long {
            self.shared.file.write_all_at(&self.long[..len], BEHIND + head)?;
        }
        self.shared.say(ANNOUNCED_AT, head + len as u64);
        Ok(())
    }

    /// Takes back what was announced.
    pub fn withdraw(&self) {
        self.shared.say(ANNOUNCED_AT, 0);
    }

    /// Makes the first `len` bytes in the room a part of the trace.
    #[inline]
    pub fn publish(&mut self, len: usize) -> io::Result<()> {
        let before = self.shared.head.load(Ordering::Relaxed);
        let head = before + len as u64;
        if self.is_long {
            self.shared.file.write_all_at(&self.long[..len], BEHIND + before)?;
            self.shared.drained.store(head, Ordering::Release);
            self.shared.say(DRAINED_AT, head);
        }
        self.shared.say(HEAD_AT, head);
        self.shared.head.store(head, Ordering::Release);
        if head / PART != before / PART {
            self.wake();
        }
        Ok(())
    }

    #[cold]
    fn make_room(&mut self, len: usize) -> io::Result<()> {
        self.shared.drain()?;
        if len > LONGEST {
            self.long.resize(len, 0);
        }
        Ok(())
    }

    /// Has the ring emptied by the other thread.
    #[cold]
    fn wake(&mut self) {
        if self.thread.is_none() && !self.alone {
            self.thread = start(&self.shared).ok();
            self.alone = self.thread.is_none();
        }
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    /// Ends the trace: everything is behind the ring.
    ///
    /// # Errors
    /// Another process has removed the file or cut it short, or the disk is full.
    pub fn finish(&mut self) -> io::Result<()> {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
        self.alone = true;
        self.shared.drain()
    }

    /// Lets go of it in a child after a fork, where there is no other thread and the trace is the parent's.
    pub fn abandon(&mut self) {
        if let Some(thread) = self.thread.take() {
            // To drop it would detach a thread that is not there.
            std::mem::forget(thread);
        }
    }
}

/// Where the records begin that follow the ring.
const BEHIND: u64 = (PAGE + RING) as u64;

impl Shared {
    /// Writes what is in the ring behind it.
    fn drain(&self) -> io::Result<()> {
        let mut failed = self.draining.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = &*failed {
            return Err(io::Error::new(error.kind(), error.to_string()));
        }
        let drained = self.write_part();
        if let Err(error) = &drained {
            *failed = Some(io::Error::new(error.kind(), error.to_string()));
            self.failed.store(true, Ordering::Release);
        }
        drained
    }

    fn write_part(&self) -> io::Result<()> {
        let (head, drained) = (self.head.load(Ordering::Acquire), self.drained.load(Ordering::Relaxed));
        let cut = || self.watch.as_ref().is_some_and(Watch::was_hit);
        file::check(&self.file.metadata()?, BEHIND + drained, cut())?;
        if head > drained {
            // SAFETY: inside the ring's two images; the recording thread writes beyond the head only.
            let part = unsafe {
                let at = self.base.add(PAGE + drained as usize % RING);
                std::slice::from_raw_parts(at, (head - drained) as usize)
            };
            self.file.write_all_at(part, BEHIND + drained)?;
        }
        // The ring itself may have been cut off meanwhile, and then this was zeros.
        if cut() {
            return Err(file::cut_short());
        }
        self.say(DRAINED_AT, head);
        self.drained.store(head, Ordering::Release);
        Ok(())
    }

    /// Puts a number into the file's page of numbers, after all that was written before.
    #[inline]
    fn say(&self, at: usize, number: u64) {
        // SAFETY: inside the mapping's first page, aligned, and only ever accessed like this.
        let place = unsafe { AtomicU64::from_ptr(self.base.add(at).cast()) };
        place.store(number.to_le(), Ordering::Release);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.watch = None;
        // SAFETY: a mapping of ours, which nobody looks at any more.
        unsafe { libc::munmap(self.base.cast(), PAGE + 2 * RING) };
    }
}

/// The page of numbers and the ring, and behind them the ring once more.
fn map(file: &File) -> io::Result<*mut u8> {
    let place = |at: *mut u8, len, flags, file, from: usize, access| {
        // SAFETY: a new mapping wherever the kernel likes, or in the place of a part of the one made first.
        let mapped = unsafe { libc::mmap(at.cast(), len, access, flags, file, from as libc::off_t) };
        if mapped == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(mapped.cast::<u8>()) }
    };
    let none = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let base = place(ptr::null_mut(), PAGE + 2 * RING, none, -1, 0, libc::PROT_NONE)?;
    let (shared, both) = (libc::MAP_SHARED | libc::MAP_FIXED, libc::PROT_READ | libc::PROT_WRITE);
    let images = place(base, PAGE + RING, shared, file.as_raw_fd(), 0, both)
        .and_then(|_| place(base.wrapping_add(PAGE + RING), RING, shared, file.as_raw_fd(), PAGE, both));
    if images.is_err() {
        // SAFETY: the mapping made above, which nobody has seen.
        unsafe { libc::munmap(base.cast(), PAGE + 2 * RING) };
    }
    images.map(|_| base)
}

/// The thread that empties the ring. It takes no signals: those are the recorded program's.
fn start(shared: &Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    let run = move || {
        while !shared.stop.load(Ordering::Acquire) && !shared.failed.load(Ordering::Acquire) {
            let used = shared.head.load(Ordering::Acquire) - shared.drained.load(Ordering::Acquire);
            if used >= PART {
                // The recording thread hears of an error when it wants room.
                let _ = shared.drain();
            } else {
                std::thread::park();
            }
        }
    };
    // SAFETY: sets of signals of our own, which these calls fill and read.
    unsafe {
        let (mut all, mut before) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&mut all);
        // A fault must still be heard by the thread that causes it.
        libc::sigdelset(&mut all, libc::SIGBUS);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let started = std::thread::Builder::new().name("tdb-trace".into()).stack_size(STACK).spawn(run);
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut());
        started
    }
}
