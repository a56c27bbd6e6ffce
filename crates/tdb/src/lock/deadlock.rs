//! Deadlocks, which the kernel does not find because it ignores the locks of open files.
//!
//! Whoever waits for a lock while it holds others looks into `/proc/locks` now and then: at processes of libtdb, which sleep in
//! the kernel for what they want, and at the [`notices`](super::notice) of other handles of ours, in this process and elsewhere.
//! If it is part of a circle of those that wait for each other, none of them would ever get its lock, and it gives up.
//! Where the list cannot be read, or a process is hidden in another container, waiting ends by [`super::PATIENCE`] only.

use std::collections::HashMap;
use std::fs;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use super::holder::LockWait;
use super::notice::{self, DatabaseTag, Notice};
use super::waiting::{Claim, Waiter, circle};
use super::{Entry, LockByte, Locks};
use crate::error::LockError;
use crate::file::format::FREELIST_HEAD;
use crate::lock::ofd::{self, Attempt, LockKind};

/// How often a caller who wants to be told of a wait is.
const TOLD_EVERY: Duration = Duration::from_secs(1);
/// When a waiter looks first: nearly all waits are over before.
const FIRST_LOOK: Duration = Duration::from_millis(20);
/// It looks less and less often, since the list holds the locks of the whole machine. Whoever closes a circle looks soon.
const LONGEST_INTERVAL: Duration = Duration::from_secs(1);
/// A byte that libtdb never locks: whoever has it looks and takes its notice down, so that one of a circle gives up and not all.
const LOOKING: u64 = 94;

/// What a waiter knows about when to look, and when to tell its caller that it waits.
pub(super) struct DeadlockWatch {
    begun: Instant,
    next_told: Instant,
    next: Instant,
    interval: Duration,
    /// Gives way to other handles: one that keeps the order of locks need not, since the others are against it.
    gives_way: bool,
    notice: Option<Notice>,
}

impl DeadlockWatch {
    pub fn start(gives_way: bool) -> DeadlockWatch {
        let begun = Instant::now();
        let (next, next_told) = (begun + FIRST_LOOK, begun + TOLD_EVERY);
        DeadlockWatch { begun, next_told, next, interval: FIRST_LOOK, gives_way, notice: None }
    }

    /// Fails if whoever holds a lock that we want waits for one of ours, or the caller does not want to wait longer; looks
    /// now and then only.
    pub fn look(&mut self, locks: &Locks, wanted: Claim) -> Result<(), LockError> {
        let now = Instant::now();
        self.tell(locks, wanted, now)?;
        if now < self.next || !locks.holds_any() {
            return Ok(());
        }
        let (Some(file), Some(place)) = (locks.lock_file(), locks.place()) else {
            return Ok(());
        };
        let own =
            Waiter { said_by: None, gives_way: self.gives_way, held: locks.claims(), wanted: vec![wanted] };
        if self.notice.is_none() {
            self.notice = Notice::post(place.tag(), &own);
        }
        let Some(looking) = Looking::begin(file) else {
            // Somebody else looks, and may give up.
            return Ok(());
        };
        // Twice, since the list is not read in one moment, and who was in a deadlock still is.
        let gives_up = (0..2).all(|_| self.must_give_up(&own, &place));
        if gives_up {
            self.notice = None;
        }
        drop(looking);
        self.interval = (self.interval * 2).min(LONGEST_INTERVAL);
        self.next = now + self.interval;
        if gives_up { Err(LockError::Deadlock { seconds: self.begun.elapsed().as_secs() }) } else { Ok(()) }
    }

    fn tell(&mut self, locks: &Locks, wanted: Claim, now: Instant) -> Result<(), LockError> {
        let (Some(on_wait), Some(file)) = (&locks.on_wait, &locks.file) else { return Ok(()) };
        if now < self.next_told {
            return Ok(());
        }
        self.next_told = now + TOLD_EVERY;
        let waited = now - self.begun;
        match on_wait(&LockWait { waited, file, wanted }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(LockError::GaveUp { seconds: waited.as_secs() }),
        }
    }

