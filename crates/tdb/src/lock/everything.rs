//! All chains and all records, locked at once; and the records that traverses stand on.

use std::time::Instant;

use super::{AllRecord, HOLD_HALF, LONGEST_BACKOFF, LockByte, Locks, NONE, PATIENCE, Wait};
use crate::error::LockError;
use crate::file::format::{FREELIST_HEAD, Offset};
use crate::lock::deadlock::DeadlockWatch;
use crate::lock::ofd::{self, LockKind};
use crate::lock::waiting::Claim;

impl Locks {
    /// Locks all chains and all records. `upgradable` is a transaction's read lock, later made a write lock. Whether this is the
    /// first such lock, after which a half-done commit may have to be undone.
    pub(crate) fn lock_allrecord(
        &self,
        kind: LockKind,
        wait: Wait,
        upgradable: bool,
    ) -> Result<bool, LockError> {
        if self.count_allrecord(kind, upgradable)? {
            return Ok(false);
        }
        if !self.has_no_lock() {
            self.must_be_lockable(kind)?;
            self.lock_chains_and_records(kind, wait)?;
        }
        self.allrecord.set(AllRecord { count: 1, kind, upgradable, marked: false });
        Ok(true)
    }

    /// Counts one more lock of everything if one is held; fails if it does not go with what is held.
    fn count_allrecord(&self, kind: LockKind, for_transaction: bool) -> Result<bool, LockError> {
        let all = self.allrecord.get();
        let same = all.kind == kind || (all.upgradable && kind == LockKind::Write);
        if all.count > 0 && same {
            self.allrecord.set(AllRecord { count: all.count + 1, ..all });
            return Ok(true);
        }
        if all.count > 0 {
            return Err(LockError::Conflict { why: "all records are locked in the other way already" });
        }
        // A transaction has looked already, before it took its own lock.
        if !for_transaction && self.has_extra_locks() {
            return Err(LockError::Conflict { why: "single chains are locked; release them first" });
        }
        Ok(false)
    }

    /// Counts everything as locked without asking the kernel.
    pub(crate) fn mark_allrecord(&self, kind: LockKind) -> Result<(), LockError> {
        if !self.count_allrecord(kind, false)? {
            self.allrecord.set(AllRecord { count: 1, kind, upgradable: false, marked: true });
        }
        Ok(())
    }

    /// Undoes one lock of everything; `release` unless it was only marked. Fails if it is not held in this way.
    pub(crate) fn unlock_allrecord_as(&self, kind: LockKind, release: bool) -> Result<(), LockError> {
        let all = self.allrecord.get();
        if all.count == 0 || (all.kind != kind && !(all.upgradable && kind == LockKind::Write)) {
            return Err(LockError::NotHeld { byte: FREELIST_HEAD.into() });
        }
        if all.count > 1 {
            self.allrecord.set(AllRecord { count: all.count - 1, ..all });
            return Ok(());
        }
        self.allrecord.set(NONE);
        if release && !self.has_no_lock() {
            self.unlock_everything();
        }
        Ok(())
    }

    /// Lets go of everything, however often it was counted.
    pub(crate) fn unlock_allrecord(&self) {
        if self.allrecord.get().count > 0 {
            self.allrecord.set(NONE);
            if !self.has_no_lock() {
                self.unlock_everything();
            }
        }
    }

    /// Makes a transaction's read lock a write lock, waiting for readers to leave.
    pub(crate) fn upgrade_allrecord(&self) -> Result<(), LockError> {
        let all = self.allrecord.get();
        if all.count != 1 || !all.upgradable {
            return Err(LockError::Conflict { why: "only a transaction's lock can be upgraded, held once" });
        }
        if !self.has_no_lock() {
            self.must_be_lockable(LockKind::Write)?;
            match self.mutexes.get() {
                Some(area) => self.upgrade_mutexes_and_records(area)?,
                None => {
                    self.lock_range(LockKind::Write, FREELIST_HEAD.into(), 0, Wait::Yes, Some(PATIENCE))?
                }
            }
        }
        self.allrecord.set(AllRecord { kind: LockKind::Write, upgradable: false, ..all });
        Ok(())
    }

    /// Whether all records are locked, by whatever kind of lock.
    pub(crate) fn holds_everything(&self) -> bool {
        self.allrecord.get().count > 0
    }

