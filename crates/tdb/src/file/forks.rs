//! What a child would share with its parent after a fork, and does not: the open files of databases, and with them their locks.
//!
//! Byte-range locks belong to an open file, which lives as long as any descriptor or mapping of it, a child's too: the
//! locks of a process that dies would stay with its children, for ever if these never touch the database. So in the child,
//! before `fork` returns there, each registered file is opened anew under its old descriptor and mapped anew at its old
//! places. The child has no locks then, as in libtdb, and the parent's go with the parent. Where a file cannot be
//! opened anew (no `/proc`, or no right to any more) the child shares it until it closes it.
//!
//! Owns the list of files and mappings, and the count of forks. Whoever changes a registered mapping holds the list
//! meanwhile ([`hold`]), so that no fork sees a place that is not the file's.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A mapping of a registered file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mapped {
    /// Where it is.
    pub base: *mut u8,
    /// Its length in bytes.
    pub len: usize,
    /// It may be written to.
    pub writable: bool,
    /// The file.
    pub file: RawFd,
    /// Where in the file it begins.
    pub start: libc::off_t,
}

struct Shared {
    files: Vec<RawFd>,
    mappings: Vec<Mapped>,
}

/// A lock that a fork can hold in both processes, which std's cannot: its guard would have to be in two places.
struct List {
    taken: AtomicBool,
    shared: UnsafeCell<Shared>,
}

// SAFETY: `shared` is touched by whoever has taken the list only.
unsafe impl Sync for List {}

static LIST: List = List {
    taken: AtomicBool::new(false),
    shared: UnsafeCell::new(Shared { files: Vec::new(), mappings: Vec::new() }),
};
static FORKS: AtomicU32 = AtomicU32::new(0);

fn take() {
    while LIST.taken.swap(true, Ordering::Acquire) {
        std::thread::yield_now();
    }
}

fn give_back() {
    LIST.taken.store(false, Ordering::Release);
}

/// No fork happens while this is there.
pub(crate) struct Held(());

/// Takes the list; waits for a fork that is under way, and for others that have it.
pub(crate) fn hold() -> Held {
    take();
    Held(())
}

impl Held {
    fn shared(&mut self) -> &mut Shared {
        // SAFETY: the list is taken, by this guard alone.
        unsafe { &mut *LIST.shared.get() }
    }

    /// This is mapped now.
    pub fn add(&mut self, mapped: Mapped) {
        self.shared().mappings.push(mapped);
    }

    /// What was mapped at `base` is not any more, or soon.
    pub fn remove(&mut self, base: *mut u8) {
        self.shared().mappings.retain(|mapped| mapped.base != base);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        give_back();
    }
}

/// An open file that no child shares, as long as this is there. It has to go before the file is closed.
pub(crate) struct Unshared(RawFd);

impl Unshared {
    /// Registers a file.
    pub fn new(file: &File) -> Unshared {
        let file = file.as_raw_fd();
        hold().shared().files.push(file);
        Unshared(file)
    }
}

impl Drop for Unshared {
    fn drop(&mut self) {
        let mut held = hold();
        let files = &mut held.shared().files;
        if let Some(at) = files.iter().position(|&file| file == self.0) {
            files.swap_remove(at);
        }
    }
}

/// How many forks lie between this process and the first that asked: a change means "I am a child now".
#[inline]
pub(crate) fn generation() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// Looks after forks from now on.
pub(crate) fn watch() {
    extern "C" fn before() {
        take();
    }
    extern "C" fn in_parent() {
        give_back();
    }
    extern "C" fn in_child() {
        // SAFETY: taken before the fork, by the only thread that is left here.
        unsafe { unshare(&*LIST.shared.get()) };
        FORKS.fetch_add(1, Ordering::Relaxed);
        give_back();
    }
    static ONCE: Once = Once::new();
    // SAFETY: the handlers wait for the list, make system calls that are allowed between fork and exec, and allocate nothing.
    ONCE.call_once(|| unsafe {
        libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child));
    });
}

/// Opens all files anew, each under its old descriptor.
fn unshare(shared: &Shared) {
    for &file in &shared.files {
        let Some(fresh) = opened_anew(file) else { continue };
        for mapped in shared.mappings.iter().filter(|mapped| mapped.file == file) {
            let protection =
                if mapped.writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
            let flags = libc::MAP_SHARED | libc::MAP_FIXED;
            // SAFETY: the same bytes of the same file, in the place of a mapping that nobody changes meanwhile.
            unsafe { libc::mmap(mapped.base.cast(), mapped.len, protection, flags, fresh, mapped.start) };
        }
        // SAFETY: two open descriptors, of which the first is ours alone.
        unsafe {
            libc::dup3(fresh, file, libc::O_CLOEXEC);
            libc::close(fresh);
        }
    }
}

/// A new opening of the file behind `file`, by a path that is written without allocating.
fn opened_anew(file: RawFd) -> Option<RawFd> {
    const FOLDER: &[u8] = b"/proc/self/fd/";
    let mut path = [0u8; 32];
    path[..FOLDER.len()].copy_from_slice(FOLDER);
    let mut digits = [0u8; 12];
    let (mut at, mut rest) = (digits.len(), file);
    while at == digits.len() || rest > 0 {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let digits = &digits[at..];
    path[FOLDER.len()..FOLDER.len() + digits.len()].copy_from_slice(digits);
    // SAFETY: a descriptor, and a path that ends in NUL.
    let fresh = unsafe {
        let mode = libc::fcntl(file, libc::F_GETFL) & libc::O_ACCMODE;
        libc::open(path.as_ptr().cast(), mode | libc::O_CLOEXEC)
    };
    (fresh >= 0).then_some(fresh)
}
