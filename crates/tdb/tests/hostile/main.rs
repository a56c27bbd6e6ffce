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
use std::cell::Cell;

/// Whether the full length is asked for.
pub fn long() -> bool {
    std::env::var_os("QUORATE_LONG").is_some()
}

/// Counts what a thread allocates, so that a test can hold a bound while others run.
struct Counting;

thread_local! {
    /// Bytes that this thread has allocated and not freed, and the most there were at once.
    static ALLOCATED: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

fn count(change: isize) {
    // A thread that is ending has no counters any more.
    let _ = ALLOCATED.try_with(|cell| {
        let (now, most) = cell.get();
        cell.set((now + change, most.max(now + change)));
    });
}

// SAFETY: everything is done by the system's allocator; the counters need no allocation and do not touch the memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's layout, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: memory of `alloc` above, which is the system's.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that this thread had allocated at once so far.
pub fn most_allocated() -> usize {
    ALLOCATED.with(|cell| cell.get().1.max(0) as usize)
}