    fn must_give_up(&self, own: &Waiter, place: &Place) -> bool {
        let list = fs::read_to_string("/proc/locks").unwrap_or_default();
        let others = waiters(&list, place, self.notice.as_ref().map(|notice| notice.inode));
        let circle = circle(own, &others);
        let others_give_way = circle.iter().any(|waiter| waiter.gives_way);
        !circle.is_empty()
            && (self.gives_way || !others_give_way)
            && circle.iter().filter_map(|waiter| waiter.said_by).all(|process| place.trusts(process))
    }
}

/// The right to look: one handle at a time.
struct Looking<'f>(BorrowedFd<'f>);

impl<'f> Looking<'f> {
    /// `None` if another handle looks.
    fn begin(file: BorrowedFd<'f>) -> Option<Looking<'f>> {
        match ofd::lock(file, LockKind::Write, LOOKING, 1, Attempt::Once) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => None,
            // Without that byte at worst two give up.
            _ => Some(Looking(file)),
        }
    }
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        // Fails only if the descriptor is not a file.
        let _ = ofd::unlock(self.0, LOOKING, 1);
    }
}

/// The database's file.
struct Place {
    device: u64,
    inode: u64,
    owner: u32,
}

impl Place {
    fn tag(&self) -> DatabaseTag {
        DatabaseTag::of(self.device, self.inode)
    }

    /// Whether to believe a process's notice: anybody on the machine can post one, also who cannot open the database.
    fn trusts(&self, process: i32) -> bool {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        real_user(&status).is_some_and(|user| self.trusts_user(user))
    }

    fn trusts_user(&self, user: u32) -> bool {
        user == 0 || user == self.owner || ofd::runs_as(user)
    }
}

/// The user who started a process, by its `status`; the effective one changes in servers that act for others.
fn real_user(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.parse().ok()
}

impl Locks {
    fn place(&self) -> Option<Place> {
        let found = self.file.as_ref()?.metadata().ok()?;
        Some(Place { device: found.dev(), inode: found.ino(), owner: found.uid() })
    }

    /// Whether any lock is held that others wait for: that is not so of the one that says "someone has this open".
    pub fn holds_any(&self) -> bool {
        self.allrecord.get().count > 0
            || self.entries.borrow().iter().any(|entry| entry.byte != LockByte::Active as u64)
            || !self.records.borrow().is_empty()
    }

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

/// Who waits for locks of the database at `place`, by the kernel's list; not the one whose notice is `own`.
fn waiters(list: &str, place: &Place, own: Option<u64>) -> Vec<Waiter> {
    let mut handles: HashMap<u64, Waiter> = HashMap::new();
    let mut processes: HashMap<i32, Waiter> = HashMap::new();
    let nobody = |said_by| Waiter { said_by, gives_way: false, held: Vec::new(), wanted: Vec::new() };
    for lock in list
        .lines()
        .filter_map(|line| ListedLock::parse("POSIX", line))
        .filter(|lock| Some(lock.inode) != own)
    {
        if lock.inode == place.inode {
            let waiter = processes.entry(lock.process).or_insert_with(|| nobody(None));
            if lock.is_wanted { waiter.wanted.push(lock.claim) } else { waiter.held.push(lock.claim) }
        } else {
            let waiter = handles.entry(lock.inode).or_insert_with(|| nobody(Some(lock.process)));
            notice::read(place.tag(), &lock.claim, waiter);
        }
    }
    let all = processes.into_values().chain(handles.into_values());
    all.filter(|waiter| !waiter.wanted.is_empty() && !waiter.held.is_empty()).collect()
}

/// A lock in the kernel's list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ListedLock {
    /// The process sleeps for it.
    is_wanted: bool,
    process: i32,
    inode: u64,
    claim: Claim,
}

impl ListedLock {
    /// Whether it is held, on the file of this number, and excludes `wanted`.
    pub fn excludes(&self, inode: u64, wanted: &Claim) -> bool {
        !self.is_wanted && self.inode == inode && self.claim.excludes(wanted)
    }