    /// Chains first, half by half where that must wait, then all records: the order of libtdb.
    fn lock_chains_and_records(&self, kind: LockKind, wait: Wait) -> Result<(), LockError> {
        if let Some(area) = self.mutexes.get() {
            return self.lock_mutexes_and_records(area, kind, wait);
        }
        let chains = u64::from(FREELIST_HEAD)..self.records_start();
        let give_up = Instant::now() + PATIENCE * 20;
        let mut watch = DeadlockWatch::start(false);
        loop {
            let attempt = self
                .lock_gradually(kind, chains.start, chains.end - chains.start, wait)
                .and_then(|()| self.lock_for_a_while(kind, chains.end, 0, wait));
            match attempt {
                Err(LockError::WouldBlock) if wait == Wait::Yes && Instant::now() < give_up => {
                    // Let go of what we have: someone who holds a chain may be waiting for another.
                    self.unlock_range(chains.start, 0);
                    watch.look(self, Claim { kind, start: chains.start, len: 0 })?;
                    ofd::back_off(LONGEST_BACKOFF);
                }
                Err(error) => {
                    self.unlock_range(chains.start, 0);
                    return Err(error);
                }
                Ok(()) => return Ok(()),
            }
        }
    }

    fn lock_gradually(&self, kind: LockKind, start: u64, len: u64, wait: Wait) -> Result<(), LockError> {
        match self.lock_range(kind, start, len, Wait::No, None) {
            Err(LockError::WouldBlock) if wait == Wait::Yes => {}
            done => return done,
        }
        if len <= 4 {
            return self.lock_for_a_while(kind, start, len, wait);
        }
        self.lock_gradually(kind, start, len / 2, wait)?;
        self.lock_gradually(kind, start + len / 2, len - len / 2, wait)
    }

    /// Tries for [`HOLD_HALF`].
    pub(crate) fn lock_for_a_while(
        &self,
        kind: LockKind,
        start: u64,
        len: u64,
        wait: Wait,
    ) -> Result<(), LockError> {
        if wait == Wait::No {
            return self.lock_range(kind, start, len, wait, None);
        }
        // Whoever waits here lets go soon, so that it cannot be part of a deadlock.
        self.keep_trying(Claim { kind, start, len }, Some(HOLD_HALF), || Ok(())).map_err(
            |error| match error {
                LockError::Deadlock { .. } => LockError::WouldBlock,
                other => other,
            },
        )
    }

    /// Whether locks are held that neither a transaction nor a lock of everything may be combined with.
    pub(crate) fn has_extra_locks(&self) -> bool {
        let in_transaction = self.in_transaction();
        if !in_transaction && self.holds_everything() {
            return true;
        }
        let mut extra = self.entries.borrow().len();
        if self.holds(LockByte::Active as u64) {
            extra -= 1;
        }
        if in_transaction && self.holds(LockByte::Transaction as u64) {
            extra -= 1;
        }
        extra > 0
    }

    /// Marks a record as stood on: nobody frees it until [`Locks::leave_record`].
    pub(crate) fn stand_on_record(&self, at: Offset) -> Result<(), LockError> {
        if let Some((_, count)) = self.records.borrow_mut().iter_mut().find(|(record, _)| *record == at) {
            *count += 1;
            return Ok(());
        }
        if !self.has_no_lock() && !self.holds_everything() {
            // Whoever waits looks at all records that are stood on.
            self.lock_range(LockKind::Read, at.into(), 1, Wait::Yes, None)?;
        }
        self.records.borrow_mut().push((at, 1));
        Ok(())
    }

    /// Undoes one [`Locks::stand_on_record`].
    pub(crate) fn leave_record(&self, at: Offset) {
        let mut records = self.records.borrow_mut();
        let Some(nth) = records.iter().position(|(record, _)| *record == at) else {
            return;
        };
        records[nth].1 -= 1;
        if records[nth].1 == 0 {
            records.swap_remove(nth);
            if !self.has_no_lock() && !self.holds_everything() {
                self.unlock_range(at.into(), 1);
            }
        }
    }

    /// Whether a traverse, here or elsewhere, stands on this record. The caller holds the chain for writing, so nobody
    /// can step on it meanwhile.
    #[inline]
    pub(crate) fn record_is_stood_on(&self, at: Offset) -> Result<bool, LockError> {
        let here = self.records.borrow().iter().any(|(record, _)| *record == at);
        if here { Ok(true) } else { self.others_stand_in(at.into(), 1) }
    }

    /// Whether a traverse, here or elsewhere, stands on any record at all: one question instead of many.
    pub(crate) fn some_record_is_stood_on(&self) -> Result<bool, LockError> {
        let here = !self.records.borrow().is_empty();
        // The bytes of the chains' locks end before the first record. Nobody else has everything locked, which would
        // reach in here, while we hold a chain for writing.
        let start = u64::from(self.first_record());
        if here { Ok(true) } else { self.others_stand_in(start, (1 << 32) - start) }
    }

    #[inline]
    fn others_stand_in(&self, start: u64, len: u64) -> Result<bool, LockError> {
        // With everything locked there are no others; a transaction meets them when it upgrades.
        if self.has_no_lock() || self.holds_everything() {
            return Ok(false);
        }
        let Some(file) = self.lock_file() else {
            return Ok(false);
        };
        ofd::held_by_another(file, start, len).map_err(|cause| LockError::Io { byte: start, cause })
    }
}
