//! Deadlocks with libtdb's processes, which the kernel does not find because it ignores the locks of open files.
//!
//! A process of libtdb sleeps in the kernel for its lock, and `/proc/locks` names it, the file and the range. So whoever
//! waits here for a lock that such a process has can see whether that one waits for a lock of ours: then neither would
//! ever get its lock, and ours gives up. Others of ours do not appear there: those of this process are in
//! [`super::waiting`], for those of other processes see [`super::PATIENCE`].

use std::fs;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use super::{LockByte, Locks};
use crate::error::LockError;
use crate::file::format::FREELIST_HEAD;
use crate::lock::ofd::{self, LockKind};
use crate::lock::waiting::{Claim, Waiting};

/// How often a waiter looks: the list holds the locks of the whole machine.
const INTERVAL: Duration = Duration::from_millis(250);
/// How often it looks at the waiters of its own process.
const OWN_INTERVAL: Duration = Duration::from_millis(20);

/// What a waiter knows about when to look.
pub(super) struct DeadlockWatch {
    begun: Instant,
    next: Instant,
    next_own: Instant,
    /// Gives way to other handles of this process: one that keeps the order of locks need not, since the others are against it.
    gives_way: bool,
    /// The entry among the waiters of this process, once it sleeps.
    entry: Option<Waiting>,
    entered: bool,
}

impl DeadlockWatch {
    pub fn start(gives_way: bool) -> DeadlockWatch {
        let begun = Instant::now();
        let next = begun + INTERVAL;
        DeadlockWatch { begun, next, next_own: begun, gives_way, entry: None, entered: false }
    }

    /// Fails if whoever holds a lock that we want waits for one of ours; looks now and then only.
    pub fn look(&mut self, locks: &Locks, kind: LockKind, start: u64, len: u64) -> Result<(), LockError> {
        let now = Instant::now();
        let deadlock = Err(LockError::Deadlock { seconds: (now - self.begun).as_secs() });
        if !self.entered {
            self.entered = true;
            self.entry = Waiting::enter(locks, Claim { kind, start, len });
        }
        if self.gives_way && now >= self.next_own {
            self.next_own = now + OWN_INTERVAL;
            if self.entry.as_ref().is_some_and(Waiting::leave_circle) {
                return deadlock;
            }
        }
        if now >= self.next && locks.holds_any() {
            self.next = now + INTERVAL;
            if locks.holder_waits_for_us(kind, start, len) {
                return deadlock;
            }
        }
        Ok(())
    }
}

impl Locks {
    fn holder_waits_for_us(&self, kind: LockKind, start: u64, len: u64) -> bool {
        let Some(file) = self.lock_file() else {
            return false;
        };
        let inode = self.file.as_ref().and_then(|file| file.metadata().ok()).map(|found| found.ino());
        let (Some(holder), Some(inode)) = (ofd::holding_process(file, kind, start, len), inode) else {
            return false;
        };
        // Where this list cannot be read, waiting ends by patience only.
        let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
        locks.lines().any(|line| {
            waiter(line).is_some_and(|waiter| {
                waiter.process == holder && waiter.inode == inode && self.hold_part_of(&waiter.range)
            })
        })
    }
}

impl Locks {
    /// Whether any lock is held that others wait for: that is not so of the one that says "someone has this open".
    pub fn holds_any(&self) -> bool {
        self.allrecord.get().count > 0
            || self.entries.borrow().iter().any(|entry| entry.byte != LockByte::Active as u64)
            || !self.records.borrow().is_empty()
    }

    /// Whether any byte of the range is locked by this handle.
    fn hold_part_of(&self, range: &Range<u64>) -> bool {
        let all = self.allrecord.get().count > 0 && range.end > u64::from(FREELIST_HEAD);
        all || self.entries.borrow().iter().any(|entry| range.contains(&entry.byte))
            || self.records.borrow().iter().any(|(at, _)| range.contains(&u64::from(*at)))
    }
}

/// A process that sleeps for a lock.
#[derive(Debug, PartialEq, Eq)]
struct Waiter {
    process: i32,
    inode: u64,
    range: Range<u64>,
}

/// The waiter that a line of `/proc/locks` is about, if it is about one:
/// `12: -> POSIX  ADVISORY  WRITE 1234 00:2f:5678 168 171`, with `EOF` for a range without end.
fn waiter(line: &str) -> Option<Waiter> {
    let (_, blocked) = line.split_once("-> ")?;
    let words: Vec<&str> = blocked.split_whitespace().collect();
    let [_, _, _, process, file, first, last] = words.as_slice() else {
        return None;
    };
    let inode = file.rsplit(':').next()?.parse().ok()?;
    let end = if *last == "EOF" { u64::MAX } else { last.parse::<u64>().ok()?.saturating_add(1) };
    Some(Waiter { process: process.parse().ok()?, inode, range: first.parse().ok()?..end })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T20: the kernel's two forms of a range, and lines about locks that are held.
    #[test]
    fn a_line_about_a_waiting_process_is_read() {
        let line = "12: -> POSIX  ADVISORY  WRITE 1234 00:2f:5678 168 171";
        assert_eq!(waiter(line), Some(Waiter { process: 1234, inode: 5678, range: 168..172 }));
        let line = "7: -> POSIX  ADVISORY  READ  9 fd:01:77 8 EOF";
        assert_eq!(waiter(line), Some(Waiter { process: 9, inode: 77, range: 8..u64::MAX }));
        assert_eq!(waiter("12: POSIX  ADVISORY  WRITE 1234 00:2f:5678 168 171"), None);
        assert_eq!(waiter("12: -> POSIX  ADVISORY  WRITE 1234 00:2f:5678"), None);
    }
}
