//! The end of a trace file, as memory: what is put there survives the death of this process, without a system call.
//!
//! Owns the file and a window of it, guarded by [`tdb::sigbus`]: another process may cut the file short, and then the trace ends. More is mapped than the file has; the file grows into it by written zeros, so a
//! full disk is an error here and not a signal later, and callers are given no more than the file has. Behind the last line there is a zero byte, then anything: a
//! line becomes part of the trace when its first byte is written, which is done last. A window that is given to the
//! callers lies within the mapping, which nobody else writes: the file is new, and a child after a fork lets go of it.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};

use tdb::sigbus::{self, Watch};

use crate::file;

/// How much the file grows at a time, unless a line needs more: lines are written before these pages, fresh from the
/// kernel, have left the cache again.
const STEP: usize = 1 << 17;
/// How much of it is mapped at a time, unless a line needs more.
const WINDOW: usize = 1 << 22;
const PAGE: usize = 4096;
static ZEROS: [u8; PAGE] = [0; PAGE];

/// A trace file that is being written.
pub(crate) struct Tail {
    file: File,
    path: PathBuf,
    window: *mut u8,
    /// Where in the file the window begins.
    start: u64,
    /// How long it is, as far as the file has it; as far as it is mapped.
    len: usize,
    mapped: usize,
    /// Where in the window the next line begins.
    at: usize,
    watch: Option<Watch>,
}

// SAFETY: the mapping belongs to this value alone, and nothing in it refers to a thread.
unsafe impl Send for Tail {}

impl Tail {
    /// Makes the file, which must not exist.
    pub fn create(path: &Path) -> io::Result<Tail> {
        sigbus::install()?;
        let file = file::create(path)?;
        let window = ptr::null_mut();
        Ok(Tail { file, path: path.into(), window, start: 0, len: 0, mapped: 0, at: 0, watch: None })
    }

    /// Gives it another name, which nothing has.
    pub fn rename(&mut self, path: &Path) -> io::Result<()> {
        file::rename(&self.path, path)?;
        self.path = path.into();
        Ok(())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Room for a line of up to `len` bytes; nothing in it is part of the trace yet.
    #[inline]
    pub fn room(&mut self, len: usize) -> io::Result<&mut [u8]> {
        if self.watch.as_ref().is_some_and(Watch::was_hit) {
            return Err(file::cut_short());
        }
        // One byte more: the zero behind the line.
        if len + 1 > self.len - self.at {
            self.move_on(len + 1)?;
        }
        // SAFETY: inside the mapping, which lives as long as `self`, and is written through `self` alone.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.window.add(self.at), self.len - self.at) })
    }

    /// What [`Tail::room`] gave last; nothing before that.
    #[inline]
    pub fn line(&mut self) -> &mut [u8] {
        if self.len == 0 {
            return &mut [];
        }
        // SAFETY: as in `room`.
        unsafe { std::slice::from_raw_parts_mut(self.window.add(self.at), self.len - self.at) }
    }

    /// Writes the first byte of the next line, after all that was written before this call: what a death at any
    /// moment leaves is the line with this byte, or as it was.
    #[inline]
    pub fn set_first(&mut self, byte: u8) {
        if self.at < self.len {
            // SAFETY: inside the mapping; an atomic store of one byte, which needs no alignment.
            let first = unsafe { AtomicU8::from_ptr(self.window.add(self.at)) };
            first.store(byte, Ordering::Release);
        }
    }

    /// Makes the first `len` bytes in the room a part of the trace; their first byte is `first`.
    #[inline]
    pub fn publish(&mut self, len: usize, first: u8) {
        self.line()[len] = 0;
        self.set_first(first);
        self.at += len;
    }

    /// Cuts off what is not part of the trace.
    pub fn finish(&self) -> io::Result<()> {
        self.check()?;
        self.file.set_len(self.start + self.at as u64)
    }

    /// Whether the file is still what was written.
    ///
    /// # Errors
    /// Another process has removed it or cut it short.
    pub fn check(&self) -> io::Result<()> {
        let cut = self.watch.as_ref().is_some_and(Watch::was_hit);
        file::check(&self.file.metadata()?, self.start + self.len as u64, cut)
    }

    /// Makes the file long enough for `len` more bytes, and moves the window on if they lie behind it.
    #[cold]
    fn move_on(&mut self, len: usize) -> io::Result<()> {
        self.check()?;
        if len > self.mapped - self.at {
            self.map(len)?;
        }
        let step = (self.at + len - self.len).max(STEP).next_multiple_of(PAGE).min(self.mapped - self.len);
        self.grow(step)?;
        // One call for all pages, where the kernel has it, rather than a fault for each.
        // SAFETY: inside the mapping.
        unsafe { libc::madvise(self.window.add(self.len).cast(), step, libc::MADV_POPULATE_WRITE) };
        self.len += step;
        Ok(())
    }

    /// Gives the file its next `len` bytes, all zero: writing them costs a file system less than to be asked for
    /// blocks and, later, to be told page by page that they are written to.
    fn grow(&self, len: usize) -> io::Result<()> {
        let (mut from, end) = (self.start + self.len as u64, self.start + (self.len + len) as u64);
        while from < end {
            let zeros = [IoSlice::new(&ZEROS); STEP / PAGE];
            let pages = (end - from).div_ceil(PAGE as u64).min(zeros.len() as u64) as i32;
            // SAFETY: a descriptor that is open, and so many pages of zeros; the kernel only reads them.
            let written = unsafe {
                libc::pwritev(self.file.as_raw_fd(), zeros.as_ptr().cast(), pages, from as libc::off_t)
            };
            match written {
                1.. => from += written as u64,
                0 => return Err(io::ErrorKind::WriteZero.into()),
                _ => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => {}
                    error => return Err(error),
                },
            }
        }
        Ok(())
    }

    /// Maps the file from the page of the next line on, for `len` bytes at least; they need not be the file's yet.
    fn map(&mut self, len: usize) -> io::Result<()> {
        let position = self.start + self.at as u64;
        let start = position / PAGE as u64 * PAGE as u64;
        let at = (position - start) as usize;
        let mapped = (at + len).max(WINDOW).next_multiple_of(PAGE);
        // SAFETY: a new mapping wherever the kernel likes; it replaces nothing.
        let window = unsafe {
            libc::mmap(
                ptr::null_mut(),
                mapped,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                self.file.as_raw_fd(),
                start as libc::off_t,
            )
        };
        if window == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let len = (self.start + self.len as u64).saturating_sub(start) as usize;
        self.unmap();
        // SAFETY: this mapping is ours alone; the watch is dropped before it is unmapped.
        self.watch = unsafe { sigbus::watch_mapping(window.cast(), mapped) };
        (self.window, self.start, self.len, self.mapped, self.at) = (window.cast(), start, len, mapped, at);
        Ok(())
    }

    fn unmap(&mut self) {
        self.watch = None;
        if self.mapped > 0 {
            // SAFETY: a mapping of ours, into which no reference is alive: all of them borrow `self`.
            unsafe { libc::munmap(self.window.cast(), self.mapped) };
            (self.len, self.mapped) = (0, 0);
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.unmap();
    }
}
