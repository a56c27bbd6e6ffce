//! The handles of this process that wait for a lock while they hold others. Some that wait for each other in a circle are
//! found at once; the kernel finds none among locks that belong to open files.
//!
//! Whoever waits gives nothing back meanwhile, so what it held when it began can be looked at by the others. An entry is
//! there from before the first sleep until the wait is over.

use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Entry, Locks};
use crate::file::format::FREELIST_HEAD;
use crate::lock::ofd::LockKind;

/// A range of bytes, locked or wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub kind: LockKind,
    pub start: u64,
    /// 0 for all that follows.
    pub len: u64,
}

impl Claim {
    fn end(&self) -> u64 {
        if self.len == 0 { u64::MAX } else { self.start + self.len }
    }

    fn excludes(&self, other: &Claim) -> bool {
        let overlap = self.start < other.end() && other.start < self.end();
        overlap && (self.kind == LockKind::Write || other.kind == LockKind::Write)
    }
}

/// One that waits.
struct Waiter {
    id: u64,
    /// Device and number of the file.
    file: (u64, u64),
    held: Vec<Claim>,
    wanted: Claim,
}

impl Waiter {
    /// Whether this one can go on only when `other` gives something back.
    fn waits_for(&self, other: &Waiter) -> bool {
        self.file == other.file && other.held.iter().any(|held| held.excludes(&self.wanted))
    }
}

static WAITERS: Mutex<Vec<Waiter>> = Mutex::new(Vec::new());

fn waiters() -> MutexGuard<'static, Vec<Waiter>> {
    // Every change is a single push or removal.
    WAITERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An entry among those who wait, until this is dropped.
pub(super) struct Waiting(u64);

impl Waiting {
    /// Enters a handle that is about to wait; `None` if it holds nothing, so that nobody waits for it, or nothing is known of
    /// its file.
    pub fn enter(locks: &Locks, wanted: Claim) -> Option<Waiting> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let held = locks.claims();
        if held.is_empty() {
            return None;
        }
        let file = locks.file.as_ref()?.metadata().ok()?;
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        waiters().push(Waiter { id, file: (file.dev(), file.ino()), held, wanted });
        Some(Waiting(id))
    }

    /// Whether this one waits for one that waits, over any number of others, for this one. Then it waits no longer, so that
    /// of each circle one gives up and not all.
    pub fn leave_circle(&self) -> bool {
        let mut all = waiters();
        let Some(own) = all.iter().position(|waiter| waiter.id == self.0) else {
            return false;
        };
        let mut reached = vec![false; all.len()];
        let mut open = vec![own];
        while let Some(from) = open.pop() {
            for to in 0..all.len() {
                if !reached[to] && to != from && all[from].waits_for(&all[to]) {
                    reached[to] = true;
                    open.push(to);
                }
            }
        }
        if reached[own] {
            all.swap_remove(own);
        }
        reached[own]
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        waiters().retain(|waiter| waiter.id != self.0);
    }
}

impl Locks {
    /// All that this handle has locked and others may wait for.
    fn claims(&self) -> Vec<Claim> {
        let entries = self.entries.borrow();
        let own = entries.iter().filter(|entry| !entry.marked);
        let mut claims: Vec<Claim> =
            own.map(|Entry { byte, kind, .. }| Claim { kind: *kind, start: *byte, len: 1 }).collect();
        let all = self.allrecord.get();
        if all.count > 0 && !all.marked {
            claims.push(Claim { kind: all.kind, start: FREELIST_HEAD.into(), len: 0 });
        }
        let records = self.records.borrow();
        claims.extend(records.iter().map(|(at, _)| Claim {
            kind: LockKind::Read,
            start: u64::from(*at),
            len: 1,
        }));
        claims
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    fn claim(kind: LockKind, start: u64, len: u64) -> Claim {
        Claim { kind, start, len }
    }

    fn enter(held: &[Claim], wanted: Claim, inode: u64) -> Waiting {
        static NEXT: AtomicU64 = AtomicU64::new(1 << 32);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        waiters().push(Waiter { id, file: (u64::MAX, inode), held: held.to_vec(), wanted });
        Waiting(id)
    }

    /// T20: a circle of three is found by whoever closes it, and only by that one; a line, readers of one byte, neighbours
    /// and other files are none.
    #[test]
    fn circles_are_found_and_nothing_else() {
        use LockKind::{Read, Write};
        let byte = |kind, start| claim(kind, start, 1);
        let first = enter(&[byte(Write, 4)], byte(Write, 8), 1);
        let second = enter(&[byte(Read, 8)], byte(Write, 12), 1);
        assert!(!first.leave_circle() && !second.leave_circle());
        let other_file = enter(&[byte(Write, 12)], byte(Write, 4), 2);
        let reads = enter(&[byte(Write, 13)], byte(Read, 8), 1);
        assert!(!other_file.leave_circle() && !reads.leave_circle());

        let third = enter(&[byte(Write, 12)], claim(Read, 2, 0), 1);

        assert!(third.leave_circle());
        assert!(!third.leave_circle() && !first.leave_circle() && !second.leave_circle());
    }

    /// T20: two that both hold a byte for reading and both want it for writing.
    #[test]
    fn two_upgrades_of_one_lock_are_a_circle() {
        let byte = |kind| claim(kind, 168, 1);
        let first = enter(&[byte(LockKind::Read)], byte(LockKind::Write), 3);
        assert!(!first.leave_circle(), "its own lock is not in its way");
        let second = enter(&[byte(LockKind::Read)], byte(LockKind::Write), 3);
        assert!(second.leave_circle());
        assert!(!first.leave_circle());
    }
}
