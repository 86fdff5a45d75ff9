//! Where handler futures live: memory that is used again for the next message.
//!
//! A handler is polled where it was put, so it is pinned by never being moved. Most handlers end with their
//! first poll; so an arbiter keeps a few buffers for all of its actors, and an actor gets one of its own
//! only while its handler waits for something. A buffer grows to the largest future it has held, up to a
//! limit; one above the limit has memory of its own for as long as it runs.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};

/// The largest buffer that is kept between messages, in bytes.
const KEPT: usize = 4_096;
/// The first buffer's size; most handlers fit.
const FIRST: usize = 256;

/// What is done with the output of a future that did not end with its first poll.
pub(crate) trait Then<T> {
    fn end(self, output: T);
}

impl<T> Then<T> for () {
    fn end(self, _: T) {}
}

/// A future in the buffer, and what comes after it; that is written once it is needed.
#[repr(C)]
struct Running<F, W> {
    future: F,
    then: W,
}

/// One pointer, so that it is cheap to lend and to swap.
pub(crate) struct FutureBuffer {
    block: Option<NonNull<Block>>,
}

/// What stands before the memory of the future.
#[repr(C)]
struct Block {
    layout: Layout,
    /// Where the future lies in the block.
    at: usize,
    /// How large a future it takes.
    size: usize,
    /// What is in it, if a future is.
    running: Option<&'static Vtable>,
}

struct Vtable {
    poll: unsafe fn(NonNull<u8>, &mut Context<'_>, &mut Option<&'static Vtable>) -> Poll<()>,
    drop: unsafe fn(NonNull<u8>),
}

/// Polls, and drops what has ended at once. `running` is cleared in between: a future whose poll panics is
/// still there, one whose drop panics is not.
unsafe fn poll_as<F: Future, W: Then<F::Output>>(
    memory: NonNull<u8>,
    cx: &mut Context<'_>,
    running: &mut Option<&'static Vtable>,
) -> Poll<()> {
    let memory = memory.cast::<Running<F, W>>().as_ptr();
    // SAFETY: the caller vouches that a `Running` is there; it is never moved until dropped in place.
    let future = unsafe { Pin::new_unchecked(&mut (*memory).future) };
    let unwinding = Unwinding::<F, W> { memory, running };
    let polled = future.poll(cx);
    let running = unwinding.forget();
    let Poll::Ready(output) = polled else {
        return Poll::Pending;
    };
    *running = None;
    // SAFETY: it has ended and is marked gone, so both parts are taken out once.
    let then = unsafe { (&raw mut (*memory).then).read() };
    // SAFETY: as above.
    unsafe { (&raw mut (*memory).future).drop_in_place() };
    then.end(output);
    Poll::Ready(())
}

/// A poll that panics takes with it what would have come after: who waits for it learns of the panic. The
/// future stays; its drop may panic, too, which must not happen now.
struct Unwinding<'a, F: Future, W: Then<F::Output>> {
    memory: *mut Running<F, W>,
    running: &'a mut Option<&'static Vtable>,
}

impl<'a, F: Future, W: Then<F::Output>> Unwinding<'a, F, W> {
    fn forget(self) -> &'a mut Option<&'static Vtable> {
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: it is moved out of something that is never dropped.
        unsafe { std::ptr::read(&raw const this.running) }
    }
}

impl<F: Future, W: Then<F::Output>> Drop for Unwinding<'_, F, W> {
    fn drop(&mut self) {
        // The future is the first field of both, so from now on it alone is there.
        *self.running = Some(TableOf::<F, ()>::ALONE);
        // SAFETY: it is there, and was just marked gone.
        drop(unsafe { (&raw mut (*self.memory).then).read() });
    }
}

unsafe fn drop_as<F, W>(memory: NonNull<u8>) {
    // SAFETY: the caller vouches that a `Running` is there and won't be used again.
    unsafe { memory.cast::<Running<F, W>>().as_ptr().drop_in_place() };
}

struct TableOf<F, W>(F, W);

impl<F: Future, W: Then<F::Output>> TableOf<F, W> {
    const TABLE: &'static Vtable = &Vtable {
        poll: poll_as::<F, W>,
        drop: drop_as::<F, W>,
    };
}

