//! Notices: how a waiting handle shows other processes what it holds and waits for.
//!
//! The kernel lists the locks of open files without their owner, and a waiter of ours does not sleep in the kernel. So
//! whoever waits while it holds something makes a file in memory of its own and takes classic locks on it, whose
//! offsets say what it holds and wants: `/proc/locks` shows them to everybody, with the process, and they go with the file or the
//! process, however it ends. Nobody ever waits for these locks.
//!
//! | bits of an offset | |
//! |---|---|
//! | 34 to 62 | which database: a hash of its file's device and number |
//! | 33 | 0: held, 1: wanted |
//! | 0 to 32 | the byte of the database; one behind all of them says that the waiter gives way |

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use super::waiting::{Claim, Waiter};
use crate::lock::ofd::{self, LockKind};

const BYTE_BITS: u32 = 33;
const DATABASE_BITS: u32 = 29;
/// A half of what a notice says: what is held, or what is wanted.
const HALF: u64 = 1 << BYTE_BITS;
/// Where what reaches to the end of the database ends. The kernel joins neighbours of one kind, so there is a gap between
/// this, the next and the other half.
const END: u64 = HALF - 8;
/// The byte of the first half that says that the waiter gives way.
const GIVES_WAY: u64 = HALF - 4;

/// Which database a notice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DatabaseTag(u64);

impl DatabaseTag {
    /// The tag of the database in the file `inode` of `device`.
    pub fn of(device: u64, inode: u64) -> DatabaseTag {
        // Multiplying carries every bit into the upper ones.
        let mixed = (inode ^ device.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        DatabaseTag(mixed >> (u64::BITS - DATABASE_BITS))
    }
}

/// What a waiter shows, until this is dropped.
pub(super) struct Notice {
    /// Holds the locks.
    _file: File,
    /// Its number, by which the kernel's list names it.
    pub inode: u64,
}

impl Notice {
    /// Shows `waiter`; `None` where the system has no file to give.
    pub fn post(database: DatabaseTag, waiter: &Waiter) -> Option<Notice> {
        let file = ofd::memory_file().ok()?;
        let inode = file.metadata().ok()?.ino();
        let show = |half: u64, claim: &Claim| {
            let (start, len) = placed(database, half, claim);
            ofd::lock_classic(file.as_fd(), claim.kind, start, len).ok()
        };
        if waiter.gives_way {
            show(0, &Claim { kind: LockKind::Read, start: GIVES_WAY, len: 1 })?;
        }
        waiter.held.iter().try_for_each(|claim| show(0, claim))?;
        // Last, since only what is wanted makes it a waiter.
        waiter.wanted.iter().try_for_each(|claim| show(HALF, claim))?;
        Some(Notice { _file: file, inode })
    }
}

/// Where the lock is that says `claim`, and how long.
fn placed(database: DatabaseTag, half: u64, claim: &Claim) -> (u64, u64) {
    let end = if claim.len == 0 { END } else { claim.start + claim.len };
    let first = (database.0 << (BYTE_BITS + 1)) + half + claim.start;
    (first, end - claim.start)
}

/// What the lock of a notice about `database` at these bytes adds to its waiter; nothing if it is about another one.
pub(super) fn read(database: DatabaseTag, lock: &Claim, waiter: &mut Waiter) {
    if lock.start >> (BYTE_BITS + 1) != database.0 {
        return;
    }
    let start = lock.start % HALF;
    let len = if start + lock.len == END { 0 } else { lock.len };
    let claim = Claim { kind: lock.kind, start, len };
    if lock.start & HALF != 0 {
        waiter.wanted.push(claim);
    } else if start == GIVES_WAY {
        waiter.gives_way = true;
    } else {
        waiter.held.push(claim);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use LockKind::{Read, Write};

    /// T20: what a notice shows is read back as it was, by those who ask about the same database only.
    #[test]
    fn a_notice_says_what_is_held_and_wanted() {
        let claim = |kind, start, len| Claim { kind, start, len };
        let everything = claim(Read, 168, 0);
        for gives_way in [true, false] {
            let shown = Waiter {
                said_by: Some(7),
                gives_way,
                held: vec![claim(Write, 8, 1), everything],
                wanted: vec![claim(Write, 168, 0)],
            };
            let (ours, other) = (DatabaseTag::of(1, 2), DatabaseTag::of(2, 1));
            assert_ne!(ours, other);
            let mut locks: Vec<Claim> = Vec::new();
            for (half, claims) in [(0, &shown.held), (HALF, &shown.wanted)] {
                locks.extend(claims.iter().map(|shown| {
                    let (start, len) = placed(ours, half, shown);
                    claim(shown.kind, start, len)
                }));
            }
            if gives_way {
                let (start, len) = placed(ours, 0, &claim(Read, GIVES_WAY, 1));
                locks.push(claim(Read, start, len));
            }
            let blank =
                || Waiter { said_by: Some(7), gives_way: false, held: Vec::new(), wanted: Vec::new() };
            let (mut seen, mut unseen) = (blank(), blank());
            for lock in &locks {
                read(ours, lock, &mut seen);
                read(other, lock, &mut unseen);
            }
            assert_eq!(seen, shown);
            assert_eq!(unseen, blank());
        }
    }
}
