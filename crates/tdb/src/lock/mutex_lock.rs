//! How the locks of a handle become mutexes, on files that have them: which byte of [`crate::lock`] is which mutex, and
//! the lock of everything as the one of [`MutexArea`] together with the byte range of all records.
//!
//! All other locks (open, active, transaction, single records) are byte ranges as on every file.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use crate::error::LockError;
use crate::file::format::{FREELIST_HEAD, chain_head};
use crate::lock::deadlock::DeadlockWatch;
use crate::lock::mutex::MutexArea;
use crate::lock::ofd::{self, Attempt};
use crate::lock::waiting::Claim;
use crate::lock::{ChainIndex, HOLD_HALF, LONGEST_BACKOFF, LockKind, Locks, PATIENCE, Wait};

impl Locks {
    /// The mutex that stands for this range of bytes, if one does.
    #[inline]
    pub(crate) fn mutex_of(&self, start: u64, len: u64) -> Option<(&MutexArea, u32)> {
        let area = self.mutexes.get()?;
        let freelist = ChainIndex::FREELIST.byte();
        let is_list = len == 1 && (freelist..self.records_start()).contains(&start);
        is_list.then(|| (area, ((start - freelist) / 4) as u32))
    }

    /// One attempt at a lock, wherever it is.
    #[inline]
    pub(crate) fn attempt(
        &self,
        file: BorrowedFd<'_>,
        kind: LockKind,
        start: u64,
        len: u64,
        attempt: Attempt,
    ) -> io::Result<()> {
        match self.mutex_of(start, len) {
            Some((area, list)) => area.lock(list, kind, attempt),
            None => ofd::lock(file, kind, start, len, attempt),
        }
    }

    /// The byte after the last that stands for a chain; those from here on are records'.
    pub(crate) fn records_start(&self) -> u64 {
        u64::from(chain_head(self.chain_count.get())) - 4
    }

    /// All chains by their mutexes, then all records by their bytes. Whoever meets someone in its way lets go of all
    /// that it has, since that one may be waiting for a part of it: a traverse of libtdb's stands on a record and waits
    /// for a chain.
    pub(crate) fn lock_mutexes_and_records(
        &self,
        area: &MutexArea,
        kind: LockKind,
        wait: Wait,
    ) -> Result<(), LockError> {
        let give_up = Instant::now() + PATIENCE * 20;
        let mut watch = DeadlockWatch::start(false);
        let wanted = Claim { kind, start: FREELIST_HEAD.into(), len: 0 };
        loop {
            match self.try_mutexes_and_records(area, kind, wait) {
                Err(LockError::WouldBlock) if wait == Wait::Yes && Instant::now() < give_up => {
                    watch.look(self, wanted)?;
                    ofd::back_off(LONGEST_BACKOFF);
                }
                done => return done,
            }
        }
    }

    fn try_mutexes_and_records(&self, area: &MutexArea, kind: LockKind, wait: Wait) -> Result<(), LockError> {
        self.all_mutexes(area.lock_all(kind, HOLD_HALF * u32::from(wait == Wait::Yes)))?;
        self.lock_for_a_while(kind, self.records_start(), 0, wait).inspect_err(|_| {
            // Ours a moment ago, and this thread took it.
            let _ = area.unlock_all();
        })
    }

    /// Makes a transaction's read lock of everything a write lock.
    ///
    /// Records first: while the chains are locked for reading only, who stands on a record can leave it. On a refusal
    /// both are as before for a moment, so that who holds a chain and waits for a record can go on.
    pub(crate) fn upgrade_mutexes_and_records(&self, area: &MutexArea) -> Result<(), LockError> {
        let give_up = Instant::now() + PATIENCE;
        let records = self.records_start();
        loop {
            let upgraded = self
                .lock_for_a_while(LockKind::Write, records, 0, Wait::Yes)
                .and_then(|()| self.all_mutexes(area.upgrade_all(HOLD_HALF)));
            match upgraded {
                Err(LockError::WouldBlock) if Instant::now() < give_up => {
                    self.lock_range(LockKind::Read, records, 0, Wait::No, None)?;
                    ofd::back_off(LONGEST_BACKOFF);
                }
                Err(LockError::WouldBlock) => {
                    self.lock_range(LockKind::Read, records, 0, Wait::No, None)?;
                    let seconds = PATIENCE.as_secs();
                    return Err(LockError::Deadlock { seconds });
                }
                done => return done,
            }
        }
    }

    /// Gives all chains and records back.
    pub(crate) fn unlock_everything(&self) {
        match self.mutexes.get() {
            Some(area) => {
                self.unlock_range(self.records_start(), 0);
                self.given_back(area.unlock_all());
            }
            None => self.unlock_range(FREELIST_HEAD.into(), 0),
        }
    }

    /// A mutex was ours, so giving it back fails only in another thread than the one that took it: the lock stays then,
    /// and so must its memory, through which that thread's list of mutexes runs.
    pub(super) fn given_back(&self, result: io::Result<()>) {
        if result.is_err() {
            self.stuck.set(true);
        }
    }

    fn all_mutexes(&self, result: io::Result<()>) -> Result<(), LockError> {
        match result {
            Ok(()) => Ok(()),
            Err(error) => match self.classify_errno(error, FREELIST_HEAD.into()) {
                Err(error) => Err(error),
                Ok(()) => Err(LockError::WouldBlock),
            },
        }
    }
}
