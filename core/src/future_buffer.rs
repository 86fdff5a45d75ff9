//! Where an actor's handler future lives: memory that the actor uses again for the next message.
//!
//! A handler is polled where it was put, so it is pinned by never being moved. The buffer grows to the
//! largest future it has held, up to a limit; one above the limit has memory of its own for as long as it
//! runs.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

/// The largest buffer that is kept between messages, in bytes.
const KEPT: usize = 1_024;
/// The first buffer's size; most handlers fit.
const FIRST: usize = 128;

pub(crate) struct FutureBuffer {
    memory: Option<(NonNull<u8>, Layout)>,
    /// What is in the memory, if a future is.
    running: Option<Vtable>,
}

#[derive(Clone, Copy)]
struct Vtable {
    poll: unsafe fn(NonNull<u8>, &mut Context<'_>, &mut Option<Vtable>) -> Poll<()>,
    drop: unsafe fn(NonNull<u8>),
}

/// Polls, and drops what has ended at once. `running` is cleared in between: a future whose poll panics is
/// still there, one whose drop panics is not.
unsafe fn poll_as<F: Future<Output = ()>>(
    memory: NonNull<u8>,
    cx: &mut Context<'_>,
    running: &mut Option<Vtable>,
) -> Poll<()> {
    // SAFETY: the caller vouches that an `F` is there; it is never moved until dropped in place.
    let future = unsafe { Pin::new_unchecked(memory.cast::<F>().as_mut()) };
    let polled = future.poll(cx);
    if polled.is_ready() {
        *running = None;
        // SAFETY: it has ended, and is marked gone.
        unsafe { memory.cast::<F>().as_ptr().drop_in_place() };
    }
    polled
}

unsafe fn drop_as<F>(memory: NonNull<u8>) {
    // SAFETY: the caller vouches that an `F` is there and won't be used again.
    unsafe { memory.cast::<F>().as_ptr().drop_in_place() };
}

impl FutureBuffer {
    pub(crate) const fn new() -> Self {
        FutureBuffer {
            memory: None,
            running: None,
        }
    }

    /// Whether a future is in it that has not ended.
    #[inline]
    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Puts a future in. One that was there is dropped first.
    ///
    /// # Safety
    /// What the future borrows must outlive its stay: the caller ends it (by polling it to its end, or by
    /// [`clear`](FutureBuffer::clear)) before anything it borrows goes.
    #[inline]
    pub(crate) unsafe fn put<F: Future<Output = ()>>(&mut self, future: F) {
        self.clear();
        let layout = Layout::new::<F>();
        let memory = match self.memory {
            Some((memory, held))
                if held.size() >= layout.size() && held.align() >= layout.align() =>
            {
                memory
            }
            _ => self.grow(layout),
        };
        // SAFETY: the memory is large enough and aligned for an `F`, and holds nothing.
        unsafe { memory.cast::<F>().as_ptr().write(future) };
        self.running = Some(Vtable {
            poll: poll_as::<F>,
            drop: drop_as::<F>,
        });
    }

    #[cold]
    fn grow(&mut self, wanted: Layout) -> NonNull<u8> {
        self.release();
        let size = wanted.size().max(FIRST).next_power_of_two();
        let layout = Layout::from_size_align(size, wanted.align().max(16)).unwrap_or(wanted);
        // SAFETY: the layout isn't empty.
        let memory = unsafe { alloc(layout) };
        let memory = NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout));
        self.memory = Some((memory, layout));
        memory
    }

    /// Polls the future that is in; `Ready` if there is none. One that ends is dropped at once.
    #[inline]
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (Some(running), Some((memory, layout))) = (self.running, self.memory) else {
            return Poll::Ready(());
        };
        // SAFETY: `running` describes what `put` wrote into this memory and nobody has dropped.
        let polled = unsafe { (running.poll)(memory, cx, &mut self.running) };
        if polled.is_ready() && layout.size() > KEPT {
            self.release();
        }
        polled
    }

    /// Drops the future that is in, if any.
    #[inline]
    pub(crate) fn clear(&mut self) {
        // Taken out first: if its drop panics it must not be dropped again.
        if let (Some(running), Some((memory, layout))) = (self.running.take(), self.memory) {
            // SAFETY: as in `poll`, and it is marked gone.
            unsafe { (running.drop)(memory) };
            if layout.size() > KEPT {
                self.release();
            }
        }
    }

    fn release(&mut self) {
        if let Some((memory, layout)) = self.memory.take() {
            // SAFETY: it was allocated with this layout, and no future is in it: callers cleared it.
            unsafe { dealloc(memory.as_ptr(), layout) };
        }
    }
}

impl Drop for FutureBuffer {
    fn drop(&mut self) {
        self.clear();
        self.release();
    }
}

impl fmt::Debug for FutureBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.memory.map(|(_, layout)| layout.size());
        f.debug_struct("FutureBuffer")
            .field("running", &self.is_running())
            .field("size", &size)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Waker;

    use super::*;

    fn poll(buffer: &mut FutureBuffer) -> bool {
        buffer
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }

    fn put(buffer: &mut FutureBuffer, future: impl Future<Output = ()> + 'static) {
        // SAFETY: a `'static` future borrows nothing.
        unsafe { buffer.put(future) };
    }

    #[test]
    fn futures_of_all_sizes_and_alignments_run_and_are_dropped_once() {
        #[repr(align(128))]
        struct Wide([u8; 128]);
        let count = Arc::new(());
        let mut buffer = FutureBuffer::new();
        let (a, b, c) = (Arc::clone(&count), Arc::clone(&count), Arc::clone(&count));
        put(&mut buffer, async move { drop(a) });
        assert!(poll(&mut buffer));
        let wide = Wide([1; 128]);
        put(&mut buffer, async move {
            std::future::ready(()).await;
            assert_eq!(std::ptr::from_ref(&wide).addr() % 128, 0);
            drop((b, wide.0));
        });
        assert!(poll(&mut buffer));
        let large = [3_u8; 4_000];
        put(&mut buffer, async move {
            crate::executor::yield_now().await;
            assert_eq!(large[3_999], 3);
            drop(c);
        });
        assert!(!poll(&mut buffer));
        assert!(poll(&mut buffer));
        assert_eq!(Arc::strong_count(&count), 1);
    }

    #[test]
    fn a_future_that_is_given_up_is_dropped_once_and_the_buffer_works_on() {
        let count = Arc::new(());
        let mut buffer = FutureBuffer::new();
        for _ in 0..3 {
            let held = Arc::clone(&count);
            put(&mut buffer, async move {
                std::future::pending::<()>().await;
                drop(held);
            });
            assert!(!poll(&mut buffer));
            assert_eq!(Arc::strong_count(&count), 2);
        }
        drop(buffer);
        assert_eq!(Arc::strong_count(&count), 1);
    }
}