impl<F: Future> TableOf<F, ()> {
    /// For a future after a panic: it is only dropped.
    const ALONE: &'static Vtable = &Vtable {
        poll: |_, _, _| Poll::Ready(()),
        drop: drop_as::<F, ()>,
    };
}

/// A first poll that panics leaves the future where it is, to be dropped by who caught the panic: its drop
/// may panic, too, which must not happen while unwinding.
struct Panicking<F: Future> {
    block: NonNull<Block>,
    future: PhantomData<F>,
}

impl<F: Future> Drop for Panicking<F> {
    #[cold]
    fn drop(&mut self) {
        // SAFETY: the block is the buffer's own, and the future is in it.
        unsafe { (*self.block.as_ptr()).running = Some(TableOf::<F, ()>::ALONE) };
    }
}

impl FutureBuffer {
    pub(crate) const fn new() -> Self {
        FutureBuffer { block: None }
    }

    #[inline]
    fn block(&self) -> Option<&Block> {
        // SAFETY: the block is ours alone, and lives until `release`.
        self.block.map(|block| unsafe { block.as_ref() })
    }

    /// Whether a future is in it that has not ended.
    #[inline]
    pub(crate) fn is_running(&self) -> bool {
        self.block().is_some_and(|block| block.running.is_some())
    }

    /// Whether it is worth keeping for the next.
    #[inline]
    pub(crate) fn is_kept(&self) -> bool {
        self.block()
            .is_some_and(|block| block.running.is_none() && block.size <= KEPT)
    }

    /// Puts a future in and polls it once. If it has ended, nothing is left of it and its output is the
    /// answer. Else it stays to be polled by [`poll`](FutureBuffer::poll), and `then` says what will be
    /// done with its output. A future that was there before is dropped first.
    ///
    /// # Safety
    /// What the future borrows must outlive its stay: the caller ends it (by polling it to its end, or by
    /// [`clear`](FutureBuffer::clear)) before anything it borrows goes; also if this panics.
    #[inline]
    pub(crate) unsafe fn run<F: Future, W: Then<F::Output>>(
        &mut self,
        future: F,
        cx: &mut Context<'_>,
        then: impl FnOnce() -> W,
    ) -> Poll<F::Output> {
        let layout = const { Layout::new::<Running<F, W>>() };
        let block = match self.block {
            // SAFETY: the block is ours alone.
            Some(block) if unsafe { block.as_ref() }.takes(layout) => block,
            _ => self.prepare(layout),
        };
        // SAFETY: the memory there is large enough and aligned for a `Running`, and holds nothing.
        let (running, place) = unsafe {
            let memory = block.cast::<u8>().add(block.as_ref().at);
            let running = memory.cast::<Running<F, W>>().as_ptr();
            let place = &raw mut (*running).future;
            place.write(future);
            (running, place)
        };
        let panicking = Panicking::<F> {
            block,
            future: PhantomData,
        };
        // SAFETY: it was just written, and is not moved before it is dropped in place.
        let polled = unsafe { Pin::new_unchecked(&mut *place) }.poll(cx);
        if polled.is_pending() {
            let then = then();
            std::mem::forget(panicking);
            // SAFETY: there is room for it, and nothing in it; the block is ours alone.
            unsafe {
                (&raw mut (*running).then).write(then);
                (*block.as_ptr()).running = Some(TableOf::<F, W>::TABLE);
            }
        } else {
            // Here, and not at the end of the block, where a panic in this drop would lose the output.
            std::mem::forget(panicking);
            // SAFETY: it has ended, and nobody else will drop it.
            unsafe { place.drop_in_place() };
        }
        polled
    }

    /// Sees to it that the block is empty, and takes such a future.
    #[cold]
    fn prepare(&mut self, wanted: Layout) -> NonNull<Block> {
        self.clear();
        match self.block {
            // SAFETY: the block is ours alone.
            Some(block) if unsafe { block.as_ref() }.takes(wanted) => block,
            _ => self.grow(wanted),
        }
    }

