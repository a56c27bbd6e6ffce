//! Asking the kernel: ranges of bytes, with waiting that cannot hang; and the recovery that a first lock may find due.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use super::{FIRST_NAP, LONGEST_NAP, LockByte, PATIENCE, Wait};
use crate::database::Database;
use crate::error::{AccessError, LockError};
use crate::format::FREELIST_HEAD;
use crate::ofd::{self, Attempt, LockKind};

impl Database {
    pub(crate) fn lock_file(&self) -> Option<BorrowedFd<'_>> {
        self.space.storage()?.lock_file()
    }

    /// Locks a range. `ordered` says that waiting in the kernel cannot be part of a deadlock.
    pub(crate) fn lock_range(
        &self,
        kind: LockKind,
        start: u64,
        len: u64,
        wait: Wait,
        ordered: bool,
    ) -> Result<(), LockError> {
        let Some(file) = self.lock_file() else {
            return Ok(());
        };
        if wait == Wait::Yes && !ordered {
            return self.lock_patiently(kind, start, len, PATIENCE);
        }
        let attempt = if wait == Wait::Yes { Attempt::Blocking } else { Attempt::Once };
        loop {
            match self.attempt(file, kind, start, len, attempt) {
                Ok(()) => return Ok(()),
                Err(error) => self.judge(error, start)?,
            }
        }
    }

    pub(super) fn lock_patiently(
        &self,
        kind: LockKind,
        start: u64,
        len: u64,
        patience: Duration,
    ) -> Result<(), LockError> {
        let Some(file) = self.lock_file() else {
            return Ok(());
        };
        let give_up = Instant::now() + patience;
        let mut nap = FIRST_NAP;
        loop {
            let error = match self.attempt(file, kind, start, len, Attempt::Once) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            match self.judge(error, start) {
                Err(LockError::WouldBlock) if Instant::now() < give_up => std::thread::sleep(nap),
                Err(LockError::WouldBlock) => {
                    return Err(LockError::Deadlock { seconds: patience.as_secs() });
                }
                Err(error) => return Err(error),
                Ok(()) => {}
            }
            if self.locks.interrupted() {
                return Err(LockError::Interrupted);
            }
            nap = (nap * 2).min(LONGEST_NAP);
        }
    }

    /// What a refused lock means; `Ok` for "try again".
    pub(crate) fn judge(&self, error: io::Error, byte: u64) -> Result<(), LockError> {
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EACCES) => Err(LockError::WouldBlock),
            Some(libc::EINTR) if self.locks.interrupted() => Err(LockError::Interrupted),
            Some(libc::EINTR) => Ok(()),
            _ => Err(LockError::Io { byte, source: error }),
        }
    }

    pub(crate) fn unlock_range(&self, start: u64, len: u64) {
        if self.locks.is_after_fork() {
            // A child shares the opening, and so the locks, with its parent until it opens the file itself.
            return;
        }
        if let Some((area, list)) = self.mutex_of(start, len) {
            // It was ours, so this fails only if another thread gives it back than took it: the lock stays then.
            let given_back = area.unlock(list);
            debug_assert!(given_back.is_ok(), "{given_back:?}");
        } else if let Some(file) = self.lock_file() {
            // Unlocking a range of an open file fails only if the descriptor is no file.
            let _ = ofd::unlock(file, start, len);
        }
    }

    /// Locks everything alone, then the open lock, and plays a valid recovery area back.
    pub(super) fn lock_and_recover(&self) -> Result<(), LockError> {
        if self.is_read_only() {
            let why = "a half-done transaction must be undone first; open the file once for writing";
            return Err(LockError::Recovery(AccessError::Refused { why }));
        }
        if !self.has_no_lock() {
            self.lock_everything_alone()?;
            let opened = self.lock_range(LockKind::Write, LockByte::Open as u64, 1, Wait::Yes, false);
            if let Err(error) = opened {
                self.unlock_everything();
                return Err(error);
            }
        }
        let recovered = self.recover().map_err(LockError::Recovery);
        if !self.has_no_lock() {
            self.unlock_range(LockByte::Open as u64, 1);
            self.unlock_everything();
        }
        recovered
    }

    fn lock_everything_alone(&self) -> Result<(), LockError> {
        match self.locks.mutexes.get() {
            Some(area) => self.lock_mutexes_and_records(area, LockKind::Write, Wait::Yes),
            None => self.lock_range(LockKind::Write, FREELIST_HEAD.into(), 0, Wait::Yes, false),
        }
    }
}
