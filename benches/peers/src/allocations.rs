//! Counts the allocations of each thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static MADE: Cell<u64> = const { Cell::new(0) };
    static LIVE: Cell<usize> = const { Cell::new(0) };
}

/// The number of allocations made by the current thread.
pub fn made() -> u64 {
    MADE.get()
}

/// The bytes allocated by the current thread, less the bytes freed by it. Wraps around if the thread frees more than
/// it allocates.
pub fn live_bytes() -> usize {
    LIVE.get()
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// `try_with` fails in a thread that is ending, whose allocations are not counted.
fn grow(more: usize, less: usize) {
    let _ = LIVE.try_with(|live| live.set(live.get().wrapping_add(more).wrapping_sub(less)));
}

fn count() {
    let _ = MADE.try_with(|made| made.set(made.get() + 1));
}

// SAFETY: every call is handed on to the system's allocator; the counters do not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        grow(layout.size(), 0);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        grow(0, layout.size());
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        grow(size, layout.size());
        unsafe { System.realloc(block, layout, size) }
    }
}
