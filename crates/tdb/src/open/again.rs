//! A file that is open already: a second opening, the child after a fork, another storage under the same handle.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use crate::core::Core;
use crate::error::{LockError, OpenError};
use crate::file::bytes::Bytes;
use crate::file::format::{HEADER_SIZE, Header};
use crate::file::storage::Storage;
use crate::flags::Flags;
use crate::lock::ofd;
use crate::lock::{LockByte, LockKind, Wait};
use crate::table::freelist_memory::FreelistMemory;

/// As for `open`, with the options of `core`: a second handle of the same file.
pub(crate) fn open_another(core: &Core) -> Result<Core, OpenError> {
    let path = || core.name.clone();
    let Some(file) = core.space.file() else {
        let why = "a database in memory has one handle only; share it behind a mutex";
        return Err(OpenError::Options { path: path(), why });
    };
    let file = open_again(file, core.read_only).map_err(|cause| OpenError::Io { path: path(), cause })?;
    let flags = core.flags.get();
    let mut options = core.options.clone();
    options.create = false;
    options.truncate = false;
    // We are here ourselves, so the new handle is not the first, whatever the kernel says about one opening.
    options.flags = flags - Flags::CLEAR_IF_FIRST;
    let mut other = options.finish(&core.name, options.space_in(file))?;
    other.options.flags = flags;
    other.flags.set(flags);
    if core.options.says_it_is_here() {
        let locked = other.lock_byte(LockByte::Active, LockKind::Read, Wait::Yes);
        locked.map_err(|cause| OpenError::Lock { path: path(), cause })?;
    }
    Ok(other)
}

impl Core {
    /// Opens the file anew for this handle, as a child must after a fork; fails with locks or a transaction held.
    pub fn reopen(&self) -> Result<(), OpenError> {
        if self.space.is_memory() || self.flags.get().has(Flags::INTERNAL) {
            return Ok(());
        }
        let lock_error = |cause| OpenError::Lock { path: self.name.clone(), cause };
        if self.locks.has_extra_locks() || self.locks.in_transaction() {
            let why = "locks or a transaction are held";
            return Err(lock_error(LockError::Conflict { why }));
        }
        self.reopen_in_child().map_err(lock_error)
    }

    /// Puts a fresh opening of the file in the place of the one shared with the parent, whose locks stay the parent's.
    pub fn reopen_in_child(&self) -> Result<(), LockError> {
        let Some(file) = self.space.file() else {
            self.locks.forget();
            return Ok(());
        };
        let io_error = |cause| LockError::Io { byte: 0, cause };
        let fresh = open_again(file, self.read_only).map_err(io_error)?;
        ofd::put_in_place_of(&fresh, file).map_err(io_error)?;
        self.locks.forget();
        self.note_new_layout();
        if self.options.says_it_is_here() {
            self.lock_byte(LockByte::Active, LockKind::Read, Wait::Yes)?;
        }
        Ok(())
    }
}

impl Core {
    /// See [`crate::Database::exchange`].
    pub fn exchange(&mut self, storage: Box<dyn Storage>) -> Result<Box<dyn Storage>, OpenError> {
        let path = || self.name.clone();
        let mut header = [0; HEADER_SIZE];
        let read = storage.read_at(0, &mut header);
        read.map_err(|cause| OpenError::Io { path: path(), cause })?;
        let alike = Header::from_bytes(&header).is_some_and(|header| {
            let same = header.hash_size == self.hash_size && header.order == self.space.order();
            same && (!header.names_hash() || header.was_made_with(&self.hash))
        });
        if !alike {
            let what = "the storage holds no database of the same shape";
            return Err(OpenError::Corrupt { path: path(), what });
        }
        let Ok(former) = self.space.exchange(storage) else {
            let why = "only a database in a given storage can be put into another";
            return Err(OpenError::Options { path: path(), why });
        };
        self.note_new_layout();
        self.freelist = FreelistMemory::default();
        let refreshed = self.space.refresh();
        refreshed.map_err(|cause| OpenError::Access { path: path(), cause })?;
        Ok(former)
    }
}

/// A new opening of the file that `file` is, whatever its name is now.
fn open_again(file: &File, read_only: bool) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    std::fs::OpenOptions::new().read(true).write(!read_only).custom_flags(libc::O_CLOEXEC).open(path)
}
