//! A file of the file system.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::Storage;
use crate::file::forks::Unshared;

/// An open file. The standard library repeats short and interrupted reads and writes.
pub(crate) struct FileStorage {
    /// Goes before the file is closed.
    _unshared: Unshared,
    file: Arc<File>,
    /// Where in the file the database begins: behind the mutex area, if there is one.
    start: Cell<u64>,
}

/// How much is written at once where the file system cannot reserve room.
const FILL: usize = 64 * 1024;

impl FileStorage {
    pub fn new(file: Arc<File>) -> FileStorage {
        FileStorage { _unshared: Unshared::new(&file), file, start: Cell::new(0) }
    }

    /// From now on the database begins at `start`.
    pub fn set_start(&self, start: u64) {
        self.start.set(start);
    }

    pub fn start(&self) -> u64 {
        self.start.get()
    }

    pub fn file(&self) -> &Arc<File> {
        &self.file
    }
}

impl Storage for FileStorage {
    fn size(&self) -> io::Result<u64> {
        let len = self.file.metadata()?.len();
        Ok(len.saturating_sub(self.start.get()))
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, self.start.get() + offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.start.get() + offset)
    }

    fn grow(&self, from: u64, to: u64) -> io::Result<()> {
        let (from, to) = (self.start.get() + from, self.start.get() + to);
        // Reserving is what makes "disk full" an error here, rather than a SIGBUS at the first write to the mapping.
        loop {
            // SAFETY: a system call on a descriptor that we own; no memory involved.
            let result = unsafe {
                libc::fallocate(self.file.as_raw_fd(), 0, from as libc::off_t, (to - from) as libc::off_t)
            };
            if result == 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => continue,
                Some(libc::EOPNOTSUPP | libc::ENOSYS) => return self.fill(from, to),
                _ => return Err(error),
            }
        }
    }

    fn truncate(&self, to: u64) -> io::Result<()> {
        self.file.set_len(self.start.get() + to)
    }

    fn sync(&self) -> io::Result<()> {
        // On Linux this covers pages that were changed through a shared mapping, too.
        self.file.sync_data()
    }

    fn touch(&self) {
        // SAFETY: a null pointer means "now"; a failure only leaves an old time.
        unsafe { libc::futimens(self.file.as_raw_fd(), std::ptr::null()) };
    }
}

impl FileStorage {
    fn fill(&self, from: u64, to: u64) -> io::Result<()> {
        let zeros = vec![0; FILL];
        let mut at = from;
        while at < to {
            let step = zeros.len().min((to - at) as usize);
            if let Err(error) = self.file.write_all_at(&zeros[..step], at) {
                // Best effort: give the part back that did fit.
                let _ = self.file.set_len(from);
                return Err(error);
            }
            at += step as u64;
        }
        Ok(())
    }
}