    fn grow(&mut self, wanted: Layout) -> NonNull<Block> {
        self.release();
        let size = wanted.size().max(FIRST).next_power_of_two();
        let memory = Layout::from_size_align(size, wanted.align().max(16));
        let whole = memory.and_then(|memory| Layout::new::<Block>().extend(memory));
        let Ok((layout, at)) = whole else {
            unreachable!("bug: a future of {wanted:?}")
        };
        // SAFETY: the layout isn't empty.
        let block = unsafe { alloc(layout) };
        let block = NonNull::new(block).unwrap_or_else(|| handle_alloc_error(layout));
        let block = block.cast::<Block>();
        // SAFETY: a block begins with a `Block`.
        unsafe {
            block.write(Block {
                layout,
                at,
                size,
                running: None,
            });
        }
        self.block = Some(block);
        block
    }

    /// Polls the future that is in; `Ready` if there is none. One that ends is dropped at once.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(block) = self.block else {
            return Poll::Ready(());
        };
        // SAFETY: the block is ours alone, and `running` describes what `run` left in its memory and nobody
        // has dropped.
        unsafe {
            let Some(running) = block.as_ref().running else {
                return Poll::Ready(());
            };
            let memory = block.cast::<u8>().add(block.as_ref().at);
            (running.poll)(memory, cx, &mut (*block.as_ptr()).running)
        }
    }

    /// Drops the future that is in, if any.
    pub(crate) fn clear(&mut self) {
        let Some(block) = self.block else {
            return;
        };
        // SAFETY: as in `poll`. It is marked gone first: if its drop panics it must not be dropped again.
        unsafe {
            let at = block.as_ref().at;
            if let Some(running) = (*block.as_ptr()).running.take() {
                (running.drop)(block.cast::<u8>().add(at));
            }
        }
    }

    fn release(&mut self) {
        if let Some(block) = self.block.take() {
            // SAFETY: it was allocated with this layout, and no future is in it: callers cleared it.
            unsafe { dealloc(block.as_ptr().cast(), block.as_ref().layout) };
        }
    }
}

impl Block {
    #[inline]
    fn takes(&self, future: Layout) -> bool {
        self.running.is_none()
            && self.size >= future.size()
            && self.at.trailing_zeros() >= future.align().trailing_zeros()
            && self.layout.align() >= future.align()
    }
}

impl Drop for FutureBuffer {
    #[inline]
    fn drop(&mut self) {
        if self.block.is_some() {
            // Also when the drop of the future panics.
            let emptied = Emptied(self);
            emptied.0.clear();
        }
    }
}

/// A buffer that gives its memory back at the end, by when no future is in it.
struct Emptied<'a>(&'a mut FutureBuffer);

impl Drop for Emptied<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.release();
    }
}

