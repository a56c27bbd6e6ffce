//! Asking the kernel: ranges of bytes, with waiting that cannot hang.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::{ChainIndex, FIRST_BACKOFF, LONGEST_BACKOFF, LockByte, Locks, PATIENCE, Wait};
use crate::error::LockError;
use crate::file::format::FREELIST_HEAD;
use crate::lock::deadlock::DeadlockWatch;
use crate::lock::ofd::{self, Attempt, LockKind};
use crate::lock::waiting::Claim;

// Bytes that libtdb never locks, on which those of ours queue (docs/tdb-format.md, Locks).

/// The first of those for the 42 words before the chains, one each.
const TURNS: u64 = 52;
/// The one for all records.
const RECORDS_TURN: u64 = 95;
/// The first of those that the chains share.
const CHAIN_TURNS: u64 = 96;
/// How many these are.
const CHAIN_TURNS_LEN: u64 = 64;

impl Locks {
    pub(crate) fn lock_file(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(|file| file.as_fd())
    }

    /// Whether another handle or process has a transaction open, or a traverse that may write; takes no lock to find out.
    pub(crate) fn another_commits(&self) -> bool {
        let Some(file) = self.lock_file() else { return false };
        ofd::held_by_another(file, LockByte::Transaction as u64, 1).unwrap_or(false)
    }

    /// Locks a range. Without `patience` waiting for it cannot be part of a deadlock among those who keep the order, so
    /// that it may last.
    pub(crate) fn lock_range(
        &self,
        kind: LockKind,
        start: u64,
        len: u64,
        wait: Wait,
        patience: Option<Duration>,
    ) -> Result<(), LockError> {
        let Some(file) = self.lock_file() else {
            return Ok(());
        };
        if wait == Wait::Yes && patience.is_some() {
            return self.lock_patiently(kind, start, len, patience);
        }
        // A queue does not look for deadlocks, so nobody waits in it who can be a part of one: the last lock of the order cannot.
        let may_queue = start == ChainIndex::FREELIST.byte() || !self.holds_any();
        // A mutex queues by itself, and hides nothing.
        let may_sleep = may_queue && self.on_wait.is_none();
        let sleeps = wait == Wait::Yes && may_sleep && self.mutex_of(start, len).is_some();
        let attempt = if sleeps { Attempt::Blocking } else { Attempt::Once };
        loop {
            let error = match self.attempt(file, kind, start, len, attempt) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            match self.classify_errno(error, start) {
                Err(LockError::WouldBlock) if wait == Wait::Yes => {
                    if !may_queue {
                        return self.lock_patiently(kind, start, len, None);
                    }
                    return self.lock_in_turn(file, kind, start, len);
                }
                classified => classified?,
            }
        }
    }

    /// Waits for a range as long as it takes.
    ///
    /// Not by sleeping in the kernel for the range itself: it queues classic waiters behind us, and then looks for no
    /// deadlock among them, so processes of libtdb that run into one would wait forever instead of being refused.
    /// Ours sleep for a byte that only this engine locks, and whoever has that tries for the range.
    fn lock_in_turn(
        &self,
        file: BorrowedFd<'_>,
        kind: LockKind,
        start: u64,
        len: u64,
    ) -> Result<(), LockError> {
        let turn = Claim { kind: LockKind::Write, start: self.turn_byte(start), len: 1 };
        let wanted = Claim { kind, start, len };
        let mut watch = DeadlockWatch::start(false);
        if self.on_wait.is_some() {
            // Asleep it could not tell the caller.
            self.keep_trying(turn, None, || watch.look(self, wanted))?;
        } else {
            while let Err(error) = ofd::lock(file, turn.kind, turn.start, turn.len, Attempt::Blocking) {
                self.classify_errno(error, start)?;
            }
        }
        let locked = self.keep_trying(wanted, None, || watch.look(self, wanted));
        // Fails only if the descriptor is not a file.
        let _ = ofd::unlock(file, turn.start, turn.len);
        locked
    }

