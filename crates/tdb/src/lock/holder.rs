//! A wait for a lock as those see it who are told of it, and who holds what is waited for.

use std::fs::{self, File};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use super::deadlock::ListedLock;
use super::waiting::Claim;
use crate::lock::ofd;

/// Is told of a wait; see [`crate::OpenOptions::on_wait`].
pub type OnWait = Arc<dyn Fn(&LockWait<'_>) -> ControlFlow<()> + Send + Sync>;

/// A lock that is waited for.
pub struct LockWait<'a> {
    pub(super) waited: Duration,
    pub(super) file: &'a File,
    pub(super) wanted: Claim,
}

impl LockWait<'_> {
    /// How long by now.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// The process that holds the lock, or one of several. `None` if the lock is free by now, or if the system does not
    /// tell: locks of open files, this engine's own, are told of processes that we may look at only.
    pub fn holder(&self) -> Option<u32> {
        let Claim { kind, start, len } = self.wanted;
        let process = ofd::holder(self.file.as_fd(), kind, start, len).ok()??;
        u32::try_from(process).ok().filter(|process| *process != 0).or_else(|| self.holder_by_open_file())
    }

    /// The process of which one of its open files has the lock.
    fn holder_by_open_file(&self) -> Option<u32> {
        let inode = self.file.metadata().ok()?.ino();
        let processes = fs::read_dir("/proc").ok()?.filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path()))
        });
        let holds = |info: &str| locks_of_open_file(info).any(|lock| lock.excludes(inode, &self.wanted));
        processes.filter(|(process, _)| *process != std::process::id()).find_map(|(process, path)| {
            let mut open = fs::read_dir(path.join("fdinfo")).ok()?.filter_map(Result::ok);
            open.any(|info| fs::read_to_string(info.path()).is_ok_and(|info| holds(&info))).then_some(process)
        })
    }
}

/// The locks in what the kernel says about a descriptor: `lock:` and a line as in `/proc/locks`.
fn locks_of_open_file(info: &str) -> impl Iterator<Item = ListedLock> {
    info.lines().filter_map(|line| ListedLock::parse("OFDLCK", line.strip_prefix("lock:")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::LockKind::{Read, Write};

    /// T20: a lock that an open file has is read from what the kernel says about it, and excludes what overlaps it.
    #[test]
    fn the_lock_of_an_open_file_is_read() {
        let info = "pos:\t0\nflags:\t02100002\nmnt_id:\t31\nino:\t77\n\
                    lock:\t1: OFDLCK ADVISORY  READ -1 00:2f:77 168 171\n\
                    lock:\t2: POSIX  ADVISORY  WRITE 9 00:2f:77 8 8\n";
        let locks: Vec<ListedLock> = locks_of_open_file(info).collect();
        assert_eq!(locks.len(), 1);
        let claim = |kind, start, len| Claim { kind, start, len };
        assert!(locks[0].excludes(77, &claim(Write, 168, 0)));
        assert!(!locks[0].excludes(78, &claim(Write, 168, 0)), "another file");
        assert!(!locks[0].excludes(77, &claim(Read, 168, 0)), "two readers");
        assert!(!locks[0].excludes(77, &claim(Write, 172, 0)), "another byte");
    }
}