impl fmt::Debug for FutureBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FutureBuffer")
            .field("running", &self.is_running())
            .field("size", &self.block().map(|block| block.size))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Waker;

    use super::*;

    /// Keeps what it is given.
    struct Keep(Arc<AtomicU32>);

    impl Then<u32> for Keep {
        fn end(self, output: u32) {
            self.0.store(output, Ordering::SeqCst);
        }
    }

    fn poll(buffer: &mut FutureBuffer) -> bool {
        buffer
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }

    fn run(buffer: &mut FutureBuffer, future: impl Future<Output = ()> + 'static) -> bool {
        let cx = &mut Context::from_waker(Waker::noop());
        // SAFETY: a `'static` future borrows nothing.
        unsafe { buffer.run(future, cx, || ()).is_ready() }
    }

    #[test]
    fn futures_of_all_sizes_and_alignments_run_and_are_dropped_once() {
        #[repr(align(128))]
        struct Wide([u8; 128]);
        let count = Arc::new(());
        let mut buffer = FutureBuffer::new();
        let (a, b, c) = (Arc::clone(&count), Arc::clone(&count), Arc::clone(&count));
        assert!(run(&mut buffer, async move { drop(a) }));
        let wide = Wide([1; 128]);
        assert!(run(&mut buffer, async move {
            std::future::ready(()).await;
            assert_eq!(std::ptr::from_ref(&wide).addr() % 128, 0);
            drop((b, wide.0));
        }));
        assert!(buffer.is_kept());
        let large = [3_u8; 5_000];
        assert!(!run(&mut buffer, async move {
            crate::executor::yield_now().await;
            assert_eq!(large[4_999], 3);
            drop(c);
        }));
        assert!(buffer.is_running());
        assert!(poll(&mut buffer));
        assert!(!buffer.is_kept(), "it is larger than what is kept");
        assert_eq!(Arc::strong_count(&count), 1);
    }

    #[test]
    fn the_output_goes_to_who_waits_for_it() {
        let seen = Arc::new(AtomicU32::new(0));
        let mut buffer = FutureBuffer::new();
        let cx = &mut Context::from_waker(Waker::noop());
        let late = async {
            crate::executor::yield_now().await;
            7
        };
        // SAFETY: neither future borrows anything.
        let (first, second) = unsafe {
            let first = buffer.run(async { 5 }, cx, || Keep(Arc::clone(&seen)));
            (first, buffer.run(late, cx, || Keep(Arc::clone(&seen))))
        };
        assert_eq!(first, Poll::Ready(5));
        assert!(second.is_pending());
        assert_eq!(seen.load(Ordering::SeqCst), 0);
        assert!(poll(&mut buffer));
        assert_eq!(seen.load(Ordering::SeqCst), 7);
        assert_eq!(Arc::strong_count(&seen), 1);
    }

    #[test]
    fn a_future_that_is_given_up_is_dropped_once_and_the_buffer_works_on() {
        let count = Arc::new(());
        let mut buffer = FutureBuffer::new();
        for _ in 0..3 {
            let held = Arc::clone(&count);
            let ready = run(&mut buffer, async move {
                std::future::pending::<()>().await;
                drop(held);
            });
            assert!(!ready);
            assert_eq!(Arc::strong_count(&count), 2);
        }
        drop(buffer);
        assert_eq!(Arc::strong_count(&count), 1);
    }

    #[test]
    fn a_panic_in_the_first_poll_drops_the_future_once() {
        let count = Arc::new(());
        let mut buffer = FutureBuffer::new();
        let held = Arc::clone(&count);
        let panics = std::panic::AssertUnwindSafe(|| {
            run(&mut buffer, async move {
                let _held = held;
                panic!("at once");
            })
        });
        assert!(std::panic::catch_unwind(panics).is_err());
        assert!(buffer.is_running(), "it is dropped where nothing unwinds");
        buffer.clear();
        assert_eq!(Arc::strong_count(&count), 1);
        assert!(!buffer.is_running());
        assert!(run(&mut buffer, async {}));
    }

    #[test]
    fn a_future_that_panics_in_its_first_poll_and_in_its_drop_can_be_fenced() {
        struct Twice;

        impl Future for Twice {
            type Output = ();

            fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
                panic!("in its poll");
            }
        }

        impl Drop for Twice {
            fn drop(&mut self) {
                panic!("in its drop");
            }
        }

        let mut buffer = FutureBuffer::new();
        let mut fenced = |code: fn(&mut FutureBuffer)| {
            let code = std::panic::AssertUnwindSafe(|| code(&mut buffer));
            std::panic::catch_unwind(code).is_err()
        };
        assert!(fenced(|buffer| {
            run(buffer, Twice);
        }));
        assert!(fenced(FutureBuffer::clear));
        assert!(!fenced(FutureBuffer::clear), "once");
    }

    #[test]
    fn a_panic_in_the_drop_of_a_future_that_has_ended_drops_its_output() {
        struct Bomb(Arc<()>);
        impl Future for Bomb {
            type Output = Arc<()>;
            fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Arc<()>> {
                Poll::Ready(Arc::clone(&self.0))
            }
        }
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("in its drop");
            }
        }
        let count = Arc::new(());
        let mut buffer = FutureBuffer::new();
        let bomb = Bomb(Arc::clone(&count));
        let panics = std::panic::AssertUnwindSafe(|| {
            let cx = &mut Context::from_waker(Waker::noop());
            // SAFETY: it borrows nothing.
            unsafe { buffer.run(bomb, cx, || ()) }
        });
        assert!(std::panic::catch_unwind(panics).is_err());
        assert_eq!(Arc::strong_count(&count), 1);
        assert!(!buffer.is_running());
    }
}
