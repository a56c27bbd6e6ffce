//! A piece of memory that holds the database: the mapped file, or anonymous memory for databases without a file.
//!
//! Every access is checked against the mapping's length, so no offset from the file can reach outside. What is in
//! the memory may be changed by other processes; what holds them off is the chain lock, which the callers take.
//! The *visible* part is what the engine may use directly; it is empty while a transaction's overlay is in front.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::file::sigbus;

/// Memory of the process that mirrors a file, or stands alone.
pub(crate) struct Mapping {
    base: Cell<*mut u8>,
    len: Cell<usize>,
    /// `len`, or 0 while the engine must not look at the memory directly.
    visible: Cell<usize>,
    writable: bool,
    /// Borrowed slices of the memory that are alive; it may not move or go away under them.
    pins: Cell<u32>,
    /// Earlier places of the memory that a pin kept alive.
    retired: RefCell<Vec<(*mut u8, usize)>>,
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
            visible: Cell::new(0),
            writable,
            pins: Cell::new(0),
            retired: RefCell::new(Vec::new()),
        }
    }

    /// Makes the `len` bytes of the file from a place in it (or of anonymous memory) the mapping. A failure leaves it
    /// empty. The place is a whole number of pages, and the same as long as the mapping is not empty.
    pub fn resize(&self, file: Option<(BorrowedFd<'_>, u64)>, len: usize) -> io::Result<()> {
        if len == self.len.get() {
            return Ok(());
        }
        let hidden = self.visible.get() == 0 && self.len.get() != 0;
        let old = (self.base.get(), self.len.get());
        let placed = if old.1 != 0 && len != 0 && self.pins.get() == 0 {
            self.remap(old, len)
        } else {
            self.map_anew(file, old, len)
        };
        sigbus::forget(old.0);
        match placed {
            Ok(base) => {
                self.base.set(base);
                self.len.set(len);
                self.visible.set(if hidden { 0 } else { len });
                if file.is_some() {
                    sigbus::remember(base, len);
                }
                Ok(())
            }
            Err(error) => {
                self.base.set(ptr::null_mut());
                self.len.set(0);
                self.visible.set(0);
                Err(error)
            }
        }
    }

    fn remap(&self, old: (*mut u8, usize), len: usize) -> io::Result<*mut u8> {
        // SAFETY: `old` is a mapping of ours, and no slice into it is alive (`pins` is 0).
        let base =
            unsafe { libc::mremap(old.0.cast(), whole_pages(old.1), whole_pages(len), libc::MREMAP_MAYMOVE) };
        if base == libc::MAP_FAILED {
            let error = io::Error::last_os_error();
            self.release(old);
            return Err(error);
        }
        Ok(base.cast())
    }

    fn map_anew(
        &self,
        file: Option<(BorrowedFd<'_>, u64)>,
        old: (*mut u8, usize),
        len: usize,
    ) -> io::Result<*mut u8> {
        let mapped = if len == 0 { Ok(ptr::null_mut()) } else { self.mmap(file, len) };
        if let (Ok(base), None) = (&mapped, file) {
            // Anonymous memory lives only here, so its content moves along.
            // SAFETY: two distinct mappings of ours, both at least as long as the shorter length.
            unsafe { ptr::copy_nonoverlapping(old.0, *base, old.1.min(len)) };
        }
        if self.pins.get() == 0 {
            self.release(old);
        } else if old.1 != 0 {
            self.retired.borrow_mut().push(old);
        }
        mapped
    }

    fn mmap(&self, file: Option<(BorrowedFd<'_>, u64)>, len: usize) -> io::Result<*mut u8> {
        let protection = if self.writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        let (flags, fd, start) = match file {
            Some((file, start)) => (libc::MAP_SHARED, file.as_raw_fd(), start as libc::off_t),
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

    fn release(&self, (base, len): (*mut u8, usize)) {
        if len != 0 {
            // SAFETY: a mapping of ours that nothing refers to any more.
            unsafe { libc::munmap(base.cast(), whole_pages(len)) };
        }
    }

    /// Hides the memory from direct use while an overlay is in front of it, or shows it again.
    pub fn set_hidden(&self, hidden: bool) {
        self.visible.set(if hidden { 0 } else { self.len.get() });
    }

    /// The bytes that are mapped.
    pub fn len(&self) -> usize {
        self.len.get()
    }

    /// Whether the `len` bytes at `at` can be used directly.
    #[inline]
    pub fn sees(&self, at: u32, len: usize) -> bool {
        inside(at, len, self.visible.get())
    }

    /// Whether the `len` bytes at `at` are mapped, visible or not.
    #[inline]
    pub fn covers(&self, at: u32, len: usize) -> bool {
        inside(at, len, self.len.get())
    }

    /// The word at `at`, as it stands in the file.
    #[inline]
    pub fn word(&self, at: u32) -> Option<u32> {
        if !self.sees(at, 4) {
            return None;
        }
        // SAFETY: checked to be inside; unaligned reads are allowed by `read_unaligned`.
        Some(unsafe { self.base.get().add(at as usize).cast::<u32>().read_unaligned() })
    }

    /// The six words at `at`, as they stand in the file.
    #[inline]
    pub fn six_words(&self, at: u32) -> Option<[u32; 6]> {
        if !self.sees(at, 24) {
            return None;
        }
        // SAFETY: as in `word`.
        Some(unsafe { self.base.get().add(at as usize).cast::<[u32; 6]>().read_unaligned() })
    }

    /// Whether `bytes` stand at `at`; `None` if that is not visible.
    #[inline]
    pub fn equals(&self, at: u32, bytes: &[u8]) -> Option<bool> {
        if !self.sees(at, bytes.len()) {
            return None;
        }
        // SAFETY: both sides are `bytes.len()` readable bytes.
        let order = unsafe {
            libc::memcmp(self.base.get().add(at as usize).cast(), bytes.as_ptr().cast(), bytes.len())
        };
        Some(order == 0)
    }

    /// Copies bytes out of the mapping; `false` if they are not visible.
    #[inline]
    pub fn copy_out(&self, at: u32, out: &mut [u8]) -> bool {
        self.sees(at, out.len()) && self.copy_hidden(at, out)
    }

    /// Copies bytes out of the mapping even if they are hidden; `false` if they are not mapped.
    #[inline]
    pub fn copy_hidden(&self, at: u32, out: &mut [u8]) -> bool {
        if !self.covers(at, out.len()) {
            return false;
        }
        // SAFETY: checked to be inside; `out` is memory of Rust's, not of the mapping.
        unsafe { ptr::copy_nonoverlapping(self.base.get().add(at as usize), out.as_mut_ptr(), out.len()) };
        true
    }

    /// Appends the `len` bytes at `at` to `out`; `false` if they are not visible.
    #[inline]
    pub fn append_to(&self, at: u32, len: usize, out: &mut Vec<u8>) -> bool {
        if !self.sees(at, len) {
            return false;
        }
        out.reserve(len);
        // SAFETY: the source is inside the mapping; the destination was just reserved and is not the mapping.
        unsafe {
            ptr::copy_nonoverlapping(self.base.get().add(at as usize), out.as_mut_ptr().add(out.len()), len);
            out.set_len(out.len() + len);
        }
        true
    }

    /// Copies bytes into the mapping; `false` if they are not visible or the mapping is only for reading.
    #[inline]
    pub fn copy_in(&self, at: u32, bytes: &[u8]) -> bool {
        if !self.writable || self.pins.get() != 0 || !self.sees(at, bytes.len()) {
            return false;
        }
        // SAFETY: checked to be inside and writable, and no slice into it is alive.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.base.get().add(at as usize), bytes.len()) };
        true
    }

    /// Puts a word, as it shall stand in the file; `false` as in [`Mapping::copy_in`].
    #[inline]
    pub fn put_word(&self, at: u32, word: u32) -> bool {
        if !self.writable || self.pins.get() != 0 || !self.sees(at, 4) {
            return false;
        }
        // SAFETY: as in `copy_in`.
        unsafe { self.base.get().add(at as usize).cast::<u32>().write_unaligned(word) };
        true
    }

    /// Adds 1 to the word at `at`, which other processes may do at the same time; `false` as in [`Mapping::copy_in`].
    pub fn increment(&self, at: u32) -> bool {
        if !self.writable || !at.is_multiple_of(4) || !self.sees(at, 4) {
            return false;
        }
        // SAFETY: inside, aligned (mappings start at a page), and only used atomically by all who increment.
        let word = unsafe { AtomicU32::from_ptr(self.base.get().add(at as usize).cast()) };
        word.fetch_add(1, Ordering::SeqCst);
        true
    }

    /// Lends the bytes to `with`; `None` if they are not visible.
    ///
    /// While it runs this mapping is neither moved nor written through. That nobody else writes the bytes is what
    /// the chain lock is for, which the caller holds; a process that writes without a lock breaks every reader.
    pub fn lend<T>(&self, at: u32, len: usize, with: impl FnOnce(&[u8]) -> T) -> Option<T> {
        if !self.sees(at, len) {
            return None;
        }
        self.pins.set(self.pins.get() + 1);
        let _unpin = Unpin(self);
        // SAFETY: inside the mapping, which stays in place while pinned; writes through it are refused meanwhile.
        let slice = unsafe { std::slice::from_raw_parts(self.base.get().add(at as usize), len) };
        Some(with(slice))
    }

    /// Whether a slice is lent out, so that nothing may be written.
    #[inline]
    pub fn is_lent(&self) -> bool {
        self.pins.get() != 0
    }

    /// Whether another process truncated the file under the mapping (see [`crate::file::sigbus`]).
    pub fn was_truncated(&self) -> bool {
        sigbus::hit(self.base.get())
    }
}

#[inline]
fn inside(at: u32, len: usize, limit: usize) -> bool {
    // 64-bit sums of a 32-bit offset and an in-memory length do not wrap.
    at as u64 + len as u64 <= limit as u64
}

struct Unpin<'a>(&'a Mapping);

impl Drop for Unpin<'_> {
    fn drop(&mut self) {
        self.0.pins.set(self.0.pins.get() - 1);
        if self.0.pins.get() == 0 {
            for old in self.0.retired.borrow_mut().drain(..) {
                self.0.release(old);
            }
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        sigbus::forget(self.base.get());
        self.release((self.base.get(), self.len.get()));
    }
}
