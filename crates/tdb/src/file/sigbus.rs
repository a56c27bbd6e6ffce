//! An opt-in guard for mapped files that another process truncates: reading beyond the new end raises `SIGBUS`,
//! which would end the process without a word.
//!
//! [`install`] puts a signal handler in place, once, by the program that wants it (a library must not take signals
//! on its own). The handler looks whether the address belongs to a database of ours; if so it puts a page of zeros
//! there and marks the database, whose next operation reports [`crate::AccessError::Truncated`]. Any other `SIGBUS`
//! goes to the handler that was there before.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// How many mapped databases the guard can watch; further ones work, unguarded.
const WATCHED: usize = 256;

struct Watch {
    base: AtomicUsize,
    len: AtomicUsize,
    hit: AtomicBool,
}

static WATCHES: [Watch; WATCHED] =
    [const { Watch { base: AtomicUsize::new(0), len: AtomicUsize::new(0), hit: AtomicBool::new(false) } };
        WATCHED];
static INSTALLED: AtomicBool = AtomicBool::new(false);
static ANY_HIT: AtomicBool = AtomicBool::new(false);

struct Previous(std::cell::UnsafeCell<MaybeUninit<libc::sigaction>>);
// SAFETY: written once, before the handler that reads it can run.
unsafe impl Sync for Previous {}
static PREVIOUS: Previous = Previous(std::cell::UnsafeCell::new(MaybeUninit::uninit()));

/// Turns the truncation of a mapped database by another process into an error. Call it early in `main`; databases
/// opened before are not watched.
pub fn install() -> io::Result<()> {
    static ONCE: Once = Once::new();
    let mut result = Ok(());
    ONCE.call_once(|| {
        // SAFETY: a zeroed sigaction is valid; the handler has the signature that SA_SIGINFO asks for.
        let done = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_sigbus as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
            libc::sigaction(libc::SIGBUS, ptr::null(), (*PREVIOUS.0.get()).as_mut_ptr());
            libc::sigaction(libc::SIGBUS, &action, ptr::null_mut())
        };
        if done == 0 {
            INSTALLED.store(true, Ordering::Release);
        } else {
            result = Err(io::Error::last_os_error());
        }
    });
    result
}

/// Watches a mapping.
pub(crate) fn remember(base: *mut u8, len: usize) {
    if !INSTALLED.load(Ordering::Acquire) {
        return;
    }
    for watch in &WATCHES {
        if watch.base.compare_exchange(0, base as usize, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            watch.hit.store(false, Ordering::Release);
            watch.len.store(len, Ordering::Release);
            return;
        }
    }
}

/// Stops watching a mapping.
pub(crate) fn forget(base: *mut u8) {
    if base.is_null() || !INSTALLED.load(Ordering::Acquire) {
        return;
    }
    for watch in &WATCHES {
        if watch.base.load(Ordering::Acquire) == base as usize {
            watch.len.store(0, Ordering::Release);
            watch.hit.store(false, Ordering::Release);
            watch.base.store(0, Ordering::Release);
        }
    }
}

/// Whether the mapping at `base` was truncated under us.
pub(crate) fn hit(base: *mut u8) -> bool {
    // Watches that are not in use have no base either.
    !base.is_null()
        && ANY_HIT.load(Ordering::Relaxed)
        && WATCHES.iter().any(|watch| {
            watch.base.load(Ordering::Acquire) == base as usize && watch.hit.load(Ordering::Acquire)
        })
}

extern "C" fn on_sigbus(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo.
    let address = unsafe { (*info).si_addr() } as usize;
    for watch in &WATCHES {
        let base = watch.base.load(Ordering::Acquire);
        if base != 0 && address >= base && address - base < watch.len.load(Ordering::Acquire) {
            if put_zeros(address) {
                watch.hit.store(true, Ordering::Release);
                ANY_HIT.store(true, Ordering::Release);
                return;
            }
            break;
        }
    }
    pass_on(signal, info, context);
}

/// Puts a page of private zeros where the file has none any more. Only raw system calls: this runs in a handler.
fn put_zeros(address: usize) -> bool {
    const PAGE: usize = 4096;
    let page = address & !(PAGE - 1);
    // SAFETY: the page lies inside a mapping of ours, which alone it replaces.
    let placed = unsafe {
        libc::mmap(
            page as *mut libc::c_void,
            PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
            -1,
            0,
        )
    };
    placed != libc::MAP_FAILED
}

fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: written by `install` before this handler could run.
    let previous = unsafe { (*PREVIOUS.0.get()).assume_init_ref() };
    match previous.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: back to the default; the instruction is tried again and ends the process as it would have.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: SA_SIGINFO says that the handler has this signature.
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: without SA_SIGINFO the handler has this signature.
            let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }
}
