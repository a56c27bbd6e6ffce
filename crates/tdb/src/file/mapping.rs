//! A piece of memory that holds the database: the mapped file, or anonymous memory for databases without a file.
//!
//! Every access is checked against the mapping's length, so no offset from the file can reach outside. What is in
//! the memory may be changed by other processes at any time, so all access is by copy ([`super::shared`]): there is never
//! a reference into it. A change of its length that fails leaves it as it was.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::file::forks::{self, Mapped};
use crate::file::format::{ChainStep, FreeStep};
use crate::file::{shared, sigbus};

/// What may be done with the memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
    /// Writing is possible, and what is written stays in this process: the file is as it was.
    WritePrivately,
}

/// Memory of the process that mirrors a file, or stands alone.
pub(crate) struct Mapping {
    base: Cell<*mut u8>,
    /// The bytes that may be used.
    len: Cell<usize>,
    /// The bytes that the kernel has mapped: more than `len` after a failed change of length.
    mapped: Cell<usize>,
    access: Cell<Access>,
    watch: Cell<Option<sigbus::Watch>>,
}

// SAFETY: the memory belongs to this value alone within the process, and nothing in it refers to a thread.
unsafe impl Send for Mapping {}

/// The kernel maps whole pages and rounds by itself; Miri wants it said.
fn whole_pages(len: usize) -> usize {
    len.next_multiple_of(4096)
}

impl Mapping {
    /// A mapping of nothing.
    pub fn empty(writable: bool) -> Mapping {
        Mapping {
            base: Cell::new(ptr::null_mut()),
            len: Cell::new(0),
            mapped: Cell::new(0),
            access: Cell::new(if writable { Access::Write } else { Access::Read }),
            watch: Cell::new(None),
        }
    }

