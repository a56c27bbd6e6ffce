//! Byte-range locks that belong to an open file rather than to a process (`F_OFD_SETLK`).
//!
//! They conflict with the classic locks of libtdb's processes, with those of other handles in this process, and
//! outlive the closing of other descriptors of the file. The kernel looks for no deadlocks among them. Here, too, are
//! the backoffs between two tries for one. What a fork makes of them, [`forks`](crate::file::forks) knows.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, RawFd};
use std::time::Duration;

/// Shared with other readers, or alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Others may read at the same time.
    Read,
    /// Nobody else.
    Write,
}

/// Whether to sleep in the kernel until the lock is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    Once,
    Blocking,
}

fn range(kind: libc::c_int, start: u64, len: u64) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start as libc::off_t,
        l_len: len as libc::off_t,
        l_pid: 0,
    }
}

fn type_of(kind: LockKind) -> libc::c_int {
    match kind {
        LockKind::Read => libc::F_RDLCK,
        LockKind::Write => libc::F_WRLCK,
    }
}

/// Locks `len` bytes from `start` (0: to the end of all offsets). Fails with `EAGAIN` if someone holds it and the
/// attempt is not blocking, with `EINTR` on a signal.
#[inline]
pub(crate) fn lock(
    file: BorrowedFd<'_>,
    kind: LockKind,
    start: u64,
    len: u64,
    attempt: Attempt,
) -> io::Result<()> {
    let command = match attempt {
        Attempt::Once => libc::F_OFD_SETLK,
        Attempt::Blocking => libc::F_OFD_SETLKW,
    };
    set(file, command, range(type_of(kind), start, len))
}

/// Lets go of `len` bytes from `start`.
#[inline]
pub(crate) fn unlock(file: BorrowedFd<'_>, start: u64, len: u64) -> io::Result<()> {
    set(file, libc::F_OFD_SETLK, range(libc::F_UNLCK, start, len))
}

#[inline]
fn set(file: BorrowedFd<'_>, command: libc::c_int, range: libc::flock) -> io::Result<()> {
    // SAFETY: a valid flock for the length of the call.
    let result = unsafe { fcntl(file.as_raw_fd(), command, &range) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The system call alone: the C library's function around it looks at its arguments first and prepares for the end of
/// the thread, which is an eighth of the time that a fetch takes.
///
/// # Safety
/// `range` may be read, as `libc::fcntl` has it.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
#[inline]
unsafe fn fcntl(file: RawFd, command: libc::c_int, range: *const libc::flock) -> libc::c_int {
    // SAFETY: the caller's promise; with 64 bits there is one layout of flock, which the kernel and the C library share.
    unsafe { libc::syscall(libc::SYS_fcntl, file, command, range) as libc::c_int }
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
unsafe fn fcntl(file: RawFd, command: libc::c_int, range: *const libc::flock) -> libc::c_int {
    // SAFETY: the caller's promise.
    unsafe { libc::fcntl(file, command, range) }
}

/// Whether another open file or process holds any lock in the range; one call where taking and giving back is two.
pub(crate) fn held_by_another(file: BorrowedFd<'_>, start: u64, len: u64) -> io::Result<bool> {
    Ok(holder(file, LockKind::Write, start, len)?.is_some())
}

/// The process that holds a lock which excludes this one, -1 for an open file that holds it.
pub(crate) fn holder(
    file: BorrowedFd<'_>,
    kind: LockKind,
    start: u64,
    len: u64,
) -> io::Result<Option<libc::pid_t>> {
    let mut range = range(type_of(kind), start, len);
    // SAFETY: a valid flock, which the kernel fills.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &mut range) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok((range.l_type != libc::F_UNLCK as libc::c_short).then_some(range.l_pid))
}

/// Takes a lock of this process, as libtdb does. It goes when any descriptor of the file is closed in this process.
pub(crate) fn lock_classic(file: BorrowedFd<'_>, kind: LockKind, start: u64, len: u64) -> io::Result<()> {
    set(file, libc::F_SETLK, range(type_of(kind), start, len))
}

/// A new file without a name, in memory.
pub(crate) fn memory_file() -> io::Result<File> {
    // SAFETY: a text that ends in NUL; the descriptor that is returned is nobody else's.
    let descriptor = unsafe { libc::memfd_create(c"tdb lock wait".as_ptr(), libc::MFD_CLOEXEC) };
    if descriptor == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}

/// Whether this process was started by, or acts as, this user.
pub(crate) fn runs_as(user: u32) -> bool {
    // SAFETY: asks for two numbers.
    unsafe { user == libc::getuid() || user == libc::geteuid() }
}

/// Sleeps for a time, or until a signal: [`std::thread::sleep`] goes on after each one, and never ends if they keep coming
/// faster than the kernel's timers are exact.
pub(crate) fn back_off(time: Duration) {
    let time = libc::timespec {
        tv_sec: time.as_secs() as libc::time_t,
        tv_nsec: time.subsec_nanos() as libc::c_long,
    };
    // SAFETY: a valid time for the length of the call; what is left of it is not asked for.
    unsafe { libc::nanosleep(&time, std::ptr::null_mut()) };
}

/// Makes the descriptor of `old` mean what `new` means.
pub(crate) fn put_in_place_of(new: &File, old: &File) -> io::Result<()> {
    // SAFETY: two descriptors that are open for the length of the call; the number of `old` stays valid.
    let result = unsafe { libc::dup3(new.as_raw_fd(), old.as_raw_fd(), libc::O_CLOEXEC) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
