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

/// One watched mapping. The three numbers change together: `turn` is odd while they do, and whoever reads them looks at it
/// before and after.
#[derive(Debug)]
struct Slot {
    taken: AtomicBool,
    turn: AtomicUsize,
    base: AtomicUsize,
    len: AtomicUsize,
    hit: AtomicBool,
}

static SLOTS: [Slot; WATCHED] = [const {
    Slot {
        taken: AtomicBool::new(false),
        turn: AtomicUsize::new(0),
        base: AtomicUsize::new(0),
        len: AtomicUsize::new(0),
        hit: AtomicBool::new(false),
    }
}; WATCHED];

impl Slot {
    fn set(&self, base: usize, len: usize) {
        self.turn.fetch_add(1, Ordering::SeqCst);
        self.base.store(base, Ordering::SeqCst);
        self.len.store(len, Ordering::SeqCst);
        self.turn.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether `address` is in the mapping that this slot watches. A slot that is being changed watches none: the thread
    /// that touched the address has a mapping there, which nobody else changes.
    fn watches(&self, address: usize) -> bool {
        let turn = self.turn.load(Ordering::SeqCst);
        let (base, len) = (self.base.load(Ordering::SeqCst), self.len.load(Ordering::SeqCst));
        let settled = turn.is_multiple_of(2) && self.turn.load(Ordering::SeqCst) == turn;
        settled && address.checked_sub(base).is_some_and(|within| within < len)
    }
}

/// A mapping is watched for as long as this is kept.
#[derive(Debug)]
pub struct Watch(&'static Slot);

impl Watch {
    /// Whether the mapping was truncated under us; what was written there since is lost.
    #[inline]
    pub fn was_hit(&self) -> bool {
        self.0.hit.load(Ordering::Acquire)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.set(0, 0);
        self.0.taken.store(false, Ordering::Release);
    }
}

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

/// Watches a mapping of the caller's, as those of databases are watched; `None` if the guard is not installed, or has as many
/// as it can watch.
///
/// # Safety
/// Until the watch is dropped, these bytes are a mapping that is the caller's alone, and private zeros may be put in the place
/// of its pages.
pub unsafe fn watch_mapping(base: *mut u8, len: usize) -> Option<Watch> {
    watch(base, len)
}

/// Watches a mapping; `None` if the guard is not installed, or has as many as it can watch.
pub(crate) fn watch(base: *mut u8, len: usize) -> Option<Watch> {
    if !INSTALLED.load(Ordering::Acquire) || len == 0 {
        return None;
    }
    let free =
        |slot: &&Slot| slot.taken.compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    let slot = SLOTS.iter().find(free)?;
    slot.hit.store(false, Ordering::Release);
    slot.set(base.addr(), len);
    Some(Watch(slot))
}

/// Whether any mapping was truncated under us so far.
#[inline]
pub(crate) fn any_hit() -> bool {
    ANY_HIT.load(Ordering::Relaxed)
}

extern "C" fn on_sigbus(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo.
    let address = unsafe { (*info).si_addr() } as usize;
    if let Some(slot) = SLOTS.iter().find(|slot| slot.watches(address))
        && put_zeros(address)
    {
        slot.hit.store(true, Ordering::Release);
        ANY_HIT.store(true, Ordering::Release);
        return;
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