    /// Makes the `len` bytes of the file from a place in it (or of anonymous memory) the mapping. The place is a whole
    /// number of pages, and the same as long as the mapping is not empty.
    ///
    /// # Errors
    /// The kernel's. The old mapping stays then, of which no more than `len` bytes are used.
    pub fn resize(&self, file: Option<(BorrowedFd<'_>, u64)>, len: usize) -> io::Result<()> {
        if len == self.mapped.get() {
            self.len.set(len);
            return Ok(());
        }
        let old = (self.base.get(), self.mapped.get());
        // What is not mapped in a file is not on the list.
        let mut held = forks::hold();
        held.remove(old.0);
        let placed = match (old.1, len) {
            (_, 0) => {
                self.release(old);
                Ok(ptr::null_mut())
            }
            (0, _) => self.mmap(file, len),
            _ => remap(old, len),
        };
        match placed {
            Ok(base) => {
                self.base.set(base);
                self.mapped.set(len);
                self.len.set(len);
                self.share(&mut held, file);
                let watch = if file.is_some() { sigbus::watch(base, len) } else { None };
                self.watch.set(watch);
                Ok(())
            }
            Err(error) => {
                self.len.set(self.len.get().min(len));
                self.share(&mut held, file);
                Err(error)
            }
        }
    }

    /// Notes what a child would have of the file. What was written privately is not in it.
    fn share(&self, held: &mut forks::Held, file: Option<(BorrowedFd<'_>, u64)>) {
        let (base, len, access) = (self.base.get(), self.mapped.get(), self.access.get());
        let writable = access == Access::Write;
        if let Some((file, start)) = file.filter(|_| len > 0 && access != Access::WritePrivately) {
            let (file, start) = (file.as_raw_fd(), start as libc::off_t);
            held.add(Mapped { base, len: whole_pages(len), writable, file, start });
        }
    }

    /// An empty mapping that was only for reading takes writes from now on and keeps them to this process, or is only for
    /// reading again.
    pub fn set_private(&self, private: bool) {
        debug_assert!(self.mapped.get() == 0 && self.access.get() != Access::Write);
        self.access.set(if private { Access::WritePrivately } else { Access::Read });
    }

    fn mmap(&self, file: Option<(BorrowedFd<'_>, u64)>, len: usize) -> io::Result<*mut u8> {
        let access = self.access.get();
        let protection = if access == Access::Read { 0 } else { libc::PROT_WRITE } | libc::PROT_READ;
        let sharing = if access == Access::WritePrivately { libc::MAP_PRIVATE } else { libc::MAP_SHARED };
        let (flags, fd, start) = match file {
            Some((file, start)) => (sharing, file.as_raw_fd(), start as libc::off_t),
            None => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0),
        };
        // SAFETY: a new mapping wherever the kernel likes; it replaces nothing.
        let base = unsafe { libc::mmap(ptr::null_mut(), whole_pages(len), protection, flags, fd, start) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // Miri runs the memory without the advice.
        if file.is_none() && !cfg!(miri) {
            // Chains jump all over the memory: large pages save most of the address lookups. Only advice.
            // SAFETY: the mapping just made.
            unsafe { libc::madvise(base, len, libc::MADV_HUGEPAGE) };
        }
        Ok(base.cast())
    }

    /// Gives the memory back; the watch goes first.
    fn release(&self, (base, len): (*mut u8, usize)) {
        self.watch.set(None);
        if len != 0 {
            // SAFETY: a mapping of ours, and there are no references into it.
            unsafe { libc::munmap(base.cast(), whole_pages(len)) };
        }
    }

    #[inline]
    fn is_writable(&self) -> bool {
        self.access.get() != Access::Read
    }

    /// The bytes that are mapped.
    pub fn len(&self) -> usize {
        self.len.get()
    }

    /// Whether the `len` bytes at `at` are mapped.
    #[inline]
    pub fn holds(&self, at: u32, len: usize) -> bool {
        inside(at, len, self.len.get())
    }

    /// The word at `at`, as it stands in the file.
    #[inline]
    pub fn word(&self, at: u32) -> Option<u32> {
        // SAFETY: checked to be inside.
        self.holds(at, 4).then(|| unsafe { shared::word(self.base.get().add(at as usize)) })
    }

    /// The six words at `at`, as they stand in the file.
    #[inline]
    pub fn six_words(&self, at: u32) -> Option<[u32; 6]> {
        // SAFETY: checked to be inside.
        self.holds(at, 24).then(|| unsafe { shared::six_words(self.base.get().add(at as usize)) })
    }

    /// Some of the six words at `at`, as they stand in the file.
    #[inline(always)]
    pub fn chain_step(&self, at: u32) -> Option<ChainStep> {
        if !self.holds(at, 24) {
            return None;
        }
        // SAFETY: checked to be inside.
        let (next, [hash, magic]) = unsafe {
            let record = self.base.get().add(at as usize);
            (shared::word(record), shared::two_words(record.add(16)))
        };
        Some(ChainStep { next, hash, magic })
    }

    /// Some of the six words at `at`, as they stand in the file.
    #[inline(always)]
    pub fn free_step(&self, at: u32) -> Option<FreeStep> {
        if !self.holds(at, 24) {
            return None;
        }
        // SAFETY: checked to be inside.
        let ([next, record_len], magic) = unsafe {
            let record = self.base.get().add(at as usize);
            (shared::two_words(record), shared::word(record.add(20)))
        };
        Some(FreeStep { next, record_len, magic })
    }

    /// Whether `bytes` stand at `at`; `None` if that is not mapped.
    #[inline]
    pub fn equals(&self, at: u32, bytes: &[u8]) -> Option<bool> {
        // SAFETY: checked to be inside.
        self.holds(at, bytes.len()).then(|| unsafe { shared::equal(self.base.get().add(at as usize), bytes) })
    }

    /// Copies bytes out of the mapping; `false` if they are not mapped.
    #[inline]
    pub fn copy_out(&self, at: u32, out: &mut [u8]) -> bool {
        if !self.holds(at, out.len()) {
            return false;
        }
        // SAFETY: checked to be inside.
        unsafe { shared::copy_out(self.base.get().add(at as usize), out) };
        true
    }

    /// Appends the `len` bytes at `at` to `out`; `false` if they are not mapped.
    #[inline]
    pub fn append_to(&self, at: u32, len: usize, out: &mut Vec<u8>) -> bool {
        if !self.holds(at, len) {
            return false;
        }
        out.reserve(len);
        // SAFETY: the source is inside the mapping; the destination was just reserved and is not the mapping.
        unsafe {
            shared::copy(self.base.get().add(at as usize), out.as_mut_ptr().add(out.len()), len);
            out.set_len(out.len() + len);
        }
        true
    }

    /// Copies bytes into the mapping; `false` if they are not mapped or the mapping is only for reading.
    #[inline]
    pub fn copy_in(&self, at: u32, bytes: &[u8]) -> bool {
        if !self.is_writable() || !self.holds(at, bytes.len()) {
            return false;
        }
        // SAFETY: checked to be inside and writable.
        unsafe { shared::copy_in(bytes, self.base.get().add(at as usize)) };
        true
    }

    /// Puts a word, as it shall stand in the file; `false` as in [`Mapping::copy_in`].
    #[inline]
    pub fn put_word(&self, at: u32, word: u32) -> bool {
        if !self.is_writable() || !self.holds(at, 4) {
            return false;
        }
        // SAFETY: as in `copy_in`.
        unsafe { shared::put_word(self.base.get().add(at as usize), word) };
        true
    }

    /// Adds 1 to the word at `at`, which other processes may do at the same time; `false` as in [`Mapping::copy_in`].
    pub fn increment(&self, at: u32) -> bool {
        if !self.is_writable() || !at.is_multiple_of(4) || !self.holds(at, 4) {
            return false;
        }
        // SAFETY: inside, aligned (mappings start at a page), and only used atomically by all who increment.
        let word = unsafe { AtomicU32::from_ptr(self.base.get().add(at as usize).cast()) };
        word.fetch_add(1, Ordering::SeqCst);
        true
    }

    /// Whether another process truncated the file under the mapping (see [`crate::file::sigbus`]).
    #[inline]
    pub fn was_truncated(&self) -> bool {
        sigbus::any_hit() && self.was_hit()
    }

    #[cold]
    fn was_hit(&self) -> bool {
        let watch = self.watch.take();
        let hit = watch.as_ref().is_some_and(sigbus::Watch::was_hit);
        self.watch.set(watch);
        hit
    }
}

fn remap(old: (*mut u8, usize), len: usize) -> io::Result<*mut u8> {
    // SAFETY: `old` is a mapping of ours, and there are no references into it. A failure leaves it in place.
    let base =
        unsafe { libc::mremap(old.0.cast(), whole_pages(old.1), whole_pages(len), libc::MREMAP_MAYMOVE) };
    if base == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(base.cast()) }
}

#[inline]
fn inside(at: u32, len: usize, limit: usize) -> bool {
    // 64-bit sums of a 32-bit offset and an in-memory length do not wrap.
    at as u64 + len as u64 <= limit as u64
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let mut held = forks::hold();
        held.remove(self.base.get());
        self.release((self.base.get(), self.mapped.get()));
    }
}