    /// The byte on which those of ours queue who wait for a lock of `byte`. Whoever holds one lock may wait for the next
    /// kind of the order, so no two kinds share one.
    fn turn_byte(&self, byte: u64) -> u64 {
        let first_chain = ChainIndex::chain(0).byte();
        if byte < first_chain {
            TURNS + byte / 4
        } else if byte < self.records_start() {
            CHAIN_TURNS + (byte - first_chain) / 4 % CHAIN_TURNS_LEN
        } else {
            RECORDS_TURN
        }
    }

    /// Tries again and again; without `patience` as long as it takes. Fails soon if it is part of a deadlock.
    fn lock_patiently(
        &self,
        kind: LockKind,
        start: u64,
        len: u64,
        patience: Option<Duration>,
    ) -> Result<(), LockError> {
        let mut watch = DeadlockWatch::start(patience.is_some());
        let wanted = Claim { kind, start, len };
        self.keep_trying(wanted, patience, || watch.look(self, wanted))
    }

    /// Tries again and again, and calls `meanwhile` before each backoff; without `patience` as long as it takes.
    pub(super) fn keep_trying(
        &self,
        Claim { kind, start, len }: Claim,
        patience: Option<Duration>,
        mut meanwhile: impl FnMut() -> Result<(), LockError>,
    ) -> Result<(), LockError> {
        let Some(file) = self.lock_file() else {
            return Ok(());
        };
        let begun = Instant::now();
        let mut backoff = FIRST_BACKOFF;
        loop {
            let error = match self.attempt(file, kind, start, len, Attempt::Once) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            match self.classify_errno(error, start) {
                Err(LockError::WouldBlock) => match patience {
                    Some(patience) if begun.elapsed() >= patience => {
                        return Err(LockError::Deadlock { seconds: patience.as_secs() });
                    }
                    _ => {
                        meanwhile()?;
                        ofd::back_off(backoff);
                    }
                },
                Err(error) => return Err(error),
                Ok(()) => {}
            }
            if self.interrupted() {
                return Err(LockError::Interrupted);
            }
            backoff = (backoff * 2).min(LONGEST_BACKOFF);
        }
    }

    /// What a refused lock means; `Ok` for "try again".
    pub(crate) fn classify_errno(&self, error: io::Error, byte: u64) -> Result<(), LockError> {
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EACCES) => Err(LockError::WouldBlock),
            Some(libc::EINTR) if self.interrupted() => Err(LockError::Interrupted),
            Some(libc::EINTR) => Ok(()),
            _ => Err(LockError::Io { byte, cause: error }),
        }
    }

    pub(crate) fn unlock_range(&self, start: u64, len: u64) {
        if self.is_after_fork() {
            // A child shares the opening, and so the locks, with its parent until it opens the file itself.
            return;
        }
        if let Some((area, list)) = self.mutex_of(start, len) {
            self.given_back(area.unlock(list));
        } else if let Some(file) = self.lock_file() {
            // Unlocking a range of an open file fails only if the descriptor is not a file.
            let _ = ofd::unlock(file, start, len);
        }
    }

    /// Runs `recover` with everything locked alone, and the open lock.
    pub(crate) fn alone<E: From<LockError>>(&self, recover: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        if self.has_no_lock() {
            return recover();
        }
        self.lock_everything_alone()?;
        if let Err(error) =
            self.lock_range(LockKind::Write, LockByte::Open as u64, 1, Wait::Yes, Some(PATIENCE))
        {
            self.unlock_everything();
            return Err(error.into());
        }
        let recovered = recover();
        self.unlock_range(LockByte::Open as u64, 1);
        self.unlock_everything();
        recovered
    }

    fn lock_everything_alone(&self) -> Result<(), LockError> {
        match self.mutexes.get() {
            Some(area) => self.lock_mutexes_and_records(area, LockKind::Write, Wait::Yes),
            None => self.lock_range(LockKind::Write, FREELIST_HEAD.into(), 0, Wait::Yes, Some(PATIENCE)),
        }
    }
}
