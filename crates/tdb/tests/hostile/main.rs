//! Files that are damaged, or made to do harm: no panic, no hang, no memory without bound, no silent death.

#[path = "../common/mod.rs"]
mod common;
#[path = "../support/fuzz_file.rs"]
mod fuzz_file;
#[path = "../support/fuzz_operations.rs"]
mod fuzz_operations;
mod limits;
mod mutate;
mod truncated;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Whether the full length is asked for.
pub fn long() -> bool {
    std::env::var_os("QUORATE_LONG").is_some()
}

/// Counts what is allocated, so that the tests can hold a bound.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is done by the system's allocator; the counters do not touch the memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's layout, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: memory of `alloc` above, which is the system's.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that were allocated at once in this process so far.
pub fn most_allocated() -> usize {
    MOST.load(Ordering::Relaxed)
}
