//! A global allocator that counts, for tests that assert the absence of allocations.
//!
//! The count is per thread, so that a test harness that allocates beside the thread under test does not disturb it.
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: machine::allocations::Counting = machine::allocations::Counting;
//!
//! let before = machine::allocations::on_this_thread();
//! let boxed = Box::new(1);
//! assert_eq!(machine::allocations::on_this_thread() - before, 1);
//! # drop(boxed);
//! ```

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    // Initialised by a constant and without a destructor: reading it neither allocates nor fails at a thread's end.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator with a counter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counting;

/// How often this thread has allocated or reallocated, if [`Counting`] is the global allocator.
pub fn on_this_thread() -> u64 {
    COUNT.get()
}

fn count() {
    COUNT.set(COUNT.get() + 1);
}

// SAFETY: every call is passed on unchanged to `System`, which holds the contract of `GlobalAlloc`; counting touches
// only a thread-local integer and neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on; `pointer` came from `System` by the functions above.
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on; `pointer` came from `System` by the functions above.
        unsafe { System.dealloc(pointer, layout) }
    }
}
