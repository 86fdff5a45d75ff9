//! An allocator that counts, but only while it is told to.
//!
//! Timed runs never count: they pay one load of a flag that nobody writes. Counting is process-wide, over
//! all threads, in passes that are not timed.

#![allow(unsafe_code, reason = "`GlobalAlloc` is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

#[global_allocator]
static COUNTING: Counting = Counting;

static ON: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);

struct Counting;

/// What was counted since [`start`].
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    /// Calls that gave memory; growing a block in place counts as one.
    pub allocations: u64,
    /// Bytes given minus bytes taken back, as asked for by the program: what the allocator adds on top
    /// shows only in the resident size.
    pub live_bytes: i64,
}

/// Counts from zero.
pub fn start() {
    ALLOCATIONS.store(0, Relaxed);
    LIVE_BYTES.store(0, Relaxed);
    ON.store(true, Relaxed);
}

/// Stops counting.
pub fn stop() -> Counted {
    ON.store(false, Relaxed);
    Counted {
        allocations: ALLOCATIONS.load(Relaxed),
        live_bytes: LIVE_BYTES.load(Relaxed),
    }
}

#[inline]
fn count(allocations: u64, bytes: i64) {
    if ON.load(Relaxed) {
        ALLOCATIONS.fetch_add(allocations, Relaxed);
        LIVE_BYTES.fetch_add(bytes, Relaxed);
    }
}

/// Sizes of live blocks fit: no block is larger than `isize::MAX`.
#[allow(clippy::cast_possible_wrap)]
fn signed(size: usize) -> i64 {
    size as i64
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches only atomics and never
// allocates.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, signed(layout.size()));
        // SAFETY: the caller keeps `GlobalAlloc`'s contract, which is the same there.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(1, signed(layout.size()));
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(0, -signed(layout.size()));
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, signed(size) - signed(layout.size()));
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }
}
