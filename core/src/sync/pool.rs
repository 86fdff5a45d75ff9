//! Small blocks of memory that a thread uses again.
//!
//! An ask needs a place for its reply for a few hundred nanoseconds, and a mailbox one for its messages;
//! taking it from a list of the thread's own costs a fraction of an allocation, and it is still in the
//! cache. Under `--cfg callboard_plain_alloc` every block is a plain
//! allocation, so that AddressSanitizer sees each use after its end.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// The size of a pooled block in bytes; a cache line or two.
pub(crate) const BLOCK: usize = 128;
/// That of a larger one: for the replies that are more than a few words.
const LARGE_BLOCK: usize = 384;
/// How many blocks of each size a thread keeps.
const KEPT: [usize; 2] = [4_096, 2_048];

const LAYOUTS: [Layout; 2] = [layout(BLOCK), layout(LARGE_BLOCK)];

const fn layout(size: usize) -> Layout {
    match Layout::from_size_align(size, 16) {
        Ok(layout) => layout,
        Err(_) => panic!("the layout of a block is valid"),
    }
}

struct Pool {
    free: [Vec<NonNull<u8>>; 2],
}

impl Drop for Pool {
    fn drop(&mut self) {
        for (free, layout) in self.free.iter_mut().zip(LAYOUTS) {
            for block in free.drain(..) {
                // SAFETY: every block in the list was allocated with this layout and is in nobody's use.
                unsafe { dealloc(block.as_ptr(), layout) };
            }
        }
    }
}

thread_local! {
    static POOL: UnsafeCell<Pool> = const { UnsafeCell::new(Pool { free: [Vec::new(), Vec::new()] }) };
}

/// Which blocks a value of that layout fits into.
#[inline]
const fn size_of_block(layout: Layout) -> Option<usize> {
    if cfg!(callboard_plain_alloc) || cfg!(loom) || layout.align() > 16 {
        return None;
    }
    if layout.size() <= BLOCK {
        Some(0)
    } else if layout.size() <= LARGE_BLOCK {
        Some(1)
    } else {
        None
    }
}

/// A block of [`BLOCK`] bytes, aligned to 16.
#[inline]
pub(crate) fn take_block() -> NonNull<u8> {
    take(0)
}

#[inline]
fn take(size: usize) -> NonNull<u8> {
    if cfg!(callboard_plain_alloc) || cfg!(loom) {
        return allocate(LAYOUTS[size]);
    }
    let kept = POOL.try_with(|pool| {
        // SAFETY: the list is this thread's own, and nothing in between runs other code.
        unsafe { (&mut (*pool.get()).free)[size].pop() }
    });
    match kept {
        Ok(Some(block)) => block,
        _ => allocate(LAYOUTS[size]),
    }
}

/// Gives a block back: to this thread's list, wherever it was taken.
///
/// # Safety
/// It came from [`take_block`], and nobody uses it any more.
#[inline]
pub(crate) unsafe fn give_block(block: NonNull<u8>) {
    // SAFETY: the same.
    unsafe { give(block, 0) };
}

/// # Safety
/// It came from [`take`] with that size, and nobody uses it any more.
#[inline]
unsafe fn give(block: NonNull<u8>, size: usize) {
    let kept = POOL.try_with(|pool| {
        if cfg!(callboard_plain_alloc) || cfg!(loom) {
            return false;
        }
        // SAFETY: as in `take`.
        let free = unsafe { &mut (&mut (*pool.get()).free)[size] };
        let room = free.len() < KEPT[size];
        if room {
            free.push(block);
        }
        room
    });
    if kept != Ok(true) {
        // SAFETY: the block was allocated with this layout, and its user has just given it up.
        unsafe { dealloc(block.as_ptr(), LAYOUTS[size]) };
    }
}

fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: the layout isn't empty: a block has 128 bytes, and a larger value has more.
    let memory = unsafe { alloc(layout) };
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
}

/// A value in a pooled block if it fits, else in an allocation of its own. Freed by name, once: this is
/// the raw material of shared pointers.
pub(crate) struct PoolBox<T> {
    memory: NonNull<T>,
    owns: PhantomData<T>,
}

impl<T> PoolBox<T> {
    /// The value is made once there is room, so that it needn't be moved.
    #[inline]
    pub(crate) fn new(make: impl FnOnce() -> T) -> Self {
        let layout = Layout::new::<T>();
        let memory = match size_of_block(layout) {
            Some(size) => take(size),
            None => {
                debug_assert!(layout.size() > 0);
                allocate(layout)
            }
        };
        let memory = memory.cast::<T>();
        // SAFETY: the memory is large enough, aligned, and ours alone. (Should `make` panic, it is lost.)
        unsafe { memory.as_ptr().write(make()) };
        PoolBox {
            memory,
            owns: PhantomData,
        }
    }

    /// A second pointer to the same value.
    ///
    /// # Safety
    /// Of all copies exactly one may be freed, after the last use of the others.
    pub(crate) unsafe fn alias(&self) -> Self {
        PoolBox {
            memory: self.memory,
            owns: PhantomData,
        }
    }

    /// Drops the value and gives the memory back.
    ///
    /// # Safety
    /// No copy may be used after this.
    pub(crate) unsafe fn free(&mut self) {
        // SAFETY: the value is there (only `free` takes it out, and that happens once).
        unsafe { self.memory.as_ptr().drop_in_place() };
        let layout = Layout::new::<T>();
        match size_of_block(layout) {
            // SAFETY: it is a block of that size, and this was its only use.
            Some(size) => unsafe { give(self.memory.cast(), size) },
            // SAFETY: it was allocated with this layout.
            None => unsafe { dealloc(self.memory.as_ptr().cast(), layout) },
        }
    }
}

impl<T> Deref for PoolBox<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the value lives until `free`, after which nobody may look.
        unsafe { self.memory.as_ref() }
    }
}

/// A value of one owner in a pooled block if it fits: a `Box` without a trip to the allocator.
pub(crate) struct Pooled<T>(PoolBox<T>);

impl<T> Pooled<T> {
    pub(crate) fn new(make: impl FnOnce() -> T) -> Self {
        Pooled(PoolBox::new(make))
    }
}

// SAFETY: it owns its value as a `Box` does.
unsafe impl<T: Send> Send for Pooled<T> {}

impl<T> Deref for Pooled<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Pooled<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the value lives until the drop, and there is no other pointer to it.
        unsafe { self.0.memory.as_mut() }
    }
}

impl<T> Drop for Pooled<T> {
    fn drop(&mut self) {
        // SAFETY: there is no copy of the pointer, and nobody can use this one any more.
        unsafe { self.0.free() };
    }
}

impl<T> fmt::Debug for PoolBox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBox").finish_non_exhaustive()
    }
}