    /// The lock in a line of `/proc/locks`, if it is of this sort, `POSIX` for a classic one: `12: -> POSIX  ADVISORY  WRITE 1234 00:2f:5678 168 171`,
    /// with `EOF` for a range without end, and without the arrow if it is held.
    pub fn parse(sort: &str, line: &str) -> Option<ListedLock> {
        let (_, lock) = line.split_once(':')?;
        let is_wanted = lock.contains("-> ");
        let words: Vec<&str> = lock.split_whitespace().skip(usize::from(is_wanted)).collect();
        let [found, _, kind, process, file, first, last] = words.as_slice() else {
            return None;
        };
        if *found != sort {
            return None;
        }
        let kind = if *kind == "READ" { LockKind::Read } else { LockKind::Write };
        let start = first.parse().ok()?;
        let len = match *last {
            "EOF" => 0,
            last => last.parse::<u64>().ok()?.checked_sub(start)?.saturating_add(1),
        };
        Some(ListedLock {
            is_wanted,
            process: process.parse().ok()?,
            inode: file.rsplit(':').next()?.parse().ok()?,
            claim: Claim { kind, start, len },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use LockKind::{Read, Write};

    const PLACE: Place = Place { device: 1, inode: 5678, owner: 0 };

    /// T20: the kernel's forms of a classic lock, and lines about others.
    #[test]
    fn a_line_about_a_classic_lock_is_read() {
        let lock = |is_wanted, process, inode, kind, start, len| {
            Some(ListedLock { is_wanted, process, inode, claim: Claim { kind, start, len } })
        };
        let line = "12: -> POSIX  ADVISORY  WRITE 1234 00:2f:5678 168 171";
        assert_eq!(ListedLock::parse("POSIX", line), lock(true, 1234, 5678, Write, 168, 4));
        let line = "7: POSIX  ADVISORY  READ  9 fd:01:77 8 EOF";
        assert_eq!(ListedLock::parse("POSIX", line), lock(false, 9, 77, Read, 8, 0));
        for other in [
            "3: OFDLCK ADVISORY  WRITE -1 00:2f:5678 168 171",
            "3: FLOCK  ADVISORY  WRITE 77 00:2f:5678 0 EOF",
            "12: -> POSIX  ADVISORY  WRITE 1234 00:2f:5678 168",
            "",
        ] {
            assert_eq!(ListedLock::parse("POSIX", other), None, "{other}");
        }
    }

    /// T20: a process of libtdb that sleeps for our chain and holds another is a waiter; one that only holds or only waits,
    /// or is about another file, is not.
    #[test]
    fn processes_that_hold_and_wait_are_waiters() {
        let list = "1: POSIX  ADVISORY  WRITE 10 00:2f:5678 8 8\n\
                    2: POSIX  ADVISORY  WRITE 11 00:2f:5678 172 172\n\
                    3: OFDLCK ADVISORY  WRITE -1 00:2f:5678 168 168\n\
                    3: -> POSIX  ADVISORY  WRITE 10 00:2f:5678 168 168\n\
                    3:  -> POSIX  ADVISORY  WRITE 12 00:2f:5678 168 168\n\
                    4: POSIX  ADVISORY  WRITE 13 00:2f:1 8 8\n\
                    5: -> POSIX  ADVISORY  WRITE 13 00:2f:1 168 168\n";
        let byte = |start| vec![Claim { kind: Write, start, len: 1 }];
        let expected = Waiter { said_by: None, gives_way: false, held: byte(8), wanted: byte(168) };
        assert_eq!(waiters(list, &PLACE, None), [expected]);
    }

    /// T20: root, the file's owner and our own user are believed, a stranger or a process that is gone is not.
    #[test]
    fn strangers_are_not_believed() {
        let place = Place { owner: 12, ..PLACE };
        assert!(place.trusts_user(0) && place.trusts_user(12));
        assert!(place.trusts(std::process::id().cast_signed()));
        assert!(!place.trusts_user(4_000_000_000) && !place.trusts(i32::MAX));
    }

    /// T20: whom to believe is read from the first number of four.
    #[test]
    fn the_real_user_is_read() {
        assert_eq!(real_user("Name:\tx\nUid:\t1000\t0\t0\t0\nGid:\t5\t5\t5\t5\n"), Some(1000));
        assert_eq!(real_user(""), None);
    }
}
